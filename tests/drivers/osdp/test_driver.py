"""The OSDP driver on a real pseudo-terminal: faults on the line, keys, several readers, what is told at a reader."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from drivers.door import GiveFeedback, SetMode, Warn
from drivers.osdp.driver import OsdpDoors
from drivers.osdp.simbus import SimulatedBus
from drivers.osdp.simreader import SimulatedReader
from models.access import Request
from models.errors import Conflict, DeviceUnreachable, InvalidInput
from models.reports import Event
from tests.drivers.contract import soon, unlock
from tests.drivers.osdp.conftest import (
    KEY,
    Site,
    driver_of,
    next_presence,
    next_report,
    next_type,
    opened,
    reader_settings,
    snapshot_until,
)

OTHER_KEY = bytes(range(2, 18))


async def next_request(driver: Any) -> Request:
    request: Request = await soon(anext(aiter(driver.requests())))
    return request


def feedback(request: Request, **changes: Any) -> GiveFeedback:
    given = {"id": "f", "door_id": request.door_id, "attempt": request.id, "ok": False, "reason": "expired"}
    return GiveFeedback(**{**given, **changes})


async def test_a_card_comes_as_its_bits_and_a_pin_as_its_digits(site: Site) -> None:
    async with opened(site.driver()) as (driver, _):
        asking = asyncio.ensure_future(site.door.request("card", "26:1A2B3C40"))
        card = await next_request(driver)
        assert (card.kind, card.value, card.reader, card.redelivered) == ("card", "26:1A2B3C40", "in", False)
        assert (await soon(driver.execute(unlock("gate", "u1", attempt=card.id)))).ok
        assert (await soon(asking)).unlocked
        asking = asyncio.ensure_future(site.door.request("card", "7186A61E"))
        assert (await next_request(driver)).value == "32:7186A61E"
        asking.cancel()


async def test_a_flat_and_pin_are_one_request(site: Site) -> None:
    async with opened(site.driver(keypad="flat_pin")) as (driver, _):
        asking = asyncio.ensure_future(site.door.request("flat_pin", "1201#4711"))
        request = await next_request(driver)
        assert (request.kind, request.value) == ("flat_pin", "1201#4711")
        asking.cancel()


async def test_every_attempt_is_answered_at_the_reader_by_light_sound_and_text(site: Site) -> None:
    async with opened(site.driver()) as (driver, _):
        asking = asyncio.ensure_future(site.door.request("pin", "4711"))
        request = await next_request(driver)
        await soon(site.door.until(lambda: "light amber" in site.door.told))
        assert (await soon(driver.execute(feedback(request)))).ok
        assert (await soon(asking)).feedback == "expired"
        assert list(site.door.told)[-3:] == ["show expired", "light red", "beep 3"]
        assert (await soon(driver.execute(unlock("gate", "u", attempt=request.id)))).ok
        await soon(site.door.until(lambda: list(site.door.told)[-2:] == ["light green", "beep 1"]))
        assert (await soon(driver.execute(Warn(id="w", door_id="gate", reason="held_soon")))).ok
        assert site.door.told[-1] == "beep 4"


async def test_neither_cards_nor_digits_nor_keys_reach_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    site.fault("wrong_key")
    async with site.driver() as driver:
        site.door.faults.clear()
        await next_presence(aiter(driver.reports()), online=True)
        asking = asyncio.ensure_future(site.door.request("pin", "86420"))
        await next_request(driver)
        asking.cancel()
    assert "does not take our key" in caplog.text
    assert "86420" not in caplog.text
    assert KEY.hex() not in caplog.text


async def test_inputs_power_and_housing_become_events(site: Site) -> None:
    async with opened(site.driver()) as (driver, reports):
        site.door.press_exit()
        site.door.set_input("emergency", on=True)
        site.door.set_input("mains", on=True)
        site.door.set_input("battery", on=True)
        site.door.tamper()
        seen = [await next_type(reports) for _ in range(5)]
        assert seen == ["exit_button", "emergency", "mains_lost", "battery_low", "tamper"]
        assert (await snapshot_until(reports, tamper=True)).mains is False
        site.door.set_input("mains", on=False)
        site.door.set_input("battery", on=False)
        site.door.clear_tamper()
        assert [await next_type(reports) for _ in range(3)] == ["mains_back", "battery_ok", "tamper_cleared"]
        assert driver.counters["events"] == 8


async def test_modes_switch_the_strike_for_good_and_an_older_one_changes_nothing(site: Site) -> None:
    async with opened(site.driver()) as (driver, reports):
        assert (await soon(driver.execute(SetMode(door_id="gate", version=2, mode="evacuating")))).ok
        await snapshot_until(reports, mode="evacuating", lock="unlocked")
        older = await soon(driver.execute(SetMode(door_id="gate", version=1, mode="locked_down")))
        assert (older.ok, older.certain) == (False, True)
        assert (await soon(driver.execute(unlock("gate", "u1", hold_s=0.2)))).ok
        await soon(asyncio.ensure_future(site.door.until(lambda: site.door.unlocks == 1)))
        assert (await soon(driver.execute(SetMode(door_id="gate", version=3, mode="normal")))).ok
        await snapshot_until(reports, mode="normal", lock="locked")


async def test_a_long_unlock_is_one_pulse_that_ends_by_itself_at_the_reader(site: Site) -> None:
    async with opened(site.driver()) as (driver, _):
        assert (await soon(driver.execute(unlock("gate", "u1", hold_s=600)))).ok
        assert site.door.lock == "unlocked"
        relock = site.door._timers["relock"]
        assert 20 < relock.when() - asyncio.get_running_loop().time() <= 25.5  # the rest follows while the edge lives
        with pytest.raises(InvalidInput):
            await driver.execute(unlock("gate", "u2", hold_s=4000))


async def test_a_reader_without_a_strike_or_without_light_says_what_it_cannot_do(site: Site) -> None:
    async with opened(site.driver(strike=None)) as (driver, _):
        refused = await driver.execute(unlock("gate", "u1"))
        assert (refused.ok, refused.certain, refused.error) == (False, True, "unsupported")
        mode = await driver.execute(SetMode(door_id="gate", version=1, mode="normal"))
        assert (mode.ok, mode.error) == (False, "unsupported")
        assert "mode" not in (driver.capabilities("gate") or ())


async def test_a_command_under_way_is_not_sent_twice(site: Site) -> None:
    async with opened(site.driver()) as (driver, _):
        first = asyncio.ensure_future(driver.execute(unlock("gate", "same")))
        await asyncio.sleep(0)
        with pytest.raises(Conflict):
            await driver.execute(unlock("gate", "same"))
        assert (await soon(first)).ok
        assert site.door.unlocks == 1


async def test_an_unlock_whose_time_is_over_is_never_obeyed_later(site: Site) -> None:
    async with opened(site.driver()) as (driver, _):
        site.fault("deaf")
        late = await soon(driver.execute(unlock("gate", "u-late", valid_ms=400)))
        assert (late.ok, late.certain) == (False, False)
        site.door.faults.clear()
        assert (await soon(driver.execute(unlock("gate", "u-next", valid_ms=5000)))).ok  # the session is new
        assert site.door.unlocks == 1


async def test_noise_damage_and_delay_on_the_line_cost_nothing_but_time(site: Site) -> None:
    async with opened(site.driver()) as (driver, reports):
        for fault in ("garbage", "slow", "duplicate"):
            site.fault(fault)
            site.door.open()
            site.door.close()
            assert [await next_type(reports) for _ in range(2)] == ["opened", "closed"], fault
            site.door.faults.clear()
        site.fault("corrupt")  # one answer: what it said is lost, how things stand is not
        site.door.open()
        assert await next_type(reports) == "opened"
        assert driver.counters["unreadable"] > 0
        assert (await soon(driver.execute(unlock("gate", "u", valid_ms=5000)))).ok


async def test_a_recorded_card_that_is_played_back_opens_nothing(site: Site) -> None:
    async with opened(site.driver()) as (driver, reports):
        asking = asyncio.ensure_future(site.door.request("card", "7186A61E"))
        await next_request(driver)
        asking.cancel()
        before = driver.counters["sessions"]
        site.fault("replay")
        site.door.tamper()
        assert await next_type(reports) == "tamper"
        assert "replay" not in site.door.faults  # it was played
        site.door.open()
        assert await next_type(reports) == "opened"
        assert (driver.counters["requests"], driver.counters["requests_waited"]) == (1, 0)
        assert driver.counters["sessions"] > before


async def test_a_card_that_waited_for_the_line_is_not_about_now(site: Site) -> None:
    async with opened(site.driver()) as (driver, reports):
        site.fault("late_events")
        site.door.drop()
        await next_presence(reports, online=False)
        asking = asyncio.ensure_future(site.door.request("card", "7186A61E", timeout_s=1))
        request = await next_request(driver)
        assert (request.value, request.redelivered) == ("32:7186A61E", True)
        await asking
        assert site.door.unlocks == 0


async def test_a_reader_with_another_key_is_a_fault_that_says_what_to_do_and_ends_by_itself(site: Site) -> None:
    async with opened(site.driver()) as (driver, reports):
        site.fault("wrong_key")
        fault: Event = await next_report(reports, Event)
        assert fault.type == "fault"
        assert "reader 1" in fault.detail
        assert "install" in fault.detail
        await next_presence(reports, online=False)
        with pytest.raises(DeviceUnreachable):
            await driver.execute(unlock("gate", "u"))
        site.door.faults.clear()
        assert await next_type(reports) == "fault_cleared"
        assert driver.counters["troubles"] == 1


async def test_a_reader_is_never_talked_to_in_clear_when_it_has_a_key(site: Site) -> None:
    async with site.driver(key=OTHER_KEY.hex()) as driver:
        assert await next_type(aiter(driver.reports())) == "fault"
        assert await driver.snapshot("gate") is None
        assert driver.capabilities("gate") is None


async def test_a_reader_can_be_talked_to_in_clear_if_the_settings_say_so() -> None:
    door = SimulatedReader("gate", address=1, key=None)
    async with (
        SimulatedBus(door) as bus,
        opened(driver_of(bus, reader_settings("gate", plain=True, key=None))) as (driver, _),
    ):
        assert (await soon(driver.execute(unlock("gate", "u")))).ok


async def test_a_line_that_is_pulled_out_ends_the_driver_and_one_that_is_pushed_in_serves_again(tmp_path: Path) -> None:
    door = SimulatedReader("gate", address=1, key=KEY)
    link = tmp_path / "port"
    async with SimulatedBus(door, link=link) as bus:
        bus_settings = {"kind": "osdp", "port": str(link)}
        async with opened(driver_of(bus, reader_settings("gate"), **bus_settings)) as (driver, reports):
            bus.unplug()
            with pytest.raises(DeviceUnreachable, match="line is gone"):
                while True:
                    await soon(anext(reports))
            with pytest.raises(DeviceUnreachable):
                await driver.execute(unlock("gate", "u"))
        with pytest.raises(DeviceUnreachable, match="cannot be opened"):
            await driver_of(bus, reader_settings("gate"), **bus_settings).__aenter__()
        bus.plug_in()
        async with opened(driver_of(bus, reader_settings("gate"), **bus_settings)) as (driver, _):
            assert (await soon(driver.execute(unlock("gate", "u")))).ok


async def test_a_line_in_use_is_refused(site: Site) -> None:
    async with site.driver():
        with pytest.raises(DeviceUnreachable, match="another process uses it"):
            await site.driver().__aenter__()


@pytest.mark.parametrize("port", ["/nowhere/at/all", "/dev/null"])
async def test_a_port_that_is_none_is_refused(port: str, site: Site) -> None:
    with pytest.raises(DeviceUnreachable, match="cannot be opened"):
        await driver_of(site.bus, site.settings, port=port).__aenter__()


async def test_a_panel_process_that_dies_ends_the_driver(site: Site) -> None:
    async with opened(site.driver()) as (driver, reports):
        assert isinstance(driver, OsdpDoors)
        assert driver._link is not None
        os.kill(driver._link._transport.get_pid(), 9)
        with pytest.raises(DeviceUnreachable, match="panel process ended"):
            while True:
                await soon(anext(reports))


async def test_a_converter_on_the_network_is_a_line_too() -> None:
    door = SimulatedReader("gate", address=1, key=KEY)
    async with SimulatedBus(door, listen=("127.0.0.1", 0)) as bus:
        assert bus.port.startswith("tcp://127.0.0.1:")
        async with opened(driver_of(bus, reader_settings("gate"))) as (driver, reports):
            assert (await soon(driver.execute(unlock("gate", "u")))).ok
            bus.unplug()
            with pytest.raises(DeviceUnreachable):
                while True:
                    await soon(anext(reports))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(DeviceUnreachable):
            await driver_of(bus, reader_settings("gate"), port=f"tcp://127.0.0.1:{probe.getsockname()[1]}").__aenter__()


async def test_a_dead_reader_costs_its_neighbours_on_the_line_next_to_nothing() -> None:
    gate = SimulatedReader("gate", address=1, key=KEY)
    back = SimulatedReader("back", address=2, key=OTHER_KEY)
    settings = [reader_settings("gate"), reader_settings("back", address=2, key=OTHER_KEY.hex())]
    async with SimulatedBus(gate, back) as bus, driver_of(bus, *settings) as driver:
        back.faults.add("deaf")
        reports = aiter(driver.reports())
        while True:
            reported = await soon(anext(reports))
            if reported.door_id == "back" and getattr(reported.report, "online", None) is False:
                break
        times = []
        for number in range(12):
            began = asyncio.get_running_loop().time()
            assert (await soon(driver.execute(unlock("gate", f"u{number}")))).ok
            times.append(asyncio.get_running_loop().time() - began)
        assert max(times) < 1.0
        with pytest.raises(DeviceUnreachable):
            await driver.execute(unlock("back", "u"))


async def test_a_door_with_a_reader_on_each_side_answers_where_somebody_asked() -> None:
    inside = SimulatedReader("inside", address=2, key=KEY)
    outside = SimulatedReader("outside", address=1, key=KEY)
    settings = [
        reader_settings("gate"),
        reader_settings("gate", address=2, side="out", strike=None, inputs={}),
    ]
    async with SimulatedBus(outside, inside) as bus, opened(driver_of(bus, *settings)) as (driver, reports):
        asking = asyncio.ensure_future(inside.request("card", "17"))
        request = await next_request(driver)
        assert (request.door_id, request.reader, request.value) == ("gate", "out", "8:17")
        assert (await soon(driver.execute(feedback(request)))).ok
        assert (await soon(asking)).feedback == "expired"
        assert list(outside.told) == []
        assert (await soon(driver.execute(unlock("gate", "u", attempt=request.id)))).ok
        assert (inside.unlocks, outside.unlocks) == (0, 1)
        asking = asyncio.ensure_future(inside.request("card", "18"))
        request = await next_request(driver)
        assert (await soon(driver.execute(unlock("gate", "v", attempt=request.id)))).ok
        assert (await soon(asking)).ok, "its green light lets in, though the strike hangs on the other reader"
        inside.drop()
        await next_presence(reports, online=False)
        assert await driver.snapshot("gate") is None


async def test_requests_that_nobody_takes_are_dropped_and_counted(site: Site) -> None:
    async with opened(site.driver()) as (driver, reports):
        for _ in range(5):
            site.door._tell({"event": 2, "reader_no": 0, "data": b"1#2#3#4#5#6#7#8#"})
            site.door._tell({"event": 2, "reader_no": 0, "data": b"1#2#3#4#5#6#7#8#"})
        site.door.open()
        assert await next_type(reports) == "opened"
        assert driver.counters["requests"] == 80
        assert driver.counters["requests_dropped"] == 16


async def test_the_panel_is_told_its_keys_by_no_argument(site: Site) -> None:
    async with opened(site.driver()) as (driver, _):
        assert isinstance(driver, OsdpDoors)
        assert driver._link is not None
        place = Path(f"/proc/{driver._link._transport.get_pid()}")
        told = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
        assert b"drivers.osdp.panel" in told
        assert KEY.hex().encode() not in told
        assert json.dumps(list(KEY)).encode() not in told
