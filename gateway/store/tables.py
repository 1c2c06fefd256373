"""Tables of places, people and edges; those of events and of access are beside it. Holds no query.

Records that are only read as a whole are kept as JSON (`record`); what is searched for has a column of its own.
`seeded` marks what `gatehouse apply` wrote: the console shows it read-only.
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
    UniqueConstraint,
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


def _seeded() -> Column[bool]:
    return Column("seeded", Boolean, nullable=False, default=False)


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
    _seeded(),
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
    Column("credential_key", String(64), nullable=False),
    _seeded(),
)

flats = Table(
    "flats",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("building", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("room", Text, nullable=False),
    _seeded(),
)

doors = Table(
    "doors",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("edge_id", String(64), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("mode", String(16), nullable=False, default="normal"),
    Column("mode_version", Integer, nullable=False, default=1),
    _seeded(),
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
    _seeded(),
)

people = Table(
    "people",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("flat_id", String(64)),
    Column("under_14", Boolean, nullable=False, default=False),
    Column("created_at", UtcTime, nullable=False),
    _seeded(),
)

consents = Table(
    "consents",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("purpose", String(32), nullable=False),
    Column("doors", Text, nullable=False),
    Column("text_version", Text, nullable=False),
    Column("text_sha256", String(64), nullable=False),
    Column("given_at", UtcTime, nullable=False),
    Column("channel", String(32), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("guardian", Text),
    Column("expires_at", UtcTime),
    Column("withdrawn_at", UtcTime),
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("site_id", "kind", "digest"),
)

permits = Table(
    "permits",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("doors", Text, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("valid_from", UtcTime),
    Column("valid_until", UtcTime),
    Column("created_at", UtcTime, nullable=False),
)

face_receipts = Table(
    "face_receipts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("consent_id", String(64), nullable=False),
    Column("edge_id", String(64), nullable=False),
    Column("contract", Text, nullable=False),
    Column("quality", Float, nullable=False),
    Column("digest", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("erased_at", UtcTime),
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
    Column("ended_at", UtcTime),
    Index("ix_commands_waiting", "edge_id", "delivered_at"),
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
