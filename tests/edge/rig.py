"""A whole edge as processes: a real broker, simulated doors on the real wire, a gateway double, and the worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from drivers.mqtt.endpoint import Endpoint
from drivers.mqtt.habits import Habits
from drivers.mqtt.simdoor import SimulatedDoor
from drivers.mqtt.simulator import running
from drivers.mqtt.store import EventStore
from tests.edge.doubles import EDGE, until
from tests.edge.gateway_double import GatewayDouble

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """Hold one child process whose lines are read."""

    argv: list[str]
    lines: list[str] = field(default_factory=list)
    child: asyncio.subprocess.Process | None = None
    reading: asyncio.Task[None] | None = None

    async def start(self, *, limit_s: float = 20.0, disk_full: bool = False) -> Self:
        """Start and wait until it is ready; on a full disk it cannot make any file longer."""
        self.lines.clear()
        self.child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self.argv, cwd=ROOT, start_new_session=True,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY)))
            if disk_full else None,
        )  # fmt: skip
        self.reading = asyncio.create_task(self._read())
        await until(lambda: any('"ready": true' in x or '"ready":true' in x for x in self.lines) or self.ended,
                    limit_s=limit_s, what=f"{self.argv[0]} to be ready")  # fmt: skip
        assert not self.ended, "\n".join(self.lines)
        return self

    @property
    def ended(self) -> bool:
        return self.child is not None and self.child.returncode is not None

    async def _read(self) -> None:
        assert self.child is not None
        assert self.child.stdout is not None
        while line := await self.child.stdout.readline():
            self.lines.append(line.decode().rstrip())

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the process alone and wait for its end."""
        assert self.child is not None
        if self.child.returncode is None:
            os.kill(self.child.pid, number)
        code = await asyncio.wait_for(self.child.wait(), 20)
        if self.reading is not None:
            await self.reading
        return code


@dataclass
class Rig:
    """Hold the parts of a running edge."""

    folder: Path
    gateway: GatewayDouble
    broker: Process
    worker: Process
    doors: dict[str, SimulatedDoor]


def write_settings(
    folder: Path, *, gateway: GatewayDouble, broker_port: int, edge: dict[str, Any] | None = None
) -> Path:
    """Write the worker's settings file."""
    (folder / "token").write_text(gateway.token)
    settings = {
        "edge": {
            "id": EDGE,
            "gateway": gateway.url,
            "data_dir": str(folder / "edge"),
            "token_file": str(folder / "token"),
            "broker": {"host": "127.0.0.1", "port": broker_port, "user": "edge", "password_file": str(folder / "pw")},
            "faces": {"enabled": False},
            **(edge or {}),
        },
        "logging": {"level": "info"},
    }
    (folder / "pw").write_text("edge-password")
    path = folder / "gatehouse.yaml"
    path.write_text(json.dumps(settings))
    return path


@contextlib.asynccontextmanager
async def open_rig(
    folder: Path,
    gateway: GatewayDouble,
    *,
    door_ids: tuple[str, ...] = ("d1",),
    habits: Habits | None = None,
    edge: dict[str, Any] | None = None,
) -> AsyncIterator[Rig]:
    """Start everything; on leaving, nothing is left running."""
    port = free_port()
    broker_dir = folder / "broker"
    broker_dir.mkdir()
    users = {"edge": {"password": "edge-password"}, "doors": {door_id: f"pw-{door_id}" for door_id in door_ids}}
    (broker_dir / "users.json").write_text(json.dumps(users))
    broker = Process(["drivers", "mqtt", "broker", "--dir", str(broker_dir), "--port", str(port)])
    config = write_settings(folder, gateway=gateway, broker_port=port, edge=edge)
    worker = Process(["edge", "worker", "--config", str(config)])
    rng = random.Random(1)
    try:
        await broker.start()
        with EventStore(folder / "doors.db") as store:
            doors = {
                door_id: SimulatedDoor(
                    door_id,
                    endpoint=Endpoint(port=port, client_id=door_id, username=door_id, password=f"pw-{door_id}"),
                    store=store,
                    now=lambda: datetime.now(UTC),
                    rng=rng,
                    habits=habits,
                )
                for door_id in door_ids
            }
            async with running(doors):
                await worker.start()
                yield Rig(folder=folder, gateway=gateway, broker=broker, worker=worker, doors=doors)
                await worker.stop(signal.SIGKILL)
    finally:
        for process in (worker, broker):
            if process.child is not None and not process.ended:
                await process.stop(signal.SIGKILL if process is worker else signal.SIGTERM)
