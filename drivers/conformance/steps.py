"""The steps of a conformance run: each asks one promise of the door driver contract (drivers.door), and says what it saw.

A step raises `NotSo` where the promise is broken and `NotAsked` where it cannot be asked here. Steps that need somebody
at the door say `remote`; steps that open it say `unlocks`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from drivers.conformance.subject import HEAR_S, Listener, NotSo, Remote, Subject
from drivers.door import Executed, GiveFeedback, SetMode, UnlockDoor
from models.errors import CommandExpired, DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput
from models.reports import Event, Presence, Snapshot

SECRET: Final = "7186A61E"  # noqa: S105 - a made-up card number
CUT_S: Final = 0.5
ABLE_S: Final = 0.02
_numbers = itertools.count(1)


class NotAsked(GatehouseError):  # noqa: N818 - a verdict, not a mistake
    """A step cannot be asked of this subject."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Name one promise, and how it is asked."""

    name: str
    asks: str
    ask: Callable[[Subject], Awaitable[str]]
    remote: bool = False
    unlocks: bool = False


def unlock_of(door_id: str, *, attempt: str | None = None, hold_s: float = 1.0, valid_ms: int = 3000) -> UnlockDoor:
    """Return an order to unlock, with an id of its own."""
    return UnlockDoor(
        id=f"conformance-{next(_numbers)}", door_id=door_id, attempt=attempt, hold_s=hold_s, valid_ms=valid_ms
    )


async def _opens(subject: Subject) -> str:
    async with subject.listening():
        return "it connected"


async def _stands(subject: Subject) -> str:
    async with subject.listening() as listener:
        known = await snapshot_of(listener)
        return f"contact {known.contact}, lock {known.lock}"


async def snapshot_of(listener: Listener) -> Snapshot:
    """Return how the door stands, as the driver knows or hears it.

    Raises:
        NotSo: it says nothing in time.
    """
    known = await listener.driver.snapshot(listener.door_id)
    return known or await listener.hear(Snapshot, what="how the door stands")


async def _can(subject: Subject) -> str:
    async with subject.listening() as listener:
        return ", ".join(sorted(await _able(subject, listener))) or "nothing beside the lock"


async def _able(subject: Subject, listener: Listener) -> frozenset[str]:
    """Return what a door can do; how it stands and what it can do may be told in either order."""
    await snapshot_of(listener)
    try:
        async with asyncio.timeout(HEAR_S):
            while (can := listener.driver.capabilities(subject.door_id)) is None:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(ABLE_S)
    except TimeoutError:
        raise NotSo(f"capabilities() is still None {HEAR_S:.0f} s after the first snapshot") from None
    return frozenset(can)


async def _foreign(subject: Subject) -> str:
    async with subject.listening() as listener:
        try:
            await listener.driver.execute(unlock_of("another-door"))
        except InvalidInput as error:
            return str(error)
        raise NotSo("an order for a door that it does not serve was taken")


async def _expired(subject: Subject) -> str:
    async with subject.listening() as listener:
        try:
            await listener.driver.execute(unlock_of(subject.door_id, valid_ms=0))
        except CommandExpired as error:
            return str(error)
        raise NotSo("an order whose time was over was sent")


async def _again(subject: Subject) -> str:
    for _ in range(3):
        async with subject.listening() as listener:
            await snapshot_of(listener)
    return "opened and closed three times"


async def _order(subject: Subject) -> str:
    remote = _remote(subject)
    async with subject.listening() as listener:
        await snapshot_of(listener)
        mark = len(listener.heard)
        await remote.act("force")
        opened = await listener.hear(
            Event, lambda one: one.type in ("opened", "forced"), what="the opening", since=mark
        )
        await remote.act("close")
        closed = await listener.hear(Event, lambda one: one.type == "closed", what="the closing", since=mark)
        if opened.id == closed.id:
            raise NotSo("two events have one id")
        if opened.seq is not None and closed.seq is not None and closed.seq <= opened.seq:
            raise NotSo(f"the closing has number {closed.seq}, the opening before it {opened.seq}")
        numbers = "without numbers" if closed.seq is None else f"numbers {opened.seq} and {closed.seq}"
        return f"{opened.type}, then closed; {numbers}"


async def _kept(subject: Subject) -> str:
    remote = _remote(subject)
    async with subject.listening(acknowledging=False) as listener:
        if "ack" not in await _able(subject, listener):
            raise NotAsked("this wire keeps no events: it does not say `ack`")
        mark = len(listener.heard)
        await remote.act("force")
        first = await listener.hear(Event, lambda one: one.type in ("opened", "forced"), what="the opening", since=mark)
    async with subject.listening() as listener:
        again = await listener.hear(Event, lambda one: one.id == first.id, what="the event that was not committed")
        await remote.act("close")
        await listener.hear(Event, lambda one: one.type == "closed", what="the closing")
        if not again.backlog:
            raise NotSo("an event that waited comes as if it had just happened (backlog is False)")
    return "what was not committed came again, with its id, and marked as late"


