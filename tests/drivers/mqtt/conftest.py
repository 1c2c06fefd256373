"""Real brokers on loopback, with the product's own users and rules, and simulated doors on them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from drivers.catalog import open_door
from drivers.door import DoorDriver
from drivers.mqtt.endpoint import Endpoint
from drivers.mqtt.habits import Habits
from drivers.mqtt.simdoor import SimulatedDoor
from drivers.mqtt.store import EventStore
from tests.drivers.contract import now, soon
from tests.needs import program

EDGE_PASSWORD = "".join(chr(c) for c in range(0x20, 0x7F))
"""Every printable character."""
DOORS = [f"door-{number}" for number in range(120)]
DEVICES = {
    "plug-1": [f"{kind}/plug-1/#" for kind in ("cmnd", "stat", "tele")],
    "shelly-1": ["shelly-1/#", "gatehouse/door-118/rpc"],
    "relay-1": ["yard/relay-1"],
    "esp-1": ["esp-1/#"],
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RunningBroker:
    """One broker process as the product starts it; doors are handed out once each."""

    kind: Literal["mosquitto", "embedded", "rabbitmq"]
    directory: Path
    port: int
    more: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None
    pid: int = 0
    fresh: Iterator[str] = field(default_factory=lambda: iter(DOORS))
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def protocol(self) -> Literal["5", "3.1.1"]:
        """Return what the broker speaks; `auto` finds that out, which costs time at the embedded one."""
        return "5" if self.kind == "mosquitto" else "3.1.1"

    def start(self) -> None:
        command = [sys.executable, "-m", "drivers", "mqtt", "broker", "--dir", str(self.directory)]
        command += ["--port", str(self.port), *(["--embedded"] if self.kind == "embedded" else []), *self.more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the broker did not start"
        ready = json.loads(line)
        assert ready["broker"] == self.kind
        self.pid = ready["pid"]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def users(self) -> dict[str, Any]:
        devices = {name: {"password": password_of(name), "topics": topics} for name, topics in DEVICES.items()}
        doors = {door: password_of(door) for door in DOORS}
        return {"edge": {"password": EDGE_PASSWORD}, "doors": doors, "devices": devices}

    def write_users(self, users: dict[str, Any]) -> None:
        (self.directory / "users.json").write_text(json.dumps(users))

    def client(self, verb: Literal["pub", "sub"], *arguments: str, user: str = "edge") -> list[str]:
        name = program(f"mosquitto_{verb}")
        assert name is not None
        password = EDGE_PASSWORD if user == "edge" else password_of(user)
        return [name, "-p", str(self.port), "-u", user, "-P", password, *arguments]

    def publish(self, topic: str, payload: str, *more: str, user: str = "edge") -> None:
        """Publish with mosquitto_pub: a client that we did not write."""
        subprocess.run(self.client("pub", "-t", topic, "-m", payload, *more, user=user), check=True, timeout=10)

    def endpoint(self, user: str, *, client_id: str, **changes: Any) -> Endpoint:
        password = EDGE_PASSWORD if user == "edge" else password_of(user)
        given = {"port": self.port, "client_id": client_id, "username": user, "password": password}
        return Endpoint(**{**given, "protocol": self.protocol, **changes})

    def driver(self, *doors: str, client_id: str, **changes: Any) -> DoorDriver:
        settings = {"kind": "mqtt", "port": self.port, "username": "edge", "password": EDGE_PASSWORD}
        settings |= {"protocol": self.protocol, **changes}
        return open_door(settings, doors=doors, client_id=client_id, now=now)

    def door(self, door_id: str, *, store: EventStore, habits: Habits | None = None) -> SimulatedDoor:
        endpoint = self.endpoint(door_id, client_id=f"door-{door_id}")
        return SimulatedDoor(door_id, endpoint=endpoint, store=store, now=now, rng=random.Random(), habits=habits)


def password_of(door: str) -> str:
    return f"p:{door} # $7$"


@contextlib.contextmanager
def running_broker(kind: Literal["mosquitto", "embedded"], more: Sequence[str] = ()) -> Iterator[RunningBroker]:
    directory = Path(tempfile.mkdtemp(prefix="gatehouse-broker-"))
    broker = RunningBroker(kind=kind, directory=directory, port=free_port(), more=tuple(more))
    try:
        broker.write_users(broker.users())
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def mosquitto() -> Iterator[RunningBroker]:
    with running_broker("mosquitto") as broker:
        yield broker


@pytest.fixture(scope="module")
def embedded() -> Iterator[RunningBroker]:
    with running_broker("embedded") as broker:
        yield broker


@contextlib.asynccontextmanager
async def connected(*doors: SimulatedDoor) -> AsyncIterator[None]:
    """Keep simulated doors connected within the block."""
    tasks = [asyncio.ensure_future(door.run()) for door in doors]
    try:
        for door in doors:
            await soon(door.until(door.connected.is_set))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
