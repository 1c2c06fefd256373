"""Run migrations on the connection that gateway.store.migrate hands over. Not for the alembic command line."""

from __future__ import annotations

from alembic import context

from gateway.store import tables_access, tables_events, tables_people  # noqa: F401 - they fill the metadata
from gateway.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
