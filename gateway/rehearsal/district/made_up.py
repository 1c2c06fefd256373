"""A district's past, made up: sites, doors, a million facts, alerts, messages to a centre and audit rows. Reads nothing.

One site has three facts in ten, more than any site of a district would: the others share the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_entries
from gateway.store.places import put_door, put_site
from gateway.store.types import as_text
from gateway.store.whole import insert_rows, settle_statistics
from gateway.views import Place
from models.events import AccessDenied, AccessGranted, AnyFact, DoorClosed, DoorForced, DoorOpened, kind_of, source_of
from models.places import Door, Site

SITES, DOORS, PEOPLE = 312, 46, 3200
BIG = "site-000"
AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SPAN = timedelta(days=180)
PIECE = 20_000
ALERT_EVERY, AUDIT_ROWS, FEED_ROWS = 100, 20_000, 20_000
Tell = Callable[[str], None]


def site_id(number: int) -> str:
    """Return the id of a made-up site."""
    return f"site-{number:03}"


def door_id(site: int, number: int) -> str:
    """Return the id of a made-up door."""
    return f"{site_id(site)}-door-{number:02}"


def edge_id(site: int) -> str:
    """Return the id of the edge of a made-up site."""
    return f"{site_id(site)}-edge"


def person_id(number: int) -> str:
    """Return the id of a made-up person of the big site."""
    return f"p-{number:08x}"


def furnish(store: Store, *, facts: int, tell: Tell) -> None:
    """Fill an empty, migrated database."""
    chance = random.Random(1)  # noqa: S311 - the same past every time, not a secret
    store.write_now(_places)
    store.write_now(_people)
    for start in range(0, facts, PIECE):
        store.write_now(_write_facts, chance, start=start, stop=min(start + PIECE, facts), of=facts)
        if start % (PIECE * 10) == 0:
            tell(f"{start} of {facts} facts")
    store.write_now(_alerts, chance, count=facts // ALERT_EVERY)
    for start in range(0, AUDIT_ROWS, 1000):
        entries = [AuditEntry(actor="u1", action="person.look_up", subject=person_id(n % PEOPLE)) for n in range(1000)]
        store.write_now(append_entries, entries, at=AT + timedelta(seconds=start))
    store.write_now(_feed)
    store.write_now(settle_statistics)


def _places(connection: Connection) -> None:
    for site in range(SITES):
        community = f"310104{site % 900 + 1:06}"
        put_site(connection, Site(id=site_id(site), name=f"Compound {site}", community=community))
        for number in range(DOORS):
            door = Door(id=door_id(site, number), site_id=site_id(site), name=f"Door {number}", edge_id=edge_id(site))
            put_door(connection, door)


def _people(connection: Connection) -> None:
    rows = [
        {"id": person_id(n), "site_id": BIG, "name": f"住户{n}", "under_14": False, "created_at": AT, "seeded": False}
        for n in range(PEOPLE)
    ]
    insert_rows(connection, "people", rows=rows)


def made_up_fact(chance: random.Random, number: int, *, at: datetime, site: int) -> AnyFact:
    """Return a fact of a site: mostly somebody let in, now and then a door forced."""
    place, key = door_id(site, chance.randrange(DOORS)), f"{number:08x}-0000-5000-8000-{chance.getrandbits(48):012x}"
    pick = chance.random()
    if pick < 0.0005:
        return DoorForced(id=key, at=at, door_id=place)
    if pick < 0.2:
        return DoorOpened(id=key, at=at, door_id=place, cause="granted")
    if pick < 0.4:
        return DoorClosed(id=key, at=at, door_id=place)
    who = person_id(chance.randrange(PEOPLE))
    if pick < 0.45:
        return AccessDenied(id=key, at=at, door_id=place, attempt=key, method="card", reason="no_permit", person_id=who)
    return AccessGranted(id=key, at=at, door_id=place, attempt=key, method="card", person_id=who, unlocked=True)


def _write_facts(connection: Connection, chance: random.Random, *, start: int, stop: int, of: int) -> None:
    insert_rows(connection, "facts", rows=list(_rows(chance, range(start, stop), of=of)))


def _rows(chance: random.Random, numbers: range, *, of: int) -> Iterator[dict[str, Any]]:
    for number in numbers:
        at = AT - SPAN + SPAN * (number / of)
        site = 0 if chance.random() < 0.3 else chance.randrange(SITES)
        fact = made_up_fact(chance, number, at=at, site=site)
        yield {
            "id": fact.id, "edge_id": edge_id(site), "site_id": site_id(site), "source_id": source_of(fact),
            "kind": kind_of(fact), "at": at, "received_at": at, "person_id": getattr(fact, "person_id", None),
            "body": as_text(fact),
        }  # fmt: skip


def _alerts(connection: Connection, chance: random.Random, *, count: int) -> None:
    raised, sent = [], []
    for number in range(count):
        site = 0 if chance.random() < 0.3 else chance.randrange(SITES)
        at, door = AT - SPAN + SPAN * (number / count), door_id(site, chance.randrange(DOORS))
        place = Place(site_id=site_id(site), site_name=f"Compound {site}", door_id=door, name=door, address="")
        is_open = number >= count - 60
        raised.append(
            {
                "id": f"al-{number:08x}", "kind": "door_forced", "severity": "urgent", "source_id": door,
                "condition": "active" if is_open else "cleared", "workflow": "new" if is_open else "resolved",
                "site_id": site_id(site), "place": as_text(place), "raised_at": at, "recorded_at": at, "late": False,
                "exercise": False, "count": 1, "version": 1,
            }
        )  # fmt: skip
        sent.append(
            {
                "id": f"m-{number:08x}", "centre_id": "centre", "alert_id": f"al-{number:08x}", "type": "raised",
                "body": as_text(place), "created_at": at, "attempts": 1, "next_at": at, "delivered_at": at,
            }
        )  # fmt: skip
    insert_rows(connection, "alerts", rows=raised)
    insert_rows(connection, "centres", rows=[{"id": "centre"}])
    insert_rows(connection, "outbox", rows=sent)


def _feed(connection: Connection) -> None:
    body = msgspec.json.encode({"seq": 1, "kind": "door_forced"}).decode()
    rows = [
        {"seq": n, "at": AT, "event": "alert", "site_id": site_id(n % SITES), "body": body}
        for n in range(1, FEED_ROWS + 1)
    ]
    insert_rows(connection, "feed", rows=rows)
    insert_rows(connection, "counters", rows=[{"name": "feed", "value": FEED_ROWS}])
