"""The live feed of the console: alerts, doors, cameras and receipts as they change, with replay after a broken connection."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Request
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from gateway.api.deps import Shared, allowed, identify
from gateway.api.streams import PING, event, stream
from gateway.auth.roles import Caller, Right
from gateway.bells import heard
from gateway.runtime import Runtime
from gateway.store.feed import announcements_after, feed_range

router = APIRouter(prefix="/api/v1/live", tags=["live"])
PING_S = 15.0
LOOK_S = 1.0
"""How often the database is asked on PostgreSQL, where another replica may have written."""
STREAMS_MOST = 500
NEEDS: dict[str, Right] = {
    "alert": "alerts:read", "receipt": "alerts:read", "door": "doors:read", "camera": "cameras:read"
}  # fmt: skip


@router.get("", response_class=StreamingResponse)
async def follow(
    request: Request, caller: Annotated[Caller, Depends(allowed("doors:read"))], *, runtime: Shared,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> StreamingResponse:  # fmt: skip
    """Follow what happens. `Last-Event-ID` replays what was missed; `reset` says that too much was missed: load anew."""
    if runtime.counters.get("live_streams", 0) >= STREAMS_MOST:
        raise HTTPException(503, "too many live connections", headers={"Retry-After": "10"})
    oldest, newest = await runtime.store.read(feed_range)
    first = [b"retry: 1000\n\n"]
    seen = newest
    if (
        last_event_id is not None
        and last_event_id.isascii()
        and last_event_id.isdigit()
        and oldest - 1 <= int(last_event_id) <= newest
    ):
        seen = int(last_event_id)
    else:
        name = "hello" if last_event_id is None else "reset"
        first.append(event(name, msgspec.json.encode({"seq": newest}), number=newest))
    return stream(_follow(request, runtime, caller=caller, seen=seen, first=first))


async def _follow(
    request: Request, runtime: Runtime, *, caller: Caller, seen: int, first: list[bytes]
) -> AsyncIterator[bytes]:
    runtime.count("live_streams")
    try:
        for chunk in first:
            yield chunk
        checked_s = time.monotonic()
        while not runtime.bells.closing.is_set():
            ring = runtime.bells.feed.next_ring()
            rows = await runtime.store.read(announcements_after, seen)
            for row in rows:
                seen = row.seq
                if row.site_id in caller.sites and caller.may(NEEDS[row.event]):
                    yield event(row.event, row.body, number=row.seq)
            if not rows:
                await heard(ring, within_s=PING_S if runtime.store.sqlite else LOOK_S)
            if time.monotonic() - checked_s >= PING_S:
                checked_s = time.monotonic()
                yield PING
                again = await identify(request, runtime)
                if again is None:
                    return  # the session ended: the browser is told so when it comes back
                caller = again
    finally:
        runtime.count("live_streams", -1)
