"""Passwords and keys of door drivers in a column of their own; what records hold is moved when a gateway opens its database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("doors") as doors:
        doors.add_column(sa.Column("secrets", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("restore a backup instead")
