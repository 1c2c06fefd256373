"""A folder of labelled photos is read within bounds, and what does not belong there is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.labelled import labelled
from models.errors import InvalidInput

JPEG = b"\xff\xd8\xff\xe0 not really"


def fill(folder: Path, **people: dict[str, bytes]) -> Path:
    for person, files in people.items():
        (folder / person).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / person / name).write_bytes(content)
    return folder


def test_sub_folders_are_persons_and_their_pictures_come_in_order(tmp_path: Path) -> None:
    fill(tmp_path, b={"2.JPG": JPEG + b"3"}, a={"2.png": JPEG + b"2", "1.jpeg": JPEG + b"1"})
    found = labelled(tmp_path)
    assert [(one.person, one.path.name) for one in found.pictures] == [("a", "1.jpeg"), ("a", "2.png"), ("b", "2.JPG")]
    assert found.warnings == ()


def test_what_does_not_belong_there_is_left_out_and_told(tmp_path: Path) -> None:
    fill(tmp_path, a={"1.jpg": JPEG, "notes.txt": b"x", ".hidden.jpg": JPEG}, b={"1.jpg": JPEG + b"b"})
    (tmp_path / "loose.jpg").write_bytes(JPEG)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "link.jpg").symlink_to(tmp_path / "b" / "1.jpg")
    (tmp_path / "a" / "more").mkdir()
    (tmp_path / ".git").mkdir()
    found = labelled(tmp_path)
    assert [(one.person, one.path.name) for one in found.pictures] == [("a", "1.jpg"), ("b", "1.jpg")]
    assert sorted(found.warnings) == [
        "left out: 1 file that is neither JPEG nor PNG: a/notes.txt",
        "left out: 1 folder within a person's folder: a/more",
        "left out: 1 photo lies in the folder itself: put each person's into a sub-folder",
        "left out: 2 links, which lead elsewhere: a/link.jpg, link",
    ]


def test_a_picture_of_two_persons_is_nobodys_and_a_repetition_counts_once(tmp_path: Path) -> None:
    shared, own = JPEG + b"shared", JPEG + b"own"
    fill(
        tmp_path, a={"1.jpg": shared, "2.jpg": own, "3.jpg": own}, b={"1.jpg": shared, "2.jpg": JPEG + b"b"}
    )  # fmt: skip
    found = labelled(tmp_path)
    assert [(one.person, one.path.name) for one in found.pictures] == [("a", "2.jpg"), ("b", "2.jpg")]
    assert set(found.warnings) == {
        "left out: 2 pictures that stand in the folders of several persons: a/1.jpg, b/1.jpg",
        "left out: 1 repetition of a picture of the same person: a/3.jpg",
    }


def test_a_folder_without_two_persons_is_refused_with_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path / "one", a={"1.jpg": JPEG})
    fill(tmp_path / "same", a={"1.jpg": JPEG}, b={"1.jpg": JPEG})
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name, what in (("one", "1 person:"), ("same", "0 persons"), ("empty", "0 persons"), ("file", "is no folder"),
                       ("none", "is no folder")):  # fmt: skip
        with pytest.raises(InvalidInput, match=what):
            labelled(tmp_path / name)


def test_folders_that_give_no_person_are_named_with_the_reason(tmp_path: Path) -> None:
    fill(
        tmp_path,
        a={"1.jpg": JPEG, "2.jpg": JPEG + b"a"},
        b={"1.jpg": JPEG + b"b"},
        c={"1.jpg": JPEG},
        d={},
        e={"e.txt": b"e"},
    )
    reasons = "c (only pictures that other folders hold too), d (empty), e (no JPEG or PNG)"
    assert labelled(tmp_path).warnings[-1] == f"3 folders gave no person: {reasons}"


def test_no_more_than_ten_files_are_named(tmp_path: Path) -> None:
    fill(tmp_path, a={"1.jpg": JPEG} | {f"{n:02}.txt": b"" for n in range(12)}, b={"1.jpg": JPEG + b"b"})
    (told,) = labelled(tmp_path).warnings
    assert told.startswith("left out: 12 files that are neither JPEG nor PNG: a/00.txt, ")
    assert told.endswith("a/09.txt and 2 more")
