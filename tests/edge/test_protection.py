"""What keeps the master key: a file, a TPM (Debian's swtpm), or a key from elsewhere; a stolen disk opens nothing (R25)."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.keystore import KeyStore, Opened
from edge.protection import (
    ExternalGuard,
    FileGuard,
    Guard,
    TpmGuard,
    key_from_command,
    key_from_file,
    master_key,
    open_guard,
    output_of,
)
from models.errors import InvalidInput
from tests.edge.doubles import now

OUTER = bytes(range(32))


@pytest.fixture
def tpm() -> Iterator[str]:
    """Run a software TPM; yield how tpm2-tools reach it."""
    folder = Path(tempfile.mkdtemp(prefix="gh-tpm-"))
    socket = folder / "tpm.sock"
    argv = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--server", f"type=unixio,path={socket}"]
    argv += ["--ctrl", f"type=unixio,path={socket}.ctrl", "--flags", "not-need-init,startup-clear"]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not socket.exists():
        assert child.poll() is None, "the software TPM ended"
        assert time.monotonic() < deadline, "the software TPM did not start"
    try:
        yield f"swtpm:path={socket}"
    finally:
        child.terminate()
        child.wait(10)
        shutil.rmtree(folder)


def enrol(store: KeyStore) -> None:
    face = np.linspace(-1, 1, 128, dtype=np.float32)
    store.put(
        Opened(person_id="p1", doors=("d1",), contract="m", embedding=face), consent_id="c", quality=1.0, at=now()
    )


def external(folder: Path, key: bytes = OUTER) -> ExternalGuard:
    return ExternalGuard(folder, outer=lambda: key)


@pytest.mark.needs("swtpm")
def test_a_tpm_keeps_the_key_and_another_tpm_does_not_open_it(tmp_path: Path, tpm: str) -> None:
    store = KeyStore(tmp_path, guard=TpmGuard(tmp_path, tcti=tpm))
    enrol(store)
    assert store.protection == "tpm"
    assert not (tmp_path / "master.key").exists()
    assert len(KeyStore(tmp_path, guard=TpmGuard(tmp_path, tcti=tpm)).open_all()) == 1
    blob = tmp_path / "master.tpm"
    blob.write_bytes(blob.read_bytes()[:-2] + b"!!")
    with pytest.raises(InvalidInput):
        KeyStore(tmp_path, guard=TpmGuard(tmp_path, tcti=tpm))
    blob.write_bytes(b"nonsense")
    with pytest.raises(InvalidInput, match="damaged"):
        KeyStore(tmp_path, guard=TpmGuard(tmp_path, tcti=tpm))


@pytest.mark.needs("swtpm")
def test_many_starts_do_not_fill_the_tpm(tmp_path: Path, tpm: str) -> None:
    guard = TpmGuard(tmp_path, tcti=tpm)
    guard.keep(OUTER)
    assert [guard.read() for _ in range(5)] == [OUTER] * 5


@pytest.mark.needs("swtpm")
def test_a_stolen_disk_without_its_tpm_opens_nothing(tmp_path: Path, tpm: str) -> None:
    enrol(KeyStore(tmp_path, guard=TpmGuard(tmp_path, tcti=tpm)))
    with pytest.raises(InvalidInput):
        KeyStore(tmp_path, guard=TpmGuard(tmp_path, tcti="swtpm:path=/nowhere/tpm.sock"))
    with pytest.raises(InvalidInput, match="set the kind that made it"):
        KeyStore(tmp_path)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert np.linspace(-1, 1, 128, dtype=np.float32).tobytes()[:16] not in content


def test_an_outer_key_wraps_the_master_key_and_another_one_does_not_open_it(tmp_path: Path) -> None:
    enrol(KeyStore(tmp_path, guard=external(tmp_path)))
    assert len(KeyStore(tmp_path, guard=external(tmp_path)).open_all()) == 1
    with pytest.raises(InvalidInput, match="another key"):
        KeyStore(tmp_path, guard=external(tmp_path, b"x" * 32))
    with pytest.raises(InvalidInput, match="set the kind that made it"):
        KeyStore(tmp_path)

    def away() -> bytes:
        raise InvalidInput("edge.protection.key_file", "is it mounted?")

    with pytest.raises(InvalidInput, match="mounted"):
        KeyStore(tmp_path, guard=ExternalGuard(tmp_path, outer=away))


def test_a_plain_key_is_taken_over_and_its_file_goes(tmp_path: Path) -> None:
    enrol(KeyStore(tmp_path))
    key = (tmp_path / "master.key").read_bytes()
    with (tmp_path / "master.key").open("rb") as old:
        store = KeyStore(tmp_path, guard=external(tmp_path))
        assert old.read() == bytes(32), "its bytes are overwritten"
    assert len(store.open_all()) == 1
    assert not (tmp_path / "master.key").exists()
    assert key not in (tmp_path / "master.wrapped").read_bytes()


@pytest.mark.parametrize(
    "content", [OUTER, OUTER.hex().encode(), OUTER.hex().upper().encode() + b"\n", base64.b64encode(OUTER) + b"\n"]
)
def test_an_outer_key_may_be_raw_hexadecimal_or_base64(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "outer"
    file.write_bytes(content)
    file.chmod(0o600)
    assert key_from_file(file) == OUTER
    file.chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod"):
        key_from_file(file)


@pytest.mark.parametrize("content", [b"", b"short", b"z" * 64, base64.b64encode(b"x" * 31), "schl\u00fcssel".encode()])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "outer"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(InvalidInput):
        key_from_file(file)
    with pytest.raises(InvalidInput):
        key_from_file(tmp_path / "missing")


def test_a_program_gives_the_key_or_says_why_not(tmp_path: Path) -> None:
    python = sys.executable
    assert key_from_command([python, "-c", f"print('{OUTER.hex()}')"]) == OUTER
    with pytest.raises(InvalidInput, match="no token inserted"):
        key_from_command([python, "-c", "import sys; sys.exit('no token inserted')"])
    with pytest.raises(InvalidInput, match="not installed"):
        key_from_command([str(tmp_path / "none")])
    with pytest.raises(InvalidInput, match="failed"):
        key_from_command([python, "-c", "print('x' * 10000)"])
    with pytest.raises(InvalidInput, match="did not run"):
        output_of([str(tmp_path)], where="here")


def test_the_settings_choose_the_guard(tmp_path: Path) -> None:
    file = tmp_path / "outer"
    file.write_bytes(OUTER)
    file.chmod(0o600)
    made: list[Guard] = [
        open_guard("file", tmp_path),
        open_guard("tpm", tmp_path, tcti="swtpm"),
        open_guard("external", tmp_path, key_file=file),
        open_guard("external", tmp_path, key_command=(sys.executable, "-c", f"print('{OUTER.hex()}')")),
    ]
    assert [guard.kind for guard in made] == ["file", "tpm", "external", "external"]
    made[2].keep(b"m" * 32)
    assert made[3].read() == b"m" * 32
    with pytest.raises(InvalidInput):
        open_guard("external", tmp_path)


def test_a_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    first = master_key(tmp_path, guard=FileGuard(tmp_path), draw=os.urandom)
    assert master_key(tmp_path, guard=FileGuard(tmp_path), draw=os.urandom) == first
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600
