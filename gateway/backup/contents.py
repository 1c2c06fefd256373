"""What a backup file holds, and how its parts are written and read: a gzip-compressed tar in an age file.

In this order: `backup.json`, `beside/…` (keys and the tombstones' log), `tables/…` (JSON lines in pieces), `media/…`, and
`manifest.json`, which counts all of it. Whoever reads checks every part against the manifest. Knows no database.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import BinaryIO, Protocol, Self

import msgspec

from gateway.store.whole import Digest
from models.errors import InvalidInput

FORMAT = 1
HEADER, MANIFEST = "backup.json", "manifest.json"
PIECE_BYTES = 4 * 1024 * 1024
PIECE_LIMIT_BYTES = 256 * 1024 * 1024
"""The largest part that is read into memory: a row may hold a long report of an import."""
BESIDE_LIMIT_BYTES = 64 * 1024 * 1024
PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}){0,4}")


class Readable(Protocol):
    """What can be read piece by piece."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to so many bytes, none at the end."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Say who wrote a backup and when, before anything else is read."""

    format: int
    version: str
    revision: str
    at: datetime


class TableCount(msgspec.Struct, frozen=True, kw_only=True):
    """Count a table's rows, with the sum of their digests."""

    name: str
    rows: int
    digest: str


class FileCount(msgspec.Struct, frozen=True, kw_only=True):
    """Name a file with its size and SHA-256."""

    name: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a backup holds."""

    header: Header
    tables: tuple[TableCount, ...]
    beside: tuple[FileCount, ...] = ()
    media: tuple[FileCount, ...] = ()
    left_out: tuple[str, ...] = ()

    def rows(self) -> int:
        """Return how many rows there are in all."""
        return sum(table.rows for table in self.tables)


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """A small file that is kept beside the database."""

    name: str
    content: bytes


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a table."""

    table: str
    lines: list[bytes]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the media folder; its stream must be read before the next part is asked for."""

    name: str
    size_bytes: int
    stream: Readable


Part = Header | Beside | Rows | Picture | Manifest


class Writer:
    """Write the parts of a backup and count them; a block that ends with an error leaves no end to read up to."""

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        self._packed = gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=5, mtime=0)
        self._tar = tarfile.TarFile(fileobj=self._packed, mode="w")
        self._header = header
        self._tables: list[TableCount] = []
        self._beside: list[FileCount] = []
        self._media: list[FileCount] = []
        self._add(HEADER, msgspec.json.encode(header))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            self._packed.fileobj = None  # type: ignore[assignment] # nothing is to be written once our stream is gone

    def _add(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o600
        self._tar.addfile(entry, io.BytesIO(content))

    def beside(self, name: str, content: bytes) -> None:
        """Add a small file."""
        self._add(f"beside/{name}", content)
        self._beside.append(_counted(name, content))

    def table(self, name: str, lines: Iterable[bytes]) -> int:
        """Add a table, in pieces that fit into memory, and return how many rows it has."""
        digest, number, piece, size = Digest(), 0, list[bytes](), 0
        for line in lines:
            digest.add(line)
            piece.append(line)
            size += len(line)
            if size >= PIECE_BYTES:
                self._add(f"tables/{name}/{number:06}.jsonl", b"".join(piece))
                number, piece, size = number + 1, [], 0
        self._add(f"tables/{name}/{number:06}.jsonl", b"".join(piece))
        self._tables.append(TableCount(name=name, rows=digest.rows, digest=digest.hex()))
        return digest.rows

    def picture(self, name: str, stream: Readable, *, size_bytes: int) -> None:
        """Add a file of the media folder.

        Raises:
            InvalidInput: it is shorter than it was said to be.
        """
        entry = tarfile.TarInfo(f"media/{name}")
        entry.size, entry.mode = size_bytes, 0o600
        watched = _Watched(stream)
        try:
            self._tar.addfile(entry, watched)
        except OSError as error:
            if watched.read_bytes == size_bytes:
                raise
            raise InvalidInput(name, "the file changed while it was read") from error
        self._media.append(FileCount(name=name, size_bytes=size_bytes, sha256=watched.sha256()))

    def close(self, *, left_out: Iterable[str]) -> Manifest:
        """End with the manifest and return it."""
        manifest = Manifest(
            header=self._header, tables=tuple(self._tables), beside=tuple(self._beside), media=tuple(self._media),
            left_out=tuple(sorted(left_out)),
        )  # fmt: skip
        self._add(MANIFEST, msgspec.json.encode(manifest))
        self._tar.close()
        self._packed.close()
        return manifest


class _Watched:
    """Read another stream and sum up what was read."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.read_bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return what the other stream returns."""
        content = self._stream.read(size)
        self._digest.update(content)
        self.read_bytes += len(content)
        return content

    def sha256(self) -> str:
        """Return the SHA-256 of what was read."""
        return self._digest.hexdigest()


