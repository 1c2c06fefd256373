"""Carry the outbox to one centre: nothing lost, nothing under two ids, in order per alert, whatever the centre does.

A message is leased, posted with no transaction open, and then marked. A crash in between posts it again under the same id.
`step` does one round by the clock it was given, so that a day of outage needs no day to try.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from gateway.bells import heard
from gateway.centre.post import Outcome, Sender
from gateway.changes import announce_alert
from gateway.intake import clear_and_tell, raise_and_tell
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.alerts import alert_by_id
from gateway.store.dialect import hold_feed
from gateway.store.outbox import (
    LEASE,
    Pause,
    Waiting,
    add_centre,
    lease_messages,
    mark_dead,
    mark_delivered,
    mark_failed,
    next_due,
    pause_centre,
    pause_of,
    release_leases,
    resume_centre,
)
from models.alerts import SEVERITIES, Clear, Raise, alert_id

log = logging.getLogger("gatehouse.gateway.centre")
WIDTH = 8
IDLE_S = 15.0
LEAST_S = 0.05


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Space retries: `first_s` doubling to `cap_s`, the upper half of it by chance; a paused centre is tried every `cap_s`."""

    first_s: float = 1.0
    cap_s: float = 300.0

    def delay_s(self, failures: int, *, draw: Callable[[], float]) -> float:
        """Return the wait after so many failures in a row, 1 for the first; `draw` gives numbers in [0, 1)."""
        span: float = min(self.cap_s, self.first_s * 2.0 ** min(max(failures, 1) - 1, 30))
        return span * (1.0 - 0.5 * draw())


class Forwarder:
    """Deliver to one centre."""

    def __init__(
        self, runtime: Runtime, centre_id: str, *, sender: Sender, pace: Pace, draw: Callable[[], float] = random.random
    ) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._centre_id = centre_id
        self._sender = sender
        self._pace = pace
        self._draw = draw
        self._failures = 0
        self._hold_until: datetime | None = None

    async def start(self) -> None:
        """Make the centre known, knock at once if it was paused, and take back what a killed process had leased."""
        await self._store.write(self._begin)

    def _begin(self, connection: Connection) -> None:
        at = self._runtime.clock()
        add_centre(connection, self._centre_id)
        if (pause := pause_of(connection, self._centre_id)) is not None:
            pause_centre(connection, self._centre_id, pause=msgspec.structs.replace(pause, retry_at=at))
        if self._store.sqlite:  # the only process there is
            release_leases(connection, centre_id=self._centre_id)

    async def run(self) -> None:
        """Deliver until cancelled; call `start` before."""
        while True:
            ring = self._runtime.bells.outbox.next_ring()
            wait_s = await self.step()
            if wait_s > 0:
                await heard(ring, within_s=wait_s)

    async def step(self) -> float:
        """Do one round; return the seconds after which another is worth it (0: at once)."""
        at = self._runtime.clock()
        pause = await self._store.read(pause_of, self._centre_id)
        hold = max(filter(None, (self._hold_until, pause.retry_at if pause else None)), default=at)
        if hold > at:
            return min(max((hold - at).total_seconds(), LEAST_S), IDLE_S)
        probing = pause is not None or self._failures > 0
        width = 1 if probing else WIDTH
        lease = max(LEASE, 2 * timedelta(seconds=self._sender.timeout_s))
        leased = await self._store.write(
            lease_messages, self._centre_id, at=at, limit=width, probing=probing, lease=lease
        )
        if not leased:
            due = await self._store.read(next_due, self._centre_id)
            return IDLE_S if due is None else min(max((due - at).total_seconds(), LEAST_S), IDLE_S)
        outcomes = await asyncio.gather(*(self._sender.post(each.id, each.body, at=at) for each in leased))
        for message, outcome in zip(leased, outcomes, strict=True):
            await self._settle(message, outcome)
        return 0.0

    async def _settle(self, message: Waiting, outcome: Outcome) -> None:
        at = self._runtime.clock()
        if outcome.state in ("delivered", "dead"):
            if self._failures:
                log.info("centre %s is back after %d failed tries", self._centre_id, self._failures)
            self._failures, self._hold_until = 0, None
        else:
            self._failures += 1
            wait_s = self._pace.cap_s if outcome.state == "pause" else self._wait_s(outcome)
            self._hold_until = at + timedelta(seconds=wait_s)
            if self._failures == 1:
                log.warning("centre %s: %s %s", self._centre_id, outcome.status or "", outcome.answer[:200])
        self._runtime.count(f"centre_{outcome.state}")
        await self._store.write(self._mark, message, outcome=outcome, next_at=self._hold_until or at)
        if outcome.state != "retry":
            self._runtime.bells.feed.ring()

    def _wait_s(self, outcome: Outcome) -> float:
        own_s = self._pace.delay_s(self._failures, draw=self._draw)
        return max(own_s, outcome.wait_s or 0.0)

    def _mark(self, connection: Connection, message: Waiting, *, outcome: Outcome, next_at: datetime) -> None:
        hold_feed(connection)
        at, status = self._runtime.clock(), outcome.status
        if outcome.state == "delivered":
            mark_delivered(connection, message.number, status=status or 0, at=at)
            self._resume(connection, at=at)
        elif outcome.state == "dead":
            mark_dead(connection, message.number, status=status or 0, answer=outcome.answer, at=at)
            log.error(
                "centre %s refuses message %s for good: %s %s",
                self._centre_id,
                message.id,
                status,
                outcome.answer[:200],
            )
        else:
            mark_failed(connection, message.number, status=status, answer=outcome.answer, next_at=next_at)
            if outcome.state == "pause":
                self._pause(connection, message, outcome=outcome, retry_at=next_at)
        if outcome.state in ("delivered", "dead"):
            alert = alert_by_id(connection, message.alert_id, site_ids=None)
            announce_alert(connection, alert, change="delivery", at=at)

    def _resume(self, connection: Connection, *, at: datetime) -> None:
        if resume_centre(connection, self._centre_id, at=at):
            ended = Clear(kinds=("delivery_paused",), source_id=self._centre_id, at=at)
            clear_and_tell(connection, ended, at=at, routes=self._runtime.routes)

    def _pause(self, connection: Connection, message: Waiting, *, outcome: Outcome, retry_at: datetime) -> None:
        at = self._runtime.clock()
        already = pause_of(connection, self._centre_id) is not None
        reason = f"the centre answered {outcome.status}"
        pause_centre(connection, self._centre_id, pause=Pause(since=at, reason=reason, retry_at=retry_at))
        if already:
            return
        site_id = alert_by_id(connection, message.alert_id, site_ids=None).place.site_id
        wanted = Raise(
            alert_id=alert_id(f"{message.id}\x1f{at.isoformat()}", "delivery_paused"), kind="delivery_paused",
            severity=SEVERITIES["delivery_paused"], source_id=self._centre_id, at=at, late=False, exercise=False,
        )  # fmt: skip
        raise_and_tell(connection, wanted, edge_site=site_id, fact_id=None, at=at, routes=self._runtime.routes)
