"""What keeps the edge's master key: a file that only its user can read, a TPM, or a key from elsewhere that wraps it.

The master key itself is random and never changes: a guard only decides in which form it lies on the disk. A guard
protects a stolen disk, and what was erased from it; nothing here protects a running box that was stolen with its TPM.
It seals nothing else (edge.keystore).
"""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from edge.identity import write_private
from models.errors import InvalidInput
from models.link import Protection
from models.sealing import KEY_BYTES, NONCE_BYTES, seal, unseal

TOOL_S: Final = 20.0
MAX_OUTPUT_BYTES: Final = 4096
PLAIN_FILE: Final = "master.key"
TPM_FILE: Final = "master.tpm"
WRAPPED_FILE: Final = "master.wrapped"
ABOUT: Final = b"gatehouse master key 1"


class Guard(Protocol):
    """Keep one master key of 32 bytes."""

    @property
    def kind(self) -> Protection:
        """What keeps it, as receipts name it."""

    def read(self) -> bytes | None:
        """Return the key, or None if none was kept yet.

        Raises:
            InvalidInput: it cannot be had, with what to do.
        """

    def keep(self, key: bytes) -> None:
        """Keep a key from now on.

        Raises:
            InvalidInput: it could not be kept, with what to do.
        """


class FileGuard:
    """Keep the key in a 0600 file of the data folder: who can read that file can read the templates."""

    kind: Final[Protection] = "file"

    def __init__(self, folder: Path) -> None:
        self._path = folder / PLAIN_FILE

    def read(self) -> bytes | None:
        """Return the key, or None if there is no file.

        Raises:
            InvalidInput: others can read the file, or it is no key.
        """
        return private_key_file(self._path) if self._path.exists() else None

    def keep(self, key: bytes) -> None:
        """Write the file."""
        write_private(self._path, key)


