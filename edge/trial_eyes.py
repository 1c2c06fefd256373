"""Eyes for cameras that are not adopted: one process for one look, ended with it. What it sees goes nowhere by itself.

Credentials go to its standard input as to any eye's; it hands a picture to the face process only if it is asked for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from config.process import Command, Supervisor
from drivers.camera import CameraSettings
from edge import wire
from edge.sockets import listen
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput

ENDED = {
    "refused": "it refuses the credentials, or has no such stream",
    "unreachable": "it does not answer",
    "garbage": "what it sends is no video",
}


class TrialEyes:
    """Open eyes for a look.

    Args:
        children: keeps the processes.
        run_dir: a private folder for their sockets.
        faces_socket: the face process, if there is one.
        log_style: how they write their log.
    """

    def __init__(
        self, *, children: Supervisor, run_dir: Path, faces_socket: Path | None, log_style: str = "text"
    ) -> None:
        self._children = children
        self._run_dir = run_dir
        self._faces_socket = faces_socket
        self._log_style = log_style

    @contextlib.asynccontextmanager
    async def open(self, camera: CameraSettings, *, limit_s: float) -> AsyncIterator[wire.EyeHealth]:
        """Hold an eye of a camera open for the length of the block; yields how its first picture came.

        Raises:
            DeviceRefused: the camera refuses the credentials, or has no such stream.
            DeviceUnreachable: no picture came within `limit_s`.
            InvalidInput: the address cannot be one, or what comes is no video.
        """
        told: asyncio.Future[wire.EyeHealth] = asyncio.get_running_loop().create_future()

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(InvalidInput):
                while (health := await wire.read(reader, wire.eye_health)) is not None:
                    if health.state != "starting" and not told.done():
                        told.set_result(health)
            writer.close()

        socket = self._run_dir / f"try-{camera.camera_id[-12:]}.sock"
        server = await listen(socket, hear)
        name = f"eye {camera.camera_id}"
        try:
            self._children.keep(self._eye(camera, socket=socket, name=name))
            yield await _first(told, camera, limit_s=limit_s)
        finally:
            self._children.drop(name)
            server.close()
            await asyncio.to_thread(socket.unlink, missing_ok=True)

    def _eye(self, camera: CameraSettings, *, socket: Path, name: str) -> Command:
        settings: dict[str, object] = {
            "camera_id": camera.camera_id,
            "url": camera.url,
            "user": camera.user,
            "password": camera.password,
            "transport": camera.transport,
            "rate": "full",
            "worker_socket": str(socket),
            "log_style": self._log_style,
        }
        if self._faces_socket is not None:
            settings["faces_socket"] = str(self._faces_socket)
        argv = [sys.executable, "-m", "edge", "eye", "--camera", camera.camera_id]
        return Command(name=name, argv=argv, stdin=msgspec.json.encode(settings) + b"\n")


async def _first(told: asyncio.Future[wire.EyeHealth], camera: CameraSettings, *, limit_s: float) -> wire.EyeHealth:
    try:
        async with asyncio.timeout(limit_s):
            health = await told
    except TimeoutError:
        raise DeviceUnreachable(camera.camera_id, f"no picture came within {limit_s:.0f} s").because(
            "no_answer"
        ) from None
    if health.state == "live":
        return health
    what = health.detail or ENDED.get(health.state, health.state)
    if health.state == "refused":
        raise DeviceRefused(camera.camera_id, what).because(health.reason)
    if health.state == "garbage":
        raise InvalidInput("url", what).because(health.reason or "no_video")
    raise DeviceUnreachable(camera.camera_id, what).because(health.reason)
