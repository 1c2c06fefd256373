"""Companies, controllers, readers, the camera register, schedules, notices, assessments and media."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _companies() -> None:
    op.create_table(
        "companies",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), server_default="", nullable=False),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_companies")),
    )


def _controllers() -> None:
    op.create_table(
        "controllers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("edge_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_controllers_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_controllers")),
    )
    op.create_index(op.f("ix_controllers_edge_id"), "controllers", ["edge_id"], unique=False)
    op.create_index(op.f("ix_controllers_site_id"), "controllers", ["site_id"], unique=False)


def _readers() -> None:
    op.create_table(
        "readers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("door_id", sa.String(length=64), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["door_id"], ["doors.id"], name=op.f("fk_readers_door_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readers")),
    )
    op.create_index(op.f("ix_readers_door_id"), "readers", ["door_id"], unique=False)


def _assessments() -> None:
    op.create_table(
        "assessments",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_assessments_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assessments")),
    )
    op.create_index(op.f("ix_assessments_site_id"), "assessments", ["site_id"], unique=False)


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_notices_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index(op.f("ix_notices_site_id"), "notices", ["site_id"], unique=False)


def _schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_schedules_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
    )
    op.create_index(op.f("ix_schedules_site_id"), "schedules", ["site_id"], unique=False)


def _calendars() -> None:
    op.create_table(
        "calendars",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_calendars_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendars")),
    )
    op.create_index(op.f("ix_calendars_site_id"), "calendars", ["site_id"], unique=False)


def _permission_groups() -> None:
    op.create_table(
        "permission_groups",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("doors", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.String(length=64), nullable=True),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_permission_groups_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_permission_groups")),
    )
    op.create_index(op.f("ix_permission_groups_site_id"), "permission_groups", ["site_id"], unique=False)


def _media() -> None:
    op.create_table(
        "media",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("edge_id", sa.String(length=64), nullable=False),
        sa.Column("camera_id", sa.String(length=64), nullable=False),
        sa.Column("fact_id", sa.String(length=64), nullable=True),
        sa.Column("media_type", sa.String(length=32), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media")),
    )
    op.create_index(op.f("ix_media_fact_id"), "media", ["fact_id"], unique=False)
    op.create_index(op.f("ix_media_received_at"), "media", ["received_at"], unique=False)
    op.create_index(op.f("ix_media_site_id"), "media", ["site_id"], unique=False)


def _marks() -> None:
    op.create_table(
        "marks",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_marks")),
    )


def _new_columns() -> None:
    op.add_column("areas", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("cameras", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("doors", sa.Column("mode_after", sa.String(length=16), nullable=True))
    op.add_column("doors", sa.Column("mode_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("doors", sa.Column("controller_id", sa.String(length=64), nullable=True))
    op.add_column("doors", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("edges", sa.Column("seal_key", sa.Text(), server_default="", nullable=False))
    op.add_column("edges", sa.Column("protection", sa.String(length=16), server_default="file", nullable=False))
    op.add_column("edges", sa.Column("checkpoint", sa.Text(), nullable=True))
    op.add_column("flats", sa.Column("keypad", sa.String(length=16), server_default="", nullable=False))
    op.add_column("flats", sa.Column("groups", sa.Text(), server_default="[]", nullable=False))
    op.add_column("flats", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("sites", sa.Column("company_id", sa.String(length=64), nullable=True))
    op.add_column("sites", sa.Column("ticket_keys", sa.Text(), server_default="[]", nullable=False))
    op.add_column("sites", sa.Column("version", sa.Integer(), server_default="1", nullable=False))


def upgrade() -> None:
    """Add them."""
    _companies()
    _controllers()
    _readers()
    _assessments()
    _notices()
    _schedules()
    _calendars()
    _permission_groups()
    _media()
    _marks()
    _new_columns()


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("restore a backup instead")
