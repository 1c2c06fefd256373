"""Moving in, moving out, a lost card: each one act and one transaction, on record. Rights follow the flat.

Who belongs to no flat any more loses cards, PINs, QR, permits, consents and passes at once; deleting them is another act.
"""

from __future__ import annotations

import uuid
from datetime import datetime

import msgspec

from gateway.auth.roles import Caller
from gateway.issuing import Issue, issue_credential
from gateway.on_record import note
from gateway.person_views import CredentialView
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import withdraw_all
from gateway.store.people import (
    add_guardian,
    add_person,
    end_occupancy,
    local_day,
    occupancies_of,
    person_by_id,
    put_occupancy,
    residents_of,
)
from gateway.store.rights import block_all, credential_of, end_permits, set_credential_state
from gateway.store.visitors import revoke_passes_of
from gateway.withdrawal import order_erasure
from models.errors import Conflict, InvalidInput
from models.people import Occupancy, Person, Relation


class Mover(msgspec.Struct, frozen=True, kw_only=True):
    """Name somebody who moves in: a new person or one on record, how they belong to the flat, and what they are given."""

    person: Person
    known: bool = False
    relation: Relation = "family"
    guardians: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()


class MovedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Show one person who moved in and what they were given."""

    person_id: str
    occupancy_id: str
    credentials: tuple[CredentialView, ...] = ()


class Household(msgspec.Struct, frozen=True, kw_only=True):
    """Show who moved into a flat."""

    flat_id: str
    people: tuple[MovedIn, ...]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """Show what ended for a person who moved out; `left` says that they belong to no flat any more."""

    person_id: str
    left: bool
    credentials: int = 0
    permits: int = 0
    consents: int = 0
    passes: int = 0


def move_in(
    connection: Connection, flat_id: str, *, movers: tuple[Mover, ...], since: datetime | None,
    until: datetime | None, caller: Caller, at: datetime,
) -> Household:  # fmt: skip
    """Let people belong to a flat, with their cards and PINs, in one act.

    Raises:
        InvalidInput: a guardian, card, PIN or time is wrong, or the flat is of another site.
        Conflict: somebody belongs to the flat already, or a card or PIN is in use.
    """
    here = {held.person_id for held in residents_of(connection, flat_id, at=at)}
    moved = []
    for mover in movers:
        person = mover.person
        if not mover.known:
            add_person(connection, person, at=at)
        elif person.id in here:
            raise Conflict(f"person {person.id!r} belongs to this flat already")
        occupancy = Occupancy(
            id=f"o-{uuid.uuid4().hex}", person_id=person.id, flat_id=flat_id, relation=mover.relation,
            valid_from=since, valid_until=until,
        )  # fmt: skip
        put_occupancy(connection, occupancy, at=at)
        note(
            connection, caller, action="person.move_in", subject=person.id, at=at, flat=flat_id, occupancy=occupancy.id
        )
        given = tuple(
            issue_credential(connection, person, wanted=wanted, caller=caller, at=at) for wanted in mover.issues
        )
        moved.append(MovedIn(person_id=person.id, occupancy_id=occupancy.id, credentials=given))
    _link_guardians(connection, movers, caller=caller, at=at)
    return Household(flat_id=flat_id, people=tuple(moved))


def _link_guardians(connection: Connection, movers: tuple[Mover, ...], *, caller: Caller, at: datetime) -> None:
    for mover in movers:
        for guardian_id in mover.guardians:
            guardian = person_by_id(connection, guardian_id, site_ids=frozenset({mover.person.site_id}))
            day = local_day(connection, mover.person.site_id, at=at)
            add_guardian(connection, mover.person, guardian=guardian, on=day, at=at)
            note(connection, caller, action="guardian.link", subject=mover.person.id, at=at, guardian=guardian_id)


def move_out(
    connection: Connection, flat_id: str, *, person_ids: tuple[str, ...] | None, when: datetime, caller: Caller,
    at: datetime,
) -> list[Ended]:  # fmt: skip
    """Let people (None: everybody) leave a flat at a time, in one act; who belongs to no other flat loses what they held.

    What is due later happens later: `end_residence` is then called by gateway.expiry.

    Raises:
        InvalidInput: somebody who is named does not belong to the flat, or nobody does.
    """
    held = [
        one for one in residents_of(connection, flat_id, at=at) if person_ids is None or one.person_id in person_ids
    ]
    missing = set(person_ids or ()) - {one.person_id for one in held}
    if missing or not held:
        who = f"person {min(missing)[:64]!r} does not belong" if missing else "nobody belongs"
        raise InvalidInput("people", f"{who} to this flat")
    ended = []
    for person_id in dict.fromkeys(one.person_id for one in held):
        for one in held:
            if one.person_id == person_id:
                end_occupancy(connection, one.id, person_id=person_id, at=when)
        note(
            connection, caller, action="person.move_out", subject=person_id, at=at, flat=flat_id, when=when.isoformat()
        )
        due = end_residence(connection, person_id, actor=caller.id, at=at) if when <= at else None
        ended.append(due or Ended(person_id=person_id, left=False))
    return ended


def end_residence(connection: Connection, person_id: str, *, actor: str, at: datetime) -> Ended | None:
    """End what a person held if they belong to no flat now or later; None if they still do. Doing it again changes nothing.

    Cards, PINs and QR are blocked, permits end, consents are withdrawn, templates destroyed, passes for visitors revoked.
    """
    if any(one.valid_until is None or one.valid_until > at for one in occupancies_of(connection, person_id)):
        return None
    ended = Ended(
        person_id=person_id,
        left=True,
        credentials=block_all(connection, person_id, at=at),
        permits=end_permits(connection, person_id, at=at),
        consents=withdraw_all(connection, person_id, at=at),
        passes=revoke_passes_of(connection, person_id, at=at),
    )
    order_erasure(connection, person_id, actor=actor, at=at)
    counts = {name: str(getattr(ended, name)) for name in ("credentials", "permits", "consents", "passes")}
    if any(count != "0" for count in counts.values()):
        entry = AuditEntry(actor=actor, action="person.leave", subject=person_id, detail=counts)
        append_audit(connection, entry, at=at)
    return ended


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """Show a credential that opens no door any more, and the one that stands in for it."""

    old: CredentialView
    new: CredentialView | None = None


def replace_credential(
    connection: Connection, person: Person, *, credential_id: str, why: str, wanted: Issue | None, caller: Caller,
    at: datetime,
) -> Replaced:  # fmt: skip
    """Shut a lost or broken credential out and, where one is given, put another in its place: one act.

    Raises:
        NotFound: this person has no such credential.
        InvalidInput: the new one is of another kind, or wrong.
        Conflict: it was replaced before, or the new one is in use.
    """
    old = credential_of(connection, credential_id, person_id=person.id)
    if wanted is not None and wanted.kind != old.kind:
        raise InvalidInput("kind", f"a {old.kind} is replaced by a {old.kind}")
    if old.state == "replaced":
        raise Conflict("this was replaced before: replace the one that stands in for it")
    shut = set_credential_state(connection, old, state="lost" if wanted is None else "replaced", at=at)
    note(connection, caller, action="credential.replace", subject=person.id, at=at, credential=old.id, why=why)
    if wanted is None:
        return Replaced(old=shut)
    issue = msgspec.structs.replace(wanted, replaces=old.id, duress=old.duress)  # what stands in does the same
    return Replaced(old=shut, new=issue_credential(connection, person, wanted=issue, caller=caller, at=at))
