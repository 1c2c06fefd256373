"""What `gatehouse check` says about faces: which doors may use them alone, which with card or PIN, and what is lacking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.testing import CliRunner

from config.site_faces import WORDS
from gateway.cli import app
from models.assessments import TOPICS
from models.calibration import WhyNot, needed_pairs

REGISTER = {
    "purpose": "gate", "place_class": "community_common", "sign_confirmed_on": "2026-01-01", "banned_area_checked": True,
}  # fmt: skip
ASSESSMENT = {
    "id": "a", "subject": "face", "topics": dict.fromkeys(TOPICS, "weighed with care and found to be in order"),
    "drafted_by": "office", "drafted_at": "2026-01-01T00:00:00Z", "approved_by": "board",
    "approved_at": "2026-01-02T00:00:00Z",
}  # fmt: skip
CONSENT = {
    "doors": ["gate"], "text_version": "v", "text_sha256": "0" * 64, "given_at": "2026-01-01T00:00:00Z",
    "channel": "paper", "evidence": "form",
}  # fmt: skip
COVERED: dict[str, Any] = {"liveness": "model", "liveness_covers": ["print", "screen"], "liveness_basis": "report 7"}


def written(folder: Path, *, people: int = 2, assessed: bool = True, registered: bool = True, **door: Any) -> Path:
    """Write a site file with one door that takes faces, its camera, and people who consented to it."""
    camera = {"id": "cam", "name": "C", "url": "rtsp://192.0.2.1/s", "door": "gate"}
    site = {
        "site": {"id": "s", "name": "S", "community": "310104005012"},
        "doors": [{"id": "gate", "name": "Gate", "camera": "cam", "factors": ["face", "card"]} | door],
        "cameras": [camera | ({"register_entry": REGISTER} if registered else {})],
        "assessments": [ASSESSMENT] if assessed else [],
        "people": [{"id": f"p{n}", "name": "P", "consents": [CONSENT | {"id": f"k{n}"}]} for n in range(people)],
    }
    file = folder / "site.yaml"
    file.write_text(yaml.safe_dump(site))
    return file


def told(*files: Path) -> dict[str, Any]:
    """Return what `check --json` says about the one door."""
    answer = CliRunner().invoke(app, ["check", "--json", *map(str, files)])
    record = json.loads(answer.stdout)
    assert record["ok"], record["faults"]
    (door,) = record["faces"]
    found: dict[str, Any] = {"way": door["way"], **door["use"]}
    return found


def settings(folder: Path, profile: str) -> Path:
    file = folder / "gatehouse.yaml"
    file.write_text(yaml.safe_dump({"edge": {"faces": {"profile": profile}}}))
    return file


@pytest.mark.parametrize(
    ("door", "way", "why_not"),
    [
        ({}, "off", ["no_liveness", "no_evidence"]),
        ({"liveness": "parallax"}, "off", ["liveness_incomplete", "no_evidence"]),
        (COVERED, "off", ["no_evidence"]),
        (COVERED | {"liveness": "device"}, "off", ["liveness_incomplete", "no_evidence"]),
        ({"factors": ["face+card", "pin"]}, "with_card_or_pin", ["not_asked", "no_liveness", "no_evidence"]),
        ({"factors": ["face+pin", "card"], "high_security": True, **COVERED}, "with_card_or_pin",
         ["not_asked", "high_security", "no_evidence"]),
        ({"assessed": False, "factors": ["face+card", "card"]}, "off",
         ["not_asked", "no_liveness", "no_evidence", "not_assessed"]),
        ({"registered": False, "factors": ["face+card", "card"]}, "off",
         ["not_asked", "no_liveness", "no_evidence", "no_camera"]),
    ],
)  # fmt: skip
def test_a_door_is_told_how_it_may_use_faces_and_why_not_alone(
    tmp_path: Path, door: dict[str, Any], way: str, why_not: list[str]
) -> None:
    found = told(written(tmp_path, **door))
    assert (found["way"], found["why_not"]) == (way, why_not)


def test_the_profile_of_the_settings_decides(tmp_path: Path) -> None:
    site = written(tmp_path)
    demo = told(settings(tmp_path, "demo"), site)
    assert (demo["way"], demo["alone"], demo["radius"]) == ("alone", True, 0.4)
    assert told(settings(tmp_path, "off"), site)["why_not"] == ["off"]
    crowded = told(settings(tmp_path, "demo"), written(tmp_path, people=13))
    assert (crowded["way"], crowded["why_not"], crowded["people"]) == ("off", ["gallery_too_large"], 13)


def test_settings_without_the_network_that_a_door_relies_on_are_told(tmp_path: Path) -> None:
    site = written(tmp_path, **COVERED)
    found = told(settings(tmp_path, "demo"), site)
    assert (found["way"], found["alone"], found["why_not"]) == ("off", False, ["no_liveness_model"])
    network = {"file": "alive.onnx", "sha256": "0" * 64, "id": "ours-1", "kind": "liveness", "licence": "Apache-2.0"}
    faces = {"profile": "demo", "models": {"liveness": network}}
    file = tmp_path / "gatehouse.yaml"
    file.write_text(yaml.safe_dump({"edge": {"faces": faces}}))
    assert told(file, site)["alone"]


def words(*files: Path) -> list[str]:
    """Return what `check` says about faces, line by line, without the line above and the verdict below."""
    answer = CliRunner().invoke(app, ["check", *map(str, files)])
    assert answer.exit_code == 0, answer.stdout
    lines = answer.stdout.splitlines()
    assert lines[-1] == "no mistakes found"
    begin = next((n for n, line in enumerate(lines) if line.startswith("faces, ")), len(lines) - 1)
    return lines[begin + 1 : -1]


def test_it_is_said_in_words_with_what_is_needed(tmp_path: Path) -> None:
    site = written(tmp_path, people=60)
    door, liveness, evidence = words(site)
    assert door == "Gate (gate; 60 people with a consent here): opens to no face, because"
    assert liveness == f"  - {WORDS['no_liveness']}"
    assert evidence.startswith(f"  - {WORDS['no_evidence']}; 60 people ask for {needed_pairs(60):,} pairs of persons")
    assert evidence.endswith("as photos of 601 persons give")
    assert 600 * 599 / 2 < needed_pairs(60) <= 601 * 600 / 2
    assumed = CliRunner().invoke(app, ["check", str(site)]).stdout
    assert "under edge.faces.profile calibrated (name your gatehouse.yaml too" in assumed
    assert words(settings(tmp_path, "off"), site)[1:] == [f"  - {WORDS['off']}"]
    assert words(settings(tmp_path, "demo"), written(tmp_path)) == [
        "Gate (gate; 2 people with a consent here): opens to a resident's face alone, at radius 0.40"
    ]


def test_where_nobody_is_enrolled_no_number_is_asked_for(tmp_path: Path) -> None:
    door, *lacking = words(written(tmp_path, people=0, **COVERED))
    assert door == "Gate (gate; nobody is enrolled here yet): opens to no face, because"
    assert lacking == [f"  - {WORDS['no_evidence']}"]
    assert "1 person asks for 3,000 pairs" in words(written(tmp_path, people=1, **COVERED))[1]


def test_of_a_face_alone_nothing_is_said_where_a_door_does_not_ask_for_it(tmp_path: Path) -> None:
    assert words(written(tmp_path, factors=["card", "pin"])) == []
    people = "2 people with a consent here"
    way = f"Gate (gate; {people}): opens to a card or PIN with its holder's face, at radius 0.40"
    assert words(written(tmp_path, factors=["face+card", "face+pin", "card"])) == [way]
    asked = words(written(tmp_path, factors=["face", "face+card", "card"]))
    card = way.replace(" or PIN", "")
    assert asked[0] == f"{card}; not yet to a face alone, because"
    assert len(asked) == 3
    unassessed = words(written(tmp_path, assessed=False, factors=["face+card", "card"]))
    assert unassessed == [f"Gate (gate; {people}): opens to no face, because", f"  - {WORDS['not_assessed']}"]


def test_a_door_with_faces_only_and_a_bare_face_at_high_security_are_mistakes(tmp_path: Path) -> None:
    doors: tuple[dict[str, Any], ...] = (
        {"factors": ["face", "face+card"]},
        {"high_security": True},
        {"liveness_covers": ["print"]},
    )
    for door in doors:
        answer = CliRunner().invoke(app, ["check", str(written(tmp_path, **door))])
        assert answer.exit_code == 1, door


def test_every_reason_has_its_words() -> None:
    assert set(WORDS) == set(get_args(WhyNot))
