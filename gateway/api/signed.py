"""Which edge sends a request: signature, time and nonce, for HTTP requests and WebSocket handshakes alike."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from gateway.api.deps import Shared
from gateway.auth.signatures import is_nonce, is_time, signed_by
from gateway.runtime import Runtime
from gateway.store.edges import EdgeIdentity, edge_identity, spend_nonce
from models.link import HEADER_EDGE, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIME, signing_lines

EMPTY = hashlib.sha256(b"").hexdigest()


def _unsigned(runtime: Runtime, what: str) -> HTTPException:
    runtime.count("edge_requests_refused")
    return HTTPException(401, what, headers={HEADER_TIME: str(int(runtime.clock().timestamp()))})


def _target(connection: HTTPConnection) -> str:
    """Return path and query as they stood on the wire."""
    raw = connection.scope.get("raw_path") or connection.url.path.encode()
    query: bytes = connection.scope.get("query_string", b"")
    return raw.decode("latin-1").split("?")[0] + (f"?{query.decode('latin-1')}" if query else "")


async def edge_of(connection: HTTPConnection, runtime: Runtime, *, digest: str) -> EdgeIdentity:
    """Return the edge that signed a request whose body has this hex SHA-256.

    Raises:
        HTTPException: 401: unknown or revoked, wrong signature, another time (the answer says ours), or seen before.
    """
    given = connection.headers
    edge_id, time_s, nonce = given.get(HEADER_EDGE, ""), given.get(HEADER_TIME, ""), given.get(HEADER_NONCE, "")
    if not is_time(time_s) or not is_nonce(nonce):
        raise _unsigned(runtime, f"sign the request: {HEADER_TIME} and {HEADER_NONCE} are missing or malformed")
    edge = await runtime.store.read(edge_identity, edge_id)
    if edge is None:
        raise _unsigned(runtime, "this edge is not enrolled, or was revoked")
    method = connection.scope.get("method", "GET")
    content = signing_lines(method, _target(connection), digest=digest, time_s=time_s, nonce=nonce)
    if not signed_by(edge.public_key, given.get(HEADER_SIGNATURE, ""), content):
        raise _unsigned(runtime, "the signature does not fit the request")
    at = runtime.clock()
    if abs(int(time_s) - at.timestamp()) > runtime.clock_window_s:
        raise _unsigned(runtime, "the edge's clock is too far from ours")
    if not await runtime.store.write(spend_nonce, nonce.lower(), edge_id=edge.id, at=at):
        raise _unsigned(runtime, "this nonce was seen before")
    return edge


async def signed_edge(request: Request, runtime: Shared) -> EdgeIdentity:
    """Return the edge that signed a request.

    Raises:
        HTTPException: 401, as `edge_of` says.
    """
    digest = hashlib.sha256(await request.body()).hexdigest()
    return await edge_of(request, runtime, digest=digest)


Edge = Annotated[EdgeIdentity, Depends(signed_edge)]
