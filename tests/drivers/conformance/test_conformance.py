"""The conformance run as a product: honest drivers pass, a lying one is found out, and a real device is not opened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "docs/examples/line-doors"
SIMULATOR = f"{sys.executable} -m line_doors_simulator"
TAKES_S = 120


def examined(*arguments: str, path: Path | None = None, told: bytes = b"") -> tuple[int, dict[str, Any]]:
    env = {**os.environ, **({} if path is None else {"PYTHONPATH": str(path)})}
    argv = [sys.executable, "-m", "drivers", "conformance", "run", *arguments]
    ran = subprocess.run(argv, input=told, capture_output=True, env=env, timeout=TAKES_S, check=False)
    assert ran.stdout, ran.stderr.decode()
    return ran.returncode, json.loads(ran.stdout)


def verdicts(report: dict[str, Any], verdict: str) -> set[str]:
    return {step["name"] for step in report["steps"] if step["verdict"] == verdict}


def installed(folder: Path, *, changed: tuple[str, str] = ("", "")) -> Path:
    """Install the example as a user does, perhaps with a mistake in its driver, and return where."""
    source, target = folder / "source", folder / "site"
    shutil.copytree(EXAMPLE, source)
    driver = source / "line_doors.py"
    text = driver.read_text("utf-8")
    assert changed[0] in text
    driver.write_text(text.replace(*changed), "utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


@pytest.mark.parametrize("kind", ["mqtt", "onvif"])
def test_our_drivers_keep_every_promise(kind: str) -> None:
    status, report = examined("--kind", kind)
    assert (status, verdicts(report, "failed"), verdicts(report, "skipped")) == (0, set(), set())
    assert {"card", "lock", "contact", "tamper", "mode"} <= set(report["capabilities"])
    assert "password" not in report["against"]


def test_the_worked_example_conforms_as_it_is_documented(tmp_path: Path) -> None:
    status, report = examined("--kind", "line", "--simulator", SIMULATOR, path=installed(tmp_path))
    assert (status, verdicts(report, "failed")) == (0, set())
    assert verdicts(report, "skipped") == {"keeps_uncommitted", "keeps_modes"}


@pytest.mark.parametrize(
    ("truth", "lie", "found"),
    [
        ('certain=False, error="no answer in time"', 'error="no answer in time"', "silence_is_not"),
        ("if order.valid_ms <= 0:", "if order.valid_ms < 0:", "sends_nothing_expired"),
    ],
)
def test_a_driver_that_breaks_a_promise_is_found_out(tmp_path: Path, *, truth: str, lie: str, found: str) -> None:
    path = installed(tmp_path, changed=(truth, lie))
    status, report = examined("--kind", "line", "--simulator", SIMULATOR, path=path)
    assert status == 1
    assert found in verdicts(report, "failed")


def test_a_real_device_is_asked_without_harm(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "drivers", "simulate", "onvif", "--door", "gate"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as device:
        try:
            assert device.stdout is not None
            card = json.loads(device.stdout.readline())
            settings = json.dumps({"kind": "onvif", "url": card["address"], "pull_s": 1}).encode()
            status, report = examined("--settings", "-", told=settings)
            _, opened = examined("--settings", "-", "--unlock", told=settings)
        finally:
            device.terminate()
    assert (status, verdicts(report, "failed")) == (0, set())
    assert {"unlocks_once", "card_opens", "keeps_modes"} <= verdicts(report, "skipped")
    assert {"unlocks_once", "keeps_modes"} <= verdicts(opened, "passed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "kettle"], "no simulator of 'kettle' ships"),
        (["--settings", "nowhere.json"], "is not a JSON object"),
        (["--simulator", f"{sys.executable} -c pass"], "did not become ready"),
    ],
)
def test_what_cannot_be_examined_is_said(arguments: list[str], words: str) -> None:
    argv = [sys.executable, "-m", "drivers", "conformance", "run", *arguments]
    ran = subprocess.run(argv, capture_output=True, timeout=TAKES_S, check=False)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert words in ran.stderr.decode()
