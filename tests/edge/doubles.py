"""What the edge's tests stand on: a door wire in memory, a gateway that answers real HTTP, and small builders."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from drivers.door import Capability, Executed, Order, Reported, UnlockDoor
from models.access import Request
from models.doors import Event, Presence, Report, Snapshot
from models.link import (
    HEADER_EDGE,
    HEADER_NONCE,
    HEADER_SIGNATURE,
    HEADER_TIME,
    Command,
    EdgeStatus,
    Result,
    signing_input,
)  # fmt: skip
from models.people import Consent, Credential, Member, Permit, credential_digest
from models.places import Door
from models.policy import Policy

EDGE = "edge-1"
CREDENTIAL_KEY = "11" * 32
LIMIT_S = 10.0


async def until(condition: Callable[[], bool], *, limit_s: float = LIMIT_S, what: str = "the condition") -> None:
    """Wait until something holds, and fail after a limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {limit_s} s"
        await asyncio.sleep(0.005)


@dataclass
class MemoryWire:
    """A door driver whose wire is a pair of queues; `answer` says how it executes orders."""

    counters: dict[str, int] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    acknowledged: list[tuple[str, int | None]] = field(default_factory=list)
    answer: Callable[[Order], Awaitable[Executed]] | None = None
    opened: int = 0
    fails: Exception | None = None
    _reports: asyncio.Queue[Reported | Exception] = field(default_factory=asyncio.Queue)
    _requests: asyncio.Queue[Request] = field(default_factory=asyncio.Queue)

    async def __aenter__(self) -> Self:
        self.opened += 1
        if self.fails is not None:
            raise self.fails
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def reports(self) -> AsyncIterator[Reported]:
        while True:
            item = await self._reports.get()
            if isinstance(item, Exception):
                raise item
            yield item

    async def requests(self) -> AsyncIterator[Request]:
        while True:
            yield await self._requests.get()

    async def execute(self, order: Order) -> Executed:
        self.orders.append(order)
        return Executed(ok=True) if self.answer is None else await self.answer(order)

    async def snapshot(self, door_id: str) -> Snapshot | None:
        return None

    def capabilities(self, door_id: str) -> frozenset[Capability] | None:
        return frozenset({"contact", "lock", "card", "pin", "button", "ack"})

    def say(self, door_id: str, report: Report) -> None:
        """Let a door report something."""

        async def acknowledge(through: int | None) -> None:
            self.acknowledged.append((door_id, through))

        self._reports.put_nowait(Reported(door_id=door_id, report=report, acknowledge=acknowledge))

    def ask(self, request: Request) -> None:
        """Let somebody stand at a reader."""
        self._requests.put_nowait(request)

    def end(self, error: Exception) -> None:
        """Let the connection end."""
        self._reports.put_nowait(error)

    def unlocks(self) -> list[UnlockDoor]:
        """Return the unlock orders so far."""
        return [order for order in self.orders if isinstance(order, UnlockDoor)]


def now() -> datetime:
    return datetime.now(UTC)


def event(seq: int, kind: str = "opened", *, at: datetime | None = None, **more: Any) -> Event:
    return Event(id=f"e{seq}", seq=seq, type=kind, at=at or now(), **more)  # type: ignore[arg-type]


def online(*, value: bool = True) -> Presence:
    return Presence(at=now(), online=value)


def door(door_id: str = "d1", **more: Any) -> Door:
    return Door(id=door_id, site_id="s1", name=door_id, edge_id=EDGE, **more)


def card(person_id: str, value: str) -> Credential:
    digest = credential_digest("card", value, bytes.fromhex(CREDENTIAL_KEY))
    return Credential(id=f"card-{person_id}", person_id=person_id, kind="card", digest=digest)


def pin(person_id: str, value: str) -> Credential:
    digest = credential_digest("pin", value, bytes.fromhex(CREDENTIAL_KEY))
    return Credential(id=f"pin-{person_id}", person_id=person_id, kind="pin", digest=digest)


def permit(person_id: str, *doors: str, **more: Any) -> Permit:
    return Permit(id=f"permit-{person_id}", person_id=person_id, doors=doors or ("d1",), **more)


def consent(person_id: str, *doors: str, **more: Any) -> Consent:
    return Consent(
        id=f"consent-{person_id}",
        person_id=person_id,
        doors=doors or ("d1",),
        text_version="1",
        text_sha256="00" * 32,
        given_at=now() - timedelta(hours=1),
        channel="demo",
        evidence="test",
        **more,
    )


def person(person_id: str, **more: Any) -> Member:
    return Member(id=person_id, **more)


def policy(*doors: Door, n: int = 1, **more: Any) -> Policy:
    more.setdefault("cameras", ())
    more.setdefault("assessed", ("face",))
    return Policy(
        edge_id=EDGE,
        site_id="s1",
        epoch=1,
        n=n,
        issued_at=now(),
        valid_until=more.pop("valid_until", now() + timedelta(days=7)),
        doors=doors,
        credential_key=CREDENTIAL_KEY,
        **more,
    )


