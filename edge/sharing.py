"""Copies of templates from edge to edge of one site: sealed to the sibling's key, through the gateway, which can open none.

Whom to trust is in the signed policy alone: the command names a sibling, and the policy says which key and doors it has.
The sharing edge gives a template only where a live consent names a door of the sibling, and narrows it to those doors;
the adopting edge asks its own policy the same again. It moves no bytes itself (edge.relay).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Protocol, TypeVar

import msgspec
import numpy as np

from edge.clock import SteadyClock
from edge.keystore import KeyStore
from edge.policies import Policies
from edge.templates import Plain, joins
from models.errors import DeviceUnreachable, InvalidInput, NotFound
from models.link import MAX_SHARED_BYTES, PICTURES_MOST, AdoptTemplates, FaceReceipt, Result, ShareTemplates
from models.people import Consent, face_allowed
from models.policy import Policy, Sibling
from models.sealing import NONCE_BYTES, seal_to, unseal_from

log = logging.getLogger("gatehouse.edge.sharing")

EMBEDDING_BYTES: Final = range(64, 16_385, 4)
"""16 to 4096 numbers: what networks of faces make."""
ADOPTED_AT_ONCE: Final = 2000
"""People whose proofs would not fit into one result come with the next exchange."""
POLICY_WAIT_S: Final = 3.0
"""The command may overtake the policy that names the sibling by this much."""


T = TypeVar("T")


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what one edge gives another."""

    version: int = 1
    templates: tuple[Plain, ...]


_envelope = msgspec.msgpack.Decoder(Envelope)


class Relays(Protocol):
    """Move bytes behind one-time tickets."""

    async def fetch(self, ticket: str, *, limit_bytes: int) -> bytes:
        """Return the bytes behind a ticket."""

    async def send(self, ticket: str, content: bytes) -> None:
        """Send bytes through a ticket."""


