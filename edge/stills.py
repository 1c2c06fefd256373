"""Stills for the gateway: one picture of a camera of ours, made unrecognisable by the face process, sent and forgotten.

It is never written here: it goes from the face process's answer into one signed request.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from typing import Literal

from edge.channel import Channel, Upload
from edge.clock import SteadyClock
from edge.facelink import FaceLink
from models.errors import DeviceRefused, DeviceUnreachable
from models.link import HEADER_DIGEST, Result, TakeStill
from models.places import Camera

log = logging.getLogger("gatehouse.edge.stills")

MOST_BYTES = 200 * 1024


class Stills:
    """Obey orders for stills."""

    def __init__(
        self, *, clock: SteadyClock, channel: Channel, link: FaceLink, cameras: Callable[[], Iterable[Camera]]
    ) -> None:
        self._clock = clock
        self._channel = channel
        self._link = link
        self._cameras = cameras

    async def take(self, order: TakeStill) -> Result:
        """Take one picture and upload it as the order's medium; without the means to hide faces there is none."""
        camera = next((one for one in self._cameras() if one.id == order.camera_id), None)
        if camera is None or camera.register is None:
            return self._ended(order, "unknown_camera", "no such camera is on at this edge", state="refused")
        if camera.door_id is None:
            return self._ended(
                order, "no_door", "it looks at no door: the face process has no view of it", state="refused"
            )
        try:
            picture = await self._link.picture(camera.id, masks=camera.register.privacy_masks, request_id=order.id)
        except DeviceUnreachable as error:
            return self._ended(order, error.reason or "not_ready", error.what, state="failed")
        if not picture.ok or not 0 < len(picture.jpeg) <= MOST_BYTES:
            return self._ended(
                order, picture.reason or "unusable", "this camera gave no picture to show", state="failed"
            )
        media = Upload(id=order.id, camera_id=camera.id, at=self._clock.now(), kind="image/jpeg", blurred=True)
        try:
            await send_still(self._channel, media, jpeg=picture.jpeg)
        except (DeviceRefused, DeviceUnreachable) as error:
            return self._ended(order, "not_sent", str(error), state="failed")
        log.info("a still of camera %s was sent: %d faces hidden", camera.id, picture.faces)
        return Result(command_id=order.id, state="confirmed", at=self._clock.now(), media_id=order.id)

    def _ended(self, order: TakeStill, reason: str, detail: str, *, state: Literal["failed", "refused"]) -> Result:
        return Result(command_id=order.id, state=state, reason=reason, detail=detail[:200], at=self._clock.now())


async def send_still(channel: Channel, media: Upload, *, jpeg: bytes) -> None:
    """Send a picture whose faces are hidden, in one signed request.

    Raises:
        DeviceRefused: the gateway does not take it.
        DeviceUnreachable: it does not answer.
    """
    headers = {HEADER_DIGEST: hashlib.sha256(jpeg).hexdigest(), "Content-Type": media.kind}
    await channel.request("POST", media.target, content=jpeg, headers=headers)
