"""The simulated device as a process, and its control port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import pytest

from drivers.onvif.simulator import Order, controlling
from tests.drivers.onvif.asking import Client, asking, soap

DECIDE = (
    "<tac:ExternalAuthorization><tac:AccessPointToken>gate-{side}</tac:AccessPointToken>"
    "<tac:Reason>{reason}</tac:Reason><tac:Decision>{decision}</tac:Decision></tac:ExternalAuthorization>"
)


class Control:
    """One conversation on a control port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, line: bytes) -> dict[str, Any]:
        self._writer.write(line + b"\n")
        async with asyncio.timeout(10):
            answer: dict[str, Any] = json.loads(await self._reader.readline())
        return answer

    async def act(self, act: str, **more: Any) -> dict[str, Any]:
        return await self.say(json.dumps({"act": act, **more}).encode())


@contextlib.asynccontextmanager
async def talking(host: str, port: int) -> AsyncIterator[Control]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Control(reader, writer)
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def simulated() -> AsyncIterator[tuple[Client, Control]]:
    async with asking() as client, controlling(client.unit) as address, talking(*address) as control:
        yield client, control


async def decided(client: Client, control: Control, kind: str, decision: str) -> dict[str, Any]:
    """Present something and let the client decide."""
    before = client.unit.device.told
    asked = asyncio.create_task(control.act(kind, value="17", reader="out"))
    await client.unit.until(lambda: client.unit.device.told > before)
    await client.ask(DECIDE.format(side="out", reason="because", decision=decision))
    return await asked


@pytest.mark.parametrize("kind", ["card", "pin", "flat_pin", "button"])
async def test_whoever_presents_something_learns_the_decision_and_its_reason(kind: str) -> None:
    async with simulated() as (client, control):
        denied = await decided(client, control, kind, "Denied")
        assert (denied["ok"], denied["unlocked"], denied["feedback"]) == (False, False, "because")
        granted = await decided(client, control, kind, "Granted")
        assert (granted["ok"], granted["unlocked"]) == (True, True)
        assert granted["ms"] > 0
        assert (await control.act("status"))["doors"]["gate"]["lock"] == "unlocked"


async def test_nobody_answers_and_that_is_said() -> None:
    async with simulated() as (_, control):
        assert await control.act("card", value="17", timeout_s=0.1) == {"ok": False, "error": "no answer"}


async def test_every_deed_changes_what_the_door_tells() -> None:
    deeds = {
        "force": ("alarm", "DoorForcedOpen"),
        "held": ("alarm", "DoorOpenTooLong"),
        "close": ("contact", "closed"),
        "open": ("contact", "open"),
        "tamper": ("tamper", True),
        "clear_tamper": ("tamper", False),
        "exit": ("mode", "Accessed"),
    }
    async with simulated() as (client, control):
        for deed, (what, value) in deeds.items():
            before = client.unit.device.told
            answer = await control.act(deed)
            assert answer["ok"], deed
            assert answer["seq"] > before, deed
            assert (await control.act("status", door="gate"))["doors"]["gate"][what] == value, deed
        await control.act("fault", detail="motor")
        assert (await control.act("status"))["doors"]["gate"]["fault"] == "motor"
        await control.act("clear_fault")
        for deed in ("call", "duress", "mains_lost", "mains_back"):
            assert (await control.act(deed))["ok"]
        last = client.unit.device.journal[-1]
        assert (last.topic.rpartition("/")[2], last.data) == ("PowerSupplyFailure", (("Failed", "false"),))


async def test_the_camera_senses_what_it_is_told_to() -> None:
    async with simulated() as (client, control):
        for sense in client.unit.device.senses:
            assert (await control.act(sense))["ok"]
            assert (await control.act("status"))["senses"][sense]
            await control.act(sense, on=False)
        assert not any((await control.act("status"))["senses"].values())


