"""`gatehouse evaluate` runs in a process of its own, on the caller's terminal, and ends as that ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app


def test_a_folder_without_people_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(app, ["evaluate", "faces", str(tmp_path), "--no-pictures", "--html", str(tmp_path / "r")])
    assert done.exit_code == 1
    told = capfd.readouterr()
    assert "2 to 10000 sub-folders with photos are needed" in told.err
    assert (told.out, (tmp_path / "r").exists()) == ("", False)


def test_settings_for_networks_of_ones_own_are_read_where_the_networks_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for person in ("a", "b"):
        (tmp_path / person).mkdir()
        (tmp_path / person / "1.jpg").write_bytes(person.encode())
    done = CliRunner().invoke(app, ["evaluate", "faces", str(tmp_path), "--config", str(tmp_path / "none.yaml")])
    assert done.exit_code == 1
    assert "none.yaml" in capfd.readouterr().err
