"""Pictures and clips beside the database: taken from edges as a stream, checked by digest, kept for 30 days, stills for an hour.

A file is complete or absent: it is written under another name, synchronised, and renamed before the database names it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from gateway.runtime import Runtime
from gateway.store.media import Medium, drop_media, is_kept, keep_medium, media_before
from gateway.store.stills import stills_before
from models.errors import InvalidInput, StorageUnavailable
from models.link import MAX_PHOTO_BYTES, MAX_VIDEO_BYTES
from models.places import check_id

FOLDER: Final = "media"
KEEP_FOR: Final = timedelta(days=30)
KEEP_STILLS_FOR: Final = timedelta(minutes=50)
"""Whoever looks every five minutes keeps none for an hour."""
BUFFER_BYTES: Final = 256 * 1024
KINDS: Final = {
    "image/jpeg": (MAX_PHOTO_BYTES, b"\xff\xd8\xff"),
    "image/png": (MAX_PHOTO_BYTES, b"\x89PNG\r\n\x1a\n"),
    "video/mp4": (MAX_VIDEO_BYTES, b"ftyp"),
}
"""What may be sent: how much of it, and how it begins (a clip after the four bytes of its first box's length)."""


def file_of(folder: Path, medium: Medium) -> Path:
    """Return where a picture or clip is kept; the id is safe in paths, and other bytes have another file."""
    return folder / FOLDER / medium.sha256[:2] / f"{check_id(medium.id, 'id')}.{medium.sha256[:16]}"


def folder_of(runtime: Runtime) -> Path:
    """Return the folder beside the database.

    Raises:
        StorageUnavailable: this process has none.
    """
    if runtime.data_dir is None:
        raise StorageUnavailable("this gateway has no data folder: pictures cannot be kept")
    return runtime.data_dir


async def take_medium(runtime: Runtime, medium: Medium, *, content: AsyncIterator[bytes]) -> bool:
    """Keep a picture or clip; return False if it was kept already, in which case the content goes nowhere.

    Raises:
        InvalidInput: the bytes do not have the digest or size that was named, or are not what they are called.
        Conflict: other bytes are kept under its id.
        StorageUnavailable: the disk or the database did not take it.
    """
    if await runtime.store.read(is_kept, medium):
        async for _ in content:
            continue  # a sender that is cut off would take it for a failure
        return False
    file = file_of(folder_of(runtime), medium)
    draft = file.with_name(f".{secrets.token_hex(16)}")
    try:
        await _write(draft, medium, content=content)
        await asyncio.to_thread(_settle, draft, file)
    except OSError as error:
        raise StorageUnavailable(f"a picture was not kept: {error.strerror}") from error
    finally:
        await asyncio.to_thread(_discard, draft)
    return await runtime.store.write(keep_medium, medium)


async def _write(draft: Path, medium: Medium, *, content: AsyncIterator[bytes]) -> None:
    most_bytes, magic = KINDS[medium.media_type]
    start = 4 if medium.media_type == "video/mp4" else 0
    digest, size, head, waiting = hashlib.sha256(), 0, b"", bytearray()
    await asyncio.to_thread(draft.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        async for chunk in content:
            size += len(chunk)
            if size > min(most_bytes, medium.size_bytes):
                raise InvalidInput("body", "there are more bytes than were announced")
            digest.update(chunk)
            head = head or bytes((waiting + chunk)[:64])
            waiting += chunk
            if len(waiting) >= BUFFER_BYTES:
                await asyncio.to_thread(stream.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(_finish, stream.fileno(), bytes(waiting))
    if size != medium.size_bytes or digest.hexdigest() != medium.sha256:
        raise InvalidInput("body", "the bytes do not have the digest that was signed: send them again")
    if not head[start:].startswith(magic):
        raise InvalidInput("body", f"the bytes are no {medium.media_type}")


def _finish(handle: int, rest: bytes) -> None:
    view = memoryview(rest)
    while view:
        view = view[os.write(handle, view) :]
    os.fsync(handle)


def _discard(draft: Path) -> None:
    with contextlib.suppress(OSError):  # it was renamed, or the disk never took it
        draft.unlink()


def _settle(draft: Path, file: Path) -> None:
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def drop_old_media(runtime: Runtime) -> int:
    """Delete what was received more than 30 days ago, files first; return how many went."""
    return await _drop(runtime, await runtime.store.read(media_before, runtime.clock() - KEEP_FOR))


async def drop_old_stills(runtime: Runtime) -> int:
    """Delete the stills that somebody looked at to draw on, files first; return how many went."""
    return await _drop(runtime, await runtime.store.read(stills_before, runtime.clock() - KEEP_STILLS_FOR))


async def _drop(runtime: Runtime, old: list[Medium]) -> int:
    if runtime.data_dir is None or not old:
        return 0
    for medium in old:
        await asyncio.to_thread(file_of(runtime.data_dir, medium).unlink, missing_ok=True)
    return await runtime.store.write(drop_media, [medium.id for medium in old])
