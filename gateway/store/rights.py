"""Queries about what persons hold and may: credentials with their life, and permits, those that follow from flats included.

Values are kept as keyed digests only. A card that was lost or blocked keeps its row, so that it cannot come back by accident.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, Row, func, insert, or_, select, update

from gateway.person_views import CredentialView, PermitView
from gateway.store.tables import flats
from gateway.store.tables_people import credentials, occupancies, permits, visitor_passes
from gateway.store.types import as_text, doors_of
from models.errors import Conflict, NotFound
from models.people import Credential, Permit

CredentialState = Literal["active", "lost", "blocked", "replaced"]
MOVES: Final[dict[CredentialState, frozenset[CredentialState]]] = {
    "active": frozenset({"lost", "blocked", "replaced"}),
    "lost": frozenset({"active", "blocked", "replaced"}),
    "blocked": frozenset({"active", "lost", "replaced"}),
    "replaced": frozenset(),
}
"""How a credential's life may go on; what was replaced never opens a door again."""


def add_credential(
    connection: Connection, credential: Credential, *, site_id: str, at: datetime, label: str = "",
    digits: int | None = None, replaces: str | None = None,
) -> None:  # fmt: skip
    """Write a card or PIN digest, or a QR credential.

    Raises:
        Conflict: the card belongs to somebody already (or the PIN to anybody at the site).
    """
    digest = credential.digest or credential.id  # a QR has none: its id stands in, so that rows stay distinct
    same = (credentials.c.site_id == site_id) & (credentials.c.kind == credential.kind)
    row = connection.execute(select(credentials.c.state).where(same, credentials.c.digest == digest)).first()
    if row is not None and row.state == "active":
        raise Conflict(f"this {credential.kind} is in use at this site: withdraw it there, or choose another")
    if row is not None:
        raise Conflict(
            f"this {credential.kind} was reported {row.state} at this site: delete it there before it is given"
        )
    if credential.kind == "pin" and _pass_has_pin(connection, digest, site_id=site_id, at=at):
        raise Conflict("this pin is in use at this site: choose another")
    values = msgspec.structs.asdict(credential) | {"digest": digest, "label": label, "digits": digits}
    connection.execute(insert(credentials).values(**values, site_id=site_id, created_at=at, replaces=replaces))


def _pass_has_pin(connection: Connection, digest: str, *, site_id: str, at: datetime) -> bool:
    held = (visitor_passes.c.site_id == site_id) & (visitor_passes.c.pin_digest == digest)
    still = visitor_passes.c.revoked_at.is_(None) & (visitor_passes.c.valid_until > at)
    return connection.execute(select(visitor_passes.c.id).where(held, still).limit(1)).first() is not None


def pin_is_taken(connection: Connection, digest: str, *, site_id: str, at: datetime) -> bool:
    """Return whether a PIN belongs to anybody or to a pass of a site, in whatever state."""
    held = (credentials.c.site_id == site_id) & (credentials.c.kind == "pin") & (credentials.c.digest == digest)
    if connection.execute(select(credentials.c.id).where(held)).first() is not None:
        return True
    return _pass_has_pin(connection, digest, site_id=site_id, at=at)


def put_credential(connection: Connection, credential: Credential, *, site_id: str, at: datetime) -> None:
    """Write a card or PIN digest unless it is there under its id.

    Raises:
        Conflict: it is somebody else's.
    """
    if connection.execute(select(credentials.c.id).where(credentials.c.id == credential.id)).first() is None:
        add_credential(connection, credential, site_id=site_id, at=at)


def credential_of(connection: Connection, credential_id: str, *, person_id: str) -> CredentialView:
    """Return a credential of a person.

    Raises:
        NotFound: this person has no such credential.
    """
    own = (credentials.c.id == credential_id) & (credentials.c.person_id == person_id)
    row = connection.execute(select(credentials).where(own)).first()
    if row is None:
        raise NotFound("credential", credential_id)
    return _credential_view(row)


def card_digest(connection: Connection, credential_id: str, *, site_id: str) -> str:
    """Return the keyed digest of a card that somebody of a site has.

    Raises:
        NotFound: there is no such card.
    """
    own = (credentials.c.id == credential_id) & (credentials.c.site_id == site_id) & (credentials.c.kind == "card")
    digest = connection.execute(select(credentials.c.digest).where(own)).scalar()
    if digest is None:
        raise NotFound("card", credential_id)
    return str(digest)


def set_credential_state(
    connection: Connection, held: CredentialView, *, state: CredentialState, at: datetime, version: int | None = None
) -> CredentialView:
    """Move a credential on in its life and return it; the same state again changes nothing.

    Raises:
        Conflict: it was changed meanwhile, or its life cannot go on that way.
    """
    if version is not None and version != held.version:
        raise Conflict(f"the credential was changed meanwhile (version {held.version}): read it again")
    if held.state == state:
        return held
    if state not in MOVES[held.state]:  # type: ignore[index]
        raise Conflict(f"what is {held.state} cannot become {state}: give a new {held.kind} instead")
    ended = None if state == "active" else at
    query = update(credentials).where(credentials.c.id == held.id, credentials.c.version == held.version)
    if connection.execute(query.values(state=state, ended_at=ended, version=held.version + 1)).rowcount == 0:
        raise Conflict("the credential was changed meanwhile: read it again")
    return msgspec.structs.replace(held, state=state, ended_at=ended, version=held.version + 1)


def block_all(connection: Connection, person_id: str, *, at: datetime) -> int:
    """Block every credential of a person that still opens doors; return how many."""
    own = (credentials.c.person_id == person_id) & (credentials.c.state == "active")
    query = update(credentials).where(own)
    return connection.execute(
        query.values(state="blocked", ended_at=at, version=credentials.c.version + 1)
    ).rowcount  # fmt: skip


