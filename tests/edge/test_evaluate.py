"""`evaluate faces` measures a folder of photos with the real networks, and says what the photos cannot show."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
import skimage.data
from PIL import Image

from config.portraits import portraits
from config.settings import FaceSettings
from edge.__main__ import main as edge_main
from edge.evaluate import main
from models.calibration import STEPS, ImpostorEvidence, check_evidence
from models.faces.evaluation_report import Report, percent

CACHE = ["--cache-dir", str(FaceSettings().cache_dir.expanduser())]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three persons, a picture without a face, and one that is none."""
    folder = tmp_path_factory.mktemp("people")
    for person in ("astronaut", "biden", "obama"):
        (folder / person).mkdir()
    picture = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    Image.fromarray(picture).save(folder / "astronaut" / "1.png")
    for name, path in portraits().items():
        shutil.copy(path, folder / name[:5].rstrip(".2") / name)
    Image.new("RGB", (320, 240), "grey").save(folder / "biden" / "wall.png")
    (folder / "biden" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def test_a_folder_becomes_a_report_a_page_and_evidence(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figures, evidence = tmp_path / "r.html", tmp_path / "r.json", tmp_path / "e.json"
    told = ["--html", str(page), "--json", str(figures), "--calibration", str(evidence)]
    assert main(["faces", str(people), *told, *CACHE]) == 0
    shown = capsys.readouterr().out
    assert "failure to detect: 1 of 9 pictures" in shown
    assert "not measured: a radius at N = 5000" in shown
    report = msgspec.json.decode(figures.read_bytes(), type=Report)
    assert (report.persons, report.pictures, report.usable) == (3, 9, 5)
    assert {one.reason: one.pictures for one in report.failures} == {"cut_off": 2, "no_face": 1, "unreadable": 1}
    assert (report.measured.genuine, report.measured.impostor) == (3, 7)
    kept = check_evidence(msgspec.json.decode(evidence.read_bytes(), type=ImpostorEvidence))
    assert (kept.persons, kept.pairs, kept.source, kept.matched) == (3, 3, "labelled", (0,) * STEPS)
    assert kept.contract == report.contract
    text = page.read_text()
    assert text.count("<svg") == 3
    assert text.count("data:image/png") == 3, "the three failures that are pictures; the broken one cannot be shown"
    assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", ""), "nothing is fetched"


def test_figures_go_to_standard_output_alone_and_pictures_stay_out_if_asked(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    for person in ("one", "same", "wall"):
        (few / person).mkdir(parents=True)
    Image.new("RGB", (240, 240), "white").save(few / "wall" / "1.png")
    shutil.copy(people / "biden" / "biden.jpg", few / "one" / "1.jpg")
    shutil.copy(people / "biden" / "wall.png", few / "one" / "2.png")
    with Image.open(people / "biden" / "biden.jpg") as image:
        image.reduce(2).save(few / "same" / "1.png")
    page, evidence = tmp_path / "r.html", ["--calibration", str(tmp_path / "e.json")]
    assert main(["faces", str(few), "--json", "-", "--html", str(page), "--no-pictures", *evidence, *CACHE]) == 0
    told = capsys.readouterr()
    report = msgspec.json.decode(told.out, type=Report)
    assert report.warnings == (
        "1 folder gave no person, no picture being usable: wall (no_face)",
        "1 pair of persons is within 0.25: look whether somebody has two folders: one and same",
    )
    assert all(warning in told.err and warning in page.read_text() for warning in report.warnings)
    assert "e.json: this evidence counts the pairs above as false matches" in told.err
    assert "data:image/png" not in page.read_text()
    assert "not measured" in page.read_text()


def test_what_cannot_be_evaluated_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge_main(["evaluate", "faces", str(tmp_path)]) == 1
    assert "2 to 10000 sub-folders with photos are needed" in capsys.readouterr().err
    for person in ("a", "b"):
        (tmp_path / person).mkdir()
        Image.new("RGB", (200, 200), "grey" if person == "a" else "white").save(tmp_path / person / "wall.png")
    assert main(["faces", str(tmp_path), *CACHE]) == 1
    assert "0 persons have a usable face, two or more are needed (no_face: 2)" in capsys.readouterr().err


def test_a_rate_that_was_not_measured_is_not_shown_as_nothing() -> None:
    assert percent(None) == "not measured"
