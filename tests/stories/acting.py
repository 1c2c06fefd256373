"""The stage of the stories: the whole real system, with a second face door, a door that only a person's hands serve
(mosquitto_pub, mosquitto_sub), an edge whose disk can fill, and temporary folders of its own that tests may search.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import secrets
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
import yaml

from gateway.rehearsal.actors import until
from gateway.rehearsal.layout import DOORS, Layout
from gateway.rehearsal.processes import descendants
from gateway.rehearsal.stage import Stage
from models.liveness import Provider
from tests.needs import program

ROOT = "gatehouse/v1/doors"
HAND = "hand"
DISK_BYTES = 24 * 1024 * 1024
LOST_AFTER_S = 3
PRINTABLE = "".join(chr(code) for code in (*range(0x21, 0x7F), 0x20)) + "!"
"""A password with every printable character of ASCII."""
MARKS = "".join(char for char in PRINTABLE if not char.isalnum())
"""Only those that are no letters or digits: FFmpeg takes no longer password in an address."""
NAME = "演示住户"


def topic(door: str, kind: str) -> str:
    """Return a topic of the door contract."""
    return f"{ROOT}/{door}/{kind}"


def now_text(ago_s: float = 0.0) -> str:
    """Return the time as devices write it, some seconds ago."""
    return (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat()


def fill(file: Path) -> None:
    """Write a file until the disk has no byte left."""
    with file.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        for size in (64 * 1024, 512, 1):
            with contextlib.suppress(OSError):
                while stream.write(bytes(size)):
                    pass


MASK = [0.0, 0.0, 0.15, 0.3]
"""The gate camera's privacy mask: a window of the house opposite, far from where people stand."""


class StoryLayout(Layout):
    """Lay out the same site with a second face door, a door for hands, and a disk of its own for the edge.

    Its residents are flat portraits that walk up, so its doors ask for no live face.
    """

    liveness: ClassVar[Provider] = "none"
    more_doors: ClassVar[tuple[str, ...]] = ()
    """Further simulated doors that the broker knows."""

    def __init__(self, directory: Path, *, port: int) -> None:
        disk = directory / "data" / "edge"
        disk.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
        self.on_own_disk = False
        if os.geteuid() == 0 and program("mount"):
            self.on_own_disk = subprocess.run(mount, capture_output=True, timeout=10).returncode == 0
        super().__init__(directory, port=port)
        self.secrets |= {"camera": MARKS, "broker": PRINTABLE, HAND: PRINTABLE[::-1]}
        self.secrets |= {door: secrets.token_urlsafe(24) for door in self.more_doors}
        for name in ("camera", "broker"):
            self.keep_secret(f"{name}.secret", self.secrets[name])
        users = {door: self.secrets[door] for door in (*DOORS, HAND, *self.more_doors)}
        self.keep_secret("users.yaml", yaml.safe_dump(users))
        simulated = {"edge": {"password": self.secrets["broker"]}, "doors": users}
        self.keep_secret("simulated-doors.json", json.dumps(simulated))
        self.urls: dict[str, str] = {}

    def site(self, cameras: dict[str, Any]) -> dict[str, object]:
        """Return the site with what the stories add."""
        self.urls = cameras
        site: Any = yaml.safe_load(yaml.safe_dump(super().site(cameras)))
        side = next(door for door in site["doors"] if door["id"] == "side")
        site["doors"].append({**side, "id": HAND, "name": "北门"})
        side |= {"camera": "lobby", "factors": ["face", "card", "pin"]}
        for camera in site["cameras"]:
            camera["lost_after_s"] = LOST_AFTER_S
        gate = next(camera for camera in site["cameras"] if camera["id"] == "gate")
        gate["register_entry"] = {**gate["register_entry"], "privacy_masks": [MASK]}
        lobby = next(camera for camera in site["cameras"] if camera["id"] == "lobby")
        lobby |= {"door": "side", "near_zone": [0.2, 0.0, 0.8, 1.0]}
        return dict(site)


