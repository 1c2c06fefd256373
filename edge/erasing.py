"""What must go from this edge goes: erased persons, ended consents, templates whose doors are another edge's; with receipts.

A policy says who; the time says when. It stops no matching: edge.attention asks for a live consent at each decision, so
what is destroyed here a moment later is not matched meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from edge.clock import SteadyClock
from edge.keystore import Erased, KeyStore
from edge.policies import Policies
from models.errors import StorageUnavailable
from models.link import EraseFace, ErasureReceipt, Result, erasure_statement
from models.people import Consent
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.erasing")

EVERY_S: Final = 30.0
DOORS_LEFT: Final = timedelta(hours=20)
"""How long a template outlives the last door of its person here, unmatched, so that the edge that got the door can ask."""


class Erasing:
    """Destroy what may not be kept any longer."""

    def __init__(
        self,
        *,
        edge_id: str,
        clock: SteadyClock,
        keys: KeyStore,
        policies: Policies,
        sign: Callable[[bytes], str],
        on_change: Callable[[], None],
    ) -> None:
        self._edge_id = edge_id
        self._clock = clock
        self._keys = keys
        self._policies = policies
        self._sign = sign
        self._on_change = on_change
        self.counters: dict[str, int] = {}

    async def apply(self, policy: Policy) -> None:
        """Destroy what this policy and the time do not allow to be kept.

        Raises:
            StorageUnavailable: the disk did not take it; ask again.
        """
        at = self._time(policy)
        fresh_since = self._keys.restored_at
        settled = fresh_since is not None and policy.issued_at >= fresh_since
        leaving = self._leaving(policy, at=at)
        agreed = _agreed(policy)
        held_now = {template.person_id for template in self._keys.sealed()}
        ended = {who for who in held_now if _ended(agreed.get(who, ()), at=at, strictly=settled)}
        ended |= {person_id for person_id, since in leaving.items() if at - since >= DOORS_LEFT}
        erased = await asyncio.to_thread(self._keys.erase_all, ended, at=at, tombstones=policy.tombstones)
        held = {template.person_id for template in self._keys.sealed()}
        await asyncio.to_thread(self._keys.note_leaving, {who: since for who, since in leaving.items() if who in held})
        if settled:
            await asyncio.to_thread(self._keys.settle)
            log.info(
                "the restored templates were judged by a policy from after the restore: faces may be matched again"
            )
        if erased:
            self._count("templates_destroyed", sum(one.templates for one in erased))
            log.info(
                "%d persons' templates and keys were destroyed: their consent ended or they were erased", len(erased)
            )
        if erased or settled:
            self._on_change()

    def _time(self, policy: Policy) -> datetime:
        """Return the time to judge by: the gateway's where the edge's clock is behind or cannot be trusted."""
        return max(self._clock.now(), policy.issued_at) if self._clock.trusted() else policy.issued_at

    def _leaving(self, policy: Policy, *, at: datetime) -> dict[str, datetime]:
        """Return who is held and has no door here any longer, and since when."""
        own = {door.id for door in policy.doors}
        staying = {c.person_id for c in policy.consents if c.purpose == "door_face" and not own.isdisjoint(c.doors)}
        before = self._keys.leaving
        held = {template.person_id for template in self._keys.sealed()}
        return {person_id: before.get(person_id, at) for person_id in sorted(held - staying)}

    async def run(self) -> None:
        """Look around for ever: consents end by the clock too, and a full disk gets room again."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look_around()

    async def look_around(self) -> None:
        """Apply the policy in force once more, as of now; a disk that takes nothing is tried again the next time."""
        policy = self._policies.current
        if policy is None:
            return
        try:
            await self.apply(policy)
        except StorageUnavailable as error:
            log.warning("templates could not be destroyed yet, they are not matched: %s", error)

    async def erase(self, command: EraseFace) -> Result:
        """Destroy a person's key and templates, and answer with a signed receipt; a repetition gets the same one.

        Raises:
            StorageUnavailable: the disk did not take it; the command has not been obeyed.
        """
        at = self._clock.now()
        erased = await asyncio.to_thread(self._keys.erase, command.person_id, at=at)
        if erased is not None:
            self._count("templates_destroyed", erased.templates)
            self._on_change()
        kept = erased or self._keys.erasure_of(command.person_id)
        detail = "" if erased is not None else "there was no template"
        nothing = Erased(id=command.id, person_id=command.person_id, templates=0, at=at)
        receipt = self.receipt(kept or nothing)
        return Result(command_id=command.id, state="confirmed", detail=detail, at=at, erasure=receipt)

    def receipt(self, erased: Erased) -> ErasureReceipt:
        """Return the signed receipt of an erasure."""
        unsigned = ErasureReceipt(
            id=erased.id, person_id=erased.person_id, edge_id=self._edge_id, templates=erased.templates,
            protection=self._keys.protection, erased_at=erased.at,
        )  # fmt: skip
        return msgspec.structs.replace(unsigned, signature=self._sign(erasure_statement(unsigned)))

    def _count(self, name: str, n: int) -> None:
        self.counters[name] = self.counters.get(name, 0) + n


def _agreed(policy: Policy) -> dict[str, list[Consent]]:
    """Return the consents to faces at doors, by person."""
    agreed: dict[str, list[Consent]] = {}
    for consent in policy.consents:
        if consent.purpose == "door_face":
            agreed.setdefault(consent.person_id, []).append(consent)
    return agreed


def _ended(own: Sequence[Consent], *, at: datetime, strictly: bool) -> bool:
    """Return whether none of a person's consents lets a template be kept; `strictly` asks for a live one.

    A person of whom the policy has no consent at all is `leaving`, not ended, unless asked strictly.
    """
    if strictly:
        return not any(consent.live(at) for consent in own)
    return bool(own) and all(consent.over(at) for consent in own)
