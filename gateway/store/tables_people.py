"""Tables of people: the only ones that hold personal data, apart from which other tables know people by opaque ids.

Holds no query. Card numbers, PINs and templates are in none of them: credentials are keyed digests, faces are receipts.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Date, Float, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from gateway.store.tables import metadata, seeded, version
from gateway.store.types import UtcTime

people = Table(
    "people",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("born_on", Date),
    Column("under_14", Boolean, nullable=False, default=False),
    Column("phone", Text),
    Column("external_id", String(64)),
    Column("created_at", UtcTime, nullable=False),
    Column("active_at", UtcTime),
    seeded(),
    version(),
    Index("uq_people_external_id", "site_id", "external_id", unique=True),
)

occupancies = Table(
    "occupancies",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("flat_id", ForeignKey("flats.id"), nullable=False, index=True),
    Column("relation", String(16), nullable=False),
    Column("valid_from", UtcTime),
    Column("valid_until", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    seeded(),
)

guardianships = Table(
    "guardianships",
    metadata,
    Column("child_id", ForeignKey("people.id"), primary_key=True),
    Column("guardian_id", ForeignKey("people.id"), primary_key=True),
    Column("created_at", UtcTime, nullable=False),
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
    Column("superseded_at", UtcTime),
)

refusals = Table(
    "refusals",
    metadata,
    Column("person_id", ForeignKey("people.id"), primary_key=True),
    Column("purpose", String(32), primary_key=True),
    Column("at", UtcTime, nullable=False),
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("label", Text, nullable=False, default="", server_default=""),
    Column("state", String(16), nullable=False, default="active", server_default="active"),
    Column("digits", Integer),
    Column("duress", Boolean, nullable=False, default=False, server_default="0"),
    Column("valid_from", UtcTime),
    Column("valid_until", UtcTime),
    Column("ended_at", UtcTime),
    Column("replaces", String(64)),
    Column("created_at", UtcTime, nullable=False),
    version(),
    UniqueConstraint("site_id", "kind", "digest"),
)

permits = Table(
    "permits",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("person_id", ForeignKey("people.id"), nullable=False, index=True),
    Column("group_id", String(64), index=True),
    Column("doors", Text, nullable=False),
    Column("schedule_id", String(64)),
    Column("valid_from", UtcTime),
    Column("valid_until", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    version(),
)

visitor_passes = Table(
    "visitor_passes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("host_id", ForeignKey("people.id"), index=True),
    Column("visitor", Text, nullable=False, default="", server_default=""),
    Column("doors", Text, nullable=False),
    Column("valid_from", UtcTime, nullable=False),
    Column("valid_until", UtcTime, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False, default=0, server_default="0"),
    Column("pin_digest", String(64), nullable=False, default="", server_default=""),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    version(),
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

erasures = Table(
    "erasures",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("person_id", String(64), nullable=False, index=True),
    Column("edge_id", String(64), nullable=False),
    Column("receipt", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("person_id", String(64), primary_key=True),
    Column("site_id", String(64), nullable=False, index=True),
    Column("erased_at", UtcTime, nullable=False),
)

imports = Table(
    "imports",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("site_id", ForeignKey("sites.id"), nullable=False, index=True),
    Column("created_by", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("done", Integer, nullable=False, default=0, server_default="0"),
    Column("total", Integer, nullable=False, default=0, server_default="0"),
    Column("report", Text, nullable=False),
    Column("undone_at", UtcTime),
)

import_changes = Table(
    "import_changes",
    metadata,
    Column("import_id", ForeignKey("imports.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("object_id", String(64), nullable=False),
    Column("before", Text),
    Column("after", Text),
)
