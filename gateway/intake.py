"""Take in what edges report: one transaction writes facts, alerts, feed and outbox rows. Nothing is announced before it commits.

A fact's id decides: written before, it changes nothing. What cannot be read is set aside and counts as taken, so that one
bad fact never blocks the good ones behind it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from gateway.centre.events import Route
from gateway.changes import tell_change
from gateway.store import Connection
from gateway.store.alerts import clear_alerts, raise_alert
from gateway.store.bypasses import is_bypassed
from gateway.store.dialect import hold_feed
from gateway.store.edges import EdgeIdentity, speaks_for
from gateway.store.facts import set_aside, write_fact
from gateway.store.people import note_activity
from gateway.store.places import place_of
from gateway.store.unlocks import confirm_by_contact
from gateway.store.visitors import note_pass_use
from models.alerts import Clear, Raise, alerts_for
from models.errors import InvalidInput
from models.events import (
    AccessGranted,
    AnyFact,
    ClockDoubted,
    ClockTrusted,
    DoorOpened,
    PowerCut,
    PowerRestored,
    source_of,
)
from models.link import MAX_FACTS, Committed
from models.places import ID_LIMIT

_batch = msgspec.json.Decoder(list[msgspec.Raw])
_fact = msgspec.json.Decoder(AnyFact)


class _Named(msgspec.Struct):
    id: str


def split_batch(body: bytes) -> list[msgspec.Raw]:
    """Return the facts of a batch, unread.

    Raises:
        InvalidInput: the body is not a JSON array of at most 500.
    """
    try:
        items = _batch.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("body", f"send a JSON array of facts ({error})") from error
    if len(items) > MAX_FACTS:
        raise InvalidInput("body", f"send at most {MAX_FACTS} facts at once, not {len(items)}")
    return items


def take_in(
    connection: Connection, items: list[msgspec.Raw], *, edge: EdgeIdentity, at: datetime, routes: tuple[Route, ...]
) -> Committed:
    """Write a batch of facts with all that follows from them; everything named in the answer is durable after commit."""
    hold_feed(connection)
    committed, rejected = [], []
    for item in items:
        raw = bytes(item)
        try:
            fact = _fact.decode(raw)
            _check(connection, fact, raw=raw, edge=edge)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidInput) as error:
            key = hashlib.sha256(edge.id.encode() + b"\x1f" + raw).hexdigest()
            name = _id_of(raw)
            set_aside(connection, raw, key=key, edge_id=edge.id, fact_id=name, error=str(error), at=at)
            rejected.append(name or key)
            continue
        if write_fact(connection, fact, edge_id=edge.id, site_id=edge.site_id, at=at):
            _follow(connection, fact, edge=edge, at=at, routes=routes)
        committed.append(fact.id)
    return Committed(committed=tuple(committed), rejected=tuple(rejected))


def _follow(
    connection: Connection, fact: AnyFact, *, edge: EdgeIdentity, at: datetime, routes: tuple[Route, ...]
) -> None:
    if isinstance(fact, AccessGranted):
        _note_grant(connection, fact, site_id=edge.site_id, at=at)
    if isinstance(fact, DoorOpened) and fact.attempt is not None:
        confirm_by_contact(connection, fact.attempt, edge_id=edge.id, at=fact.at)
    match alerts_for(fact):
        case Raise() as wanted if not is_bypassed(connection, wanted.source_id, kind=wanted.kind, at=wanted.at):
            if wanted.kind == "door_call":  # one ring per door: the one before is over, told or not
                before = Clear(kinds=("door_call",), source_id=wanted.source_id, at=wanted.at)
                clear_and_tell(connection, before, at=at, routes=routes)
            raise_and_tell(connection, wanted, edge_site=edge.site_id, fact_id=fact.id, at=at, routes=routes)
        case Clear() as ended:
            clear_and_tell(connection, ended, at=at, routes=routes)
        case _:
            pass


def _note_grant(connection: Connection, fact: AccessGranted, *, site_id: str, at: datetime) -> None:
    """Count the use of a visitor's pass, and note that a person is active; both only at the edge's own site."""
    if fact.pass_id is not None and fact.unlocked:  # what may have opened without our knowing, the edge counts itself
        note_pass_use(connection, fact.pass_id, door_id=fact.door_id, site_id=site_id)
    if fact.person_id is not None:
        note_activity(connection, fact.person_id, site_id=site_id, at=min(fact.at, at))


def raise_and_tell(
    connection: Connection,
    wanted: Raise,
    *,
    edge_site: str,
    fact_id: str | None,
    at: datetime,
    routes: tuple[Route, ...],
) -> str:
    """Raise an alert (or count one more) and tell everybody; return the alert's id."""
    place = place_of(connection, wanted.source_id, kind=wanted.kind, edge_site=edge_site)
    alert_id, change = raise_alert(connection, wanted, place=place, fact_id=fact_id, at=at)
    tell_change(connection, alert_id, change=change, at=at, routes=routes)
    return alert_id


def clear_and_tell(connection: Connection, ended: Clear, *, at: datetime, routes: tuple[Route, ...]) -> None:
    """Clear what has ended and tell everybody."""
    for alert_id in clear_alerts(connection, ended, at=at):
        tell_change(connection, alert_id, change="cleared", at=at, routes=routes)


def _check(connection: Connection, fact: AnyFact, *, raw: bytes, edge: EdgeIdentity) -> None:
    for name, value in (("at", fact.at), ("device_at", fact.device_at)):
        if value is not None:
            check_time(value, where=name)
    told = ((name, getattr(fact, name, None)) for name in ("person_id", "pass_id"))
    for name, text in (("id", fact.id), ("source", source_of(fact)), *told):
        if text is not None and not 1 <= len(text) <= ID_LIMIT:
            raise InvalidInput(name, f"an id has 1 to {ID_LIMIT} characters")
    if b"\\u0000" in raw and _holds_nul(msgspec.json.decode(raw)):
        raise InvalidInput("fact", "no database keeps the character NUL")
    if isinstance(fact, ClockDoubted | ClockTrusted | PowerCut | PowerRestored) and fact.edge_id != edge.id:
        raise InvalidInput("edge_id", f"edge {edge.id!r} cannot report about edge {fact.edge_id!r}")
    if not speaks_for(connection, source_of(fact), edge=edge):
        raise InvalidInput("door_id", f"{source_of(fact)!r} is not a device of edge {edge.id!r}")


def check_time(value: datetime, *, where: str) -> datetime:
    """Return an aware time within bounds that every database keeps.

    Raises:
        InvalidInput: it has no zone, or is before 2000 or after 2099.
    """
    if value.tzinfo is None:
        raise InvalidInput(where, "a time needs its zone, for example Z")
    if not 2000 <= value.year < 2100:
        raise InvalidInput(where, "a time lies between 2000 and 2099")
    return value


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_holds_nul(item) for pair in value.items() for item in pair)
        case list():
            return any(_holds_nul(item) for item in value)
        case _:
            return False


def _id_of(raw: bytes) -> str | None:
    try:
        return msgspec.json.decode(raw, type=_Named).id[:200].replace("\x00", "\ufffd")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
