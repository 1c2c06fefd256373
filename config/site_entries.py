"""A site file as a whole: its sections in the order of the documentation."""

from __future__ import annotations

from pydantic import Field

from config.reading import Strict
from config.site_people import (
    AssessmentEntry,
    CalendarEntry,
    GroupEntry,
    NoticeEntry,
    PermitEntry,
    PersonEntry,
    ScheduleEntry,
)
from config.site_places import (
    AreaEntry,
    CameraEntry,
    CardFormatEntry,
    CompanyEntry,
    ControllerEntry,
    DoorEntry,
    FlatEntry,
    SiteEntry,
)


class SiteFile(Strict):
    """The whole file."""

    site: SiteEntry = Field(description="The compound.")
    areas: tuple[AreaEntry, ...] = Field((), max_length=10_000, description="Areas that the database may not know yet.")
    companies: tuple[CompanyEntry, ...] = Field((), max_length=1000, description="Property companies.")
    flats: tuple[FlatEntry, ...] = Field((), max_length=20_000, description="Flats.")
    controllers: tuple[ControllerEntry, ...] = Field((), max_length=1000, description="Boards that drive doors.")
    card_formats: tuple[CardFormatEntry, ...] = Field(
        (), max_length=100, description="How readers write the numbers of cards."
    )
    doors: tuple[DoorEntry, ...] = Field((), max_length=1000, description="Doors.")
    cameras: tuple[CameraEntry, ...] = Field((), max_length=1000, description="Cameras.")
    calendars: tuple[CalendarEntry, ...] = Field((), max_length=100, description="Calendars of holidays.")
    schedules: tuple[ScheduleEntry, ...] = Field((), max_length=1000, description="Weekly schedules.")
    groups: tuple[GroupEntry, ...] = Field((), max_length=1000, description="Groups of doors.")
    notices: tuple[NoticeEntry, ...] = Field((), max_length=100, description="Published notices.")
    assessments: tuple[AssessmentEntry, ...] = Field((), max_length=100, description="Approved impact assessments.")
    people: tuple[PersonEntry, ...] = Field((), max_length=20_000, description="People.")
    permits: tuple[PermitEntry, ...] = Field((), max_length=100_000, description="Rights to pass.")
