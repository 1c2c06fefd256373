"""Encrypt to the owner's age key and decrypt with it, as streams of any length. Knows nothing of what is inside.

age detects changed and cut-off files; that a file comes from this gateway it does not show: anybody may encrypt to a
recipient.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyrage

from models.errors import InvalidInput, StorageUnavailable

Recipient = pyrage.x25519.Recipient
Identity = pyrage.x25519.Identity
IDENTITY_LIMIT_BYTES = 65_536


def recipients_of(texts: Sequence[str]) -> list[Recipient]:
    """Return the recipients that some `age1…` texts name.

    Raises:
        InvalidInput: there is none, or one is not an X25519 recipient.
    """
    if not texts:
        raise InvalidInput("--to", "name the owner's age key (age1…): only its holder can open the backup")
    return [_recipient(text) for text in texts]


def _recipient(text: str) -> Recipient:
    try:
        return Recipient.from_str(text.strip())
    except pyrage.RecipientError as error:
        hint = "it is the line 'public key' that age-keygen prints; the secret key stays with its owner"
        raise InvalidInput("--to", f"{text[:12]!r}… is no age recipient ({error}): {hint}") from error


def identities_in(file: Path) -> list[Identity]:
    """Return the secret keys of an age identity file (as age-keygen writes it).

    Raises:
        InvalidInput: the file cannot be read or holds none.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(IDENTITY_LIMIT_BYTES).decode("ascii", "replace")
        lines = [line.strip() for line in text.splitlines()]
        found = [Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except OSError as error:
        raise InvalidInput("--identity", f"{file} cannot be read: {error.strerror}") from error
    except pyrage.IdentityError as error:
        raise InvalidInput("--identity", f"{file} holds a line that is no AGE-SECRET-KEY-1…: {error}") from error
    if not found:
        raise InvalidInput("--identity", f"{file} holds no AGE-SECRET-KEY-1… line")
    return found


@contextmanager
def encrypting(target: BinaryIO, recipients: Sequence[Recipient]) -> Iterator[BinaryIO]:
    """Yield a stream for the clear bytes; when the block ends, all of them are in `target`, encrypted.

    Raises:
        StorageUnavailable: `target` did not take them.
    """
    reading, writing = _pipe()

    def run() -> None:
        with reading:
            pyrage.encrypt_io(reading, target, list(recipients))  # type: ignore[arg-type]

    with _beside(run) as done:
        try:
            with writing:
                yield writing
        except BrokenPipeError:
            _outcome(done, StorageUnavailable, "the backup could not be written")
            raise
        _outcome(done, StorageUnavailable, "the backup could not be written")


@contextmanager
def decrypting(source: BinaryIO, identities: Sequence[Identity]) -> Iterator[BinaryIO]:
    """Yield a stream of the clear bytes. The block must not trust what it read until it has ended without an error.

    Raises:
        InvalidInput: the file is none of age, is for other keys, or was changed or cut off.
    """
    reading, writing = _pipe()

    def run() -> None:
        with suppress(BrokenPipeError), writing:
            pyrage.decrypt_io(source, writing, list(identities))  # type: ignore[arg-type]

    with _beside(run) as done:
        with reading:
            try:
                yield reading
            except InvalidInput:
                _drain(reading)
                _outcome(done, InvalidInput, "backup")  # what ails the file explains what became of its content
                raise
            _drain(reading)
        _outcome(done, InvalidInput, "backup")


def _drain(stream: BinaryIO) -> None:
    while stream.read(1 << 16):
        pass  # to the end, where a cut shows


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    reading, writing = os.pipe()
    return open(reading, "rb"), open(writing, "wb")  # noqa: PTH123 - ends of a pipe, closed by their users


@contextmanager
def _beside(run: Callable[[], None]) -> Iterator[Future[None]]:
    with ThreadPoolExecutor(1, thread_name_prefix="age") as pool:
        yield pool.submit(run)


def _outcome(done: Future[None], kind: type[InvalidInput | StorageUnavailable], where: str) -> None:
    """Raise what the thread ended with, as one of our errors."""
    error = done.exception()
    if error is None or isinstance(error, BrokenPipeError):
        return
    if not isinstance(error, OSError | pyrage.EncryptError | pyrage.DecryptError):
        raise error
    if kind is StorageUnavailable:
        raise StorageUnavailable(f"{where}: {error}") from error
    raise InvalidInput(where, f"cannot be opened: {error}. Is this the right file and the right identity?") from error
