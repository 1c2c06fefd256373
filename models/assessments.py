"""Impact assessments: no face is matched and nothing is recorded at a site before one was approved (PIPL 55-56, FRM 9; R33).

An assessment covers one subject. It is drafted by one person and approved by another; a new one replaces it, and a
change of purpose or method, or an incident, reopens it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from models.errors import Conflict, InvalidInput

Subject = Literal["face", "recording"]
State = Literal["draft", "approved", "reopened", "replaced"]
TOPICS = ("lawful_and_necessary", "impact_and_risk", "measures_fit", "leak_and_misuse")
MIN_CHARS = 20
MAX_CHARS = 20_000


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the four topics of FRM article 9."""

    lawful_and_necessary: str
    """Whether purpose and method are lawful, legitimate and necessary."""
    impact_and_risk: str
    """What it does to people's rights, and whether the harm is kept low."""
    measures_fit: str
    """Whether the protective measures are lawful, effective and fit the risk."""
    leak_and_misuse: str
    """What leak, alteration, loss, theft or misuse would do, and what is done about it."""


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one assessment of a site."""

    id: str
    site_id: str
    subject: Subject
    topics: Topics
    state: State = "draft"
    drafted_by: str
    drafted_at: datetime
    approved_by: str | None = None
    approved_at: datetime | None = None
    valid_until: datetime | None = None

    def in_force(self, at: datetime) -> bool:
        """Return whether it lets its subject go live at a time."""
        approved = self.state == "approved" and self.approved_at is not None and self.approved_at <= at
        return approved and (self.valid_until is None or at < self.valid_until)


def check_topics(topics: Topics) -> Topics:
    """Return the topics if each says something.

    Raises:
        InvalidInput: a topic is (nearly) empty or too long.
    """
    for name in TOPICS:
        if not MIN_CHARS <= len(getattr(topics, name).strip()) <= MAX_CHARS:
            raise InvalidInput(f"topics.{name}", f"say {MIN_CHARS} to {MAX_CHARS} characters about this topic")
    return topics


def approve(assessment: Assessment, *, by: str, at: datetime, valid_until: datetime | None = None) -> Assessment:
    """Return the assessment approved.

    Raises:
        Conflict: it is no draft, or the one who drafted it approves it.
        InvalidInput: it would end before it begins.
    """
    if assessment.state != "draft":
        raise Conflict(f"this assessment is {assessment.state}: draft a new one")
    if by == assessment.drafted_by:
        raise Conflict("somebody else than its author approves an assessment")
    if valid_until is not None and valid_until <= at:
        raise InvalidInput("valid_until", "this is over already")
    return msgspec.structs.replace(
        assessment, state="approved", approved_by=by, approved_at=at, valid_until=valid_until
    )


def reopen(assessment: Assessment) -> Assessment:
    """Return the assessment reopened: purpose or method changed, or there was an incident.

    Raises:
        Conflict: it is not in force.
    """
    if assessment.state != "approved":
        raise Conflict(f"this assessment is {assessment.state}: only an approved one can be reopened")
    return msgspec.structs.replace(assessment, state="reopened")
