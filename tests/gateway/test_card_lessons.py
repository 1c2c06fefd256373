"""Card lessons as the gateway sees them: ordered, watched, named, set by one confirmation; and no number is kept anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from gateway.auth.roles import Caller
from gateway.card_lessons import Card, propose_format
from gateway.readings import KEPT_FOR, LESSONS_MOST, Readings
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from models.errors import Forbidden
from models.link import Progress
from tests.gateway.card_lessons import (
    NAMED,
    READ,
    WHY,
    begun,
    gathered,
    hello,
    resident,
    rows,
    sqlite_only,
    tell,
)
from tests.gateway.households import call
from tests.gateway.support import Clock, SigningEdge
from tests.gateway.test_people import answer
from tests.models.test_card_lessons import CARDS


@sqlite_only
async def test_what_stands_in_the_way_is_said_and_nothing_is_set(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    path = await gathered(manager, runtime, edge, "08A1B2C3", "08D4E5F6")
    one_card = {"cards": [{"presented": n, "number": CARDS[0]} for n in (1, 2)]}
    assert (await call(manager, "POST", f"{path}/propose", json=one_card))["hint"] == "one_card_differs"
    told = await call(manager, "POST", f"{path}/propose", json=NAMED)
    assert (told["fits"], told["hint"]) == ([], "other_cards")
    await call(manager, "POST", f"{path}/set", 409, json={})
    for wrong in (
        {"cards": [{"presented": 3, "number": CARDS[0]}, NAMED["cards"][1]]},
        {"cards": [{"presented": 1}, NAMED["cards"][1]]},
        {"cards": [{"presented": 1, "number": "no number"}, NAMED["cards"][1]]},
        {"cards": NAMED["cards"][:1]},
        {"cards": [{"presented": 1, "number": CARDS[0], "format": "nothing"}, NAMED["cards"][1]]},
    ):
        refused = await manager.post(f"/api/v1/{path}/propose", json=wrong)
        assert (refused.status_code, CARDS[0] in refused.text) == (422, False), refused.text
    unknown = {"cards": [{"presented": 1, "credential_id": "cr-none"}, NAMED["cards"][1]]}
    await call(manager, "POST", f"{path}/propose", 404, json=unknown)


@sqlite_only
async def test_a_number_may_be_what_a_desk_reader_types(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    desk = {"id": "desk", "name": "Desk", "notation": "decimal", "width": 4, "reverse": True}
    await call(manager, "POST", "card-formats", 201, json=desk)
    path = await gathered(manager, runtime, edge)
    typed = [str(int(one, 16)) for one in READ]
    cards = [{"presented": n, "number": one, "format": "desk"} for n, one in enumerate(typed, start=1)]
    told = await call(manager, "POST", f"{path}/propose", json={"cards": cards})
    assert [one["reverse"] for one in told["fits"]] == [True]


@sqlite_only
async def test_cancelling_forgets_and_reaches_the_edge_at_its_next_word(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    made, command = await begun(manager, runtime, edge)
    path = f"card-lessons/{made['id']}"
    assert await tell(edge, command, READ[0])
    await call(manager, "DELETE", path, 204)
    assert runtime.readings.of(made["id"], at=runtime.clock()) is None
    assert not await tell(edge, command, *READ)
    assert runtime.readings.of(made["id"], at=runtime.clock()) is None, "nor is what comes late kept"
    shown = await call(manager, "GET", path)
    assert (shown["state"], shown["presented"]) == ("cancelled", [])
    await answer(edge, command, state="refused", reason="cancelled")
    await call(manager, "DELETE", path, 204)
    assert [row[1:] for row in rows(runtime)] == [
        ("card_format.learn", "sent"), ("card_format.learn_cancel", "ok"), ("card_format.learn", "cancelled"),
    ]  # fmt: skip
    await call(manager, "POST", f"{path}/propose", 409, json=NAMED)


@sqlite_only
async def test_a_lesson_at_which_nobody_looks_and_one_whose_edge_was_restarted_are_called_off(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    made, command = await begun(manager, runtime, edge)
    clock.turn(seconds=12)
    await call(manager, "GET", f"card-lessons/{made['id']}")
    clock.turn(seconds=14)
    assert await tell(edge, command, READ[0]), "somebody looked 14 s ago"
    clock.turn(seconds=2)
    assert not await tell(edge, command, *READ)
    shown = await call(manager, "GET", f"card-lessons/{made['id']}")
    assert (shown["state"], shown["reason"]) == ("cancelled", "alone")
    assert runtime.readings.of(made["id"], at=clock()) is None
    await answer(edge, command, state="refused", reason="cancelled")
    made, command = await begun(manager, runtime, edge)
    assert await tell(edge, command, READ[0])
    assert not await tell(edge, command, since=clock()), "another run has lost what was gathered"
    shown = await call(manager, "GET", f"card-lessons/{made['id']}")
    assert (shown["state"], shown["reason"]) == ("cancelled", "restarted")
    assert "restarted" in shown["detail"]


@sqlite_only
async def test_what_was_read_is_forgotten_when_nobody_asks_for_it(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    path = await gathered(manager, runtime, edge)
    clock.turn(seconds=KEPT_FOR.total_seconds() - 1)
    assert (await call(manager, "GET", path))["state"] == "confirmed"
    clock.turn(seconds=KEPT_FOR.total_seconds())
    runtime.readings.forget_old(at=clock())
    assert (await call(manager, "GET", path))["state"] == "forgotten"
    late = await manager.post(f"/api/v1/{path}/propose", json=NAMED)
    assert (late.status_code, "begin again" in late.text) == (409, True)


@sqlite_only
async def test_what_was_proposed_stands_while_more_is_read(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    made, command = await begun(manager, runtime, edge, cards=3)
    assert await tell(edge, command, *READ)
    path = f"card-lessons/{made['id']}"
    assert len((await call(manager, "POST", f"{path}/propose", json=NAMED))["fits"]) == 1
    assert await tell(edge, command, *READ, "11223344")
    done = await call(manager, "POST", f"{path}/set", json={"name": "Back gate"})
    assert done["format"]["reverse"] is True
    assert not await tell(edge, command, *READ, "11223344"), "the edge hears that it is over"


def test_only_so_many_lessons_are_held(clock: Clock) -> None:
    readings = Readings()
    for number in range(LESSONS_MOST + 1):
        clock.turn(seconds=1)
        readings.hear(Progress(command_id=f"l{number}", at=clock(), done=0, wanted=2, since=clock()), at=clock())
    assert readings.of("l0", at=clock()) is None
    assert readings.of("l1", at=clock()) is not None


@sqlite_only
async def test_a_lesson_that_cannot_be_is_refused_with_what_to_do(
    edge: SigningEdge, manager: httpx.AsyncClient, *, other: httpx.AsyncClient, operator: httpx.AsyncClient,
    runtime: Runtime, clock: Clock,
) -> None:  # fmt: skip
    async def refused(body: dict[str, Any], status: int, **headers: str) -> str:
        told = await manager.post("/api/v1/card-lessons", json={"door_id": "gate"} | body, headers=WHY | headers)
        assert told.status_code == status, told.text
        return str(told.json()["detail"])

    await hello(edge)
    assert "say why" in await refused({}, 422, **{"Gatehouse-Reason": ""})
    await refused({"door_id": "nowhere"}, 404)
    assert "no reader of cards on side 'out'" in await refused({"reader": "out"}, 422)
    assert "no reader of cards 'r9'" in await refused({"reader_id": "r9"}, 422)
    for key in ("r1", "r2"):
        await call(manager, "POST", "readers", 201, json={"id": key, "door_id": "gate", "kinds": ["card"]})
    assert "r1, r2" in await refused({}, 422)
    for body in ({"cards": 1}, {"cards": 6}, {"for_s": 5}, {"for_s": 121}):
        await refused(body, 422)
    await call(other, "POST", "card-lessons", 404, json={"door_id": "gate"}, headers=WHY)
    await call(operator, "POST", "card-lessons", 403, json={"door_id": "gate"}, headers=WHY)
    made, command = await begun(manager, runtime, edge, reader_id="r1")
    await call(other, "GET", f"card-lessons/{made['id']}", 404)
    await call(other, "DELETE", f"card-lessons/{made['id']}", 404)
    await answer(edge, command, state="refused", reason="unsupported", detail="this edge does not know it: update it")
    shown = await call(manager, "GET", f"card-lessons/{made['id']}")
    assert (shown["state"], shown["reason"], "update it" in shown["detail"]) == ("refused", "unsupported", True)
    clock.turn(minutes=2)
    assert "is away" in await refused({"reader_id": "r1"}, 409)


@sqlite_only
async def test_a_door_whose_edge_was_never_set_up_says_so(manager: httpx.AsyncClient) -> None:
    told = await manager.post("/api/v1/card-lessons", json={"door_id": "gate"}, headers=WHY)
    assert (told.status_code, "not set up yet" in told.text) == (409, True)


@sqlite_only
async def test_an_edge_tells_readings_of_its_lessons_only(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    _, command = await begun(manager, runtime, edge)
    good = {"command_id": command.id, "at": clock().isoformat(), "since": clock().isoformat(), "done": 1, "wanted": 2}
    wrongs: tuple[dict[str, Any], ...] = (
        {"readings": []}, {"readings": ["1", "2"]}, {"readings": ["x" * 65]}, {"readings": ["\n"]}, {"readings": [""]},
        {"readings": [READ[0]], "again": -1}, {"readings": [READ[0]], "since": "1999-01-01T00:00:00Z"},
    )  # fmt: skip
    for wrong in wrongs:
        told = await edge.send("POST", "/edge/v1/progress", good | wrong)
        assert (told.status_code, READ[0] in told.text) == (422, False), wrong
    assert runtime.readings.of(command.id, at=clock()) is None


@sqlite_only
async def test_a_format_is_set_once_and_on_the_reader_that_is_there(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    path = await gathered(manager, runtime, edge)
    await call(manager, "POST", f"{path}/propose", json=NAMED)
    both = await asyncio.gather(*(manager.post(f"/api/v1/{path}/set", json={}) for _ in range(2)))
    assert sorted(answer.status_code for answer in both) == [200, 409]
    (reader,) = (await call(manager, "GET", "readers?door_id=gate"))["items"]
    path = await gathered(manager, runtime, edge, *CARDS)
    await call(manager, "POST", f"{path}/propose", json=NAMED)
    done = await call(manager, "POST", f"{path}/set", json={})
    assert (done["reader"]["id"], done["reader"]["format"]) == (reader["id"], "")


@sqlite_only
async def test_a_reader_that_came_meanwhile_is_the_one_that_is_set(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    path = await gathered(manager, runtime, edge)
    await call(manager, "POST", f"{path}/propose", json=NAMED)
    await call(manager, "POST", "readers", 201, json={"id": "r1", "door_id": "gate", "kinds": ["card"]})
    done = await call(manager, "POST", f"{path}/set", json={})
    assert done["reader"]["id"] == "r1"
    assert [one["id"] for one in (await call(manager, "GET", "readers?door_id=gate"))["items"]] == ["r1"]


@sqlite_only
async def test_whose_card_was_asked_about_is_on_record_and_so_is_who_may_not(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    held = await resident(manager, runtime)
    path = await gathered(manager, runtime, edge)
    cards = (Card(presented=1, credential_id=held), Card(presented=2, number=CARDS[1]))
    await call(
        manager, "POST", f"{path}/propose", json={"cards": [{"presented": 1, "credential_id": held}, NAMED["cards"][1]]}
    )
    told = [row.detail["credentials"] for row in runtime.store.read_now(audit_rows) if "credentials" in row.detail]
    assert told == [held]
    engineer = Caller(id="t-engineer", username="e", role="integrator", sites=frozenset({"a"}))
    assert not engineer.may("people:read")
    with pytest.raises(Forbidden):
        await propose_format(runtime, path.partition("/")[2], cards=cards, caller=engineer)
    refusal = next(row for row in runtime.store.read_now(audit_rows) if row.action == "refused")
    assert (refusal.actor, refusal.subject, refusal.result) == ("t-engineer", "people:read", "forbidden")
