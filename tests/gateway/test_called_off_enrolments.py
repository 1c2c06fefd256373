"""An enrolment at a door that was called off takes no effect, whenever its edge hears of it; and whom an edge may name."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from gateway.runtime import Runtime
from gateway.store import Connection, Store
from gateway.store.consents import face_receipts_of, keep_face_receipts
from gateway.store.edges import add_command, keep_result, waiting_commands
from gateway.store.enrolments import call_off, door_enrolment, keep_progress
from gateway.store.people import add_person
from models.assessments import Assessment
from models.link import EnrolAtDoor, EraseFace, Progress, Result
from models.people import Person
from tests.gateway.households import call
from tests.gateway.support import EDGE, Clock, SigningEdge, assess_faces
from tests.gateway.test_face_enrolment import begun, photo, proof, rows, sqlite_only, tell
from tests.gateway.test_people import answer, move_in


@pytest.fixture(autouse=True)
def assessment(runtime: Runtime, clock: Clock) -> Assessment:
    """Have an impact assessment of faces in force at site a."""
    return assess_faces(runtime.store, at=clock())


def erasures(runtime: Runtime, edge_id: str = EDGE) -> list[str]:
    """Return whose templates an edge is to destroy."""
    waiting = runtime.store.read_now(waiting_commands, edge_id, at=runtime.clock())
    return [order.person_id for order in waiting if isinstance(order, EraseFace)]


async def test_templates_that_were_sealed_when_it_was_called_off_are_destroyed(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    made, command = await begun(manager, runtime, edge)
    for held_by in (EDGE, "edge-2"):
        older = proof(f"old-{held_by}", clock, edge=held_by)
        runtime.store.write_now(keep_face_receipts, [older], consent_id=command.consent_id)
    assert await tell(edge, command, done=1)
    await call(manager, "DELETE", f"face-enrolments/{made['id']}", 204)
    await answer(edge, command, receipts=(proof("r1", clock), proof("r2", clock)))
    shown = await call(manager, "GET", f"face-enrolments/{made['id']}")
    assert (shown["state"], shown["done"], shown["hint"], shown["receipts"]) == ("cancelled", 1, "", [])
    held = [one.id for one in runtime.store.read_now(face_receipts_of, "p1") if one.erased_at is None]
    assert held == ["old-edge-2"], "the older ones here had made room for the new ones"
    assert (erasures(runtime), erasures(runtime, "edge-2")) == (["p1"], [])
    assert (rows(runtime)[-1].result, rows(runtime)[-1].detail["templates"]) == ("cancelled", "0")


@sqlite_only
@pytest.mark.parametrize("state", ["refused", "failed"])
async def test_proofs_of_what_was_not_confirmed_are_not_kept(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock, state: str
) -> None:
    _, command = await begun(manager, runtime, edge)
    await answer(edge, command, state=state, reason="differs", receipts=(proof("r1", clock),))
    assert runtime.store.read_now(face_receipts_of, "p1") == []
    assert rows(runtime)[-1].result == "differs"


@sqlite_only
async def test_a_proof_of_a_refused_photo_is_not_kept(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await move_in(manager)
    refused = {"state": "refused", "reason": "differs", "receipt": proof("r1", clock)}
    _, told = await photo(manager, edge, runtime=runtime, add=True, **refused)
    assert told.status_code == 422
    assert runtime.store.read_now(face_receipts_of, "p1") == []


@sqlite_only
@pytest.mark.parametrize(("site_id", "named"), [("a", "p9"), ("b", None), ("", None)])
async def test_an_edge_names_nobody_of_another_site_as_looking_alike(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock, site_id: str, named: str | None
) -> None:
    if site_id:
        runtime.store.write_now(add_person, Person(id="p9", site_id=site_id, name="Mei"), at=clock())
    made, command = await begun(manager, runtime, edge)
    await answer(edge, command, receipts=(proof("r1", clock),), reason="similar_person", similar_to="p9")
    shown = await call(manager, "GET", f"face-enrolments/{made['id']}")
    assert (shown["state"], shown["similar_to"]) == ("confirmed", named)
    assert rows(runtime)[-1].detail.get("similar_to") == named


@sqlite_only
async def test_what_is_no_id_is_nobody_who_looks_alike(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    _, command = await begun(manager, runtime, edge)
    told = {"command_id": command.id, "state": "confirmed", "at": clock().isoformat(), "similar_to": "p 9\n"}
    assert (await edge.send("POST", "/edge/v1/results", told)).status_code == 422


# ---- two at once: only PostgreSQL has two writers ---------------------------------------------------------------------

postgres_only = pytest.mark.parametrize("store", ["postgresql"], indirect=True)
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def ordered(store: Store, clock: Clock) -> str:
    """Keep one order to enrol at a door, and return its id."""
    command = EnrolAtDoor(
        id="e1", person_id="p1", consent_id="c1", door_id="gate", pictures=2, deadline=clock() + timedelta(seconds=90)
    )
    store.write_now(add_command, command, edge_id=EDGE, at=clock())
    return command.id


def meanwhile(store: Store, first: Any, second: Any) -> tuple[Any, Any]:
    """Write twice at once: the second begins, and waits, before the first commits; return what both said."""
    told: list[Any] = []
    other = threading.Thread(target=lambda: told.append(store.write_now(second)))

    def write(connection: Connection) -> Any:
        said = first(connection)
        other.start()
        while other.is_alive() and not store.read_now(lambda one: one.execute(text(LOCKED)).scalar()):
            pass
        return said

    said = store.write_now(write)
    other.join(30)
    return said, told[0]


@postgres_only
def test_news_of_progress_does_not_undo_that_it_was_called_off(store: Store, clock: Clock) -> None:
    command_id = ordered(store, clock)
    told = Progress(command_id=command_id, at=clock(), done=1, wanted=2)
    off, wanted = meanwhile(
        store, lambda one: call_off(one, command_id), lambda one: keep_progress(one, told, edge_id=EDGE, at=clock())
    )
    assert (off, wanted) == (True, False)
    assert store.read_now(door_enrolment, command_id).kept.called_off


@postgres_only
def test_what_has_just_ended_is_not_called_off(store: Store, clock: Clock) -> None:
    command_id = ordered(store, clock)
    result = Result(command_id=command_id, state="confirmed", at=clock())
    ended, off = meanwhile(
        store, lambda one: keep_result(one, result, edge_id=EDGE), lambda one: call_off(one, command_id)
    )
    assert (ended.id, off) == (command_id, False)


@postgres_only
def test_a_result_that_comes_twice_at_once_is_taken_once(store: Store, clock: Clock) -> None:
    result = Result(command_id=ordered(store, clock), state="confirmed", at=clock())
    first, second = meanwhile(store, *[lambda one: keep_result(one, result, edge_id=EDGE)] * 2)
    assert (first.id, second) == ("e1", None)
