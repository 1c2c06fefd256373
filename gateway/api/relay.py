"""The relay's WebSocket: an edge takes its end of an exchange by ticket, and bytes pass through (gateway.relay)."""

from __future__ import annotations

import contextlib

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.exceptions import HTTPException

from gateway.api.errors import problem
from gateway.api.signed import EMPTY, edge_of
from gateway.relay import Exchange
from gateway.runtime import Runtime

router = APIRouter(prefix="/edge/v1", tags=["edges"])
COMPLETE, AGAINST_RULES, TOO_MUCH, INCOMPLETE = 1000, 1008, 1009, 1011


@router.websocket("/relay/{ticket}")
async def relay(socket: WebSocket, ticket: str) -> None:
    """Pass bytes through one end of an exchange, once and within its time; close code 1000 means that all has come."""
    runtime: Runtime = socket.app.state.runtime
    try:
        edge = await edge_of(socket, runtime, digest=EMPTY)
    except HTTPException as error:
        refusal = problem(error.status_code, "unauthenticated", detail=error.detail, headers=dict(error.headers or {}))
        await socket.send_denial_response(refusal)
        return
    exchange = runtime.relay.take(ticket, edge_id=edge.id)
    if exchange is None:
        await socket.send_denial_response(problem(404, "not_found", detail="this ticket is unknown, spent or too old"))
        return
    code = INCOMPLETE
    try:
        async with exchange.within():
            await socket.accept()
            code = await (_receive if edge.id == exchange.sender else _send)(socket, exchange)
    except (TimeoutError, WebSocketDisconnect):
        runtime.count("relays_broken")
    finally:
        if code != COMPLETE:
            exchange.break_off()
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the other side was faster
        await socket.close(code)


async def _send(socket: WebSocket, exchange: Exchange) -> int:
    """Send the receiver what comes, until the empty message."""
    while message := await exchange.get():
        await socket.send_bytes(message)
    await socket.send_bytes(b"")
    exchange.delivered.set()
    return COMPLETE


async def _receive(socket: WebSocket, exchange: Exchange) -> int:
    """Take what the sender sends, until the empty message, and wait until the receiver has it."""
    while True:
        told = await socket.receive()
        if told["type"] != "websocket.receive":
            raise WebSocketDisconnect
        message = told.get("bytes")
        if message is None:
            return AGAINST_RULES
        if not await exchange.put(message):
            return TOO_MUCH
        if not message:
            await exchange.delivered.wait()
            return COMPLETE
