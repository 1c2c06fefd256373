"""Send audit rows and checkpoints to a syslog collector: RFC 5424 messages, counted octets (RFC 6587), TLS (RFC 5425).

The table is the queue: where we are is noted in the database, so an outage of the collector loses nothing and holds up
nobody. Syslog acknowledges nothing, so a batch counts as sent once the connection has outlived it; what may have been
lost with a connection is sent again (each row has its number). Ids and acts travel, reasons and names do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from config.process import Good
from config.sections import SyslogSettings
from gateway.runtime import Runtime
from gateway.store.audit import AuditRow, audit_rows_after
from gateway.store.checkpoints import latest_checkpoint
from gateway.store.progress import note_progress, progress
from models.errors import DeviceUnreachable
from models.link import Checkpoint

AUDIT = 13
"""The facility `log audit` (RFC 5424, table 1)."""
NOTICE = 5
WARNING = 4
PRIVATE_ENTERPRISE = 32473
"""The enterprise number for documentation (RFC 5612): nobody has registered one for Gatehouse."""
BATCH = 500
LOOK_S = 1.0
MARK = "syslog"


def message(what: str, fields: dict[str, str], *, at: datetime, host: str, warn: bool = False) -> bytes:
    """Return an RFC 5424 message with structured data; `what` is the message id and the text."""
    parameters = " ".join(f'{name}="{_escaped(value)}"' for name, value in fields.items())
    priority = AUDIT * 8 + (WARNING if warn else NOTICE)
    time = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    head = f"<{priority}>1 {time} {_printable(host, 255)} gatehouse {os.getpid()} {_printable(what, 32)}"
    return f"{head} [gatehouse@{PRIVATE_ENTERPRISE} {parameters}] {what}".encode()


def framed(content: bytes) -> bytes:
    """Return a message with its octets counted (RFC 6587, 3.4.1)."""
    return b"%d %s" % (len(content), content)


def row_message(row: AuditRow, *, host: str) -> bytes:
    """Return what is sent of a row of the audit log: opaque ids and the seal."""
    fields = {
        "seq": str(row.seq), "actor": row.actor, "action": row.action, "subject": row.subject, "result": row.result,
        "digest": row.digest,
    }  # fmt: skip
    return message("audit", fields, at=row.at, host=host, warn=row.result != "ok")


def checkpoint_message(checkpoint: Checkpoint, *, host: str) -> bytes:
    """Return what is sent of a checkpoint."""
    fields = {"seq": str(checkpoint.seq), "digest": checkpoint.digest, "signature": checkpoint.signature}
    return message("checkpoint", fields, at=checkpoint.at, host=host)


def _printable(text: str, most: int) -> str:
    return "".join(char if "!" <= char <= "~" else "_" for char in text)[:most] or "-"


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return "".join(char if char.isprintable() else "_" for char in escaped)


class Collector:
    """Hold one connection to the collector."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, timeout_s: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s

    async def send(self, messages: list[bytes]) -> None:
        """Hand messages to the connection.

        Raises:
            DeviceUnreachable: the connection ended, or takes nothing for too long.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                self._writer.write(b"".join(framed(each) for each in messages))
                await self._writer.drain()
        except OSError as error:
            raise DeviceUnreachable("syslog", f"the connection ended: {error}") from error
        self.check()

    def check(self) -> None:
        """Pass if the connection stands.

        Raises:
            DeviceUnreachable: the collector has closed it.
        """
        if self._reader.at_eof() or self._writer.is_closing():
            raise DeviceUnreachable("syslog", "the collector closed the connection")


@contextlib.asynccontextmanager
async def connected(settings: SyslogSettings) -> AsyncIterator[Collector]:
    """Yield a connection to the collector.

    Raises:
        DeviceUnreachable: there is none to be had.
    """
    context = _context(settings) if settings.transport == "tls" else None
    try:
        async with asyncio.timeout(settings.timeout_s):
            reader, writer = await asyncio.open_connection(settings.host, settings.port, ssl=context)
    except OSError as error:
        raise DeviceUnreachable("syslog", f"{settings.host}:{settings.port} cannot be reached: {error}") from error
    try:
        yield Collector(reader, writer, timeout_s=settings.timeout_s)
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(settings.timeout_s):
                await writer.wait_closed()


def _context(settings: SyslogSettings) -> ssl.SSLContext:
    tls = settings.tls
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


async def follow_audit(runtime: Runtime, settings: SyslogSettings, *, host: str, good: Good) -> None:
    """Send what the audit log holds and will hold, until cancelled or the connection ends."""
    async with connected(settings) as collector:
        seen = await runtime.store.read(progress, MARK)
        sent = seen
        checkpoint = 0
        while True:
            rows = await runtime.store.read(audit_rows_after, sent, limit=BATCH)
            if rows:
                await collector.send([row_message(row, host=host) for row in rows])
                sent = rows[-1].seq
            newest = await runtime.store.read(latest_checkpoint)
            if newest is not None and checkpoint < newest.seq <= sent:
                await collector.send([checkpoint_message(newest, host=host)])
                checkpoint = newest.seq
            good()
            if len(rows) < BATCH:
                await asyncio.sleep(LOOK_S)
            collector.check()
            if sent > seen:
                seen = sent
                await runtime.store.write(note_progress, MARK, reached=seen, at=runtime.clock())
