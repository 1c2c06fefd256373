"""The simulated readers, the probe and the installation of a key as programs, as people start them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drivers.osdp.probe import probe
from drivers.osdp.settings import write_key
from drivers.osdp.simreader import presented
from models.errors import InvalidInput
from tests.drivers.contract import now, soon
from tests.drivers.osdp.conftest import KEY, next_presence, opened, reader_settings


@dataclass
class Simulated:
    """A running `simulate osdp`, with a conversation on its control port."""

    ready: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, **order: Any) -> dict[str, Any]:
        return await self.say(json.dumps(order).encode())

    async def say(self, line: bytes) -> dict[str, Any]:
        self.writer.write(line + b"\n")
        answer: dict[str, Any] = json.loads(await soon(self.reader.readline()))
        return answer


@contextlib.asynccontextmanager
async def program(*arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    command = (sys.executable, "-m", "drivers", *map(str, arguments))
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await soon(process.communicate())


@contextlib.asynccontextmanager
async def simulated(*arguments: str | Path) -> AsyncIterator[Simulated]:
    async with program("simulate", "osdp", *arguments) as process:
        assert process.stdout is not None
        ready = json.loads(await soon(process.stdout.readline()))
        host, _, port = ready["control"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        yield Simulated(ready, reader, writer)
        writer.close()
    assert process.returncode == 0


async def run(*arguments: str | Path) -> tuple[int, str]:
    """Run a program to its end and return its exit status and all that it said."""
    async with program(*arguments) as process:
        said, complained = await soon(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, (said + complained).decode()


async def test_a_reader_gets_its_key_from_the_command_that_says_so_and_then_serves_by_it(tmp_path: Path) -> None:
    link, key_file = tmp_path / "port", tmp_path / "gate.key"
    async with simulated("--link", link, "--key-file", tmp_path / "kept") as reader:
        assert (reader.ready["doors"], link.resolve()) == (["gate"], Path(reader.ready["port"]))
        status, said = await run("osdp", "install", "--port", link, "--key-file", key_file)
        assert (status, key_file.stat().st_mode & 0o077) == (0, 0), said
        assert key_file.read_text() == (tmp_path / "kept").read_text()
        assert key_file.read_text().strip() not in said
        again, _ = await run("osdp", "install", "--port", link, "--key-file", key_file)
        assert again == 0  # it has it already
        found = await probe({"port": str(link), "key_file": str(key_file)}, now=now)
        assert (found.reach, found.maker, found.firmware, found.trouble) == ("known", "005EED", "1.2.3", "")
        assert found.parts[0].settings == {
            "kind": "osdp", "port": str(link), "baud_rate": 9600, "address": 0, "plain": False, "strike": 0,
        }  # fmt: skip


async def test_a_reader_that_has_another_key_takes_none(tmp_path: Path) -> None:
    write_key(tmp_path / "theirs", KEY)
    async with simulated("--link", tmp_path / "port", "--key-file", tmp_path / "theirs"):
        status, said = await run("osdp", "install", "--port", tmp_path / "port", "--key-file", tmp_path / "ours")
        assert (status, "put it in install mode" in said) == (1, True), said


async def test_the_probe_as_a_program_tells_what_a_reader_is(tmp_path: Path) -> None:
    write_key(tmp_path / "key", KEY)
    async with simulated("--link", tmp_path / "port", "--key-file", tmp_path / "key"):
        status, said = await run("osdp", "probe", "--port", tmp_path / "port", "--key-file", tmp_path / "key")
        assert (status, json.loads(said)["id"]) == (0, "osdp-005eed-00001000")
    status, said = await run("osdp", "probe", "--port", tmp_path / "port", "--plain")
    assert (status, json.loads(said)["trouble"]) == (1, "unreachable")
    status, said = await run("osdp", "probe", "--port", "COM1", "--plain")
    assert (status, "use a path such as /dev/ttyUSB0" in said) == (1, True)
    status, said = await run("osdp", "install", "--port", tmp_path / "port")
    assert (status, "name the file" in said) == (1, True)


async def test_somebody_at_the_control_port_can_do_all_that_happens_at_a_door(tmp_path: Path) -> None:
    write_key(tmp_path / "key", KEY)
    async with simulated("--door", "gate", "--door", "back", "--key-file", tmp_path / "key") as both:
        settings = {"kind": "osdp", "port": both.ready["port"]}
        readers = [reader_settings("gate", address=0), reader_settings("back")]
        from drivers.catalog import open_door

        driver = open_door({**settings, "readers": readers}, doors=("gate", "back"), client_id="e", now=now)
        async with opened(driver) as (_, reports):
            await next_presence(reports, online=True)
            pin = asyncio.ensure_future(both.ask(door="back", act="pin", value="4711"))
            request = await soon(anext(aiter(driver.requests())))
            assert (request.door_id, request.value) == ("back", "4711")
            from tests.drivers.contract import unlock

            assert (await soon(driver.execute(unlock("back", "u", attempt=request.id)))).ok
            assert (await pin)["unlocked"] is True
            assert (await both.ask(door="back", act="wait", until="locked"))["ok"] is True
            for act in ("open", "close", "tamper", "clear_tamper", "exit", "emergency", "force"):
                assert await both.ask(door="gate", act=act) == {"ok": True}
            assert await both.ask(door="gate", act="input", value="mains") == {"ok": True}
            assert await both.ask(door="gate", act="misbehave", fault="slow") == {"ok": True}
            doors = (await both.ask(act="status"))["doors"]
            assert (doors["gate"]["contact"], doors["gate"]["faults"], doors["back"]["unlocks"]) == (
                "open",
                ["slow"],
                1,
            )
            assert (await both.ask(act="unplug")) == {"ok": True}
            assert (await both.ask(act="plug_in"))["port"].startswith("/dev/")


async def test_a_mistake_at_the_control_port_is_an_answer(tmp_path: Path) -> None:
    async with simulated() as reader:
        for line, told in [
            (b"{", "unreadable order"),
            (b'{"act":"fly"}', "unreadable order"),
            (b'{"act":"open","door":"elsewhere"}', "no door 'elsewhere' here"),
            (b'{"act":"wait"}', "name one of"),
            (b'{"act":"misbehave"}', "name one of"),
            (b'{"act":"input","value":"window"}', "name one of"),
            (b'{"act":"card","value":"not hex"}', "BITS:HEX"),
            (b'{"act":"wait","until":"open","timeout_s":0.05}', "not open within"),
        ]:
            answer = await reader.say(line)
            assert (answer["ok"], told in answer["error"]) == (False, True), answer


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--listen", "nowhere"], "use HOST:PORT"),
        (["--door", "a/b"], "--door"),
        (["--key-file", os.devnull], "32 hexadecimal digits"),
    ],
)
async def test_options_that_cannot_be_used_are_refused_with_what_to_write(arguments: list[str], told: str) -> None:
    status, said = await run("simulate", "osdp", *arguments)
    assert (status, told in said) == (1, True), said


@pytest.mark.parametrize(
    ("kind", "value"), [("qr", "x"), ("card", ""), ("card", "26:00"), ("card", "x:00"), ("card", "0" * 70)]
)
def test_what_a_reader_cannot_tell_is_refused(kind: str, value: str) -> None:
    with pytest.raises(InvalidInput):
        presented(kind, value)
