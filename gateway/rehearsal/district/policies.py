"""Benchmarks of policies: one edge with 46 doors and 3 200 residents, as a compound of the design's size has.

The residents are made up here, with the shape of real ones: a flat each with three people, cards for all, PINs for some,
faces at two doors for two in five, groups for the gates and for their building.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.auth.keys import fresh_key
from gateway.policies import Policies
from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.edges import EdgeIdentity
from gateway.store.places import put_door, put_site
from gateway.store.policy import content_digest, content_of, number
from gateway.store.rights import add_credential
from gateway.store.site_records import site_records
from gateway.store.types import as_text
from gateway.store.whole import insert_rows
from models.benchmarks import Benchmark
from models.events import NAMESPACE
from models.people import Credential, credential_digest
from models.places import Door, Site
from models.policy import Policy, PolicyDelta, apply_delta

SITE, EDGE = "bench", "edge-1"
DOORS, RESIDENTS, FLAT_OF, BUILDINGS, GATES = 46, 3200, 3, 20, 6
RUNS: Final = 15
AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
BUILT_MS, DELTA_MS, SIZE_MB = 300.0, 100.0, 2.0
Tell = Callable[[str], None]


def _id(kind: str, index: int) -> str:
    return f"{kind}-{uuid.uuid5(NAMESPACE, f'{kind}{index}').hex}"


def furnish(connection: Connection) -> None:
    """Write a compound of the design's size."""
    put_site(connection, Site(id=SITE, name="Bench", community="310104005012"))
    for index in range(DOORS):
        put_door(connection, Door(id=f"door-{index:02}", site_id=SITE, name=f"Door {index}", edge_id=EDGE))
    for table, rows in (
        ("permission_groups", _groups()), ("flats", _flats()), ("people", _people()), ("occupancies", _occupancies()),
        ("credentials", _credentials()), ("consents", _consents()),
    ):  # fmt: skip
        insert_rows(connection, table, rows=rows)


def _groups() -> list[dict[str, Any]]:
    gates = [f"door-{index:02}" for index in range(GATES)]
    rows = [{"id": "g-gates", "site_id": SITE, "name": "Gates", "doors": as_text(gates)}]
    for building in range(BUILDINGS):
        own = [f"door-{GATES + 2 * building:02}", f"door-{GATES + 2 * building + 1:02}"]
        rows.append({"id": f"g-{building:02}", "site_id": SITE, "name": f"House {building}", "doors": as_text(own)})
    return rows


