"""Queries about who shall have which role: asked by one security administrator, decided by another (R36).

A new user or token begins without any right and gets its role and scope the same way.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, insert, select, tuple_, update

from gateway.auth.roles import Caller, Role, check_role
from gateway.store.tables_access import api_tokens, role_changes, users
from gateway.store.types import as_text, doors_of
from models.errors import Conflict, Forbidden, NotFound

NO_RIGHTS: Role = "guard"
"""The role until somebody else has agreed to another: without a scope it sees nothing."""
GOOD_FOR = timedelta(days=7)
Decision = Literal["approved", "rejected"]


class RoleChange(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a user or token shall become, who asked and why, and who decided."""

    id: str
    user_id: str
    role: Role
    sites: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    reason: str
    asked_by: str
    asked_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision: Decision | None = None


def _change(row: Row[Any]) -> RoleChange:
    values = {name: getattr(row, name) for name in RoleChange.__struct_fields__}
    lists = {"sites": doors_of(row.sites), "areas": doors_of(row.areas), "role": check_role(row.role)}
    return RoleChange(**{**values, **lists})


def ask_role(connection: Connection, change: RoleChange) -> None:
    """Write a request for a role; it changes nothing yet.

    Raises:
        Conflict: another one about the same user or token waits.
    """
    open_since = change.asked_at - GOOD_FOR
    same = (role_changes.c.user_id == change.user_id) & role_changes.c.decision.is_(None)
    waiting = select(role_changes.c.id).where(same, role_changes.c.asked_at > open_since)
    if connection.execute(waiting).first() is not None:
        raise Conflict("a change of this role waits for a decision: decide about it first")
    values = {**msgspec.structs.asdict(change), "sites": as_text(change.sites), "areas": as_text(change.areas)}
    connection.execute(insert(role_changes).values(**values))


def waiting_scopes(connection: Connection) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the scope that each user or token is to get, of those about whom nobody has decided."""
    rows = connection.execute(select(role_changes).where(role_changes.c.decision.is_(None)))
    return {row.user_id: (doors_of(row.sites), doors_of(row.areas)) for row in rows}


def role_changes_of(
    connection: Connection, caller: Caller, *, waiting: bool, before: tuple[datetime, str] | None, limit: int
) -> list[RoleChange]:
    """Return requests within the caller's scope, newest first."""
    query = select(role_changes).order_by(role_changes.c.asked_at.desc(), role_changes.c.id.desc())
    if waiting:
        query = query.where(role_changes.c.decision.is_(None))
    if before is not None:
        query = query.where(tuple_(role_changes.c.asked_at, role_changes.c.id) < before)
    found: list[RoleChange] = []
    for row in connection.execute(query, execution_options={"yield_per": 200}):
        change = _change(row)
        if caller.covers(change.sites, change.areas):
            found.append(change)
        if len(found) == limit:
            break
    return found


def role_change_for(connection: Connection, caller: Caller, *, change_id: str) -> RoleChange:
    """Return a request within the caller's scope.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    row = connection.execute(select(role_changes).where(role_changes.c.id == change_id)).first()
    change = None if row is None else _change(row)
    if change is None or not caller.covers(change.sites, change.areas):
        raise NotFound("role change", change_id)
    return change


def decide_role(
    connection: Connection, change: RoleChange, *, decision: Decision, caller: Caller, at: datetime
) -> RoleChange:
    """Approve or reject a request; an approved one takes effect at once.

    Raises:
        Conflict: somebody decided before, or the request is too old.
        Forbidden: the caller asked for it, is the one whom it is about, or is a machine.
    """
    if change.decision is not None:
        raise Conflict(f"this was {change.decision} before")
    if decision == "approved":
        _check_second(change, caller, at=at)
        _grant(connection, change)
    values: dict[str, Any] = {"decision": decision, "decided_by": caller.id, "decided_at": at}
    open_one = (role_changes.c.id == change.id) & role_changes.c.decision.is_(None)
    if connection.execute(update(role_changes).where(open_one).values(**values)).rowcount == 0:
        raise Conflict("somebody decides about this right now")
    return msgspec.structs.replace(change, **values)


def _check_second(change: RoleChange, caller: Caller, *, at: datetime) -> None:
    if caller.id in {change.asked_by, change.user_id} or caller.machine:
        raise Forbidden("a second person decides: neither who asked, nor whom it is about, nor a machine")
    if at - change.asked_at > GOOD_FOR:
        raise Conflict(f"this was asked more than {GOOD_FOR.days} days ago: ask again")


def _grant(connection: Connection, change: RoleChange) -> None:
    values = {"role": change.role, "sites": as_text(change.sites), "areas": as_text(change.areas)}
    own = update(users).where(users.c.id == change.user_id).values(**values, version=users.c.version + 1)
    if connection.execute(own).rowcount == 0:
        connection.execute(update(api_tokens).where(api_tokens.c.id == change.user_id).values(**values))
