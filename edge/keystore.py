"""Templates and their keys, on this edge only: one file, rewritten as a whole, so that what is erased is gone from it.

Each person has a random key, wrapped by the master key (edge.protection); a template opens only for the person, doors
and model it was made for (models.sealing). The store remembers whom it erased, so that nobody comes back by a copy. It
matches nobody (edge.attention), asks for no consent (edge.enrolment) and decides not what must go (edge.erasing).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.identity import write_private
from edge.protection import FileGuard, Guard, master_key
from edge.templates import Plain, Sealed, check_alike, joins
from models.errors import InvalidInput, StorageUnavailable
from models.link import PICTURES_MOST
from models.sealing import KEY_BYTES, NONCE_BYTES, about_key, about_template, seal, unseal

log = logging.getLogger("gatehouse.edge.keystore")

Embedding = NDArray[np.float32]


class Opened(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Hold one template in memory, ready to be matched."""

    person_id: str
    doors: tuple[str, ...]
    contract: str
    embedding: Embedding


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """Remember an erasure: of how many templates of whom, and when. It is what a receipt is made from."""

    id: str
    person_id: str
    templates: int
    at: datetime


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the file holds."""

    version: int = 2
    keys: dict[str, bytes] = msgspec.field(default_factory=dict)
    templates: tuple[Sealed, ...] = ()
    erased: tuple[Erased, ...] = ()
    tombstones: dict[str, datetime] = msgspec.field(default_factory=dict)
    """Persons who were erased for good, and since when this edge knows it."""
    leaving: dict[str, datetime] = msgspec.field(default_factory=dict)
    """Persons whose doors are another edge's now, and since when."""
    restored_at: datetime | None = None
    """When this store was restored, until a policy from after that has been applied to it."""


FILE: Final = "keystore.bin"
KEEP_RECORDS: Final = timedelta(days=400)
"""How long it is remembered whom this edge erased: longer than any backup should live."""
MAX_RECORDS: Final = 20_000

_content = msgspec.msgpack.Decoder(Content)


