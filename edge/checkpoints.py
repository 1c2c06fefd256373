"""Witness of the gateway's audit log: the last checkpoints that came with policy answers, kept beside the facts.

A gateway whose log was cut or rewritten cannot take back what its edges have seen (R32). It judges no log; `gatehouse
verify-audit` compares.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from edge.spool import Spool
from models.link import Checkpoint

log = logging.getLogger("gatehouse.edge.checkpoints")

KEY: Final = "checkpoints"
KEPT: Final = 1000
MAX_HEADER_CHARS: Final = 2048
_one = msgspec.json.Decoder(Checkpoint)
_all = msgspec.json.Decoder(tuple[Checkpoint, ...])


class Checkpoints:
    """Keep the last thousand checkpoints, by number; the first that came under a number stays."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._kept: tuple[Checkpoint, ...] = ()
        self.counters: dict[str, int] = {}

    @property
    def newest(self) -> Checkpoint | None:
        """The checkpoint with the highest number."""
        return self._kept[-1] if self._kept else None

    @property
    def kept(self) -> tuple[Checkpoint, ...]:
        """Every kept checkpoint, by number."""
        return self._kept

    async def load(self) -> None:
        """Read what the last run kept; what cannot be read is said and begun anew."""
        stored = await self._spool.recall(KEY)
        try:
            self._kept = () if stored is None else _all.decode(stored)
        except msgspec.MsgspecError as error:
            log.warning("the kept checkpoints cannot be read, they begin anew: %s", error)

    async def witness(self, header: str | None) -> None:
        """Keep the checkpoint of an answer if it is new; one that contradicts a kept one is counted and said.

        Raises:
            StorageUnavailable: the disk did not take it; the next answer brings it again.
        """
        if not header:
            return
        try:
            told = _one.decode(header[: MAX_HEADER_CHARS + 1])
        except msgspec.MsgspecError as error:
            log.debug("a checkpoint cannot be read: %s", error)
            self._count("unreadable")
            return
        newest = self.newest
        if newest is not None and told.seq <= newest.seq:
            self._compare(told)
            return
        kept = (*self._kept, told)[-KEPT:]
        await self._spool.remember(KEY, msgspec.json.encode(kept))
        self._kept = kept

    def _compare(self, told: Checkpoint) -> None:
        """Say it where the gateway tells another story than before."""
        same = next((one for one in self._kept if one.seq == told.seq), None)
        if same is None or same.digest == told.digest:
            return
        self._count("contradictions")
        if self.counters["contradictions"] == 1:
            log.warning("the gateway's audit log is not the one that this edge has seen: run `gatehouse verify-audit`")

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1
