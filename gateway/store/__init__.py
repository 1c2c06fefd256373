"""The gateway's memory: tables, migrations and queries named by intent. SQLite by default, PostgreSQL by URL.

A query is a plain function of an open connection; `Store.read` and `Store.write` run it in one transaction on a thread.
"""

from sqlalchemy import Connection

from gateway.store.engine import Store

__all__ = ["Connection", "Store"]
