"""One end of the edge link over real HTTP and WebSockets, against the gateway double."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx

from edge.channel import Channel, introduce
from edge.checkpoints import Checkpoints
from edge.clock import SteadyClock
from edge.identity import Signer, key_of, new_key, public_key
from edge.keystore import KeyStore
from edge.policies import Policies, PolicyAnswer
from edge.relay import Relay
from edge.spool import Spool
from edge.uplink import Uplink
from models.link import Command, EdgeStatus, Introduction, Result
from models.policy import Policy
from tests.edge.doubles import EDGE, now
from tests.edge.gateway_double import GatewayDouble


@dataclass
class Side:
    """One end of a link: the uplink, its parts, and what it was told."""

    uplink: Uplink
    channel: Channel
    relay: Relay
    spool: Spool
    gateway: GatewayDouble
    held: Policies
    checkpoints: Checkpoints
    policies: list[Policy] = field(default_factory=list)
    obeyed: list[str] = field(default_factory=list)
    deadlines: list[datetime] = field(default_factory=list)

    async def obey(self, command: Command) -> Result:
        """Obey a command, unless it is one that breaks."""
        self.obeyed.append(command.id)
        self.deadlines.append(command.deadline)
        if command.id.startswith("breaks"):
            raise ZeroDivisionError("a defect of ours")
        return Result(command_id=command.id, state="confirmed", at=now())


@contextlib.asynccontextmanager
async def linked(folder: Path, gateway: GatewayDouble, *, start: bool = True) -> AsyncIterator[Side]:
    key = key_of(KeyStore(folder).secret(folder / "edge.key", make=new_key))
    clock = SteadyClock()
    async with (
        Spool(folder / "spool.db") as spool,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        about = Introduction(token=gateway.token, edge_id=EDGE, name="x", public_key=public_key(key))
        welcome = await introduce(client, about)
        signer = Signer(key, edge_id=EDGE, unix=clock.unix, nonce=lambda: secrets.token_hex(16))
        held = Policies(edge_id=EDGE, spool=spool, keys=KeyStore(folder), gateway_key=lambda: welcome.gateway_key)
        side: Side

        async def on_policy(answer: PolicyAnswer) -> None:
            accepted = await held.receive(answer)
            if accepted is not None:
                side.policies.append(accepted)

        async def obey(command: Command) -> Result:
            return await side.obey(command)

        channel = Channel(client=client, signer=signer, clock=clock)
        checkpoints = Checkpoints(spool)
        uplink = Uplink(
            channel=channel, spool=spool, clock=clock, status=lambda: _status(spool), policy=lambda: held.current,
            on_policy=on_policy, on_checkpoint=checkpoints.witness, vouched=held.vouched, obey=obey,
        )  # fmt: skip
        relay = Relay(base_url=gateway.url, signer=signer, tls=False)
        side = Side(uplink, channel, relay, spool, gateway, held, checkpoints)
        await held.load()
        await checkpoints.load()
        await uplink.load()
        async with asyncio.TaskGroup() as tasks:
            if start:
                uplink.start(tasks)
            yield side
            for task in list(tasks._tasks):
                task.cancel()


def _status(spool: Spool) -> EdgeStatus:
    return EdgeStatus(edge_id=EDGE, at=now(), backlog=spool.backlog, doors=(), cameras=(), counters={}, policy=(1, 1))
