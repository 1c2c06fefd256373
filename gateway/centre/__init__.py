"""The coordination centre's side of the gateway: signing, forwarding, receipts, and a simulated centre."""
