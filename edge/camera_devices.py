"""The devices around cameras: tampering and a wrong clock become troubles, and a turned camera returns to its position.

One task per camera whose settings have a device; a device that is away costs nothing and says nothing about the
pictures, which are judged by themselves (edge.looks).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from functools import partial
from typing import Final

from config.process import Good, keep_running
from drivers.camera_device import CameraDevice
from drivers.catalog import open_camera_device
from edge.camera_troubles import CameraTroubles
from edge.clock import SteadyClock
from edge.looks import CLOCK_LASTS_S, ClockLook
from edge.served import Noting
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from models.events import Trouble
from models.places import Camera

log = logging.getLogger("gatehouse.edge.camera_devices")

TAMPERED_FOR_S: Final = 3.0
"""How long a camera must say so: a hand that cleans the lens is no tampering."""
CLOCK_EVERY_S: Final = 20.0
"""How often a device is asked for its time."""
JUMP_S: Final = 1.0
"""From here on the wall clock was moved between two answers: steady time leans towards it by less."""
ANSWER_S: Final = 1.0
"""How long an answer about the time is waited for when the connection ends."""


class CameraDevices:
    """Keep the devices of an edge's cameras.

    Args:
        troubles: told what devices say.
        clock: the edge's.
        hold_s: how long tampering must last.
        clock_every_s: how often a device is asked for its time.
        clock_lasts_s: how long its clock must be wrong.
    """

    def __init__(
        self, troubles: CameraTroubles, *, clock: SteadyClock, hold_s: float = TAMPERED_FOR_S,
        clock_every_s: float = CLOCK_EVERY_S, clock_lasts_s: float = CLOCK_LASTS_S,
    ) -> None:  # fmt: skip
        self._troubles = troubles
        self._clock = clock
        self._hold_s = hold_s
        self._clock_every_s = clock_every_s
        self._clock_lasts_s = clock_lasts_s
        self._group: asyncio.TaskGroup | None = None
        self._kept: dict[str, tuple[Camera, asyncio.Task[None]]] = {}
        self.wrong: dict[str, str] = {}
        """Why the device of a camera cannot be heard, in words; none of it is a secret."""

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Run in this task group; cameras come with `apply`."""
        self._group = tasks

    def apply(self, cameras: Iterable[Camera]) -> None:
        """Keep the devices of these cameras from now on; one whose settings did not change is not touched."""
        cameras = tuple(cameras)
        wanted = {camera.id: camera for camera in cameras if camera.device}
        bare = {camera.id for camera in cameras} - wanted.keys()
        for camera_id in [name for name, (camera, _) in self._kept.items() if not _same(camera, wanted.get(name))]:
            self._kept.pop(camera_id)[1].cancel()
            self.wrong.pop(camera_id, None)
            only = self._troubles.withdraw(camera_id, by="device")
            if only and camera_id in bare and self._group is not None:
                settling = self._troubles.say(camera_id, absent=only, by="device")
                self._group.create_task(settling, name=f"device of camera {camera_id} is gone")
        for camera in wanted.values():
            if camera.id not in self._kept and self._group is not None:
                name = f"device of camera {camera.id}"
                clock = ClockLook(self._clock_lasts_s, ends_s=0.0)
                task = self._group.create_task(keep_running(name, partial(self._run, camera, clock)), name=name)
                self._kept[camera.id] = camera, task

    async def _run(self, camera: Camera, clock: ClockLook, good: Good) -> None:
        settings = {"user": camera.user, "password": camera.password, **(camera.device or {})}
        with Noting(partial(self._note, camera), settings=[settings]):
            async with open_camera_device(settings, now=self._clock.now) as device:
                good()
                self.wrong.pop(camera.id, None)
                await self._listen(camera.id, device, clock=clock)

    def _note(self, camera: Camera, why: str) -> None:
        if (kept := self._kept.get(camera.id)) is not None and kept[0] is camera:
            self.wrong[camera.id] = why

    async def _listen(self, camera_id: str, device: CameraDevice, *, clock: ClockLook) -> None:
        try:
            await device.go_home()
        except DeviceRefused as error:
            log.warning("camera %s does not turn to its position: %s", camera_id, error.what)
        over = asyncio.Event()
        watching = asyncio.create_task(self._watch_clock(camera_id, device, clock=clock, over=over))
        try:
            # Closed while the device is open still: what a generator does at its end, it does over the wire.
            async with (
                contextlib.aclosing(device.tampers()) as states,
                contextlib.aclosing(lasting(states, hold_s=self._hold_s)) as told,
            ):
                async for tampered in told:
                    await self._say(camera_id, "tampered", so=tampered)
        finally:
            over.set()
            await asyncio.wait({watching}, timeout=ANSWER_S)
            watching.cancel()
            await asyncio.wait({watching})

    async def _watch_clock(
        self, camera_id: str, device: CameraDevice, *, clock: ClockLook, over: asyncio.Event
    ) -> None:
        """Ask for the time again and again; that a device does not answer is told by what listens to it.

        It is measured against the wall clock, which is right at once when it was corrected, as the eye does; nothing can
        be told while ours is doubted, nor across a jump.
        """
        jumped_s = self._clock.jumped_s()
        while not await _within(self._clock_every_s, over):
            with contextlib.suppress(DeviceUnreachable, DeviceRefused, InvalidInput, TimeoutError):
                off_s = await device.clock_off_s()
                before_s, jumped_s = jumped_s, self._clock.jumped_s()
                told = off_s is not None and self._clock.trusted() and abs(jumped_s - before_s) < JUMP_S
                clock.observe(off_s - jumped_s if off_s is not None and told else None, self._clock.unix())
                if clock.wrong is not None:
                    await self._say(camera_id, "clock_skew", so=clock.wrong)

    async def _say(self, camera_id: str, trouble: Trouble, *, so: bool) -> None:
        if so:
            await self._troubles.say(camera_id, present=(trouble,), by="device")
        else:
            await self._troubles.say(camera_id, absent=(trouble,), by="device")


async def _within(limit_s: float, event: asyncio.Event) -> bool:
    """Wait for an event no longer than that; return whether it came."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), limit_s)
    return event.is_set()


async def lasting(states: AsyncIterator[bool], *, hold_s: float) -> AsyncGenerator[bool, None]:
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
