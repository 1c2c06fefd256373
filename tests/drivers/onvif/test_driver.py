"""The ONVIF door driver against a device that misbehaves by name, several doors, relays, readers and modes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from drivers.catalog import open_door
from drivers.door import DoorDriver, Executed, GiveFeedback, Reported, SetMode, Warn
from drivers.onvif.acts import UNSUPPORTED
from models.doors import DoorState, Event, Presence, Snapshot, advance, expect_opening
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from models.events import DoorForced, DoorOpened
from models.places import Door
from tests.drivers.contract import next_event, now, soon, unlock
from tests.drivers.onvif.rigs import Gate, Site, eventually, running, simulated


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running(simulated()) as site:
        yield site


async def first(reports: AsyncIterator[Reported], kind: type, door_id: str = "gate") -> Any:
    """Return the next report of a kind at a door; all on the way are acknowledged."""
    async with asyncio.timeout(10):
        async for reported in reports:
            await reported.acknowledge(None)
            if isinstance(reported.report, kind) and reported.door_id == door_id:
                return reported.report
    raise AssertionError("the driver ended")


async def opens(driver: DoorDriver, door_id: str = "gate") -> bool:
    executed: Executed = await soon(driver.execute(unlock(door_id, f"u-{now()}")))
    return executed.ok


# ---- misbehaviours --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "clock_hour_off", "wrong_host", "lies_capabilities", "duplicate_initialized", "digest_only", "wss_only",
        "needs_renew", "drops_all_subscriptions_on_unsubscribe",
    ],
)  # fmt: skip
async def test_a_door_of_a_device_with_a_quirk_works_all_the_same(site: Site, fault: Any) -> None:
    site.unit.faults.add(fault)
    gate = Gate(site)
    async with site.driver() as driver:
        reports = driver.reports()
        gate.force()
        gate.close()
        assert [(await next_event(reports))[0].type for _ in range(2)] == ["forced", "closed"]
        assert await opens(driver)


async def test_a_clock_an_hour_off_and_tokens_go_together(site: Site) -> None:
    """WS-Security alone, stamped by the device's own clock; an event of now is not taken for one that waited."""
    site.unit.faults.update({"clock_hour_off", "wss_only"})
    async with site.driver() as driver:
        Gate(site).force()
        event, _ = await next_event(driver.reports())
    assert event.device_at is not None
    assert event.device_at - event.at > timedelta(minutes=59)
    assert not event.backlog


async def test_a_clock_that_jumps_meanwhile_is_measured_anew(site: Site) -> None:
    site.unit.faults.add("wss_only")
    async with site.driver() as driver:
        site.unit.faults.add("clock_hour_off")
        assert await opens(driver)


async def test_a_lost_subscription_is_made_anew_and_loses_nothing(site: Site) -> None:
    gate = Gate(site)
    async with site.driver() as driver:
        reports = driver.reports()
        await first(reports, Snapshot)
        site.unit.subscriptions.forget()
        gate.force()
        event, _ = await next_event(reports)
        assert event.type == "forced"
        assert driver.counters["subscriptions_lost"] == 1


async def test_a_device_that_loses_every_subscription_ends_the_driver(site: Site) -> None:
    async with site.driver() as driver:
        losing = asyncio.create_task(_lose_for_ever(site))
        try:
            with pytest.raises(DeviceRefused):
                await soon(_to_the_end(driver.reports()))
        finally:
            losing.cancel()


async def _lose_for_ever(site: Site) -> None:
    while True:
        await site.until(lambda: bool(site.unit.subscriptions.points))
        site.unit.subscriptions.forget()
        await asyncio.sleep(0)


async def test_events_during_a_reboot_come_with_the_next_connection_and_once(site: Site) -> None:
    gate = Gate(site)
    state = DoorState(door_id="gate", edge_id="e", online=True)
    facts: list[object] = []
    door = Door(id="gate", site_id="s", name="d", edge_id="e")
    async with site.driver() as driver:
        reports = driver.reports()
        gate.force()
        gate.close()
        for _ in range(2):
            event, _ = await next_event(reports)
            state, made = advance(state, event, door=door)
            facts += made
        gate.drop()
        gate.force()
        gate.close()
        with pytest.raises(DeviceUnreachable):
            await soon(_to_the_end(reports))
    async with asyncio.timeout(10):
        driver = await _once_it_is_back(site)
    try:
        reports = driver.reports()
        while len(facts) < 4:
            event, _ = await next_event(reports)
            state, made = advance(state, event, door=door)
            facts += made
    finally:
        await driver.__aexit__()
    assert sum(isinstance(fact, DoorForced) for fact in facts) == 2


async def _once_it_is_back(site: Site) -> Any:
    while True:
        try:
            return await site.driver().__aenter__()
        except DeviceUnreachable:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("fault", ["huge", "bomb", "external_entity", "garbage"])
