"""Count how near the different persons of this edge's own consented gallery come to each other; only counts leave.

Whose consent is live now is compared, under the contract that doors match by, and nobody else: no photo, no stranger.
The counts are models.evidence's, the radii that follow from them models.calibration's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from edge.clock import SteadyClock
from edge.galleries import Galleries
from edge.keystore import KeyStore, Opened
from models.calibration import ImpostorEvidence
from models.evidence import MAX_PERSONS, count_evidence
from models.link import CountImpostors, Result

LEAST_PERSONS = 2


class Counting:
    """Obey commands to count."""

    def __init__(
        self, *, edge_id: str, clock: SteadyClock, keys: KeyStore, galleries: Galleries, new_id: Callable[[], str]
    ) -> None:
        self._edge_id = edge_id
        self._clock = clock
        self._keys = keys
        self._galleries = galleries
        self._new_id = new_id

    async def count(self, command: CountImpostors) -> Result:
        """Return the counts of this edge's gallery, or the reason why there are none."""
        if not self._galleries.assessed():
            return self._refused(command, "not_assessed", "no impact assessment of faces is in force at this site")
        templates = self._agreed()
        persons = len({one.person_id for one in templates})
        if persons < LEAST_PERSONS:
            return self._refused(command, "too_few_people", f"{persons} enrolled; two or more can be compared")
        if persons > MAX_PERSONS:
            return self._refused(command, "too_many_people", f"{persons} enrolled; at most {MAX_PERSONS} are compared")
        evidence = await asyncio.to_thread(self._counted, templates)
        return Result(command_id=command.id, state="confirmed", at=self._clock.now(), evidence=evidence)

    def _agreed(self) -> list[Opened]:
        """Return the templates that some door may match now, made by the network that doors match by."""
        galleries = self._galleries
        own = [one for one in self._keys.open_all() if one.contract == galleries.contract]
        return [one for one in own if any(galleries.allows(one.person_id, door) for door in one.doors)]

    def _counted(self, templates: list[Opened]) -> ImpostorEvidence:
        return count_evidence(
            [one.person_id for one in templates],
            np.stack([one.embedding for one in templates]),
            evidence_id=self._new_id(),
            contract=templates[0].contract,
            source="site",
            at=self._clock.now(),
            edge_id=self._edge_id,
        )

    def _refused(self, command: CountImpostors, reason: str, detail: str) -> Result:
        return Result(command_id=command.id, state="refused", reason=reason, detail=detail, at=self._clock.now())
