"""What MQTT doors take: a command to one of 500 while others report, and how fast their events reach the disk.

The broker and the simulated doors are processes of their own on loopback; keeper, driver and spool are the edge's, in this one.
Timings decide no test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from config.settings import BrokerLink
from drivers.mqtt.endpoint import Endpoint
from drivers.mqtt.link import Link
from drivers.mqtt.wire import EventPayload, encode, topic_of
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.spool import Spool
from edge.wires import Wires
from models.access import Request
from models.benchmarks import Benchmark
from models.errors import GatehouseError
from models.places import Door

EDGE: Final = "bench"
DOORS: Final = 500
EVENTS_PER_S: Final = 200
UNLOCKS_PER_S: Final = 40
UNLOCK_MS: Final = 100.0
QUEUED: Final = 15_000
"""Less than the broker keeps for one session."""
AT_ONCE: Final = 500
FACTS_PER_S: Final = 2000.0
READY_S: Final = 60.0
Tell = Callable[[str], object]


@dataclass
class Site:
    """A broker with log-ins for the edge and every door."""

    folder: Path
    port: int
    password: str
    doors: tuple[Door, ...]

    @property
    def users(self) -> Path:
        """The broker's users, as the simulated doors read them."""
        return self.folder / "users.json"

    def link(self) -> BrokerLink:
        """Return how the edge reaches the broker."""
        return BrokerLink.model_validate({"port": self.port, "user": "edge", "password": self.password})


@dataclass
class House:
    """The parts of an edge that serve doors."""

    spool: Spool
    keeper: DoorKeeper


def run(tell: Tell) -> list[Benchmark]:
    """Measure both, one after the other.

    Raises:
        GatehouseError: a process did not start, or the doors did not connect.
    """
    return asyncio.run(_run(tell))


async def _run(tell: Tell) -> list[Benchmark]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as folder:
        async with _site(Path(folder)) as site:
            tell(f"{DOORS} simulated doors connect")
            unlocks = await _unlocks(site, tell=tell)
            tell(f"{QUEUED} events wait for the edge")
            return [unlocks, await _drained(site)]


@contextlib.asynccontextmanager
async def _site(folder: Path) -> AsyncIterator[Site]:
    names = [f"door-{number:03d}" for number in range(DOORS)]
    site = Site(
        folder=folder,
        port=_free_port(),
        password=secrets.token_hex(),
        doors=tuple(Door(id=name, site_id="bench", name=name, edge_id=EDGE) for name in names),
    )
    users = {"edge": {"password": site.password}, "doors": {name: secrets.token_hex(8) for name in names}}
    site.users.write_bytes(msgspec.json.encode(users))
    async with _process("mqtt", "broker", "--dir", str(folder), "--port", str(site.port)):
        yield site


