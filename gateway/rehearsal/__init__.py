"""The whole system on one machine with simulated cameras, doors and centre: what demo, selftest and bench share."""
