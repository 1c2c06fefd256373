"""`gatehouse conformance`: addresses become settings, and the report is a page without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.commands.conformance import page, settings_of, summary
from models.errors import InvalidInput


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("http://10.0.0.2/onvif/device_service", {"kind": "onvif", "url": "http://10.0.0.2/onvif/device_service"}),
        ("mqtt://broker:1884", {"kind": "mqtt", "host": "broker", "port": 1884, "username": "u", "password": "p"}),
        ("mqtts://broker", {"kind": "mqtt", "host": "broker", "port": 8883, "tls": True}),
        ("osdp:///dev/ttyUSB0", {"kind": "osdp", "port": "/dev/ttyUSB0"}),
        ("osdp://10.0.0.3:4001", {"kind": "osdp", "port": "tcp://10.0.0.3:4001"}),
    ],
)
def test_an_address_says_which_driver_and_where(address: str, settings: dict[str, Any]) -> None:
    assert settings.items() <= settings_of(address, user="u", password="p").items()


@pytest.mark.parametrize("address", ["ftp://x", "http://u:p@x/", "mqtt://x:port"])
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="ADDRESS"):
        settings_of(address, user="", password="")


def test_a_card_reader_without_its_key_is_told_how_to_name_it() -> None:
    refused = CliRunner().invoke(app, ["conformance", "osdp:///dev/ttyUSB0"]).exception
    assert isinstance(refused, InvalidInput)
    assert "--setting key_file=FILE" in str(refused)


def step(verdict: str, **more: Any) -> dict[str, Any]:
    return {"name": "opens", "asks": "The driver <connects>.", "verdict": verdict, "detail": "", "ms": 1.0, **more}


def test_a_report_says_what_was_not_asked_and_escapes_what_the_device_says() -> None:
    steps = [step("passed", detail="<script>"), step("failed"), step("skipped")]
    told = {
        "driver": "onvif", "against": "url=http://x", "door_id": "gate", "at": "2026-11-23T00:00:00Z", "capabilities": [],
        "steps": steps,
    }  # fmt: skip
    assert summary(told) == "onvif: does NOT conform; 1 of 2 promises kept, 1 not asked"
    shown = page(told)
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert shown.count("not asked") >= 2


def test_a_device_that_is_away_is_a_report_and_status_1(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    ran = CliRunner().invoke(app, ["conformance", "mqtt://127.0.0.1:9", "--html", str(report)])
    assert ran.exit_code == 1, ran.output
    assert "mqtt could not be examined: it could not be opened" in ran.output
    assert "it does not connect" in report.read_text("utf-8")
