"""Users of the console: who there is, and what becomes of them. A role is granted by a second person (R36), see roles."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateway.api.deps import Key, Shared, allowed, new_id, once
from gateway.api.replies import Page, etag_of, reply, shows, version_in
from gateway.auth.passwords import MAX_LENGTH, MIN_LENGTH, hash_password
from gateway.auth.roles import Caller, Role
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.accounts import user_for, users_for
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.role_changes import NO_RIGHTS, RoleChange, ask_role
from gateway.store.users import User, add_user, change_user
from models.errors import Conflict, Forbidden, InvalidInput, NotFound
from models.places import check_id

router = APIRouter(prefix="/api/v1/users", tags=["users"])
Reader = Annotated[Caller, Depends(allowed("users:read"))]
Writer = Annotated[Caller, Depends(allowed("users:write", stated=True))]
IfMatch = Annotated[str | None, Header(max_length=64)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\s\x00-\x1f\x7f](.*[^\s\x00-\x1f\x7f])?$")]
Unit = Annotated[str, Field(max_length=128)]
Password = Annotated[SecretStr, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)]
SiteIds = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=500)]
AreaCodes = Annotated[list[Annotated[str, Field(pattern=r"^[0-9]{6,15}$")]], Field(max_length=500)]


class Grant(BaseModel):
    """Ask for a role and a scope: `sites` are ids or `*`, `areas` are codes whose sites are in scope."""

    model_config = ConfigDict(extra="forbid")
    role: Role
    sites: SiteIds = []
    areas: AreaCodes = []


class NewUser(Grant):
    """Name a new user, with a first password and the role that a second person is asked to grant."""

    username: Name
    unit: Unit = ""
    password: Password


class UserChange(BaseModel):
    """Change where a user works."""

    model_config = ConfigDict(extra="forbid")
    unit: Unit


class PasswordBody(BaseModel):
    """Give a new password."""

    model_config = ConfigDict(extra="forbid")
    password: Password


def request_for(account_id: str, grant: Grant, *, caller: Caller, runtime: Runtime) -> RoleChange:
    """Return a request for a role within the caller's own scope.

    Raises:
        InvalidInput: the scope is empty, or an id is none.
        NotFound: a site or area is outside the caller's scope.
    """
    sites, areas = tuple(dict.fromkeys(grant.sites)), tuple(dict.fromkeys(grant.areas))
    if not sites and not areas:
        raise InvalidInput("sites", "name at least one site or area")
    for site_id in sites:
        if site_id != "*" and not caller.covers([check_id(site_id, "sites")], ()):
            raise NotFound("site", site_id)
    if not caller.covers(sites, areas):
        raise NotFound("area", areas[0] if areas else "*")
    return RoleChange(
        id=new_id("rc"), user_id=account_id, role=grant.role, sites=sites, areas=areas, reason=caller.reason,
        asked_by=caller.id, asked_at=runtime.clock(),
    )  # fmt: skip


def ask(connection: Connection, change: RoleChange, *, caller: Caller) -> None:
    """Write a request for a role, and that it was asked for."""
    ask_role(connection, change)
    detail = {"change": change.id, "role": change.role}
    entry = AuditEntry(actor=caller.id, action="role.ask", subject=change.user_id, detail=detail, reason=change.reason)
    append_audit(connection, entry, at=change.asked_at)


def record(connection: Connection, caller: Caller, *, action: str, subject: str, runtime: Runtime) -> None:
    """Put an act about an account on record."""
    entry = AuditEntry(actor=caller.id, action=action, subject=subject, reason=caller.reason)
    append_audit(connection, entry, at=runtime.clock())


async def hashed(runtime: Runtime, password: SecretStr) -> str:
    """Return the hash of a new password, made beside the event loop and not too many at once."""
    async with runtime.hashing:
        return await asyncio.to_thread(hash_password, password.get_secret_value())


@router.get("", **shows(Page[User]))
async def list_users(
    caller: Reader, runtime: Shared, *, cursor: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List the users in scope by name."""

    def listed(connection: Connection) -> list[User]:
        record(connection, caller, action="user.list", subject="", runtime=runtime)
        return users_for(connection, caller, after=cursor, limit=limit + 1)

    found = await runtime.store.write(listed)
    return reply(Page(items=found[:limit], next=found[limit - 1].username if len(found) > limit else None))


