"""Which users and tokens a security administrator may see: those whose scope lies within the administrator's own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from gateway.auth.roles import Caller
from gateway.store.role_changes import waiting_scopes
from gateway.store.tables_access import api_tokens
from gateway.store.types import doors_of
from gateway.store.users import User, user_by_id, user_list
from models.errors import NotFound

Scope = tuple[tuple[str, ...], tuple[str, ...]]


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """Show a machine's token without its secret."""

    id: str
    name: str
    role: str
    sites: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


def _sees(caller: Caller, account: User | Token, waiting: dict[str, Scope]) -> bool:
    sites, areas = account.sites, account.areas
    if not sites and not areas:  # new: judged by the scope that was asked for
        sites, areas = waiting.get(account.id, ((), ()))
    return caller.everywhere or (bool(sites or areas) and caller.covers(sites, areas))


def users_for(connection: Connection, caller: Caller, *, after: str = "", limit: int | None = None) -> list[User]:
    """Return the users whom the caller may see, by name, after a name."""
    waiting = waiting_scopes(connection)
    return [user for user in user_list(connection) if user.username > after and _sees(caller, user, waiting)][:limit]


def user_for(connection: Connection, caller: Caller, *, user_id: str) -> User:
    """Return a user whom the caller may see.

    Raises:
        NotFound: there is none, or none in the caller's scope.
    """
    found = user_by_id(connection, user_id)
    if not _sees(caller, found, waiting_scopes(connection)):
        raise NotFound("user", user_id)
    return found


def tokens_for(connection: Connection, caller: Caller, *, after: str = "", limit: int | None = None) -> list[Token]:
    """Return the tokens that the caller may see, by id, after an id."""
    waiting = waiting_scopes(connection)
    rows = connection.execute(select(api_tokens).where(api_tokens.c.id > after).order_by(api_tokens.c.id))
    return [token for token in map(_token, rows) if _sees(caller, token, waiting)][:limit]


def token_for(connection: Connection, caller: Caller, *, token_id: str) -> Token:
    """Return a token that the caller may see.

    Raises:
        NotFound: there is none, or none in the caller's scope.
    """
    row = connection.execute(select(api_tokens).where(api_tokens.c.id == token_id)).first()
    found = None if row is None else _token(row)
    if found is None or not _sees(caller, found, waiting_scopes(connection)):
        raise NotFound("token", token_id)
    return found


def actors_in_scope(connection: Connection, caller: Caller) -> frozenset[str]:
    """Return the ids of all users and tokens that lie within the caller's scope, and the caller's own."""
    people, machines = users_for(connection, caller), tokens_for(connection, caller)
    return frozenset({caller.id, *(user.id for user in people), *(token.id for token in machines)})


def _token(row: Row[Any]) -> Token:
    values = {name: getattr(row, name) for name in Token.__struct_fields__}
    return Token(**{**values, "sites": doors_of(row.sites), "areas": doors_of(row.areas)})
