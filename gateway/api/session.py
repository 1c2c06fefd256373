"""Log in, log out, who am I, and a new password."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.exceptions import HTTPException

from gateway.api.deps import COOKIE, Anyone, Shared, check_origin
from gateway.api.replies import reply, shows
from gateway.auth.passwords import MAX_LENGTH, MIN_LENGTH, hash_password, password_matches
from gateway.auth.roles import RIGHTS, Caller, check_role
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.users import (
    SessionRules,
    User,
    caller_of_session,
    end_session,
    note_failure,
    set_password,
    start_session,
    user_for_login,
)
from models.errors import Forbidden

router = APIRouter(prefix="/api/v1/session", tags=["session"])


class LogIn(BaseModel):
    """Name and password of a user."""

    model_config = ConfigDict(extra="forbid")
    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[str, Field(min_length=1, max_length=256)]


class OwnPassword(BaseModel):
    """Prove the old password and give a new one."""

    model_config = ConfigDict(extra="forbid")
    old: Annotated[str, Field(min_length=1, max_length=256)]
    new: Annotated[SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)]


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """Show who is logged in, with the rights of the role and the sites in scope."""

    id: str
    username: str
    role: str
    scopes: tuple[str, ...]
    sites: tuple[str, ...]


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Show a session."""

    user: UserView


def _view(caller: Caller) -> SessionView:
    rights = tuple(sorted(RIGHTS[caller.role]))
    sites = tuple(sorted(caller.sites))
    return SessionView(
        user=UserView(id=caller.id, username=caller.username, role=caller.role, scopes=rights, sites=sites)
    )


@router.post("", dependencies=[Depends(check_origin)], **shows(SessionView))
async def log_in(body: LogIn, request: Request, *, runtime: Shared) -> Response:
    """Log in with name and password; the session travels in a cookie that scripts cannot read."""
    user = await _proved(body, runtime)
    if user is None:
        raise HTTPException(401, "name or password is wrong, or the log-in is locked for a while")
    answer = await _opened(user, runtime)
    old = request.cookies.get(COOKIE)
    if old:
        await runtime.store.write(end_session, old)
    return answer


async def _opened(user: User, runtime: Runtime) -> Response:
    secret = secrets.token_urlsafe(32)
    caller = await runtime.store.write(_begin, secret, user=user, runtime=runtime)
    answer = reply(_view(caller))
    answer.set_cookie(
        COOKIE, secret, max_age=int(runtime.sessions.lifetime.total_seconds()), path="/", httponly=True,
        samesite="strict", secure=runtime.secure_cookies,
    )  # fmt: skip
    return answer


@router.put("/password", **shows(SessionView))
async def change_password(body: OwnPassword, caller: Anyone, *, runtime: Shared) -> Response:
    """Give yourself a new password; every other session of yours ends."""
    if caller.machine:
        raise Forbidden("a machine has no password")
    user = await _proved(LogIn(username=caller.username, password=body.old), runtime)
    if user is None:
        raise HTTPException(403, "the old password is wrong, or the log-in is locked for a while")
    async with runtime.hashing:
        hashed = await asyncio.to_thread(hash_password, body.new.get_secret_value())
    await runtime.store.write(_new_password, user, hashed=hashed, runtime=runtime)
    return await _opened(user, runtime)


def _new_password(connection: Connection, user: User, *, hashed: str, runtime: Runtime) -> None:
    set_password(connection, user.username, password_hash=hashed)
    entry = AuditEntry(actor=user.id, action="user.password", subject=user.id)
    append_audit(connection, entry, at=runtime.clock())


async def _proved(body: LogIn, runtime: Runtime) -> User | None:
    """Return the user if the password is right, and put every outcome on record."""
    async with runtime.hashing:  # whoever waited here is judged by the failures counted meanwhile
        return await _judged(body, runtime)


async def _judged(body: LogIn, runtime: Runtime) -> User | None:
    at = runtime.clock()
    found = await runtime.store.read(user_for_login, body.username)
    user, hashed = found or (None, None)
    locked = user is not None and user.locked_until is not None and user.locked_until > at
    right = await asyncio.to_thread(password_matches, body.password, hashed)
    if user is None:
        await _put_on_record(runtime, actor="unknown", result="unknown_user")
        return None
    if locked or user.disabled_at is not None:
        await _put_on_record(runtime, actor=user.id, result="locked" if locked else "disabled")
        return None
    if not right:
        await runtime.store.write(_failed, user.id, runtime=runtime)
        return None
    check_role(user.role)
    return user


async def _put_on_record(runtime: Runtime, *, actor: str, result: str) -> None:
    runtime.count("logins_refused")
    entry = AuditEntry(actor=actor, action="session.log_in", subject=actor, result=result)
    await runtime.store.write(append_audit, entry, at=runtime.clock())


def _failed(connection: Connection, user_id: str, *, runtime: Runtime) -> None:
    at = runtime.clock()
    note_failure(connection, user_id, rules=runtime.sessions, at=at)
    append_audit(
        connection, AuditEntry(actor=user_id, action="session.log_in", subject=user_id, result="wrong_password"), at=at
    )


def _begin(connection: Connection, secret: str, *, user: User, runtime: Runtime) -> Caller:
    at, rules = runtime.clock(), runtime.sessions
    start_session(connection, secret, user_id=user.id, rules=rules, at=at)
    append_audit(connection, AuditEntry(actor=user.id, action="session.log_in", subject=user.id), at=at)
    return _now(connection, secret, rules=rules, runtime=runtime)


def _now(connection: Connection, secret: str, *, rules: SessionRules, runtime: Runtime) -> Caller:
    found = caller_of_session(connection, secret, rules=rules, at=runtime.clock())
    if found is None:
        raise HTTPException(401, "the user was disabled")
    return found[0]


@router.get("", **shows(SessionView))
async def who_am_i(caller: Anyone) -> Response:
    """Show the caller: user or machine."""
    return reply(_view(caller))


@router.delete("", status_code=204)
async def log_out(request: Request, caller: Anyone, *, runtime: Shared) -> Response:
    """End the session."""
    secret = request.cookies.get(COOKIE)
    if secret:
        await runtime.store.write(end_session, secret)
        entry = AuditEntry(actor=caller.id, action="session.log_out", subject=caller.id)
        await runtime.store.write(append_audit, entry, at=runtime.clock())
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=runtime.secure_cookies)
    return answer
