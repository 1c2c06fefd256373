"""Turn every error into problem details (RFC 9457). The only place that knows which error is which HTTP status."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from models.errors import (
    CommandExpired,
    Conflict,
    DeviceRefused,
    DeviceUnreachable,
    Forbidden,
    GatehouseError,
    ImageRejected,
    InvalidInput,
    NotFound,
    StorageUnavailable,
)

log = logging.getLogger(__name__)

STATUSES: dict[type[GatehouseError], tuple[int, str]] = {
    InvalidInput: (422, "invalid_input"),
    ImageRejected: (422, "image_rejected"),
    Forbidden: (403, "forbidden"),
    NotFound: (404, "not_found"),
    Conflict: (409, "conflict"),
    DeviceRefused: (502, "device_refused"),
    DeviceUnreachable: (504, "device_unreachable"),
    CommandExpired: (504, "command_expired"),
    StorageUnavailable: (503, "storage_unavailable"),
}
PLAIN = {
    400: "bad_request", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    409: "conflict", 412: "precondition_failed", 413: "too_large", 415: "unsupported_media_type", 422: "invalid_input",
    429: "too_many_requests", 503: "unavailable",
}  # fmt: skip


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold problem details; `code` is a stable word, `reason` a stable word of the subject (no_face, no_consent, …).

    `command_id` is the order that had been given by then: `GET /commands/{id}`, which `Link` names, says what becomes of it.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    reason: str | None = None
    where: str | None = None
    command_id: str | None = None
    errors: list[dict[str, str]] = []


def problem(status: int, code: str, *, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """Return an answer with problem details."""
    body = Problem(
        type=f"urn:gatehouse:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        code=code,
        **more,
    )
    return Response(msgspec.json.encode(body), status, headers, media_type="application/problem+json")


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of the application with problem details."""
    app.add_exception_handler(GatehouseError, _on_ours)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_body)
    app.add_exception_handler(Exception, _on_bug)


async def _on_ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, GatehouseError)  # noqa: S101 - registered for this class only
    found = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if found is None:
        return await _on_bug(_request, error)
    status, code = found
    more: dict[str, Any] = {"detail": str(error), "command_id": error.command_id}
    if error.reason:
        more["reason"] = error.reason
    if isinstance(error, ImageRejected):
        more["detail"] = error.detail
    if isinstance(error, InvalidInput):
        more |= {"where": error.where, "detail": error.what}
    if isinstance(error, StorageUnavailable):
        log.warning("storage: %s", error)
        more |= {"detail": error.told}
    return problem(status, code, headers=_headers(error), **more)


def _headers(error: GatehouseError) -> dict[str, str]:
    """Return when to come again, and where the order is shown that went wrong."""
    headers = {"Retry-After": "5"} if isinstance(error, StorageUnavailable) else {}
    if error.command_id is not None:
        headers["Link"] = f'</api/v1/commands/{quote(error.command_id, safe="")}>; rel="status"'  # RFC 8631
    return headers


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    code = PLAIN.get(error.status_code, "error")
    return problem(error.status_code, code, detail=str(error.detail), headers=dict(error.headers or {}))


async def _on_body(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    # The rejected value itself is not repeated: it may be a password or a PIN.
    faults = [
        {"where": ".".join(str(part) for part in fault["loc"]), "what": str(fault["msg"])} for fault in error.errors()
    ]
    first = faults[0] if faults else {"where": "body", "what": "cannot be read"}
    return problem(
        422, "invalid_input", detail=f"{first['where']}: {first['what']}", where=first["where"], errors=faults[:20]
    )


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    return problem(500, "internal_error", detail="an unexpected error was logged; the request was not carried out")
