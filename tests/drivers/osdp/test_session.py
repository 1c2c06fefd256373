"""Sessions, the bus and the panel in this process, with a clock that can be moved."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from drivers.osdp.line import Line
from drivers.osdp.link import PanelLink
from drivers.osdp.messages import (
    Act,
    Beep,
    Broken,
    Card,
    Done,
    FromPanel,
    Keys,
    Online,
    Output,
    ReaderSetup,
    Setup,
    encode,
    from_panel,
)  # fmt: skip
from drivers.osdp.panel import Panel
from drivers.osdp.session import WAITING
from drivers.osdp.simreader import SimulatedReader
from models.errors import DeviceUnreachable
from tests.drivers.contract import soon
from tests.drivers.osdp.conftest import KEY, Site, Table

READER = ReaderSetup(address=1, trust="key", key=KEY, ask=("local", "input", "output"))


@pytest.fixture
async def table(site: Site) -> Any:
    made = Table(site.bus, READER)
    await made.until(lambda: made.has(Online))
    yield made
    made.line.close()


async def test_a_long_pulse_is_renewed_before_it_ends_and_not_beyond(table: Table, site: Site) -> None:
    table.act(1, Output(number=0, turn="pulse", hold_s=40.0))
    await table.until(lambda: table.done(1) != [])
    await table.move_on(20.5)
    await table.until(lambda: site.door.unlocks == 2)
    rest = site.door._timers["relock"].when() - asyncio.get_running_loop().time()
    assert 18.0 < rest < 20.5  # what was left of the forty seconds
    table.ahead_s += 60
    site.door.open()
    table.act(2, Beep(times=1))
    await table.until(lambda: table.done(2) != [])
    assert site.door.unlocks == 2
    assert not table.done(0)[1:]


async def test_switching_off_ends_a_long_pulse(table: Table, site: Site) -> None:
    table.act(1, Output(number=0, turn="pulse", hold_s=300.0))
    table.act(2, Output(number=0, turn="off"))
    await table.until(lambda: table.done(2) != [])
    table.ahead_s += 30
    table.act(3, Beep(times=1))
    await table.until(lambda: table.done(3) != [])
    assert (site.door.unlocks, site.door.lock) == (1, "locked")


async def test_a_reader_that_comes_back_opens_nothing_by_what_was_left_of_a_long_pulse(
    table: Table, site: Site
) -> None:
    table.act(1, Output(number=0, turn="pulse", hold_s=60.0))
    await table.until(lambda: table.done(1) != [])
    site.fault("silent")
    await table.gone()
    table.said.clear()
    table.ahead_s += 22  # the renewal is due, the pulse is not over
    site.door.faults.discard("silent")
    await table.until(lambda: table.has(Online))
    table.act(2, Beep(times=1))
    await table.until(lambda: table.done(2) != [])
    table.act(3, Beep(times=1))  # whatever was due by itself has had its turn between these
    await table.until(lambda: table.done(3) != [])
    assert site.door.unlocks == 1


async def test_a_pulse_whose_renewal_is_overdue_is_not_renewed_past_its_end(table: Table, site: Site) -> None:
    table.act(1, Output(number=0, turn="pulse", hold_s=30.0))
    await table.until(lambda: table.done(1) != [])
    begun = table.session.begun
    await table.move_on(31)
    for number in (2, 3):
        table.act(number, Beep(times=1))
        await table.until(lambda n=number: table.done(n) != [])  # type: ignore[misc]
    assert (site.door.unlocks, table.session.begun) == (1, begun)


async def test_a_command_whose_time_is_over_before_its_turn_is_certainly_not_sent(table: Table, site: Site) -> None:
    table.act(1, Output(number=0, turn="pulse", hold_s=1.0), within_s=1.0)
    table.ahead_s += 1.1
    await table.until(lambda: table.done(1) != [])
    assert (table.done(1)[0].ok, table.done(1)[0].certain, site.door.unlocks) == (False, True, 0)


async def test_commands_that_pile_up_are_refused(table: Table) -> None:
    for number in range(1, WAITING + 2):
        table.act(number, Beep(times=1))
    assert table.done(WAITING + 1)[0].error == "too many commands wait for this reader"
    await table.until(lambda: len(table.done(WAITING)) == 1)


async def test_a_reader_that_is_away_takes_no_command(table: Table, site: Site) -> None:
    site.door.faults.add("deaf")
    await table.gone()
    table.act(1, Beep(times=1))
    assert (table.done(1)[0].ok, table.done(1)[0].certain) == (False, True)


async def test_what_another_reader_says_out_of_turn_reaches_nobody(table: Table, site: Site) -> None:
    stranger = SimulatedReader("stranger", address=9, key=KEY)
    heard: list[bytes] = []
    stranger.send = heard.append
    table.bus.take()
    before = table.bus.frames.unreadable
    site.bus._send(bytes.fromhex("5385090004450000")[:8])  # a piece of a frame
    site.bus._send(bytes.fromhex("53850e000d021640b73a7abd43fc"))  # a whole one, of reader 5
    await table.until(lambda: table.bus.frames.unreadable >= before + 1)
    table.act(1, Beep(times=1))
    await table.until(lambda: table.done(1) != [])
    assert table.done(1)[0].ok


async def test_a_panel_tells_what_it_hears_and_ends_when_it_is_left(site: Site) -> None:
    told_out, told_in = os.pipe()
    telling_out, telling_in = os.pipe()
    os.set_blocking(told_out, False)
    os.set_blocking(telling_in, False)
    os.set_blocking(telling_out, False)
    line = Line(site.bus.port, baud_rate=9600)
    setup = Setup(port=site.bus.port, baud_rate=9600, readers=(READER,))
    panel = Panel(setup, line=line, told=told_out, telling=telling_in, clock=time.monotonic)
    running = asyncio.ensure_future(asyncio.to_thread(panel.run))
    said: list[FromPanel] = []

    async def hear(wanted: Callable[[FromPanel], bool]) -> None:
        rest = b""
        while not any(wanted(record) for record in said):
            try:
                *lines, rest = (rest + os.read(telling_out, 65536)).split(b"\n")
            except BlockingIOError:
                await asyncio.sleep(0.01)
                continue
            said.extend(from_panel(text) for text in lines)

    try:
        await soon(hear(lambda record: isinstance(record, Online)))
        site.door._tell({"event": 2, "reader_no": 0, "data": b"7"})
        await soon(hear(lambda record: isinstance(record, Keys) and record.keys == b"7" and not record.waited))
        act = Act(number=5, address=1, until=time.monotonic() + 2, command=Output(number=0, turn="pulse", hold_s=0.1))
        os.write(told_in, encode(act)[:9])
        os.write(told_in, encode(act)[9:])
        await soon(hear(lambda record: record == Done(number=5, ok=True)))
    finally:
        os.close(told_in)
        await soon(running)
        for fd in (told_out, telling_out, telling_in):
            os.close(fd)
        line.close()


async def test_a_panel_raises_when_its_line_is_gone(site: Site) -> None:
    told_out, told_in = os.pipe()
    line = Line(site.bus.port, baud_rate=9600)
    setup = Setup(port=site.bus.port, baud_rate=9600, readers=(READER,))
    panel = Panel(setup, line=line, told=told_out, telling=told_in, clock=time.monotonic)
    running = asyncio.ensure_future(asyncio.to_thread(panel.run))
    site.bus.unplug()
    with pytest.raises(DeviceUnreachable, match="line is gone"):
        await soon(running)
    for fd in (told_out, told_in):
        os.close(fd)
    line.close()


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (b"not JSON\n", "nonsense"),
        (b'{"type":"Online"}\n', "nonsense"),
        (b"x" * 70_000, "nonsense"),
        (encode(Broken(what="pulled out")), "pulled out"),
    ],
)
async def test_a_panel_that_talks_nonsense_or_says_that_it_ends_ends_the_link(lines: bytes, why: str) -> None:
    heard: list[FromPanel] = []
    link = PanelLink(Setup(port="/dev/x", baud_rate=9600, readers=()), on_record=heard.append, clock=lambda: 0.0)
    link.pipe_data_received(1, lines)
    assert why in link.ended.result()
    assert heard == []


async def test_a_card_from_before_the_machine_slept_has_waited() -> None:
    heard: list[FromPanel] = []
    clock = [100.0]
    link = PanelLink(Setup(port="/dev/x", baud_rate=9600, readers=()), on_record=heard.append, clock=lambda: clock[0])
    card = encode(Card(address=1, bits=32, raw=bytes.fromhex("7186A61E"), at=100.0, waited=False))
    link.pipe_data_received(1, card)
    clock[0] += 40 * 60  # asleep: the machine's clock goes on, the loop's does not
    link.pipe_data_received(1, card)
    assert [record.waited for record in heard if isinstance(record, Card)] == [False, True]
