"""The policy that this edge lives by: signed by the pinned gateway, taken only if newer, kept sealed on disk.

It fetches nothing (edge.uplink) and applies nothing itself: the worker hands it on.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.keystore import KeyStore
from edge.spool import Spool
from models.errors import DeviceRefused, InvalidInput
from models.link import command_statement, policy_statement
from models.places import Door, check_door
from models.policy import Policy, PolicyDelta, apply_delta

log = logging.getLogger("gatehouse.edge.policies")

KEY: Final = "policy"
MAX_POLICY_BYTES: Final = 16 * 1024 * 1024
_policy = msgspec.json.Decoder(Policy)
_delta = msgspec.json.Decoder(PolicyDelta)


class PolicyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the gateway answered: the JSON of a policy or of a difference, exactly as it was signed."""

    kind: Literal["full", "delta"]
    body: bytes
    signature: str


class Policies:
    """Hold the last accepted policy of one edge. `gateway_key` (base64 Ed25519) is pinned at enrolment."""

    def __init__(
        self,
        *,
        edge_id: str,
        spool: Spool,
        keys: KeyStore,
        gateway_key: Callable[[], str] = lambda: "",
    ) -> None:
        self._edge_id = edge_id
        self._spool = spool
        self._keys = keys
        self._gateway_key = gateway_key
        self.current: Policy | None = None
        self.unusable: dict[str, str] = {}
        """Doors that are left out because their rules are not allowed, each with the reason."""

    async def load(self) -> Policy | None:
        """Return the policy of the last run, if there is one that opens."""
        sealed = await self._spool.recall(KEY)
        if sealed is None:
            return None
        try:
            self.current = _policy.decode(self._keys.unseal_file(sealed, about=KEY))
        except (InvalidInput, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("the stored policy cannot be used, doors wait for the gateway: %s", error)
        return self.current

    async def receive(self, answer: PolicyAnswer) -> Policy | None:
        """Accept what the gateway answered if its pinned key signed it for this edge; see `take`.

        Raises:
            DeviceRefused: the signature is not the pinned gateway's.
            InvalidInput: it cannot be read, or the difference does not fit: ask for the whole.
            StorageUnavailable: see `take`.
        """
        self._check_signature(answer)
        policy = await asyncio.to_thread(self._read, answer)
        return await self.take(policy)

    def _check_signature(self, answer: PolicyAnswer) -> None:
        if not self._signed(policy_statement(self._edge_id, answer.body), signature=answer.signature):
            what = "the policy is not signed by the key that was pinned at enrolment: nothing of it is used"
            raise DeviceRefused("gateway", what)

    def vouched(self, data: bytes, *, signature: str) -> bool:
        """Return whether the pinned gateway signed an event of the command stream for this edge."""
        return self._signed(command_statement(self._edge_id, data), signature=signature)

    def _signed(self, statement: bytes, *, signature: str) -> bool:
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(self._gateway_key(), validate=True))
            key.verify(base64.b64decode(signature, validate=True), statement)
        except (InvalidSignature, ValueError, binascii.Error):
            return False
        return True

    def _read(self, answer: PolicyAnswer) -> Policy:
        if len(answer.body) > MAX_POLICY_BYTES:
            raise InvalidInput("policy", f"more than {MAX_POLICY_BYTES} bytes")
        try:
            if answer.kind == "full":
                return _policy.decode(answer.body)
            delta = _delta.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInput("policy", f"cannot be read: {error}") from error
        if self.current is None:
            raise InvalidInput("policy delta", "this edge has no policy to start from: ask for the whole")
        return apply_delta(self.current, delta)

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
        self.unusable = {}
        for door in () if self.current is None else self.current.doors:
            try:
                doors.append(check_door(door))
            except InvalidInput as error:
                self.unusable[door.id] = str(error)
                log.warning("door %s is not served: %s", door.id, error)
        return tuple(doors)

    def carries_faces(self, at: datetime) -> bool:
        """Return whether the policy still allows faces: its validity has not passed, and no restore waits for a newer one."""
        if self.current is None or at >= self.current.valid_until:
            return False
        restored_at = self._keys.restored_at
        return restored_at is None or self.current.issued_at >= restored_at

    def time(self, at: datetime) -> datetime:
        """Return the time to judge consents by: the edge's, but never before the gateway signed the policy in force.

        An edge whose clock is behind would else match for that long after a withdrawal.
        """
        return at if self.current is None else max(at, self.current.issued_at)

    def forgotten(self) -> tuple[str, ...]:
        """Return erased persons whom this edge knows and the policy does not: the gateway was restored from before."""
        known = frozenset() if self.current is None else frozenset(self.current.tombstones)
        return tuple(sorted(self._keys.tombstones - known)) if self.current is not None else ()


def version(policy: Policy) -> str:
    """Return a policy's version for people: epoch.n."""
    return f"{policy.epoch}.{policy.n}"