async def test_waiting_ends_with_the_condition_or_the_time() -> None:
    async with simulated() as (client, control):
        late = await control.act("wait", until="unlocked", timeout_s=0.05)
        assert (late["ok"], late["error"]) == (False, "not unlocked within 0.05 s")
        waiting = asyncio.create_task(control.act("wait", until="unlocked"))
        client.unit.device.access("gate", client.unit.clock())
        client.unit.changed()
        assert (await waiting)["ok"]
        waiting = asyncio.create_task(control.act("wait", until="subscribed"))
        await client.ask("<tev:CreatePullPointSubscription/>")
        assert (await waiting)["ok"]
        for until in ("open", "closed", "locked", "pulled"):
            assert "ok" in await control.act("wait", until=until, timeout_s=0.02)
        assert "until" in (await control.act("wait"))["error"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "unreadable"),
        (b"[]", "unreadable"),
        (b'{"act":"explode"}', "unreadable"),
        (b'{"act":"misbehave"}', "name one of"),
        (b'{"act":"misbehave","fault":"slower"}', "unreadable"),
        (b'{"act":"open","door":"attic"}', "attic"),
        (b'{"act":"card","door":"gate"}', "ASCII"),
        (b'{"act":"status","more":1}', "unreadable"),
    ],
)
async def test_an_order_that_cannot_be_meant_is_answered(line: bytes, told: str) -> None:
    async with simulated() as (_, control):
        answer = await control.say(line)
        assert not answer["ok"]
        assert told in answer["error"]
        assert (await control.act("status"))["ok"]


def test_every_order_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "onvif-simulator.md").read_text()
    words = {word for kind in get_args(get_type_hints(Order)["act"]) for word in (get_args(kind) or (kind,))}
    assert "motion" in words
    assert [word for word in words if f"`{word}`" not in page and f'"act":"{word}"' not in page] == []


@contextlib.contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run the simulator and yield it with its ready line."""
    command = [sys.executable, "-m", "drivers", "simulate", "onvif", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        line = running.stdout.readline()
        try:
            yield running, json.loads(line) if line else {"error": running.stderr.read()}
        finally:
            running.terminate()
            running.wait(20)


def at(control: str) -> tuple[str, int]:
    host, _, port = control.rpartition(":")
    return host, int(port)


async def test_a_process_keeps_its_doors_and_certificate_over_kill(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    kept = ["--store", str(tmp_path / "device.db"), "--tls-dir", str(tmp_path / "tls"), "--user", "edge"]
    kept += ["--password-file", str(tmp_path / "password"), "--door", "a", "--door", "b"]
    with process(*kept) as (running, ready):
        async with httpx.AsyncClient(verify=False, trust_env=False) as http:  # noqa: S501 - the process is ours
            body = "<tdc:LockDownDoor><tdc:Token>b</tdc:Token></tdc:LockDownDoor>"
            digest = httpx.DigestAuth("edge", "secret")
            answer = await http.post(ready["address"], content=soap(body), auth=digest)
            assert answer.status_code == 200
        os.kill(running.pid, signal.SIGKILL)
    with process(*kept) as (running, again):
        assert (again["fingerprint"], again["doors"]) == (ready["fingerprint"], ["a", "b"])
        async with talking(*at(again["control"])) as control:
            doors = (await control.act("status"))["doors"]
            assert (doors["a"]["mode"], doors["b"]["mode"]) == ("Locked", "LockedDown")
        running.terminate()
        assert running.wait(20) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--door", "no door"], "--door"),
        (["--user", "edge", "--password-file", "/nowhere/at/all"], "--password-file"),
        (["--host", "198.51.100.7"], "simulated ONVIF device"),
        (["--store", "/nowhere/at/all"], "simulated ONVIF device"),
    ],
)
async def test_what_cannot_be_used_ends_it_with_a_word(options: list[str], told: str) -> None:
    with process(*options) as (running, ready):
        assert told in ready["error"]
        assert "Traceback" not in ready["error"]
        assert running.wait(20) == 1


async def test_it_may_misbehave_from_the_start() -> None:
    with process("--misbehave", "wrong_host", "--misbehave", "slow") as (_, ready):
        async with talking(*at(ready["control"])) as control:
            assert (await control.act("status"))["faults"] == ["slow", "wrong_host"]
