"""The RTSP/1.0 server of the simulated cameras: one connection's conversation, over TCP-interleaved or UDP.

It serves what the players play. Everything that a client can make it hold is bounded; a client that breaks the
protocol is answered 400 and closed, the others never notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from drivers.rtsp import wire
from drivers.rtsp.player import Fault, Player, Track
from drivers.rtsp.rtp import parameter_sets
from drivers.rtsp.scenes import Clip, Look, Scene, encode
from drivers.rtsp.sdp import describe
from models.errors import InvalidInput, NotFound

MAX_CONNECTIONS: Final = 32
MAX_BACKLOG_BYTES: Final = 1_000_000
MAX_CLIPS: Final = 32
READ_AHEAD_BYTES: Final = 64 * 1024
IDLE_S: Final = 60.0
METHODS: Final = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN"
Headers = list[tuple[str, str]]


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may watch: nobody is asked with `kind` none; `both` offers SHA-256 and MD5 digest."""

    kind: Literal["none", "basic", "digest", "sha256", "both"] = "none"
    user: str = ""
    password: str = ""


class UdpPair(asyncio.DatagramProtocol):
    """Two UDP sockets that send RTP and RTCP to one client; what they receive is ignored."""

    def __init__(self) -> None:
        self.transports: list[asyncio.DatagramTransport] = []
        self.ports = (0, 0)

    async def open(self, host: str, rng: random.Random) -> None:
        """Bind an even port and the odd one above it.

        Raises:
            OSError: no free pair was found.
        """
        loop = asyncio.get_running_loop()
        for _ in range(50):
            port = rng.randrange(20_000, 60_000) & ~1
            try:
                for number in (port, port + 1):
                    transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, number))
                    self.transports.append(transport)
            except OSError:
                self.close()
                continue
            self.ports = (port, port + 1)
            return
        raise OSError("no free pair of UDP ports")

    def sender(self, which: int, address: tuple[str, int]) -> Callable[[bytes], None]:
        """Return a function that sends one packet to the client."""
        return lambda packet: self.transports[which].sendto(packet, address)

    def close(self) -> None:
        """Free both ports."""
        for transport in self.transports:
            transport.close()
        self.transports = []


