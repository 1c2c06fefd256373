"""What the edge link needs: names of edges can be edited, commands wait until they have ended, pictures say if they are blurred."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    op.add_column("edges", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("media", sa.Column("blurred", sa.Boolean(), server_default="0", nullable=False))
    op.drop_index("ix_commands_waiting", table_name="commands")
    op.create_index("ix_commands_waiting", "commands", ["edge_id", "ended_at", "deadline"], unique=False)


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("restore a backup instead")
