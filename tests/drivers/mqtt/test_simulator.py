"""The simulated door controller as a process and in this one: control port, what it keeps over kill -9 and refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest

from drivers.door import SetMode
from drivers.mqtt.habits import FAULTS, Fault, Habits
from drivers.mqtt.simulator import Order, obey
from drivers.mqtt.store import EventStore
from drivers.mqtt.wire import Mode
from tests.drivers.contract import next_event, soon, unlock
from tests.drivers.mqtt.conftest import RunningBroker, connected

pytestmark = pytest.mark.needs("mosquitto", "mosquitto-clients")


class Control:
    """One conversation with a control port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, line: bytes) -> dict[str, Any]:
        self._writer.write(line + b"\n")
        answer: dict[str, Any] = json.loads(await soon(self._reader.readline()))
        return answer

    async def act(self, **order: Any) -> dict[str, Any]:
        return await self.say(json.dumps(order).encode())


@contextlib.asynccontextmanager
async def process(broker: RunningBroker, *doors: str, more: tuple[str, ...] = ()) -> AsyncIterator[tuple[Control, Any]]:
    """Run the simulator as the product does; yield its control port and the process."""
    command = [sys.executable, "-m", "drivers", "simulate", "door", "--broker", f"127.0.0.1:{broker.port}"]
    command += ["--users", str(broker.directory / "users.json"), *(w for d in doors for w in ("--door", d)), *more]
    running = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert running.stdout is not None
    try:
        ready = json.loads(await soon(running.stdout.readline()))
        assert ready["ready"]
        assert ready["doors"] == list(doors)
        host, port = ready["control"].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        yield Control(reader, writer), running
        writer.close()
    finally:
        if running.returncode is None:
            running.terminate()
        await soon(running.wait())


async def test_the_process_obeys_its_control_port(mosquitto: RunningBroker) -> None:
    door, other = next(mosquitto.fresh), next(mosquitto.fresh)
    async with (
        process(mosquitto, door, other, more=("--auto-open", "0.05", "--open-for", "0.05")) as (control, running),
        mosquitto.driver(door, other, client_id=f"edge-{door}") as driver,
    ):
        reports = driver.reports()
        assert (await control.act(door=door, act="wait", until="connected"))["ok"]
        assert await control.act(door=door, act="force") == {"ok": True, "seq": 1}
        assert (await next_event(reports))[0].type == "forced"
        assert (await control.act(door=door, act="wait", until="acked"))["ok"]
        await control.act(door=door, act="close")
        asking = asyncio.ensure_future(control.act(door=door, act="card", value="17"))
        request = await soon(anext(aiter(driver.requests())))
        assert (await soon(driver.execute(unlock(door, "c1", attempt=request.id)))).ok
        answer = await asking
        assert (answer["ok"], answer["unlocked"], answer["request"]) == (True, True, request.id)
        assert 0 < answer["ms"] < 10_000
        for wanted in ("closed", "opened", "closed"):
            assert (await next_event(reports))[0].type == wanted
        standing = (await control.act(act="status"))["doors"]
        assert set(standing) == {door, other}
        assert standing[door]["unlocks"] == 1
        running.terminate()
        assert await soon(running.wait()) == 0


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"act":"dance"}', b'{"act":"force","extra":1}', b'{"act":"wait"}',
             b'{"act":"misbehave"}', b'{"door":"nowhere","act":"force"}', b"\xff",
             b'{"act":"card","value":"' + b"9" * 600 + b'"}'],
)  # fmt: skip
async def test_a_wrong_order_is_answered_and_the_conversation_goes_on(mosquitto: RunningBroker, line: bytes) -> None:
    door = next(mosquitto.fresh)
    async with process(mosquitto, door) as (control, _):
        answer = await control.say(line)
        assert answer["ok"] is False
        assert answer["error"]
        assert (await control.act(act="status"))["ok"]


async def test_a_killed_simulator_loses_no_event_and_counts_on(mosquitto: RunningBroker, tmp_path: Path) -> None:
    door = next(mosquitto.fresh)
    more = ("--store", str(tmp_path / "store.db"))
    mosquitto_away = mosquitto.driver(door, client_id=f"edge-{door}")
    async with process(mosquitto, door, more=more) as (control, running):
        for act in ("force", "close", "tamper"):
            assert (await control.act(act=act))["ok"]
        running.send_signal(signal.SIGKILL)
        await running.wait()
    async with process(mosquitto, door, more=more) as (control, _), mosquitto_away as driver:
        assert (await control.act(act="clear_tamper"))["seq"] == 4
        await control.act(act="cut")
        reports, seen = driver.reports(), dict[int | None, str]()
        while len(seen) < 4:
            event, reported = await next_event(reports, acknowledge=False)
            seen[event.seq] = event.type
            await reported.acknowledge(4 if len(seen) == 4 else None)
        assert (await control.act(act="wait", until="acked"))["ok"]
    assert seen == {1: "forced", 2: "closed", 3: "tamper", 4: "tamper_cleared"}


