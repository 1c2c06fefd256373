"""Tokens of machines: hashed, scoped, ending, revocable, and without a right until a second person agrees (R36)."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from gateway.api.deps import Shared, allowed, new_id
from gateway.api.replies import Page, reply, shows
from gateway.api.users import Grant, Name, ask, record, request_for
from gateway.auth.roles import Caller
from gateway.store import Connection
from gateway.store.accounts import Token, token_for, tokens_for
from gateway.store.role_changes import NO_RIGHTS
from gateway.store.users import User, add_api_token, revoke_api_token
from models.errors import InvalidInput

router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"])
Reader = Annotated[Caller, Depends(allowed("users:read"))]
Writer = Annotated[Caller, Depends(allowed("users:write", stated=True))]
SECRET_BYTES = 32


class NewToken(Grant):
    """Name a new token and the role that a second person is asked to grant."""

    name: Name
    days: Annotated[int, Field(ge=1, le=366)] = 90


class MadeToken(msgspec.Struct, frozen=True, kw_only=True):
    """Show a new token with its secret, this once."""

    id: str
    token: str
    expires_at: str


@router.get("", **shows(Page[Token]))
async def list_tokens(
    caller: Reader, runtime: Shared, *, cursor: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:  # fmt: skip
    """List the tokens in scope, without their secrets."""

    def listed(connection: Connection) -> list[Token]:
        record(connection, caller, action="token.list", subject="", runtime=runtime)
        return tokens_for(connection, caller, after=cursor, limit=limit + 1)

    found = await runtime.store.write(listed)
    return reply(Page(items=found[:limit], next=found[limit - 1].id if len(found) > limit else None))


@router.post("", **shows(MadeToken, 201, about="Shown this once; without any right until the role is approved."))
async def create_token(body: NewToken, *, caller: Writer, runtime: Shared) -> Response:
    """Make a token for a machine. There is no Idempotency-Key here: the answer would be kept, and it holds the secret."""
    if body.role == "security_administrator":
        raise InvalidInput("role", "roles are granted by people: no machine can be a security administrator")
    at, secret = runtime.clock(), f"gh_{secrets.token_urlsafe(SECRET_BYTES)}"
    owner = User(id=new_id("t"), username=body.name, role=NO_RIGHTS, created_at=at)
    until = at + timedelta(days=body.days)
    change = request_for(owner.id, body, caller=caller, runtime=runtime)

    def add(connection: Connection) -> None:
        add_api_token(connection, secret, owner=owner, expires_at=until)
        record(connection, caller, action="token.add", subject=owner.id, runtime=runtime)
        ask(connection, change, caller=caller)

    await runtime.store.write(add)
    return reply(MadeToken(id=owner.id, token=secret, expires_at=until.isoformat()), 201)


@router.delete("/{token_id}", status_code=204)
async def revoke_token(token_id: str, *, caller: Writer, runtime: Shared) -> Response:
    """Refuse a token from now on."""

    def revoke(connection: Connection) -> None:
        token_for(connection, caller, token_id=token_id)
        revoke_api_token(connection, token_id, at=runtime.clock())
        record(connection, caller, action="token.revoke", subject=token_id, runtime=runtime)

    await runtime.store.write(revoke)
    return Response(status_code=204)