@dataclass
class GatewayDouble:
    """Answer an edge over real HTTP; `fail` may give another status to any request."""

    policy: Policy
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    statuses: list[EdgeStatus] = field(default_factory=list)
    photos: dict[str, bytes] = field(default_factory=dict)
    public_key: str | None = None
    token: str = "token"
    clock_ahead_s: float = 0.0
    fail: Callable[[HttpRequest, bytes], Response | None] = lambda _request, _body: None
    unsigned: int = 0
    policies_sent: int = 0
    port: int = 0
    _nonces: set[str] = field(default_factory=set)
    _streams: list[asyncio.Queue[str]] = field(default_factory=list)
    _server: uvicorn.Server | None = None
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        routes = [
            Route("/edge/v1/enrol", self._enrol, methods=["POST"]),
            Route("/edge/v1/facts", self._signed(self._take_facts), methods=["POST"]),
            Route("/edge/v1/policy", self._signed(self._give_policy)),
            Route("/edge/v1/commands", self._signed(self._commands)),
            Route("/edge/v1/relay/{ticket}", self._signed(self._relay)),
            Route("/edge/v1/results", self._signed(self._take_result), methods=["POST"]),
            Route("/edge/v1/status", self._signed(self._take_status), methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=self.port, log_level="error", lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._task = asyncio.create_task(self._server._serve())
        await until(lambda: self._server is not None and self._server.started)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for stream in self._streams:
            stream.put_nowait("")
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, command: Command) -> None:
        """Send a command down every open stream."""
        self._push(f"event: command\ndata: {msgspec.json.encode(command).decode()}\n\n")

    def publish(self, new: Policy) -> None:
        """Change the policy and announce it."""
        self.policy = new
        self._push(f"event: policy\ndata: {new.n}\n\n")

    def _push(self, text: str) -> None:
        for stream in self._streams:
            stream.put_nowait(text)

    @property
    def listeners(self) -> int:
        return len(self._streams)

    def _signed(self, handle: Callable[[HttpRequest, bytes], Awaitable[Response]]) -> Callable[..., Any]:
        async def checked(request: HttpRequest) -> Response:
            body = await request.body()
            wrong = self.fail(request, body)
            if wrong is not None:
                return wrong
            if not self._signature_holds(request, body):
                self.unsigned += 1
                return Response(status_code=401, headers={HEADER_TIME: str(int(time.time() + self.clock_ahead_s))})
            return await handle(request, body)

        return checked

    def _signature_holds(self, request: HttpRequest, body: bytes) -> bool:
        headers = request.headers
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        fresh = abs(float(headers[HEADER_TIME]) - time.time() - self.clock_ahead_s) <= 300
        known = headers[HEADER_EDGE] == EDGE and headers[HEADER_NONCE] not in self._nonces
        if self.public_key is None or not fresh or not known:
            return False
        self._nonces.add(headers[HEADER_NONCE])
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(self.public_key))
        text = signing_input(
            request.method, target, body=body, time_s=headers[HEADER_TIME], nonce=headers[HEADER_NONCE]
        )
        with contextlib.suppress(Exception):
            key.verify(base64.b64decode(headers[HEADER_SIGNATURE]), text)
            return True
        return False

    async def _enrol(self, request: HttpRequest) -> Response:
        content = await request.json()
        if content["token"] != self.token:
            return Response(status_code=403)
        self.public_key = content["public_key"]
        return JSONResponse({"edge_id": content["edge_id"], "site_id": "s1"}, status_code=201)

    async def _take_facts(self, _request: HttpRequest, body: bytes) -> Response:
        batch = msgspec.json.decode(body)
        self.batches.append([fact["id"] for fact in batch])
        for fact in batch:
            self.facts.setdefault(fact["id"], fact)
        return JSONResponse({"committed": [fact["id"] for fact in batch], "rejected": []})

    async def _give_policy(self, request: HttpRequest, _body: bytes) -> Response:
        etag = f'"{self.policy.epoch}.{self.policy.n}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304)
        self.policies_sent += 1
        return Response(msgspec.json.encode(self.policy), headers={"ETag": etag})

    async def _commands(self, _request: HttpRequest, _body: bytes) -> Response:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._streams.append(queue)

        async def stream() -> AsyncIterator[str]:
            try:
                yield ": ping\n\n"
                while text := await queue.get():
                    yield text
            finally:
                self._streams.remove(queue)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def _relay(self, request: HttpRequest, _body: bytes) -> Response:
        photo = self.photos.pop(request.path_params["ticket"], None)
        return Response(status_code=404) if photo is None else Response(photo)

    async def _take_result(self, _request: HttpRequest, body: bytes) -> Response:
        self.results.append(msgspec.json.decode(body, type=Result))
        return Response(status_code=204)

    async def _take_status(self, _request: HttpRequest, body: bytes) -> Response:
        self.statuses.append(msgspec.json.decode(body, type=EdgeStatus))
        return Response(status_code=204)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the facts of a kind, in order of arrival."""
        return [fact for fact in self.facts.values() if fact["type"] == kind]
