"""Tables of facts, alerts, the live feed and the way to the centre. Holds no query."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, text

from gateway.store.tables import metadata
from gateway.store.types import UtcTime

# SQLite gives a self-counting key only to a column declared exactly INTEGER.
_COUNTING = BigInteger().with_variant(Integer, "sqlite")


def _where(condition: str) -> dict[str, Any]:
    """Return the options of an index over the rows that meet a condition, on both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


counters = Table(
    "counters",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("edge_id", String(64), nullable=False),
    Column("site_id", String(64)),
    Column("source_id", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    # Whom an admission was about, by opaque id: a person's own data must be found among a million facts.
    Column("person_id", String(64)),
    Column("body", Text, nullable=False),
    # Lists are read newest first, per site, from the index alone (newest.py); deletion goes by time.
    Index("ix_facts_site", "site_id", "at", "id"),
    Index("ix_facts_site_kind", "site_id", "kind", "at", "id"),
    Index("ix_facts_source", "source_id", "at", "id", "kind"),
    Index("ix_facts_person", "person_id", "at", "id", **_where("person_id IS NOT NULL")),
    Index("ix_facts_at", "at", "id", "site_id", "kind"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("edge_id", String(64), nullable=False),
    Column("fact_id", Text),
    Column("error", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("received_at", UtcTime, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("condition", String(16), nullable=False),
    Column("workflow", String(16), nullable=False),
    Column("source_id", String(64), nullable=False),
    Column("site_id", String(64), nullable=False),
    Column("place", Text, nullable=False),
    Column("raised_at", UtcTime, nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Column("cleared_at", UtcTime),
    Column("acknowledged_at", UtcTime),
    Column("acknowledged_by", String(64)),
    Column("resolved_at", UtcTime),
    Column("resolved_by", String(64)),
    Column("disposition", String(64)),
    Column("late", Boolean, nullable=False),
    Column("exercise", Boolean, nullable=False),
    Column("count", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Index("ix_alerts_open", "source_id", "kind", "condition"),
    Index("ix_alerts_site", "site_id", "raised_at", "id"),
    Index("ix_alerts_raised", "raised_at", "id", "site_id"),
    Index("ix_alerts_unresolved", "raised_at", "id", "site_id", **_where("workflow <> 'resolved'")),
)

alert_facts = Table(
    "alert_facts",
    metadata,
    Column("alert_id", ForeignKey("alerts.id"), primary_key=True),
    Column("fact_id", String(64), primary_key=True),
)

alert_steps = Table(
    "alert_steps",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("alert_id", ForeignKey("alerts.id"), nullable=False, index=True),
    Column("change", String(16), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("user_id", String(64)),
    Column("note", Text),
)

feed = Table(
    "feed",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False, index=True),
    Column("event", String(16), nullable=False),
    Column("site_id", String(64), nullable=False),
    Column("body", Text, nullable=False),
)

centres = Table(
    "centres",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("paused_at", UtcTime),
    Column("pause_reason", Text),
    Column("retry_at", UtcTime),
    Column("receipts_cursor", Text),
    Column("heartbeat_at", UtcTime),
)

outbox = Table(
    "outbox",
    metadata,
    Column("number", _COUNTING, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("centre_id", String(64), nullable=False),
    Column("alert_id", String(64), nullable=False, index=True),
    Column("type", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", UtcTime, nullable=False),
    Column("leased_until", UtcTime),
    Column("delivered_at", UtcTime),
    Column("dead_at", UtcTime),
    Column("last_status", Integer),
    Column("last_answer", Text),
    Index("ix_outbox_waiting", "centre_id", "delivered_at", "number"),
    Index("ix_outbox_counted", "centre_id", "delivered_at", "dead_at", "created_at"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("centre_id", String(64), nullable=False),
    Column("alert_id", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("reference", Text),
    Column("note", Text),
    Column("received_at", UtcTime, nullable=False),
)
