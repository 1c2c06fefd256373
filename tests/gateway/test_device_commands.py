"""`gatehouse device probe` at the shell: what it refuses before it asks anybody."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from gateway.commands.devices import device
from models.errors import InvalidInput

ADDRESS = "https://192.0.2.1/onvif/device_service"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [(["--edge", "edge-1", "--trust"], "--trust: ask without it first"), ([], "--edge: say which edge")],
)
def test_an_address_is_asked_by_an_edge_and_trusted_only_once_its_fingerprint_was_seen(
    arguments: list[str], advice: str
) -> None:
    refused = CliRunner().invoke(device, ["probe", ADDRESS, *arguments]).exception
    assert isinstance(refused, InvalidInput)
    assert str(refused).startswith(advice)
