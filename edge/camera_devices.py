"""The devices around cameras: what they say of tampering becomes a trouble, and a turned camera returns to its position.

One task per camera whose settings have a device; a device that is away costs nothing and says nothing about the
pictures, which are judged by themselves (edge.looks).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Final

from config.process import Good, keep_running
from drivers.camera_device import CameraDevice
from drivers.catalog import open_camera_device
from edge.camera_troubles import CameraTroubles
from models.errors import DeviceRefused
from models.places import Camera

log = logging.getLogger("gatehouse.edge.camera_devices")

TAMPERED_FOR_S: Final = 3.0
"""How long a camera must say so: a hand that cleans the lens is no tampering."""


class CameraDevices:
    """Keep the devices of an edge's cameras.

    Args:
        troubles: told what devices say.
        now: the edge's clock.
        hold_s: how long tampering must last.
    """

    def __init__(
        self, troubles: CameraTroubles, *, now: Callable[[], datetime], hold_s: float = TAMPERED_FOR_S
    ) -> None:
        self._troubles = troubles
        self._now = now
        self._hold_s = hold_s
        self._group: asyncio.TaskGroup | None = None
        self._kept: dict[str, tuple[Camera, asyncio.Task[None]]] = {}

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Run in this task group; cameras come with `apply`."""
        self._group = tasks

    def apply(self, cameras: Iterable[Camera]) -> None:
        """Keep the devices of these cameras from now on; one whose settings did not change is not touched."""
        wanted = {camera.id: camera for camera in cameras if camera.device}
        for camera_id in [name for name, (camera, _) in self._kept.items() if not _same(camera, wanted.get(name))]:
            self._kept.pop(camera_id)[1].cancel()
        for camera in wanted.values():
            if camera.id not in self._kept and self._group is not None:
                name = f"device of camera {camera.id}"
                task = self._group.create_task(keep_running(name, partial(self._run, camera)), name=name)
                self._kept[camera.id] = camera, task

    async def _run(self, camera: Camera, good: Good) -> None:
        settings = {"user": camera.user, "password": camera.password, **(camera.device or {})}
        device: CameraDevice
        async with open_camera_device(settings, now=self._now) as device:
            good()
            try:
                await device.go_home()
            except DeviceRefused as error:
                log.warning("camera %s does not turn to its position: %s", camera.id, error.what)
            async for tampered in lasting(device.tampers(), hold_s=self._hold_s):
                if tampered:
                    await self._troubles.say(camera.id, present=("tampered",), absent=())
                else:
                    await self._troubles.say(camera.id, present=(), absent=("tampered",))


async def lasting(states: AsyncIterator[bool], *, hold_s: float) -> AsyncIterator[bool]:
    """Yield what is so once it has been so for `hold_s`, and what is not at once."""
    coming = asyncio.ensure_future(anext(states))
    waits = False
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=hold_s if waits else None)
            if not done:
                waits = False
                yield True
                continue
            waits = coming.result()
            coming = asyncio.ensure_future(anext(states))
            if not waits:
                yield False
    finally:
        coming.cancel()
        await asyncio.wait({coming})


def _same(kept: Camera, wanted: Camera | None) -> bool:
    if wanted is None:
        return False
    return (kept.device, kept.user, kept.password) == (wanted.device, wanted.user, wanted.password)
