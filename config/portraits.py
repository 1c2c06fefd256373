"""Fetch the public photographs that the demo, the self-test and the tests show to cameras.

They come out of the source distribution of face-recognition, through pip, once, each checked by its digest; no
picture is part of this repository. `python -m config.portraits [FOLDER]` fetches them from the command line.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Final

from models.errors import GatehouseError, InvalidInput

DISTRIBUTION: Final = "face-recognition==1.3.0"
FOLDER: Final = Path(__file__).resolve().parents[1] / ".cache" / "portraits"
DIGESTS: Final = {
    "biden.jpg": "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
    "obama.jpg": "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
    "obama2.jpg": "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
    "obama3.jpg": "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
    "obama_partial_face.jpg": "c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117",
    "obama_partial_face2.jpg": "9a812347f97633542b8cd9992de22def11b74f79d82056bc3ee830f13878e028",
}
MAX_ARCHIVE_BYTES: Final = 32 * 1024 * 1024
MAX_PICTURE_BYTES: Final = 4 * 1024 * 1024
FETCH_S: Final = 180.0


def portraits(folder: Path = FOLDER, *, timeout_s: float = FETCH_S) -> dict[str, Path]:
    """Return the portraits by name (`obama.jpg`, …), fetched into `folder` unless they are there and intact.

    Raises:
        GatehouseError: pip could not fetch them; the message holds the end of what it said.
        InvalidInput: What it fetched holds other pictures.
    """
    paths = {name: folder / name for name in DIGESTS}
    if not all(_intact(path) for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as download:
            unpack(_fetched(Path(download), timeout_s), folder)
    return paths


def _intact(path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == DIGESTS[path.name]


def _fetched(folder: Path, timeout_s: float) -> Path:
    """Let pip download the source distribution; nothing of it is installed."""
    ask = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    ask += ["--no-build-isolation", "--no-binary", ":all:", "--dest", str(folder), DISTRIBUTION]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise GatehouseError(f"pip did not fetch {DISTRIBUTION} within {timeout_s:.0f} s") from error
    archives = sorted(folder.glob("*.tar.gz"))
    if answer.returncode != 0 or not archives:
        raise GatehouseError(f"pip could not fetch {DISTRIBUTION}: {answer.stderr.strip()[-400:]}")
    return archives[0]


def unpack(archive: Path, folder: Path) -> None:
    """Take the portraits, and nothing else, out of the source distribution.

    Raises:
        InvalidInput: The archive is too large or broken, or a picture is missing or another one.
    """
    if archive.stat().st_size > MAX_ARCHIVE_BYTES:
        raise InvalidInput(archive.name, f"more than {MAX_ARCHIVE_BYTES} bytes")
    try:
        with tarfile.open(archive, "r:gz") as members:
            found = {Path(member.name).name: member for member in members if member.isfile()}
            for name in DIGESTS:
                _take(members.extractfile(found[name]) if name in found else None, folder / name)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InvalidInput(archive.name, f"not a readable archive: {error}") from error


def _take(source: IO[bytes] | None, target: Path) -> None:
    content = source.read(MAX_PICTURE_BYTES) if source is not None else b""
    if hashlib.sha256(content).hexdigest() != DIGESTS[target.name]:
        raise InvalidInput(target.name, f"is not the picture that {DISTRIBUTION} holds")
    partial = target.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(target)


if __name__ == "__main__":
    portraits(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
