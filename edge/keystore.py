"""Templates and their keys, on this edge only: one file, rewritten as a whole, so that what is erased is gone from it.

Each person has a random key, wrapped by the master key in a 0600 file beside it; a template opens only for the person,
doors and model it was made for (models.sealing). It is no defence against who can read both files: keep the master key
on a TPM or another disk where that matters. It matches nobody (edge.attention), asks for no consent (edge.enrolment).
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.identity import write_private
from models.errors import InvalidInput, StorageUnavailable
from models.sealing import KEY_BYTES, NONCE_BYTES, about_key, about_template, seal, unseal

log = logging.getLogger("gatehouse.edge.keystore")

Embedding = NDArray[np.float32]


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one sealed template: whose, for which doors, made under which model contract and consent."""

    id: str
    person_id: str
    doors: tuple[str, ...]
    contract: str
    consent_id: str
    quality: float
    at: datetime
    sealed: bytes

    @property
    def digest(self) -> str:
        """Return the hex SHA-256 of the sealed bytes: what a receipt names."""
        return hashlib.sha256(self.sealed).hexdigest()


class Opened(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Hold one template in memory, ready to be matched."""

    person_id: str
    doors: tuple[str, ...]
    contract: str
    embedding: Embedding


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the file holds."""

    version: int = 1
    keys: dict[str, bytes] = msgspec.field(default_factory=dict)
    templates: tuple[Sealed, ...] = ()


_content = msgspec.msgpack.Decoder(Content)


class KeyStore:
    """Keep sealed templates. Its calls are short and block; threads may make them side by side."""

    def __init__(self, folder: Path, *, draw: Callable[[int], bytes] = os.urandom) -> None:
        """Open the store of this edge, or begin one.

        Raises:
            InvalidInput: a file is damaged, or others can read the master key.
        """
        self._path = folder / "keystore.bin"
        self._draw = draw
        self._changing = threading.Lock()
        self._master = _master_key(folder / "master.key", draw)
        self._content = Content()
        if self._path.exists():
            try:
                self._content = _content.decode(self._path.read_bytes())
            except msgspec.MsgspecError as error:
                raise InvalidInput(self._path.name, f"the key store cannot be read: {error}") from error

    def put(self, template: Opened, *, consent_id: str, quality: float, at: datetime) -> Sealed:
        """Seal a person's template under a new key; it replaces what there was of this person.

        Raises:
            StorageUnavailable: the disk did not take it; the store is as it was.
        """
        key = self._draw(KEY_BYTES)
        about = about_template(template.person_id, template.doors, template.contract)
        raw = np.ascontiguousarray(template.embedding, dtype="<f4").tobytes()
        sealed = Sealed(
            id=self._draw(16).hex(),
            person_id=template.person_id,
            doors=template.doors,
            contract=template.contract,
            consent_id=consent_id,
            quality=quality,
            at=at,
            sealed=seal(raw, key=key, about=about, nonce=self._draw(NONCE_BYTES)),
        )
        wrapped = seal(key, key=self._master, about=about_key(template.person_id), nonce=self._draw(NONCE_BYTES))
        with self._changing:
            others = tuple(t for t in self._content.templates if t.person_id != template.person_id)
            keys = {**self._content.keys, template.person_id: wrapped}
            self._rewrite(Content(keys=keys, templates=(*others, sealed)))
        return sealed

    def erase(self, person_id: str) -> bool:
        """Destroy a person's key and templates, and rewrite the store; return whether there was anything.

        Raises:
            StorageUnavailable: the disk did not take the change; it must be asked for again.
        """
        with self._changing:
            if person_id not in self._content.keys and all(t.person_id != person_id for t in self._content.templates):
                return False
            keys = {person: key for person, key in self._content.keys.items() if person != person_id}
            templates = tuple(t for t in self._content.templates if t.person_id != person_id)
            self._rewrite(Content(keys=keys, templates=templates))
            return True

    def sealed(self) -> tuple[Sealed, ...]:
        """Return every sealed template."""
        return self._content.templates

    def open_all(self) -> list[Opened]:
        """Return every template that opens; one that does not is said in the log and never matched."""
        opened = []
        for template in self._content.templates:
            try:
                opened.append(self.open(template))
            except InvalidInput as error:
                log.warning("template %s cannot be used: %s", template.id, error)
        return opened

    def open(self, template: Sealed) -> Opened:
        """Return a template in the clear.

        Raises:
            InvalidInput: it was changed or moved, or its key is gone.
        """
        wrapped = self._content.keys.get(template.person_id)
        if wrapped is None:
            raise InvalidInput("key store", "the person's key was destroyed")
        key = unseal(wrapped, key=self._master, about=about_key(template.person_id))
        about = about_template(template.person_id, template.doors, template.contract)
        raw = unseal(template.sealed, key=key, about=about)
        embedding = np.frombuffer(raw, dtype="<f4").astype(np.float32)
        return Opened(
            person_id=template.person_id, doors=template.doors, contract=template.contract, embedding=embedding
        )

    def seal_file(self, content: bytes, *, about: str) -> bytes:
        """Seal what the edge keeps on disk besides templates, such as its policy."""
        return seal(content, key=self._master, about=f"file\x1f{about}".encode(), nonce=self._draw(NONCE_BYTES))

    def unseal_file(self, sealed: bytes, *, about: str) -> bytes:
        """Return what `seal_file` sealed.

        Raises:
            InvalidInput: it was changed, or the master key is another.
        """
        return unseal(sealed, key=self._master, about=f"file\x1f{about}".encode())

    def _rewrite(self, content: Content) -> None:
        """Write the new store, then overwrite the old file's bytes before letting it go."""
        try:
            self._replace(content)
        except OSError as error:
            raise StorageUnavailable(f"the key store could not be written: {error}") from error

    def _replace(self, content: Content) -> None:
        old = os.open(self._path, os.O_RDWR) if self._path.exists() else None
        try:
            write_private(self._path, msgspec.msgpack.encode(content))
            self._content = content
            if old is not None:
                os.pwrite(old, bytes(os.fstat(old).st_size), 0)
                os.fsync(old)
        finally:
            if old is not None:
                os.close(old)


def _master_key(path: Path, draw: Callable[[int], bytes]) -> bytes:
    if not path.exists():
        write_private(path, draw(KEY_BYTES))
    if path.stat().st_mode & 0o077:
        raise InvalidInput(path.name, "the master key can be read by others: chmod 600")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise InvalidInput(path.name, f"the master key has {len(key)} bytes, not {KEY_BYTES}")
    return key
