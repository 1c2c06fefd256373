"""What tests of the gateway share: a clock to turn, a real server in this loop, and an edge that signs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.asyncio.client import ClientConnection, connect

from gateway.api.application import application
from gateway.auth.passwords import hash_password
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.assessments import add_assessment
from gateway.store.edges import add_edge_token
from gateway.store.places import put_camera, put_door, put_site
from gateway.store.users import User, add_api_token, add_user
from models.assessments import TOPICS, Assessment, Topics
from models.events import AnyFact, DoorClosed, DoorForced, fact_id
from models.link import RELAY_MESSAGE_BYTES, signing_input
from models.places import Camera, CameraRegister, Door, Site

BEGINNING = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
EDGE = "edge-1"
REGISTER = CameraRegister(
    purpose="to see who stands at the gate", place_class="community_common", sign_confirmed_on=date(2026, 1, 1),
    banned_area_checked=True,
)  # fmt: skip


class Clock:
    """A clock that only moves when it is turned."""

    def __init__(self, at: datetime = BEGINNING) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def turn(self, **by: float) -> None:
        self.at += timedelta(**by)


def furnish(store: Store) -> None:
    """Write two sites: `a` with doors gate and side and a camera on edge-1, `b` with the door far on edge-9."""

    def write(connection: Any) -> None:
        for site_id, community in (("a", "310104005012"), ("b", "310105001001")):
            put_site(connection, Site(id=site_id, name=f"Site {site_id}", community=community, lat=31.2, lon=121.4))
        factors: Any = ("card", "pin", "face")
        gate = Door(id="gate", site_id="a", name="East gate", edge_id=EDGE, factors=factors, camera_id="cam")
        put_door(connection, gate)
        put_door(connection, Door(id="side", site_id="a", name="Side door", edge_id=EDGE))
        put_door(connection, Door(id="far", site_id="b", name="Far door", edge_id="edge-9"))
        camera = Camera(
            id="cam", site_id="a", name="Camera", edge_id=EDGE, url="rtsp://192.0.2.1/s", user="u", password="s3cret",
            register=REGISTER,
        )  # fmt: skip
        put_camera(connection, camera)

    store.write_now(write)


@cache
def _hashed() -> str:
    return hash_password(PASSWORD)


def add_people(store: Store, clock: Clock) -> None:
    """Add one user of each role at site a, and a manager at site b."""
    hashed = _hashed()
    roles = ("operator", "manager", "guard", "integrator", "audit_administrator", "system_administrator")
    for name, role, sites in [*((role, role, ("a",)) for role in roles), ("other", "manager", ("b",))]:
        user = User(id=f"u-{name}", username=name, role=role, sites=sites, created_at=clock())
        store.write_now(add_user, user, password_hash=hashed)


def assess_faces(store: Store, *, at: datetime, site_id: str = "a") -> Assessment:
    """Approve an impact assessment of faces at a site: without one no face is enrolled or matched."""
    said = Topics(**dict.fromkeys(TOPICS, "weighed with care and found to be in order"))
    made = Assessment(
        id=f"as-{site_id}", site_id=site_id, subject="face", topics=said, state="approved", drafted_by="x",
        drafted_at=at, approved_by="y", approved_at=at,
    )  # fmt: skip
    store.write_now(add_assessment, made)
    return made


def machine_token(store: Store, clock: Clock, *, role: str = "manager", sites: tuple[str, ...] = ("a",)) -> str:
    """Return a token of a machine."""
    secret = f"gh_{secrets.token_urlsafe(16)}"
    owner = User(id=f"t-{uuid.uuid4().hex}", username="machine", role=role, sites=sites, created_at=clock())
    store.write_now(add_api_token, secret, owner=owner)
    return secret


@contextlib.asynccontextmanager
async def serving(runtime: Runtime) -> AsyncIterator[str]:
    """Serve on a free port of loopback for the length of the block; yields the address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        application(runtime), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2,
        ws="websockets-sansio", ws_max_size=RELAY_MESSAGE_BYTES, ws_per_message_deflate=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        runtime.bells.close()
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def until(condition: Callable[[], Any], *, within_s: float = 10.0) -> Any:
    """Wait until a condition holds and return what it gave."""
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


