"""Requests at a door: fresh or not, whose credential, permitted or not; then the door opens or the reader says why not.

Every attempt is answered at the reader and becomes one fact. Whose a value is says edge.credentials; values are never
stored, logged or put into a fact. Faces are decided in edge.attention, which comes back here to open; a card or PIN that
its holder's face must come with goes there first. It speaks to no wire itself.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import datetime
from typing import Final, Protocol

import msgspec

from drivers.door import Executed
from edge.answers import UNLOCK_VALID_MS, Answers
from edge.calls import Calls
from edge.card_lessons import CardLessons
from edge.clock import SteadyClock
from edge.credentials import NOBODY, Book, Found, flat_and_pin
from edge.door_rules import DoorRules
from edge.doorkeeper import DoorKeeper
from edge.free_times import FreeTimes
from edge.guesses import Family, Guesses
from edge.pairs import Decision, Pairs, joined
from edge.passes import Passes
from edge.spool import Spool
from models.access import PAIR, Claim, Denial, Grant, Request, can_call, decide, method_of, takes_faces
from models.errors import InvalidInput, StorageUnavailable
from models.events import DenialReason, Method
from models.link import Result, Unlock
from models.people import VisitorPass
from models.places import Door
from models.policy import Policy
from models.recognition import Recognised

log = logging.getLogger("gatehouse.edge.admission")

SEEN_REQUESTS = 4096
RACES = 3
"""How often the use of a pass is tried again because another attempt took it first."""
GUESSED: Final[frozenset[DenialReason]] = frozenset(
    {"unknown_credential", "no_permit", "forged", "face_differs", "not_live"}
)
"""Refusals that count as wrong attempts: a PIN of somebody who has no business at this door is guessed there, too, and who
tries faces or pictures against somebody's card or PIN is slowed down alike."""
FAMILIES: Final[dict[str, Family]] = {"card": "card", "pin": "pin", "flat_pin": "flat", "qr": "qr"}


class Attends(Protocol):
    """Look at whoever stands at a door after an act there, and decide by face."""

    async def attend(self, request: Request, door: Door, *, claims: tuple[Claim, ...] = ()) -> None:
        """Open a window for the request's door; its end is answered at the reader. Claims: whose card or PIN it was."""


