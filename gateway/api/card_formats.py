"""How readers write the numbers of cards: formats of a site, and what two or three known cards say about one. Keeps no number."""

from __future__ import annotations

from functools import partial
from operator import eq
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr

from gateway.api.deps import Key as Once
from gateway.api.deps import Shared
from gateway.api.places import (
    Body,
    DeviceWriter,
    Id,
    IfMatch,
    Key,
    Name,
    Pages,
    PlaceReader,
    change_kept,
    changes_in,
    create_kept,
    id_of,
    list_kept,
    record_from,
    remove_kept,
    show_kept,
    site_of,
)
from gateway.api.replies import Page, reply, shows
from gateway.place_views import CardFormatView
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.card_formats import CARD_FORMATS
from models.cards import LEARN_FROM, READING_CHARS, CardFormat, Frame, Notation, Presentation, Width, learn_format
from models.people import canonical_card

router = APIRouter(prefix="/api/v1/card-formats", tags=["card-formats"])
Number = Annotated[SecretStr, Field(min_length=1, max_length=READING_CHARS)]


class CardFormatChange(Body):
    """Change how a reader's numbers are read."""

    name: Name = ""
    notation: Notation = "hex"
    frame: Frame = 0
    width: Width = 0
    reverse: bool = False
    keep: Width = 0
    keep_from: Literal["start", "end"] = "end"


class CardFormatBody(CardFormatChange):
    """Name a card format. `site_id` may be left out by who has one site in scope."""

    id: Id | None = None
    site_id: Id | None = None
    name: Name


class KnownCard(Body):
    """Say what a reader read of a card whose number is known. Neither is kept."""

    reading: Number
    number: Number


class Lesson(Body):
    """Say what one reader read of two or more known cards."""

    cards: Annotated[list[KnownCard], Field(min_length=LEARN_FROM[0], max_length=LEARN_FROM[1])]


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """Show a format by which all cards read right: ready to be added under an id and a name."""

    notation: Notation
    frame: Frame
    width: Width
    reverse: bool
    keep: Width
    keep_from: Literal["start", "end"]


@router.get("", **shows(Page[CardFormatView]))
async def list_formats(caller: PlaceReader, runtime: Shared, *, pages: Pages) -> Response:
    """List the card formats of sites in scope by id."""
    return await list_kept(runtime, CARD_FORMATS, caller=caller, pages=pages)


@router.post("", **shows(CardFormatView, 201))
async def create_format(
    body: CardFormatBody, request: Request, *, caller: DeviceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add a card format, which readers of the site may name from now on."""

    def make() -> CardFormat:
        return record_from(body, CardFormat, id=id_of(body.id, "cf"), site_id=site_of(caller, body.site_id))

    return await create_kept(request, runtime, caller=caller, key=key, kind=CARD_FORMATS, make=make)


@router.post("/learn", **shows(Page[Learnt]))
async def learn(body: Lesson, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Say which formats read these cards right, the plainest first; none if one of them was another card.

    That it was asked is on record, no number is.
    """
    presented = [
        Presentation(
            reading=card.reading.get_secret_value(),
            is_known=partial(eq, canonical_card(card.number.get_secret_value(), where="number")),
        )
        for card in body.cards
    ]
    found = learn_format(presented)
    told = {"cards": str(len(presented)), "formats": str(len(found))}
    entry = AuditEntry(actor=caller.id, action="card_format.learn", detail=told, reason=caller.reason)
    await runtime.store.write(append_audit, entry, at=runtime.clock())
    return reply(Page(items=[Learnt(**learnt(by)) for by in found]))


def learnt(by: CardFormat) -> dict[str, Any]:
    """Return what a learnt format says, as the fields of `Learnt`."""
    return {name: getattr(by, name) for name in Learnt.__struct_fields__}


@router.get("/{format_id}", **shows(CardFormatView))
async def show_format(format_id: Key, caller: PlaceReader, *, runtime: Shared) -> Response:
    """Show a card format."""
    return await show_kept(runtime, CARD_FORMATS, key=format_id, caller=caller)


@router.patch("/{format_id}", **shows(CardFormatView))
async def change_format(
    format_id: Key, body: CardFormatChange, *, caller: DeviceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change a card format; edges read by it at once."""
    changes = changes_in(body)
    return await change_kept(runtime, CARD_FORMATS, key=format_id, caller=caller, changes=changes, if_match=if_match)


@router.delete("/{format_id}", status_code=204)
async def delete_format(format_id: Key, caller: DeviceWriter, *, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a card format that no reader names."""
    return await remove_kept(runtime, CARD_FORMATS, key=format_id, caller=caller, if_match=if_match)
