"""Households, credentials with a life, visitor passes, imports, erasures, role changes and checkpoints."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _occupancies() -> None:
    op.create_table(
        "occupancies",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("flat_id", sa.String(length=64), nullable=False),
        sa.Column("relation", sa.String(length=16), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seeded", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["flat_id"], ["flats.id"], name=op.f("fk_occupancies_flat_id")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_occupancies_person_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_occupancies")),
    )
    op.create_index(op.f("ix_occupancies_flat_id"), "occupancies", ["flat_id"], unique=False)
    op.create_index(op.f("ix_occupancies_person_id"), "occupancies", ["person_id"], unique=False)


def _guardianships() -> None:
    op.create_table(
        "guardianships",
        sa.Column("child_id", sa.String(length=64), nullable=False),
        sa.Column("guardian_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["people.id"], name=op.f("fk_guardianships_child_id")),
        sa.ForeignKeyConstraint(["guardian_id"], ["people.id"], name=op.f("fk_guardianships_guardian_id")),
        sa.PrimaryKeyConstraint("child_id", "guardian_id", name=op.f("pk_guardianships")),
    )


def _refusals() -> None:
    op.create_table(
        "refusals",
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_refusals_person_id")),
        sa.PrimaryKeyConstraint("person_id", "purpose", name=op.f("pk_refusals")),
    )


def _visitor_passes() -> None:
    op.create_table(
        "visitor_passes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("host_id", sa.String(length=64), nullable=True),
        sa.Column("visitor", sa.Text(), server_default="", nullable=False),
        sa.Column("doors", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pin_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["people.id"], name=op.f("fk_visitor_passes_host_id")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_visitor_passes_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visitor_passes")),
    )
    op.create_index(op.f("ix_visitor_passes_host_id"), "visitor_passes", ["host_id"], unique=False)
    op.create_index(op.f("ix_visitor_passes_site_id"), "visitor_passes", ["site_id"], unique=False)


def _erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("edge_id", sa.String(length=64), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index(op.f("ix_erasures_person_id"), "erasures", ["person_id"], unique=False)


def _tombstones() -> None:
    op.create_table(
        "tombstones",
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_tombstones")),
    )
    op.create_index(op.f("ix_tombstones_site_id"), "tombstones", ["site_id"], unique=False)


def _imports() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_imports_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_index(op.f("ix_imports_site_id"), "imports", ["site_id"], unique=False)


def _import_changes() -> None:
    op.create_table(
        "import_changes",
        sa.Column("import_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_import_changes_import_id")),
        sa.PrimaryKeyConstraint("import_id", "number", name=op.f("pk_import_changes")),
    )


def _role_changes() -> None:
    op.create_table(
        "role_changes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("sites", sa.Text(), nullable=False),
        sa.Column("areas", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_changes")),
    )
    op.create_index(op.f("ix_role_changes_user_id"), "role_changes", ["user_id"], unique=False)


def _audit_checkpoints() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_checkpoints")),
    )


def _new_columns() -> None:
    op.add_column("consents", sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("credentials", sa.Column("label", sa.Text(), server_default="", nullable=False))
    op.add_column("credentials", sa.Column("state", sa.String(length=16), server_default="active", nullable=False))
    op.add_column("credentials", sa.Column("digits", sa.Integer(), nullable=True))
    op.add_column("credentials", sa.Column("valid_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("credentials", sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("credentials", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("credentials", sa.Column("replaces", sa.String(length=64), nullable=True))
    op.add_column("credentials", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("people", sa.Column("born_on", sa.Date(), nullable=True))
    op.add_column("people", sa.Column("phone", sa.Text(), nullable=True))
    op.add_column("people", sa.Column("external_id", sa.String(length=64), nullable=True))
    op.add_column("people", sa.Column("active_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("people", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.create_index("uq_people_external_id", "people", ["site_id", "external_id"], unique=True)
    op.add_column("permits", sa.Column("group_id", sa.String(length=64), nullable=True))
    op.add_column("permits", sa.Column("schedule_id", sa.String(length=64), nullable=True))
    op.add_column("permits", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.create_index(op.f("ix_permits_group_id"), "permits", ["group_id"], unique=False)
    op.add_column("users", sa.Column("version", sa.Integer(), server_default="1", nullable=False))


def _move_flats() -> None:
    """Turn the flat of a person into an occupancy, so that rights can follow the flat."""
    op.execute(
        "INSERT INTO occupancies (id, person_id, flat_id, relation, created_at, seeded) "
        "SELECT 'o-' || people.id, people.id, people.flat_id, 'family', people.created_at, people.seeded FROM people "
        "JOIN flats ON flats.id = people.flat_id"
    )
    op.execute("UPDATE flats SET keypad = id WHERE length(id) <= 16")  # until now the id was typed
    op.drop_column("people", "flat_id")


def _move_schedules() -> None:
    """Give each distinct schedule that was written into permits a row of its own; `always` needs none."""
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(
            "SELECT permits.id, permits.schedule, people.site_id FROM permits JOIN people ON people.id = permits.person_id"
        )
    ).all()
    for permit_id, text, site_id in rows:
        old = json.loads(text)
        window = {name: old[name] for name in ("weekdays", "from_time", "until_time") if name in old}
        if sorted(window.get("weekdays", range(7))) == list(range(7)) and window.get("from_time") == window.get(
            "until_time"
        ):
            continue
        record = {"site_id": site_id, "timezone": old.get("timezone", "Asia/Shanghai"), "windows": [window]}
        key = "s-" + hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:32]
        record |= {"id": key, "name": "moved"}
        made = {"id": key, "site_id": site_id, "record": json.dumps(record)}
        known = connection.execute(sa.text("SELECT id FROM schedules WHERE id = :id"), {"id": key}).first()
        if known is None:
            connection.execute(
                sa.text("INSERT INTO schedules (id, site_id, name, record) VALUES (:id, :site_id, 'moved', :record)"),
                made,
            )
        values = {"key": key, "id": permit_id}
        connection.execute(sa.text("UPDATE permits SET schedule_id = :key WHERE id = :id"), values)
    op.drop_column("permits", "schedule")


def upgrade() -> None:
    """Add them."""
    _occupancies()
    _guardianships()
    _refusals()
    _visitor_passes()
    _erasures()
    _tombstones()
    _imports()
    _import_changes()
    _role_changes()
    _audit_checkpoints()
    _new_columns()
    _move_flats()
    _move_schedules()


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("restore a backup instead")