class StoryStage(Stage):
    """Run the whole system for the stories of one file."""

    layout_type = StoryLayout
    files: StoryLayout

    @property
    def on_own_disk(self) -> bool:
        """Return whether the edge has a disk of its own, which can be filled."""
        return self.files.on_own_disk

    async def _stop(self) -> None:
        try:
            await super()._stop()
        finally:
            if hasattr(self, "files") and self.on_own_disk:
                subprocess.run(["umount", "--lazy", str(self.edge_dir)], capture_output=True, timeout=10)

    def stream_url(self, camera: str) -> str:
        """Return a camera's address with user and password, as other programs take it."""
        password = quote(self.files.secrets["camera"], safe="")
        return str(self.files.urls[camera]).replace("rtsp://", f"rtsp://gatehouse:{password}@", 1)

    @contextlib.asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        """Let the edge's disk be full for the length of the block; without one of its own, its files cannot grow."""
        filler = self.edge_dir / "filler"
        worker = next(pid for pid, words in descendants(self.up_pid).items() if "edge worker" in words)
        if self.on_own_disk:
            fill(filler)
        else:
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            filler.unlink(missing_ok=True)
            if not self.on_own_disk:
                resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    # --- places -----------------------------------------------------------------------------------------------------

    @property
    def edge_dir(self) -> Path:
        """Return the edge's data folder."""
        return self.directory / "data" / "edge"

    @property
    def manager(self) -> httpx.AsyncClient:
        """Return the manager's browser."""
        return self._clients["manager"]

    def picture(self, name: str) -> Path:
        """Return one of the public portraits."""
        return self._portraits[name]

    def kept_files(self) -> list[Path]:
        """Return every file that this run keeps: data folders, logs and its own temporary folder."""
        folders = [self.directory / "data", self.directory / "logs", Path(os.environ["TMPDIR"])]
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    # --- people -----------------------------------------------------------------------------------------------------

    async def person(self, person_id: str, *, doors: list[str] | None = None, consent: bool = False) -> str:
        """Let somebody move in with a card, whose number is returned; permit and consent as told."""
        card, path = f"{secrets.randbits(32) | 0x80000000:08X}", f"/api/v1/people/{person_id}"
        person = {"id": person_id, "name": f"住户{person_id}", "site_id": "demo"}
        await self._checked(self.manager.post("/api/v1/people", json=person))
        await self._checked(self.manager.post(f"{path}/credentials", json={"kind": "card", "value": card}))
        if doors:
            await self._checked(self.manager.post(f"{path}/permits", json={"doors": doors}))
        if consent:
            told = {"purpose": "door_face", "text_version": "face-door-demo-1", "channel": "demo",
                    "evidence": "simulated", "doors": ["gate"]}  # fmt: skip
            await self._checked(self.manager.post(f"{path}/consents", json=told))
        return card

    async def put_photo(self, person_id: str, photo: bytes, *, kind: str = "image/jpeg") -> httpx.Response:
        """Send an enrolment photo as the console does."""
        path = f"/api/v1/people/{person_id}/face"
        return await self.manager.put(path, content=photo, headers={"Content-Type": kind}, timeout=60)

    async def look(self, door: str, camera: str, *, portrait: str) -> dict[str, Any]:
        """Let somebody walk up to a door's camera and press the button there; return how the door answered."""
        file = str(self._portraits[portrait])
        shown = await self.cameras.ask(camera=camera, scene="approach", portrait=file, within_s=60)
        await asyncio.sleep(max(0.0, float(shown["near_at"]) - time.time() - 1.0))
        outcome = await self._ask(door, "button", timeout_s=14.0)
        await self.quiet()
        return outcome

    async def denied(self, door: str, attempt: str) -> str:
        """Return why an attempt was refused, as soon as it is on record."""
        return str((await self.fact(door, "access_denied", attempt=attempt))["reason"])

    async def standing(self, door: str) -> dict[str, Any]:
        """Return how a simulated door stands."""
        return dict((await self.doors.ask(door=door, act="status"))["doors"][door])

    async def edge_counter(self, name: str) -> int:
        """Return one of the edge's counters, as the gateway last heard it."""
        system = await self._checked(self.manager.get("/api/v1/system"))
        return int(system["edges"][0]["counters"].get(name, 0))

    async def camera_state(self, camera_id: str) -> str:
        """Return the state of a camera on the console."""
        cameras = (await self._checked(self.manager.get("/api/v1/cameras")))["items"]
        return str(next(camera["state"] for camera in cameras if camera["id"] == camera_id))

    async def becomes(self, camera_id: str, *states: str, within_s: float = 40.0) -> None:
        """Wait until the console shows a camera in one of these states."""

        async def shown() -> bool:
            return await self.camera_state(camera_id) in states

        await until(shown, what=f"camera {camera_id} {' or '.join(states)} on the console", within_s=within_s)

    # --- counts of false matches ---------------------------------------------------------------------------------------

    async def count_pairs(self, door: str, *, people: int) -> dict[str, Any]:
        """Have the edge count false matches once a door knows so many people.

        Returns the count as it is listed, when the edge has said that it lives by a newer policy.
        """

        async def all_known() -> bool:
            return bool((await self.face_use(door))["people"] == people)

        await until(all_known, what=f"{people} people at the door {door}", within_s=20)
        path, before = "/api/v1/sites/demo/calibrations", (await self._edge())["policy"]
        await self._checked(self.manager.post(f"{path}/count"))

        async def ended() -> dict[str, Any] | None:
            (one,) = (await self._checked(self.manager.get(f"{path}/count")))["items"]
            return one if one["state"] != "waiting" else None

        order = await until(ended, what="the end of the count", within_s=20)
        assert order["state"] == "confirmed", order

        async def in_force() -> bool:
            return bool((await self._edge())["policy"] > before)

        await until(in_force, what="a policy with the count at the edge", within_s=20)
        listed = (await self._checked(self.manager.get(path)))["items"]
        return dict(next(one for one in listed if one["id"] == order["calibration_id"]))

    async def _edge(self) -> dict[str, Any]:
        return dict((await self._checked(self.manager.get("/api/v1/system")))["edges"][0])

    async def face_use(self, door: str) -> dict[str, Any]:
        """Return how the edge says that a door uses faces."""
        doors = (await self._checked(self.manager.get("/api/v1/doors")))["items"]
        return dict(next(one for one in doors if one["id"] == door)["face"]["use"])

    # --- a door by hand -----------------------------------------------------------------------------------------------

    def _client(self, kind: str, *more: str, user: str) -> list[str]:
        password = self.files.secrets["broker" if user == "edge" else user]
        where = ["-h", "127.0.0.1", "-p", str(self.files.broker_port), "-u", user, "-P", password, "-V", "5"]
        return [program(f"mosquitto_{kind}") or f"mosquitto_{kind}", *where, *more]

    async def publish(self, at: str, payload: object, *more: str, user: str) -> str:
        """Publish with mosquitto_pub as a user of the broker, QoS 1; return what it said."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        process = await asyncio.create_subprocess_exec(
            *self._client("pub", "-t", at, "-s", "-q", "1", *more, user=user),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(body), 10)
        return said.decode()

    async def request(self, door: str, card: str, *more: str, ago_s: float = 0.0, key: str = "") -> str:
        """Present a card by hand at a door; return the request's id."""
        key = key or uuid.uuid4().hex
        request = {"id": key, "at": now_text(ago_s), "reader": "in", "kind": "card", "value": card}
        await self.publish(topic(door, "request"), request, *more, user=door)
        return key

    @contextlib.asynccontextmanager
    async def hearing(self, *topics: str, user: str) -> AsyncIterator[list[tuple[str, bytes]]]:
        """Listen with mosquitto_sub for the length of the block; yield the growing list of (topic, payload)."""
        words = [word for one in topics for word in ("-t", one)]
        process = await asyncio.create_subprocess_exec(
            "stdbuf",
            "-oL",
            *self._client("sub", *words, "-q", "1", "-d", "-F", "\x1e%t %x", user=user),
            stdout=subprocess.PIPE,
        )
        heard: list[tuple[str, bytes]] = []
        subscribed = asyncio.Event()

        async def listen() -> None:
            assert process.stdout is not None
            async for line in process.stdout:
                if b"SUBACK" in line or b"Subscribed" in line:
                    subscribed.set()
                if line.startswith(b"\x1e"):
                    name, _, body = line[1:].strip().partition(b" ")
                    heard.append((name.decode(), bytes.fromhex(body.decode())))

        listening = asyncio.create_task(listen())
        try:
            await asyncio.wait_for(subscribed.wait(), 10)
            yield heard
        finally:
            process.terminate()
            await asyncio.wait_for(asyncio.gather(process.wait(), listening), 10)
