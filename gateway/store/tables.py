"""Tables of places and edges; those of people, events and access are beside it. Holds no query.

Records that are only read as a whole are kept as JSON (`record`); what is searched for has a column of its own.
`seeded` marks what `gatehouse apply` wrote: the console shows it read-only. `version` counts changes: it is the ETag.
No table here holds personal data.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from gateway.store.types import UtcTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def seeded() -> Column[bool]:
    """Return the column that says whether `gatehouse apply` wrote a row."""
    return Column("seeded", Boolean, nullable=False, default=False, server_default="0")


def version() -> Column[int]:
    """Return the column that counts a row's changes."""
    return Column("version", Integer, nullable=False, default=1, server_default="1")


areas = Table(
    "areas",
    metadata,
    Column("code", String(15), primary_key=True),
    Column("name", Text, nullable=False),
    Column("level", String(16), nullable=False),
    Column("parent", String(15)),
    Column("valid_from", Date),
    Column("valid_until", Date),
    Column("successor", String(15)),
    version(),
    seeded(),
)

companies = Table(
    "companies",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("contact", Text, nullable=False, default="", server_default=""),
    seeded(),
    version(),
)

sites = Table(
    "sites",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("community", String(15), nullable=False),
    Column("grid", String(15)),
    Column("address", Text, nullable=False, default=""),
    Column("timezone", String(64), nullable=False),
    Column("lat", Float),
    Column("lon", Float),
    Column("datum", String(16), nullable=False),
    # Wrapped by the vault, which takes more room than the 64 characters of the key; SQLite bounds no text.
    Column("credential_key", String(64).with_variant(Text(), "postgresql"), nullable=False),
    Column("company_id", String(64)),
    Column("ticket_keys", Text, nullable=False, default="[]", server_default="[]"),
    version(),
    seeded(),
)

flats = Table(
    "flats",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("building", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("room", Text, nullable=False),
    Column("keypad", String(16), nullable=False, default="", server_default=""),
    Column("groups", Text, nullable=False, default="[]", server_default="[]"),
    version(),
    seeded(),
)

controllers = Table(
    "controllers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("edge_id", String(64), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("record", Text, nullable=False),
    seeded(),
    version(),
)

doors = Table(
    "doors",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("edge_id", String(64), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("record", Text, nullable=False),
    # Of its driver; apart from the record, as a camera's password.
    Column("secrets", Text, nullable=False, default="", server_default=""),
    Column("mode", String(16), nullable=False, default="normal"),
    Column("mode_version", Integer, nullable=False, default=1),
    Column("mode_until", UtcTime),
    Column("mode_after", String(16)),
    Column("controller_id", String(64)),
    version(),
    seeded(),
)

readers = Table(
    "readers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("door_id", ForeignKey("doors.id"), nullable=False, index=True),
    Column("record", Text, nullable=False),
    seeded(),
    version(),
)

cameras = Table(
    "cameras",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("edge_id", String(64), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("record", Text, nullable=False),
    # Apart from the record, so that no query that serves people can return it by accident.
    Column("password", Text, nullable=False, default=""),
    version(),
    seeded(),
)

assessments = Table(
    "assessments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("subject", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("record", Text, nullable=False),
    seeded(),
    version(),
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("edge_id", String(64), nullable=False, default="", server_default=""),
    Column("contract", String(160), nullable=False),
    Column("source", String(16), nullable=False),
    Column("record", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    seeded(),
    version(),
)

devices = Table(
    "devices",
    metadata,
    Column("id", String(160), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("edge_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("record", Text, nullable=False),
    # Wrapped by the vault, as a camera's password is.
    Column("credentials", Text, nullable=False, default="", server_default=""),
    Column("seen_at", UtcTime, nullable=False),
    version(),
)

card_formats = Table(
    "card_formats",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("record", Text, nullable=False),
    seeded(),
    version(),
)

bypasses = Table(
    "bypasses",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("door_id", ForeignKey("doors.id"), nullable=False, index=True),
    Column("kinds", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String(64), nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
)

notices = Table(
    "notices",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("purpose", String(32), nullable=False),
    Column("name", String(64), nullable=False),
    Column("record", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("published_at", UtcTime),
    seeded(),
    version(),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("record", Text, nullable=False),
    seeded(),
    version(),
)

calendars = Table(
    "calendars",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("record", Text, nullable=False),
    seeded(),
    version(),
)

permission_groups = Table(
    "permission_groups",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("doors", Text, nullable=False),
    Column("schedule_id", String(64)),
    seeded(),
    version(),
)

edges = Table(
    "edges",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("enrolled_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Column("seen_at", UtcTime),
    Column("status", Text),
    Column("seal_key", Text, nullable=False, default="", server_default=""),
    Column("protection", String(16), nullable=False, default="file", server_default="file"),
    Column("checkpoint", Text),
    version(),
)

edge_tokens = Table(
    "edge_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("site_id", String(64), nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
    Column("used_by", String(64)),
)

edge_nonces = Table(
    "edge_nonces",
    metadata,
    Column("edge_id", String(64), primary_key=True),
    Column("nonce", String(64), primary_key=True),
    Column("seen_at", UtcTime, nullable=False, index=True),
)

policy_versions = Table(
    "policy_versions",
    metadata,
    Column("edge_id", String(64), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("issued_at", UtcTime, nullable=False),
)

commands = Table(
    "commands",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("edge_id", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("deadline", UtcTime, nullable=False),
    Column("delivered_at", UtcTime),
    Column("result", Text),
    Column("progress", Text),
    Column("ended_at", UtcTime),
    Index("ix_commands_waiting", "edge_id", "ended_at", "deadline"),
)

device_status = Table(
    "device_status",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(8), primary_key=True),
    Column("edge_id", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)

media = Table(
    "media",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", String(64), nullable=False, index=True),
    Column("edge_id", String(64), nullable=False),
    Column("camera_id", String(64), nullable=False),
    Column("fact_id", String(64), index=True),
    Column("media_type", String(32), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False, index=True),
    Column("blurred", Boolean, nullable=False, default=False, server_default="0"),
)

marks = Table(
    "marks",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)
