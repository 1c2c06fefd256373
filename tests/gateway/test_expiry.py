"""Expiry by a clock: tenancies, consents and idle faces end without anybody asking, and leavers are erased (R8)."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from gateway.expiry import Expired, Terms, expire, keep_terms
from gateway.runtime import Runtime
from gateway.store.audit import verify_audit
from gateway.store.consents import add_consent, consents_of
from gateway.store.edges import commands_wait, keep_result
from gateway.store.people import add_person, note_activity, put_occupancy
from gateway.store.places import put_flat
from gateway.store.tables import commands
from gateway.store.tables_access import audit
from gateway.store.tables_people import (
    consents,
    credentials,
    face_receipts,
    guardianships,
    people,
    permits,
    tombstones,
    visitor_passes,
)
from gateway.tombstones import NAME, read_tombstones
from models.link import Result
from models.people import Consent, Occupancy, Person
from models.places import Flat
from tests.gateway.support import BEGINNING, EDGE, Clock

TERMS = Terms(leavers=timedelta(days=30), idle_faces=timedelta(days=365))
LEAVES = BEGINNING + timedelta(days=100)


def tenant(runtime: Runtime, person_id: str = "p-tenant", *, until: datetime | None = LEAVES, **consent: Any) -> str:
    """Write a person with a tenancy, a card, a permit, a visitor, a consent and a face on edge-1."""

    def write(connection: Any) -> None:
        put_flat(connection, Flat(id="f1", site_id="a", building="1", unit="1", room="101"))
        add_person(connection, Person(id=person_id, site_id="a", name="Lin"), at=BEGINNING)
        lives = Occupancy(id=f"o-{person_id}", person_id=person_id, flat_id="f1", valid_until=until)
        put_occupancy(connection, lives, at=BEGINNING)
        own = {"person_id": person_id, "created_at": BEGINNING}
        card = {"id": f"k-{person_id}", "site_id": "a", "kind": "card", "digest": person_id}
        connection.execute(insert(credentials).values(**own, **card))
        connection.execute(insert(permits).values(id=f"t-{person_id}", doors='["gate"]', **own))
        connection.execute(
            insert(visitor_passes).values(
                id=f"v-{person_id}", site_id="a", host_id=person_id, doors='["gate"]', uses=0, created_at=BEGINNING,
                valid_from=BEGINNING, valid_until=BEGINNING + timedelta(days=900),
            )
        )  # fmt: skip
        agreed = Consent(
            id=f"c-{person_id}", person_id=person_id, doors=("gate",), text_version="1", text_sha256="0" * 64,
            given_at=BEGINNING, channel="office", evidence="e", **consent,
        )  # fmt: skip
        add_consent(connection, agreed)
        connection.execute(
            insert(face_receipts).values(
                id=f"r-{person_id}", person_id=person_id, consent_id=agreed.id, edge_id=EDGE, contract="c",
                quality=1.0, digest="d", at=BEGINNING,
            )
        )  # fmt: skip

    runtime.store.write_now(write)
    return person_id


def run(runtime: Runtime, clock: Clock, *, folder: Path | None = None) -> Expired:
    return runtime.store.write_now(expire, terms=TERMS, at=clock(), folder=folder)


def all_of(runtime: Runtime, table: Any) -> list[Any]:
    return list(runtime.store.read_now(lambda connection: connection.execute(select(table)).all()))


def told(runtime: Runtime) -> list[tuple[str, str]]:
    return [(row.action, row.subject) for row in all_of(runtime, audit)]


def face_is_ordered_away(runtime: Runtime, clock: Clock) -> bool:
    return runtime.store.read_now(commands_wait, EDGE, at=clock())


def test_nothing_ends_before_its_time(runtime: Runtime, clock: Clock) -> None:
    tenant(runtime, expires_at=BEGINNING + timedelta(days=90))
    clock.turn(days=89, hours=23, minutes=59)
    assert not run(runtime, clock)
    assert not face_is_ordered_away(runtime, clock)


def test_a_tenancy_that_ends_takes_cards_permits_consents_passes_and_the_face(runtime: Runtime, clock: Clock) -> None:
    person_id = tenant(runtime)
    clock.at = LEAVES
    assert run(runtime, clock) == Expired(left=1)
    assert [row.state for row in all_of(runtime, credentials)] == ["blocked"]
    assert all(row.valid_until == LEAVES for row in all_of(runtime, permits))
    assert all(row.revoked_at == LEAVES for row in all_of(runtime, visitor_passes))
    assert all(one.over(LEAVES) for one in runtime.store.read_now(consents_of, person_id))
    assert face_is_ordered_away(runtime, clock)
    assert not run(runtime, clock), "doing it again changes nothing"
    assert [row.id for row in all_of(runtime, people)] == [person_id], "the person stays for thirty days"


def test_who_left_is_erased_after_the_time_that_the_settings_say(
    runtime: Runtime, clock: Clock, tmp_path: Path
) -> None:
    person_id = tenant(runtime)
    clock.at = LEAVES
    run(runtime, clock)
    clock.turn(days=29, hours=23)
    assert run(runtime, clock, folder=tmp_path).erased == 0
    clock.turn(hours=1)
    assert run(runtime, clock, folder=tmp_path).erased == 1
    assert all_of(runtime, people) == []
    assert [row.person_id for row in all_of(runtime, tombstones)] == [person_id]
    assert [one.person_id for one in read_tombstones(tmp_path / NAME)] == [person_id]
    assert ("person.erase", person_id) in told(runtime)
    assert runtime.store.read_now(verify_audit)[2] == []


@pytest.mark.parametrize("keep", ["seeded", "permit", "child", "flat"])
def test_who_has_a_place_here_is_not_erased(runtime: Runtime, clock: Clock, keep: str) -> None:
    person_id = tenant(runtime)
    clock.at = LEAVES
    run(runtime, clock)
    clock.turn(days=1)

    def place(connection: Any) -> None:
        if keep == "seeded":
            connection.execute(update(people).values(seeded=True))
        if keep == "permit":  # somebody made the former tenant a caretaker
            row = {"id": "t-new", "person_id": person_id, "doors": '["gate"]', "created_at": clock()}
            connection.execute(insert(permits).values(**row))
        if keep == "child":
            add_person(connection, Person(id="p-child", site_id="a", name="Wei", under_14=True), at=LEAVES)
            put_occupancy(connection, Occupancy(id="o-child", person_id="p-child", flat_id="f1"), at=LEAVES)
            row = {"child_id": "p-child", "guardian_id": person_id, "created_at": LEAVES}
            connection.execute(insert(guardianships).values(**row))
        if keep == "flat":
            put_occupancy(connection, Occupancy(id="o-2", person_id=person_id, flat_id="f1"), at=LEAVES)

    runtime.store.write_now(place)
    clock.turn(days=400)
    assert run(runtime, clock).erased == 0
    assert person_id in {row.id for row in all_of(runtime, people)}
    assert keep != "permit" or any(row.valid_until is None for row in all_of(runtime, permits))


def test_a_consent_that_is_over_has_the_face_destroyed_once(runtime: Runtime, clock: Clock) -> None:
    tenant(runtime, until=None, expires_at=BEGINNING + timedelta(days=90))
    clock.turn(days=90)
    assert run(runtime, clock) == Expired(faces=1)
    assert not run(runtime, clock), "one order is enough while it waits"
    assert len(all_of(runtime, commands)) == 1
    assert [row.state for row in all_of(runtime, credentials)] == ["active"], "cards go on (R3)"


def test_an_order_that_an_edge_let_pass_is_given_again(runtime: Runtime, clock: Clock) -> None:
    tenant(runtime, until=None, expires_at=BEGINNING + timedelta(days=90))
    clock.turn(days=90)
    run(runtime, clock)
    clock.turn(days=31)
    assert run(runtime, clock).faces == 1
    order = max(all_of(runtime, commands), key=lambda row: row.created_at)
    ended = Result(command_id=order.id, state="failed", at=clock())
    runtime.store.write_now(keep_result, ended, edge_id=EDGE)
    clock.turn(hours=1)
    assert run(runtime, clock).faces == 1


def test_a_face_that_opened_no_door_for_a_year_is_erased_and_the_cards_go_on(runtime: Runtime, clock: Clock) -> None:
    idle, busy = tenant(runtime, "p-idle", until=None), tenant(runtime, "p-busy", until=None)
    runtime.store.write_now(note_activity, busy, site_id="a", at=BEGINNING + timedelta(days=200))
    clock.turn(days=364, hours=23)
    assert not run(runtime, clock)
    clock.turn(hours=1)
    assert run(runtime, clock) == Expired(consents=1, faces=1)
    ended = {row.person_id: row.expires_at for row in all_of(runtime, consents)}
    assert ended == {idle: clock(), busy: None}
    assert ("consent.expire", idle) in told(runtime)
    assert {row.state for row in all_of(runtime, credentials)} == {"active"}


def test_a_consent_that_a_new_notice_superseded_waits_a_month_for_another(runtime: Runtime, clock: Clock) -> None:
    tenant(runtime, until=None, superseded_at=BEGINNING + timedelta(days=10))
    clock.turn(days=39, hours=23)
    assert not run(runtime, clock)
    clock.turn(hours=1)
    assert run(runtime, clock) == Expired(consents=1, faces=1)


async def test_the_loop_ends_terms_and_wakes_the_edges(runtime: Runtime, clock: Clock) -> None:
    tenant(runtime)
    ring = runtime.bells.edge(EDGE).next_ring()
    clock.at = LEAVES
    assert await keep_terms(runtime, TERMS)
    assert ring.is_set()
    ring = runtime.bells.edge(EDGE).next_ring()
    assert not await keep_terms(runtime, TERMS)
    assert not ring.is_set()
