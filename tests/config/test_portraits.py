"""The portraits come out of an archive that anybody could have made: only the right pictures are taken."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from config.portraits import DIGESTS, MAX_ARCHIVE_BYTES, portraits, unpack
from models.errors import InvalidInput


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as members:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return path


def test_portraits_that_are_there_are_not_fetched_again() -> None:
    first = portraits()
    stamps = {name: path.stat().st_mtime_ns for name, path in first.items()}

    assert set(first) == set(DIGESTS)
    assert {name: path.stat().st_mtime_ns for name, path in portraits().items()} == stamps


def test_the_pictures_are_taken_out_of_the_archive_and_nothing_else(tmp_path: Path) -> None:
    files = {f"face/tests/{name}": path.read_bytes() for name, path in portraits().items()}
    out = tmp_path / "out"
    out.mkdir()
    unpack(archive(tmp_path / "a.tar.gz", {**files, "../evil.jpg": b"x", "face/setup.py": b"x"}), out)

    assert {path.name for path in out.iterdir()} == set(DIGESTS)
    assert not (tmp_path / "evil.jpg").exists()


@pytest.mark.parametrize("files", [{}, {f"face/{name}": b"another picture" for name in DIGESTS}])
def test_other_pictures_are_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(InvalidInput, match="is not the picture"):
        unpack(archive(tmp_path / "a.tar.gz", files), tmp_path)


def test_a_broken_or_huge_archive_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"no archive")
    with pytest.raises(InvalidInput, match="not a readable archive"):
        unpack(broken, tmp_path)
    with broken.open("wb") as file:
        file.truncate(MAX_ARCHIVE_BYTES + 1)
    with pytest.raises(InvalidInput, match="more than"):
        unpack(broken, tmp_path)
