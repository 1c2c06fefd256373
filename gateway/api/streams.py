"""Server-sent events (WHATWG HTML, 9.2): the format, and an answer that ends with the process. Knows no content."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

PING = b": ping\n\n"


def event(name: str, data: bytes | str, *, number: int | str | None = None) -> bytes:
    """Return one event; `data` is one line (JSON has no line breaks). `number` is its id, a signature on the edges' streams."""
    text = data if isinstance(data, bytes) else data.encode()
    first = b"" if number is None else b"id: " + str(number).encode() + b"\n"
    return first + b"event: " + name.encode() + b"\ndata: " + text + b"\n\n"


def stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Answer with events until they end or the client goes away; a slow client slows only its own stream."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