async def _tamper(subject: Subject) -> str:
    remote = _remote(subject)
    async with subject.listening() as listener:
        await snapshot_of(listener)
        mark = len(listener.heard)
        await remote.act("tamper")
        await listener.hear(Event, lambda one: one.type == "tamper", what="the tamper alarm", since=mark)
        await remote.act("clear_tamper")
        await listener.hear(Event, lambda one: one.type == "tamper_cleared", what="the end of it", since=mark)
        return "told, and its end"


@asynccontextmanager
async def _asking(subject: Subject) -> AsyncIterator[asyncio.Task[dict[str, object]]]:
    """Present a card at the reader in the background."""
    asking = asyncio.create_task(_remote(subject).act("card", value=SECRET))
    try:
        yield asking
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _card_opens(subject: Subject) -> str:
    async with subject.listening() as listener:
        await snapshot_of(listener)
        async with _asking(subject) as asking:
            request = await listener.asked()
            if SECRET in repr(request) or SECRET in str(listener.driver):
                raise NotSo("the card number shows in a repr, and so in logs")
            if request.redelivered:
                raise NotSo("a request that is about now is marked as redelivered")
            _must(await listener.driver.execute(unlock_of(subject.door_id, attempt=request.id)))
            answer = await asking
        if not answer.get("unlocked"):
            raise NotSo(f"the reader did not hear that it opened: {answer}")
        return f"{request.kind} at reader {request.reader}, {answer.get('ms', '?')} ms to the reader's light"


async def _card_refused(subject: Subject) -> str:
    async with subject.listening() as listener:
        await snapshot_of(listener)
        async with _asking(subject) as asking:
            request = await listener.asked()
            order = GiveFeedback(
                id=f"conformance-{next(_numbers)}", door_id=subject.door_id, attempt=request.id, ok=False,
                reason="unknown_credential",
            )  # fmt: skip
            told = await listener.driver.execute(order)
            if told.error == "unsupported":
                raise NotAsked("this reader has no light and no sound")
            _must(told)
            answer = await asking
        if answer.get("unlocked"):
            raise NotSo("a refusal opened the door")
        return f"the reader showed {answer.get('feedback') or 'no'}"


async def _opens_once(subject: Subject) -> str:
    async with subject.listening() as listener:
        await snapshot_of(listener)
        _must(await listener.driver.execute(unlock_of(subject.door_id)))
        if subject.remote is not None:
            await subject.remote.act("wait", until="locked", timeout_s=HEAR_S)
            return "confirmed, and locked again by itself"
        mark = len(listener.heard)
        await listener.hear(Snapshot, lambda one: one.lock == "locked", what="the lock's return", since=mark)
        return "confirmed, and locked again by itself"


async def _refused_for_certain(subject: Subject) -> str:
    remote = _remote(subject)
    async with subject.listening() as listener:
        await snapshot_of(listener)
        await remote.act("misbehave", fault="refuse_unlock", on=True)
        try:
            executed = await listener.driver.execute(unlock_of(subject.door_id))
        finally:
            await remote.act("misbehave", fault="refuse_unlock", on=False)
        if executed.ok or not executed.certain:
            raise NotSo(f"a refusal by the device came as {executed}")
        return executed.error or "refused"


async def _silence(subject: Subject) -> str:
    remote = _remote(subject)
    async with subject.listening() as listener:
        await snapshot_of(listener)
        await remote.act("misbehave", fault="silent", on=True)
        try:
            executed = await asyncio.wait_for(listener.driver.execute(unlock_of(subject.door_id, valid_ms=500)), HEAR_S)
        except TimeoutError as error:
            raise NotSo("it waited for longer than the order was valid") from error
        except (DeviceUnreachable, DeviceRefused) as error:
            return f"the driver ended: {error}"
        finally:
            await remote.act("misbehave", fault="silent", on=False)
        if executed.ok or executed.certain:
            raise NotSo(f"a door that did not answer may have obeyed, yet it came as {executed}")
        return "no answer is no certainty"


async def _garbage(subject: Subject) -> str:
    remote = _remote(subject)
    async with subject.listening() as listener:
        await snapshot_of(listener)
        mark = len(listener.heard)
        await remote.act("misbehave", fault="garbage", on=True)
        try:
            await remote.act("force")
            await _until_counted(listener)
        finally:
            await remote.act("misbehave", fault="garbage", on=False)
        opened = ("opened", "forced")
        await listener.hear(Event, lambda one: one.type in opened, what="the event amid garbage", since=mark)
        await remote.act("close")
        await listener.hear(Event, lambda one: one.type == "closed", what="the closing", since=mark)
        return f"{_unreadable(listener)} unreadable pieces counted, and the event came through"


