"""What an attempt at a door comes to: an opening or a refusal at the reader, each with one fact on record.

It decides nothing (edge.admission, models.access); it measures how far a device's clock is off from the answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from drivers.door import Executed
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from models.access import Claim, Request, fresh
from models.device_clock import DeviceClock, believed
from models.events import AccessDenied, AccessGranted, DenialReason, DuressReported, PassbackNoticed, fact_id

UNLOCK_VALID_MS = 3000
DENIALS_WINDOW_S = 60.0
DENIALS_RECORDED = 120
"""Refusals that become facts per door and minute; more are answered and counted only."""


class Answers:
    """Open and refuse at the doors of one edge, on record. `count` counts by name."""

    def __init__(self, *, edge_id: str, keeper: DoorKeeper, clock: SteadyClock, count: Callable[[str], None]) -> None:
        self._edge_id = edge_id
        self._keeper = keeper
        self._clock = clock
        self._count = count
        self._offsets: dict[str, float] = {}
        self._denials: dict[str, tuple[float, int]] = {}

    async def open(
        self, claim: Claim, *, command_id: str | None = None, waited_ms: float = 0.0, valid_ms: int = UNLOCK_VALID_MS
    ) -> Executed:
        """Open the door for a granted claim and record how that went.

        Args:
            claim: who is let in, and why.
            command_id: the order from afar that it carries out, if it is one.
            waited_ms: how long the person has waited already: for a face since its first usable frame.
            valid_ms: for how long the door may obey.
        """
        began = time.monotonic()
        executed = await self._keeper.open(
            claim.door_id, attempt=claim.attempt, command_id=command_id, valid_ms=valid_ms
        )
        unlock_ms = waited_ms + (time.monotonic() - began) * 1000
        fact = AccessGranted(
            id=fact_id(self._edge_id, claim.door_id, claim.attempt, "access_granted"),
            at=self._clock.now(),
            door_id=claim.door_id,
            attempt=claim.attempt,
            method=claim.method,
            reader=claim.reader,
            person_id=claim.person_id,
            pass_id=claim.pass_id,
            unlocked=executed.ok,
            unlock_ms=round(unlock_ms, 1) if executed.ok else None,
            evidence=claim.evidence,
        )
        self._learn_offset(claim.door_id, executed)
        self._count("unlocks" if executed.ok else "unlocks_failed")
        self._keeper.record(claim.door_id, fact)
        return executed

    def report_duress(self, request: Request) -> None:
        """Put on record that who asks is under threat; nothing at the reader shows it."""
        fact = DuressReported(
            id=fact_id(self._edge_id, request.door_id, request.id, "duress_reported"), at=self._clock.now(),
            door_id=request.door_id,
        )  # fmt: skip
        self._keeper.record(request.door_id, fact)

    def notice_passback(self, claim: Claim) -> None:
        """Put on record that somebody was let in again who had not left."""
        fact = PassbackNoticed(
            id=fact_id(self._edge_id, claim.door_id, claim.attempt, "passback_noticed"), at=self._clock.now(),
            door_id=claim.door_id, attempt=claim.attempt, person_id=claim.person_id or "",
        )  # fmt: skip
        self._keeper.record(claim.door_id, fact)

    async def deny(self, claim: Claim, reason: DenialReason, *, occurrence: str | None = None) -> None:
        """Record a refusal and tell the person at the reader."""
        fact = AccessDenied(
            id=fact_id(self._edge_id, claim.door_id, occurrence or claim.attempt, "access_denied"),
            at=self._clock.now(),
            door_id=claim.door_id,
            attempt=claim.attempt,
            method=claim.method,
            reader=claim.reader,
            person_id=claim.person_id,
            pass_id=claim.pass_id,
            reason=reason,
        )
        self._count(f"denied_{reason}")
        if self._may_record(claim.door_id):
            self._keeper.record(claim.door_id, fact)
        else:
            self._count("denials_not_recorded")
        executed = await self._keeper.feedback(claim.door_id, attempt=claim.attempt, reason=reason)
        self._learn_offset(claim.door_id, executed)

    def is_fresh(self, request: Request, *, at: datetime) -> bool:
        """Return whether a request is about now, on the device's clock as far as its offset is known.

        Without a measured offset the first request of a device with a wrong clock is refused, and its answer to that
        refusal teaches the offset. A request never does: old ones that come twice would be taken for a slow clock.
        """
        state = self._keeper.state(request.door_id)
        clock = believed(DeviceClock() if state is None else state.clock, request.offset_s)
        measured = clock.offset_s
        offset_s = measured if measured is not None else self._offsets.get(request.door_id, 0.0)
        offset = timedelta(seconds=offset_s)
        return fresh(request.device_at, offset=offset, redelivered=request.redelivered, at=at)

    def _learn_offset(self, door_id: str, executed: Executed) -> None:
        if executed.device_at is not None:
            self._offsets[door_id] = (self._clock.now() - executed.device_at).total_seconds()

    def _may_record(self, door_id: str) -> bool:
        """Return whether one more refusal of this door may take room in the spool: a broken reader must not fill it."""
        now = self._clock.unix()
        since, count = self._denials.get(door_id, (now, 0))
        if now - since >= DENIALS_WINDOW_S:
            since, count = now, 0
        self._denials[door_id] = (since, count + 1)
        return count < DENIALS_RECORDED
