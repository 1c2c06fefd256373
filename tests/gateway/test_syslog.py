"""Syslog: the wire (RFC 5424, 6587, 5425) against a real collector, and that an outage loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.sections import SyslogSettings, TlsSettings
from gateway.runtime import Runtime
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.checkpoints import make_checkpoint
from gateway.store.progress import progress
from gateway.syslog import MARK, follow_audit, message
from models.errors import DeviceUnreachable
from tests.drivers.mqtt.test_tls import certificate
from tests.gateway.support import BEGINNING, until

LINE = re.compile(
    r'<(\d+)>1 (\S+) (\S+) gatehouse (\d+) (\S+) \[gatehouse@32473((?: \w+="(?:[^"\\\]]|\\["\\\]])*")*)\] (.*)'
)


class Collected:
    """A collector that reads counted octets and can hang up."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.port = 0
        self._open: list[asyncio.StreamWriter] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                count = int(await reader.readuntil(b" "))
                self.lines.append((await reader.readexactly(count)).decode())
        writer.close()

    def hang_up(self) -> None:
        while self._open:
            self._open.pop().close()

    def numbers(self) -> list[int]:
        return [int(found.group(1)) for line in self.lines if (found := re.search(r' audit .*seq="(\d+)"', line))]


@contextlib.asynccontextmanager
async def collecting(context: ssl.SSLContext | None = None) -> AsyncIterator[Collected]:
    collected = Collected()
    server = await asyncio.start_server(collected.take, "127.0.0.1", 0, ssl=context)
    collected.port = server.sockets[0].getsockname()[1]
    try:
        yield collected
    finally:
        collected.hang_up()
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def following(runtime: Runtime, settings: SyslogSettings) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(follow_audit(runtime, settings, host="gate house", good=lambda: None))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, DeviceUnreachable):
            await task


def add_rows(runtime: Runtime, count: int) -> None:
    for _ in range(count):
        entry = AuditEntry(actor="u-1", action="person.look_up", subject="p-1", reason="a name: Lin Yue")
        runtime.store.write_now(append_audit, entry, at=BEGINNING)


async def test_rows_and_checkpoints_arrive_in_order_without_anybodys_words(runtime: Runtime) -> None:
    add_rows(runtime, 3)
    runtime.store.write_now(make_checkpoint, runtime.gateway_key, at=BEGINNING)
    async with collecting() as collected:
        settings = SyslogSettings(host="127.0.0.1", port=collected.port, transport="tcp")
        async with following(runtime, settings):
            await until(lambda: len(collected.lines) == 4)
            add_rows(runtime, 2)
            await until(lambda: collected.numbers() == [1, 2, 3, 4, 5])
    for line in collected.lines:
        parts = LINE.fullmatch(line)
        assert parts, line
        assert (parts.group(1), parts.group(3)) == ("109", "gate_house")
        assert "Lin" not in line
    assert LINE.fullmatch(collected.lines[3])
    assert "signature=" in collected.lines[3]


async def test_an_outage_loses_nothing(runtime: Runtime) -> None:
    async with collecting() as collected:
        settings = SyslogSettings(host="127.0.0.1", port=collected.port, transport="tcp")
        add_rows(runtime, 3)
        async with following(runtime, settings) as task:
            await until(lambda: runtime.store.read_now(progress, MARK) == 3)
            collected.hang_up()
            with pytest.raises(DeviceUnreachable):
                await asyncio.wait_for(task, 10)
        add_rows(runtime, 4)
        async with following(runtime, settings):
            await until(lambda: collected.numbers()[-1:] == [7])
    assert sorted(set(collected.numbers())) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_collector_that_is_away_is_said_to_be(runtime: Runtime) -> None:
    async with collecting() as collected:
        port = collected.port
    settings = SyslogSettings(host="127.0.0.1", port=port, transport="tcp", timeout_s=2)
    with pytest.raises(DeviceUnreachable, match=str(port)):
        await follow_audit(runtime, settings, host="h", good=lambda: None)


async def test_tls_checks_the_collector_and_shows_our_certificate(runtime: Runtime, tmp_path: Path) -> None:
    authority = certificate(tmp_path, "ca")
    for name in ("server", "gateway"):
        certificate(tmp_path, name, issuer=authority)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    add_rows(runtime, 1)
    async with collecting(context) as collected:
        ours = {"cert_file": tmp_path / "gateway.pem", "key_file": tmp_path / "gateway.key"}
        good = SyslogSettings(
            host="127.0.0.1", port=collected.port, tls=TlsSettings(ca_file=tmp_path / "ca.pem", **ours)
        )
        async with following(runtime, good):
            await until(lambda: collected.numbers() == [1])
        stranger = good.model_copy(update={"tls": TlsSettings()})
        with pytest.raises(DeviceUnreachable, match="certificate"):
            await follow_audit(runtime, stranger, host="h", good=lambda: None)


def test_what_would_end_a_field_is_escaped() -> None:
    hostile = 'a"b]c\\d\ne <1>1 '
    line = message("audit", {"subject": hostile}, at=BEGINNING, host="\n").decode()
    parts = LINE.fullmatch(line)
    assert parts
    assert parts.group(6) == ' subject="a\\"b\\]c\\\\d_e <1>1 "'
    assert parts.group(2) == "2026-03-01T08:00:00.000000Z"
