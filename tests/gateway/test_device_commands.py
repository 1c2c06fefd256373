"""`gatehouse discover` and `device` at the shell: what they refuse before they ask anybody, and what they advise."""

from __future__ import annotations

import asyncio

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.commands.devices import device
from gateway.runtime import Runtime
from models.devices import Candidate
from models.errors import InvalidInput
from tests.gateway.finding import Desk
from tests.gateway.support import Clock, SigningEdge, machine_token

ADDRESS = "https://192.0.2.1/onvif/device_service"


@pytest.fixture
def desk(manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime) -> Desk:
    return Desk(manager, edge, runtime)


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


def test_card_readers_are_not_searched_for_but_asked_on_their_line() -> None:
    refused = CliRunner().invoke(app, ["discover", "--edge", "edge-1", "--wire", "osdp"]).exception
    assert isinstance(refused, InvalidInput)
    assert "`device probe PORT --edge edge-1`" in str(refused)


@pytest.mark.parametrize(
    ("told", "advice", "not_said"),
    [
        (Candidate(id="onvif-7", wire="onvif", address=ADDRESS, reach="trusted"), "give --user", "device key"),
        (Candidate(id="osdp-7", wire="osdp", address="/dev/x#0", reach="answers"), "install mode, then", "--user"),
    ],
)
async def test_what_to_do_about_credentials_is_said_for_the_wire_of_the_device(
    desk: Desk, *, url: str, runtime: Runtime, clock: Clock, told: Candidate, advice: str, not_said: str
) -> None:
    await desk.found(msgspec.structs.replace(told, trouble="credentials"))
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock)}
    done = await asyncio.to_thread(CliRunner().invoke, app, ["device", "list"], env=environment)
    assert done.exit_code == 0, done.output
    assert advice in done.output
    assert not_said not in done.output


async def test_a_camera_that_is_adopted_is_said_to_be_off_and_what_turns_it_on(
    desk: Desk, *, url: str, runtime: Runtime, clock: Clock
) -> None:
    key = await desk.known()
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock)}
    said = {}
    for part in ("eye", "front"):
        words = ["device", "adopt", key, "--part", part, "--as", f"a-{part}"]
        done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
        assert done.exit_code == 0, done.output
        said[part] = "off: its stream starts once it has its register entry" in done.output
    assert said == {"eye": True, "front": False}
