"""Who asks, and from where: the dependencies of endpoints. Objects are looked up by the store with the caller's scope."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec
from fastapi import Depends, Header, Request, Response
from pydantic import AfterValidator, AwareDatetime
from starlette.exceptions import HTTPException

from gateway.auth.roles import PERSONAL, SELF_EXPLAINING, Caller, Right
from gateway.runtime import Runtime
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.users import (
    begin_request,
    caller_of_session,
    caller_of_token,
    end_request,
    forget_request,
    touch_session,
)
from models.errors import Forbidden, InvalidInput

COOKIE = "gatehouse_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
REASON_HEADER = "Gatehouse-Reason"
REASON_CHARS = 200
REASON_ENCODED = 12 * REASON_CHARS
"""Four bytes of UTF-8 for each character, three characters for each byte."""
REASON_LEAST = 2


def runtime_of(request: Request) -> Runtime:
    """Return what this process shares."""
    runtime: Runtime = request.app.state.runtime
    return runtime


Shared = Annotated[Runtime, Depends(runtime_of)]


def _sensible(at: datetime) -> datetime:
    if not 1900 <= at.year <= 2200:
        raise ValueError("use a time between 1900 and 2200")
    return at


Moment = Annotated[AwareDatetime, AfterValidator(_sensible)]
"""A time from outside, with its zone, that every database and every zone can hold."""


def check_origin(request: Request, runtime: Shared) -> None:
    """Refuse a change that a browser sends from somebody else's page.

    Browsers say where a request comes from (Sec-Fetch-Site, Origin); programs send neither and carry no cookie by accident.

    Raises:
        Forbidden: the request comes from another origin.
    """
    if request.method in SAFE:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site not in (None, "same-origin", "none"):
        raise Forbidden("this request comes from another site's page")
    if origin is None or origin in runtime.origins:
        return
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden(f"this request comes from a page of {origin[:200]}")


async def identify(request: Request, runtime: Runtime) -> Caller | None:
    """Return who sends a request, by machine token or session cookie; None if nobody we know."""
    at = runtime.clock()
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return await runtime.store.read(caller_of_token, token.strip(), at=at)
    secret = request.cookies.get(COOKIE)
    if not secret:
        return None
    found = await runtime.store.read(caller_of_session, secret, rules=runtime.sessions, at=at)
    if found is None:
        return None
    caller, stale = found
    if stale:
        await runtime.store.write(touch_session, secret, at=at)
    return caller


async def any_caller(request: Request, runtime: Shared) -> Caller:
    """Return who sends a request.

    Raises:
        HTTPException: 401, nobody we know.
        Forbidden: a browser sends it from somebody else's page.
    """
    check_origin(request, runtime)
    caller = await identify(request, runtime)
    if caller is None:
        raise HTTPException(401, "log in first", headers={"WWW-Authenticate": 'Bearer realm="gatehouse"'})
    return caller


Anyone = Annotated[Caller, Depends(any_caller)]


def reason_of(
    given: Annotated[str | None, Header(alias="Gatehouse-Reason", max_length=REASON_ENCODED)] = None,
) -> str:
    """Return why a request is made, percent-encoded UTF-8 in a header; empty if the caller does not say.

    Raises:
        InvalidInput: it is too long, or is no text.
    """
    try:
        text = unquote(given or "", errors="strict").strip()
    except UnicodeDecodeError as error:
        raise InvalidInput(REASON_HEADER, "send percent-encoded UTF-8 (encodeURIComponent)") from error
    if len(text) > REASON_CHARS or not text.isprintable():
        raise InvalidInput(REASON_HEADER, f"use at most {REASON_CHARS} printable characters")
    return text


Reason = Annotated[str, Depends(reason_of)]


def stated_reason(reason: Reason) -> str:
    """Return why a request is made, for acts that are not done without saying so.

    Raises:
        InvalidInput: the caller does not say.
    """
    if len(reason) < REASON_LEAST:
        raise InvalidInput(REASON_HEADER, f"say why, in at least {REASON_LEAST} characters: it goes on record")
    return reason


StatedReason = Annotated[str, Depends(stated_reason)]


def allowed(right: Right, *others: Right, stated: bool = False) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that passes callers with one of the rights and writes refusals into the audit log.

    The caller that it returns carries the reason (`caller.reason`), for the audit entries of the act; `stated` insists
    on one.
    """
    rights = (right, *others)

    async def check(caller: Anyone, runtime: Shared, *, request: Request, reason: Reason) -> Caller:
        held = next((each for each in rights if caller.may(each)), None)
        if held is None:
            entry = AuditEntry(actor=caller.id, action="refused", subject=right, result="forbidden",
                               detail={"method": request.method}, reason=reason)  # fmt: skip
            await runtime.store.write(append_audit, entry, at=runtime.clock())
            caller.require(right)
        asked = right in PERSONAL or (request.method not in SAFE and right not in SELF_EXPLAINING)
        if stated or (runtime.require_reasons and asked):
            stated_reason(reason)
        return msgspec.structs.replace(caller, reason=reason)

    return check


Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=100)]


async def once(
    request: Request, runtime: Runtime, *, caller: Caller, key: str | None, work: Callable[[], Awaitable[Response]]
) -> Response:
    """Do the work of a request once: a repetition with the same Idempotency-Key gets the first answer again.

    The key itself is not kept: the body may hold a PIN, and a digest that anybody could repeat would give it away.

    Raises:
        Conflict: the key was used for another request, or the first one is still running.
    """
    if key is None:
        return await work()
    secret = f"{caller.id}\x1f{key}".encode()
    name = hashlib.sha256(secret).hexdigest()
    content = f"{request.method} {request.url.path}\n".encode() + await request.body()
    digest = hmac.new(secret, content, hashlib.sha256).hexdigest()
    earlier = await runtime.store.write(begin_request, name, digest=digest, at=runtime.clock())
    if earlier is not None:
        status, body = earlier
        return Response(body, status, {"Idempotent-Replayed": "true"}, media_type="application/json")
    try:
        answer = await work()
    except BaseException:
        await runtime.store.write(forget_request, name)
        raise
    kept = getattr(answer, "kept", answer.body)  # what is shown once only is not kept (gateway.api.replies.reply_once)
    await runtime.store.write(end_request, name, status=answer.status_code, body=bytes(kept).decode())
    return answer


def new_id(prefix: str) -> str:
    """Return a random opaque id."""
    return f"{prefix}-{uuid.uuid4().hex}"
