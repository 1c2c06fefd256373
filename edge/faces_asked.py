"""What the face process is asked for once: the template of an enrolment photo, and a picture of a camera.

Each waits in a short line; who comes when it is full is told so. Attention goes on meanwhile, in the same thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

import numpy as np

from edge import wire
from edge.faces_picture import picture
from models.errors import DeviceUnreachable, ImageRejected
from models.faces.pipeline import FacePipeline

log = logging.getLogger("gatehouse.edge.faces")

WAITING = 4


class Asked:
    """Answer photos and pictures one after the other.

    Args:
        thread: where the networks compute.
        whole: returns a camera's next frame as a whole; raises DeviceUnreachable.
        tell: sends an answer to the worker.
    """

    def __init__(
        self,
        *,
        thread: Executor,
        whole: Callable[[str], Awaitable[wire.Crop]],
        tell: Callable[[wire.FromFaces], Awaitable[None]],
    ) -> None:
        self._thread = thread
        self._whole = whole
        self._tell = tell
        self._photos: asyncio.Queue[wire.EmbedPhoto] = asyncio.Queue(WAITING)
        self._pictures: asyncio.Queue[wire.TakePicture] = asyncio.Queue(WAITING)

    async def photo(self, asked: wire.EmbedPhoto) -> None:
        """Take a photo into the line, or answer `busy`."""
        try:
            self._photos.put_nowait(asked)
        except asyncio.QueueFull:
            await self._tell(wire.PhotoFace(request_id=asked.request_id, ok=False, reason="busy"))

    async def picture(self, asked: wire.TakePicture) -> None:
        """Take the question for a picture into the line, or answer `busy`."""
        try:
            self._pictures.put_nowait(asked)
        except asyncio.QueueFull:
            await self._tell(wire.Picture(request_id=asked.request_id, ok=False, reason="busy"))

    async def answer_photos(self, pipeline: FacePipeline) -> None:
        """Answer photos for as long as the process lives."""
        while True:
            asked = await self._photos.get()
            loop = asyncio.get_running_loop()
            await self._tell(await loop.run_in_executor(self._thread, embedded, pipeline, asked))

    async def answer_pictures(self, pipeline: FacePipeline) -> None:
        """Answer questions for pictures for as long as the process lives."""
        while True:
            asked = await self._pictures.get()
            try:
                crop = await self._whole(asked.camera_id)
            except DeviceUnreachable as error:
                log.info("no picture: %s", error)
                await self._tell(wire.Picture(request_id=asked.request_id, ok=False, reason="no_picture"))
            else:
                await self._tell(await picture(crop, asked, pipeline=pipeline, thread=self._thread))


def embedded(pipeline: FacePipeline, photo: wire.EmbedPhoto) -> wire.PhotoFace:
    """Return the embedding of the one face of a photo, or why there is none."""
    try:
        face = pipeline.photo(photo.image)
    except ImageRejected as error:
        return wire.PhotoFace(request_id=photo.request_id, ok=False, reason=error.reason)
    return wire.PhotoFace(
        request_id=photo.request_id,
        ok=True,
        embedding=np.ascontiguousarray(face.embedding, dtype="<f4").tobytes(),
        contract=face.contract.id,
        quality=face.quality,
    )
