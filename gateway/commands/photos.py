"""Enrol the people of an archive from its photos, after its workbook was imported: each only with a live consent.

It goes through the HTTP API, so that consents, rights and records are those of every other enrolment. It can be run
again: who has as many templates as photos is left alone. No photo is written anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gateway.bulk.photos import PaperConsent, PhotoArchive, PhotoRow
from gateway.commands.common import say
from gateway.commands.enrol import ALIKE, media_type, send_photo
from gateway.commands.remote import ask
from models.errors import Forbidden, GatehouseError, InvalidInput

SAY_EVERY_S: Final = 1.0


class PhotoResult(msgspec.Struct, frozen=True, kw_only=True):
    """Say what became of one photo of a row: `enrolled`, `unchanged`, or `refused` with the reason."""

    line: int
    photo: str
    state: str
    reason: str = ""
    similar_to: tuple[str, ...] = ()


def enrol_rows(
    archive: PhotoArchive, rows: tuple[PhotoRow, ...], *, site: str | None, about: dict[str, str], quiet: bool
) -> list[PhotoResult]:
    """Enrol rows one after the other and return what became of every photo; one that fails stops no other.

    Raises:
        Forbidden: the token may not do this.
        DeviceUnreachable: the gateway does not answer.
    """
    results: list[PhotoResult] = []
    said = time.monotonic()
    for n, row in enumerate(rows, 1):
        try:
            results += _enrol(archive, row, site=site, about=about)
        except InvalidInput as error:
            results += [_refused(row, name, error) for name in row.photos]
        if not quiet and (time.monotonic() - said >= SAY_EVERY_S or n == len(rows)):
            said = time.monotonic()
            say(f"{n} of {len(rows)} people with photos")
    return results


def _enrol(archive: PhotoArchive, row: PhotoRow, *, site: str | None, about: dict[str, str]) -> Iterator[PhotoResult]:
    person_id = _person(row, site=site, about=about)
    person = ask("GET", f"people/{person_id}", **about)
    if row.consent is not None and not _told(row.consent, person):
        ask("POST", f"people/{person_id}/consents", json=_body(row.consent), **about)
    held: dict[str, int] = {}
    for face in person["faces"]:
        held[face["edge_id"]] = held.get(face["edge_id"], 0) + 1
    if held and min(held.values()) >= len(row.photos):
        yield from (PhotoResult(line=row.line, photo=name, state="unchanged") for name in row.photos)
        return
    begun = False
    for name in row.photos:
        try:
            kind = media_type(name)
            told = send_photo(person_id, archive.photo(name), kind=kind, add=begun, about=about)
        except Forbidden:
            raise
        except InvalidInput as error:
            yield _refused(row, name, error)
            continue
        begun = True
        yield PhotoResult(line=row.line, photo=name, state="enrolled", similar_to=tuple(told["similar_to"]))


def _refused(row: PhotoRow, name: str, error: GatehouseError) -> PhotoResult:
    what = error.what if isinstance(error, InvalidInput) else str(error)
    return PhotoResult(line=row.line, photo=name, state="refused", reason=what)


def _person(row: PhotoRow, *, site: str | None, about: dict[str, str]) -> str:
    """Return the id of the row's person.

    Raises:
        InvalidInput: nobody, or several, are known by the number.
    """
    found = ask("GET", "people", params={"external_id": row.external_id}, **about)["items"]
    found = [one for one in found if site is None or one["site_id"] == site]
    if len(found) != 1:
        raise InvalidInput("external_id", "nobody was imported under this number" if not found else "name --site")
    return str(found[0]["id"])


def _told(consent: PaperConsent, person: dict[str, Any]) -> bool:
    """Return whether a consent of a row is on record already, and live: the same paper is recorded once."""
    return any(
        one["live"] and one["evidence"] == consent.evidence and set(one["doors"]) == set(consent.doors)
        for one in person["consents"]
    )


def _body(consent: PaperConsent) -> dict[str, Any]:
    return {
        "channel": "paper", "text_version": consent.text_version, "evidence": consent.evidence,
        "doors": list(consent.doors), "given_at": consent.given_at.isoformat(),
    }  # fmt: skip


def photo_lines(results: list[PhotoResult]) -> list[str]:
    """Return the lines for people: each refused photo, who looks alike, and the counts."""
    lines = [f"line {one.line}, {one.photo}: {one.reason}" for one in results if one.state == "refused"]
    lines += [f"line {one.line}, {one.photo}: {ALIKE.format(other)}" for one in results for other in one.similar_to]
    states = [one.state for one in results]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("enrolled", "unchanged", "refused"))
    return [*lines, f"photos: {counts}"]
