"""A real Mosquitto, started with the files that we write: who may log in, and what each may write and read."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.broker import broker_users, hashed, mosquitto_files
from config.process import Command, Supervisor
from config.settings import BrokerSettings
from models.errors import SettingsError
from tests.needs import program

EVERY = "".join(chr(code) for code in range(33, 127))


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    doors = {"d1": EVERY, "d2": "p2"}
    path = mosquitto_files(tmp_path, listen=("127.0.0.1", free), edge=("edge", "pe"), doors=doors)
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in ("passwords", "acl", "mosquitto.conf"))
    async with Supervisor() as family:
        family.keep(Command(name="broker", argv=[program("mosquitto") or "", "-c", str(path)], output=io.StringIO()))
        end = time.monotonic() + 10
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", free)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
        writer.close()
        yield free


async def mosquitto(tool: str, port: int, user: str, *words: str) -> str:
    passwords = {"d1": EVERY, "d2": "p2", "edge": "pe"}
    base = [program(tool) or tool, "-h", "127.0.0.1", "-p", str(port), "-V", "5", "-u", user, "-P", passwords[user]]
    process = await asyncio.create_subprocess_exec(*base, *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    async with asyncio.timeout(15):
        output, _ = await process.communicate()
    return output.decode()


@pytest.mark.needs("mosquitto", "mosquitto-clients")
async def test_a_door_writes_under_its_own_id_only_and_the_edge_hears_it(port: int) -> None:
    root = "gatehouse/v1/doors"
    hearing = asyncio.ensure_future(mosquitto("mosquitto_sub", port, "edge", "-t", f"{root}/+/online", "-C", "2", "-v"))
    for door, words in [("d1", "d2"), ("d1", "d1"), ("d2", "d1"), ("d2", "d2")]:
        publish = ["-q", "1", "-r", "-t", f"{root}/{words}/online", "-m", f"from {door}"]
        await mosquitto("mosquitto_pub", port, door, *publish)
    assert sorted((await hearing).splitlines()) == [f"{root}/d1/online from d1", f"{root}/d2/online from d2"]


@pytest.mark.needs("mosquitto", "mosquitto-clients")
async def test_a_door_cannot_listen_to_everything_or_command_itself(port: int) -> None:
    for door in ("d1", "d2"):
        topic = f"gatehouse/v1/doors/{door}/mode"
        await mosquitto("mosquitto_pub", port, "edge", "-q", "1", "-r", "-t", topic, "-m", f"for {door}")
    heard = await mosquitto("mosquitto_sub", port, "d1", "-t", "#", "-W", "1", "-F", "%p")
    assert [line for line in heard.splitlines() if line.startswith("for ")] == ["for d1"]
    refused = await mosquitto("mosquitto_pub", port, "d1", "-q", "1", "-t", "gatehouse/v1/doors/d1/command", "-m", "{}")
    assert "ot authorized" in refused


@pytest.mark.needs("mosquitto", "mosquitto-clients")
async def test_a_wrong_password_is_refused(port: int) -> None:
    process = await asyncio.create_subprocess_exec(
        program("mosquitto_pub") or "", "-h", "127.0.0.1", "-p", str(port), "-u", "d1", "-P", "x", "-t", "t", "-m", "m",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode != 0
    assert "ot authori" in output.decode()


def test_the_same_password_is_kept_differently_under_another_salt() -> None:
    assert hashed("x", salt=b"1" * 12) != hashed("x", salt=b"2" * 12)


@pytest.mark.parametrize("text", ["[a]", "a: [1]", "a: ''", "a/b: c", "{", "\x00"])
def test_a_users_file_that_is_no_list_of_log_ins_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "users.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        broker_users(BrokerSettings(users_file=tmp_path / "users.yaml"))
    assert caught.value.faults[0].path == "broker.users_file"


def test_log_ins_are_read_as_text_and_may_be_none(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("d1: 0012\nd2: 'yes'\n")
    assert broker_users(BrokerSettings(users_file=tmp_path / "users.yaml")) == {"d1": "0012", "d2": "yes"}
    (tmp_path / "users.yaml").write_text("")
    assert broker_users(BrokerSettings(users_file=tmp_path / "users.yaml")) == {}
    assert broker_users(BrokerSettings()) == {}
    with pytest.raises(SettingsError):
        broker_users(BrokerSettings(users_file=tmp_path / "none.yaml"))
