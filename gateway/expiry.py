"""End what has had its time, without anybody asking: tenancies, consents, faces that nobody uses (PIPL 19 and 47, R8).

Rights follow tenancies by themselves, on the edges and offline. What is ended here is what would stay behind: cards, consents,
templates, and at last the person's rows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from gateway.erasing import erase_person, settle_tombstones
from gateway.issuing import forget_visitors
from gateway.moves import end_residence
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.erasures import waiting_erasures
from gateway.store.expiries import (
    expire_consents,
    idle_consents,
    leavers,
    long_gone,
    stale_consents,
    unconsented_faces,
)
from gateway.store.imports import drop_old_changes
from gateway.store.people import person_by_id
from gateway.withdrawal import order_erasure

ACTOR = "system"
UNDO_FOR = timedelta(days=30)
"""How long an import can be taken back: until then it remembers what stood before."""
RENEW_WITHIN = timedelta(days=30)
"""How long a template waits for a consent to a new notice, unmatched."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Say how long what is kept; the defaults are those of the settings."""

    leavers: timedelta = timedelta(days=30)
    """After the last tenancy, until a person is erased."""
    idle_faces: timedelta = timedelta(days=365)
    """Without any use of a door, until a face is erased."""


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """Count what was ended in one run."""

    left: int = 0
    consents: int = 0
    faces: int = 0
    erased: int = 0
    back: int = 0
    """Persons who had been erased and came back with an old backup."""

    def __bool__(self) -> bool:
        """Return whether anything was ended."""
        return any((self.left, self.consents, self.faces, self.erased, self.back))


async def keep_terms(runtime: Runtime, terms: Terms) -> Expired:
    """End what has had its time now, and tell the edges."""
    at = runtime.clock()
    ended = await runtime.store.write(expire, terms=terms, folder=runtime.data_dir, at=at)
    await runtime.store.write(drop_old_changes, before=at - UNDO_FOR)
    await runtime.store.write(forget_visitors, at=at)
    if ended:
        runtime.bells.policies_changed()
    return ended


def expire(connection: Connection, *, terms: Terms, at: datetime, folder: Path | None = None) -> Expired:
    """End tenancies, consents and templates whose time is over, and erase who left long ago; doing it again changes nothing.

    Raises:
        StorageUnavailable: the log of tombstones did not take one; nothing was ended.
    """
    back = settle_tombstones(connection, folder=folder, at=at)
    gone = leavers(connection, at=at)
    for person_id in gone:
        end_residence(connection, person_id, actor=ACTOR, at=at)
    stale = stale_consents(connection, at=at, before=at - RENEW_WITHIN)
    ended = _end_consents(connection, stale, why="not renewed", at=at)
    idle = idle_consents(connection, at=at, before=at - terms.idle_faces)
    ended += _end_consents(connection, idle, why="not used", at=at)
    faces = [one for one in unconsented_faces(connection, at=at) if not waiting_erasures(connection, one, at=at)]
    for person_id in faces:
        order_erasure(connection, person_id, actor=ACTOR, at=at)
    erased = long_gone(connection, at=at, before=at - terms.leavers)
    for person_id, site_id in erased:
        person = person_by_id(connection, person_id, site_ids=frozenset({site_id}))
        erase_person(connection, person, actor=ACTOR, reason="moved out", at=at, folder=folder)
    return Expired(left=len(gone), consents=ended, faces=len(faces), erased=len(erased), back=back)


def _end_consents(connection: Connection, found: list[tuple[str, str]], *, why: str, at: datetime) -> int:
    ids = [consent_id for consent_id, _ in found]
    if ids:
        expire_consents(connection, ids, at=at)
    for consent_id, person_id in found:
        detail = {"consent": consent_id, "why": why}
        entry = AuditEntry(actor=ACTOR, action="consent.expire", subject=person_id, detail=detail)
        append_audit(connection, entry, at=at)
    return len(ids)
