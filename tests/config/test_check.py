"""`gatehouse check` on site files: mistakes fail, warnings are told and do not."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli import app
from models.errors import SettingsError

SITE = 'site: {id: s, name: S, community: "310104005012"}\n'


def checked(file: Path, *options: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["check", str(file), *options])
    return answer.exit_code, answer.stdout


def test_a_warning_is_told_and_fails_nothing(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(SITE + "cameras:\n  - {id: c, name: C, url: 'rtsp://192.0.2.1/s'}\n")
    code, text = checked(file)
    assert code == 0
    assert text.splitlines() == [
        f"warning: {file}:3: cameras[0]: has no register entry: its stream stays off (add register_entry: …)",
        "no mistakes found",
    ]
    code, text = checked(file, "--json")
    record = json.loads(text)
    assert (code, record["ok"], record["faults"]) == (0, True, [])
    assert [(warning["line"], warning["path"]) for warning in record["warnings"]] == [(3, "cameras[0]")]


def test_a_mistake_fails_and_a_clean_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(SITE + "cameras:\n  - {id: c, name: C, url: 'http://192.0.2.1/s'}\n")
    code, text = checked(file)
    assert (code, text.splitlines()[-1]) == (1, "1 mistake")
    file.write_text(SITE)
    assert checked(file) == (0, "no mistakes found\n")


DRIVEN = (
    SITE
    + """doors:
  - {id: gate, name: G, driver: {kind: mqtt, map: shelley}}
  - id: back
    name: B
    driver:
      kind: onvif
      relay: R1
      timeout: 5
  - {id: side, name: S, driver: {kind: acme-boards}}
cameras:
  - id: c
    name: C
    url: "rtsp://192.0.2.1/s"
    device: {kind: onvif, url: "rtsp://192.0.2.1/s"}
"""
)


def test_driver_sections_are_judged_with_the_lines_that_they_stand_on(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(DRIVEN)
    code, text = checked(file, "--json")
    record = json.loads(text)
    assert (code, [(fault["line"], fault["path"]) for fault in record["faults"]]) == (
        1, [(3, "doors[0].driver.map"), (9, "doors[1].driver.timeout"), (15, "cameras[0].device.url")],
    )  # fmt: skip
    assert [(one["line"], one["path"]) for one in record["warnings"]] == [
        (10, "doors[2].driver.kind"), (12, "cameras[0]"),
    ]  # fmt: skip


def test_a_site_whose_driver_sections_are_wrong_is_not_applied(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(DRIVEN)
    answer = CliRunner().invoke(app, ["apply", str(file), "--config", str(tmp_path / "none.yaml")])
    assert isinstance(answer.exception, SettingsError)
    assert "doors[0].driver.map" in {fault.path for fault in answer.exception.faults}


def test_driver_sections_are_judged_while_other_mistakes_stand(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(DRIVEN + "areas: [{code: x}]\nflats:\n  - {id: f, bulding: B}\n")
    code, text = checked(file, "--json")
    record = json.loads(text)
    paths = [fault["path"] for fault in record["faults"]]
    assert (code, [fault["line"] for fault in record["faults"]]) == (1, sorted(f["line"] for f in record["faults"]))
    assert {"doors[0].driver.map", "doors[1].driver.timeout", "cameras[0].device.url", "flats[0].bulding"} <= {*paths}
    assert len(paths) == len(set(paths))


def test_what_is_no_door_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    for doors in ("3", "[3, {driver: {kind: mqtt}}]", "[{id: 3, driver: []}, {id: gate, driver: mqtt}]"):
        file.write_text(f"{SITE}doors: {doors}\n")
        code, text = checked(file, "--json")
        paths = [fault["path"] for fault in json.loads(text)["faults"]]
        assert code == 1
        assert paths
        assert not any(".driver." in path for path in paths)
    file.write_bytes(SITE.encode() + b"doors: \xff\n")
    assert "UTF-8" in checked(file)[1]


def test_doors_without_an_account_at_the_broker_of_up_are_told(tmp_path: Path) -> None:
    site, box = tmp_path / "site.yaml", tmp_path / "gatehouse.yaml"
    site.write_text(
        SITE
        + """controllers: [{id: board, name: B, serial: "1"}]
doors:
  - {id: gate, name: Gate}
  - {id: side, name: Side}
  - {id: lamp, name: Lamp, driver: {kind: mqtt, map: tasmota}}
  - {id: far, name: Far, edge: another}
"""
    )
    (tmp_path / "users.yaml").write_text("side: secret-of-it\n")

    def told(settings: str) -> list[str]:
        box.write_text(settings)
        code, text = checked(site, str(box))
        assert code == 0, text
        assert "secret-of-it" not in text
        return [line for line in text.splitlines() if "no account at the broker" in line]

    (one,) = told("broker: {users_file: users.yaml}\n")
    assert one.startswith(f"warning: {site}:4: doors[0]: no account at the broker")
    assert f"add `gate: PASSWORD` to {tmp_path / 'users.yaml'}" in one
    assert len(told("broker: {start: auto}\n")) == 2
    assert told("broker: {start: none}\n") == []
    code, text = checked(site)
    assert (code, "no account" in text) == (0, False), "without settings nobody knows"