def _counted(name: str, content: bytes) -> FileCount:
    return FileCount(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def parts(stream: BinaryIO) -> Iterator[Part]:
    """Yield the parts of a backup; the manifest comes last and is yielded only if everything before agrees with it.

    Raises:
        InvalidInput: this is no backup, it is of an unknown format, or it was damaged or cut off.
    """
    with damage_told(), gzip.GzipFile(fileobj=stream, mode="rb") as packed:
        with tarfile.open(fileobj=packed, mode="r|") as tar:
            yield from _checked(tar)
        while packed.read(1 << 16):
            pass  # to the checksum at the end


@contextmanager
def damage_told() -> Iterator[None]:
    """Tell what a damaged file does to its readers as one error, for who reads a stream of the backup.

    Raises:
        InvalidInput: instead of any of them.
    """
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, msgspec.DecodeError) as error:
        raise InvalidInput("backup", f"this is no backup, or it is damaged: {error}") from error


def _checked(tar: tarfile.TarFile) -> Iterator[Part]:
    tables: dict[str, Digest] = {}
    beside: list[FileCount] = []
    media: list[FileCount] = []
    header: Header | None = None
    for entry in tar:
        kind, _, name = entry.name.partition("/")
        if not entry.isreg() or not PATH.fullmatch(entry.name) or (header is None) != (entry.name == HEADER):
            raise InvalidInput("backup", f"holds {entry.name[:100]!r} where nothing like it belongs")
        if kind == HEADER:
            header = _header_in(_content(tar, entry, limit=BESIDE_LIMIT_BYTES))
            yield header
        elif kind == "beside":
            content = _content(tar, entry, limit=BESIDE_LIMIT_BYTES)
            beside.append(_counted(name, content))
            yield Beside(name=name, content=content)
        elif kind == "tables":
            table, lines = name.partition("/")[0], _content(tar, entry, limit=PIECE_LIMIT_BYTES).splitlines(True)
            digest = tables.setdefault(table, Digest())
            for line in lines:
                digest.add(line)
            yield Rows(table=table, lines=lines)
        elif kind == "media":
            watched = _Watched(_stream(tar, entry))
            yield Picture(name=name, size_bytes=entry.size, stream=watched)
            while watched.read(1 << 16):
                pass  # whoever asked may have read less
            media.append(FileCount(name=name, size_bytes=watched.read_bytes, sha256=watched.sha256()))
        elif kind == MANIFEST:
            counted = tuple(TableCount(name=n, rows=d.rows, digest=d.hex()) for n, d in tables.items())
            yield _agreeing(
                msgspec.json.decode(_content(tar, entry, limit=PIECE_LIMIT_BYTES), type=Manifest),
                Manifest(header=header or _no_header(), tables=counted, beside=tuple(beside), media=tuple(media)),
            )
            return
    raise InvalidInput("backup", "ends before its manifest: it was cut off")


def _stream(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Readable:
    stream = tar.extractfile(entry)
    if stream is None:
        raise InvalidInput("backup", f"{entry.name!r} is no file")
    return stream


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo, *, limit: int) -> bytes:
    if entry.size > limit:
        raise InvalidInput("backup", f"{entry.name!r} has {entry.size} bytes, more than {limit}")
    return _stream(tar, entry).read()


def _header_in(content: bytes) -> Header:
    header = msgspec.json.decode(content, type=Header)
    if header.format != FORMAT:
        what = f"is of format {header.format}, and this version reads format {FORMAT}: use the version that wrote it"
        raise InvalidInput("backup", f"{what} ({header.version})")
    return header


def _no_header() -> Header:
    raise InvalidInput("backup", "does not begin with its header")


def _agreeing(told: Manifest, found: Manifest) -> Manifest:
    """Return the manifest if the backup holds exactly what it says."""
    if told.header != found.header:
        raise InvalidInput("backup", "its manifest belongs to another backup")
    for what in ("tables", "beside", "media"):
        wanted = {one.name: one for one in getattr(told, what)}
        present = {one.name: one for one in getattr(found, what)}
        wrong = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
        if wrong:
            raise InvalidInput("backup", f"{what} are not what the manifest says: {', '.join(wrong[:5])}")
    return told
