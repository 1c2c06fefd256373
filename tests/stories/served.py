"""A gateway process of its own and an edge that signs its requests, for stories that watch the gateway from outside.

Both are real: the process is started as people start it, and the edge enrols with a one-time token like any edge.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from httpx_sse import aconnect_sse

from models.events import DoorForced, Fact
from models.link import (
    HEADER_DIGEST,
    HEADER_EDGE,
    HEADER_NONCE,
    HEADER_SIGNATURE,
    HEADER_TIME,
    CameraStatus,
    Command,
    DoorStatus,
    EdgeStatus,
    FaceStatus,
    Progress,
    Result,
    signing_input,
)

PASSWORD = "correct horse battery staple"
SITE: dict[str, Any] = {
    "areas": [
        {"code": "990101", "level": "district", "name": "演示区"},
        {"code": "990101001", "level": "subdistrict", "name": "演示街道", "parent": "990101"},
        {"code": "990101001001", "level": "community", "name": "演示社区", "parent": "990101001"},
    ],
    "site": {"id": "garden", "name": "晨光花园", "community": "990101001001", "address": "演示路 1 号"},
    "doors": [
        {"id": "east", "name": "东门", "address": "3号楼一层", "edge": "edge-1", "camera": "eye", "factors": ["card"]},
        {"id": "north", "name": "北门", "edge": "edge-1", "exit_kind": "none", "factors": ["card"]},
    ],
    "cameras": [{"id": "eye", "name": "东门摄像机", "edge": "edge-1", "url": "rtsp://127.0.0.1:1/eye", "door": "east"}],
}


@dataclass(frozen=True)
class Seed:
    """A gateway's data with site, operator and a one-time token of an edge, made by the commands that people use."""

    data: Path
    edge_token: str


def gatehouse(*arguments: str, config: Path) -> str:
    command = [sys.executable, "-m", "gateway", *arguments, "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def write_settings(folder: Path, *, port: int = 0) -> Path:
    config = folder / "gatehouse.yaml"
    config.write_text(yaml.safe_dump({"gateway": {"port": port, "data_dir": str(folder / "data")}}), "utf-8")
    return config


def seeded(folder: Path, *, site: dict[str, Any] = SITE, role: str = "operator") -> Seed:
    """Return the data of a gateway with the site, li.wei in a role and a token for an edge."""
    config = write_settings(folder)
    (folder / "site.yaml").write_text(yaml.safe_dump(site, allow_unicode=True), "utf-8")
    (folder / "password").write_text(PASSWORD)
    gatehouse("apply", str(folder / "site.yaml"), config=config)
    gatehouse("user", "add", "li.wei", "--role", role, "--password-file", str(folder / "password"), config=config)
    told = json.loads(gatehouse("edge", "token", "--json", config=config))
    return Seed(data=folder / "data", edge_token=str(told["token"]))


class Served:
    """A gateway process on a free port with data of its own; it can be killed and started again."""

    def __init__(self, folder: Path, seed: Seed) -> None:
        self.log = folder / "gateway.log"
        self.edge_token = seed.edge_token
        shutil.copytree(seed.data, folder / "data")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        self.config = write_settings(folder, port=port)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "gateway", "--config", str(self.config),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        async with httpx.AsyncClient() as client:
            await until(lambda: self._ready(client), what="the gateway is ready", within_s=30)

    async def kill(self, sign: int = signal.SIGKILL) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(sign)
            await asyncio.wait_for(self._process.wait(), 20)

    async def _ready(self, client: httpx.AsyncClient) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()[-3000:]
        with contextlib.suppress(httpx.TransportError):
            return (await client.get(f"{self.url}/readyz")).is_success
        return False


class Edge:
    """An enrolled edge: it signs what it posts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._key = Ed25519PrivateKey.generate()

    async def enrol(self, token: str) -> None:
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        told = {"token": token, "edge_id": "edge-1", "name": "box", "public_key": base64.b64encode(public).decode()}
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self._url}/edge/v1/enrol", json=told)).raise_for_status()

    async def report(self, *facts: Fact) -> None:
        await self._post("/edge/v1/facts", msgspec.json.encode(facts))

    async def tell(self, east: DoorStatus) -> None:
        at = datetime.now(UTC)
        north = DoorStatus(
            door_id="north",
            online=False,
            contact="unknown",
            lock="unknown",
            mode="normal",
            tamper=False,
            alarm="none",
            at=at,
        )
        camera = CameraStatus(camera_id="eye", state="live", at=at)
        status = EdgeStatus(
            edge_id="edge-1", at=at, backlog=0, doors=(east, north), cameras=(camera,), counters={}, policy=(1, 1)
        )
        await self._post("/edge/v1/status", msgspec.json.encode(status))

    async def obey(self, act: Callable[[Command], Awaitable[Result | None]]) -> None:
        """Hear commands until cancelled, and report what acting on each gave."""
        path = "/edge/v1/commands"
        async with (
            httpx.AsyncClient(timeout=60) as client,
            aconnect_sse(client, "GET", self._url + path, headers=self._headers("GET", path)) as heard,
        ):
            async for event in heard.aiter_sse():
                if event.event == "command":
                    command: Command = msgspec.json.decode(event.data, type=Command)
                    result = await act(command)
                    if result is not None:
                        await self.end(result)

    async def end(self, result: Result) -> None:
        await self._post("/edge/v1/results", msgspec.json.encode(result))

    async def progress(self, told: Progress) -> None:
        await self._post("/edge/v1/progress", msgspec.json.encode(told))

    async def picture(self, medium_id: str, jpeg: bytes, *, camera: str) -> None:
        about = {"id": medium_id, "camera": camera, "at": datetime.now(UTC).isoformat(), "blurred": "yes"}
        digest = {HEADER_DIGEST: hashlib.sha256(jpeg).hexdigest(), "Content-Type": "image/jpeg"}
        await self._post(f"/edge/v1/media?{urlencode(about)}", jpeg, **digest)

    def _headers(self, method: str, path: str, body: bytes = b"") -> dict[str, str]:
        time_s, nonce = str(int(time.time())), secrets.token_hex(16)
        signature = self._key.sign(signing_input(method, path, body=body, time_s=time_s, nonce=nonce))
        return {
            HEADER_EDGE: "edge-1", HEADER_TIME: time_s, HEADER_NONCE: nonce,
            HEADER_SIGNATURE: base64.b64encode(signature).decode(), "Content-Type": "application/json",
        }  # fmt: skip

    async def _post(self, path: str, body: bytes, **headers: str) -> None:
        signed = self._headers("POST", path, body) | headers
        async with httpx.AsyncClient() as client:
            (await client.post(self._url + path, content=body, headers=signed)).raise_for_status()


def east(
    *, contact: str = "closed", lock: str = "locked", alarm: str = "none", face: FaceStatus | None = None
) -> DoorStatus:
    told = {
        "door_id": "east",
        "online": True,
        "contact": contact,
        "lock": lock,
        "mode": "normal",
        "tamper": False,
        "alarm": alarm,
    }
    return msgspec.convert({**told, "at": datetime.now(UTC), "face": face}, DoorStatus)


def forced(*, late: bool = False, exercise: bool = False) -> DoorForced:
    return DoorForced(id=str(uuid.uuid4()), at=datetime.now(UTC), door_id="east", late=late, exercise=exercise)


async def until(holds: Callable[[], Awaitable[bool]], *, what: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.05)
