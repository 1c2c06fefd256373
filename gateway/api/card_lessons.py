"""Card lessons: a reader's format learnt from cards held up to it. No card's number is in any answer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr, model_validator

from gateway.api.card_formats import Learnt, Number, learnt
from gateway.api.deps import Key as Once
from gateway.api.deps import Shared, StatedReason, new_id, once
from gateway.api.places import Body, DeviceWriter, Id, Key, Name
from gateway.api.replies import reply, shows
from gateway.card_lessons import (
    Card,
    CardLesson,
    Set,
    Wanted,
    cancel_lesson,
    learn_at_door,
    propose_format,
    set_format,
    show_lesson,
)
from models.card_lessons import Hint
from models.cards import LEARN_FROM, LEARNT

router = APIRouter(prefix="/api/v1/card-lessons", tags=["card-lessons"])


class LessonBody(Body):
    """Say at which door's reader to learn: by its side, or by its id where a side has several."""

    door_id: Id
    reader: Literal["in", "out"] = "in"
    reader_id: Id | None = None
    cards: Annotated[int, Field(ge=LEARN_FROM[0], le=LEARN_FROM[1])] = 2
    for_s: Annotated[float, Field(ge=10, le=120, allow_inf_nan=False)] = 120.0


class NamedCard(Body):
    """Say which card a presentation was: by its `number`, as a desk reader's `format` reads it, or by a person's credential."""

    presented: Annotated[int, Field(ge=1, le=LEARN_FROM[1])]
    number: Number | None = None
    format: Id | None = None
    credential_id: Id | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.number is None) == (self.credential_id is None):
            raise ValueError("give the card's number, or the credential_id of whose card it is")
        return self


class NamedCards(Body):
    """Name the cards of a lesson; presentations that are not named do not count."""

    cards: Annotated[list[NamedCard], Field(min_length=LEARN_FROM[0], max_length=LEARN_FROM[1])]


class Choice(Body):
    """Confirm a proposed format, by its place among those that fit; `name` and `id` are for one that the site has not."""

    choice: Annotated[int, Field(ge=0, lt=LEARNT)] = 0
    name: Name | None = None
    id: Id | None = None


class Fit(Learnt, frozen=True, kw_only=True):
    """Show a format that was tried."""

    needed: bool
    """False where the reader gives the canonical form by itself: no format is set."""
    why: str = ""
    """Why it is not the reader's; empty where it is."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Show which formats read every presentation right, the plainest first, and what the usual ones make of them."""

    fits: list[Fit]
    tried: list[Fit]
    hint: Hint
    advice: str


@router.post("", **shows(CardLesson, 202, about="Ordered; ask for its progress."))
async def begin_lesson(
    body: LessonBody, request: Request, *, caller: DeviceWriter, runtime: Shared, reason: StatedReason, key: Once = None
) -> Response:
    """Gather the next cards at a reader, for two minutes at most, in place of letting them in; ask again every half second.

    Give `Gatehouse-Reason`. On the way out cards are decided on all the same: nobody is kept inside.
    """
    stated = msgspec.structs.replace(caller, reason=reason)
    wanted = Wanted(
        door_id=body.door_id, side=body.reader, reader_id=body.reader_id, cards=body.cards, for_s=body.for_s
    )

    async def work() -> Response:
        return reply(await learn_at_door(runtime, wanted, caller=stated), 202)

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/{lesson_id}", **shows(CardLesson))
async def get_lesson(lesson_id: Key, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Show how far a lesson is; one at which nobody looks for 15 s is called off."""
    return reply(await show_lesson(runtime, lesson_id, caller=caller))


@router.delete("/{lesson_id}", status_code=204)
async def delete_lesson(lesson_id: Key, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Call a lesson off and forget what was read."""
    await cancel_lesson(runtime, lesson_id, caller=caller)
    return Response(status_code=204)


@router.post("/{lesson_id}/propose", **shows(Proposal))
async def propose(lesson_id: Key, body: NamedCards, *, caller: DeviceWriter, runtime: Shared) -> Response:
    """Say which card each presentation was, and learn which formats fit and why others do not."""
    cards = [
        Card(
            presented=one.presented, number=_clear(one.number), format=one.format, credential_id=one.credential_id
        )
        for one in body.cards
    ]  # fmt: skip
    proof = await propose_format(runtime, lesson_id, cards=cards, caller=caller)
    fits = [Fit(**learnt(one), needed=bool(one.id)) for one in proof.fits]
    tried = [Fit(**learnt(one.format), needed=bool(one.format.id), why=one.why) for one in proof.tried]
    return reply(Proposal(fits=fits, tried=tried, hint=proof.hint, advice=proof.advice))


def _clear(number: SecretStr | None) -> str:
    return "" if number is None else number.get_secret_value()


@router.post("/{lesson_id}/set", **shows(Set))
async def confirm(lesson_id: Key, body: Choice, *, caller: DeviceWriter, runtime: Shared) -> Response:
    """Set a proposed format on the lesson's reader, and forget what was read; edges read by it at once."""
    made = await set_format(
        runtime, lesson_id, choice=body.choice, name=body.name or "", format_id=body.id or new_id("cf"), caller=caller
    )
    return reply(made)