class TpmBlob(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the TPM made of the key: only this TPM can open it."""

    public: bytes
    private: bytes


class TpmGuard:
    """Keep the key sealed by a TPM 2.0 through tpm2-tools; the disk alone opens nothing.

    The sealing key is the primary of the owner hierarchy, made anew each time from the TPM's seed: clearing the TPM
    destroys the key. It is bound to no state of the software (no PCR), so that an update does not lock an edge out.
    """

    kind: Final[Protection] = "tpm"

    def __init__(self, folder: Path, *, tcti: str = "", environment: Mapping[str, str] | None = None) -> None:
        self._path = folder / TPM_FILE
        self._environment = {**(environment or {}), **({"TPM2TOOLS_TCTI": tcti} if tcti else {})}

    def read(self) -> bytes | None:
        """Return the key that the TPM opens, or None if none was sealed.

        Raises:
            InvalidInput: the TPM is away, was cleared, or is another one.
        """
        if not self._path.exists():
            return None
        try:
            blob = msgspec.msgpack.decode(self._path.read_bytes(), type=TpmBlob)
        except msgspec.MsgspecError as error:
            raise InvalidInput(TPM_FILE, f"is damaged: {error}") from error
        with tempfile.TemporaryDirectory(prefix="gatehouse-tpm-") as name:
            folder = Path(name)
            (folder / "key.pub").write_bytes(blob.public)
            (folder / "key.priv").write_bytes(blob.private)
            self._primary(folder)
            self._tool(
                folder, ["tpm2_load", "-Q", "-C", "primary.ctx", "-u", "key.pub", "-r", "key.priv", "-c", "key.ctx"]
            )
            self._flush(folder)
            key = self._tool(folder, ["tpm2_unseal", "-Q", "-c", "key.ctx"])
            self._flush(folder)
        if len(key) != KEY_BYTES:
            raise InvalidInput(TPM_FILE, f"the TPM gave {len(key)} bytes, not {KEY_BYTES}")
        return key

    def keep(self, key: bytes) -> None:
        """Have the TPM seal the key.

        Raises:
            InvalidInput: tpm2-tools or the TPM are away.
        """
        with tempfile.TemporaryDirectory(prefix="gatehouse-tpm-") as name:
            folder = Path(name)
            self._primary(folder)
            made = ["tpm2_create", "-Q", "-C", "primary.ctx", "-i", "-", "-u", "key.pub", "-r", "key.priv"]
            self._tool(folder, made, stdin=key)
            self._flush(folder)
            blob = TpmBlob(public=(folder / "key.pub").read_bytes(), private=(folder / "key.priv").read_bytes())
        write_private(self._path, msgspec.msgpack.encode(blob))

    def _primary(self, folder: Path) -> None:
        self._tool(folder, ["tpm2_createprimary", "-Q", "-C", "o", "-g", "sha256", "-G", "ecc", "-c", "primary.ctx"])
        self._flush(folder)

    def _flush(self, folder: Path) -> None:
        """Free the TPM's few places for loaded objects; contexts are loaded again from their files."""
        self._tool(folder, ["tpm2_flushcontext", "-t"])

    def _tool(self, folder: Path, argv: Sequence[str], *, stdin: bytes = b"") -> bytes:
        environment = {**os.environ, **self._environment}
        return output_of(argv, where="edge.protection", stdin=stdin, folder=folder, environment=environment)


class ExternalGuard:
    """Keep the key wrapped under one that comes from elsewhere: another mount, or a program that asks for it."""

    kind: Final[Protection] = "external"

    def __init__(self, folder: Path, *, outer: Callable[[], bytes], draw: Callable[[int], bytes] = os.urandom) -> None:
        self._path = folder / WRAPPED_FILE
        self._outer = outer
        self._draw = draw

    def read(self) -> bytes | None:
        """Return the unwrapped key, or None if none was wrapped.

        Raises:
            InvalidInput: the outer key is away, or is another one.
        """
        if not self._path.exists():
            return None
        try:
            return unseal(self._path.read_bytes(), key=self._outer(), about=ABOUT)
        except InvalidInput as error:
            if error.where != "sealed bytes":
                raise
            raise InvalidInput(WRAPPED_FILE, "the key from outside does not open it: it is another key") from error

    def keep(self, key: bytes) -> None:
        """Wrap the key under the outer one.

        Raises:
            InvalidInput: the outer key is away.
        """
        write_private(self._path, seal(key, key=self._outer(), about=ABOUT, nonce=self._draw(NONCE_BYTES)))


def open_guard(
    kind: Protection, folder: Path, *, tcti: str = "", key_file: Path | None = None, key_command: Sequence[str] = ()
) -> Guard:
    """Return the guard that the settings name.

    Args:
        kind: which one.
        folder: the edge's data folder.
        tcti: how tpm2-tools reach the TPM; empty is their own choice.
        key_file: a file on another mount that holds the outer key.
        key_command: a program and its arguments that print it.

    Raises:
        InvalidInput: an external key needs a file or a program.
    """
    if kind == "file":
        return FileGuard(folder)
    if kind == "tpm":
        return TpmGuard(folder, tcti=tcti)
    if key_file is not None:
        file = key_file
        return ExternalGuard(folder, outer=lambda: key_from_file(file))
    if key_command:
        return ExternalGuard(folder, outer=lambda: key_from_command(key_command))
    raise InvalidInput("edge.protection", "an external key comes from key_file or key_command: set one")


def master_key(folder: Path, *, guard: Guard, draw: Callable[[int], bytes]) -> bytes:
    """Return the master key of a data folder; made at first use, taken over from a plain file if the guard is new.

    The plain file that is taken over is overwritten and removed. Flash storage may keep copies of it nevertheless.

    Raises:
        InvalidInput: the guard cannot give the key, or another guard keeps it.
    """
    key = guard.read()
    plain = folder / PLAIN_FILE
    if key is None and guard.kind != "file" and plain.exists():
        key = private_key_file(plain)
        guard.keep(key)
    elif key is None:
        for name in {TPM_FILE, WRAPPED_FILE}:
            if (folder / name).exists():
                raise InvalidInput("edge.protection", f"the master key lies in {name}: set the kind that made it, or back up "
                                   "with that kind and restore with this one")  # fmt: skip
        key = draw(KEY_BYTES)
        guard.keep(key)
    if guard.kind != "file" and plain.exists():
        plain.write_bytes(bytes(KEY_BYTES))
        plain.unlink()
    return key


def private_key_file(path: Path) -> bytes:
    """Return the 32 bytes of a key file.

    Raises:
        InvalidInput: it cannot be read, others can read it, or it is no key.
    """
    try:
        mode, key = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise InvalidInput(path.name, f"the key cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise InvalidInput(path.name, "the master key can be read by others: chmod 600")
    if len(key) != KEY_BYTES:
        raise InvalidInput(path.name, f"the master key has {len(key)} bytes, not {KEY_BYTES}")
    return key


def key_from_file(path: Path) -> bytes:
    """Return the outer key of a file on another mount: 32 raw bytes, 64 hexadecimal digits, or their base64.

    Raises:
        InvalidInput: the mount is not there, others can read the file, or it holds no key.
    """
    try:
        mode = path.stat().st_mode
        with path.open("rb") as stream:
            content = stream.read(MAX_OUTPUT_BYTES)
    except OSError as error:
        raise InvalidInput("edge.protection.key_file", f"cannot be read ({error.strerror}): is it mounted?") from error
    if mode & 0o077:
        raise InvalidInput("edge.protection.key_file", "can be read by others: chmod 600")
    return _key_in(content, where="edge.protection.key_file")


def key_from_command(argv: Sequence[str]) -> bytes:
    """Return the outer key that a program prints: 64 hexadecimal digits, or the base64 of 32 bytes.

    Raises:
        InvalidInput: the program is not there, failed, took too long, or printed no key.
    """
    where = "edge.protection.key_command"
    return _key_in(output_of(argv, where=where), where=where)


def _key_in(content: bytes, *, where: str) -> bytes:
    if len(content) == KEY_BYTES:
        return content
    text = content.strip()
    try:
        key = (
            bytes.fromhex(text.decode("ascii")) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
        )
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(where, "gives no key: 64 hexadecimal digits, or 32 bytes in base64") from error
    if len(key) != KEY_BYTES:
        raise InvalidInput(where, f"gives {len(key)} bytes: a key has {KEY_BYTES}")
    return key


def output_of(
    argv: Sequence[str],
    *,
    where: str,
    stdin: bytes = b"",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program that was named in the settings and return what it printed; what it complained about is not a secret.

    Raises:
        InvalidInput: it is not there, failed, took too long or printed too much.
    """
    try:
        done = subprocess.run(
            list(argv), input=stdin, capture_output=True, timeout=TOOL_S, check=False, cwd=folder, env=environment
        )
    except FileNotFoundError as error:
        raise InvalidInput(where, f"the program {argv[0]!r} is not installed") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidInput(where, f"the program {argv[0]!r} did not run: {type(error).__name__}") from error
    if done.returncode != 0 or len(done.stdout) > MAX_OUTPUT_BYTES:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        raise InvalidInput(where, f"the program {argv[0]!r} failed ({done.returncode}): {said[0][:200]}")
    return done.stdout
