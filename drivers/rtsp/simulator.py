"""The simulated camera: an RTSP server that plays generated scenes, and a loopback control port that changes them.

`python -m drivers simulate camera` and `python -m drivers.rtsp.simulator` run it as a process; tests and the self-test
may hold a `CameraServer` in their own. It prints one JSON line when it is ready. For demonstrations and tests only: it
is no media server.

Control: one JSON object per line, one answer per line, e.g.
`{"camera":"gate","scene":"approach","portrait":"/photos/obama2.jpg"}`, `{"camera":"gate","fault":"cut","for_s":5}`,
`{"camera":"gate","fault":null}`, `{"status":true}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from drivers.rtsp.player import FAULTS, Fault
from drivers.rtsp.scenes import SCENES, WITH_PERSON, Look, Scene, SceneName, Script
from drivers.rtsp.scenes_figures import Box
from drivers.rtsp.server import Access, CameraServer, counted, ended
from models.errors import GatehouseError, InvalidInput

MAX_LINE_BYTES: Final = 8192


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the control port or step of a scenario.

    `scene` (with `portrait`, `face`, `script`, `seed`) changes the programme, or only encodes it ahead with `prepare`. `fault`
    begins a fault, for `for_s` seconds or until it is set to null. `status` asks who is watching. `at_s` is a
    scenario's time.
    """

    camera: str | None = None
    scene: SceneName | None = None
    portrait: str | None = None
    face: Box | None = None
    script: Script = Script()
    seed: int = 1
    prepare: bool = False
    fault: Fault | msgspec.UnsetType | None = msgspec.UNSET
    for_s: float | None = None
    status: bool = False
    at_s: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an order; `starts_at` and `near_at` (face 100 px wide) are Unix time in s, `clients` per camera."""

    ok: bool
    error: str | None = None
    starts_at: float | None = None
    near_at: float | None = None
    prepared_ms: float | None = None
    clients: dict[str, int] | None = None
    faults: dict[str, str | None] | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Orders with their times in s from the start; played again every `repeat_s` seconds, or once."""

    steps: tuple[Order, ...]
    repeat_s: float | None = None


async def obey(server: CameraServer, order: Order) -> Answer:
    """Carry out one order; a mistake in it becomes an answer, never an exception."""
    started = time.monotonic()
    starts_at = near_at = None
    try:
        if order.scene:
            scene = Scene(
                name=order.scene, portrait=order.portrait, face=order.face, script=order.script, seed=order.seed
            )
            if order.prepare:
                await server.prepare(scene)
            else:
                near_s = await server.show(order.camera, scene)
                starts_at = time.time()
                near_at = starts_at + near_s if near_s is not None else None
        if order.fault is not msgspec.UNSET:
            server.misbehave(order.camera, order.fault, for_s=order.for_s)
    except GatehouseError as error:
        return Answer(ok=False, error=str(error))
    return Answer(
        ok=True,
        starts_at=starts_at,
        near_at=near_at,
        prepared_ms=round((time.monotonic() - started) * 1000, 1) if order.scene else None,
        clients={name: player.clients for name, player in server.players.items()} if order.status else None,
        faults={name: player.current_fault() for name, player in server.players.items()} if order.status else None,
    )


