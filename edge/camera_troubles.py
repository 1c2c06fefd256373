"""Facts of cameras whose pictures are no use: each trouble is told when it begins and when it is over.

The eyes judge (edge.looks, models.picture_health), and so does a camera's own device (edge.camera_devices). What was
told is remembered over restarts, so that no alert stays open for ever; a trouble that nobody can judge just now, or
after a restart not yet, stays as it is. Where both see one trouble (a wrong clock), it is over when neither sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from edge.clock import SteadyClock
from edge.spool import Spool
from edge.wire import EyeHealth
from models.errors import StorageUnavailable
from models.events import CameraSettled, CameraTroubled, Trouble, fact_id

TROUBLED_KEY = "cameras_troubled"
RETRY_S = 1.0
Judge = Literal["eye", "device"]
"""Who finds a trouble: the eye by the pictures, or the camera's own device."""
_told = msgspec.json.Decoder(dict[str, dict[Trouble, str]])


class CameraTroubles:
    """Turn what eyes find into facts. `on_change` is called when a camera's troubles are others."""

    def __init__(self, *, edge_id: str, spool: Spool, clock: SteadyClock) -> None:
        self._edge_id = edge_id
        self._spool = spool
        self._clock = clock
        self._told: dict[str, dict[Trouble, str]] = {}
        self._seen: set[tuple[str, Trouble, Judge]] = set()
        self.on_change: Callable[[], None] = lambda: None

    async def load(self) -> None:
        """Recall what was told before this process."""
        stored = await self._spool.recall(TROUBLED_KEY)
        if stored is not None:
            self._told = _told.decode(stored)

    def of(self, camera_id: str) -> tuple[Trouble, ...]:
        """Return the troubles of a camera that are in force."""
        return tuple(self._told.get(camera_id, ()))

    async def follow(self, health: EyeHealth) -> None:
        """Tell what an eye finds; waits until it is stored."""
        await self.say(health.camera_id, present=health.troubles, absent=health.absent, by="eye")

    def withdraw(self, camera_id: str, *, by: Judge) -> tuple[Trouble, ...]:
        """Forget what a judge that is gone saw of a camera: from now on the other one alone says when it is over.

        Returns what no other judge sees: if this one does not come back, nobody else may ever say that it is over.
        """
        gone = {seen for seen in self._seen if (seen[0], seen[2]) == (camera_id, by)}
        self._seen -= gone
        others = {trouble for camera, trouble, _ in self._seen if camera == camera_id}
        return tuple(sorted({trouble for _, trouble, _ in gone} - others))

    async def say(
        self, camera_id: str, *, present: Iterable[Trouble] = (), absent: Iterable[Trouble] = (), by: Judge
    ) -> None:
        """Tell what began and what is over; waits until it is stored. What is in neither stays as it is."""
        at = self._clock.now()
        told = dict(self._told.get(camera_id, {}))
        facts: list[CameraTroubled | CameraSettled] = []
        for trouble in present:
            self._seen.add((camera_id, trouble, by))
            if trouble not in told:
                told[trouble] = key = fact_id(self._edge_id, camera_id, trouble, at.isoformat())
                facts.append(CameraTroubled(id=key, at=at, camera_id=camera_id, trouble=trouble))
        for trouble in absent:
            self._seen.discard((camera_id, trouble, by))
            if trouble in told and not any(seen[:2] == (camera_id, trouble) for seen in self._seen):
                key = fact_id(self._edge_id, camera_id, told.pop(trouble), "camera_settled")
                facts.append(CameraSettled(id=key, at=at, camera_id=camera_id, trouble=trouble))
        if not facts:
            return
        self._told = {**{name: kept for name, kept in self._told.items() if name != camera_id}, camera_id: told}
        if not told:
            del self._told[camera_id]
        self.on_change()
        await self._store(facts)

    async def _store(self, facts: list[CameraTroubled | CameraSettled]) -> None:
        while True:
            try:
                # Together: a trouble that was told and not noted would never be told to be over.
                notes = {TROUBLED_KEY: msgspec.json.encode(self._told)}
                await self._spool.commit(None, tuple(facts), notes=notes)
            except StorageUnavailable:
                await asyncio.sleep(RETRY_S)
            else:
                return
