"""Make signed checkpoints of the audit chain, and keep them outside the database too: in a file, and with whoever asks.

Edges take the newest with each policy answer; `gateway.syslog` sends them with the rows. The file only ever grows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.runtime import Runtime
from gateway.store.checkpoints import Witness, make_checkpoint
from models.errors import InvalidInput
from models.link import Checkpoint

FILE = "checkpoints.log"


async def note_checkpoint(runtime: Runtime, file: Path) -> Checkpoint | None:
    """Make a checkpoint if the chain has grown, and append it to the file; return it."""
    made = await runtime.store.write(make_checkpoint, runtime.gateway_key, at=runtime.clock())
    if made is not None:
        append_checkpoint(file, made)
    return made


def append_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Append a checkpoint to a file that only its owner can read, as one line of JSON; it is on disk on return."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as stream:
        stream.write(msgspec.json.encode(checkpoint) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def checkpoints_in(file: Path) -> Iterator[Witness]:
    """Yield the checkpoints that a file keeps; a last line that was cut short is skipped, there is none in a missing file.

    Raises:
        InvalidInput: a line is no checkpoint.
    """
    if not file.exists():
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield Witness(name=f"{file.name}:{number}", checkpoint=msgspec.json.decode(line, type=Checkpoint))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InvalidInput(f"{file}:{number}", "this line is no checkpoint") from error
