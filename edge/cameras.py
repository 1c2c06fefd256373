"""The cameras of one edge: keeps an eye process per camera, hears how each is, and turns a lasting loss into a fact.

Pictures never pass here (edge.eye, edge.faces), and troubles of those that do come are told by edge.camera_troubles. A
camera is lost after its hold-off without a live picture, and back with its first good report; which ones are lost is
remembered over restarts, so that no alert stays open for ever.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from config.process import Command, Supervisor
from edge import wire
from edge.camera_devices import CameraDevices
from edge.camera_troubles import CameraTroubles
from edge.clock import SteadyClock
from edge.sockets import listen
from edge.spool import Spool
from models.errors import InvalidInput, StorageUnavailable
from models.events import CameraBack, CameraLost, fact_id
from models.link import TROUBLE_CHARS, CameraStatus
from models.places import Camera
from models.zones import bounds

log = logging.getLogger("gatehouse.edge.cameras")

SILENT_AFTER_S = 30.0
"""An eye reports every 10 s: one that says nothing for this long counts as having no picture."""
CHECK_S = 0.5
RETRY_S = 1.0
USUAL_HOLD_OFF_S = 20.0
"""A camera whose own hold-off is this, the default of places.Camera, follows the edge's setting."""
LOST_KEY = "cameras_lost"
_ids = msgspec.json.Decoder(dict[str, str])


@dataclass(eq=False)
class Watched:
    """Hold one camera and how it last was; `away_since` is None while it gives pictures."""

    camera: Camera
    health: wire.EyeHealth | None
    heard: float
    away_since: float | None


