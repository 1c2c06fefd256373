"""Give a person their own data: what is kept about them, what they agreed to, where they passed, and who looked (PIPL 45, R9)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from gateway.auth.roles import Caller
from gateway.consent_texts import DIGESTS, TEXTS
from gateway.on_record import note
from gateway.store import Connection
from gateway.store.people import person_by_id
from gateway.store.subjects import (
    MAX_RECORDS,
    Cell,
    LookUp,
    Passage,
    look_ups,
    notices_agreed,
    passages,
    places_about,
    rows_about,
)

EXPLAINED = (
    "本文件包含物业系统保存的关于您的全部资料、您同意过的文本、您的通行记录以及查看过这些资料的记录。人脸模板不在此处，"
    "仅加密保存在本小区的边缘节点上；此处只有其回执。\n"
    "This file holds all that the gateway keeps about you, the texts that you agreed to, where you passed, and who looked at it. "
    "No face template is here: it is kept encrypted on the edges of your compound only; here are its receipts."
)


class SubjectExport(msgspec.Struct, frozen=True, kw_only=True):
    """Hold everything about one person, in tables as they are kept and in words."""

    format: str = "gatehouse-person-1"
    explained: str = EXPLAINED
    person_id: str
    made_at: datetime
    kept: dict[str, list[dict[str, Cell]]]
    """Rows by table; keyed digests of cards and PINs are left out."""
    places: dict[str, str]
    """What ids of flats and groups stand for."""
    agreed: dict[str, Any]
    """Texts and notices that consents name, by SHA-256."""
    passages: tuple[Passage, ...]
    look_ups: tuple[LookUp, ...]
    cut_off: bool = False
    """True if there were more passages or look-ups than one export holds."""


def export_person(connection: Connection, person_id: str, *, caller: Caller, at: datetime) -> SubjectExport:
    """Return everything about a person; the export itself is the newest of the look-ups.

    Raises:
        NotFound: there is no such person in the caller's scope.
    """
    person_by_id(connection, person_id, site_ids=caller.sites)
    note(connection, caller, action="person.export", subject=person_id, at=at)
    kept = rows_about(connection, person_id)
    passed = passages(connection, person_id, limit=MAX_RECORDS + 1)
    looked = look_ups(connection, person_id, limit=MAX_RECORDS + 1)
    return SubjectExport(
        person_id=person_id,
        made_at=at,
        kept=kept,
        places=places_about(connection, kept),
        agreed=_agreed(connection, {str(row["text_sha256"]) for row in kept["consents"]}),
        passages=tuple(passed[:MAX_RECORDS]),
        look_ups=tuple(looked[:MAX_RECORDS]),
        cut_off=len(passed) > MAX_RECORDS or len(looked) > MAX_RECORDS,
    )


def _agreed(connection: Connection, digests: set[str]) -> dict[str, Any]:
    ours = {digest: TEXTS[version] for version, digest in DIGESTS.items() if digest in digests}
    return ours | notices_agreed(connection, digests)