@contextlib.asynccontextmanager
async def _process(*words: str) -> AsyncIterator[dict[str, object]]:
    """Run `python -m drivers …` within the block; yield its ready line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "drivers", *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(READY_S):
            line = await process.stdout.readline() if process.stdout is not None else b""
        if not line:
            raise GatehouseError(f"python -m drivers {' '.join(words[:2])} did not start")
        yield json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def _house(site: Site, name: str) -> AsyncIterator[House]:
    opened: asyncio.Future[House] = asyncio.get_running_loop().create_future()
    living = asyncio.create_task(_live(site, name, opened))
    waiting: set[asyncio.Future[Any]] = {living, opened}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        living.result()
    try:
        yield opened.result()
    finally:
        living.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await living


async def _live(site: Site, name: str, opened: asyncio.Future[House]) -> None:
    """Keep doors as an edge does, until cancelled."""
    clock = SteadyClock()
    wires = Wires(site.link(), edge_id=f"{EDGE}-{name}", now=clock.now)
    async with Spool(site.folder / f"{name}.db") as spool, asyncio.TaskGroup() as tasks:
        keeper = DoorKeeper(
            edge_id=EDGE,
            spool=spool,
            clock=clock,
            tasks=tasks,
            open_driver=wires.open,
            driver_key=wires.key,
            new_id=lambda: uuid.uuid4().hex,
        )
        await keeper.start(_nobody_asks)
        opened.set_result(House(spool=spool, keeper=keeper))
        await asyncio.Event().wait()


async def _nobody_asks(_request: Request) -> None:
    """Answer no request: there is none."""


# ---- one of 500 doors -----------------------------------------------------------------------------------------------


async def _unlocks(site: Site, *, tell: Tell) -> Benchmark:
    own = ["--broker", f"127.0.0.1:{site.port}", "--users", str(site.users)]
    doors = [word for door in site.doors for word in ("--door", door.id)]
    async with _process("simulate", "door", *own, *doors) as ready, _house(site, "unlocks") as house:
        house.keeper.apply(site.doors, ())
        await _until(lambda: all(state.online for state in house.keeper.states()), what="every door to be online")
        tell(f"one unlock of each while {EVENTS_PER_S} events/s arrive")
        host, _, port = str(ready["control"]).partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        before = sum(house.keeper.counters.values())
        stirring = asyncio.create_task(_stir(writer, site.doors))
        try:
            began = time.monotonic()
            samples = await _opened(house.keeper, site.doors)
            took_s = time.monotonic() - began
        finally:
            stirring.cancel()
            writer.close()
        rate = (sum(house.keeper.counters.values()) - before) / took_s
    p99 = float(np.percentile(samples, 99))
    return Benchmark(
        name="mqtt_doors_unlock",
        unit="ms",
        ours=round(p99, 1),
        target=UNLOCK_MS,
        met=p99 <= UNLOCK_MS,
        samples=tuple(round(sample, 2) for sample in samples),
        detail=f"p99 of {len(samples)} unlocks of {DOORS} simulated doors on one edge, command with its journal entry to the "
        f"door's confirmation; p50 {np.percentile(samples, 50):.1f}; meanwhile {rate:.0f} facts/s arrived",
    )


async def _stir(writer: asyncio.StreamWriter, doors: tuple[Door, ...]) -> None:
    """Open and close doors, so many times a second, until cancelled."""
    loop = asyncio.get_running_loop()
    began, number = loop.time(), 0
    while True:
        act = ("open", "close")[number // len(doors) % 2]
        writer.write(msgspec.json.encode({"door": doors[number % len(doors)].id, "act": act}) + b"\n")
        await writer.drain()
        number += 1
        await asyncio.sleep(max(0.0, began + number / EVENTS_PER_S - loop.time()))


async def _opened(keeper: DoorKeeper, doors: tuple[Door, ...]) -> list[float]:
    """Unlock each door once, at a steady pace, and return how long each took to confirm, in ms.

    Raises:
        GatehouseError: a door did not confirm.
    """
    loop = asyncio.get_running_loop()

    async def unlock(door: Door) -> float:
        began = loop.time()
        executed = await keeper.open(door.id, attempt=uuid.uuid4().hex)
        if not executed.ok:
            raise GatehouseError(f"{door.id} did not open: {executed.error}")
        return (loop.time() - began) * 1000

    began, under_way = loop.time(), []
    for number, door in enumerate(doors):
        await asyncio.sleep(max(0.0, began + number / UNLOCKS_PER_S - loop.time()))
        under_way.append(asyncio.create_task(unlock(door)))
    return list(await asyncio.gather(*under_way))


# ---- to disk --------------------------------------------------------------------------------------------------------


async def _drained(site: Site) -> Benchmark:
    doors = tuple(Door(id=f"late-{n:03d}", site_id="bench", name="late", edge_id=EDGE) for n in range(DOORS))
    await _publish(site, [(topic_of(door.id, "online"), b'"online"') for door in doors], retain=True)
    async with _house(site, "drain") as house:  # makes the session that the broker keeps events for
        house.keeper.apply(doors, ())
        await _until(lambda: all(state.online for state in house.keeper.states()), what="the subscription")
    await _publish(site, [_event(doors, number) for number in range(QUEUED)])
    async with _house(site, "drain") as house:
        began = time.perf_counter()
        house.keeper.apply(doors, ())
        await _until(lambda: house.spool.backlog >= QUEUED, what="every fact to be on disk")
        rate = QUEUED / (time.perf_counter() - began)
        commits = house.spool.commits
    return Benchmark(
        name="spool_rate",
        unit="facts/s",
        ours=round(rate),
        target=FACTS_PER_S,
        met=rate >= FACTS_PER_S,
        samples=(round(rate, 1),),
        detail=f"{QUEUED} events of {DOORS} doors that waited at the broker, from the connection to the last fact on disk; "
        f"{commits} commits",
    )


def _event(doors: tuple[Door, ...], number: int) -> tuple[str, bytes]:
    event = EventPayload(id=f"e{number}", seq=number // len(doors) + 1, at=datetime.now(UTC), type="exit_button")
    return topic_of(doors[number % len(doors)].id, "event"), encode(event)


async def _publish(site: Site, messages: list[tuple[str, bytes]], *, retain: bool = False) -> None:
    """Publish messages as fast as the broker takes them.

    Raises:
        GatehouseError: it refused one.
    """
    endpoint = Endpoint(
        port=site.port, client_id="bench-publisher", username="edge", password=site.password, session_expiry_s=0
    )
    link = Link(endpoint, on_message=lambda _message: None)
    await link.open()
    try:
        for first in range(0, len(messages), AT_ONCE):
            chunk = messages[first : first + AT_ONCE]
            taken = [link.publish(topic, payload, qos=1, retain=retain) for topic, payload in chunk]
            if not all(await asyncio.gather(*taken)):
                raise GatehouseError("the broker refused a message")
    finally:
        await link.close()


async def _until(condition: Callable[[], bool], *, what: str) -> None:
    try:
        async with asyncio.timeout(READY_S):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise GatehouseError(f"waited {READY_S:.0f} s in vain for {what}") from None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
