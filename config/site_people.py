"""What a site file may say about people, rights, notices and assessments, entry by entry: bounds and a sentence each."""

from __future__ import annotations

from datetime import date, time
from typing import Literal

from pydantic import AwareDatetime, Field, SecretStr

from config.reading import LocalPath, Strict
from config.site_fields import Card, Doors, Id, Name, Sentence, Topic, Weekday, Zone
from models.schedules import EVERY_DAY, MAX_DAYS, MAX_WINDOWS


class WindowEntry(Strict):
    """Some weekdays from one time of day until another."""

    weekdays: tuple[Weekday, ...] = Field(EVERY_DAY, min_length=1, max_length=7, description="Weekdays, 0 is Monday.")
    from_time: time = Field(time(0, 0), description="Time of day from which the window is open.")
    until_time: time = Field(time(0, 0), description="Time of day at which it closes; equal times are the whole day.")


class ScheduleEntry(Strict):
    """One weekly schedule."""

    id: Id = Field(description="Id of the schedule.")
    name: str = Field("", max_length=128, description="Name of the schedule.")
    timezone: Zone | None = Field(None, description="Time zone of its times of day; by default the site's.")
    windows: tuple[WindowEntry, ...] = Field(
        (WindowEntry(),), max_length=MAX_WINDOWS, description="When it is open on ordinary days."
    )
    calendars: tuple[Id, ...] = Field((), max_length=16, description="Ids of the calendars whose holidays it keeps.")
    holiday_windows: tuple[WindowEntry, ...] | None = Field(
        None, max_length=MAX_WINDOWS, description="When it is open on holidays; by default as on other days."
    )


class SpecialDayEntry(Strict):
    """Some days that are holidays, or working days instead."""

    first: date = Field(description="First of the days.")
    last: date = Field(description="Last of the days, included.")
    name: str = Field("", max_length=128, description="Name of the days.")
    kind: Literal["holiday", "working"] = Field("holiday", description="Whether they are holidays or working days.")
    as_weekday: Weekday | None = Field(None, description="Weekday that a working day counts as.")


class CalendarEntry(Strict):
    """One calendar of holidays."""

    id: Id = Field(description="Id of the calendar.")
    name: str = Field("", max_length=128, description="Name of the calendar.")
    days: tuple[SpecialDayEntry, ...] = Field(
        (), max_length=MAX_DAYS, description="Its holidays and moved working days."
    )


class GroupEntry(Strict):
    """Some doors and a schedule, for all who are permitted by it."""

    id: Id = Field(description="Id of the group.")
    name: str = Field("", max_length=128, description="Name of the group.")
    doors: Doors = Field(description="Ids of its doors, or all.")
    schedule: Id | None = Field(None, description="Id of its schedule; none is always.")


class NoticeTextEntry(Strict):
    """What a notice says in one language."""

    handler: Sentence = Field(description="Who handles the data.")
    contact: Sentence = Field(description="How to reach them.")
    purpose: Sentence = Field(description="What the data are for.")
    method: Sentence = Field(description="How they are handled, and which kinds of data they are.")
    retention: Sentence = Field(description="How long they are kept.")
    necessity: Sentence = Field(description="Why it is necessary.")
    impact: Sentence = Field(description="How it affects the person's rights.")
    rights_route: Sentence = Field(description="How to withdraw, look at, correct, export and delete.")


class NoticeEntry(Strict):
    """One published version of a notice."""

    id: Id = Field(description="Id of the notice; what was published is never changed, a new one gets a new id.")
    purpose: Literal["door_face", "enrolment_photo"] = Field("door_face", description="What the consent is about.")
    version: str = Field(min_length=1, max_length=64, description="Version, as consents name it.")
    zh: NoticeTextEntry = Field(description="What it says in Chinese.")
    en: NoticeTextEntry = Field(description="What it says in English.")
    renews: bool = Field(False, description="Whether purpose or method changed, so that all must consent anew.")
    published_at: AwareDatetime = Field(description="When it was published, with the offset from UTC.")


