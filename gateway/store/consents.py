"""Queries about consents, refusals and proofs of templates. A consent is never changed: it is withdrawn or superseded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.person_views import ConsentView, FaceReceiptView
from gateway.store.dialect import insert_into
from gateway.store.tables import notices
from gateway.store.tables_people import consents, face_receipts, people, refusals
from gateway.store.types import as_text, doors_of
from models.errors import NotFound
from models.link import FaceReceipt
from models.notices import Notice
from models.people import Consent, Purpose


def add_consent(connection: Connection, consent: Consent) -> None:
    """Write a consent; a refusal of the same purpose is over."""
    values = msgspec.structs.asdict(consent)
    connection.execute(insert(consents).values(**{**values, "doors": as_text(consent.doors)}))
    same = (refusals.c.person_id == consent.person_id) & (refusals.c.purpose == consent.purpose)
    connection.execute(delete(refusals).where(same))


def seed_consent(connection: Connection, consent: Consent) -> None:
    """Write a consent unless its id is known: what was withdrawn since stays withdrawn."""
    if connection.execute(select(consents.c.id).where(consents.c.id == consent.id)).first() is None:
        add_consent(connection, consent)


def withdraw_consent(connection: Connection, consent_id: str, *, person_id: str, at: datetime) -> Consent:
    """Withdraw a consent and return it as it was; withdrawing again keeps the first time.

    Raises:
        NotFound: this person has no such consent.
    """
    found = [consent for consent in consents_of(connection, person_id) if consent.id == consent_id]
    if not found:
        raise NotFound("consent", consent_id)
    query = update(consents).where(consents.c.id == consent_id, consents.c.withdrawn_at.is_(None))
    connection.execute(query.values(withdrawn_at=at))
    return found[0]


def withdraw_all(connection: Connection, person_id: str, *, at: datetime) -> int:
    """Withdraw every consent of a person that was not withdrawn before; return how many."""
    own = (consents.c.person_id == person_id) & consents.c.withdrawn_at.is_(None)
    return connection.execute(update(consents).where(own).values(withdrawn_at=at)).rowcount


def supersede_consents(connection: Connection, site_id: str, *, purpose: Purpose, at: datetime) -> int:
    """Stop the consents of a site to a purpose because a notice renewed it: people are asked anew; return how many."""
    here = consents.c.person_id.in_(select(people.c.id).where(people.c.site_id == site_id))
    still = consents.c.withdrawn_at.is_(None) & consents.c.superseded_at.is_(None)
    query = update(consents).where(here, still, consents.c.purpose == purpose).values(superseded_at=at)
    return connection.execute(query).rowcount


def consents_of(connection: Connection, person_id: str) -> list[Consent]:
    """Return all consents that a person ever gave, oldest first."""
    query = select(consents).where(consents.c.person_id == person_id).order_by(consents.c.given_at, consents.c.id)
    return [consent_from(row) for row in connection.execute(query)]


def consent_from(row: Row[Any]) -> Consent:
    """Return the record of a row of `consents`."""
    values = {name: getattr(row, name) for name in Consent.__struct_fields__}
    return Consent(**{**values, "doors": doors_of(row.doors)})


def consent_view(consent: Consent, *, at: datetime) -> ConsentView:
    """Return how a consent is shown at a time."""
    values = {name: getattr(consent, name) for name in Consent.__struct_fields__ if name != "person_id"}
    return ConsentView(**values, live=consent.live(at))


def notices_in_force(connection: Connection, site_id: str, *, purpose: Purpose) -> list[tuple[str, str]]:
    """Return version and SHA-256 of the published notices that people of a site may consent to, newest first.

    Older ones than the last that renewed purpose or method are no longer good (R1). None means that nothing is published.
    """
    here = (notices.c.site_id == site_id) & (notices.c.purpose == purpose) & notices.c.published_at.is_not(None)
    query = select(notices.c.name, notices.c.sha256, notices.c.record).where(here)
    found = []
    for row in connection.execute(query.order_by(notices.c.published_at.desc(), notices.c.id.desc())):
        found.append((row.name, row.sha256))
        if msgspec.json.decode(row.record, type=Notice).renews:
            break
    return found


def note_refusal(connection: Connection, person_id: str, *, purpose: Purpose, at: datetime) -> None:
    """Remember that a person said no, so that nobody asks again; the first time stays (R3)."""
    upsert = insert_into(connection, refusals).values(person_id=person_id, purpose=purpose, at=at)
    connection.execute(upsert.on_conflict_do_nothing(index_elements=["person_id", "purpose"]))


def refused_at(connection: Connection, person_id: str, *, purpose: Purpose) -> datetime | None:
    """Return when a person refused a purpose, or None."""
    same = (refusals.c.person_id == person_id) & (refusals.c.purpose == purpose)
    found: datetime | None = connection.execute(select(refusals.c.at).where(same)).scalar()
    return found


def may_be_asked(connection: Connection, person_id: str, *, at: datetime, purpose: Purpose = "door_face") -> bool:
    """Return whether a person may be asked for a consent: not who refused or withdrew, nor who has one."""
    if refused_at(connection, person_id, purpose=purpose) is not None:
        return False
    given = [consent for consent in consents_of(connection, person_id) if consent.purpose == purpose]
    return not any(consent.live(at) or consent.withdrawn_at is not None for consent in given)


def keep_face_receipts(
    connection: Connection, receipts: Sequence[FaceReceipt], *, consent_id: str, joining: bool = False
) -> None:
    """Keep the proofs of one person's templates on one edge; a repeated one changes nothing.

    They replace the person's old ones there; `joining` keeps those of the same consent and model.
    """
    first = receipts[0]
    held = (face_receipts.c.person_id == first.person_id) & (face_receipts.c.edge_id == first.edge_id)
    older = held & face_receipts.c.erased_at.is_(None) & face_receipts.c.id.not_in([one.id for one in receipts])
    if joining:
        older &= (face_receipts.c.consent_id != consent_id) | (face_receipts.c.contract != first.contract)
    connection.execute(update(face_receipts).where(older).values(erased_at=first.at))
    for receipt in receipts:
        values = msgspec.structs.asdict(receipt)
        keep = insert_into(connection, face_receipts).values(**values, consent_id=consent_id)
        connection.execute(keep.on_conflict_do_nothing(index_elements=["id"]))


def mark_face_erased(connection: Connection, person_id: str, *, edge_id: str, at: datetime) -> None:
    """Note that an edge has destroyed its templates of a person."""
    held = (face_receipts.c.person_id == person_id) & (face_receipts.c.edge_id == edge_id)
    connection.execute(update(face_receipts).where(held, face_receipts.c.erased_at.is_(None)).values(erased_at=at))


def face_receipts_of(connection: Connection, person_id: str) -> list[FaceReceiptView]:
    """Return the proofs of a person's templates, oldest first."""
    query = select(face_receipts).where(face_receipts.c.person_id == person_id).order_by(face_receipts.c.at)
    return [
        FaceReceiptView(**{name: getattr(row, name) for name in FaceReceiptView.__struct_fields__})
        for row in connection.execute(query)
    ]
