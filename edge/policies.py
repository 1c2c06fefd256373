"""The policy that this edge lives by: taken only if newer, kept sealed on disk, judged for how far it still carries.

It fetches nothing (edge.uplink) and applies nothing itself: the worker hands it on.
"""

from __future__ import annotations

import logging
from datetime import datetime

import msgspec

from edge.keystore import KeyStore
from edge.spool import Spool
from models.errors import InvalidInput
from models.places import Door, check_door
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.policies")

KEY = "policy"
_decoder = msgspec.json.Decoder(Policy)


class Policies:
    """Hold the last accepted policy of one edge."""

    def __init__(self, *, edge_id: str, spool: Spool, keys: KeyStore) -> None:
        self._edge_id = edge_id
        self._spool = spool
        self._keys = keys
        self.current: Policy | None = None

    async def load(self) -> Policy | None:
        """Return the policy of the last run, if there is one that opens."""
        sealed = await self._spool.recall(KEY)
        if sealed is None:
            return None
        try:
            self.current = _decoder.decode(self._keys.unseal_file(sealed, about=KEY))
        except (InvalidInput, msgspec.MsgspecError) as error:
            log.warning("the stored policy cannot be used, doors wait for the gateway: %s", error)
        return self.current

    async def take(self, policy: Policy) -> Policy | None:
        """Accept a policy and store it; None if it is not for this edge, not newer, or older than what was accepted.

        Raises:
            StorageUnavailable: it could not be stored. It is the current one all the same, since a withdrawal must not
                wait for a disk; take it again until it is stored.
        """
        if policy.edge_id != self._edge_id:
            log.warning("a policy for edge %s came to edge %s: refused", policy.edge_id, self._edge_id)
            return None
        if self.current is not None and (policy.epoch, policy.n) < (self.current.epoch, self.current.n):
            log.warning("policy %s is older than %s: refused", version(policy), version(self.current))
            return None
        self.current = policy
        sealed = self._keys.seal_file(msgspec.json.encode(policy), about=KEY)
        await self._spool.remember(KEY, sealed)
        return policy

    def usable_doors(self) -> tuple[Door, ...]:
        """Return the doors of the policy whose rules are allowed; a wrong one is said in the log and left out."""
        doors = []
        for door in () if self.current is None else self.current.doors:
            try:
                doors.append(check_door(door))
            except InvalidInput as error:
                log.warning("door %s is not served: %s", door.id, error)
        return tuple(doors)

    def carries_faces(self, at: datetime) -> bool:
        """Return whether the policy still allows faces: its validity has not passed."""
        return self.current is not None and at < self.current.valid_until


def version(policy: Policy) -> str:
    """Return a policy's version for people: epoch.n."""
    return f"{policy.epoch}.{policy.n}"