async def test_a_device_that_sends_poison_is_refused_within_bounds(site: Site, fault: Any) -> None:
    site.unit.faults.add(fault)
    with pytest.raises(InvalidInput):
        async with site.driver():
            pass


async def test_poison_under_way_is_counted_and_recovered_from(site: Site) -> None:
    async with site.driver(pull_s=1) as driver:
        reports = driver.reports()
        await first(reports, Snapshot)
        site.unit.faults.add("bomb")
        await eventually(lambda: driver.counters["unreadable"] > 0)
        site.unit.faults.discard("bomb")
        Gate(site).force()
        assert (await next_event(reports))[0].type == "forced"


async def test_a_silent_device_ends_the_driver_in_time(site: Site) -> None:
    async with site.driver(pull_s=1, timeout_s=0.3) as driver:
        site.unit.faults.add("silent")
        with pytest.raises(DeviceUnreachable):
            await soon(_to_the_end(driver.reports()))


async def test_a_slow_device_opens_its_door(site: Site) -> None:
    async with site.driver() as driver:
        site.unit.faults.add("slow")
        assert await opens(driver)


# ---- doors ----------------------------------------------------------------------------------------------------------


async def test_one_device_serves_many_doors_and_a_missing_one_delays_nobody() -> None:
    async with running(simulated("north", "south")) as site:
        doors = {"n": {"door": "north"}, "s": {"door": "south"}, "gone": {"door": "west"}}
        async with site.driver("n", "s", "gone", doors=doors) as driver:
            reports = driver.reports()
            Gate(site, "south").force()
            seen: dict[str, bool] = {}
            forced: list[str] = []
            async with asyncio.timeout(10):
                async for reported in reports:
                    await reported.acknowledge(None)
                    if isinstance(reported.report, Presence):
                        seen[reported.door_id] = reported.report.online
                    if isinstance(reported.report, Event):
                        forced.append(f"{reported.door_id} {reported.report.type}")
                        break
            assert seen == {"n": True, "s": True, "gone": False}
            assert forced == ["s forced"]
            assert await opens(driver, "n")
            refused = await soon(driver.execute(unlock("gone", "u")))
            assert (refused.ok, refused.certain) == (False, True)


async def test_settings_that_leave_the_door_open_name_what_there_is() -> None:
    async with running(simulated("north", "south")) as site:
        with pytest.raises(InvalidInput, match="north, south"):
            async with site.driver("gate"):
                pass


async def test_the_catalogue_opens_a_door_beside_its_device(site: Site) -> None:
    settings = {"kind": "onvif", "door": "gate", **site.settings()}
    async with open_door(settings, doors=("front",), client_id="c", now=now) as driver:
        assert await opens(driver, "front")


async def test_our_own_unlock_is_not_taken_for_force(site: Site) -> None:
    gate = Gate(site)
    door = Door(id="gate", site_id="s", name="d", edge_id="e")
    state = DoorState(door_id="gate", edge_id="e", online=True)
    async with site.driver() as driver:
        reports = driver.reports()
        state = expect_opening(state, attempt="a", at=now(), until=now() + timedelta(seconds=9))
        assert await opens(driver)
        gate.open()
        event, _ = await next_event(reports)
        _, facts = advance(state, event, door=door)
    assert event.type == "opened"
    assert [(type(fact), fact.cause) for fact in facts if isinstance(fact, DoorOpened)] == [(DoorOpened, "granted")]


async def test_held_fault_duress_exit_and_power_are_told_apart(site: Site) -> None:
    async with site.driver() as driver:
        reports = driver.reports()
        await first(reports, Snapshot)
        kinds = []
        for act in ("exit", "open", "held", "close", "fault", "clear_fault", "duress", "mains_lost", "mains_back"):
            await site.act(act)
            kinds.append((await next_event(reports))[0].type)
    assert kinds == [
        "exit_button", "opened", "held", "closed", "fault", "fault_cleared", "duress", "mains_lost", "mains_back",
    ]  # fmt: skip


async def test_every_mode_is_reached_from_every_other(site: Site) -> None:
    gate = Gate(site)
    modes: list[Any] = ["locked_down", "evacuating", "locked_down", "normal", "held_open", "normal"]
    wanted = {"locked_down": "LockedDown", "evacuating": "LockedOpen", "held_open": "LockedOpen", "normal": "Locked"}
    async with site.driver() as driver:
        for version, mode in enumerate(modes, start=1):
            order = SetMode(door_id="gate", version=version, mode=mode)
            assert (await soon(driver.execute(order))).ok, mode
            assert gate.machine.mode == wanted[mode]
        stale = await soon(driver.execute(SetMode(door_id="gate", version=1, mode="locked_down")))
        assert (stale.ok, gate.machine.mode) == (False, "Locked")