class Connection:
    """One client: reads its requests until it leaves, and owns what it set up."""

    def __init__(
        self,
        players: Mapping[str, Player],
        access: Callable[[], Access],
        *,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rng: random.Random,
        aggregate: bool = False,
    ) -> None:
        self._players = players
        self._access = access
        self._reader = reader
        self._writer = writer
        self._rng = rng
        self._aggregate = aggregate
        self._nonce = f"{rng.getrandbits(128):032x}"
        self._session = f"{rng.getrandbits(64):016x}"
        self._player: Player | None = None
        self._track: Track | None = None
        self._udp: UdpPair | None = None
        self._playing = False

    async def serve(self) -> None:
        """Answer until the client leaves, breaks the protocol, or is silent for a minute without playing."""
        cutter = wire.Reader()
        try:
            while piece := await self._receive():
                for item in cutter.feed(piece):
                    if isinstance(item, wire.Request) and not await self._handle(item):
                        return
        except InvalidInput:
            self._writer.write(wire.answer(400, "0"))
        except (TimeoutError, ConnectionError):
            return
        finally:
            self._stop()
            self._writer.close()

    async def _receive(self) -> bytes:
        async with asyncio.timeout(None if self._playing else IDLE_S):
            return await self._reader.read(16_384)

    def drop(self) -> None:
        """Cut the connection without a word."""
        self._writer.transport.abort()

    def watches(self, player: Player) -> bool:
        """Say whether this client has asked for that camera."""
        return self._player is player

    async def _handle(self, request: wire.Request) -> bool:
        player = self._players.get(_camera(request.uri)) or self._player
        fault = player.current_fault() if player else None
        if fault == "mute":
            return True
        if fault == "cut":
            return False
        if fault == "garbage":
            self._writer.write(self._rng.randbytes(4096))
            return False
        status, headers, body = await self._respond(request, player, refuse=fault == "wrong_credentials")
        self._writer.write(wire.answer(status, request.cseq, headers=headers, body=body))
        await self._writer.drain()
        if status == 200 and request.method == "PLAY" and self._player and self._track and not self._playing:
            self._playing = True
            self._player.add(self._track)
        if status == 200 and request.method == "TEARDOWN":
            self._stop()
        return True

    async def _respond(self, request: wire.Request, player: Player | None, *, refuse: bool) -> tuple[int, Headers, str]:
        if request.method == "OPTIONS":
            return 200, [("Public", METHODS)], ""
        access = self._access()
        if refuse and access.kind == "none":
            access = Access(kind="digest", user="", password=self._nonce)
        if access.kind != "none":
            proof = {"kind": access.kind, "user": access.user, "password": access.password, "nonce": self._nonce}
            if refuse or not wire.authorised(request, **proof):
                return 401, wire.challenge(kind=access.kind, realm="camera", nonce=self._nonce), ""
        if request.method == "DESCRIBE":
            return self._describe(request, player)
        if request.method == "SETUP":
            return await self._set_up(request, player)
        if request.method in ("PLAY", "PAUSE", "GET_PARAMETER", "SET_PARAMETER", "TEARDOWN"):
            return self._control(request)
        return 501, [], ""

    def _describe(self, request: wire.Request, player: Player | None) -> tuple[int, Headers, str]:
        if player is None:
            return 404, [], ""
        host, first = self._writer.get_extra_info("sockname")[0], player.quiet.pictures[0]
        sets = parameter_sets(first.units, first.codec)
        text = describe(host=host, name="Gatehouse camera", codec=first.codec, parameter_sets=sets, fps=player.fps)
        base = request.uri.rstrip("/") + "/"
        return 200, [("Content-Base", base), ("Content-Type", "application/sdp")], text

    async def _set_up(self, request: wire.Request, player: Player | None) -> tuple[int, Headers, str]:
        if player is None:
            return 404, [], ""
        if self._playing:
            return 455, [], ""
        offer = wire.parse_transport(request.headers.get("transport", ""))
        if offer is None:
            return 461, [], ""
        self._stop()
        self._player = player
        if offer.interleaved:
            self._track, text = self._over_tcp(offer.interleaved)
        elif offer.client_port:
            self._track, text = await self._over_udp(offer.client_port)
        return 200, [("Transport", f"{text};ssrc={self._ssrc()}"), ("Session", f"{self._session};timeout=60")], ""

    def _ssrc(self) -> str:
        return f"{self._track.ssrc:08X}" if self._track else ""

    def _over_tcp(self, channels: tuple[int, int]) -> tuple[Track, str]:
        write = self._writer.write
        transport = self._writer.transport
        track = Track(
            send_rtp=lambda packet: write(wire.interleave(channels[0], packet)),
            send_rtcp=lambda packet: write(wire.interleave(channels[1], packet)),
            room=lambda: transport.get_write_buffer_size() < MAX_BACKLOG_BYTES,
            rng=self._rng,
            aggregate=self._aggregate,
        )
        return track, f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]}"

    async def _over_udp(self, ports: tuple[int, int]) -> tuple[Track, str]:
        host = self._writer.get_extra_info("peername")[0]
        self._udp = UdpPair()
        await self._udp.open(self._writer.get_extra_info("sockname")[0], self._rng)
        track = Track(
            send_rtp=self._udp.sender(0, (host, ports[0])),
            send_rtcp=self._udp.sender(1, (host, ports[1])),
            room=lambda: True,
            rng=self._rng,
            aggregate=self._aggregate,
        )
        ours = self._udp.ports
        return track, f"RTP/AVP;unicast;client_port={ports[0]}-{ports[1]};server_port={ours[0]}-{ours[1]}"

    def _control(self, request: wire.Request) -> tuple[int, Headers, str]:
        given = request.headers.get("session", "").partition(";")[0].strip()
        if request.method in ("PLAY", "PAUSE", "TEARDOWN") and (self._track is None or given != self._session):
            return (454, [], "") if self._track or request.method != "TEARDOWN" else (200, [], "")
        headers: Headers = [("Session", self._session)] if self._track else []
        if request.method == "PLAY" and self._player and self._track:
            url = f"{request.uri.rstrip('/')}/trackID=0"
            info = f"url={url};seq={self._track.sequence};rtptime={self._player.timestamp}"
            headers += [("Range", "npt=0.000-"), ("RTP-Info", info)]
        if request.method == "PAUSE" and self._player and self._track:
            self._player.remove(self._track)
            self._playing = False
        return 200, headers, ""

    def _stop(self) -> None:
        if self._player and self._track:
            self._player.remove(self._track)
        if self._udp:
            self._udp.close()
        self._player = self._track = self._udp = None
        self._playing = False


