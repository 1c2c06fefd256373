"""The broker of one box: Mosquitto with files generated here, or an embedded one where Mosquitto is not installed.

`python -m drivers mqtt broker --dir D --port P` reads the users from D/users.json, prints one JSON line when the broker
listens, reads the users again on SIGHUP, and ends with the broker. No claim rests on a broker's durability.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import ctypes
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec

from drivers.mqtt.wire import FROM_DOOR, MAX_PAYLOAD_BYTES, ROOT, TO_DOOR
from models.errors import DeviceUnreachable, InvalidInput
from models.places import check_id

PLACES: Final = ("mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")
ITERATIONS: Final = 1000
LISTENING_S: Final = 10.0
MAX_PASSWORD_CHARS: Final = 1024
Filter = Annotated[str, msgspec.Meta(pattern="^[^+#$/\x00-\x1f\x7f][^+#\x00-\x1f\x7f]*(/#)?$", max_length=256)]
"""A topic, or all topics below one; never those of the door contract."""
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PASSWORD_CHARS)]


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold one user's password, and for a controller the doors that it speaks for."""

    password: Password
    doors: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Account(doors={self.doors!r})"


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold the password of a device that speaks a vendor's words, and the topics that are its own, as `lamp-1/#`."""

    password: Password
    topics: Annotated[tuple[Filter, ...], msgspec.Meta(min_length=1, max_length=16)]

    def __repr__(self) -> str:
        return f"Device(topics={self.topics!r})"


