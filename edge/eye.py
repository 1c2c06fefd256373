"""The eye, one process per camera: it pulls the stream, sees that something moves, and says how the camera is.

Cameras are untrusted input, so FFmpeg runs only here, with no database and no credential but this stream's, read from
standard input. An eye of a door camera hands the newest crop to the face process, one per credit; it recognises nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from config.process import Backoff, keep_running, set_up_logging
from drivers.camera import Camera, CameraSettings, OpenCamera, Pixels
from drivers.catalog import open_camera
from edge import wire
from edge.eye_settings import EyeSettings, read_settings
from edge.glimpse import Glimpse, Slot
from edge.looks import Looks
from edge.motion import MotionGate
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from models.picture_health import Limits

log = logging.getLogger("gatehouse.edge.eye")

HEALTH_EVERY_S: Final = 10.0
STALE_MS: Final = 1500.0
GATHER_S: Final = 0.3
"""For how long pictures gather where nothing moves and nobody acts; whoever acts ends it."""
MAX_PIXEL_BYTES: Final = 6 * 1024 * 1024
MAX_SETTINGS_BYTES: Final = 65_536
LINK_BACKOFF: Final = Backoff(first_s=0.1, cap_s=5.0)
CAMERA_BACKOFF: Final = Backoff(first_s=1.0, cap_s=60.0)
Opener = Callable[[CameraSettings], OpenCamera]


class Eye:
    """One camera's process, without the process: run it in a loop, stop it by cancelling `run`.

    Args:
        settings: the camera and the sockets.
        opener: makes the camera of its settings.
        camera_backoff: spacing of attempts at a camera that is away.
        limits: for how long a trouble of the picture must last.
    """

    def __init__(
        self,
        settings: EyeSettings,
        *,
        opener: Opener = open_camera,
        camera_backoff: Backoff = CAMERA_BACKOFF,
        limits: Limits | None = None,
    ) -> None:
        self._settings = settings
        self._opener = opener
        self._camera_backoff = camera_backoff
        self._looks = Looks(limits or Limits())
        self._gate = MotionGate(settings.near_zone)
        self._state: wire.EyeState = "starting"
        self._detail = ""
        self._reason = ""
        self._since = time.time()
        self._changed = asyncio.Event()
        self._camera: Camera | None = None
        self._linked = False
        self._whole = False
        self._crops = 0
        self._frames = 0
        self._errors = 0
        self._openings = 0
        self._size = (0, 0)
        self._rate_from = (time.monotonic(), 0)

    async def run(self) -> None:
        """Watch the camera and keep both links, until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._slot = Slot(self._loop)
        name = f"camera {self._settings.camera_id}"
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running(name, self._watch, backoff=self._camera_backoff))
            if self._settings.faces_socket:
                group.create_task(keep_running("face process", self._serve_faces, backoff=LINK_BACKOFF))
            if self._settings.worker_socket:
                group.create_task(keep_running("worker", self._tell_worker, backoff=LINK_BACKOFF))

    def health(self) -> wire.EyeHealth:
        """Return how the camera is now."""
        now, frames = time.monotonic(), self._frames
        elapsed_s, seen = now - self._rate_from[0], frames - self._rate_from[1]
        if elapsed_s >= 1:
            self._rate_from = (now, frames)
        return wire.EyeHealth(
            camera_id=self._settings.camera_id,
            state=self._state,
            since=self._since,
            detail=self._detail,
            reason=self._reason,
            frames=frames,
            dropped=self._slot.dropped,
            decode_errors=self._errors,
            crops=self._crops,
            reconnects=max(0, self._openings - 1),
            fps=round(seen / elapsed_s, 1) if elapsed_s > 0 else 0.0,
            width_px=self._size[0],
            height_px=self._size[1],
            troubles=self._looks.troubles,
            absent=self._looks.absent,
        )

    # --- the camera, in its own thread -------------------------------------------------------------------------------

    async def _watch(self, good: Callable[[], None]) -> None:
        ended: asyncio.Future[None] = self._loop.create_future()
        stop = threading.Event()
        # A thread of its own, not an executor's: a hanging camera must not delay the end of the process.
        threading.Thread(target=self._read, args=(ended, stop, good), name="camera", daemon=True).start()
        try:
            await ended
        except DeviceRefused as error:
            self._become("refused", error.what, error.reason)
            raise
        except DeviceUnreachable as error:
            self._become("unreachable", error.what, error.reason)
            raise
        except InvalidInput as error:
            self._become("garbage", error.what, error.reason)
            raise
        else:
            self._become("unreachable", "the stream ended")
        finally:
            stop.set()
            self._slot.clear()

    def _read(self, ended: asyncio.Future[None], stop: threading.Event, good: Callable[[], None]) -> None:
        error: BaseException | None = None
        try:
            with self._open() as camera:
                self._look(camera, stop, good)
        except Exception as raised:  # noqa: BLE001 - carried over to the task that waits, which is supervised
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(_settle, ended, error)

    def _open(self) -> OpenCamera:
        self._openings += 1
        try:
            return self._opener(self._settings.camera())
        except InvalidInput as error:
            raise DeviceRefused(self._settings.camera_id, str(error)) from error

    def _look(self, camera: Camera, stop: threading.Event, good: Callable[[], None]) -> None:
        self._camera = camera
        lived = False
        frames, errors = self._frames, self._errors
        for frame in camera.frames():
            if stop.is_set():
                return
            now = time.monotonic()
            self._frames = frames + frame.number
            moving = camera.rate == "key" or (camera.rate == "full" and (self._whole or self._gate.due(now)))
            if moving or self._looks.due(now):
                self._errors, self._size = errors + camera.health.decode_errors, frame.size
                self._see(camera, Glimpse(frame=frame, area=(0, 0, *frame.size), decoded_s=now), moving=moving)
            if not lived:
                lived = True
                log.info("camera %s is decoded by %s", self._settings.camera_id, camera.health.decoder)
                self._loop.call_soon_threadsafe(good)
                self._loop.call_soon_threadsafe(self._become, "live", "")

    def _see(self, camera: Camera, whole: Glimpse, *, moving: bool) -> None:
        luma, now = whole.frame.luma(), whole.decoded_s
        if self._looks.observe(luma, now, clock_off_s=camera.health.clock_off_s):
            self._loop.call_soon_threadsafe(self._changed.set)
        if moving:
            self._watch_for_motion(camera, whole, luma)
        camera.patience_s = GATHER_S if self._gate.quiet(now) and not self._whole else 0.0

    def _watch_for_motion(self, camera: Camera, whole: Glimpse, luma: Pixels) -> None:
        area = self._gate.observe(luma, whole.decoded_s)
        if self._settings.rate == "key":
            camera.rate = "full" if area else "key"
        wanted = whole.area if self._whole else area
        if wanted and self._linked and whole.frame.age_ms <= STALE_MS:
            self._slot.put(msgspec.structs.replace(whole, area=wanted))
        elif not wanted:
            self._slot.clear()  # nobody took it, and nobody may find it later (R11)

    def _become(self, state: wire.EyeState, detail: str, reason: str = "") -> None:
        if (state, detail) == (self._state, self._detail):
            return
        if state != self._state:
            self._since = time.time()
        self._state, self._detail, self._reason = state, detail, reason
        self._changed.set()

    # --- the face process --------------------------------------------------------------------------------------------

    async def _serve_faces(self, good: Callable[[], None]) -> None:
        reader, writer = await asyncio.open_unix_connection(self._settings.faces_socket)
        credit = asyncio.Event()
        try:
            await wire.write(writer, wire.EyeHello(camera_id=self._settings.camera_id))
            self._linked = True
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send_crops(writer, credit))
                while (message := await wire.read(reader, wire.to_eye)) is not None:
                    good()
                    if isinstance(message, wire.Watch):
                        self._gate.watch(time.monotonic() + message.until - time.time(), message.zone)
                    else:
                        self._whole = self._whole or message.whole
                        credit.set()
                    if self._camera is not None:
                        self._camera.hurry()
                sending.cancel()
        finally:
            self._linked = self._whole = False
            self._slot.clear()
            writer.close()

    async def _send_crops(self, writer: asyncio.StreamWriter, credit: asyncio.Event) -> None:
        while True:
            await credit.wait()
            crop = self._crop(await self._fresh())
            if crop.age_ms > STALE_MS:  # it grew old while its pixels were converted
                self._slot.dropped += 1
                continue
            self._whole = False
            credit.clear()
            writer.write(wire.frame(crop))
            await writer.drain()
            self._crops += 1

    async def _fresh(self) -> Glimpse:
        while True:
            glimpse = await self._slot.take()
            waited_ms = (time.monotonic() - glimpse.decoded_s) * 1000
            part = self._whole and glimpse.area[2:] != glimpse.frame.size
            if glimpse.frame.age_ms + waited_ms <= STALE_MS and not part:
                return glimpse
            self._slot.dropped += 1

    def _crop(self, glimpse: Glimpse) -> wire.Crop:
        frame = glimpse.frame
        x, y, w, h = glimpse.area
        pixels = frame.rgb((x, y, w, h), max_bytes=MAX_PIXEL_BYTES)
        return wire.Crop(
            camera_id=self._settings.camera_id,
            frame_no=frame.number,
            captured_at=frame.captured_at,
            age_ms=frame.age_ms + (time.monotonic() - glimpse.decoded_s) * 1000,
            x=x,
            y=y,
            w=w,
            h=h,
            cols=pixels.shape[1],
            rows=pixels.shape[0],
            frame_w=frame.size[0],
            frame_h=frame.size[1],
            pixels=pixels.tobytes(),
        )

    # --- the worker --------------------------------------------------------------------------------------------------

    async def _tell_worker(self, good: Callable[[], None]) -> None:
        _, writer = await asyncio.open_unix_connection(self._settings.worker_socket)
        try:
            while True:
                self._changed.clear()
                await wire.write(writer, self.health())
                good()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEALTH_EVERY_S):
                        await self._changed.wait()
        finally:
            writer.close()


def _settle(ended: asyncio.Future[None], error: BaseException | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


async def _until_told(settings: EyeSettings) -> None:
    task = asyncio.ensure_future(Eye(settings).run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main(argv: list[str] | None = None) -> int:
    """Run one eye until it is told to stop: `python -m edge eye`, with its settings on standard input."""
    parser = argparse.ArgumentParser(prog="python -m edge eye", description=main.__doc__)
    parser.add_argument("--camera", dest="camera_id", metavar="ID", help="the camera's id")
    parser.add_argument("--worker-socket", metavar="PATH", help="where to report how the camera is")
    parser.add_argument("--faces-socket", metavar="PATH", help="the face process; without it no picture leaves the eye")
    arguments = parser.parse_args(argv)
    try:
        settings = read_settings(sys.stdin.buffer.readline(MAX_SETTINGS_BYTES), arguments)
    except InvalidInput as error:
        sys.stderr.write(f"{error}\n")
        return 2
    set_up_logging(f"eye {settings.camera_id}", style=settings.log_style)
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    asyncio.run(_until_told(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
