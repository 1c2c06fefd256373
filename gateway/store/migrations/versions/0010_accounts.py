"""Room for wrapped site keys, and the unit of a user."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them. SQLite does not bound texts, so only PostgreSQL needs the wider column."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("sites", "credential_key", type_=sa.Text(), existing_type=sa.String(length=64))
    op.add_column("users", sa.Column("unit", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("restore a backup instead")
