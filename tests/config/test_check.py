"""`gatehouse check` on site files: mistakes fail, warnings are told and do not."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli import app

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
