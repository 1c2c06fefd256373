"""What a door on an OSDP reader comes to in the house's own rules: forced, held, let out, let in, alike for every wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Literal

import pytest

from drivers.door import Reported
from models.doors import DoorState, advance, expect_opening, tick
from models.events import AnyFact, DoorForced, DoorHeldOpen, DoorOpened
from models.places import Door
from models.reports import Event
from tests.drivers.contract import now, soon, unlock
from tests.drivers.osdp.conftest import Site, next_report, opened

SETTLED = DoorState(door_id="gate", edge_id="edge", online=True, heard=True, contact="closed")


def gate(exit_kind: Literal["sensor", "button", "mechanical", "none"]) -> Door:
    return Door(id="gate", site_id="s", name="Gate", edge_id="edge", exit_kind=exit_kind, held_open_s=30.0)


async def follow(
    reports: AsyncIterator[Reported], *, events: int, door: Door, state: DoorState = SETTLED, wait_s: float = 3.0
) -> list[AnyFact]:
    """Return the facts of the next events and of the time after them."""
    facts: list[AnyFact] = []
    event: Event | None = None
    for _ in range(events):
        event = await next_report(reports, Event)
        assert event is not None
        state, made = advance(state, event, door=door)
        facts.extend(made)
    assert event is not None
    _, made = tick(state, door=door, at=event.at + timedelta(seconds=wait_s))
    return [*facts, *made]


@pytest.mark.parametrize("exit_kind", ["sensor", "button"])
async def test_an_opening_that_nobody_released_is_forced(site: Site, exit_kind: Literal["sensor", "button"]) -> None:
    async with opened(site.driver()) as (_, reports):
        site.door.force()
        facts = await follow(reports, events=1, door=gate(exit_kind))
    assert [type(fact) for fact in facts] == [DoorForced]


@pytest.mark.parametrize("exit_kind", ["mechanical", "none"])
async def test_where_leaving_is_not_told_an_opening_is_never_called_forced(
    site: Site, exit_kind: Literal["mechanical", "none"]
) -> None:
    async with opened(site.driver()) as (_, reports):
        site.door.force()
        facts = await follow(reports, events=1, door=gate(exit_kind))
    assert [type(fact) for fact in facts] == [DoorOpened]


@pytest.mark.parametrize("button_first", [True, False])
async def test_the_exit_button_explains_an_opening_in_both_orders(site: Site, button_first: bool) -> None:
    acts = [site.door.press_exit, site.door.open]
    async with opened(site.driver()) as (_, reports):
        for act in acts if button_first else reversed(acts):
            act()
        facts = await follow(reports, events=2, door=gate("button"))
    (opening,) = [fact for fact in facts if isinstance(fact, DoorOpened)]
    assert opening.cause == "exit"
    assert not [fact for fact in facts if isinstance(fact, DoorForced)]


async def test_our_own_unlock_explains_an_opening(site: Site) -> None:
    at = now()
    state = expect_opening(SETTLED, attempt="a1", at=at, until=at + timedelta(seconds=10))
    async with opened(site.driver()) as (driver, reports):
        assert (await soon(driver.execute(unlock("gate", "u", attempt="a1", hold_s=1.0)))).ok
        await soon(asyncio.ensure_future(site.door.until(lambda: site.door.lock == "unlocked")))
        site.door.open()
        facts = await follow(reports, events=1, door=gate("sensor"), state=state)
    (opening,) = [fact for fact in facts if isinstance(fact, DoorOpened)]
    assert (opening.cause, opening.attempt) == ("granted", "a1")


async def test_a_door_that_stays_open_is_held_and_not_forced(site: Site) -> None:
    async with opened(site.driver()) as (_, reports):
        site.door.press_exit()
        site.door.open()
        facts = await follow(reports, events=2, door=gate("button"), wait_s=31.0)
    assert [fact for fact in facts if isinstance(fact, DoorForced)] == []
    (held,) = [fact for fact in facts if isinstance(fact, DoorHeldOpen)]
    assert held.open_s >= 30
