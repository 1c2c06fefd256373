"""Indexes in the order in which lists are shown, and whom an admission was about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _partial(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def upgrade() -> None:
    """Add them."""
    op.add_column("facts", sa.Column("person_id", sa.String(length=64), nullable=True))
    sqlite = op.get_bind().dialect.name == "sqlite"
    person = "json_extract(body, '$.person_id')" if sqlite else "body::json ->> 'person_id'"
    op.execute(f"UPDATE facts SET person_id = {person} WHERE kind IN ('access_granted', 'access_denied')")  # noqa: S608
    op.drop_index("ix_facts_kind_at", table_name="facts")
    op.create_index("ix_facts_site", "facts", ["site_id", "at", "id"])
    op.create_index("ix_facts_site_kind", "facts", ["site_id", "kind", "at", "id"])
    op.create_index("ix_facts_source", "facts", ["source_id", "at", "id", "kind"])
    op.create_index("ix_facts_at", "facts", ["at", "id", "site_id", "kind"])
    _partial("ix_facts_person", "facts", ["person_id", "at", "id"], "person_id IS NOT NULL")
    op.drop_index("ix_alerts_raised", table_name="alerts")
    op.create_index("ix_alerts_site", "alerts", ["site_id", "raised_at", "id"])
    op.create_index("ix_alerts_raised", "alerts", ["raised_at", "id", "site_id"])
    _partial("ix_alerts_unresolved", "alerts", ["raised_at", "id", "site_id"], "workflow <> 'resolved'")
    op.create_index("ix_outbox_counted", "outbox", ["centre_id", "delivered_at", "dead_at", "created_at"])
    op.create_index("ix_audit_subject", "audit", ["subject", "seq"])


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("restore a backup instead")