def remove_credential(connection: Connection, credential_id: str, *, person_id: str) -> None:
    """Delete a credential, so that its card may be given to somebody else.

    Raises:
        NotFound: this person has no such credential.
    """
    own = (credentials.c.id == credential_id) & (credentials.c.person_id == person_id)
    if connection.execute(credentials.delete().where(own)).rowcount == 0:
        raise NotFound("credential", credential_id)


def credentials_of(connection: Connection, person_id: str) -> list[str]:
    """Return the ids of a person's credentials."""
    query = select(credentials.c.id).where(credentials.c.person_id == person_id).order_by(credentials.c.id)
    return list(connection.execute(query).scalars())


def credential_views(connection: Connection, person_id: str) -> list[CredentialView]:
    """Return how a person's credentials are shown."""
    query = select(credentials).where(credentials.c.person_id == person_id).order_by(credentials.c.id)
    return [_credential_view(row) for row in connection.execute(query)]


def _credential_view(row: Row[Any]) -> CredentialView:
    shown = [name for name in CredentialView.__struct_fields__ if name != "pin"]
    return CredentialView(**{name: getattr(row, name) for name in shown})


def pin_holders(connection: Connection, *, site_id: str, flat_ids: Iterable[str] | None = None) -> int:
    """Return how many active PINs a site has, or the people of some flats of it; passes count at the whole site."""
    query = select(func.count()).select_from(credentials)
    query = query.where(credentials.c.site_id == site_id, credentials.c.kind == "pin", credentials.c.state == "active")
    if flat_ids is not None:
        there = select(occupancies.c.person_id).where(occupancies.c.flat_id.in_(tuple(flat_ids)))
        return int(connection.execute(query.where(credentials.c.person_id.in_(there))).scalar_one())
    guests = select(func.count()).select_from(visitor_passes)
    guests = guests.where(visitor_passes.c.site_id == site_id, visitor_passes.c.pin_digest != "")
    guests = guests.where(visitor_passes.c.revoked_at.is_(None))
    return int(connection.execute(query).scalar_one()) + int(connection.execute(guests).scalar_one())


def add_permit(connection: Connection, permit: Permit, *, at: datetime) -> None:
    """Write a permit."""
    connection.execute(
        insert(permits).values(
            id=permit.id, person_id=permit.person_id, group_id=permit.group_id, doors=as_text(permit.doors),
            schedule_id=permit.schedule_id, valid_from=permit.valid_from, valid_until=permit.valid_until,
            created_at=at,
        )
    )  # fmt: skip


def seed_permit(connection: Connection, permit: Permit, *, at: datetime) -> None:
    """Write a permit in place of the one with its id."""
    connection.execute(permits.delete().where(permits.c.id == permit.id))
    add_permit(connection, permit, at=at)


def remove_permit(connection: Connection, permit_id: str, *, person_id: str) -> None:
    """Delete a permit.

    Raises:
        NotFound: this person has no such permit.
    """
    own = (permits.c.id == permit_id) & (permits.c.person_id == person_id)
    if connection.execute(permits.delete().where(own)).rowcount == 0:
        raise NotFound("permit", permit_id)


def end_permits(connection: Connection, person_id: str, *, at: datetime) -> int:
    """Let every permit of a person end at a time, unless it ends earlier anyway; return how many."""
    own = (permits.c.person_id == person_id) & or_(permits.c.valid_until.is_(None), permits.c.valid_until > at)
    return connection.execute(update(permits).where(own).values(valid_until=at, version=permits.c.version + 1)).rowcount


def permits_of(connection: Connection, person_ids: Iterable[str]) -> list[Permit]:
    """Return the permits that were given to some people; those that follow from their flats are in `derived_permits`."""
    query = select(permits).where(permits.c.person_id.in_(tuple(person_ids))).order_by(permits.c.id)
    return [permit_from(row) for row in connection.execute(query)]


def permit_from(row: Row[Any]) -> Permit:
    """Return the record of a row of `permits`."""
    return Permit(
        id=row.id, person_id=row.person_id, group_id=row.group_id, doors=doors_of(row.doors),
        schedule_id=row.schedule_id, valid_from=row.valid_from, valid_until=row.valid_until,
    )  # fmt: skip


def derived_permits(connection: Connection, person_id: str) -> list[Permit]:
    """Return the permits that follow from a person's flats, by id: `of-{occupancy}-{group}`, while the occupancy holds.

    Edges are told the same (gateway.store.policy), for all people of a site at once.
    """
    query = select(occupancies, flats.c.groups).join(flats, flats.c.id == occupancies.c.flat_id)
    rows = connection.execute(query.where(occupancies.c.person_id == person_id).order_by(occupancies.c.id))
    found = [
        Permit(
            id=f"of-{row.id}-{group}", person_id=person_id, group_id=group, valid_from=row.valid_from,
            valid_until=row.valid_until,
        )
        for row in rows
        for group in doors_of(row.groups)
    ]  # fmt: skip
    return sorted(found, key=lambda permit: permit.id)


def permits_held(connection: Connection, person_id: str) -> list[Permit]:
    """Return all permits of a person, those that follow from flats included."""
    return [*permits_of(connection, [person_id]), *derived_permits(connection, person_id)]


def permit_view(permit: Permit) -> PermitView:
    """Return how a permit is shown."""
    return PermitView(
        id=permit.id, doors=permit.doors, group_id=permit.group_id, schedule_id=permit.schedule_id,
        valid_from=permit.valid_from, valid_until=permit.valid_until,
    )  # fmt: skip
