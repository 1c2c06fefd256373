"""PINs that open as always and raise a silent alarm."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("credentials") as credentials:
        credentials.add_column(sa.Column("duress", sa.Boolean(), server_default="0", nullable=False))


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("restore a backup instead")