async def test_an_evacuation_is_reported_as_one_and_again_after_a_reconnection(site: Site) -> None:
    order = SetMode(door_id="gate", version=1, mode="evacuating")
    for _ in range(2):
        async with site.driver() as driver:
            assert (await soon(driver.execute(order))).ok
            reports = driver.reports()
            async with asyncio.timeout(10):
                while (await first(reports, Snapshot)).mode != "evacuating":
                    pass


@pytest.mark.parametrize("mode", ["held_open", "evacuating"])
async def test_nobody_is_refused_at_a_door_that_stands_open_by_our_order(site: Site, mode: Any) -> None:
    async with site.driver() as driver:
        requests = aiter(driver.requests())
        assert (await soon(driver.execute(SetMode(door_id="gate", version=1, mode=mode)))).ok
        assert await opens(driver), "the desk"
        asking = asyncio.ensure_future(site.act("card", value="4711"))
        request = await soon(anext(requests))
        assert (await soon(driver.execute(unlock("gate", "u", attempt=request.id)))).ok, "a person"
        asking.cancel()
        assert (await soon(driver.execute(SetMode(door_id="gate", version=2, mode="normal")))).ok
        before = Gate(site).unlocks
        assert await opens(driver)
        assert Gate(site).unlocks == before + 1, "and from then on it is opened again"


async def test_a_door_that_others_hold_open_refuses_as_it_says(site: Site) -> None:
    async with site.driver() as driver:
        Gate(site).machine.command("LockOpenDoor")
        assert not await opens(driver)


# ---- people ---------------------------------------------------------------------------------------------------------


async def test_a_card_at_the_inner_reader_is_on_its_way_out(site: Site) -> None:
    async with site.driver(door="gate", reader_out="gate-out") as driver:
        asking = asyncio.ensure_future(site.act("card", value="4711", reader="out"))
        request = await soon(anext(aiter(driver.requests())))
        assert (request.kind, request.value, request.reader) == ("card", "4711", "out")
        assert (await soon(driver.execute(unlock("gate", "u", attempt=request.id)))).ok
        assert (await soon(asking)).unlocked


async def test_a_device_that_knows_its_cards_is_answered_by_their_tokens() -> None:
    async with running(simulated(credentials=True)) as site, site.driver() as driver:
        asking = asyncio.ensure_future(site.act("card", value="card-7"))
        request = await soon(anext(aiter(driver.requests())))
        assert (request.kind, request.value) == ("card", "card-7")
        assert (await soon(driver.execute(unlock("gate", "u", attempt=request.id)))).ok
        assert (await soon(asking)).unlocked


async def test_who_waited_too_long_is_let_in_by_the_door_itself(site: Site) -> None:
    """The device has given up; the decision is still about now, and opens the door."""
    site.unit.device.timing = site.unit.device.timing.__class__(access_s=0.3, decision_s=0.2)
    async with site.driver() as driver:
        outcome = await site.act("card", value="4711")
        assert outcome.error == "no answer"
        request = await soon(anext(aiter(driver.requests())))
        await eventually(lambda: not driver._acts._asked)  # type: ignore[union-attr]
        assert (await soon(driver.execute(unlock("gate", "u", attempt=request.id)))).ok
        assert Gate(site).unlocks == 1


async def test_a_door_with_a_reader_takes_cards_and_claims_no_light_of_its_own() -> None:
    async with running(simulated()) as site, site.driver() as driver:
        can = driver.capabilities("gate") or frozenset()
        told = await driver.execute(Warn(id="w", door_id="gate", reason="held_soon"))
    assert {"card", "pin", "contact"} <= can
    assert ("feedback" in can, told.error) == (False, "unsupported")


async def test_what_a_device_cannot_do_is_said_so(site: Site) -> None:
    async with site.driver() as driver:
        late = GiveFeedback(id="f", door_id="gate", attempt="long ago", ok=False, reason="unknown_credential")
        assert await driver.execute(late) == UNSUPPORTED
        assert await driver.execute(Warn(id="w", door_id="gate", reason="held_soon")) == UNSUPPORTED


# ---- relays ---------------------------------------------------------------------------------------------------------


async def test_a_relay_is_a_door_that_is_pulsed(site: Site) -> None:
    async with site.driver(relay="gate-relay", exit_button="gate-exit", call="gate-call") as driver:
        assert driver.capabilities("gate") == frozenset({"relay", "button", "ack"})
        assert await opens(driver)
        assert site.unit.device.relays["gate-relay"]
        mode = SetMode(door_id="gate", version=1, mode="locked_down")
        assert await driver.execute(mode) == UNSUPPORTED
        ringing = anext(aiter(driver.requests()))
        await site.act("call")
        assert (await soon(ringing)).kind == "call"


async def _to_the_end(reports: AsyncIterator[Reported]) -> None:
    async for reported in reports:
        await reported.acknowledge(None)
