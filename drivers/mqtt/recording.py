"""Record what doors and edge say on a broker, and play a door's part again: for whoever has to find out what went wrong.

One JSON object per line: seconds since the beginning, topic, quality of service, retained flag, and the payload, JSON or
base64. What a resident presented (cards, PINs, tickets) is blanked before it is written; ids stay, so that a replay is
told apart as one. Nobody knows where a credential stands in other makers' words, so of these only the form stays: keys,
true, false and null. It decides nothing and opens nothing by itself.

`python -m drivers mqtt record` and `python -m drivers mqtt replay`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Final

import msgspec
from paho.mqtt.client import MQTTMessage

from drivers.mqtt import wire
from drivers.mqtt.endpoint import Endpoint, attempts, endpoint_of
from drivers.mqtt.link import Link
from models.errors import DeviceUnreachable, GatehouseError, InvalidInput

BLANKED: Final = "(blanked)"
SECRET_PARTS: Final = frozenset(
    {
        "value",
        "pin",
        "code",
        "card",
        "uid",
        "tag",
        "password",
        "passcode",
        "pass",
        "secret",
        "key",
        "ticket",
        "qr",
        "token",
    }
)
"""Parts of keys (`action_code`, `userPin`, `card1`) under which somebody's credential may stand."""
PART: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
NUMBER: Final = re.compile(r"[0-9A-Fa-f:. -]{4,}")
"""A key that is itself a PIN's or a card's number."""
MESSAGES_MOST: Final = 1_000_000
LINE_BYTES: Final = 4 * wire.MAX_PAYLOAD_BYTES
SUBSCRIBE_S: Final = 10.0
DEPTH_MOST: Final = 32
NAMED_MOST: Final = 20


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Hold one message: when (s from the beginning), where, and what, as JSON or else base64."""

    at_s: Annotated[float, msgspec.Meta(ge=0)]
    topic: Annotated[str, msgspec.Meta(max_length=512)]
    qos: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0
    retained: bool = False
    payload: Any = None
    base64: str | None = None

    def content(self) -> bytes:
        """Return the payload's bytes."""
        return msgspec.json.encode(self.payload) if self.base64 is None else base64.b64decode(self.base64)


