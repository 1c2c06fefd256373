"""`gatehouse conformance` over TLS: a device by its pinned certificate, a door by a broker that asks for ours; neither blindly."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.drivers.mqtt.conftest import EDGE_PASSWORD, running_broker
from tests.drivers.mqtt.test_tls import certificate

UNASKED = {"unlocks_once", "card_opens", "keeps_modes"}


@contextlib.contextmanager
def simulated(*words: str) -> Iterator[dict[str, Any]]:
    """Run a simulator in a process of its own and yield its ready line."""
    with subprocess.Popen([sys.executable, "-m", "drivers", "simulate", *words], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def conformance(address: str, *words: str, **settings: object) -> tuple[int, dict[str, Any]]:
    """Run the command as an integrator does; return its exit status and report."""
    further = [word for name, value in settings.items() for word in ("--setting", f"{name}={value}")]
    ran = CliRunner().invoke(app, ["conformance", address, "--json", *words, *further])
    return ran.exit_code, json.loads(ran.stdout.splitlines()[-1])


def verdicts(report: dict[str, Any], verdict: str) -> set[str]:
    return {step["name"] for step in report["steps"] if step["verdict"] == verdict}


def test_a_device_is_examined_by_the_certificate_that_was_pinned_and_by_no_other() -> None:
    with simulated("onvif", "--door", "gate", "--tls") as device:
        assert device["address"].startswith("https://")
        status, report = conformance(device["address"], fingerprint=device["fingerprint"], pull_s=1)
        assert (status, verdicts(report, "failed")) == (0, set()), report
        assert verdicts(report, "skipped") >= UNASKED, "nobody said that it may open"
        assert len(verdicts(report, "passed")) >= 5
        status, opened = conformance(device["address"], "--unlock", fingerprint=device["fingerprint"], pull_s=1)
        assert (status, {"unlocks_once", "keeps_modes"} <= verdicts(opened, "passed")) == (0, True), opened
        for fingerprint in ({"fingerprint": "00" * 32}, {}):
            status, report = conformance(device["address"], **fingerprint)
            assert (status, verdicts(report, "passed")) == (1, set())
            assert "certificate" in report["steps"][0]["detail"]


@pytest.mark.needs("mosquitto")
def test_a_door_behind_a_broker_that_asks_for_certificates_is_examined_with_one_and_not_without(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "ca")
    for name in ("server", "edge", "door"):
        certificate(tmp_path, name, issuer=authority)
    paths = {name: str(tmp_path / name) for name in ("server.pem", "server.key", "ca.pem", "edge.pem", "edge.key")}
    listener = ["--cert-file", paths["server.pem"], "--key-file", paths["server.key"], "--ca-file", paths["ca.pem"]]
    (tmp_path / "password").write_text(EDGE_PASSWORD + "\n")
    login = ["--door", "door-1", "--user", "edge", "--password-file", str(tmp_path / "password")]
    own = {"cert_file": paths["edge.pem"], "key_file": paths["edge.key"], "ca_file": paths["ca.pem"]}
    with running_broker("mosquitto", more=listener) as broker:
        address = f"mqtts://127.0.0.1:{broker.port}"
        words = ["door", "--broker", f"127.0.0.1:{broker.port}", "--door", "door-1", "--ca-file", paths["ca.pem"]]
        words += ["--cert-file", str(tmp_path / "door.pem"), "--key-file", str(tmp_path / "door.key")]
        with simulated(*words, "--users", str(broker.directory / "users.json")):
            status, report = conformance(address, *login, "--unlock", **own)
            assert (status, verdicts(report, "failed")) == (0, set()), report
            assert {"unlocks_once", "keeps_modes"} <= verdicts(report, "passed"), report
            assert EDGE_PASSWORD not in json.dumps(report)
            for missing in ("cert_file", "ca_file"):
                left = {
                    name: value for name, value in own.items() if name not in {missing, missing.replace("cert", "key")}
                }
                status, report = conformance(address, *login, **left)
                assert (status, verdicts(report, "passed")) == (1, set()), missing
