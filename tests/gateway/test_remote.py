"""The commands that ask a gateway find the one of the settings file here, and say how to name another."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.commands.remote import LOCAL, ask, gateway_here
from models.errors import DeviceUnreachable
from tests.edge.rig import free_port


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GATEHOUSE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("settings", "address"), [
    ("{port: 8555}", "http://127.0.0.1:8555"),
    ("{host: 0.0.0.0, port: 8555, allow_plain_http: true}", "http://127.0.0.1:8555"),
    ("{host: '::', port: 8555, allow_plain_http: true}", "http://[::1]:8555"),
    ("{port: 8555, public_url: 'https://gate.example'}", "https://gate.example"),
    ("{port: 0}", "http://127.0.0.1:8440"),
    ("{prot: 8555}", "http://127.0.0.1:8440"),
])  # fmt: skip
def test_the_gateway_of_the_settings_here_is_asked(folder: Path, settings: str, address: str) -> None:
    (folder / "gatehouse.yaml").write_text(f"gateway: {settings}\n")
    assert gateway_here() == address


def test_settings_that_are_named_go_before_those_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gatehouse.yaml").write_text("gateway: {port: 8555}\n")
    (folder / "other.yaml").write_text("gateway: {port: 8666}\n")
    monkeypatch.setenv("GATEHOUSE_CONFIG", str(folder / "other.yaml"))
    assert gateway_here() == "http://127.0.0.1:8666"


def test_a_gateway_that_does_not_answer_is_told_with_how_to_name_another(folder: Path) -> None:
    port = free_port()
    (folder / "gatehouse.yaml").write_text(f"gateway: {{port: {port}}}\n")
    with pytest.raises(DeviceUnreachable) as told:
        ask("GET", "doors", url=LOCAL, token="t")
    for words in (f"http://127.0.0.1:{port}", "--url", "GATEHOUSE_URL"):
        assert words in str(told.value)
