"""Pictures and clips: edges send them as a signed stream; people see only pictures whose faces are blurred, with a reason."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from gateway.api.deps import Shared, StatedReason, allowed
from gateway.api.replies import Page, cursor_after, place_in, reply, shows
from gateway.api.signed import edge_of
from gateway.auth.roles import Caller
from gateway.intake import check_time
from gateway.media import KINDS, file_of, folder_of, take_medium
from gateway.on_record import note
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.media import Medium, check_camera, media_of, medium_by_id
from models.errors import Forbidden, InvalidInput, NotFound
from models.link import HEADER_DIGEST
from models.places import check_id

link = APIRouter(prefix="/edge/v1", tags=["edges"], include_in_schema=False)
router = APIRouter(prefix="/api/v1/media", tags=["media"])
Viewer = Annotated[Caller, Depends(allowed("media:read"))]
Id = Annotated[str, Query(min_length=1, max_length=64)]
DIGEST_CHARS = 64


@link.post("/media")
async def upload(
    request: Request, runtime: Shared, *, medium_id: Annotated[str, Query(alias="id", min_length=1, max_length=64)],
    camera: Id, at: AwareDatetime, fact: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    blurred: Literal["yes", "no"] = "no",
) -> Response:  # fmt: skip
    """Keep a picture or clip of one of the edge's cameras; the same one again changes nothing."""
    digest = request.headers.get(HEADER_DIGEST, "").lower()
    if len(digest) != DIGEST_CHARS or not all(char in "0123456789abcdef" for char in digest):
        raise InvalidInput(HEADER_DIGEST, "send the hex SHA-256 of the body: the signature stands over it")
    edge = await edge_of(request, runtime, digest=digest)
    media_type, size_bytes = _announced(request)
    for where, value in (("id", medium_id), ("camera", camera), ("fact", fact)):
        if value is not None:
            check_id(value, where)
    await runtime.store.read(check_camera, camera, edge=edge)
    medium = Medium(
        id=medium_id, site_id=edge.site_id, edge_id=edge.id, camera_id=camera, fact_id=fact, media_type=media_type,
        size_bytes=size_bytes, sha256=digest, at=check_time(at, where="at"), received_at=runtime.clock(),
        blurred=blurred == "yes" and media_type.startswith("image/"),
    )  # fmt: skip
    fresh = await take_medium(runtime, medium, content=request.stream())
    runtime.count("media_taken", int(fresh))
    return reply({"id": medium.id}, 201 if fresh else 200)


def _announced(request: Request) -> tuple[str, int]:
    """Return the type and size that an upload says it has.

    Raises:
        HTTPException: 415, another type; 411, no size; 413, more than this type may have.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in KINDS:
        raise HTTPException(415, f"send one of {', '.join(KINDS)}")
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise HTTPException(411, "send Content-Length")
    if not 0 < int(length) <= KINDS[media_type][0]:
        raise HTTPException(413, f"{media_type} has 1 to {KINDS[media_type][0]} bytes here")
    return media_type, int(length)


@router.get("", **shows(Page[Medium]))
async def list_media(
    caller: Viewer, runtime: Shared, *, camera_id: Annotated[str | None, Query(max_length=64)] = None,
    fact_id: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Annotated[str | None, Query(max_length=300)] = None, limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List pictures and clips in scope, newest first: what they are, not what they show."""
    found = await runtime.store.write(
        _list, caller=caller, runtime=runtime, chosen=(camera_id, fact_id), before=place_in(cursor), limit=limit
    )
    more = cursor_after(found[limit - 1].received_at, found[limit - 1].id) if len(found) > limit else None
    return reply(Page(items=found[:limit], next=more))


def _list(
    connection: Connection, *, caller: Caller, runtime: Runtime, chosen: tuple[str | None, str | None],
    before: tuple[datetime, str] | None, limit: int,
) -> list[Medium]:  # fmt: skip
    camera_id, fact_id = chosen
    note(connection, caller, action="media.list", subject=camera_id or fact_id or "", at=runtime.clock())
    return media_of(
        connection, site_ids=caller.sites, camera_id=camera_id, fact_id=fact_id, before=before, limit=limit + 1
    )


@router.get(
    "/{medium_id}", response_class=FileResponse, responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}}
)
async def show_medium(medium_id: str, caller: Viewer, *, runtime: Shared, _reason: StatedReason) -> Response:
    """Show a picture whose faces are blurred; each look is on record with its reason."""
    medium = await runtime.store.write(_look, medium_id, caller=caller, runtime=runtime)
    if not medium.blurred:
        raise Forbidden("faces in it are not blurred: clear pictures are not handed out")
    file = file_of(folder_of(runtime), medium)
    if not file.is_file():
        raise NotFound("medium", medium_id)
    return FileResponse(file, media_type=medium.media_type, headers={"Cache-Control": "no-store"})


def _look(connection: Connection, medium_id: str, *, caller: Caller, runtime: Runtime) -> Medium:
    medium = medium_by_id(connection, medium_id, site_ids=caller.sites)
    result = "ok" if medium.blurred else "refused"
    note(connection, caller, action="media.look", subject=medium_id, at=runtime.clock(), result=result)
    return medium
