"""Backups of the gateway, in one file that only the site's owner can open (age, X25519).

Every table, the keys beside the database and, if wanted, pictures. Restored into an empty database, on SQLite or
PostgreSQL, whichever wrote it.
"""
