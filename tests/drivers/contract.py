"""The one conformance suite that every door driver inherits: a subclass gives a `rig` fixture on its own real wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import pytest

from drivers.door import DoorDriver, GiveFeedback, Reported, SetMode, UnlockDoor
from models.access import Request
from models.doors import DoorState, Event, Presence, Snapshot, advance
from models.errors import CommandExpired, DeviceUnreachable, InvalidInput
from models.events import DoorForced
from models.places import Door

LIMIT_S = 30.0
"""Longer than a door waits before it sends again what nobody acknowledged."""
T = TypeVar("T")


class Simulated(Protocol):
    """What the suite does at the simulated door."""

    @property
    def id(self) -> str: ...
    @property
    def contact(self) -> str: ...
    @property
    def lock(self) -> str: ...
    @property
    def unlocks(self) -> int: ...
    @property
    def faults(self) -> Any: ...
    def open(self) -> None: ...
    def force(self) -> None: ...
    def close(self) -> None: ...
    def tamper(self) -> None: ...
    def drop(self) -> None: ...
    async def request(self, kind: str, value: str | None) -> Any: ...
    async def until(self, wanted: Callable[[], bool]) -> None: ...
    def progress(self) -> tuple[int, int]: ...


class Rig(Protocol):
    """What a protocol brings: a connected simulated door, drivers for it, and a way to break the wire."""

    @property
    def door(self) -> Simulated:
        """Return the door at the other end."""

    keeps_sessions: bool
    """True if what is not acknowledged comes again from the wire itself."""

    numbered: bool
    """True if the door numbers its events."""

    def driver(self) -> AbstractAsyncContextManager[DoorDriver]:
        """Return a new driver of the same identity."""

    async def break_wire(self) -> None:
        """End the wire under the driver."""


async def soon(awaitable: Any, limit_s: float = LIMIT_S) -> Any:
    async with asyncio.timeout(limit_s):
        return await awaitable


async def next_event(reports: AsyncIterator[Reported], *, acknowledge: bool = True) -> tuple[Event, Reported]:
    """Return the next event; other reports on the way are acknowledged, like a caller with nothing to say."""
    async with asyncio.timeout(LIMIT_S):
        async for reported in reports:
            if isinstance(reported.report, Event):
                if acknowledge:
                    await reported.acknowledge(reported.report.seq)
                return reported.report, reported
            await reported.acknowledge(None)
    raise AssertionError("the driver ended without an error")


def unlock(door_id: str, name: str, **changes: Any) -> UnlockDoor:
    given: dict[str, Any] = {"id": name, "door_id": door_id, "attempt": None, "hold_s": 0.3, "valid_ms": 2000}
    return UnlockDoor(**{**given, **changes})


class DoorDriverContract:
    """Every door driver does this."""

    async def test_events_arrive_in_order_with_their_numbers(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.force()
            rig.door.close()
            rig.door.tamper()
            events = [(await next_event(reports))[0] for _ in range(3)]
        assert [event.type for event in events] == ["forced", "closed", "tamper"]
        assert [event.seq for event in events] == ([1, 2, 3] if rig.numbered else [None] * 3)
        assert len({event.id for event in events}) == 3

    async def test_nothing_is_acknowledged_end_to_end_before_the_caller_says_so(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.force()
            event, reported = await next_event(reports, acknowledge=False)
            assert rig.door.progress() == (1, 0)
            await reported.acknowledge(event.seq)
            await soon(rig.door.until(lambda: rig.door.progress() == (1, 1)))

    async def test_an_event_that_was_not_acknowledged_comes_again_with_the_same_id(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            rig.door.force()
            first, _ = await next_event(driver.reports(), acknowledge=False)
        async with rig.driver() as driver:
            if not rig.keeps_sessions:
                rig.door.drop()
            again, _ = await next_event(driver.reports())
        assert (again.id, again.seq, again.backlog) == (first.id, first.seq, True)

    async def test_events_during_an_absence_of_the_driver_are_not_lost(self, rig: Rig) -> None:
        async with rig.driver():
            pass
        rig.door.force()
        rig.door.close()
        async with rig.driver() as driver:
            if not rig.keeps_sessions:
                rig.door.drop()
            reports = driver.reports()
            seen: set[str] = set()
            while seen < {"forced", "closed"}:  # a wire may repeat, which is harmless
                seen.add((await next_event(reports))[0].type)
        assert seen == {"forced", "closed"}

    async def test_a_repeated_event_changes_nothing_twice(self, rig: Rig) -> None:
        rig.door.faults.add("duplicate")
        state = DoorState(door_id=rig.door.id, edge_id="edge", online=True)
        door = Door(id=rig.door.id, site_id="s", name="d", edge_id="edge")
        facts: list[object] = []
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.force()
            rig.door.close()
            for _ in range(4):
                event, _ = await next_event(reports)
                state, made = advance(state, event, door=door)
                facts.extend(made)
        assert len([fact for fact in facts if isinstance(fact, DoorForced)]) == 1
        assert len(facts) == 2

    async def test_a_request_arrives_and_its_value_stays_out_of_logs(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            asking = asyncio.ensure_future(rig.door.request("pin", "13579"))
            request: Request = await soon(anext(aiter(driver.requests())))
            assert (request.door_id, request.kind, request.value) == (rig.door.id, "pin", "13579")
            assert not request.redelivered
            assert "13579" not in repr(request)
            order = unlock(rig.door.id, "u-request", attempt=request.id)
            assert (await soon(driver.execute(order))).ok
            assert (await soon(asking)).unlocked

    async def test_a_refused_person_is_told_why(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            asking = asyncio.ensure_future(rig.door.request("card", "4711"))
            request: Request = await soon(anext(aiter(driver.requests())))
            order = GiveFeedback(
                id="f1", door_id=rig.door.id, attempt=request.id, ok=False, reason="unknown_credential"
            )
            assert (await soon(driver.execute(order))).ok
            outcome = await soon(asking)
        assert (outcome.unlocked, outcome.feedback) == (False, "unknown_credential")
        assert rig.door.unlocks == 0

    async def test_an_unlock_is_confirmed_by_the_door_and_ends_by_itself(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            executed = await soon(driver.execute(unlock(rig.door.id, "u1")))
            assert (executed.ok, executed.certain, executed.error) == (True, True, None)
            assert rig.door.unlocks == 1
            await soon(rig.door.until(lambda: rig.door.lock == "locked"))

    async def test_only_a_definite_refusal_is_certain(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            rig.door.faults.add("refuse_unlock")
            refused = await soon(driver.execute(unlock(rig.door.id, "u-refused")))
            assert (refused.ok, refused.certain) == (False, True)
            assert refused.error
            rig.door.faults.clear()
            rig.door.faults.add("silent")
            unanswered = await soon(driver.execute(unlock(rig.door.id, "u-silent", valid_ms=300)))
            assert (unanswered.ok, unanswered.certain) == (False, False)

    async def test_an_expired_order_is_never_sent(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            with pytest.raises(CommandExpired):
                await driver.execute(unlock(rig.door.id, "u-late", valid_ms=0))
            assert (await soon(driver.execute(unlock(rig.door.id, "u-next")))).ok
        assert rig.door.unlocks == 1

    async def test_an_order_for_a_door_that_it_does_not_serve_is_refused(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            with pytest.raises(InvalidInput):
                await driver.execute(unlock("somewhere-else", "u-other"))

    async def test_a_broken_wire_ends_the_driver_and_orders_fail_at_once(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reports = driver.reports()
            await rig.break_wire()
            with pytest.raises(DeviceUnreachable):
                await soon(_drain(reports))
            with pytest.raises(DeviceUnreachable):
                await soon(driver.execute(unlock(rig.door.id, "u-away")), 1.0)

    async def test_a_state_is_a_snapshot_and_no_event(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.force()
            await next_event(reports)
            snapshot = await soon(_snapshot_when(driver, reports, rig))
        assert (snapshot.contact, snapshot.lock, snapshot.tamper) == ("open", "locked", False)

    async def test_a_door_that_vanishes_is_reported_and_so_is_its_return(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reports = driver.reports()
            await soon(_presence(reports, online=True))
            rig.door.drop()
            await soon(_presence(reports, online=False))
            await soon(_presence(reports, online=True))

    async def test_a_mode_reaches_the_door_and_is_confirmed_by_its_state(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reports = driver.reports()
            order = SetMode(door_id=rig.door.id, version=7, mode="locked_down")
            assert (await soon(driver.execute(order))).ok
            async with asyncio.timeout(LIMIT_S):
                async for reported in reports:
                    await reported.acknowledge(None)
                    if isinstance(reported.report, Snapshot) and reported.report.mode == "locked_down":
                        break
            refused = await soon(driver.execute(unlock(rig.door.id, "u-locked-down")))
            assert (refused.ok, refused.certain) == (False, True)

    async def test_garbage_is_counted_and_everything_else_goes_on(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reports = driver.reports()
            rig.door.faults.add("garbage")
            rig.door.force()
            event, _ = await next_event(reports)
            assert event.type == "forced"
            assert driver.counters["unreadable"] > 0
            assert (await soon(driver.execute(unlock(rig.door.id, "u-after-garbage")))).ok

    async def test_a_door_says_what_it_can_do(self, rig: Rig) -> None:
        async with rig.driver() as driver:
            reading = asyncio.create_task(_drain(driver.reports()))
            async with asyncio.timeout(LIMIT_S):  # a wire may bring the introduction after "online"
                while (capabilities := driver.capabilities(rig.door.id)) is None:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.02)
            reading.cancel()
            assert {"contact", "lock", "ack"} <= capabilities
            assert driver.capabilities("somewhere-else") is None


def now() -> datetime:
    return datetime.now(UTC)


async def _drain(reports: AsyncIterator[Reported]) -> None:
    async for reported in reports:
        await reported.acknowledge(None)


async def _presence(reports: AsyncIterator[Reported], *, online: bool) -> None:
    async for reported in reports:
        await reported.acknowledge(None)
        if reported.report == Presence(at=reported.report.at, online=online):
            return


async def _snapshot_when(driver: DoorDriver, reports: AsyncIterator[Reported], rig: Rig) -> Snapshot:
    while True:
        snapshot = await driver.snapshot(rig.door.id)
        if snapshot is not None and snapshot.contact == "open":
            return snapshot
        reported = await anext(aiter(reports))
        await reported.acknowledge(None)