class SigningEdge:
    """An edge as the gateway sees it: signs its requests with a key of its own."""

    def __init__(self, url: str, clock: Clock, *, edge_id: str = EDGE) -> None:
        self.id = edge_id
        self.key = Ed25519PrivateKey.generate()
        self.clock = clock
        self.client = httpx.AsyncClient(base_url=url, timeout=20, trust_env=False)

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def headers(self, method: str, target: str, body: bytes = b"", **change: str) -> dict[str, str]:
        time_s, nonce = str(int(self.clock().timestamp())), secrets.token_hex(16)
        content = signing_input(method, target, body=body, time_s=time_s, nonce=nonce)
        signature = base64.b64encode(self.key.sign(content)).decode()
        return {
            "Gatehouse-Edge": self.id, "Gatehouse-Time": time_s, "Gatehouse-Nonce": nonce,
            "Gatehouse-Signature": signature, **change,
        }  # fmt: skip

    async def enrol(self, store: Store, *, site_id: str = "a", **more: str) -> httpx.Response:
        token = secrets.token_urlsafe(16)
        store.write_now(add_edge_token, token, site_id=site_id, at=self.clock())
        body = {"token": token, "edge_id": self.id, "name": "Edge", "public_key": self.public_key} | more
        return await self.client.post("/edge/v1/enrol", json=body)

    async def send(self, method: str, target: str, content: Any = None, **headers: str) -> httpx.Response:
        body = b"" if content is None else content if isinstance(content, bytes) else msgspec.json.encode(content)
        signed = self.headers(method, target, body) | headers
        return await self.client.request(method, target, content=body, headers=signed)

    @contextlib.asynccontextmanager
    async def relay(self, ticket: str) -> AsyncIterator[ClientConnection]:
        """Take this edge's end of an exchange."""
        target = f"/edge/v1/relay/{ticket}"
        address = str(self.client.base_url).replace("http", "ws", 1).rstrip("/") + target
        async with connect(address, additional_headers=self.headers("GET", target), proxy=None) as socket:
            yield socket

    async def fetch(self, ticket: str) -> bytes:
        """Return all that comes through the relay."""
        async with self.relay(ticket) as socket:
            content = b"".join([message if isinstance(message, bytes) else b"" async for message in socket])
        assert socket.close_code == 1000, socket.close_code
        return content

    async def report(self, *facts: AnyFact) -> httpx.Response:
        return await self.send("POST", "/edge/v1/facts", list(facts))


def forced(door_id: str = "gate", n: int = 1, *, at: datetime = BEGINNING, **more: Any) -> DoorForced:
    """Return the fact that a door was forced."""
    return DoorForced(id=fact_id(EDGE, door_id, str(n), "door_forced"), at=at, door_id=door_id, **more)


def closed(door_id: str = "gate", n: int = 2, *, at: datetime = BEGINNING) -> DoorClosed:
    """Return the fact that a door closed."""
    return DoorClosed(id=fact_id(EDGE, door_id, str(n), "door_closed"), at=at, door_id=door_id)


class Heard(msgspec.Struct, frozen=True):
    """One server-sent event."""

    name: str
    data: str
    number: int | None
    id: str = ""

    def json(self) -> Any:
        return msgspec.json.decode(self.data)


class Ear:
    """Reads server-sent events from a plain connection, so that a test can break it off at any time."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.status = 0

    async def next(self, *, within_s: float = 10.0) -> Heard:
        """Return the next event."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(within_s):
            while True:
                line = (await self._reader.readuntil(b"\n")).decode().rstrip("\r\n")
                name, colon, value = line.partition(": ")
                if colon and name in {"id", "event", "data"}:
                    fields[name] = value
                elif not line and "data" in fields:
                    key = fields.get("id", "")
                    number = int(key) if key.isdecimal() else None
                    return Heard(fields.get("event", ""), fields["data"], number, key)

    async def begin(self) -> None:
        """Read the head of the answer."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)
        self.status = int(head.split()[1])


@contextlib.asynccontextmanager
async def listening(url: str, target: str, *, headers: dict[str, str]) -> AsyncIterator[Ear]:
    """Open a stream of server-sent events for the length of the block."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    ear = Ear(reader)
    try:
        await ear.begin()
        yield ear
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