async def control(server: CameraServer, *, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the orders of one control connection, a JSON object per line, until it closes."""
    try:
        while line := await reader.readline():
            try:
                answer = await obey(server, msgspec.json.decode(line, type=Order))
            except msgspec.MsgspecError as error:
                answer = Answer(ok=False, error=f"unreadable order: {error}")
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
    except (ConnectionError, ValueError):
        pass  # the other side is gone, or sent a line without end: either way this conversation is over
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def controlling(server: CameraServer, *, port: int = 0) -> AsyncIterator[tuple[str, int]]:
    """Take orders on a port of 127.0.0.1 until the block ends; yield its address.

    Raises:
        OSError: the port cannot be had.
    """
    tasks: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with counted(tasks):
            await control(server, reader=reader, writer=writer)
        writers.discard(writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", port, limit=MAX_LINE_BYTES)
    try:
        host, bound = listener.sockets[0].getsockname()[:2]
        yield host, bound
    finally:
        listener.close()
        for writer in tuple(writers):
            writer.transport.abort()
        await ended(tasks)


async def play_scenario(server: CameraServer, scenario: Scenario) -> None:
    """Carry out a scenario's orders at their times, encoding everything first.

    Raises:
        InvalidInput: an order cannot be carried out.
    """
    steps = sorted(scenario.steps, key=lambda step: step.at_s)
    for step in steps:
        if step.scene:
            await _must(server, msgspec.structs.replace(step, prepare=True, fault=msgspec.UNSET))
    while True:
        begun = time.monotonic()
        for step in steps:
            await asyncio.sleep(max(0.0, begun + step.at_s - time.monotonic()))
            await _must(server, step)
        if scenario.repeat_s is None:
            return
        await asyncio.sleep(max(0.0, begun + scenario.repeat_s - time.monotonic()))


async def _must(server: CameraServer, order: Order) -> None:
    answer = await obey(server, order)
    if not answer.ok:
        raise InvalidInput("scenario", answer.error or "an order failed")


def read_scenario(path: Path) -> Scenario:
    """Read a scenario from a JSON or YAML file.

    Raises:
        InvalidInput: it cannot be read, or holds something else.
    """
    try:
        content = path.read_bytes()
        decode = msgspec.yaml.decode if path.suffix in (".yaml", ".yml") else msgspec.json.decode
        return decode(content, type=Scenario)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidInput(str(path), str(error)) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the simulated camera to a parser."""
    parser.description = "Serve simulated RTSP cameras that play generated scenes as H.264 or H.265."
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8554, help="RTSP port, 0 for a free one (default: %(default)s)")
    add("--control-port", type=int, default=0, help="control port on 127.0.0.1, 0 for a free one")
    add("--path", action="append", metavar="NAME", help="name of a camera in the URL; may repeat (default: gate)")
    add("--scene", choices=SCENES, default="quiet", help="what to show first")
    add(
        "--portrait", action="append", metavar="FILE", default=[], help="photograph to encode ahead; the first is shown"
    )
    add(
        "--face",
        type=int,
        nargs=4,
        metavar=("X", "Y", "W", "H"),
        help="where the face is in the first photograph, in px",
    )
    add("--user", default="", help="user name that clients must give")
    add("--password", default="", help="their password; - reads it from the first line of standard input")
    add("--auth", choices=("basic", "digest", "sha256", "both"), default="digest", help="how they must prove it")
    add("--fault", choices=FAULTS, help="misbehave from the start")
    add("--scenario", type=Path, metavar="FILE", help="JSON or YAML file with orders and their times")
    add("--width", type=int, default=640, help="picture width in px (default: %(default)s)")
    add("--height", type=int, default=360, help="picture height in px (default: %(default)s)")
    add("--fps", type=int, default=10, help="pictures per second (default: %(default)s)")
    add("--gop", type=float, default=2.0, metavar="S", help="seconds between key frames (default: %(default)s)")
    add("--noise", type=float, default=Look().noise, help="sensor noise in grey levels (default: %(default)s)")
    add("--codec", choices=("h264", "h265"), default="h264", help="how pictures are encoded (default: %(default)s)")
    add("--aggregate", action="store_true", help="put small units together (STAP-A)")
    add("--seed", type=int, help="seed of noise, damage and identifiers")


async def main(args: argparse.Namespace) -> int:
    """Run the simulated cameras until SIGINT or SIGTERM; return the exit status."""
    look = Look(width=args.width, height=args.height, fps=args.fps, gop_s=args.gop, noise=args.noise, codec=args.codec)
    password = args.password
    if password == "-":  # noqa: S105 - the word for standard input
        password = sys.stdin.readline().rstrip("\r\n")
    access = Access(kind=args.auth if args.user or password else "none", user=args.user, password=password)
    rng = random.Random(args.seed)  # noqa: S311 - repeatable on purpose, nothing depends on its secrecy
    server = CameraServer(look=look, access=access, rng=rng, aggregate=args.aggregate)
    cameras = args.path or ["gate"]
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    option, port = "--port", args.port
    try:
        async with server.serving(cameras, host=args.host, port=args.port):
            await _begin(server, args, cameras)
            option, port = "--control-port", args.control_port
            async with controlling(server, port=args.control_port) as address:
                _announce(server, cameras, address)
                await _until(stop, server, args.scenario)
    except (OSError, GatehouseError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        what = f"port {port} is taken: give another with {option}, 0 for a free one" if taken else str(error)
        sys.stderr.write(f"simulated camera: {what}\n")
        return 1
    return 0


async def _begin(server: CameraServer, args: argparse.Namespace, cameras: list[str]) -> None:
    face = tuple(args.face) if args.face else None
    for number, portrait in enumerate(args.portrait):
        await server.prepare(Scene(name="approach", portrait=portrait, face=None if number else face))
    if args.scene != "quiet":
        first = args.portrait[0] if args.portrait and args.scene in WITH_PERSON else None
        for camera in cameras:
            await server.show(camera, Scene(name=args.scene, portrait=first, face=face if first else None))
    if args.fault:
        for camera in cameras:
            server.misbehave(camera, args.fault)


def _announce(server: CameraServer, cameras: list[str], address: tuple[str, int]) -> None:
    ready = {
        "ready": True,
        "url": server.url(cameras[0]),
        "urls": {camera: server.url(camera) for camera in cameras},
        "control": f"{address[0]}:{address[1]}",
    }
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()


async def _until(stop: asyncio.Event, server: CameraServer, scenario: Path | None) -> None:
    if scenario is None:
        await stop.wait()
        return
    playing = asyncio.ensure_future(play_scenario(server, read_scenario(scenario)))
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait((playing, waiting), return_when=asyncio.FIRST_COMPLETED)
    if playing.done() and playing.exception() is None:
        await stop.wait()
    playing.cancel()
    waiting.cancel()
    if not stop.is_set():
        playing.result()


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m drivers.rtsp.simulator")
    add_arguments(_parser)
    sys.exit(asyncio.run(main(_parser.parse_args())))
