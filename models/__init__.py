"""What the system knows: records, rules, face networks, matching.

No network, no disk but model weights, no clock: time and randomness are arguments.
"""