def _flats() -> list[dict[str, Any]]:
    return [
        {
            "id": _id("f", index), "site_id": SITE, "building": str(index % BUILDINGS), "unit": "1", "room": str(index),
            "keypad": f"{index:06}", "groups": as_text(["g-gates", f"g-{index % BUILDINGS:02}"]),
        }
        for index in range(RESIDENTS // FLAT_OF + 1)
    ]  # fmt: skip


def _people() -> list[dict[str, Any]]:
    return [
        {"id": _id("p", index), "site_id": SITE, "name": f"Resident {index}", "under_14": False, "created_at": AT}
        for index in range(RESIDENTS)
    ]


def _occupancies() -> list[dict[str, Any]]:
    return [
        {
            "id": _id("o", index), "person_id": _id("p", index), "flat_id": _id("f", index // FLAT_OF),
            "relation": "owner", "valid_from": AT - timedelta(days=9), "created_at": AT,
        }
        for index in range(RESIDENTS)
    ]  # fmt: skip


def _credentials() -> list[dict[str, Any]]:
    held = [("card", index) for index in range(RESIDENTS)] + [("pin", index) for index in range(0, RESIDENTS, 4)]
    return [
        {
            "id": _id(f"cr{kind}", index), "site_id": SITE, "person_id": _id("p", index), "kind": kind,
            "digest": hashlib.sha256(f"{kind}{index}".encode()).hexdigest(), "created_at": AT,
        }
        for kind, index in held
    ]  # fmt: skip


def _consents() -> list[dict[str, Any]]:
    return [
        {
            "id": _id("c", index), "person_id": _id("p", index), "purpose": "door_face", "channel": "office",
            "doors": as_text(["door-00", f"door-{GATES + 2 * (index // FLAT_OF % BUILDINGS):02}"]),
            "text_version": "face-door-1", "text_sha256": "0" * 64, "given_at": AT, "evidence": "folder 7",
        }
        for index in range(RESIDENTS)
        if index % 5 < 2
    ]  # fmt: skip


def bench_policies(directory: Path, *, tell: Tell) -> list[Benchmark]:
    """Measure how long a policy takes to build, how soon an edge holds what changed, and how large a policy is."""
    tell(f"policies: {DOORS} doors, {RESIDENTS} residents")
    store = Store(f"sqlite:///{directory / 'policies.db'}")
    try:
        store.migrate()
        store.write_now(furnish)
        return [_build(store), *asyncio.run(_change(store))]
    finally:
        store.close()


def _build(store: Store) -> Benchmark:
    def build(connection: Connection) -> None:
        content = content_of(site_records(connection, SITE), EDGE, site_id=SITE, siblings=(), at=AT)
        number(connection, content, digest=content_digest(content), at=AT)

    samples = []
    for _ in range(RUNS):
        began = time.perf_counter()
        store.write_now(build)
        samples.append((time.perf_counter() - began) * 1000)
    detail = f"read from SQLite without a cache, narrowed, digested and numbered; median of {RUNS}"
    return _row("policy_build", samples, target=BUILT_MS, detail=detail)


async def _change(store: Store) -> list[Benchmark]:
    policies, key, samples, sizes = Policies(store), fresh_key(), [], []
    edge = EdgeIdentity(id=EDGE, site_id=SITE, public_key=key.public_key)
    whole = await policies.answer(edge, held=None, base=None, key=key, at=AT)
    held = await policies.current(edge, at=AT)
    for index in range(RUNS):
        began = time.perf_counter()
        await store.write(_give_card, index)
        answer = await policies.answer(edge, held=_version(held), base=_version(held), key=key, at=AT)
        assert answer is not None  # noqa: S101 - a card was given
        delta = msgspec.json.decode(answer.body, type=PolicyDelta)
        held = apply_delta(held, delta)
        samples.append((time.perf_counter() - began) * 1000)
        sizes.append(len(answer.body))
    assert whole is not None  # noqa: S101 - nothing was held
    detail = (
        f"a card is given: committed, policy built and numbered, delta of {max(sizes)} bytes made and signed, applied and "
        f"checked as an edge does; without the network; median of {RUNS}"
    )
    size = len(whole.packed or whole.body) / 1e6
    return [
        _row("policy_delta", samples, target=DELTA_MS, detail=detail),
        Benchmark(
            name="policy_size", unit="MB", ours=round(size, 3), target=SIZE_MB, met=size <= SIZE_MB, samples=(size,),
            detail=f"a whole policy as it is sent (gzip); {len(whole.body) / 1e6:.2f} MB of JSON",
        ),
    ]  # fmt: skip


def _version(policy: Policy) -> tuple[int, int]:
    return policy.epoch, policy.n


def _give_card(connection: Connection, index: int) -> None:
    digest = credential_digest("card", f"F{index:08}", b"bench")
    card = Credential(id=_id("extra", index), person_id=_id("p", index), kind="card", digest=digest)
    add_credential(connection, card, site_id=SITE, at=AT)
    append_audit(connection, AuditEntry(actor="bench", action="credential.give", subject=card.person_id), at=AT)


def _row(name: str, samples: list[float], *, target: float, detail: str) -> Benchmark:
    ours = statistics.median(samples)
    return Benchmark(
        name=name, unit="ms", ours=round(ours, 2), target=target, met=ours <= target,
        samples=tuple(round(sample, 2) for sample in samples), detail=detail,
    )  # fmt: skip
