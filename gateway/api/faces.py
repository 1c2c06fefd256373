"""Faces: enrol a person from photos or at a door's camera. A face goes in for somebody who is named; none comes out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.deps import Key, Shared, once
from gateway.api.people import Id, Writer
from gateway.api.replies import reply, shows
from gateway.door_enrolment import FaceEnrolment, cancel_enrolment, enrol_at_door, show_enrolment
from gateway.enrolment import Enrolled, check_photo, enrol_face
from models.errors import InvalidInput
from models.link import PICTURES_MOST

router = APIRouter(prefix="/api/v1", tags=["faces"])


class AtDoorBody(BaseModel):
    """Say before which door's camera the person stands, how many pictures to take, and whether they may show somebody else."""

    model_config = ConfigDict(extra="forbid")
    door_id: Id
    pictures: Annotated[int, Field(ge=1, le=PICTURES_MOST)] = 3
    anew: bool = False
    """The face enrolled was somebody else's, or the person changed much."""


@router.put(
    "/people/{person_id}/face",
    openapi_extra={"requestBody": {"required": True, "content": {"image/jpeg": {}, "image/png": {}}}},
    **shows(Enrolled),
)
async def put_face(
    person_id: str, request: Request, *, caller: Writer, runtime: Shared, add: bool = False, anew: bool = False
) -> Response:
    """Enrol a face from one photo, sent as the raw body (never multipart, never written to a disk).

    It replaces what was enrolled of this person; with `add` it joins, up to five under one consent. A photo of somebody
    else is refused (`differs`) unless `anew` says that the face enrolled was somebody else's, or the person changed much.
    """
    if add and anew:
        raise InvalidInput("anew", "a photo joins what is enrolled (add) or replaces it (anew), not both")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    photo = await request.body()
    check_photo(photo, media_type=media_type)
    return reply(await enrol_face(runtime, person_id, photo=photo, add=add, anew=anew, caller=caller))


@router.post("/people/{person_id}/face/at-door", **shows(FaceEnrolment, 202, about="Ordered; ask for its progress."))
async def enrol_face_at_door(
    person_id: str, body: AtDoorBody, *, request: Request, caller: Writer, runtime: Shared, key: Key = None
) -> Response:
    """Enrol the person who stands before a door's camera within 90 s; ask again every half second for what to do.

    The pictures replace what was enrolled of this person, and are refused as a photo is (`differs`) unless `anew`.
    """

    async def work() -> Response:
        made = await enrol_at_door(
            runtime, person_id, door_id=body.door_id, pictures=body.pictures, anew=body.anew, caller=caller
        )
        return reply(made, 202)

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/face-enrolments/{enrolment_id}", **shows(FaceEnrolment))
async def show_face_enrolment(enrolment_id: str, caller: Writer, *, runtime: Shared) -> Response:
    """Show how far an enrolment at a door is; one at which nobody looks for 15 s is called off."""
    return reply(await runtime.store.write(show_enrolment, enrolment_id, caller=caller, at=runtime.clock()))


@router.delete("/face-enrolments/{enrolment_id}", status_code=204)
async def delete_face_enrolment(enrolment_id: str, caller: Writer, *, runtime: Shared) -> Response:
    """Call an enrolment at a door off; one that has ended stays as it ended."""
    await runtime.store.write(cancel_enrolment, enrolment_id, caller=caller, at=runtime.clock())
    return Response(status_code=204)
