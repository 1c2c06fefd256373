"""Bound every request body, set the security headers and give each page its nonce. Plain ASGI, so that streams stay streams."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.errors import problem
from gateway.bulk.reading import MAX_BYTES as IMPORT_BYTES
from models.link import MAX_BODY_BYTES, MAX_PHOTO_BYTES, MAX_VIDEO_BYTES

DEFAULT_LIMIT = 64 * 1024
CALENDAR_LIMIT = 256 * 1024
DRAIN_BYTES = 16 * 1024 * 1024
DRAIN_S = 5.0
CSP = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self' 'nonce-{nonce}'", "connect-src 'self'",
        "img-src 'self' data: blob:", "media-src 'self'", "font-src 'self'", "manifest-src 'self'", "base-uri 'none'",
        "frame-ancestors 'none'", "form-action 'self'",
    )
)  # fmt: skip
API_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "x-frame-options": "DENY",
}


def body_limit(path: str) -> int:
    """Return how many bytes a request to a path may carry."""
    if path in {"/edge/v1/facts", "/edge/v1/status", "/edge/v1/results"}:
        return MAX_BODY_BYTES
    if path == "/edge/v1/media":
        return MAX_VIDEO_BYTES
    if path == "/api/v1/imports":
        return IMPORT_BYTES
    if path.startswith("/api/v1/calendars/") and path.endswith("/ical"):
        return CALENDAR_LIMIT
    return MAX_PHOTO_BYTES if path.startswith("/api/v1/people/") and path.endswith("/face") else DEFAULT_LIMIT


class _TooLarge(Exception):  # noqa: N818 - never seen outside
    """Leave the application when a body outgrows its limit."""


class BodyLimit:
    """Refuse bodies beyond the limit of their path, announced or not, before they are held in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, seen, started = body_limit(scope["path"]), 0, False
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > limit:
            await _refuse(limit, scope, receive=receive, send=send)
            return

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _TooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, bounded, watched)
        except _TooLarge:
            if not started:
                await _refuse(limit, scope, receive=receive, send=send)


async def _refuse(limit: int, scope: Scope, *, receive: Receive, send: Send) -> None:
    """Answer 413; first let some of the body pass by unread, or the sender sees a broken connection and no answer."""
    left = DRAIN_BYTES
    try:
        async with asyncio.timeout(DRAIN_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
    except TimeoutError:
        left = 0
    text = f"the body may have at most {limit} bytes here"
    answer = problem(413, "too_large", detail=text, reason="too_large", headers={"Connection": "close"})
    await answer(scope, receive, send)


class SecurityHeaders:
    """Set the headers that keep browsers strict on every answer."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("content-security-policy", API_CSP)
                headers.setdefault("cache-control", "no-store")
                if self._secure:
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        await self._app(scope, receive, dressed)
