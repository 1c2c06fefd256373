"""Benchmarks of what the console asks, with a million facts in the database, and of how fast facts are taken in."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from gateway.intake import take_in
from gateway.rehearsal.district.made_up import (
    AT,
    BIG,
    DOORS,
    PEOPLE,
    SITES,
    SPAN,
    door_id,
    edge_id,
    furnish,
    made_up_fact,
    person_id,
    site_id,
)  # fmt: skip
from gateway.rehearsal.district.postgres import temporary_postgres
from gateway.store import Connection, Store
from gateway.store.alerts import alert_by_id, alerts_of
from gateway.store.audit import AuditFilter, audit_views
from gateway.store.edges import EdgeIdentity, edge_views
from gateway.store.facts import facts_of
from gateway.store.feed import announcements_after, feed_range
from gateway.store.outbox import deliveries
from gateway.store.people import people_of
from gateway.store.places import door_views
from gateway.store.subjects import look_ups, passages
from models.benchmarks import Benchmark

FACTS = 1_000_000
ROUNDS = 40
QUERY_MS = 50.0
INTAKE_PER_S = {"sqlite": 500.0, "postgres": 3000.0}
BATCHES, BATCH = 40, 250
EVERYWHERE = frozenset(site_id(n) for n in range(SITES))
ONE = frozenset({BIG})
Tell = Callable[[str], None]
Query = Callable[[Connection], Any]


def bench_events(directory: Path, *, facts: int = FACTS, tell: Tell) -> list[Benchmark]:
    """Measure queries and intake on SQLite, and on PostgreSQL where it is installed."""
    rows = _measured(f"sqlite:///{directory / 'events.db'}", "sqlite", facts=facts, tell=tell)
    with temporary_postgres() as url:
        if url is None:
            tell("PostgreSQL is not installed: its rows are left out")
            return rows
        return rows + _measured(url, "postgres", facts=facts, tell=tell)


def _measured(url: str, name: str, *, facts: int, tell: Tell) -> list[Benchmark]:
    store = Store(url)
    try:
        store.migrate()
        furnish(store, facts=facts, tell=lambda line: tell(f"{name}: {line}"))
        tell(f"{name}: asking")
        asked = _asked(store, name, facts=facts)
        tell(f"{name}: taking facts in")
        return [asked, asyncio.run(_taken_in(store, name, facts=facts))]
    finally:
        store.close()


def queries(chance: random.Random) -> dict[str, Query]:
    """Return what the console asks, each for a place and page of its own choice."""
    some = frozenset(site_id(n) for n in chance.sample(range(SITES), 30))
    quiet, door = frozenset({site_id(chance.randrange(1, SITES))}), door_id(0, chance.randrange(DOORS))
    before = (AT - SPAN * chance.random(), "f")
    who, last = person_id(chance.randrange(PEOPLE)), 20_000 - chance.randrange(100)
    return {
        "facts of one site": lambda c: facts_of(c, site_ids=ONE),
        "facts of a quiet site": lambda c: facts_of(c, site_ids=quiet),
        "a later page": lambda c: facts_of(c, site_ids=ONE, before=before),
        "facts of 30 sites, a later page": lambda c: facts_of(c, site_ids=some, before=before),
        "facts of all sites": lambda c: facts_of(c, site_ids=EVERYWHERE),
        "facts of a door": lambda c: facts_of(c, site_ids=EVERYWHERE, source_id=door, before=before),
        "a rare kind": lambda c: facts_of(c, site_ids=ONE, kind="door_forced"),
        "a rare kind everywhere": lambda c: facts_of(c, site_ids=EVERYWHERE, kind="door_forced"),
        "a kind that never was": lambda c: facts_of(c, site_ids=EVERYWHERE, kind="door_tampered"),
        "a rare kind at a door": lambda c: facts_of(c, site_ids=ONE, kind="door_forced", source_id=door),
        "open alerts of one site": lambda c: alerts_of(c, site_ids=ONE, open_only=True, before=None, limit=101),
        "open alerts everywhere": lambda c: alerts_of(c, site_ids=EVERYWHERE, open_only=True, before=None, limit=101),
        "all alerts, a later page": lambda c: alerts_of(
            c, site_ids=EVERYWHERE, open_only=False, before=before, limit=101
        ),
        "one alert": lambda c: alert_by_id(c, f"al-{chance.randrange(10):08x}", site_ids=EVERYWHERE),
        "the feed": lambda c: (feed_range(c), announcements_after(c, last)),
        "the way to the centre": deliveries,
        "the audit log": lambda c: audit_views(c, AuditFilter(), before=None, limit=100),
        "look-ups of a person": lambda c: look_ups(c, who, limit=100),
        "passages of a person": lambda c: passages(c, who, limit=100),
        "doors of one site": lambda c: door_views(c, site_ids=ONE),
        "people of one site": lambda c: people_of(c, site_ids=ONE, at=AT, after=who),
        "people by name": lambda c: people_of(c, site_ids=ONE, at=AT, name=f"户{last % PEOPLE}"),
        "edges": lambda c: edge_views(c, site_ids=EVERYWHERE, at=AT),
    }


def _asked(store: Store, name: str, *, facts: int) -> Benchmark:
    chance = random.Random(2)  # noqa: S311 - the same questions every time, not a secret
    took: dict[str, list[float]] = {}
    for index in range(ROUNDS + 1):
        for what, query in queries(chance).items():
            began = time.perf_counter()
            store.read_now(query)
            if index:  # the first round fills caches and plans
                took.setdefault(what, []).append((time.perf_counter() - began) * 1000)
    slowest = {what: sorted(samples)[int(len(samples) * 0.95)] for what, samples in took.items()}
    ours = max(slowest.values())
    each = ", ".join(f"{what} {ms:.1f}" for what, ms in sorted(slowest.items(), key=lambda item: -item[1]))
    return Benchmark(
        name=f"queries_{name}", unit="ms", ours=round(ours, 2), target=QUERY_MS, met=ours <= QUERY_MS,
        samples=tuple(round(ms, 3) for samples in took.values() for ms in samples),
        detail=f"the slowest query's p95 with {facts} facts of {SITES} sites; p95 of each: {each}",
    )  # fmt: skip


async def _taken_in(store: Store, name: str, *, facts: int) -> Benchmark:
    chance = random.Random(3)  # noqa: S311 - the same facts every time, not a secret
    batches = []
    for index in range(BATCHES):
        site = index % 8
        edge = EdgeIdentity(id=edge_id(site), site_id=site_id(site), public_key="")
        made = [
            made_up_fact(chance, facts + index * BATCH + n, at=AT + timedelta(seconds=n), site=site)
            for n in range(BATCH)
        ]
        batches.append((edge, [msgspec.Raw(msgspec.json.encode(fact)) for fact in made]))
    began = time.perf_counter()
    await asyncio.gather(
        *(store.write(take_in, items, edge=edge, at=AT + timedelta(days=1), routes=()) for edge, items in batches)
    )
    rate = BATCHES * BATCH / (time.perf_counter() - began)
    target = INTAKE_PER_S[name]
    return Benchmark(
        name=f"intake_{name}", unit="facts/s", ours=round(rate, 1), target=target, met=rate >= target, samples=(rate,),
        detail=f"{BATCHES} batches of {BATCH} facts from 8 edges at once, on top of {facts}, each batch durable",
    )  # fmt: skip
