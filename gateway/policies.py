"""Policies in memory: a site's records as last read, and the last policies of its edges, from which deltas are made.

Nothing here is needed for correctness: another process, or this one after a restart, hands out whole policies instead.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import msgspec

from gateway.auth.keys import GatewayKey
from gateway.store import Connection, Store
from gateway.store.edges import EdgeIdentity, contract_of
from gateway.store.policy import Memo, audit_number, content_digest, content_of, number, number_of, siblings_of
from gateway.store.policy_writes import PolicyWrites
from gateway.store.site_records import PARTS, SiteRecords, read_parts
from models.link import policy_statement
from models.policy import Policy, Sibling, delta_between

SITES_KEPT: Final = 32
EDGES_KEPT: Final = 64
POLICIES_KEPT: Final = 3
"""Of each edge: the newest, and what it may ask a delta from."""
ANEW_AFTER: Final = timedelta(seconds=60)
"""What depends on the time (who is under 14, what is over) is looked at again after so long, though nothing was written."""
ATTEMPTS: Final = 3
LARGE_BYTES: Final = 64 * 1024
PACKING: Final = 1
"""The level of gzip: a third of the size for a fortieth of a second; more costs more than it saves."""

Version = tuple[int, int]
T = TypeVar("T")


class PolicyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what an edge is answered: the body, what it is, and the gateway's signature."""

    version: Version
    kind: Literal["full", "delta"]
    body: bytes
    packed: bytes | None = None
    """The body as gzip (RFC 1952), where that is worth its while; the signature is over the body itself."""
    signature: str


class _Built(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a content with what it was made from."""

    content: Policy
    digest: str
    records: SiteRecords
    siblings: tuple[Sibling, ...]
    contract: str
    at: datetime
    audit: int
    known: Policy | None
    """The same under its number, if that needs no new one."""


class _Site:
    """Hold the parts of one site, each with the stamp under which it was read."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.foreign: int | None = None
        self.stamps: dict[str, tuple[int, ...]] = {}
        self.parts: dict[str, Any] = {}
        self.records: SiteRecords | None = None


class _Edge:
    """Hold the last policies of one edge, and what the newest was built from."""

    def __init__(self) -> None:
        self.built: _Built | None = None
        self.memo = Memo()
        self.recent: OrderedDict[Version, Policy] = OrderedDict()


class Policies:
    """Build, number and remember the policies of one store's edges."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writes = PolicyWrites(store.engine)
        self._sites: OrderedDict[str, _Site] = OrderedDict()
        self._edges: OrderedDict[str, _Edge] = OrderedDict()

    async def current(self, edge: EdgeIdentity, *, at: datetime) -> Policy:
        """Return the newest policy of an edge, numbered anew if what it says has changed."""
        site = _kept(self._sites, edge.site_id, most=SITES_KEPT, make=_Site)
        mine = _kept(self._edges, edge.id, most=EDGES_KEPT, make=_Edge)
        async with site.lock:
            for attempt in range(ATTEMPTS):
                built = await self._store.read(self._build, edge, site=site, mine=mine, at=at)
                last = attempt == ATTEMPTS - 1
                policy = built.known or await self._store.write(self._number, built, last=last, at=at)
                if policy is not None:
                    break
            assert policy is not None  # noqa: S101 - the last attempt always numbers
            mine.built = built
            mine.recent[policy.epoch, policy.n] = policy
            while len(mine.recent) > POLICIES_KEPT:
                mine.recent.popitem(last=False)
        return policy

    async def answer(
        self, edge: EdgeIdentity, *, held: Version | None, base: Version | None, key: GatewayKey, at: datetime
    ) -> PolicyAnswer | None:
        """Return what an edge is told that holds one policy and can take a delta from `base`; None if it has the newest."""
        policy = await self.current(edge, at=at)
        if held == (policy.epoch, policy.n):
            return None
        kept = self._edges.get(edge.id)
        old = kept.recent.get(base) if kept is not None and base is not None else None
        return await asyncio.to_thread(_answer, policy, old=old, key=key)

    def foreign_writes(self, connection: Connection) -> int:
        """Return a number that is another one after another process changed something."""
        return self._writes.foreign(connection)

    def _build(self, connection: Connection, edge: EdgeIdentity, *, site: _Site, mine: _Edge, at: datetime) -> _Built:
        stamps = {name: self._writes.stamp(tables) for name, (_, tables) in PARTS.items()}
        audit, foreign = audit_number(connection), self._writes.foreign(connection)
        records = self._records(connection, edge.site_id, site=site, stamps=stamps, foreign=foreign)
        siblings = siblings_of(connection, edge.id, site_id=edge.site_id)
        contract = contract_of(connection, edge.id)
        was = mine.built
        fresh = was is not None and abs(at - was.at) < ANEW_AFTER
        same = was is not None and (was.siblings, was.contract) == (siblings, contract)
        if was is not None and fresh and was.records is records and same:
            content, digest = was.content, was.digest
        else:
            mine.memo = mine.memo if fresh else Memo()
            content = content_of(
                records, edge.id, site_id=edge.site_id, siblings=siblings, at=at, contract=contract, again=mine.memo
            )  # fmt: skip
            digest = content_digest(content, mine.memo)
        known = number_of(connection, content, digest=digest, at=at)
        return _Built(
            content=content, digest=digest, records=records, siblings=siblings, contract=contract,
            at=was.at if was and fresh else at, audit=audit, known=known,
        )  # fmt: skip

    def _records(
        self,
        connection: Connection,
        site_id: str,
        *,
        site: _Site,
        stamps: dict[str, tuple[int, ...]],
        foreign: int,
    ) -> SiteRecords:
        """Return the site's records, of which only those parts are read that may have changed."""
        others_wrote = site.foreign != foreign
        stale = frozenset(name for name in PARTS if others_wrote or site.stamps.get(name) != stamps[name])
        if stale or site.records is None:
            site.parts |= read_parts(connection, site_id, wanted=stale)
            site.stamps, site.foreign = stamps, foreign
            site.records = SiteRecords(**site.parts)
        return site.records

    def _number(self, connection: Connection, built: _Built, *, last: bool, at: datetime) -> Policy | None:
        """Number a content, unless something was written since it was read: then it is built again."""
        if not last and audit_number(connection) != built.audit:
            return None
        return number(connection, built.content, digest=built.digest, at=at)


def _kept(kept: OrderedDict[str, T], key: str, *, most: int, make: type[T]) -> T:
    found = kept.get(key)
    if found is None:
        found = kept[key] = make()
        while len(kept) > most:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return found


def _answer(policy: Policy, *, old: Policy | None, key: GatewayKey) -> PolicyAnswer:
    kind: Literal["full", "delta"] = "full" if old is None else "delta"
    body = msgspec.json.encode(policy if old is None else delta_between(old, policy))
    if old is not None and len(body) > LARGE_BYTES and len(body) > len(whole := msgspec.json.encode(policy)):
        kind, body = "full", whole
    signature = key.sign(policy_statement(policy.edge_id, body))
    packed = gzip.compress(body, PACKING) if len(body) > LARGE_BYTES else None
    return PolicyAnswer(version=(policy.epoch, policy.n), kind=kind, body=body, packed=packed, signature=signature)
