"""Enrolment as the gateway sees it: several photos, a door's camera with its progress, and proofs that stand side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.consents import face_receipts_of, keep_face_receipts
from gateway.store.edges import waiting_commands
from gateway.store.people import add_person
from models.assessments import Assessment
from models.link import EnrolAtDoor, EraseFace, FaceReceipt, Heard, Progress
from models.people import Person
from tests.gateway.households import call
from tests.gateway.support import EDGE, Clock, SigningEdge, assess_faces
from tests.gateway.test_people import CONSENT, JPEG, KIND, answer, move_in, next_command

AT_DOOR = {"door_id": "gate"}
sqlite_only = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""Where no query of its own is asked: what the databases answer alike is seen in the others."""


@pytest.fixture(autouse=True)
def assessment(runtime: Runtime, clock: Clock) -> Assessment:
    """Have an impact assessment of faces in force at site a."""
    return assess_faces(runtime.store, at=clock())


def proof(key: str, clock: Clock, *, edge: str = EDGE, contract: str = "dlib") -> FaceReceipt:
    return FaceReceipt(
        id=key, person_id="p1", edge_id=edge, contract=contract, quality=0.9, digest="ab", at=clock()
    )  # fmt: skip


def rows(runtime: Runtime, action: str = "face.enrol") -> list[Any]:
    """Return the rows of the audit log about an action, oldest first."""
    return [row for row in reversed(runtime.store.read_now(audit_rows)) if row.action == action]


async def photo(manager: httpx.AsyncClient, edge: SigningEdge, *, runtime: Runtime, add: bool, **result: Any) -> Any:
    """Send a photo, let the edge answer, and return the order and the answer."""
    params = {"add": "true"} if add else {}
    asking = asyncio.create_task(
        manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND, params=params)
    )  # fmt: skip
    command = await next_command(edge, runtime)
    await answer(edge, command, **result)
    return command, await asking


