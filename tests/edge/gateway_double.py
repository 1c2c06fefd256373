"""A gateway that answers edges over real HTTP and WebSockets: signed policies and deltas, commands, relays, media."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from models.link import (
    HEADER_CHECKPOINT,
    HEADER_DIGEST,
    HEADER_EDGE,
    HEADER_NONCE,
    HEADER_POLICY,
    HEADER_POLICY_SIGNATURE,
    HEADER_SIGNATURE,
    HEADER_TIME,
    RELAY_MESSAGE_BYTES,
    Checkpoint,
    Command,
    EdgeStatus,
    Heard,
    Introduction,
    Progress,
    Result,
    Welcome,
    command_statement,
    policy_statement,
    signing_lines,
)
from models.policy import Policy, delta_between


@dataclass
class Told:
    """What one edge is told and has said about itself."""

    policy: Policy
    history: dict[tuple[int, int], Policy] = field(default_factory=dict)
    introduction: Introduction | None = None
    streams: list[asyncio.Queue[str]] = field(default_factory=list)


@dataclass
class GatewayDouble:
    """Answer edges over real HTTP; `fail` may give another status to any request. `policy` is the first edge's."""

    policy: Policy
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    called_off: set[str] = field(default_factory=set)
    """Commands that nobody wants any more."""
    statuses: list[EdgeStatus] = field(default_factory=list)
    photos: dict[str, bytes] = field(default_factory=dict)
    """Bytes that a ticket leads to, once."""
    relayed: dict[str, bytes] = field(default_factory=dict)
    """What edges sent through tickets."""
    media: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    public_key: str | None = None
    """The first edge's key; None refuses it."""
    clock_ahead_s: float = 0.0
    fail: Callable[[HttpRequest, bytes], Response | None] = lambda _request, _body: None
    policy_answer: Callable[[Response], Response] = lambda answer: answer
    """May spoil a policy answer."""
    torn: bool = False
    """Whether relays end before all has come."""
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    spent: str = ""
    secret: str = "token"
    unsigned: int = 0
    any_token: bool = False
    """Whether it takes every token, as a false gateway would."""
    answered: int = 0
    """Policy questions answered, with 304 too."""
    policies_sent: int = 0
    kinds_sent: list[str] = field(default_factory=list)
    port: int = 0
    others: dict[str, Told] = field(default_factory=dict)
    """Further edges, by id."""
    _first: Told | None = None
    _nonces: set[str] = field(default_factory=set)
    _server: uvicorn.Server | None = None
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._first = Told(policy=self.policy, history={(self.policy.epoch, self.policy.n): self.policy})
        routes = [
            Route("/edge/v1/enrol", self._enrol, methods=["POST"]),
            Route("/edge/v1/facts", self._signed(self._take_facts), methods=["POST"]),
            Route("/edge/v1/policy", self._signed(self._give_policy)),
            Route("/edge/v1/commands", self._signed(self._commands)),
            Route("/edge/v1/results", self._signed(self._take_result), methods=["POST"]),
            Route("/edge/v1/progress", self._signed(self._take_progress), methods=["POST"]),
            Route("/edge/v1/status", self._signed(self._take_status), methods=["POST"]),
            Route("/edge/v1/media", self._signed(self._take_media), methods=["POST"]),
            WebSocketRoute("/edge/v1/relay/{ticket}", self._relay),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=self.port, log_level="error", lifespan="off",
            timeout_graceful_shutdown=1, ws="websockets-sansio",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._task = asyncio.create_task(self._server._serve())
        deadline = time.monotonic() + 10.0
        while not self._server.started:
            assert time.monotonic() < deadline, "the gateway double did not start"
            await asyncio.sleep(0.005)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for told in (self._one(None), *self.others.values()):
            for stream in told.streams:
                stream.put_nowait("")
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    # ---- what tests say ---------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def gateway_key(self) -> str:
        """The public key that edges pin."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    @property
    def token(self) -> str:
        """A token of one use per edge, which names our key."""
        pin = hashlib.sha256(self.key.public_key().public_bytes_raw()).digest()
        return f"{self.secret}.{base64.urlsafe_b64encode(pin).decode().rstrip('=')}"

    def send(self, command: Command, *, to: str | None = None) -> None:
        """Send a command down every open stream of an edge."""
        self.tell("command", msgspec.json.encode(command).decode(), to=to)

    def tell(self, name: str, data: str, *, to: str | None = None) -> None:
        """Send a signed event down every open stream of an edge."""
        told = command_statement(self._one(to).policy.edge_id, data.encode())
        signature = base64.b64encode(self.key.sign(told)).decode()
        self._push(f"id: {signature}\nevent: {name}\ndata: {data}\n\n", to=to)

    def publish(self, new: Policy) -> None:
        """Change the policy of the edge that it names, and announce it."""
        told = self._one(new.edge_id)
        told.policy = new
        told.history[new.epoch, new.n] = new
        if told is self._first:
            self.policy = new
        self.tell("policy", f"[{new.epoch},{new.n}]", to=new.edge_id)

    def _push(self, text: str, *, to: str | None = None) -> None:
        for stream in self._one(to).streams:
            stream.put_nowait(text)

    @property
    def listeners(self) -> int:
        return len(self._one(None).streams)

    def _one(self, edge_id: str | None) -> Told:
        assert self._first is not None
        return self.others.get(edge_id or "", self._first)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the facts of a kind, in order of arrival."""
        return [fact for fact in self.facts.values() if fact["type"] == kind]

    # ---- signatures -------------------------------------------------------------------------------------------------

    def _signed(self, handle: Callable[[HttpRequest, bytes], Awaitable[Response]]) -> Callable[..., Any]:
        async def checked(request: HttpRequest) -> Response:
            body = await request.body()
            wrong = self.fail(request, body)
            if wrong is not None:
                return wrong
            if not self._signature_holds(request, method=request.method, body=body):
                return self._refusal()
            return await handle(request, body)

        return checked

    def _refusal(self) -> Response:
        self.unsigned += 1
        return Response(status_code=401, headers={HEADER_TIME: str(int(time.time() + self.clock_ahead_s))})

    def _signature_holds(self, request: HTTPConnection, *, method: str, body: bytes = b"") -> bool:
        headers: Headers = request.headers
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        fresh = abs(float(headers[HEADER_TIME]) - time.time() - self.clock_ahead_s) <= 300
        edge_id, nonce = headers[HEADER_EDGE], headers[HEADER_NONCE]
        public_key = self._key_of(edge_id)
        digest = hashlib.sha256(body).hexdigest()
        if public_key is None or not fresh or nonce in self._nonces or headers.get(HEADER_DIGEST, digest) != digest:
            return False
        self._nonces.add(nonce)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
        text = signing_lines(method, target, digest=digest, time_s=headers[HEADER_TIME], nonce=nonce)
        with contextlib.suppress(Exception):
            key.verify(base64.b64decode(headers[HEADER_SIGNATURE]), text)
            return True
        return False

    def _key_of(self, edge_id: str) -> str | None:
        if edge_id == self.policy.edge_id:
            return self.public_key
        told = self.others.get(edge_id)
        return None if told is None or told.introduction is None else told.introduction.public_key

    async def _enrol(self, request: HttpRequest) -> Response:
        told = msgspec.json.decode(await request.body(), type=Introduction)
        one = self._one(told.edge_id)
        again = one.introduction is not None and one.introduction.public_key == told.public_key
        if (told.token != self.token and not self.any_token) or (told.token == self.spent and not again):
            return Response(status_code=403)
        one.introduction = told
        if one is self._first:
            self.public_key = told.public_key
        welcome = Welcome(edge_id=told.edge_id, site_id="s1", gateway_key=self.gateway_key)
        return Response(msgspec.json.encode(welcome), status_code=201)

    # ---- answers ----------------------------------------------------------------------------------------------------

    async def _take_facts(self, _request: HttpRequest, body: bytes) -> Response:
        batch = msgspec.json.decode(body)
        self.batches.append([fact["id"] for fact in batch])
        for fact in batch:
            self.facts.setdefault(fact["id"], fact)
        return JSONResponse({"committed": [fact["id"] for fact in batch], "rejected": []})

    async def _give_policy(self, request: HttpRequest, _body: bytes) -> Response:
        told = self._one(request.headers[HEADER_EDGE])
        etag = f'"{told.policy.epoch}-{told.policy.n}"'
        self.answered += 1
        seen = {} if self.checkpoint is None else {HEADER_CHECKPOINT: msgspec.json.encode(self.checkpoint).decode()}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=seen)
        epoch, _, n = request.query_params.get("since", "").partition(".")
        base = told.history.get((int(epoch), int(n))) if n else None
        kind = "full" if base is None or base == told.policy else "delta"
        body = msgspec.json.encode(told.policy if kind == "full" else delta_between(base, told.policy))  # type: ignore[arg-type]
        self.policies_sent += 1
        self.kinds_sent.append(kind)
        signature = self.key.sign(policy_statement(told.policy.edge_id, body))
        headers = {
            "ETag": etag, HEADER_POLICY: kind, HEADER_POLICY_SIGNATURE: base64.b64encode(signature).decode(), **seen,
        }  # fmt: skip
        return self.policy_answer(Response(body, headers=headers))

    async def _commands(self, request: HttpRequest, _body: bytes) -> Response:
        told = self._one(request.headers[HEADER_EDGE])
        queue: asyncio.Queue[str] = asyncio.Queue()
        told.streams.append(queue)

        async def stream() -> AsyncIterator[str]:
            try:
                yield ": ping\n\n"
                while text := await queue.get():
                    yield text
            finally:
                told.streams.remove(queue)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def _relay(self, socket: WebSocket) -> None:
        ticket = socket.path_params["ticket"]
        if not self._signature_holds(socket, method="GET"):
            await socket.send_denial_response(self._refusal())
            return
        if ticket in self.photos:
            await self._give(socket, self.photos.pop(ticket))
        elif ticket in self.relayed and not self.relayed[ticket]:
            await self._take(socket, ticket)
        else:
            await socket.send_denial_response(Response(status_code=404))

    async def _give(self, socket: WebSocket, content: bytes) -> None:
        await socket.accept()
        for start in range(0, len(content), RELAY_MESSAGE_BYTES):
            await socket.send_bytes(content[start : start + RELAY_MESSAGE_BYTES])
        if self.torn:
            await socket.close(1011)
            return
        await socket.send_bytes(b"")
        await socket.close(1000)

    async def _take(self, socket: WebSocket, ticket: str) -> None:
        await socket.accept()
        content = b""
        while message := await socket.receive_bytes():
            assert len(message) <= RELAY_MESSAGE_BYTES
            content += message
        self.relayed[ticket] = content
        self.photos[ticket] = content
        await socket.close(1011 if self.torn else 1000)

    async def _take_result(self, _request: HttpRequest, body: bytes) -> Response:
        self.results.append(msgspec.json.decode(body, type=Result))
        return Response(status_code=204)

    async def _take_progress(self, _request: HttpRequest, body: bytes) -> Response:
        told = msgspec.json.decode(body, type=Progress)
        self.progress.append(told)
        return Response(msgspec.json.encode(Heard(wanted=told.command_id not in self.called_off)))

    async def _take_status(self, _request: HttpRequest, body: bytes) -> Response:
        self.statuses.append(msgspec.json.decode(body, type=EdgeStatus))
        return Response(status_code=204)

    async def _take_media(self, request: HttpRequest, body: bytes) -> Response:
        about = {**request.query_params, "type": request.headers["content-type"]}
        known = self.media.get(about["id"])
        if known is not None and known[1] != body:
            return Response(status_code=409)
        self.media[about["id"]] = (about, body)
        return Response(status_code=201 if known is None else 200)
