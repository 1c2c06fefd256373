"""Nothing is skipped on the machine that judges: a missing server skips a test, with CI=true that is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT
from tests.needs import PROGRAMS, missing

NEEDS = "import pytest\n@pytest.mark.needs('python3', 'no-such-server')\ndef test_it():\n    pass\n"
SKIPS = "import pytest\ndef test_it():\n    pytest.skip('no-such-server is not installed')\n"


@pytest.mark.parametrize("code", [NEEDS, SKIPS])
@pytest.mark.parametrize(("judged", "status"), [("", 0), ("true", 1)])
def test_a_missing_server_skips_and_with_ci_fails(tmp_path: Path, code: str, judged: str, status: int) -> None:
    (tmp_path / "test_it.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    ended = subprocess.run(
        [*command, "-c", str(ROOT / "pyproject.toml"), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "CI": judged},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == status, ended.stdout
    assert ("1 skipped" in ended.stdout) == (judged != "true")
    assert "no-such-server is not installed" in ended.stdout


def test_what_is_installed_is_not_missing() -> None:
    assert missing("python3") == []
    assert missing("no-such-server") == ["no-such-server"]
    assert PROGRAMS["ffmpeg"] == ("ffmpeg", "ffprobe")