def _camera(uri: str) -> str:
    """Return the camera's name, the first part of the path; empty for what is no URI."""
    try:
        return unquote(urlsplit(uri).path).strip("/").partition("/")[0]
    except ValueError:
        return ""


class CameraServer:
    """Simulated cameras behind one RTSP port.

    Use `serving(...)`; then `url`, `show` and `misbehave` by the camera's name.
    """

    def __init__(self, *, look: Look, access: Access, rng: random.Random, aggregate: bool = False) -> None:
        self.access = access
        self._look = look
        self._rng = rng
        self._aggregate = aggregate
        self._players: dict[str, Player] = {}
        self._connections: set[Connection] = set()
        self._conversations: set[asyncio.Task[None]] = set()
        self._clips: dict[Scene, Clip] = {}
        self._encoding = asyncio.Lock()
        self._artist = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._address = ("", 0)

    def url(self, camera: str) -> str:
        """Return the camera's RTSP URL, without credentials."""
        host, port = self._address
        return f"rtsp://{host}:{port}/{camera}"

    @property
    def players(self) -> dict[str, Player]:
        """The cameras by name."""
        return self._players

    def player(self, camera: str | None) -> Player:
        """Return one camera; the only one needs no name.

        Raises:
            NotFound: no such camera.
        """
        if camera is None and len(self._players) == 1:
            return next(iter(self._players.values()))
        if camera not in self._players:
            raise NotFound("simulated camera", str(camera))
        return self._players[camera]

    async def prepare(self, scene: Scene) -> Clip:
        """Encode a scene ahead, so that `show` is instant.

        Raises:
            InvalidInput: no or no readable portrait for a scene that needs one.
        """
        async with self._encoding:
            clip = self._clips.pop(scene, None)
            if clip is None:
                clip = await asyncio.get_running_loop().run_in_executor(self._artist, encode, self._look, scene)
            self._clips[scene] = clip
            if len(self._clips) > MAX_CLIPS:
                self._clips.pop(next(iter(self._clips)))
            return clip

    async def show(self, camera: str | None, scene: Scene) -> float | None:
        """Change what a camera sees, from its next picture on; return when the face is near, in s from now.

        Raises:
            NotFound: no such camera.
            InvalidInput: see `prepare`.
        """
        player = self.player(camera)
        clip = await self.prepare(scene)
        player.show(clip)
        return clip.near_s

    def misbehave(self, camera: str | None, fault: Fault | None, *, for_s: float | None = None) -> None:
        """Begin a fault at a camera, or end it with None.

        Raises:
            NotFound: no such camera.
        """
        player = self.player(camera)
        player.misbehave(fault, for_s=for_s)
        if fault in ("cut", "mute", "garbage", "wrong_credentials"):
            for connection in tuple(self._connections):
                if connection.watches(player):
                    connection.drop()

    @contextlib.asynccontextmanager
    async def serving(
        self, cameras: Iterable[str], *, host: str = "127.0.0.1", port: int = 0
    ) -> AsyncIterator[CameraServer]:
        """Serve these cameras until the block ends.

        Raises:
            OSError: the port cannot be had.
        """
        quiet = await self.prepare(Scene())
        self._players = {name: Player(quiet, fps=self._look.fps, rng=self._rng) for name in cameras}
        server = await asyncio.start_server(self._accept, host, port, limit=READ_AHEAD_BYTES)
        self._address = server.sockets[0].getsockname()[:2]
        ticking = [asyncio.create_task(player.run()) for player in self._players.values()]
        try:
            yield self
        finally:
            server.close()
            for connection in tuple(self._connections):
                connection.drop()
            await ended(self._conversations)
            for task in ticking:
                task.cancel()
            await asyncio.wait(ticking)
            self._artist.shutdown(wait=False, cancel_futures=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        connection = Connection(
            self._players,
            lambda: self.access,
            reader=reader,
            writer=writer,
            rng=self._rng,
            aggregate=self._aggregate,
        )
        self._connections.add(connection)
        with counted(self._conversations):
            await connection.serve()
        self._connections.discard(connection)


@contextlib.contextmanager
def counted(tasks: set[asyncio.Task[None]]) -> Iterator[None]:
    """Keep the running task in a set while the block lasts."""
    task = asyncio.current_task()
    if task is not None:
        tasks.add(task)
    try:
        yield
    finally:
        if task is not None:
            tasks.discard(task)


async def ended(tasks: set[asyncio.Task[None]]) -> None:
    """Wait until these tasks have ended, for at most a second."""
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