@router.post("", **shows(User, 201, about="Added, without any right until somebody else approves the role."))
async def create_user(body: NewUser, request: Request, *, caller: Writer, runtime: Shared, key: Key = None) -> Response:
    """Add a user, and ask for the role: until another security administrator approves, the user sees nothing."""
    at = runtime.clock()
    user = User(id=new_id("u"), username=body.username, unit=body.unit, role=NO_RIGHTS, created_at=at)
    change = request_for(user.id, body, caller=caller, runtime=runtime)

    def add(connection: Connection, password_hash: str) -> User:
        add_user(connection, user, password_hash=password_hash)
        record(connection, caller, action="user.add", subject=user.id, runtime=runtime)
        ask(connection, change, caller=caller)
        return user

    async def work() -> Response:
        return reply(await runtime.store.write(add, await hashed(runtime, body.password)), 201, headers=etag_of(1))

    return await once(request, runtime, caller=caller, key=key, work=work)


@router.get("/{user_id}", **shows(User))
async def show_user(user_id: str, caller: Reader, *, runtime: Shared) -> Response:
    """Show a user."""

    def look(connection: Connection) -> User:
        record(connection, caller, action="user.look_up", subject=user_id[:64], runtime=runtime)
        return user_for(connection, caller, user_id=user_id)

    user = await runtime.store.write(look)
    return reply(user, headers=etag_of(user.version))


async def changed(runtime: Runtime, caller: Caller, *, user_id: str, action: str, version: int | None,
                  values: dict[str, Any]) -> Response:  # fmt: skip
    """Change a user in scope and answer with what came of it.

    Raises:
        Conflict: the user changed since the caller looked.
    """

    def act(connection: Connection) -> User:
        user = user_for(connection, caller, user_id=user_id)
        if version is not None and user.version != version:
            raise Conflict(f"the user changed meanwhile (version {user.version}, you saw {version}): load it again")
        record(connection, caller, action=action, subject=user_id, runtime=runtime)
        return change_user(connection, user_id, **values)

    user = await runtime.store.write(act)
    return reply(user, headers=etag_of(user.version))


@router.patch("/{user_id}", **shows(User))
async def patch_user(
    user_id: str, body: UserChange, *, caller: Writer, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change where a user works."""
    return await changed(
        runtime, caller, user_id=user_id, action="user.change", version=version_in(if_match), values={"unit": body.unit}
    )


@router.post("/{user_id}/disable", **shows(User))
async def disable(user_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Shut a user out at once, sessions included."""
    if user_id == caller.id:
        raise Conflict("somebody else disables you")
    values = {"disabled_at": runtime.clock()}
    return await changed(runtime, caller, user_id=user_id, action="user.disable", version=None, values=values)


@router.post("/{user_id}/enable", **shows(User))
async def enable(user_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Let a user in again who was disabled or is locked out."""
    values = {"disabled_at": None, "failures": 0, "locked_until": None}
    return await changed(runtime, caller, user_id=user_id, action="user.enable", version=None, values=values)


@router.put("/{user_id}/password", **shows(User))
async def reset_password(user_id: str, body: PasswordBody, *, caller: Writer, runtime: Shared) -> Response:
    """Give a user who forgot the password a new one; every session of the user ends.

    Not that of a security administrator: who could set it could also approve in that name.
    """
    user = await runtime.store.read(user_for, caller, user_id=user_id)
    if user.role == "security_administrator":
        raise Forbidden("a security administrator's password is changed by its owner, or on the gateway's machine")
    values = {"password_hash": await hashed(runtime, body.password), "failures": 0, "locked_until": None}
    return await changed(runtime, caller, user_id=user_id, action="user.password", version=user.version, values=values)


@router.post("/{user_id}/roles", **shows(RoleChange, 201, about="Asked; it changes nothing until it is approved."))
async def ask_for_role(
    user_id: str, body: Grant, *, request: Request, caller: Writer, runtime: Shared,
    key: Key = None,
) -> Response:  # fmt: skip
    """Ask that a user gets another role or scope."""
    change = request_for(user_id, body, caller=caller, runtime=runtime)

    def act(connection: Connection) -> RoleChange:
        user_for(connection, caller, user_id=user_id)
        ask(connection, change, caller=caller)
        return change

    async def work() -> Response:
        return reply(await runtime.store.write(act), 201)

    return await once(request, runtime, caller=caller, key=key, work=work)
