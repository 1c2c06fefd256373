"""Lists newest first over any set of sites: complete, in order, without repetition, and read from indexes alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from gateway.store import Connection, Store
from gateway.store.alerts import alerts_of
from gateway.store.facts import drop_old_facts, facts_of, write_fact
from gateway.store.feed import feed_range
from gateway.store.newest import LOOK, SITES_MOST
from gateway.store.subjects import passages
from gateway.store.tables_events import alerts, facts
from gateway.store.types import as_text
from gateway.store.whole import insert_rows
from gateway.views import Place
from models.events import AccessGranted, DoorForced
from tests.gateway.support import BEGINNING

PLACE = Place(site_id="a", site_name="A", door_id="d", name="D", address="")
SITES = [f"s{n}" for n in range(5)]
KINDS = ["access_granted", "door_forced", "door_closed"]


def made_up(count: int) -> list[dict[str, Any]]:
    """Return rows of facts, many of them at one time, in no order."""
    chance = random.Random(7)
    rows = [
        {
            "id": f"f{n:04}", "edge_id": "e", "site_id": chance.choice(SITES[:4]), "source_id": f"d{n % 7}",
            "kind": chance.choice(KINDS), "at": BEGINNING + timedelta(seconds=chance.randrange(count // 4)),
            "received_at": BEGINNING, "person_id": None, "body": "{}",
        }
        for n in range(count)
    ]  # fmt: skip
    chance.shuffle(rows)
    return rows


@pytest.mark.parametrize("kind", [None, "door_forced", "never"])
@pytest.mark.parametrize("source_id", [None, "d3"])
def test_pages_over_any_sites_are_the_sorted_list_cut_into_pieces(
    store: Store, kind: str | None, source_id: str | None
) -> None:
    rows = made_up(300)
    store.write_now(Connection.execute, insert(facts), rows)
    for sites in itertools.chain.from_iterable(itertools.combinations(SITES, size) for size in range(len(SITES) + 1)):
        wanted = [
            (row["at"], row["id"])
            for row in rows
            if row["site_id"] in sites and kind in {None, row["kind"]} and source_id in {None, row["source_id"]}
        ]
        found: list[tuple[datetime, str]] = []
        while True:
            before = found[-1] if found else None
            page = store.read_now(
                facts_of, site_ids=frozenset(sites), kind=kind, source_id=source_id, before=before, limit=37
            )
            found += [(at, key) for at, key, _ in page]
            if len(page) < 37:
                break
        assert found == sorted(wanted, reverse=True)


def test_who_sees_little_of_much_gets_whole_pages(store: Store) -> None:
    noise = [
        {
            "id": f"n{n:05}", "edge_id": "e", "site_id": "loud", "source_id": "d", "kind": "door_closed",
            "at": BEGINNING + timedelta(hours=1, seconds=n), "received_at": BEGINNING, "person_id": None, "body": "{}",
        }
        for n in range(LOOK + 10)
    ]  # fmt: skip
    rows = made_up(100)
    store.write_now(insert_rows, "facts", rows=noise + rows)
    found = store.read_now(facts_of, site_ids=frozenset(SITES), limit=30)
    wanted = sorted(((row["at"], row["id"]) for row in rows), reverse=True)
    assert [(at, key) for at, key, _ in found] == wanted[:30]
    rest = store.read_now(facts_of, site_ids=frozenset(SITES), before=found[-1][:2], limit=100)
    assert [(at, key) for at, key, _ in rest] == wanted[30:]


def test_more_sites_than_can_be_put_together_are_listed_all_the_same(store: Store) -> None:
    rows = made_up(100)
    store.write_now(Connection.execute, insert(facts), rows)
    many = frozenset(SITES) | {f"empty-{n}" for n in range(SITES_MOST)}
    few = store.read_now(facts_of, site_ids=frozenset(SITES), limit=50)
    assert len(few) == 50
    assert store.read_now(facts_of, site_ids=many, limit=50) == few
    most = frozenset(sorted(many)[-SITES_MOST:])
    assert set(SITES) <= most
    assert store.read_now(facts_of, site_ids=most, limit=50) == few


LATER = (BEGINNING, "f0100")
ASKED: dict[str, dict[str, Any]] = {
    "one site": {"site_ids": {"s1"}},
    "one site, a later page": {"site_ids": {"s1"}, "before": LATER},
    "one kind": {"site_ids": {"s1"}, "kind": "door_forced"},
    "three sites": {"site_ids": {"s0", "s1", "s2"}},
    "three sites, a kind that is rare, a later page": {"site_ids": {"s0", "s1", "s2"}, "kind": "x", "before": LATER},
    "one place": {"site_ids": {"s1", "s2"}, "source_id": "d1", "before": LATER},
}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ASKED)
def test_lists_of_facts_are_read_from_their_indexes(store: Store, name: str) -> None:
    asked = {**ASKED[name], "site_ids": frozenset(ASKED[name]["site_ids"])}
    plans = plans_of(store, lambda connection: facts_of(connection, **asked))
    steps = [step for plan in plans for step in plan if " facts" in step]
    assert steps
    assert [step for step in steps if "INDEX" not in step] == []
    assert [step for step in steps if step.startswith("SCAN") and "COVERING INDEX ix_facts_at" not in step] == []
    if len(asked["site_ids"]) == 1 or "source_id" in asked:  # of several sites, the few that were found are sorted
        assert [step for plan in plans for step in plan if "TEMP B-TREE" in step] == []


def plans_of(store: Store, query: Callable[[Connection], Any]) -> list[list[str]]:
    """Run a query and return how SQLite carries out each of its selections."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        seen.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", note)
    try:
        store.read_now(query)
    finally:
        event.remove(store.engine, "before_cursor_execute", note)

    def explain(connection: Connection) -> list[list[str]]:
        return [
            [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in seen
        ]

    return store.read_now(explain)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_open_alerts_are_read_from_their_own_index(store: Store) -> None:
    sites = frozenset({"a", "b"})
    plans = plans_of(store, lambda c: alerts_of(c, site_ids=sites, open_only=True, before=None, limit=10))
    assert next(plan for plan in plans if plan) == ["SCAN alerts USING INDEX ix_alerts_unresolved"]


def test_open_alerts_are_those_that_nobody_resolved(store: Store) -> None:
    plain = {
        "kind": "door_forced", "severity": "urgent", "condition": "active", "source_id": "d", "site_id": "a",
        "place": as_text(PLACE),
        "recorded_at": BEGINNING, "late": False, "exercise": False, "count": 1, "version": 1,
    }  # fmt: skip
    rows = [
        {**plain, "id": f"al{n}", "workflow": workflow, "raised_at": BEGINNING + timedelta(seconds=n)}
        for n, workflow in enumerate(("new", "resolved", "acknowledged", "resolved", "new"))
    ]
    store.write_now(Connection.execute, insert(alerts), rows)
    for sites in (frozenset({"a"}), frozenset({"a", "b"})):
        listed = store.read_now(alerts_of, site_ids=sites, open_only=True, before=None, limit=10)
        assert [alert.id for alert in listed] == ["al4", "al2", "al0"]
        every = store.read_now(alerts_of, site_ids=sites, open_only=False, before=(BEGINNING, "al0"), limit=10)
        assert every == []


def test_a_persons_passages_are_found_by_their_id_alone(store: Store) -> None:
    for n, person_id in enumerate(("p1", "p2", None, "p1")):
        at = BEGINNING + timedelta(seconds=n)
        fact = AccessGranted(
            id=f"g{n}", at=at, door_id="gate", person_id=person_id, method="card", unlocked=True, attempt=f"a{n}"
        )
        assert store.write_now(write_fact, fact, edge_id="e", site_id="a", at=at)
    forced = DoorForced(id="f", at=BEGINNING, door_id="p1")
    store.write_now(write_fact, forced, edge_id="e", site_id="a", at=BEGINNING)
    found = store.read_now(passages, "p1")
    assert [passage.at - BEGINNING for passage in found] == [timedelta(seconds=3), timedelta(0)]


def test_old_facts_go_oldest_first_and_only_old_ones(store: Store) -> None:
    rows = made_up(100)
    store.write_now(Connection.execute, insert(facts), rows)
    middle = BEGINNING + timedelta(seconds=12)
    old = sorted((row["at"], row["id"]) for row in rows if row["at"] < middle)
    assert store.write_now(drop_old_facts, before=middle, limit=10) == 10
    assert store.write_now(drop_old_facts, before=middle, limit=1000) == len(old) - 10
    left = store.read_now(lambda c: c.execute(text("SELECT count(*) FROM facts")).scalar())
    assert left == 100 - len(old)


def test_the_range_of_an_empty_feed_is_empty(store: Store) -> None:
    assert store.read_now(feed_range) == (1, 0)