def blanked(value: Any, *, ours: bool, depth: int = 0) -> Any:
    """Return a JSON value in which nobody's credential stands any more.

    Args:
        value: what was said.
        ours: by the door contract, whose keys are known; of anything else only the form is kept.
        depth: how deep it stands.
    """
    if depth > DEPTH_MOST:
        return BLANKED
    if isinstance(value, dict):
        return {
            (name if ours else _named(name)): BLANKED
            if one is not None and _secret(name)
            else blanked(one, ours=ours, depth=depth + 1)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [blanked(one, ours=ours, depth=depth + 1) for one in value]
    return value if ours or value is None or isinstance(value, bool) else BLANKED


def said(topic: str, payload: bytes, *, at_s: float, qos: int, retained: bool) -> Said:
    """Return a message as it is recorded: the door contract's without credentials, of any other only its form."""
    told = Said(at_s=round(at_s, 4), topic=topic, qos=qos, retained=retained)
    kind = _kind(topic)
    with contextlib.suppress(msgspec.MsgspecError, RecursionError, ValueError, InvalidInput):
        if kind == "online":
            return msgspec.structs.replace(told, payload="online" if wire.parse_online(payload) else "offline")
        content = msgspec.json.decode(payload)
        known = blanked(content, ours=kind is not None and isinstance(content, dict))
        return msgspec.structs.replace(told, payload=known)
    kept = BLANKED.encode() if payload else b""
    return msgspec.structs.replace(told, base64=base64.b64encode(kept).decode())


def _kind(topic: str) -> str | None:
    """Return what kind of message of the door contract a topic is for, if any."""
    head, _, rest = topic.partition(f"{wire.ROOT}/")
    kind = rest.partition("/")[2]
    return kind if not head and kind in wire.QOS else None


def _speaker(topic: str) -> str | None:
    """Return the door that said what stands under a topic, if one did."""
    head, _, rest = topic.partition(f"{wire.ROOT}/")
    door_id, _, kind = rest.partition("/")
    ours = not head and kind in wire.FROM_DOOR and len(door_id) <= 64
    return door_id if ours and door_id.isprintable() else None


def _secret(name: str) -> bool:
    return any(part.lower() in SECRET_PARTS for part in PART.findall(name))


def _named(name: str) -> str:
    return BLANKED if NUMBER.fullmatch(name) else name


def read_recording(path: Path) -> Iterator[Said]:
    """Yield the messages of a recording.

    Raises:
        InvalidInput: a line is none; names it.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if len(line) > LINE_BYTES or number > MESSAGES_MOST:
                    raise InvalidInput(f"{path}:{number}", "it is longer than any recording")
                yield msgspec.json.decode(line, type=Said)
    except OSError as error:
        raise InvalidInput(str(path), f"cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}:{number}", f"is no message of a recording: {error}") from error


async def record(endpoint: Endpoint, topics: list[str], *, out: IO[str], most: int, over: asyncio.Event) -> int:
    """Write what is said under some topics until it is over; return how many messages.

    Raises:
        DeviceUnreachable: no broker answers, or the connection ended.
        DeviceRefused: the broker refused the log-in or a topic.
    """
    began, count = time.monotonic(), 0

    def take(message: MQTTMessage) -> None:
        nonlocal count
        with contextlib.suppress(UnicodeDecodeError):  # a topic that is no text
            told = said(
                message.topic, bytes(message.payload), at_s=time.monotonic() - began, qos=message.qos,
                retained=message.retain,
            )  # fmt: skip
            out.write(msgspec.json.encode(told).decode() + "\n")
            out.flush()
            count += 1
        if message.qos:
            link.acknowledge(message.mid)
        if count >= most:
            over.set()

    link = await _linked(endpoint, take)
    try:
        await link.subscribe([(topic, 1) for topic in topics], limit_s=SUBSCRIBE_S)
        link.ended.add_done_callback(lambda _ended: over.set())
        await over.wait()
        if link.ended.done():
            raise DeviceUnreachable(endpoint.address, link.ended.result())
    finally:
        await link.close()
    return count


async def replay(endpoint: Endpoint, messages: Iterable[Said], *, doors: frozenset[str], speed: float) -> int:
    """Say again what some doors said, in its rhythm (`speed` times as fast); return how many messages.

    What an edge said is left out. A request of then is stale now, and opens nothing.

    Raises:
        DeviceUnreachable: no broker answers, or the connection ended.
        DeviceRefused: the broker refused the log-in.
    """
    link = await _linked(endpoint, lambda _message: None)
    began, count = time.monotonic(), 0
    try:
        for message in messages:
            try:
                door_id, kind = wire.parse_topic(message.topic, doors=doors)
            except InvalidInput:
                continue
            if door_id not in doors:
                continue
            await asyncio.sleep(max(0.0, began + message.at_s / speed - time.monotonic()))
            if link.ended.done():
                raise DeviceUnreachable(endpoint.address, link.ended.result())
            taken = link.publish(message.topic, message.content(), qos=wire.QOS[kind], retain=kind in wire.RETAINED)
            if wire.QOS[kind]:
                await asyncio.wait({taken}, timeout=endpoint.timeout_s)
            count += 1
    finally:
        await link.close()
    return count


async def _linked(endpoint: Endpoint, take: Callable[[MQTTMessage], None]) -> Link:
    *earlier, last = attempts(endpoint)
    for attempt in earlier:
        with contextlib.suppress(DeviceUnreachable):
            return await _opened(Link(attempt, on_message=take))
    return await _opened(Link(last, on_message=take))


async def _opened(link: Link) -> Link:
    try:
        await link.open()
    except BaseException:
        await link.close()
        raise
    return link


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what recording and replaying share."""
    replays = parser.prog.endswith("replay")
    parser.description = "Say again what a door said." if replays else "Write what doors and edge say on a broker."
    add = parser.add_argument
    add("--broker", default="127.0.0.1:1883", metavar="HOST:PORT", help="the broker (default: %(default)s)")
    add("--user", help="name to log in with: a door's own when it is replayed")
    add("--password-file", type=Path, metavar="FILE", help="file whose first line is the password")
    add("--ca-file", help="connect by TLS and trust this authority")
    add("--door", action="append", default=[], metavar="ID", help="a door; may repeat")
    add("--file", type=Path, required=True, help="the recording, one JSON object a line")
    if replays:
        add("--speed", type=float, default=1.0, help="times as fast as it was (default: %(default)s)")
        parser.set_defaults(replays=True)
    else:
        help_text = "another maker's topic filter: what is said there keeps its form only; may repeat"
        add("--topic", action="append", default=[], help=help_text)
        add("--force", action="store_true", help="write over an earlier recording")
        add("--most", type=int, default=100_000, help="stop after so many messages (default: %(default)s)")
        parser.set_defaults(replays=False)


async def main(args: argparse.Namespace) -> int:
    """Record until SIGINT or SIGTERM, or replay to the end; return the exit status."""
    try:
        count = await (_replay(args) if args.replays else _record(args))
    except (OSError, GatehouseError) as error:
        sys.stderr.write(f"recording: {error}\n")
        return 1
    sys.stdout.write(f'{{"messages":{count}}}\n')
    return 0


async def _record(args: argparse.Namespace) -> int:
    kinds = (*wire.FROM_DOOR, *wire.TO_DOOR)
    topics = [wire.topic_of(door, kind) for door in args.door for kind in kinds] + args.topic
    if not topics:
        raise InvalidInput("--door", "name the doors to record, or another maker's --topic")
    if not 1 <= args.most <= MESSAGES_MOST:
        raise InvalidInput("--most", f"use 1 to {MESSAGES_MOST}")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _private(args.file, force=args.force) as out:
        return await record(_endpoint(args, "record"), topics, out=out, most=args.most, over=stop)


def _private(path: Path, *, force: bool) -> IO[str]:
    """Return an empty file that only its owner reads, also where there was one already.

    Raises:
        InvalidInput: there is an earlier recording, and nobody said that it may go.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    file = os.fdopen(descriptor, "w", encoding="utf-8")
    if os.fstat(descriptor).st_size:
        if not force:
            file.close()
            raise InvalidInput("--file", f"{path} holds something already: name another file, or say --force")
        os.ftruncate(descriptor, 0)
    os.fchmod(descriptor, 0o600)
    return file


async def _replay(args: argparse.Namespace) -> int:
    if not args.door:
        raise InvalidInput("--door", "name the door whose part is played again")
    if not 0.01 <= args.speed <= 1000:
        raise InvalidInput("--speed", "use 0.01 to 1000")
    messages = list(read_recording(args.file))
    there = {door for message in messages if (door := _speaker(message.topic)) is not None}
    if absent := [door for door in args.door if door not in there]:
        named = ", ".join(sorted(there)[:NAMED_MOST]) or "none"
        raise InvalidInput(
            "--door", f"nothing that {absent[0][:80]!r} said was recorded; doors in {args.file}: {named}"
        )
    return await replay(_endpoint(args, "replay"), messages, doors=frozenset(args.door), speed=args.speed)


def _endpoint(args: argparse.Namespace, part: str) -> Endpoint:
    host, colon, port = args.broker.rpartition(":")
    if not colon or not port.isdigit():
        raise InvalidInput("--broker", f"use HOST:PORT, not {args.broker[:80]!r}")
    password = None
    if args.password_file is not None:
        lines = args.password_file.read_text("utf-8").splitlines()
        password = lines[0] if lines else ""
    known = {"username": args.user, "password": password, "ca_file": args.ca_file}
    given = {name: value for name, value in known.items() if value is not None}
    tls = {"tls": True} if args.ca_file else {}
    own = {"host": host, "port": int(port), "client_id": f"gatehouse-{part}", "session_expiry_s": 0}
    return endpoint_of({**own, **given, **tls})