class TopicsEntry(Strict):
    """The four topics of one impact assessment (FRM article 9)."""

    lawful_and_necessary: Topic = Field(description="Whether purpose and method are lawful, legitimate and necessary.")
    impact_and_risk: Topic = Field(description="What it does to people's rights, and whether the harm is kept low.")
    measures_fit: Topic = Field(description="Whether the protective measures are lawful, effective and fit the risk.")
    leak_and_misuse: Topic = Field(description="What leak or misuse would do, and what is done about it.")


class AssessmentEntry(Strict):
    """One approved impact assessment."""

    id: Id = Field(description="Id of the assessment; what is approved is never changed, a new one gets a new id.")
    subject: Literal["face", "recording"] = Field(description="What it lets go live: face or recording.")
    topics: TopicsEntry = Field(description="What it says about the four topics that the law names.")
    drafted_by: Id = Field(description="Who wrote it: a post, not a person's name.")
    drafted_at: AwareDatetime = Field(description="When it was written, with the offset from UTC.")
    approved_by: Id = Field(description="Who approved it: somebody else.")
    approved_at: AwareDatetime = Field(description="When it was approved, with the offset from UTC.")
    valid_until: AwareDatetime | None = Field(None, description="When it must have been done anew.")


class ConsentEntry(Strict):
    """One separate consent of a person to face matching."""

    id: Id = Field(description="Id of the consent.")
    doors: tuple[Id, ...] = Field(min_length=1, description="Ids of the doors it names.")
    text_version: str = Field(min_length=1, max_length=64, description="Version of the text that was agreed to.")
    text_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of that text.")
    given_at: AwareDatetime = Field(description="When it was given, with the offset from UTC.")
    channel: Literal["office", "phone_page", "paper", "demo"] = Field(description="How it was given.")
    evidence: str = Field(min_length=1, max_length=256, description="Where the proof is kept.")
    guardian: str | None = Field(None, max_length=128, description="Who consented for a person under 14.")
    expires_at: AwareDatetime | None = Field(None, description="When it ends by itself.")


class PersonEntry(Strict):
    """One person."""

    id: Id = Field(description="Id of the person.")
    name: Name = Field(description="Name of the person.")
    flat: Id | None = Field(None, description="Id of the person's flat.")
    under_14: bool = Field(False, description="Whether the person is under 14.")
    born_on: date | None = Field(None, description="Date of birth; it decides who is under 14.")
    phone: str | None = Field(None, max_length=32, description="Telephone number.")
    external_id: str | None = Field(None, max_length=64, description="Number in another register, unique at the site.")
    cards: tuple[Card, ...] = Field((), max_length=8, description="Card numbers in hexadecimal.")
    pin: SecretStr | None = Field(None, description="PIN, as ${NAME} from the environment.")
    pin_file: LocalPath | None = Field(None, description="File that holds the PIN.")
    duress_pin: SecretStr | None = Field(
        None, description="PIN that opens and raises a silent alarm, as ${NAME} from the environment."
    )
    duress_pin_file: LocalPath | None = Field(None, description="File that holds the PIN for duress.")
    consents: tuple[ConsentEntry, ...] = Field((), max_length=16, description="Consents to face matching.")


class PermitEntry(Strict):
    """One right to pass."""

    id: Id = Field(description="Id of the permit.")
    person: Id = Field(description="Id of the person.")
    doors: Doors = Field((), description="Ids of the doors, or all.")
    group: Id | None = Field(None, description="Id of the group whose doors and schedule it gives.")
    schedule: Id | None = Field(None, description="Id of its schedule, instead of weekdays and times.")
    weekdays: tuple[Weekday, ...] = Field(EVERY_DAY, min_length=1, description="Days of the week, 0 is Monday.")
    from_time: time = Field(time(0, 0), description="Time of day from which it holds.")
    until_time: time = Field(time(0, 0), description="Time of day until which it holds; equal times mean all day.")
    valid_from: AwareDatetime | None = Field(None, description="When it begins to hold.")
    valid_until: AwareDatetime | None = Field(None, description="When it ceases to hold.")