async def test_it_tells_forced_from_opened(mosquitto: RunningBroker) -> None:
    telling, plain = next(mosquitto.fresh), next(mosquitto.fresh)
    with EventStore() as store:
        doors = [mosquitto.door(telling, store=store), mosquitto.door(plain, store=store, habits=Habits(plain=True))]
        async with mosquitto.driver(telling, plain, client_id=f"edge-{telling}") as driver, connected(*doors):
            reports = driver.reports()
            seen: dict[str, list[str]] = {telling: [], plain: []}
            for door in doors:
                door.open()
                door.close()
                door.press_exit()
                door.open()
                door.close()
                door.force()
            for _ in range(12):
                event, reported = await next_event(reports)
                seen[reported.door_id].append(event.type)
    assert seen[telling] == ["forced", "closed", "exit_button", "opened", "closed", "forced"]
    assert seen[plain] == ["opened", "closed", "exit_button", "opened", "closed", "opened"]


async def test_a_door_whose_clock_is_an_hour_off_still_opens_for_its_request(mosquitto: RunningBroker) -> None:
    door_id = next(mosquitto.fresh)
    with EventStore() as store:
        door = mosquitto.door(door_id, store=store)
        door.faults.add("clock_hour_off")
        async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver, connected(door):
            first = await soon(driver.execute(unlock(door_id, "c0")))
            assert first.error == "expired"  # it cannot tell yet
            asking = asyncio.ensure_future(door.request("card", "1"))
            request = await soon(anext(aiter(driver.requests())))
            assert (await soon(driver.execute(unlock(door_id, "c1", attempt=request.id)))).ok
            assert (await soon(asking)).unlocked
            assert (await soon(driver.execute(unlock(door_id, "c2")))).ok  # now it can


@pytest.mark.parametrize("mode", ["held_open", "evacuating"])
async def test_a_door_that_stands_open_is_not_locked_by_a_hold_that_ends(mosquitto: RunningBroker, mode: Mode) -> None:
    door_id = next(mosquitto.fresh)
    with EventStore() as store:
        door = mosquitto.door(door_id, store=store)
        async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver, connected(door):
            assert (await soon(driver.execute(SetMode(door_id=door_id, version=1, mode=mode)))).ok
            await soon(door.until(lambda: door.lock == "unlocked"))
            assert (await soon(driver.execute(unlock(door_id, "c1", hold_s=0.05)))).ok
            door.open()
            door.close()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(door.until(lambda: door.lock == "locked"), 0.3)
            assert mosquitto.door(door_id, store=store).lock == "unlocked"  # after a restart, too
            assert (await soon(driver.execute(SetMode(door_id=door_id, version=2, mode="normal")))).ok
            await soon(door.until(lambda: door.lock == "locked"))


async def test_stale_and_slow_and_deaf_doors(mosquitto: RunningBroker) -> None:
    door_id = next(mosquitto.fresh)
    with EventStore() as store:
        door = mosquitto.door(door_id, store=store)
        async with mosquitto.driver(door_id, client_id=f"edge-{door_id}") as driver, connected(door):
            door.faults.add("stale_request")
            asking = asyncio.ensure_future(door.request("button", None))
            request = await soon(anext(aiter(driver.requests())))
            assert request.device_at is not None
            assert (door.clock() - request.device_at).total_seconds() > 50
            asking.cancel()
            door.faults = {"slow"}
            assert not (await soon(driver.execute(unlock(door_id, "c1", valid_ms=300)))).certain
            door.faults = {"deaf"}
            assert not (await soon(driver.execute(unlock(door_id, "c2", valid_ms=300)))).certain


async def test_many_doors_share_one_loop(mosquitto: RunningBroker) -> None:
    names = [next(mosquitto.fresh) for _ in range(40)]
    with EventStore() as store:
        doors = [mosquitto.door(name, store=store) for name in names]
        async with mosquitto.driver(*names, client_id=f"edge-{names[0]}") as driver, connected(*doors):
            for door in doors:
                door.force()
            reports = driver.reports()
            seen = {(await next_event(reports))[1].door_id for _ in names}
            results = await soon(asyncio.gather(*(driver.execute(unlock(name, f"c-{name}")) for name in names)))
    assert seen == set(names)
    assert all(result.ok for result in results)


async def test_orders_in_process_name_their_mistakes() -> None:
    assert not (await obey({}, Order(act="force"))).ok
    assert (await obey({}, Order(act="status"))).ok


def test_every_fault_has_a_name() -> None:
    assert get_args(Fault) == FAULTS