async def test_photos_that_are_added_stand_beside_each_other_until_one_replaces_all(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await move_in(manager)
    for n, add in enumerate((False, True, True)):
        command, told = await photo(manager, edge, runtime=runtime, add=add, receipt=proof(f"r{n}", clock))
        assert (command.add, told.status_code) == (add, 200)
    person = await call(manager, "GET", "people/p1")
    assert [face["id"] for face in person["faces"]] == ["r0", "r1", "r2"]
    await photo(manager, edge, runtime=runtime, add=False, receipt=proof("r3", clock))
    person = await call(manager, "GET", "people/p1")
    assert [face["id"] for face in person["faces"]] == ["r3"]
    assert len(person["erased_faces"]) == 3


@sqlite_only
async def test_a_photo_of_another_network_ends_the_proofs_of_the_first(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await move_in(manager)
    await photo(manager, edge, runtime=runtime, add=False, receipt=proof("r0", clock))
    await photo(manager, edge, runtime=runtime, add=True, receipt=proof("r1", clock, contract="own"))
    assert [face["id"] for face in (await call(manager, "GET", "people/p1"))["faces"]] == ["r1"]


@sqlite_only
async def test_a_photo_that_does_not_join_is_refused_with_its_reason(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    await move_in(manager)
    for reason in ("differs", "too_many"):
        _, told = await photo(manager, edge, runtime=runtime, add=True, state="refused", reason=reason)
        assert (told.status_code, told.json()["reason"]) == (422, reason)
        assert rows(runtime)[-1].result == reason


@sqlite_only
async def test_who_looks_alike_is_named_to_the_manager_and_on_record(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await move_in(manager)
    runtime.store.write_now(add_person, Person(id="p2", site_id="a", name="Mei"), at=clock())
    _, told = await photo(
        manager, edge, runtime=runtime, add=False, receipt=proof("r0", clock), reason="similar_person", similar_to="p2"
    )
    assert told.json()["similar_to"] == ["p2"]
    assert (rows(runtime)[-1].subject, rows(runtime)[-1].detail["similar_to"]) == ("p1", "p2")


# ---- at a door ------------------------------------------------------------------------------------------------------


async def begun(manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge) -> tuple[dict[str, Any], EnrolAtDoor]:
    await move_in(manager)
    made = await call(manager, "POST", "people/p1/face/at-door", 202, json=AT_DOOR | {"pictures": 2})
    command = await next_command(edge, runtime)
    assert isinstance(command, EnrolAtDoor)
    return made, command


async def tell(edge: SigningEdge, command: EnrolAtDoor, **more: Any) -> bool:
    told = Progress(command_id=command.id, at=edge.clock(), **{"done": 0, "wanted": 2} | more)
    answered = await edge.send("POST", "/edge/v1/progress", told)
    assert answered.status_code == 200, answered.text
    return msgspec.json.decode(answered.content, type=Heard).wanted


async def test_an_enrolment_at_a_door_is_watched_from_its_order_to_its_proofs(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    made, command = await begun(manager, runtime, edge)
    assert (made["state"], made["wanted"], command.door_id, command.pictures) == ("waiting", 2, "gate", 2)
    path = f"face-enrolments/{made['id']}"
    runtime.store.write_now(add_person, Person(id="p7", site_id="a", name="Mei"), at=clock())
    for done, hint in ((0, "come_closer"), (1, "turn_slightly")):
        assert await tell(edge, command, done=done, hint=hint)
        shown = await call(manager, "GET", path)
        assert (shown["state"], shown["done"], shown["hint"]) == ("running", done, hint)
    await answer(
        edge, command, receipts=(proof("r1", clock), proof("r2", clock)), similar_to="p7", reason="similar_person"
    )
    shown = await call(manager, "GET", path)
    assert (shown["state"], shown["done"], shown["hint"], shown["similar_to"]) == ("confirmed", 2, "", "p7")
    assert [one["id"] for one in shown["receipts"]] == ["r1", "r2"]
    assert [face["id"] for face in (await call(manager, "GET", "people/p1"))["faces"]] == ["r1", "r2"]
    assert [(row.result, row.actor) for row in rows(runtime)] == [("sent", "u-manager"), ("ok", EDGE)]
    assert rows(runtime)[-1].detail["similar_to"] == "p7"


async def test_older_templates_on_other_edges_go_so_that_the_new_ones_can_come(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    _, command = await begun(manager, runtime, edge)
    runtime.store.write_now(keep_face_receipts, [proof("old", clock, edge="edge-2")], consent_id=command.consent_id)
    await answer(edge, command, receipts=(proof("r1", clock),))
    waiting = runtime.store.read_now(waiting_commands, "edge-2", at=clock())
    assert [(type(order), order.person_id) for order in waiting if isinstance(order, EraseFace)] == [(EraseFace, "p1")]


async def test_calling_it_off_reaches_the_edge_at_its_next_word(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    made, command = await begun(manager, runtime, edge)
    assert await tell(edge, command)
    await call(manager, "DELETE", f"face-enrolments/{made['id']}", 204)
    assert not await tell(edge, command, done=1)
    assert (await call(manager, "GET", f"face-enrolments/{made['id']}"))["state"] == "cancelled"
    await answer(edge, command, state="refused", reason="cancelled")
    assert (await call(manager, "GET", f"face-enrolments/{made['id']}"))["state"] == "cancelled"
    await call(manager, "DELETE", f"face-enrolments/{made['id']}", 204)
    assert len(rows(runtime, "face.enrol_cancel")) == 1


@sqlite_only
async def test_an_order_at_which_nobody_looks_any_more_is_called_off(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    made, command = await begun(manager, runtime, edge)
    clock.turn(seconds=12)
    await call(manager, "GET", f"face-enrolments/{made['id']}")
    clock.turn(seconds=14)
    assert await tell(edge, command, done=1), "somebody looked 14 s ago"
    clock.turn(seconds=2)
    assert not await tell(edge, command, done=1)
    await answer(edge, command, receipts=(proof("r1", clock),))
    assert (await call(manager, "GET", f"face-enrolments/{made['id']}"))["state"] == "cancelled"
    waiting = runtime.store.read_now(waiting_commands, EDGE, at=clock())
    assert [one.person_id for one in waiting if isinstance(one, EraseFace)] == ["p1"], (
        "what was sealed by then is destroyed"
    )


@sqlite_only
async def test_an_edge_that_says_nothing_lets_it_expire(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    made, command = await begun(manager, runtime, edge)
    clock.turn(seconds=96)
    assert (await call(manager, "GET", f"face-enrolments/{made['id']}"))["state"] == "expired"
    await answer(edge, command, state="failed", reason="not_ready")
    shown = await call(manager, "GET", f"face-enrolments/{made['id']}")
    assert (shown["state"], shown["reason"]) == ("failed", "not_ready")


@sqlite_only
async def test_progress_that_cannot_be_is_refused(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    _, command = await begun(manager, runtime, edge)
    told = {"command_id": command.id, "at": edge.clock().isoformat(), "done": 0, "wanted": 2, "hint": ""}
    for wrong in ({"done": 3}, {"done": -1}, {"wanted": 6}, {"hint": "smile"}):
        assert (await edge.send("POST", "/edge/v1/progress", told | wrong)).status_code == 422, wrong
    assert (await edge.send("POST", "/edge/v1/progress", told)).status_code == 200


async def test_no_edge_speaks_about_the_order_of_another(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    made, command = await begun(manager, runtime, edge)
    other = SigningEdge(str(edge.client.base_url), clock, edge_id="edge-2")
    await other.enrol(runtime.store)
    assert not await tell(other, command, done=1)
    assert (await call(manager, "GET", f"face-enrolments/{made['id']}"))["state"] == "waiting"
    await other.client.aclose()


@sqlite_only
async def test_templates_of_somebody_else_or_too_many_are_not_taken(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    _, command = await begun(manager, runtime, edge)
    wrong = msgspec.structs.replace(proof("r1", clock), person_id="p2")
    for receipts in ((wrong,), tuple(proof(f"r{n}", clock) for n in range(6))):
        told = {
            "command_id": command.id,
            "state": "confirmed",
            "at": clock().isoformat(),
            "receipts": msgspec.to_builtins(receipts),
        }
        assert (await edge.send("POST", "/edge/v1/results", told)).status_code == 422
    assert runtime.store.read_now(face_receipts_of, "p1") == []


@sqlite_only
async def test_only_for_a_consent_that_names_the_door_and_a_door_with_a_camera(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    await move_in(manager, consent=False)
    refused = await call(manager, "POST", "people/p1/face/at-door", 422, json=AT_DOOR)
    assert refused["reason"] == "no_consent"
    await call(manager, "POST", "people/p1/consents", 201, json=CONSENT | {"doors": ["side"]})
    assert (await call(manager, "POST", "people/p1/face/at-door", 422, json=AT_DOOR))["reason"] == "no_consent"
    for door_id in ("side", "far", "nowhere"):
        told = await call(manager, "POST", "people/p1/face/at-door", 422, json={"door_id": door_id})
        assert told["where"] == "door_id"
    for pictures in (0, 6):
        await call(manager, "POST", "people/p1/face/at-door", 422, json=AT_DOOR | {"pictures": pictures})
    assert runtime.store.read_now(waiting_commands, EDGE, at=runtime.clock()) == []
    assert [row.result for row in rows(runtime)] == ["no_consent", "no_consent"]


@sqlite_only
async def test_other_sites_and_other_duties_see_no_enrolment(
    edge: SigningEdge,
    manager: httpx.AsyncClient,
    *,
    other: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    runtime: Runtime,
) -> None:
    made, _ = await begun(manager, runtime, edge)
    await call(other, "POST", "people/p1/face/at-door", 404, json=AT_DOOR)
    for method in ("GET", "DELETE"):
        await call(other, method, f"face-enrolments/{made['id']}", 404)
        await call(operator, method, f"face-enrolments/{made['id']}", 403)
        await call(manager, method, "face-enrolments/none", 404)


async def test_a_withdrawal_while_they_stand_there_has_the_templates_destroyed(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    _, command = await begun(manager, runtime, edge)
    await call(manager, "DELETE", f"people/p1/consents/{command.consent_id}", 204)

    def erasures() -> list[EraseFace]:
        waiting = runtime.store.read_now(waiting_commands, EDGE, at=clock())
        return [order for order in waiting if isinstance(order, EraseFace)]

    (before,) = erasures()
    await answer(edge, before)
    await answer(edge, command, receipts=(proof("r1", clock), proof("r2", clock)))
    assert len(erasures()) == 1, "what came after the erasure is ordered away again"


def test_proofs_of_another_consent_end_when_one_joins(runtime: Runtime, clock: Clock) -> None:
    runtime.store.write_now(add_person, Person(id="p1", site_id="a", name="Lin"), at=clock())
    runtime.store.write_now(keep_face_receipts, [proof("r1", clock), proof("r2", clock)], consent_id="c1")
    runtime.store.write_now(keep_face_receipts, [proof("r3", clock)], consent_id="c1", joining=True)
    held = runtime.store.read_now(face_receipts_of, "p1")
    assert [one.erased_at for one in held] == [None, None, None]
    runtime.store.write_now(keep_face_receipts, [proof("r4", clock)], consent_id="c2", joining=True)
    held = runtime.store.read_now(face_receipts_of, "p1")
    assert [one.id for one in held if one.erased_at is None] == ["r4"]
