"""Notices: what people are told before they consent, with every field that the law asks for, in Chinese and English.

Sources: PIPL articles 17 and 30, FRM article 5, NDR article 21. A notice is never changed: a new version replaces it, and
where purpose or method changed, consents to the old one hold no longer until the person consents anew (R1).
"""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec

from models.errors import InvalidInput
from models.people import Purpose

FIELDS = ("handler", "contact", "purpose", "method", "retention", "necessity", "impact", "rights_route")
MAX_CHARS = 4000


class NoticeText(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the fields of a notice in one language."""

    handler: str
    """Who handles the data: name of the personal information handler."""
    contact: str
    """How to reach them."""
    purpose: str
    method: str
    """How the data are handled, and which kinds of data they are."""
    retention: str
    """How long they are kept."""
    necessity: str
    """Why it is necessary (sensitive personal information)."""
    impact: str
    """How it affects the person's rights."""
    rights_route: str
    """How to withdraw, look at, correct, export and delete."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one published version of a site's notice for a purpose."""

    id: str
    site_id: str
    purpose_kind: Purpose = "door_face"
    version: str
    zh: NoticeText
    en: NoticeText
    renews: bool = False
    """True if purpose or method changed: earlier consents hold no longer."""
    published_at: datetime | None = None


def notice_digest(notice: Notice) -> str:
    """Return the hex SHA-256 of what people read: both languages, field by field."""
    return hashlib.sha256(msgspec.json.encode([notice.purpose_kind, notice.version, notice.zh, notice.en])).hexdigest()


def check_notice(notice: Notice) -> Notice:
    """Return the notice if every legal field says something in both languages.

    Raises:
        InvalidInput: a field is blank or too long, or the Chinese text holds no Chinese character.
    """
    for language in ("zh", "en"):
        for name in FIELDS:
            value = getattr(getattr(notice, language), name)
            if not value.strip():
                raise InvalidInput(f"{language}.{name}", "the law asks for this field: say it in the notice")
            if len(value) > MAX_CHARS:
                raise InvalidInput(f"{language}.{name}", f"a field has at most {MAX_CHARS} characters")
    if not any("\u4e00" <= char <= "\u9fff" for char in notice.zh.purpose):
        raise InvalidInput("zh.purpose", "the Chinese text is not Chinese")
    return notice
