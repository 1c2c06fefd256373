"""What the endpoints about places share: bounded fields, and the one way in which all kinds are listed, made and changed."""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Header, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from gateway.api.deps import Shared, allowed, new_id, once
from gateway.api.replies import Page, etag_of, reply, version_in
from gateway.auth.roles import Caller
from gateway.runtime import Runtime
from gateway.store.kept import Act, Kind, R, V
from models.errors import InvalidInput, NotFound
from models.places import ID_LIMIT, check_id

T = TypeVar("T", bound=msgspec.Struct)
DRIVER_BYTES = 8192
SAFE_ID = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"


def _id(value: str) -> str:
    try:
        return check_id(value, "id")
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _text(value: str) -> str:
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in value):
        raise ValueError("must hold no control character")
    return value


def _bounded(driver: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        text = msgspec.json.encode(driver)
    except RecursionError as error:
        raise ValueError("must not nest endlessly") from error
    if len(text) > DRIVER_BYTES or b"\\u0000" in text:
        raise ValueError(f"must be at most {DRIVER_BYTES} bytes of JSON, without NUL")
    return driver


Id = Annotated[str, AfterValidator(_id), Field(max_length=ID_LIMIT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True), AfterValidator(_text)]
Text = Annotated[str, StringConstraints(max_length=256, strip_whitespace=True), AfterValidator(_text)]
Driver = Annotated[dict[Annotated[str, Field(max_length=64)], JsonValue], AfterValidator(_bounded)]
Short = Annotated[str, StringConstraints(max_length=32, strip_whitespace=True), AfterValidator(_text)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Key = Annotated[str, Path(min_length=1, max_length=ID_LIMIT, pattern=SAFE_ID)]
Filter = Annotated[str | None, Query(min_length=1, max_length=ID_LIMIT, pattern=SAFE_ID)]
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=64)]
PlaceReader = Annotated[Caller, Depends(allowed("places:read"))]
PlaceWriter = Annotated[Caller, Depends(allowed("places:write"))]
DoorReader = Annotated[Caller, Depends(allowed("doors:read"))]
DeviceWriter = Annotated[Caller, Depends(allowed("devices:write"))]


class Body(BaseModel):
    """Stand above every body about places: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """Say where a list goes on and how much of it is wanted."""

    after: str
    limit: int


def paging(
    cursor: Annotated[str | None, Query(max_length=ID_LIMIT, pattern=SAFE_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Paging:
    """Return where a list goes on: `cursor` is the `next` of the page before."""
    return Paging(after=cursor or "", limit=limit)


Pages = Annotated[Paging, Depends(paging)]


def site_of(caller: Caller, site_id: str | None) -> str:
    """Return the site that a body is about: the one it names, or the only one in scope.

    Raises:
        InvalidInput: none is named and there are several.
        NotFound: it is out of scope.
    """
    if site_id is None:
        if len(caller.sites) != 1:
            raise InvalidInput("site_id", "say which site: you have not exactly one in scope")
        return next(iter(caller.sites))
    if site_id not in caller.sites:
        raise NotFound("site", site_id)
    return site_id


def record_from(body: Body, type_: type[T], **given: Any) -> T:
    """Return the record that a body describes; `given` goes before what it says."""
    fields = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return msgspec.convert({**fields, **given}, type_)


def id_of(given: str | None, prefix: str) -> str:
    """Return the id that was given, or a random one."""
    return given or new_id(prefix)


async def list_kept(
    runtime: Runtime, kind: Kind[R, V], *, caller: Caller, pages: Paging, **only: str | None
) -> Response:
    """Answer with a page of what the caller may see of a kind."""
    found = await runtime.store.read(kind.listed, caller=caller, after=pages.after, limit=pages.limit + 1, only=only)
    items = found[: pages.limit]
    more = getattr(items[-1], kind.key.name) if len(found) > pages.limit else None
    return reply(Page(items=items, next=more))


async def show_kept(runtime: Runtime, kind: Kind[R, V], *, key: str, caller: Caller) -> Response:
    """Answer with what a key stands for."""
    view = await runtime.store.read(kind.shown, key, caller=caller)
    return reply(view, headers=etag_of(view.version))


async def create_kept(
    request: Request, runtime: Runtime, *, caller: Caller, key: str | None, kind: Kind[R, V],
    make: Callable[[], R], judge: Callable[[], Awaitable[None]] | None = None,
) -> Response:  # fmt: skip
    """Write something new, once, unless `judge` raises; edges learn of it at once."""

    async def work() -> Response:
        if judge is not None:
            await judge()
        by = Act(caller=caller, at=runtime.clock())
        view = await runtime.store.write(kind.added, make(), by=by)
        runtime.bells.policies_changed()
        return reply(view, 201, headers=etag_of(view.version))

    run: Callable[[], Awaitable[Response]] = work
    return await once(request, runtime, caller=caller, key=key, work=run)


async def change_kept(
    runtime: Runtime, kind: Kind[R, V], *, key: str, caller: Caller, changes: dict[str, Any], if_match: str | None
) -> Response:
    """Write some fields of what a key stands for; edges learn of it at once."""
    by = Act(caller=caller, at=runtime.clock(), version=version_in(if_match))
    view = await runtime.store.write(kind.changed, key, changes=changes, by=by)
    runtime.bells.policies_changed()
    return reply(view, headers=etag_of(view.version))


def changes_in(body: Body) -> dict[str, Any]:
    """Return the fields that a body gives, as JSON values.

    Raises:
        InvalidInput: it gives none.
    """
    changes = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if not changes:
        raise InvalidInput("body", "give at least one field to change")
    return changes


async def remove_kept(
    runtime: Runtime, kind: Kind[R, V], *, key: str, caller: Caller, if_match: str | None
) -> Response:
    """Delete what a key stands for; edges learn of it at once."""
    by = Act(caller=caller, at=runtime.clock(), version=version_in(if_match))
    await runtime.store.write(kind.removed, key, by=by)
    runtime.bells.policies_changed()
    return Response(status_code=204)


__all__ = [
    "Body", "DeviceWriter", "DoorReader", "Filter", "Fraction", "Id", "IfMatch", "Key", "Name", "Pages", "PlaceReader",
    "PlaceWriter", "Shared", "Short", "Text", "change_kept", "changes_in", "create_kept", "id_of", "list_kept",
    "record_from", "remove_kept", "show_kept", "site_of",
]  # fmt: skip
