"""The loops beside the HTTP server: housekeeping, delivery, heartbeats, receipts. Each runs until cancelled and is restarted."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

from config.process import Good, Start
from config.settings import CentreSettings, Settings
from gateway.bulk.importing import run_imports
from gateway.bypassing import end_what_is_over
from gateway.centre.forwarder import Forwarder, Pace
from gateway.centre.post import Sender
from gateway.centre.pulse import Pulse
from gateway.centre.receipts import pull_receipts
from gateway.checkpoints import FILE as CHECKPOINTS
from gateway.checkpoints import note_checkpoint
from gateway.closing import close_orders
from gateway.counts import note_counts
from gateway.expiry import Terms, keep_terms
from gateway.files import write_private
from gateway.housekeeping import clean_up, offer_edge_token
from gateway.joining import Joining
from gateway.media import drop_old_media, drop_old_stills
from gateway.runtime import Runtime
from gateway.status import notice_silent_edges
from gateway.syslog import follow_audit

LOOK_S = 10.0
TOKEN_LOOK_S = 0.5
BYPASS_LOOK_S = 5.0
TERMS_LOOK_S = 300.0
CLEAN_EVERY = timedelta(hours=1)


def housekeeping(runtime: Runtime, settings: Settings, *, edge_token_file: Path | None) -> dict[str, Start]:
    """Return the loops that every gateway has."""
    loops: dict[str, Start] = {"housekeeping": lambda good: _keep_house(runtime, settings, good)}
    loops |= _witnessing(runtime, settings)
    loops["imports"] = lambda good: run_imports(runtime, good)
    loops["joining"] = lambda good: _every(LOOK_S, Joining(runtime).look, good=good)
    loops["orders"] = lambda good: _every(LOOK_S, lambda: close_orders(runtime), good=good)
    loops["bypasses"] = lambda good: _every(BYPASS_LOOK_S, lambda: end_what_is_over(runtime), good=good)
    loops["terms"] = lambda good: _keep_terms(runtime, settings, good)
    if edge_token_file is not None:
        loops["edge token"] = lambda good: _offer_token(runtime, settings, file=edge_token_file, good=good)
    return loops


def _witnessing(runtime: Runtime, settings: Settings) -> dict[str, Start]:
    """Return the loops that carry proofs of the audit log out of the database."""
    audit, file = settings.gateway.audit, settings.gateway.data_dir / CHECKPOINTS
    loops: dict[str, Start] = {
        "checkpoints": lambda good: _every(audit.checkpoint_every_s, lambda: note_checkpoint(runtime, file), good=good)
    }
    if audit.syslog.host:
        host = socket.gethostname()
        loops["syslog"] = lambda good: follow_audit(runtime, audit.syslog, host=host, good=good)
    return loops


def delivery(runtime: Runtime, centre: CentreSettings, *, keys: tuple[str, ...]) -> dict[str, Start]:
    """Return the loops towards the centre; none if there is no centre."""
    if not centre.url:
        return {}
    allowed = tuple(ipaddress.ip_network(network) for network in centre.allow_networks)
    sender = Sender(centre.url, keys=keys, allowed=allowed, timeout_s=centre.timeout_s)
    pace = Pace(first_s=centre.retry_first_s, cap_s=centre.retry_cap_s)
    forwarder = Forwarder(runtime, centre.name, sender=sender, pace=pace)
    pulse = Pulse(runtime, centre.name, sender=sender)
    loops: dict[str, Start] = {
        "delivery": lambda good: _deliver(forwarder, good),
        "heartbeat": lambda good: _every(centre.heartbeat_s, pulse.beat, good=good),
    }
    if centre.receipts_url:
        puller = Sender(centre.receipts_url, keys=keys, allowed=allowed, timeout_s=centre.timeout_s)

        async def pull() -> int:
            return await pull_receipts(runtime, centre.name, sender=puller)

        loops["receipts"] = lambda good: _every(centre.receipts_every_s, pull, good=good)
    return loops


async def _deliver(forwarder: Forwarder, good: Good) -> None:
    await forwarder.start()
    good()
    await forwarder.run()


async def _every(seconds: float, act: Callable[[], Awaitable[object]], *, good: Good) -> None:
    while True:
        await act()
        good()
        await asyncio.sleep(seconds)


async def _keep_house(runtime: Runtime, settings: Settings, good: Good) -> None:
    started, cleaned = runtime.clock(), datetime.min.replace(tzinfo=runtime.clock().tzinfo)
    keep_facts = timedelta(days=settings.gateway.keep_facts_days)
    while True:
        at = runtime.clock()
        if await runtime.store.write(notice_silent_edges, at=at, since=started, routes=runtime.routes):
            runtime.bells.alerts_changed()
        runtime.readings.forget_old(at=at)
        if at - cleaned >= CLEAN_EVERY:
            await runtime.store.write(clean_up, keep_facts=keep_facts, at=at)
            await drop_old_media(runtime)
            cleaned = at
        good()
        await asyncio.sleep(LOOK_S)


async def _keep_terms(runtime: Runtime, settings: Settings, good: Good) -> None:
    """End what has had its time, stills too, and count who is enrolled."""
    own = settings.gateway
    terms = Terms(leavers=timedelta(days=own.keep_leavers_days), idle_faces=timedelta(days=own.keep_idle_faces_days))
    counted = datetime.min.replace(tzinfo=runtime.clock().tzinfo)
    while True:
        await keep_terms(runtime, terms)
        await drop_old_stills(runtime)
        if runtime.clock() - counted >= CLEAN_EVERY:
            counted = runtime.clock()
            await runtime.store.write(note_counts, at=counted)
        good()
        await asyncio.sleep(TERMS_LOOK_S)


ENROLLED = "enrolled.json"
"""What the edge of this box leaves in its folder once it is enrolled."""


async def _offer_token(runtime: Runtime, settings: Settings, *, file: Path, good: Good) -> None:
    """Leave an enrolment token for the edge of this box while it has none, and a fresh one before the old is over."""
    life = timedelta(seconds=settings.gateway.edge_token_s)
    offered: datetime | None = None
    while True:
        at = runtime.clock()
        if offered is None or at - offered > life / 2:
            key = runtime.gateway_key.public_key
            blank = not (settings.edge.data_dir / ENROLLED).exists()
            token = await runtime.store.write(
                offer_edge_token, settings.edge.id, life=life, at=at, gateway_key=key, blank=blank
            )
            if token is not None:
                write_private(file, token)
                offered = at
        good()
        await asyncio.sleep(TOKEN_LOOK_S if offered is None else LOOK_S)
