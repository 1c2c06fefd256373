"""Calls at the edge: one ring per door, ended by the desk or by time, over restarts too."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.door import GiveFeedback
from models.events import DoorCalled, DoorCallEnded
from models.link import RefuseCall, Unlock
from models.places import Reader
from tests.edge.compound import Visitors, live_in
from tests.edge.conftest import House, open_house
from tests.edge.doubles import door, now, until


@pytest.fixture
def ask(house: House) -> Visitors:
    return Visitors(house)


STATION = door(readers=(Reader(kinds=("card", "call")),))


def calls(house_facts: list[Any]) -> list[tuple[str, str]]:
    """Return the calls among facts: what began and how it ended, each with the press that began it."""
    told = [fact for fact in house_facts if isinstance(fact, DoorCalled | DoorCallEnded)]
    return [(fact.attempt, fact.how if isinstance(fact, DoorCallEnded) else "called") for fact in told]


async def called(house: House) -> list[tuple[str, str]]:
    await house.keeper.recorded("d1")
    return calls(await house.facts())


async def test_a_call_rings_once_until_the_desk_opens(house: House, ask: Visitors) -> None:
    await live_in(house, STATION)
    assert [await ask("", kind="call") for _ in range(3)] == ["calling"] * 3
    assert await called(house) == [("r1", "called")]
    order = Unlock(id="c", door_id="d1", reason="r", requested_by="u", deadline=now() + timedelta(seconds=5))
    assert (await house.admission.unlock(order)).state == "confirmed"
    assert await called(house) == [("r1", "called"), ("r1", "opened")]
    assert await ask("", kind="call") == "calling"
    assert (await called(house))[-1] == ("r4", "called")


async def test_the_desk_can_send_a_caller_away_and_only_while_it_rings(house: House, ask: Visitors) -> None:
    await live_in(house, STATION)
    refusal = RefuseCall(id="c", door_id="d1", reason="r", requested_by="u", deadline=now() + timedelta(seconds=5))
    assert (await house.admission.calls.refuse(refusal)).reason == "no_call"
    assert await ask("", kind="call") == "calling"
    late = msgspec.structs.replace(refusal, deadline=now() - timedelta(seconds=1))
    assert (await house.admission.calls.refuse(late)).state == "expired"
    assert (await house.admission.calls.refuse(refusal)).state == "confirmed"
    last = house.wire.orders[-1]
    assert isinstance(last, GiveFeedback)
    assert (last.attempt, last.ok, last.reason) == ("r1", False, "call_refused")
    assert await called(house) == [("r1", "called"), ("r1", "refused")]


async def test_a_call_that_nobody_answers_ends_over_a_restart_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.calls.LOOK_S", 0.01)
    async with open_house(tmp_path) as house:
        await live_in(house, STATION)
        assert await Visitors(house)("", kind="call") == "calling"
    async with open_house(tmp_path) as house:
        await live_in(house, STATION)
        house.tasks.create_task(house.admission.calls.run())
        await until(lambda: house.admission.calls._rings != {})
        assert await called(house) == [("r1", "called")], "it rings on"
        monkeypatch.setattr("edge.calls.RINGS_FOR", timedelta(0))
        await until(lambda: any(isinstance(o, GiveFeedback) and o.reason == "unanswered" for o in house.wire.orders))
        assert await called(house) == [("r1", "called"), ("r1", "unanswered")]


async def test_a_call_from_a_side_without_a_station_is_unsupported(house: House, ask: Visitors) -> None:
    await live_in(house, STATION)
    assert await ask("", kind="call", reader="out") == "unsupported"