class Cameras:
    """Keep the cameras of one edge."""

    def __init__(
        self,
        *,
        edge_id: str,
        spool: Spool,
        clock: SteadyClock,
        children: Supervisor,
        run_dir: Path,
        faces_socket: Path | None,
        lost_after_s: float,
        log_style: str = "text",
    ) -> None:
        self._edge_id = edge_id
        self._spool = spool
        self._clock = clock
        self._children = children
        self._run_dir = run_dir
        self._faces_socket = faces_socket
        self._lost_after_s = lost_after_s
        self._log_style = log_style
        self._watched: dict[str, Watched] = {}
        self._lost: dict[str, str] = {}
        self._troubles = CameraTroubles(edge_id=edge_id, spool=spool, clock=clock)
        self._troubles.on_change = self._changed
        self._devices = CameraDevices(self._troubles, clock=clock)
        self.on_change: Callable[[], None] = lambda: None
        self.counters: dict[str, int] = {}

    @property
    def socket(self) -> Path:
        """Return the socket that eyes report to."""
        return self._run_dir / "worker.sock"

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listen for eyes, and watch for losses, for as long as the task group lives."""
        stored = await self._spool.recall(LOST_KEY)
        if stored is not None:
            self._lost = _ids.decode(stored)
        await self._troubles.load()
        self._devices.begin(tasks)
        server = await listen(self.socket, self._hear)
        tasks.create_task(self._serve(server), name="cameras: socket")
        tasks.create_task(self._watch_forever(), name="cameras: watch")

    def apply(self, cameras: Iterable[Camera]) -> None:
        """Keep these cameras from now on; an eye whose camera did not change is not touched."""
        wanted = {camera.id: camera for camera in cameras}
        for camera_id in self._watched.keys() - wanted.keys():
            del self._watched[camera_id]
            self._children.drop(f"eye {camera_id}")
        for camera in wanted.values():
            known = self._watched.get(camera.id)
            if known is not None and known.camera == camera:
                continue
            now = self._clock.unix()
            self._watched[camera.id] = Watched(camera=camera, health=None, heard=now, away_since=now)
            if known is None or _stream(known.camera) != _stream(camera):
                self._children.keep(self._eye(camera))
            else:
                self._watched[camera.id] = Watched(
                    camera=camera, health=known.health, heard=known.heard, away_since=known.away_since
                )
        self._devices.apply(wanted.values())
        self.on_change()

    def _eye(self, camera: Camera) -> Command:
        """Return the eye of a camera; only a door's camera is told where the face process listens."""
        settings: dict[str, object] = {
            "camera_id": camera.id,
            "url": camera.url,
            "user": camera.user,
            "password": camera.password,
            "transport": camera.transport,
            "rate": camera.rate,
            "hardware": camera.hardware,
            "worker_socket": str(self.socket),
            "near_zone": bounds(camera.near_zone),
            "log_style": self._log_style,
        }
        if camera.door_id is not None and self._faces_socket is not None:
            settings["faces_socket"] = str(self._faces_socket)
        argv = [sys.executable, "-m", "edge", "eye", "--camera", camera.id]
        return Command(name=f"eye {camera.id}", argv=argv, stdin=msgspec.json.encode(settings) + b"\n")

    def statuses(self) -> tuple[CameraStatus, ...]:
        """Return how every camera stands, for the gateway."""
        at = self._clock.now()
        return tuple(self._status(watched, at=at) for watched in self._watched.values())

    def _status(self, watched: Watched, *, at: datetime) -> CameraStatus:
        health, camera_id = watched.health, watched.camera.id
        if camera_id in self._lost:
            state = "refused" if health is not None and health.state == "refused" else "lost"
        elif health is not None and health.state == "live":
            state = "live"
        else:
            state = "refused" if health is not None and health.state == "refused" else "starting"
        troubles = ", ".join(self._troubles.of(camera_id))
        detail = troubles if health is None else (troubles or health.detail or health.state)
        away = detail if state in {"lost", "refused"} else ""
        device = self._devices.wrong.get(camera_id)
        trouble = (away or (f"the device around it: {device}" if device else ""))[:TROUBLE_CHARS] or None
        told = {"camera_id": camera_id, "state": state, "detail": detail[:200], "at": at, "trouble": trouble}
        return msgspec.convert(told, CameraStatus)

    # ---- what eyes say ----------------------------------------------------------------------------------------------

    async def _serve(self, server: asyncio.Server) -> None:
        async with server:
            await server.serve_forever()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (health := await wire.read(reader, wire.eye_health)) is not None:
                self._note(health)
        except InvalidInput as error:
            self._count("unreadable_eyes")
            log.warning("an eye sent what cannot be read: %s", error)
        finally:
            writer.close()

    def _note(self, health: wire.EyeHealth) -> None:
        watched = self._watched.get(health.camera_id)
        if watched is None:
            self._count("unknown_eyes")
            return
        now = self._clock.unix()
        changed = watched.health is None or watched.health.state != health.state
        watched.health, watched.heard = health, now
        if health.state == "live":
            watched.away_since = None
        elif watched.away_since is None:
            watched.away_since = now
        if changed:
            log.info("camera %s: %s %s", health.camera_id, health.state, health.detail)
            self.on_change()

    # ---- losses -----------------------------------------------------------------------------------------------------

    async def _watch_forever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            for watched in tuple(self._watched.values()):
                await self._watch(watched)
                if watched.health is not None:
                    await self._troubles.follow(watched.health)

    async def _watch(self, watched: Watched) -> None:
        now, camera_id = self._clock.unix(), watched.camera.id
        if watched.away_since is None and now - watched.heard > SILENT_AFTER_S:
            watched.away_since = watched.heard
        if watched.away_since is None and camera_id in self._lost:
            cause = self._lost.pop(camera_id)
            key = fact_id(self._edge_id, camera_id, cause, "camera_back")
            await self._store(CameraBack(id=key, at=self._clock.now(), camera_id=camera_id))
            return
        away_since = watched.away_since
        if camera_id in self._lost or away_since is None or now - away_since < self._hold_off(watched.camera):
            return
        self._lost[camera_id] = key = fact_id(self._edge_id, camera_id, f"{away_since:.3f}", "camera_lost")
        reason = watched.health.state if watched.health is not None else "silent"
        await self._store(CameraLost(id=key, at=self._clock.now(), camera_id=camera_id, reason=reason))

    def _hold_off(self, camera: Camera) -> float:
        return self._lost_after_s if camera.lost_after_s == USUAL_HOLD_OFF_S else camera.lost_after_s

    async def _store(self, fact: CameraLost | CameraBack) -> None:
        self.on_change()
        while True:
            try:
                # Together: a loss that was told and not noted would never be told to be over.
                await self._spool.commit(None, (fact,), notes={LOST_KEY: msgspec.json.encode(self._lost)})
            except StorageUnavailable:
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _changed(self) -> None:
        self.on_change()

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


def _stream(camera: Camera) -> tuple[object, ...]:
    address = camera.url, camera.user, camera.password, camera.transport
    return *address, camera.rate, camera.hardware, camera.door_id, camera.near_zone
