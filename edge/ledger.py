"""What is known of each door and not on disk yet: one commit in flight per door, state and facts together, in order.

A commit that fails keeps its facts here and is tried again; nothing of a door counts as durable before all that came
earlier. It applies no door rules (models.doors) and acknowledges nothing (edge.doorkeeper).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice

from edge.served import Served
from edge.spool import Spool
from models.doors import DoorState
from models.events import AccessDenied, AccessGranted, AnyFact, kind_of
from models.link import DoorStatus
from models.places import Door

RETRY_SAVE_S = 1.0
UNSAVED_LIMIT = 20_000


@dataclass(eq=False)
class Kept:
    """Hold one door, its state, and the facts that are not on disk yet."""

    door: Door
    state: DoorState
    unsaved: OrderedDict[str, AnyFact] = field(default_factory=OrderedDict)
    version: int = 0
    durable: int = 0
    saving: bool = False
    waiting: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    mode_sent: tuple[int, float] | None = None


class Ledger:
    """Bring doors to disk. Belongs to one event loop."""

    def __init__(self, spool: Spool, *, count: Callable[[str], None]) -> None:
        self._spool = spool
        self._count = count
        self._kept: list[Kept] = []
        self._retired: set[int] = set()
        self._retry = asyncio.Event()

    def keep(self, door: Door, state: DoorState) -> Kept:
        """Begin to keep a door."""
        kept = Kept(door=door, state=state)
        self._kept.append(kept)
        return kept

    def retire(self, kept: Kept) -> None:
        """Forget a door once all of it is on disk."""
        self._retired.add(id(kept))
        self._sweep()

    def note(self, kept: Kept, state: DoorState, *, facts: Iterable[AnyFact] = ()) -> int:
        """Take a new state and facts, and see to it that they reach the disk; return the version to wait for."""
        fresh = [fact for fact in facts if fact.id not in kept.unsaved]
        if state == kept.state and not fresh:
            return kept.version
        kept.state = state
        for fact in fresh:
            self._count(kind_of(fact))
            kept.unsaved[fact.id] = fact
        if len(kept.unsaved) > UNSAVED_LIMIT:
            self._give_up(kept)
        kept.version += 1
        self._save(kept)
        return kept.version

    def _give_up(self, kept: Kept) -> None:
        """Make room by the oldest admissions, which nobody was promised; what came of reports is never given up.

        Reports stop coming while nothing is acknowledged, so there are few of those.
        """
        admissions = (key for key, fact in kept.unsaved.items() if isinstance(fact, AccessGranted | AccessDenied))
        for key in tuple(islice(admissions, len(kept.unsaved) - UNSAVED_LIMIT)):
            del kept.unsaved[key]
            self._count("facts_given_up")

    async def on_disk(self, kept: Kept, version: int) -> None:
        """Wait until this version of a door is durable, for as long as that takes."""
        if kept.durable >= version:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kept.waiting.append((version, waiter))
        await waiter

    async def save_again_forever(self) -> None:
        """Try commits that failed again, once a second."""
        while True:
            await self._retry.wait()
            await asyncio.sleep(RETRY_SAVE_S)
            self._retry.clear()
            for kept in tuple(self._kept):
                if kept.durable < kept.version:
                    self._save(kept)
            self._sweep()

    def _save(self, kept: Kept) -> None:
        if kept.saving:
            return  # what is in flight will be followed by what came meanwhile
        kept.saving = True
        ids = tuple(kept.unsaved)
        future = self._spool.commit(kept.state, tuple(kept.unsaved.values()))
        future.add_done_callback(partial(self._saved, kept, kept.version, ids))

    def _saved(self, kept: Kept, version: int, ids: tuple[str, ...], future: asyncio.Future[None]) -> None:
        kept.saving = False
        if future.cancelled() or future.exception() is not None:
            self._retry.set()
            return
        for key in ids:
            kept.unsaved.pop(key, None)
        kept.durable = version
        for wanted, waiter in kept.waiting:
            if wanted <= version and not waiter.done():
                waiter.set_result(None)
        kept.waiting = [pair for pair in kept.waiting if not pair[1].done()]
        if kept.version > version:
            self._save(kept)

    def _sweep(self) -> None:
        gone = [kept for kept in self._kept if id(kept) in self._retired and kept.durable >= kept.version]
        for kept in gone:
            self._retired.discard(id(kept))
            self._kept.remove(kept)


def status_of(kept: Kept, *, served: Served | None, at: datetime) -> DoorStatus:
    """Return how a door stands, for the gateway; one whose wire is away is not online, and says why."""
    state = kept.state
    connected = served is not None and served.driver is not None
    return DoorStatus(
        door_id=state.door_id,
        online=connected and (state.online is True or (state.online is None and state.contact != "unknown")),
        contact=state.contact,
        lock=state.lock,
        mode=state.mode,
        tamper=state.tamper,
        alarm=state.alarm,
        at=at,
        trouble=None if served is None else served.trouble_of(state.door_id),
    )
