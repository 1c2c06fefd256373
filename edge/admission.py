"""Requests at a door: fresh or not, whose credential, permitted or not; then the door opens or the reader says why not.

Every attempt is answered at the reader and becomes one fact. Card and PIN values are compared by digest and never
stored, logged or put into a fact. Faces are decided in edge.attention, which comes back here to open. It speaks to no
wire itself.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from drivers.door import Executed
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from models.access import Claim, Denial, Grant, Request, decide, fresh
from models.errors import InvalidInput
from models.events import AccessDenied, AccessGranted, DenialReason, Method, fact_id
from models.link import Result, Unlock
from models.people import Credential, canonical_card, canonical_pin, credential_digest
from models.places import Door
from models.policy import Policy
from models.rights import Rights

log = logging.getLogger("gatehouse.edge.admission")

UNLOCK_VALID_MS = 3000
SEEN_REQUESTS = 4096
WRONG_WINDOW_S = 300.0
DENIALS_WINDOW_S = 60.0
DENIALS_RECORDED = 120
"""Refusals that become facts per door and minute; more are answered and counted only."""
NO_RIGHTS: Final = Rights()
CARD_KINDS: Final = frozenset({"card", "qr"})


@dataclass(frozen=True)
class Lockout:
    """Lock a door's keypad, or its card reader, after so many wrong attempts within five minutes."""

    attempts: int
    for_s: float


LOCKOUTS: Final = {"pin": Lockout(10, 60.0), "card": Lockout(60, 10.0)}
"""Cards cannot be guessed as PINs can, and locking a reader shuts residents out: so it takes more and lasts less."""


@dataclass
class Guesses:
    """Count wrong attempts of one kind at one door."""

    wrong: deque[float] = field(default_factory=deque)
    locked_until: float = 0.0


@dataclass(frozen=True)
class Book:
    """Hold a policy so that a decision takes lookups only."""

    policy: Policy
    key: bytes
    credentials: dict[str, tuple[Credential, ...]]
    rights: Rights
    flats: dict[str, frozenset[str]]

    @staticmethod
    def of(policy: Policy) -> Book:
        """Index a policy by credential digest and by person."""
        credentials: dict[str, tuple[Credential, ...]] = {}
        for credential in policy.credentials:
            credentials[credential.digest] = (*credentials.get(credential.digest, ()), credential)
        flats = {person.id: frozenset(person.flats) for person in policy.people}
        key = bytes.fromhex(policy.credential_key) if policy.credential_key else b""
        return Book(policy=policy, key=key, credentials=credentials, rights=Rights.of(policy), flats=flats)

    def holders(self, kind: str, canonical: str) -> tuple[str, ...]:
        """Return the persons who hold a credential, found by its keyed digest."""
        if not self.key:
            return ()
        digest = credential_digest(kind, canonical, self.key)
        return tuple(c.person_id for c in self.credentials.get(digest, ()) if c.kind == kind)


class Attends(Protocol):
    """Look at whoever stands at a door after an act there, and decide by face."""

    async def attend(self, request: Request, door: Door) -> None:
        """Open a window for the request's door; its end is answered at the reader."""