class Sharing:
    """Obey the two commands that carry templates from one edge to another."""

    def __init__(
        self,
        *,
        edge_id: str,
        clock: SteadyClock,
        keys: KeyStore,
        policies: Policies,
        relay: Relays,
        seal_key: bytes,
        on_change: Callable[[], None],
        draw: Callable[[int], bytes] = os.urandom,
        policy_wait_s: float = POLICY_WAIT_S,
    ) -> None:
        self._edge_id = edge_id
        self._clock = clock
        self._keys = keys
        self._policies = policies
        self._relay = relay
        self._seal_key = seal_key
        self._on_change = on_change
        self._draw = draw
        self._policy_wait_s = policy_wait_s

    async def share(self, command: ShareTemplates) -> Result:
        """Send a sibling the templates that its doors may use."""
        sibling = await self._sibling(command.to_edge)
        if sibling is None:
            return self._no(command.id, "no_sibling", "the policy names no such edge of this site with a key")
        given = await asyncio.to_thread(self._given, sibling)
        content = msgspec.msgpack.encode(Envelope(templates=given))
        about = _about(site_id=self._site(), sender=self._edge_id, to=sibling.edge_id)
        try:
            sealed = seal_to(
                content, to=sibling.seal_key, sender=self._seal_key, about=about, nonce=self._draw(NONCE_BYTES)
            )
        except InvalidInput as error:
            return self._no(command.id, "no_sibling", str(error))
        if len(sealed) > MAX_SHARED_BYTES:
            return self._no(command.id, "too_many", f"{len(given)} templates are more than a relay carries")
        ended = await self._moved(command.id, self._relay.send(command.relay_ticket, sealed))
        if isinstance(ended, Result):
            return ended
        log.info("%d templates were sealed to edge %s", len(given), sibling.edge_id)
        return Result(command_id=command.id, state="confirmed", detail=f"{len(given)} templates", at=self._clock.now())

    def _given(self, sibling: Sibling) -> tuple[Plain, ...]:
        """Return the templates that a live consent allows at the sibling's doors, narrowed to those."""
        policy, at = self._policies.current, self._policies.time(self._clock.now())
        if policy is None or self._keys.restored_at is not None or not self._clock.trusted():
            return ()
        given, allowed = [], Allowed(policy, among=sibling.doors, at=at)
        for sealed in self._keys.sealed():
            doors = allowed.doors(sealed.person_id)
            try:
                plain = self._keys.plain(sealed) if doors else None
            except InvalidInput as error:
                log.warning("template %s cannot be shared: %s", sealed.id, error)
                continue
            if plain is not None:
                given.append(msgspec.structs.replace(plain, doors=doors))
        return tuple(given)

    async def adopt(self, command: AdoptTemplates) -> Result:
        """Take what a sibling sealed to this edge, as far as this edge's own policy allows it."""
        sibling = await self._sibling(command.from_edge)
        if sibling is None:
            return self._no(command.id, "no_sibling", "the policy names no such edge of this site with a key")
        sealed = await self._moved(command.id, self._relay.fetch(command.relay_ticket, limit_bytes=MAX_SHARED_BYTES))
        if isinstance(sealed, Result):
            return sealed
        about = _about(site_id=self._site(), sender=sibling.edge_id, to=self._edge_id)
        try:
            content = unseal_from(sealed, sender=sibling.seal_key, to=self._seal_key, about=about)
            envelope = _envelope.decode(content)
        except (InvalidInput, msgspec.MsgspecError, UnicodeDecodeError) as error:
            return self._no(command.id, "forged", f"what came was not sealed by {sibling.edge_id} for us: {error}")
        return await self._kept(command.id, envelope)

    async def _kept(self, command_id: str, envelope: Envelope) -> Result:
        taken = tuple(self._usable(envelope))
        kept = await asyncio.to_thread(self._keys.put_all, taken)
        self._on_change()
        receipts = tuple(
            FaceReceipt(
                id=one.id, person_id=one.person_id, edge_id=self._edge_id, contract=one.contract, quality=one.quality,
                digest=one.digest, at=one.at,
            )
            for one in kept
        )  # fmt: skip
        detail = f"{len(kept)} of {len(envelope.templates)} templates"
        at = self._clock.now()
        return Result(command_id=command_id, state="confirmed", detail=detail, at=at, receipts=receipts)

    def _usable(self, envelope: Envelope) -> list[Plain]:
        """Return what this edge's own policy allows, narrowed to its doors; what it holds already is not replaced.

        Of one person only those count that were made as the first was.
        """
        policy, at = self._policies.current, self._policies.time(self._clock.now())
        if policy is None:
            return []
        allowed = Allowed(policy, among=tuple(door.id for door in policy.doors), at=at)
        gone = self._keys.tombstones | set(policy.tombstones)
        held = {template.person_id for template in self._keys.sealed()}
        usable: dict[str, list[Plain]] = {}
        for plain in sorted(envelope.templates, key=lambda one: one.person_id):
            if plain.person_id not in usable and sum(map(len, usable.values())) > ADOPTED_AT_ONCE - PICTURES_MOST:
                break
            doors = allowed.doors(plain.person_id)
            if doors and plain.person_id not in gone | held and _is_embedding(plain.embedding):
                narrowed = msgspec.structs.replace(plain, doors=doors)
                own = usable.setdefault(plain.person_id, [])
                if len(own) < PICTURES_MOST and (not own or joins(own[0], narrowed)):
                    own.append(narrowed)
        return [plain for own in usable.values() for plain in own]

    async def _sibling(self, edge_id: str) -> Sibling | None:
        """Return a sibling of the signed policy; the policy that brings it may be a moment behind."""
        for _ in range(max(1, round(self._policy_wait_s / 0.1))):
            policy = self._policies.current
            named = () if policy is None else policy.siblings
            found = next((one for one in named if one.edge_id == edge_id and one.seal_key), None)
            if found is not None:
                return found
            await asyncio.sleep(0.1)
        return None

    async def _moved(self, command_id: str, moving: Awaitable[T]) -> T | Result:
        try:
            return await moving
        except (NotFound, InvalidInput) as error:
            return self._no(command_id, "no_relay", str(error))
        except DeviceUnreachable as error:
            return self._no(command_id, "not_ready", str(error), state="failed")

    def _site(self) -> str:
        return "" if self._policies.current is None else self._policies.current.site_id

    def _no(self, command_id: str, reason: str, detail: str, *, state: str = "refused") -> Result:
        return Result(
            command_id=command_id, state="failed" if state == "failed" else "refused", reason=reason,
            detail=detail[:200], at=self._clock.now(),
        )  # fmt: skip


class Allowed:
    """Answer for one policy and time at which doors a person's face may be matched."""

    def __init__(self, policy: Policy, *, among: tuple[str, ...], at: datetime) -> None:
        """Index a policy; `among` are the doors that count."""
        self._people = {member.id: member for member in policy.people if member.id not in set(policy.tombstones)}
        self._consents: dict[str, tuple[Consent, ...]] = {}
        for consent in policy.consents:
            self._consents[consent.person_id] = (*self._consents.get(consent.person_id, ()), consent)
        self._among = tuple(sorted(among))
        self._at = at

    def doors(self, person_id: str) -> tuple[str, ...]:
        """Return the doors that a live consent of a person names: the consent decides, not for which doors a template was made."""
        person, own = self._people.get(person_id), self._consents.get(person_id, ())
        if person is None:
            return ()
        return tuple(door for door in self._among if face_allowed(person, own, door_id=door, at=self._at))


def _is_embedding(raw: bytes) -> bool:
    """Return whether bytes are an embedding: of a length that there is, each number finite."""
    return len(raw) in EMBEDDING_BYTES and bool(np.isfinite(np.frombuffer(raw, dtype="<f4")).all())


def _about(*, site_id: str, sender: str, to: str) -> bytes:
    return "\x1f".join(("templates", site_id, sender, to)).encode()