def _unreadable(listener: Listener) -> int:
    return sum(n for name, n in listener.driver.counters.items() if "unreadable" in name)


async def _until_counted(listener: Listener) -> None:
    """Wait until garbage was counted.

    Raises:
        NotSo: none was, in time.
    """
    try:
        async with asyncio.timeout(HEAR_S):
            while not _unreadable(listener):  # noqa: ASYNC110 - counters announce nothing
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise NotSo("nothing unreadable was counted") from error


async def _away(subject: Subject) -> str:
    remote = _remote(subject)
    async with subject.listening() as listener:
        await listener.hear(Presence, lambda one: one.online, what="the door's presence")
        mark = len(listener.heard)
        cutting = asyncio.create_task(_cut_until_told(remote))
        try:
            await listener.hear(Presence, lambda one: not one.online, what="its absence", since=mark)
        except NotSo:
            if not listener.ended:
                raise
            return f"the driver ended, as it should when its wire does: {listener.ended}"
        finally:
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)
        await listener.hear(Presence, lambda one: one.online, what="its return", since=mark)
        return "its absence was told, and its return"


async def _cut_until_told(remote: Remote) -> None:
    """Cut the wire again and again: one that is used now and then need not notice a single cut."""
    while True:
        await remote.act("cut")
        await asyncio.sleep(CUT_S)


async def _mode(subject: Subject) -> str:
    async with subject.listening() as listener:
        if "mode" not in await _able(subject, listener):
            raise NotAsked("this door keeps no mode by itself: it does not say `mode`")
        mark = len(listener.heard)
        _must(await listener.driver.execute(SetMode(door_id=subject.door_id, version=10_001, mode="locked_down")))
        try:
            await listener.hear(
                Snapshot, lambda one: one.mode == "locked_down", what="the mode's confirmation", since=mark
            )
            refused = await listener.driver.execute(unlock_of(subject.door_id))
            if refused.ok:
                raise NotSo("a door in lock-down opened")
            _must(await listener.driver.execute(SetMode(door_id=subject.door_id, version=10_002, mode="held_open")))
            await listener.hear(Snapshot, _stands_free, what="that it stands unlocked while held open", since=mark)
        finally:
            mark = len(listener.heard)
            _must(await listener.driver.execute(SetMode(door_id=subject.door_id, version=10_003, mode="normal")))
        await listener.hear(Snapshot, lambda one: one.mode == "normal", what="its return to normal", since=mark)
        return "locked down, refused to open, stood unlocked, and normal again"


def _stands_free(told: Snapshot) -> bool:
    """Return whether a door is held open, and not locked as far as it knows."""
    return told.mode == "held_open" and told.lock != "locked"


def _must(executed: Executed) -> None:
    if not executed.ok:
        raise NotSo(f"it was not confirmed: {executed.error}")


def _remote(subject: Subject) -> Remote:
    if subject.remote is None:
        raise NotAsked("nobody acts at this door: only a simulator can be asked")
    return subject.remote


STEPS: Final = (
    Step(name="opens", asks="The driver connects.", ask=_opens),
    Step(name="tells_how_it_stands", asks="It tells how the door stands.", ask=_stands),
    Step(name="says_what_it_can_do", asks="It says what the door can do.", ask=_can),
    Step(name="refuses_foreign_doors", asks="An order for a door that it does not serve is refused.", ask=_foreign),
    Step(name="sends_nothing_expired", asks="An order whose time is over is never sent.", ask=_expired),
    Step(name="comes_back", asks="It can be closed and opened again.", ask=_again),
    Step(name="tells_in_order", asks="An opening and a closing are told in their order.", ask=_order, remote=True),
    Step(name="keeps_uncommitted", asks="What was not committed comes again, as late.", ask=_kept, remote=True),
    Step(name="tells_tamper", asks="Tampering and its end are told.", ask=_tamper, remote=True),
    Step(
        name="card_opens", asks="A card is asked about; the answer opens.", ask=_card_opens, remote=True, unlocks=True
    ),
    Step(name="card_is_refused", asks="A refusal reaches the reader.", ask=_card_refused, remote=True),
    Step(name="unlocks_once", asks="An unlock is confirmed and ends by itself.", ask=_opens_once, unlocks=True),
    Step(name="refusal_is_certain", asks="A device's refusal is certain.", ask=_refused_for_certain, remote=True),
    Step(name="silence_is_not", asks="No answer is no certainty.", ask=_silence, remote=True, unlocks=True),
    Step(name="bears_garbage", asks="Garbage is counted, and the rest goes on.", ask=_garbage, remote=True),
    Step(name="tells_absence", asks="A door that goes away is told, or ends the driver.", ask=_away, remote=True),
    Step(name="keeps_modes", asks="A mode reaches the door and is confirmed.", ask=_mode, unlocks=True),
)