class Users(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name who may connect: the edge, a user per door (its id), controllers with several doors, and vendors' devices."""

    edge: Account
    doors: dict[str, Password] = {}
    controllers: dict[str, Account] = {}
    devices: dict[str, Device] = {}

    def __repr__(self) -> str:
        names = {kind: sorted(getattr(self, kind)) for kind in ("doors", "controllers", "devices")}
        return f"Users({', '.join(f'{kind}={own!r}' for kind, own in names.items())})"

    def passwords(self) -> dict[str, str]:
        """Return the password of every user."""
        controllers = {name: user.password for name, user in self.controllers.items()}
        devices = {name: user.password for name, user in self.devices.items()}
        return {"edge": self.edge.password, **self.doors, **controllers, **devices}


class Listener(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name where to listen; with `cert_file` by TLS, with `ca_file` only for clients with a certificate of it."""

    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    host: str = "127.0.0.1"
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None


def read_users(path: Path) -> Users:
    """Return the users of a file: `{"edge": {"password"}, "doors": {id: password}, "controllers": {name: {…}}}`.

    Raises:
        InvalidInput: the file cannot be read, or a name or password in it cannot be used.
    """
    try:
        users = msgspec.json.decode(path.read_bytes(), type=Users)
    except OSError as error:
        raise InvalidInput(str(path), f"it cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), str(error)) from None
    names = ["edge", *users.doors, *users.controllers, *users.devices]
    for name in (*names, *(d for c in users.controllers.values() for d in c.doors)):
        check_id(name, str(path))
    filters = [own for device in users.devices.values() for own in device.topics]
    if any(covers("gatehouse/v1/#", own) or covers(own, f"{ROOT}/door") for own in filters):
        raise InvalidInput(str(path), f"a device has topics of its own, none at or above {ROOT}")
    if len(names) != len(set(names)):
        raise InvalidInput(str(path), "a user name occurs twice; 'edge' is the edge's own")
    return users


def covers(own: str, topic: str) -> bool:
    """Return whether a topic, or every topic of a filter, is among those of `own`."""
    below = own.removesuffix("#")
    return own == topic or (below != own and (topic.startswith(below) or topic == below.removesuffix("/")))


def may(users: Users, name: str, *, topic: str, write: bool) -> bool:
    """Return whether a user may publish to a topic, or receive from it: each only under its own names."""
    if name == "edge":
        devices = (own for device in users.devices.values() for own in device.topics)
        return topic.startswith("gatehouse/v1/") or any(covers(own, topic) for own in devices)
    if name in users.devices:
        return any(covers(own, topic) for own in users.devices[name].topics)
    own = (name,) if name in users.doors else users.controllers[name].doors if name in users.controllers else ()
    kinds: tuple[str, ...] = FROM_DOOR if write else TO_DOOR
    return any(topic == f"{ROOT}/{door}/{kind}" for door in own for kind in kinds)


def acl_text(users: Users) -> str:
    """Return Mosquitto's ACL file: what is not named is denied."""
    everywhere = sorted({own for device in users.devices.values() for own in device.topics})
    lines = ["user edge", "topic readwrite gatehouse/v1/#", *(f"topic readwrite {own}" for own in everywhere)]
    owners = [(door, (door,)) for door in users.doors] + [(n, c.doors) for n, c in users.controllers.items()]
    for name, doors in sorted(owners):
        lines += ["", f"user {name}"]
        lines += [f"topic write {ROOT}/{door}/{kind}" for door in doors for kind in FROM_DOOR]
        lines += [f"topic read {ROOT}/{door}/{kind}" for door in doors for kind in TO_DOOR]
    for name, device in sorted(users.devices.items()):
        lines += ["", f"user {name}", *(f"topic readwrite {own}" for own in device.topics)]
    return "\n".join(lines) + "\n"


def password_text(users: Users, *, salt: Callable[[int], bytes]) -> str:
    """Return Mosquitto's password file (PBKDF2-HMAC-SHA512, format 7), so that no password passes a command line.

    Args:
        users: who may connect.
        salt: makes that many random bytes.
    """
    return "".join(f"{name}:{_hashed(password, salt(12))}\n" for name, password in sorted(users.passwords().items()))


def config_text(directory: Path, listener: Listener) -> str:
    """Return Mosquitto's configuration for files in `directory`."""
    lines = [
        "per_listener_settings false",
        f"listener {listener.port} {listener.host}",
        "allow_anonymous false",
        f"password_file {directory / 'passwords'}",
        f"acl_file {directory / 'acl'}",
        "persistence true",
        f"persistence_location {directory}/",
        "autosave_interval 5",
        "autosave_on_changes false",
        "max_inflight_messages 256",
        "max_queued_messages 20000",
        "queue_qos0_messages false",
        f"message_size_limit {4 * MAX_PAYLOAD_BYTES}",
        "persistent_client_expiration 14d",
        f"pid_file {directory / 'mosquitto.pid'}",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "connection_messages false",
        "set_tcp_nodelay true",
    ]
    if os.geteuid() == 0:
        lines.append(f"user {pwd.getpwuid(0).pw_name}")
    if listener.cert_file:
        lines += [f"certfile {listener.cert_file}", f"keyfile {listener.key_file or listener.cert_file}"]
        lines.append("tls_version tlsv1.2")
    if listener.ca_file:
        lines += [f"cafile {listener.ca_file}", "require_certificate true"]
    return "\n".join(lines) + "\n"


def find_mosquitto() -> str | None:
    """Return the path of Mosquitto, or None if it is not installed."""
    return next((found for place in PLACES if (found := shutil.which(place))), None)


def write_mosquitto_files(directory: Path, *, users: Users, listener: Listener, program: str) -> list[str]:
    """Write configuration, passwords and ACL for Mosquitto, all 0600, and return the command that runs it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    texts = {
        "passwords": password_text(users, salt=secrets.token_bytes),
        "acl": acl_text(users),
        "mosquitto.conf": config_text(directory, listener),
    }
    for name, text in texts.items():
        _write_private(directory / name, text)
    return [program, "-c", str(directory / "mosquitto.conf")]


async def run_broker(directory: Path, *, listener: Listener, embedded: bool = False) -> int:
    """Run the broker in the foreground until it ends or SIGTERM comes; return its exit status.

    Raises:
        InvalidInput: the users cannot be read, or the embedded broker is asked for more than loopback without TLS.
        DeviceUnreachable: it did not listen in time.
    """
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    program = None if embedded else find_mosquitto()
    if program is None:
        from drivers.mqtt.embedded import run_embedded

        ready = partial(_announce, "embedded", listener, os.getpid())
        return await run_embedded(directory, listener=listener, stop=stop, again=again, ready=ready)
    return await _run_mosquitto(program, directory, listener=listener, stop=stop, again=again)


async def _run_mosquitto(
    program: str, directory: Path, *, listener: Listener, stop: asyncio.Event, again: asyncio.Event
) -> int:
    users = read_users(directory / "users.json")
    _check_free(listener)
    command = write_mosquitto_files(directory, users=users, listener=listener, program=program)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, preexec_fn=partial(_die_with, os.getpid())
    )
    ended = asyncio.ensure_future(process.wait())
    try:
        await _listening(listener, ended)
        _announce("mosquitto", listener, process.pid)
        while not ended.done():
            signals = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(again.wait())]
            await asyncio.wait({ended, *signals}, return_when=asyncio.FIRST_COMPLETED)
            for waiting in signals:
                waiting.cancel()
            if stop.is_set():
                break
            if again.is_set():
                again.clear()
                _reload(program, directory, listener, process.pid)
    finally:
        if not ended.done():
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), 5.0)
        if not ended.done():
            process.kill()
        code = await ended
    return 0 if stop.is_set() else code


def _check_free(listener: Listener) -> None:
    """Say so if somebody else has the port: to connect to them would look like success."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    try:
        socket.create_server((listener.host, listener.port), family=family).close()
    except OSError as error:
        raise DeviceUnreachable(f"{listener.host}:{listener.port}", f"no broker can listen here: {error}") from None


def _reload(program: str, directory: Path, listener: Listener, pid: int) -> None:
    """Take the users anew; a mistake in them is said and leaves the old ones in force."""
    try:
        users = read_users(directory / "users.json")
    except InvalidInput as error:
        sys.stderr.write(f"broker: the users stay as they were: {error}\n")
        return
    write_mosquitto_files(directory, users=users, listener=listener, program=program)
    os.kill(pid, signal.SIGHUP)


async def _listening(listener: Listener, ended: asyncio.Future[int]) -> None:
    loop = asyncio.get_running_loop()
    limit = loop.time() + LISTENING_S
    while not ended.done() and loop.time() < limit:
        try:
            _, writer = await asyncio.open_connection(listener.host, listener.port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise DeviceUnreachable(f"{listener.host}:{listener.port}", "the broker does not listen; its own words are above")


def _announce(kind: str, listener: Listener, pid: int) -> None:
    line = {"ready": True, "broker": kind, "host": listener.host, "port": listener.port, "pid": pid}
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


def _hashed(password: str, salt: bytes) -> str:
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return f"$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _write_private(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _die_with(parent: int) -> None:
    """Make this child end with its parent, even if that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the broker to a parser."""
    parser.description = "Run the MQTT broker of one box: Mosquitto where installed, else an embedded one."
    add = parser.add_argument
    add("--dir", type=Path, required=True, help="directory with users.json; generated files go there too")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=1883, help="port to listen on (default: %(default)s)")
    add("--cert-file", help="certificate for TLS")
    add("--key-file", help="its key")
    add("--ca-file", help="clients need a certificate of this authority")
    add("--embedded", action="store_true", help="use the embedded broker even if Mosquitto is installed")


async def main(args: argparse.Namespace) -> int:
    """Run the broker as the options say; return the exit status."""
    given = {
        "host": args.host,
        "port": args.port,
        "cert_file": args.cert_file,
        "key_file": args.key_file,
        "ca_file": args.ca_file,
    }
    try:
        listener = msgspec.convert(given, Listener)
        return await run_broker(args.dir.resolve(), listener=listener, embedded=args.embedded)
    except (InvalidInput, DeviceUnreachable, msgspec.ValidationError) as error:
        sys.stderr.write(f"broker: {error}\n")
        return 1
