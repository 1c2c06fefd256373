"""The worker's side of the face process: what waits for one that goes away is told at once, and it goes on with the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from edge import wire
from edge.facelink import FaceLink
from models.errors import DeviceUnreachable
from tests.edge.doubles import until


@asynccontextmanager
async def face_process(socket: Path, *, answers: bool) -> AsyncIterator[list[wire.ToFaces]]:
    """Run a face process that is ready, and answers photos or goes away over them."""
    heard: list[wire.ToFaces] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.write(writer, wire.FacesHealth(ready=True, contract="m"))
        while (message := await wire.read(reader, wire.to_faces)) is not None:
            heard.append(message)
            if isinstance(message, wire.EmbedPhoto):
                if not answers:
                    break
                face = np.ones(128, "<f4").tobytes()
                await wire.write(writer, wire.PhotoFace(request_id=message.request_id, ok=True, embedding=face))
        writer.close()

    server = await asyncio.start_unix_server(serve, path=str(socket))
    try:
        yield heard
    finally:
        server.close()
        await server.wait_closed()


async def test_a_photo_is_answered_and_one_that_kills_the_process_is_told_at_once(tmp_path: Path) -> None:
    link = FaceLink(tmp_path / "faces.sock")
    with pytest.raises(DeviceUnreachable):
        await link.run(lambda: None)
    async with face_process(link.socket, answers=True):
        running = asyncio.create_task(link.run(lambda: None))
        await until(lambda: link.ready)
        assert (await link.photo(b"photo", request_id="r1")).ok
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not link.ready
    link.socket.unlink(missing_ok=True)
    async with face_process(link.socket, answers=False):
        running = asyncio.create_task(link.run(lambda: None))
        await until(lambda: link.ready)
        async with asyncio.timeout(5):
            with pytest.raises(DeviceUnreachable, match="went away"):
                await link.photo(b"photo", request_id="r2")
        (ended,) = await asyncio.gather(running, return_exceptions=True)
        assert isinstance(ended, DeviceUnreachable)
