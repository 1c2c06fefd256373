"""The relay: bytes pass from one end to the other, once, bounded, in time, and never touch a disk."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.relay import EXCHANGES, LIFE_S, MESSAGES_HELD, Exchange, Relay
from gateway.runtime import Runtime
from gateway.store.edges import revoke_edge
from models.link import MAX_SHARED_BYTES, RELAY_MESSAGE_BYTES
from tests.gateway.support import Clock, SigningEdge, until

MARK = b"sealed-for-a-sibling"


@pytest.fixture
async def sibling(url: str, runtime: Runtime, clock: Clock) -> AsyncIterator[SigningEdge]:
    """Yield a second edge of the site."""
    made = SigningEdge(url, clock, edge_id="edge-2")
    assert (await made.enrol(runtime.store)).status_code == 201
    yield made
    await made.client.aclose()


async def test_what_one_edge_sends_the_other_receives_whole_and_no_disk_keeps_it(
    edge: SigningEdge, sibling: SigningEdge, *, runtime: Runtime, tmp_path: Path
) -> None:
    ticket = runtime.relay.join(sender=sibling.id, receiver=edge.id)
    assert ticket is not None
    messages = [MARK + os.urandom(60_000) for _ in range(4 * MESSAGES_HELD)]
    taking = asyncio.create_task(edge.fetch(ticket))
    async with sibling.relay(ticket) as socket:
        for message in messages:
            await socket.send(message)
        await socket.send(b"")
        await socket.wait_closed()
    assert socket.close_code == 1000, "the sender learns that the receiver has it"
    assert await taking == b"".join(messages)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or MARK not in file.read_bytes()


async def test_no_more_waits_in_memory_than_is_allowed(
    edge: SigningEdge, sibling: SigningEdge, *, runtime: Runtime
) -> None:
    ticket = runtime.relay.join(sender=sibling.id, receiver=edge.id)
    assert ticket is not None
    exchange = runtime.relay._exchanges[ticket]
    async with sibling.relay(ticket) as socket:
        for _ in range(MESSAGES_HELD + 2):
            await socket.send(b"x" * RELAY_MESSAGE_BYTES)
        await until(exchange._waiting.full)
        assert exchange._waiting.qsize() == MESSAGES_HELD
        taking = asyncio.create_task(edge.fetch(ticket))
        await socket.send(b"")
        assert len(await taking) == (MESSAGES_HELD + 2) * RELAY_MESSAGE_BYTES


async def test_a_ticket_is_for_its_two_ends_and_each_may_take_it_once(
    edge: SigningEdge, sibling: SigningEdge, *, runtime: Runtime, url: str, clock: Clock
) -> None:
    ticket = runtime.relay.join(sender=sibling.id, receiver=edge.id)
    assert ticket is not None
    thief = SigningEdge(url, clock, edge_id="edge-3")
    await thief.enrol(runtime.store)
    with pytest.raises(InvalidStatus, match="404"):
        await thief.fetch(ticket)
    with pytest.raises(InvalidStatus, match="404"):
        await edge.fetch(secrets.token_urlsafe(32))
    async with edge.relay(ticket):
        with pytest.raises(InvalidStatus, match="404"):
            await edge.fetch(ticket)
    await thief.client.aclose()


async def test_a_handshake_that_no_edge_signed_now_is_refused_with_the_gateways_time(
    edge: SigningEdge, runtime: Runtime, clock: Clock
) -> None:
    ticket = runtime.relay.leave(b"photo", edge_id=edge.id)
    target = f"/edge/v1/relay/{ticket}"
    address = str(edge.client.base_url).replace("http", "ws", 1).rstrip("/") + target
    spent = edge.headers("GET", "/edge/v1/policy")
    old = edge.headers("GET", target)
    clock.turn(seconds=400)
    for headers in ({}, spent, old, SigningEdge("", clock).headers("GET", target)):
        with pytest.raises(InvalidStatus) as refused:
            await connect(address, additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["Gatehouse-Time"] == str(int(clock().timestamp()))
    assert await edge.fetch(str(ticket)) == b"photo", "a refusal spends no ticket"


async def test_a_sender_that_goes_away_leaves_no_half_that_looks_whole(
    edge: SigningEdge, sibling: SigningEdge, *, runtime: Runtime
) -> None:
    ticket = runtime.relay.join(sender=sibling.id, receiver=edge.id)
    assert ticket is not None
    async with edge.relay(ticket) as receiving:
        async with sibling.relay(ticket) as sending:
            await sending.send(b"half")
            assert await receiving.recv() == b"half"
        with pytest.raises(ConnectionClosed):
            await receiving.recv()
        assert receiving.close_code == 1011


async def test_a_receiver_that_goes_away_ends_the_sender(
    edge: SigningEdge, sibling: SigningEdge, *, runtime: Runtime
) -> None:
    ticket = runtime.relay.join(sender=sibling.id, receiver=edge.id)
    assert ticket is not None
    async with sibling.relay(ticket) as sending:
        async with edge.relay(ticket):
            pass

        async def send_on() -> None:
            while True:
                await sending.send(b"x" * RELAY_MESSAGE_BYTES)

        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(send_on(), 10)
        assert sending.close_code == 1011


async def test_text_and_too_much_are_against_the_rules(
    edge: SigningEdge, sibling: SigningEdge, *, runtime: Runtime
) -> None:
    async def told(*messages: str | bytes, most: int = MAX_SHARED_BYTES) -> int | None:
        ticket = runtime.relay.join(sender=sibling.id, receiver=edge.id)
        assert ticket is not None
        runtime.relay._exchanges[ticket]._left_bytes = most
        async with sibling.relay(ticket) as socket:
            for message in messages:
                await socket.send(message)
            await socket.wait_closed()
        return socket.close_code

    assert await told("text") == 1008
    assert await told(b"12345", most=4) == 1009
    assert await told(b"x" * (RELAY_MESSAGE_BYTES + 1)) == 1009


async def test_a_ticket_ends_after_its_time(edge: SigningEdge, runtime: Runtime) -> None:
    late = runtime.relay.leave(b"photo", edge_id=edge.id)
    assert late is not None
    runtime.relay._exchanges[late].until -= LIFE_S
    with pytest.raises(InvalidStatus, match="404"):
        await edge.fetch(late)
    soon = runtime.relay.join(sender="edge-2", receiver=edge.id)
    assert soon is not None
    runtime.relay._exchanges[soon].until -= LIFE_S - 0.3
    async with edge.relay(soon) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert socket.close_code == 1011


async def test_a_stalled_exchange_ends_for_both_sides_at_its_time_without_an_error(
    edge: SigningEdge, sibling: SigningEdge, *, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = runtime.relay.join(sender=sibling.id, receiver=edge.id)
    assert ticket is not None
    runtime.relay._exchanges[ticket].until -= LIFE_S - 3.0  # both have to come within it on a busy machine
    async with sibling.relay(ticket) as sending, edge.relay(ticket) as receiving:
        await sending.send(b"half")
        assert await receiving.recv() == b"half"
        for socket in (sending, receiving):
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1011
    await until(lambda: runtime.counters.get("relays_broken") == 2)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_side_that_breaks_off_while_the_other_runs_out_of_time_ends_both() -> None:
    exchange = Exchange(sender="e2", receiver="e1", content=None, most_bytes=9, until=time.monotonic() + 0.05)

    async def side() -> str:
        try:
            async with exchange.within():
                await exchange.get()
        except TimeoutError:
            exchange.break_off()
            return "over"
        return "went on"

    assert list(await asyncio.gather(side(), side(), side())) == ["over"] * 3
    assert exchange.broken


async def test_a_revoked_edge_loses_its_exchanges_at_once(
    edge: SigningEdge, sibling: SigningEdge, *, runtime: Runtime, clock: Clock
) -> None:
    ticket = runtime.relay.join(sender=sibling.id, receiver=edge.id)
    assert ticket is not None
    async with edge.relay(ticket) as receiving:
        runtime.store.write_now(revoke_edge, sibling.id, at=clock())
        runtime.relay.refuse(sibling.id)
        with pytest.raises(ConnectionClosed):
            await receiving.recv()
    with pytest.raises(InvalidStatus, match="401"):
        await sibling.fetch(ticket)


def test_no_more_exchanges_wait_than_there_is_room_for() -> None:
    relay = Relay()
    tickets = [relay.leave(b"photo", edge_id="edge-1") for _ in range(EXCHANGES)]
    assert all(tickets)
    assert relay.join(sender="edge-1", receiver="edge-2") is None
    relay.forget(str(tickets[0]))
    relay.forget("unknown")
    assert relay.join(sender="edge-1", receiver="edge-2")
