"""Benchmarks of a compound and a district: policies, imports, queries at a million facts."""
