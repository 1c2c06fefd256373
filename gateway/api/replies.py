"""Answers of the API: records as JSON, pages with cursors, and what OpenAPI says about them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from fastapi import FastAPI, Response

from gateway.api.errors import Problem
from models.errors import InvalidInput

T = TypeVar("T")
LIMIT_MOST = 500
_shown: list[Any] = [Problem]


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Hold some items and where to go on; `next` is None at the end."""

    items: list[T]
    next: str | None = None


def reply(record: object, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    """Answer with a record as JSON."""
    return Response(msgspec.json.encode(record), status, headers, media_type="application/json")


class ShownOnce(Response):
    """Answer with what may not be kept: a repetition with the same Idempotency-Key gets `kept` instead."""

    kept: bytes = b""


def reply_once(record: object, status: int = 200, *, kept: object, headers: dict[str, str] | None = None) -> Response:
    """Answer with a record of which only `kept` is written down for repetitions: no name, no PIN."""
    answer = ShownOnce(msgspec.json.encode(record), status, headers, media_type="application/json")
    answer.kept = msgspec.json.encode(kept)
    return answer


def etag_of(version: int) -> dict[str, str]:
    """Return the header that names a record's version."""
    return {"ETag": f'"{version}"'}


def version_in(if_match: str | None) -> int | None:
    """Return the version that the caller insists on, or None.

    Raises:
        InvalidInput: the header names no version of ours.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isdigit():
        raise InvalidInput("If-Match", 'send the ETag that you were given, for example "3"')
    return int(text)


def shows(type_: Any, status: int = 200, *, about: str = "As asked.") -> dict[str, Any]:
    """Return the `responses` of an endpoint that answers with a record of this type."""
    _shown.append(type_)
    (schema,), _ = msgspec.json.schema_components([type_], ref_template="#/components/schemas/{name}")
    content = {"application/json": {"schema": schema}}
    wrong = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "responses": {
            status: {"description": about, "content": content},
            "default": {"description": "Problem details (RFC 9457).", "content": wrong},
        },
        "status_code": status,
    }


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the OpenAPI document, with the schemas of all records that endpoints show."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = FastAPI.openapi(app)
            _, components = msgspec.json.schema_components(_shown, ref_template="#/components/schemas/{name}")
            made.setdefault("components", {}).setdefault("schemas", {}).update(components)
            app.openapi_schema = made
        return app.openapi_schema

    return document


def cursor_after(at: datetime, key: str) -> str:
    """Return an opaque cursor for a place in a list that is ordered by time and id."""
    return base64.urlsafe_b64encode(msgspec.json.encode([at, key])).decode().rstrip("=")


def place_in(cursor: str | None) -> tuple[datetime, str] | None:
    """Return the place that a cursor names; None is the beginning.

    Raises:
        InvalidInput: the cursor is none of ours.
    """
    if cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        at, key = msgspec.json.decode(raw, type=tuple[datetime, str])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise InvalidInput("cursor", "send the `next` of the page before, unchanged") from error
    if at.tzinfo is None or "\x00" in key:
        raise InvalidInput("cursor", "send the `next` of the page before, unchanged")
    return at, key