class KeyStore:
    """Keep sealed templates. Its calls are short and block; threads may make them side by side."""

    def __init__(self, folder: Path, *, guard: Guard | None = None, draw: Callable[[int], bytes] = os.urandom) -> None:
        """Open the store of this edge, or begin one.

        Raises:
            InvalidInput: a file is damaged, or the master key cannot be had.
        """
        guard = guard or FileGuard(folder)
        self.protection = guard.kind
        """What keeps the master key."""
        self._path = folder / FILE
        self._draw = draw
        self._changing = threading.Lock()
        self._master = master_key(folder, guard=guard, draw=draw)
        self._content = Content()
        if self._path.exists():
            try:
                self._content = _content.decode(self._path.read_bytes())
            except msgspec.MsgspecError as error:
                raise InvalidInput(self._path.name, f"the key store cannot be read: {error}") from error

    def put(self, template: Opened, *, consent_id: str, quality: float, at: datetime) -> Sealed:
        """Seal a person's template under a new key; it replaces what there was of this person.

        Raises:
            InvalidInput: this person was erased.
            StorageUnavailable: the disk did not take it; the store is as it was.
        """
        raw = np.ascontiguousarray(template.embedding, dtype="<f4").tobytes()
        plain = Plain(
            person_id=template.person_id, doors=template.doors, contract=template.contract, consent_id=consent_id,
            quality=quality, at=at, embedding=raw,
        )  # fmt: skip
        return self.put_all([plain])[0]

    def put_all(self, templates: Sequence[Plain]) -> tuple[Sealed, ...]:
        """Seal templates in one change, each person's under one new key; they replace what there was of these persons.

        Raises:
            InvalidInput: one of the persons was erased, or has too many, or made under several consents or models.
            StorageUnavailable: the disk did not take them; the store is as it was.
        """
        whose = check_alike(templates)
        with self._changing:
            before = self._content
            _check_alive(whose, before)
            fresh = {person: self._draw(KEY_BYTES) for person in sorted(whose)}
            sealed = tuple(self._seal(plain, key=fresh[plain.person_id]) for plain in templates)
            others = tuple(t for t in before.templates if t.person_id not in whose)
            keys = {**before.keys, **{person: self._wrap(key, person) for person, key in fresh.items()}}
            leaving = {person: at for person, at in before.leaving.items() if person not in whose}
            self._rewrite(_with(before, keys=keys, templates=(*others, *sealed), leaving=leaving))
        return sealed

    def add(self, plain: Plain) -> Sealed:
        """Seal one more template of a person, under the person's key; what another consent or model made goes.

        Raises:
            InvalidInput: this person was erased, has the most already, or the person's key does not open.
            StorageUnavailable: the disk did not take it; the store is as it was.
        """
        person = plain.person_id
        with self._changing:
            before = self._content
            _check_alive({person}, before)
            kept = tuple(one for one in before.templates if one.person_id != person or joins(one, plain))
            if sum(1 for one in kept if one.person_id == person) >= PICTURES_MOST:
                raise InvalidInput("person_id", f"there are {PICTURES_MOST} templates already: enrol anew")
            held = before.keys.get(person)
            key = self._draw(KEY_BYTES) if held is None else self._unwrap(held, person)
            keys = before.keys if held is not None else {**before.keys, person: self._wrap(key, person)}
            sealed = self._seal(plain, key=key)
            leaving = {who: at for who, at in before.leaving.items() if who != person}
            self._rewrite(_with(before, keys=keys, templates=(*kept, sealed), leaving=leaving))
        return sealed

    def _seal(self, plain: Plain, *, key: bytes) -> Sealed:
        about = about_template(plain.person_id, plain.doors, plain.contract)
        return Sealed(
            id=self._draw(16).hex(), person_id=plain.person_id, doors=plain.doors, contract=plain.contract,
            consent_id=plain.consent_id, quality=plain.quality, at=plain.at,
            sealed=seal(plain.embedding, key=key, about=about, nonce=self._draw(NONCE_BYTES)),
        )  # fmt: skip

    def _wrap(self, key: bytes, person_id: str) -> bytes:
        return seal(key, key=self._master, about=about_key(person_id), nonce=self._draw(NONCE_BYTES))

    def _unwrap(self, wrapped: bytes, person_id: str) -> bytes:
        return unseal(wrapped, key=self._master, about=about_key(person_id))

    def erase(self, person_id: str, *, at: datetime) -> Erased | None:
        """Destroy a person's key and templates, and rewrite the store; return None if there was nothing.

        Raises:
            StorageUnavailable: the disk did not take the change; it must be asked for again.
        """
        return next(iter(self.erase_all([person_id], at=at)), None)

    def erase_all(self, people: Iterable[str], *, at: datetime, tombstones: Iterable[str] = ()) -> tuple[Erased, ...]:
        """Destroy the keys and templates of people in one change, and remember who was erased for good.

        Raises:
            StorageUnavailable: the disk did not take the change; it must be asked for again.
        """
        buried = frozenset(tombstones)
        with self._changing:
            before = self._content
            held = {template.person_id for template in before.templates} | before.keys.keys()
            gone = held & (frozenset(people) | buried)
            news = buried - before.tombstones.keys()
            if not gone and not news:
                return ()
            erased = tuple(self._erasure(person_id, at=at) for person_id in sorted(gone))
            kept = {person: since for person, since in before.tombstones.items() if at - since < KEEP_RECORDS}
            records = tuple(one for one in before.erased if at - one.at < KEEP_RECORDS)
            self._rewrite(
                _with(
                    before,
                    keys={person: key for person, key in before.keys.items() if person not in gone},
                    templates=tuple(t for t in before.templates if t.person_id not in gone),
                    erased=(*records, *erased)[-MAX_RECORDS:],
                    tombstones={**kept, **dict.fromkeys(sorted(news), at)},
                    leaving={person: since for person, since in before.leaving.items() if person not in gone},
                )
            )
            return erased

    def _erasure(self, person_id: str, *, at: datetime) -> Erased:
        count = sum(1 for template in self._content.templates if template.person_id == person_id)
        return Erased(id=self._draw(16).hex(), person_id=person_id, templates=count, at=at)

    def erasure_of(self, person_id: str) -> Erased | None:
        """Return the last erasure of a person's templates here, if none of them came since."""
        if any(template.person_id == person_id for template in self._content.templates):
            return None
        return next((one for one in reversed(self._content.erased) if one.person_id == person_id), None)

    @property
    def tombstones(self) -> frozenset[str]:
        """The persons who were erased for good."""
        return frozenset(self._content.tombstones)

    @property
    def leaving(self) -> dict[str, datetime]:
        """The persons whose doors are another edge's now, and since when."""
        return dict(self._content.leaving)

    def note_leaving(self, leaving: dict[str, datetime]) -> None:
        """Remember whose doors are another edge's now.

        Raises:
            StorageUnavailable: the disk did not take it.
        """
        with self._changing:
            if leaving != self._content.leaving:
                self._rewrite(_with(self._content, leaving=leaving))

    @property
    def restored_at(self) -> datetime | None:
        """When this store was restored from a backup, until `settle`."""
        return self._content.restored_at

    def settle(self) -> None:
        """Say that a policy from after the restore was applied: what is held may be matched again.

        Raises:
            StorageUnavailable: the disk did not take it.
        """
        with self._changing:
            if self._content.restored_at is not None:
                self._rewrite(_with(self._content, restored_at=None))

    def restore(self, templates: Sequence[Plain], *, tombstones: Iterable[str], at: datetime) -> int:
        """Fill an empty store from a backup, but for who was erased; nothing is matched until `settle`.

        Raises:
            InvalidInput: the store holds somebody, so it is no place for a restore.
            StorageUnavailable: the disk did not take it; the store is as it was.
        """
        with self._changing:
            before = self._content
            if before.templates:
                raise InvalidInput(FILE, "this edge holds templates: restore into an empty data folder")
            buried = {**dict.fromkeys(sorted(tombstones), at), **before.tombstones}
            back = [plain for plain in templates if plain.person_id not in buried]
            fresh = {person: self._draw(KEY_BYTES) for person in sorted({plain.person_id for plain in back})}
            keys = {person: self._wrap(key, person) for person, key in fresh.items()}
            sealed = tuple(self._seal(plain, key=fresh[plain.person_id]) for plain in back)
            self._rewrite(_with(before, keys=keys, templates=sealed, tombstones=buried, restored_at=at))
        return len(sealed)

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

    def plain(self, template: Sealed) -> Plain:
        """Return a template in the clear with all that is known about it, to travel in a sealed envelope.

        Raises:
            InvalidInput: it was changed or moved, or its key is gone.
        """
        embedding = np.ascontiguousarray(self.open(template).embedding, dtype="<f4").tobytes()
        return Plain(
            person_id=template.person_id, doors=template.doors, contract=template.contract,
            consent_id=template.consent_id, quality=template.quality, at=template.at, embedding=embedding,
        )  # fmt: skip

    def open(self, template: Sealed) -> Opened:
        """Return a template in the clear.

        Raises:
            InvalidInput: it was changed or moved, or its key is gone.
        """
        wrapped = self._content.keys.get(template.person_id)
        if wrapped is None:
            raise InvalidInput("key store", "the person's key was destroyed")
        key = self._unwrap(wrapped, template.person_id)
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

    def secret(self, path: Path, *, make: Callable[[], bytes]) -> bytes:
        """Return the 32 secret bytes of a file beside the store, made at first use.

        Where a TPM or an outer key guards the master key, the file is sealed under it: a stolen disk is not this edge.

        Raises:
            InvalidInput: others can read the file, or it does not open.
        """
        if not path.exists():
            self.keep_secret(path, make())
        if path.stat().st_mode & 0o077:
            raise InvalidInput(path.name, "the edge's key can be read by others: chmod 600")
        content = path.read_bytes()
        if len(content) != KEY_BYTES:
            return self.unseal_file(content, about=path.name)
        if self.protection != "file":
            self.keep_secret(path, content)
        return content

    def keep_secret(self, path: Path, content: bytes) -> None:
        """Write a file that `secret` reads."""
        write_private(path, content if self.protection == "file" else self.seal_file(content, about=path.name))

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


def _check_alive(people: Iterable[str], content: Content) -> None:
    if not content.tombstones.keys().isdisjoint(people):
        raise InvalidInput("person_id", "this person was erased here: enrol under a new id")


def _with(content: Content, **changes: object) -> Content:
    return msgspec.structs.replace(content, **changes)