class Admission:
    """Decide requests at the doors of one edge."""

    def __init__(self, *, edge_id: str, keeper: DoorKeeper, clock: SteadyClock, faces: Attends | None = None) -> None:
        self._edge_id = edge_id
        self._keeper = keeper
        self._clock = clock
        self.faces = faces
        self._book: Book | None = None
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._offsets: dict[str, float] = {}
        self._guesses: dict[tuple[str, str], Guesses] = {}
        self._denials: dict[str, tuple[float, int]] = {}
        self.counters: dict[str, int] = {}

    def apply(self, policy: Policy) -> None:
        """Decide by this policy from now on.

        Raises:
            InvalidInput: the credential key is not hexadecimal.
        """
        try:
            self._book = Book.of(policy)
        except ValueError as error:
            raise InvalidInput("policy.credential_key", "is not hexadecimal") from error

    async def consider(self, request: Request) -> None:
        """Answer one request: unlock, look for a face, or say at the reader why not."""
        door = self._keeper.door(request.door_id)
        if door is None:
            self._count("unknown_doors")
            return
        at = self._clock.now()
        key = (request.door_id, request.id)
        if key in self._seen:
            await self._refuse(request, "replayed", occurrence=f"{request.id}:replayed")
            return
        self._seen[key] = None
        while len(self._seen) > SEEN_REQUESTS:
            self._seen.popitem(last=False)
        if not self._is_fresh(request, at=at):
            await self._refuse(request, "stale")
        elif request.kind in ("button", "call"):
            await self._look(request, door)
        else:
            await self._check(request, door, at=at)

    async def _look(self, request: Request, door: Door) -> None:
        if request.kind == "button" and "face" in door.factors and self.faces is not None:
            await self.faces.attend(request, door)
        else:
            await self._refuse(request, "unsupported")

    async def _check(self, request: Request, door: Door, *, at: datetime) -> None:
        family = "card" if request.kind in CARD_KINDS else "pin"
        guesses = self._guesses.setdefault((door.id, family), Guesses())
        if self._clock.unix() < guesses.locked_until:
            await self._refuse(request, "locked_out")
            return
        holders = self._holders(request)
        if not holders:
            self._note_wrong(guesses, family, door_id=door.id)
        decisions = [self._decide(request, door, person_id=person, at=at) for person in holders or (None,)]
        granted = [decision for decision in decisions if not isinstance(decision, Denial)]
        if granted:
            await self.let_in(granted[0].claim)
        elif isinstance(decisions[0], Denial):
            await self._refuse(request, decisions[0].reason, person_id=decisions[0].claim.person_id)

    def _decide(self, request: Request, door: Door, *, person_id: str | None, at: datetime) -> Grant | Denial:
        claim = Claim(
            attempt=request.id, door_id=door.id, method=_method(request), reader=request.reader, person_id=person_id
        )
        return self.decide(claim, door, at=at)

    def decide(self, claim: Claim, door: Door, *, at: datetime) -> Grant | Denial:
        """Decide a claim by the policy in force; time-limited permits do not count while the clock is not trusted."""
        rights = NO_RIGHTS if self._book is None else self._book.rights
        mode, trusted = self._keeper.mode(door.id), self._clock.trusted()
        return decide(claim, door=door, mode=mode, rights=rights, at=at, clock_trusted=trusted)

    async def let_in(self, claim: Claim, *, waited_ms: float = 0.0) -> bool:
        """Open the door for a granted claim and record how that went; return whether the door confirmed it.

        Args:
            claim: who is let in, and why.
            waited_ms: how long the person has waited already: for a face since its first usable frame.
        """
        executed = await self._open(claim, command_id=None, waited_ms=waited_ms)
        if not executed.ok:
            await self._keeper.feedback(claim.door_id, attempt=claim.attempt, reason="device_failed")
        return executed.ok

    async def _open(
        self, claim: Claim, *, command_id: str | None, waited_ms: float = 0.0, valid_ms: int = UNLOCK_VALID_MS
    ) -> Executed:
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
            unlocked=executed.ok,
            unlock_ms=round(unlock_ms, 1) if executed.ok else None,
            evidence=claim.evidence,
        )
        self._learn_offset(claim.door_id, executed)
        self._count("unlocks" if executed.ok else "unlocks_failed")
        self._keeper.record(claim.door_id, fact)
        return executed

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
            reason=reason,
        )
        self._count(f"denied_{reason}")
        if self._may_record(claim.door_id):
            self._keeper.record(claim.door_id, fact)
        else:
            self._count("denials_not_recorded")
        executed = await self._keeper.feedback(claim.door_id, attempt=claim.attempt, reason=reason)
        self._learn_offset(claim.door_id, executed)

    def _may_record(self, door_id: str) -> bool:
        """Return whether one more refusal of this door may take room in the spool: a broken reader must not fill it."""
        now = self._clock.unix()
        since, count = self._denials.get(door_id, (now, 0))
        if now - since >= DENIALS_WINDOW_S:
            since, count = now, 0
        self._denials[door_id] = (since, count + 1)
        return count < DENIALS_RECORDED

    async def unlock(self, command: Unlock) -> Result:
        """Open a door because somebody at the console asked for it, and report what the door said.

        The order is valid until the command's deadline (in this edge's clock) at the most.
        """
        door = self._keeper.door(command.door_id)
        if door is None:
            return Result(command_id=command.id, state="refused", reason="no_such_door", at=self._clock.now())
        claim = Claim(attempt=command.id, door_id=door.id, method="remote", person_id=None)
        if self._keeper.mode(door.id) == "locked_down":
            await self.deny(claim, "locked_down")
            return Result(command_id=command.id, state="refused", reason="locked_down", at=self._clock.now())
        left_ms = int((command.deadline - self._clock.now()).total_seconds() * 1000)
        if left_ms <= 0:
            return Result(command_id=command.id, state="expired", reason="expired", at=self._clock.now())
        executed = await self._open(claim, command_id=command.id, valid_ms=min(UNLOCK_VALID_MS, left_ms))
        return Result(
            command_id=command.id,
            state="confirmed" if executed.ok else "failed",
            reason=None if executed.ok else "device_failed",
            detail=(executed.error or "")[:200],
            at=self._clock.now(),
        )

    async def _refuse(
        self, request: Request, reason: DenialReason, *, person_id: str | None = None, occurrence: str | None = None
    ) -> None:
        claim = Claim(
            attempt=request.id,
            door_id=request.door_id,
            method=_method(request),
            reader=request.reader,
            person_id=person_id,
        )
        await self.deny(claim, reason, occurrence=occurrence)

    # ---- what is asked of a request ---------------------------------------------------------------------------------

    def _is_fresh(self, request: Request, *, at: datetime) -> bool:
        """Return whether a request is about now, on the device's clock as far as its offset is known.

        Without a measured offset the first request of a device with a wrong clock is refused, and its answer to that
        refusal teaches the offset. A request never does: old ones that come twice would be taken for a slow clock.
        """
        state = self._keeper.state(request.door_id)
        measured = None if state is None else state.offset_s
        offset_s = measured if measured is not None else self._offsets.get(request.door_id, 0.0)
        offset = timedelta(seconds=offset_s)
        return fresh(request.device_at, offset=offset, redelivered=request.redelivered, at=at)

    def _learn_offset(self, door_id: str, executed: Executed) -> None:
        if executed.device_at is not None:
            self._offsets[door_id] = (self._clock.now() - executed.device_at).total_seconds()

    def _holders(self, request: Request) -> tuple[str, ...]:
        if self._book is None or request.value is None:
            return ()
        try:
            if request.kind == "card":
                return self._book.holders("card", canonical_card(request.value))
            if request.kind == "pin":
                return self._book.holders("pin", canonical_pin(request.value))
            if request.kind == "flat_pin":
                flat, _, pin = request.value.partition("#")
                holders = self._book.holders("pin", canonical_pin(pin))
                return tuple(person for person in holders if flat in self._book.flats.get(person, ()))
        except InvalidInput:
            self._count("unreadable_credentials")
        return ()

    def _note_wrong(self, guesses: Guesses, family: str, *, door_id: str) -> None:
        now = self._clock.unix()
        guesses.wrong.append(now)
        while guesses.wrong and guesses.wrong[0] < now - WRONG_WINDOW_S:
            guesses.wrong.popleft()
        rule = LOCKOUTS[family]
        if len(guesses.wrong) >= rule.attempts:
            guesses.wrong.clear()
            guesses.locked_until = now + rule.for_s
            self._count("lockouts")
            log.warning("door %s: %s reader locked for %.0f s after %d wrong attempts", door_id, family, rule.for_s,
                        rule.attempts)  # fmt: skip

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


def _method(request: Request) -> Method:
    return "button" if request.kind == "call" else request.kind