class Admission:
    """Decide requests at the doors of one edge."""

    def __init__(
        self, *, edge_id: str, keeper: DoorKeeper, clock: SteadyClock, spool: Spool, faces: Attends | None = None
    ) -> None:
        self._keeper = keeper
        self._clock = clock
        self.faces = faces
        self._book = Book()
        self._passes = Passes(spool)
        self._rules = DoorRules(keeper=keeper, clock=clock, spool=spool)
        self._free = FreeTimes(clock=clock, spool=spool)
        self.lessons = CardLessons(keeper=keeper, clock=clock)
        self.calls = Calls(edge_id=edge_id, keeper=keeper, clock=clock, spool=spool)
        keeper.modes.stands_free = self._stands_free
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._guesses = Guesses(clock.unix)
        self.counters: dict[str, int] = {}
        self._answers = Answers(edge_id=edge_id, keeper=keeper, clock=clock, count=self._count)
        self.pairs = Pairs(answers=self._answers, keeper=keeper, unix=clock.unix)

    async def load(self) -> None:
        """Take up what the last run left, before the first request.

        Raises:
            StorageUnavailable: the spool cannot be read.
        """
        await self._rules.load()
        await self._free.load()
        await self.calls.load()

    def apply(self, policy: Policy) -> None:
        """Decide by this policy from now on.

        Raises:
            InvalidInput: the credential key is not hexadecimal.
        """
        try:
            self._book = Book.of(policy)
        except ValueError as error:
            raise InvalidInput("policy.credential_key", "is not hexadecimal") from error
        self._passes.forget(policy)
        self._free.apply(self._book.rights)
        self._rules.apply(policy)

    def _stands_free(self, door: Door) -> bool:
        """Return whether a door stands unlocked by its schedule; what needs the clock or the policy ends with them."""
        if door.free_schedule_id is None:
            return False
        at, trusted = self._clock.now(), self._clock.trusted()
        return trusted and not self._book.ended(at, clock_trusted=trusted) and self._free.stands_free(door, at=at)

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
        if not self._answers.is_fresh(request, at=at):
            await self._refuse(request, "stale")
        elif await self.lessons.take(request):
            self._count("cards_gathered")
        elif request.kind == "call" and can_call(door, request.reader):
            await self.calls.ring(request, door)
        elif request.kind in ("button", "call"):
            await self._look(request, door)
        else:
            await self._check(request, door, at=self._book.time(at))

    async def _look(self, request: Request, door: Door) -> None:
        if request.kind == "button" and "face" in door.factors and self.faces is not None:
            await self.faces.attend(request, door)
        else:
            combined = request.kind == "button" and takes_faces(door)
            await self._refuse(request, "face_not_alone" if combined else "unsupported")

    async def _check(self, request: Request, door: Door, *, at: datetime) -> None:
        decisions = self._weigh(request, door, at=at)
        if any(found.duress for found, _ in decisions):
            self._answers.report_duress(request)  # a keypad that waits is no reason to leave somebody alone
        if self._guesses.locked(door.id, FAMILIES[request.kind], flat=self._flat(request)):
            await self._refuse(request, "locked_out")
            return
        claims = tuple(one.claim for _, one in decisions if isinstance(one, Grant) and _wants_face(one.claim))
        if claims and self.faces is not None:
            await self.faces.attend(request, door, claims=claims)
        elif claims:
            await self.refuse(request, door, reason="unsupported", claims=claims)
        elif method_of(request, door) == PAIR:
            await self._pair(request, door, decisions=decisions, at=at)
        else:
            await self._settle(request, door, decisions=decisions, at=at)

    async def _pair(self, request: Request, door: Door, *, decisions: list[Decision], at: datetime) -> None:
        """Let in whose card and PIN have both come; one alone waits for the other one of the same person.

        A PIN that is not the card holder's is a wrong one, whoever else's it is, and the card goes on waiting.
        """
        claims = tuple(one.claim for _, one in decisions if isinstance(one, Grant))
        first = self.pairs.other(request) if claims else None
        if claims and first is None:
            await self.pairs.wait(request, claims)
        elif first is not None and first.fits(claims):
            self.pairs.take(first)
            both = joined(decisions, self._weigh(first.request, door, at=at))
            await self._settle(first.request if request.kind == "card" else request, door, decisions=both, at=at)
        elif first is not None and request.kind == "card":
            self._guesses.wrong(door.id, FAMILIES[first.request.kind], flat=self._flat(first.request))
            await self.pairs.wait(request, claims)
        elif first is not None:
            stranger = self._decide(request, door, found=NOBODY, at=at)
            await self._settle(request, door, decisions=[(NOBODY, stranger)], at=at)
        else:
            await self._settle(request, door, decisions=decisions, at=at)

    async def _settle(self, request: Request, door: Door, *, decisions: list[Decision], at: datetime) -> None:
        """Open or refuse by the best of the decisions; `request` is what was right or wrong, of a pair the PIN."""
        judged = [(found, self._rules.judge(one, door)) for found, one in decisions]
        best = min(judged, key=lambda pair: isinstance(pair[1], Denial))
        self._note(door, FAMILIES[request.kind], self._flat(request), decision=best[1])
        await self._answer(door, best[0], decision=best[1], at=at)

    def _weigh(self, request: Request, door: Door, *, at: datetime) -> list[Decision]:
        """Return what would be decided for everybody whose the presented value is."""
        return [(found, self._decide(request, door, found=found, at=at)) for found in self._found(request, at=at)]

    def _decide(self, request: Request, door: Door, *, found: Found, at: datetime) -> Grant | Denial:
        claim = Claim(
            attempt=request.id, door_id=door.id, method=method_of(request, door), reader=request.reader,
            person_id=found.person_id, pass_id=found.pass_id,
        )  # fmt: skip
        return self.decide(claim, door, at=at, presented=found.refusal)

    async def recognised(
        self, request: Request, door: Door, *, match: Recognised, claimed: bool, waited_ms: float
    ) -> None:
        """Let in who was recognised if they may pass now: by the face alone, or with the card or PIN that came first.

        Args:
            request: the act at the door; a card or PIN is looked up anew, since it may have been revoked meanwhile: what
                belongs to others only opens nothing.
            door: where.
            match: whose face it is.
            claimed: whether a card or PIN came first.
            waited_ms: how long the person has waited since the first usable frame.
        """
        at = self._book.time(self._clock.now())
        claim = Claim(
            attempt=request.id, door_id=door.id, method="face", reader=request.reader, person_id=match.person_id
        )
        decisions = (
            [one for _, one in self._weigh(request, door, at=at)] if claimed else [self.decide(claim, door, at=at)]
        )
        own = [self._rules.judge(one, door) for one in decisions if one.claim.person_id == match.person_id]
        others: list[Grant | Denial] = [
            one if isinstance(one, Denial) else Denial(claim=one.claim, reason="face_differs") for one in decisions
        ]
        decision = min(own or others, key=lambda one: isinstance(one, Denial))
        if isinstance(decision, Denial):
            self._wait(decision)
            await self.refuse(request, door, reason=decision.reason, claims=(decision.claim,))
            return
        if claimed:
            self._note(door, FAMILIES[request.kind], self._flat(request), decision=decision)
        claim = msgspec.structs.replace(decision.claim, evidence=match.evidence)
        await self._let_in(claim, door, waited_ms=waited_ms)

    async def refuse(
        self, request: Request, door: Door, *, reason: DenialReason, claims: tuple[Claim, ...] = ()
    ) -> None:
        """Refuse a face, on record and at the reader; `claims` say whose card or PIN came first, if any did."""
        stranger = Claim(
            attempt=request.id, door_id=door.id, method=claims[0].method if claims else "face", reader=request.reader,
            person_id=None,
        )  # fmt: skip
        denial = Denial(claim=claims[0] if len(claims) == 1 else stranger, reason=reason)
        if _wants_face(denial.claim):
            self._note(door, FAMILIES[request.kind], self._flat(request), decision=denial)
        if reason == "not_live":  # a picture is one, whatever card or PIN came before it
            self._guesses.wrong(door.id, "face")
        await self._answers.deny(denial.claim, reason)

    def slowed(self, door_id: str) -> bool:
        """Return whether so many pictures were held up at a door that no bare face is looked at now."""
        return self._guesses.locked(door_id, "face")

    def _note(self, door: Door, family: Family, flat: str, *, decision: Grant | Denial) -> None:
        if isinstance(decision, Grant):
            self._guesses.right(door.id, flat)
        elif decision.reason in GUESSED:
            self._guesses.wrong(door.id, family, flat=flat)

    async def _answer(self, door: Door, found: Found, *, decision: Grant | Denial, at: datetime) -> None:
        """Open, or say why not; of a visitor's pass one use is taken first."""
        claim = decision.claim
        counted = None if claim.pass_id is None else self._book.rights.visitor_pass(claim.pass_id)
        taking = isinstance(decision, Grant) and counted is not None and counted.uses > 0
        if taking and counted is not None:
            decision = await self._take_use(claim, door, at=at, one=counted, presented=found.refusal)
        if isinstance(decision, Denial):
            self._wait(decision)
            await self._answers.deny(claim, decision.reason)
            return
        executed = await self._let_in(claim, door)
        if taking and counted is not None and not executed.ok and executed.certain:
            self._passes.give_back(counted, attempt=_of_door(claim))

    def _wait(self, denial: Denial) -> None:
        if denial.reason == "awaits_second_person":
            self._rules.waits(denial.claim)

    async def _take_use(
        self, claim: Claim, door: Door, *, at: datetime, one: VisitorPass, presented: DenialReason | None
    ) -> Grant | Denial:
        """Decide by the uses that were taken, and take the next one; what cannot be written down opens nothing."""
        try:
            for _ in range(RACES):
                used = await self._passes.used(one)
                decision = self.decide(claim, door, at=at, presented=presented, used=used)
                if isinstance(decision, Denial) or await self._passes.take(one, attempt=_of_door(claim), used=used):
                    return decision
        except StorageUnavailable as error:
            self._count("passes_not_counted")
            log.warning("door %s: a pass was refused, its use could not be written down: %s", door.id, error)
            return Denial(claim=claim, reason="device_failed")
        return Denial(claim=claim, reason="replayed")

    def decide(
        self, claim: Claim, door: Door, *, at: datetime, presented: DenialReason | None = None, used: int = 0
    ) -> Grant | Denial:
        """Decide a claim by the policy in force; time-limited permits do not count while the clock is not trusted."""
        at, trusted = self._book.time(at), self._clock.trusted()
        return decide(
            claim, door=door, mode=self._keeper.mode(door.id), rights=self._book.rights, at=at, clock_trusted=trusted,
            policy_ended=self._book.ended(at, clock_trusted=trusted), used=used, presented=presented,
        )  # fmt: skip

    async def _let_in(self, claim: Claim, door: Door, *, waited_ms: float = 0.0) -> Executed:
        """Open for a granted claim, unless the doors around forbid it at this moment; answered at the reader."""
        if self._rules.interlocked(door):
            await self._answers.deny(claim, "interlocked")
            return Executed(ok=False, error="interlocked")
        again, take_back = self._rules.noticed(claim, door), self._rules.passes(claim, door)
        executed = await self._answers.open(claim, waited_ms=waited_ms)
        if executed.ok and again:
            self._answers.notice_passback(claim)
        if executed.ok and claim.reader == "in" and claim.person_id is not None:
            self._free.came_in(door)
        if not executed.ok:
            if executed.certain:
                take_back()
            await self._keeper.feedback(claim.door_id, attempt=claim.attempt, reason="device_failed")
        return executed

    async def unlock(self, command: Unlock) -> Result:
        """Open a door because somebody at the console asked for it, and report what the door said.

        The order is valid until the command's deadline (in this edge's clock) at the most.
        """
        door = self._keeper.door(command.door_id)
        if door is None:
            return Result(command_id=command.id, state="refused", reason="no_such_door", at=self._clock.now())
        claim = Claim(attempt=command.id, door_id=door.id, method="remote", person_id=None)
        shut: DenialReason | None = "locked_down" if self._keeper.mode(door.id) == "locked_down" else None
        shut = shut or ("interlocked" if self._rules.interlocked(door) else None)
        if shut is not None:
            await self._answers.deny(claim, shut)
            return Result(command_id=command.id, state="refused", reason=shut, at=self._clock.now())
        left_ms = int((command.deadline - self._clock.now()).total_seconds() * 1000)
        if left_ms <= 0:
            return Result(command_id=command.id, state="expired", reason="expired", at=self._clock.now())
        executed = await self._answers.open(claim, command_id=command.id, valid_ms=min(UNLOCK_VALID_MS, left_ms))
        if executed.ok:
            await self.calls.end(door.id, "opened")
        return Result(
            command_id=command.id,
            state="confirmed" if executed.ok else "failed",
            reason=None if executed.ok else "device_failed",
            detail=(executed.error or "")[:200],
            at=self._clock.now(),
        )

    async def _refuse(self, request: Request, reason: DenialReason, *, occurrence: str | None = None) -> None:
        claim = Claim(
            attempt=request.id,
            door_id=request.door_id,
            method=_method(request),
            reader=request.reader,
            person_id=None,
        )
        await self._answers.deny(claim, reason, occurrence=occurrence)

    # ---- what is asked of a request ---------------------------------------------------------------------------------

    def _found(self, request: Request, *, at: datetime) -> tuple[Found, ...]:
        try:
            return self._book.find(request, at=at, clock_trusted=self._clock.trusted())
        except InvalidInput:
            self._count("unreadable_credentials")
        return (NOBODY,)

    def _flat(self, request: Request) -> str:
        """Return the flat that was named, if there is one like that."""
        flat, _ = flat_and_pin(request)
        return flat if flat is not None and self._book.knows_flat(flat) else ""

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


def _method(request: Request) -> Method:
    return "button" if request.kind == "call" else request.kind


def _wants_face(claim: Claim) -> bool:
    """Return whether a claim is a card or PIN that the face of its holder must come with."""
    return claim.method in ("face+card", "face+pin")


def _of_door(claim: Claim) -> str:
    """Return what names an attempt on this edge: request ids are a door's own."""
    return f"{claim.door_id}/{claim.attempt}"
