"""Queries about users, sessions and machine tokens. Secrets are kept as hashes only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.auth.passwords import lock_after
from gateway.auth.roles import Caller, check_role
from gateway.store.edges import hashed
from gateway.store.scopes import sites_in
from gateway.store.tables_access import api_tokens, idempotency, sessions, users
from gateway.store.types import as_text, doors_of
from models.errors import Conflict, NotFound

TOUCH_EVERY = timedelta(seconds=60)
REPEATABLE_FOR = timedelta(hours=24)
UNENDED_FOR = timedelta(seconds=60)
"""How long a request that did not end keeps its key; none takes longer (gateway.enrolment waits 20 s)."""


class SessionRules(msgspec.Struct, frozen=True, kw_only=True):
    """Say how long sessions last and how guessing is slowed; the defaults are those of the settings."""

    idle: timedelta = timedelta(minutes=30)
    lifetime: timedelta = timedelta(hours=12)
    attempts: int = 5
    lockout: timedelta = timedelta(minutes=15)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a user of the console: `sites` are ids or `*`, `areas` are codes whose sites are in scope."""

    id: str
    username: str
    unit: str = ""
    """Where the user works, for the audit log: a police station, a property company."""
    role: str
    sites: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    created_at: datetime
    disabled_at: datetime | None = None
    locked_until: datetime | None = None
    version: int = 1


def _user(row: object) -> User:
    values = {name: getattr(row, name) for name in User.__struct_fields__}
    return User(**{**values, "sites": doors_of(values["sites"]), "areas": doors_of(values["areas"])})


def add_user(connection: Connection, user: User, *, password_hash: str) -> None:
    """Write a new user.

    Raises:
        Conflict: the name is taken.
    """
    if connection.execute(select(users.c.id).where(users.c.username == user.username)).first() is not None:
        raise Conflict(f"a user named {user.username!r} exists already")
    values = {**msgspec.structs.asdict(user), "sites": as_text(user.sites), "areas": as_text(user.areas)}
    connection.execute(insert(users).values(**values, password_hash=password_hash, failures=0))


def user_list(connection: Connection) -> list[User]:
    """Return all users by name."""
    return [_user(row) for row in connection.execute(select(users).order_by(users.c.username))]


def user_for_login(connection: Connection, username: str) -> tuple[User, str] | None:
    """Return a user and the password's hash, or None."""
    row = connection.execute(select(users).where(users.c.username == username)).first()
    return None if row is None else (_user(row), str(row.password_hash))


def note_failure(connection: Connection, user_id: str, *, rules: SessionRules, at: datetime) -> timedelta:
    """Count a failed log-in and lock the user as long as the count asks for; return that time."""
    counted = update(users).where(users.c.id == user_id).values(failures=users.c.failures + 1)
    failures = connection.execute(counted.returning(users.c.failures)).scalar_one()  # others count at the same time
    wait = lock_after(failures, attempts=rules.attempts, longest=rules.lockout)
    until = at + wait if wait else None
    connection.execute(update(users).where(users.c.id == user_id).values(locked_until=until))
    return wait


def user_by_id(connection: Connection, user_id: str) -> User:
    """Return a user.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(users).where(users.c.id == user_id)).first()
    if row is None:
        raise NotFound("user", user_id)
    return _user(row)


def disable_user(connection: Connection, username: str, *, at: datetime) -> None:
    """Shut a user out, sessions included.

    Raises:
        NotFound: there is none of that name.
    """
    change_user(connection, _id_of(connection, username), disabled_at=at)


def set_password(connection: Connection, username: str, *, password_hash: str) -> None:
    """Give a user a new password, end the sessions and unlock.

    Raises:
        NotFound: there is none of that name.
    """
    unlocked: dict[str, Any] = {"failures": 0, "locked_until": None}
    change_user(connection, _id_of(connection, username), password_hash=password_hash, **unlocked)


def change_user(connection: Connection, user_id: str, **values: Any) -> User:
    """Change columns of a user and return the user; whoever loses the password or the access loses the sessions too."""
    changed = update(users).where(users.c.id == user_id).values(**values, version=users.c.version + 1)
    connection.execute(changed)
    if values.get("disabled_at") or "password_hash" in values:
        connection.execute(delete(sessions).where(sessions.c.user_id == user_id))
    return user_by_id(connection, user_id)


def _id_of(connection: Connection, username: str) -> str:
    user_id = connection.execute(select(users.c.id).where(users.c.username == username)).scalar()
    if user_id is None:
        raise NotFound("user", username)
    return str(user_id)


def start_session(connection: Connection, secret: str, *, user_id: str, rules: SessionRules, at: datetime) -> None:
    """Keep the hash of a session's secret; forget failures and sessions that have ended."""
    connection.execute(update(users).where(users.c.id == user_id).values(failures=0, locked_until=None))
    connection.execute(delete(sessions).where(sessions.c.expires_at <= at))
    values = {"id_hash": hashed(secret), "user_id": user_id, "created_at": at, "seen_at": at}
    connection.execute(insert(sessions).values(**values, expires_at=at + rules.lifetime))


def end_session(connection: Connection, secret: str) -> None:
    """Forget a session."""
    connection.execute(delete(sessions).where(sessions.c.id_hash == hashed(secret)))


def caller_of_session(
    connection: Connection, secret: str, *, rules: SessionRules, at: datetime
) -> tuple[Caller, bool] | None:
    """Return whose session it is and whether it should be touched; None if it ended, idled out or the user is disabled."""
    query = select(sessions.c.seen_at, sessions.c.expires_at, users).join(users, users.c.id == sessions.c.user_id)
    row = connection.execute(query.where(sessions.c.id_hash == hashed(secret))).first()
    if row is None or row.disabled_at is not None or at >= row.expires_at or at - row.seen_at >= rules.idle:
        return None
    caller = _caller(connection, row, name=row.username)
    return caller, at - row.seen_at >= min(TOUCH_EVERY, rules.idle / 4)


def touch_session(connection: Connection, secret: str, *, at: datetime) -> None:
    """Note that a session is in use."""
    connection.execute(update(sessions).where(sessions.c.id_hash == hashed(secret)).values(seen_at=at))


def add_api_token(connection: Connection, secret: str, *, owner: User, expires_at: datetime | None = None) -> None:
    """Keep the hash of a machine's token under the name, role and scope of `owner`, who is no user of the console."""
    connection.execute(
        insert(api_tokens).values(
            id=owner.id, token_hash=hashed(secret), name=owner.username, role=owner.role, sites=as_text(owner.sites),
            areas=as_text(owner.areas), created_at=owner.created_at, expires_at=expires_at,
        )
    )  # fmt: skip


def caller_of_token(connection: Connection, secret: str, *, at: datetime) -> Caller | None:
    """Return the machine that a token belongs to; None if it is unknown, revoked or over."""
    row = connection.execute(select(api_tokens).where(api_tokens.c.token_hash == hashed(secret))).first()
    if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= at):
        return None
    return msgspec.structs.replace(_caller(connection, row, name=row.name), machine=True)


def _caller(connection: Connection, row: Row[Any], *, name: str) -> Caller:
    site_ids, area_codes = doors_of(row.sites), doors_of(row.areas)
    return Caller(
        id=row.id, username=name, role=check_role(row.role), everywhere="*" in site_ids, areas=frozenset(area_codes),
        sites=sites_in(connection, site_ids=site_ids, area_codes=area_codes),
    )  # fmt: skip


def revoke_api_token(connection: Connection, token_id: str, *, at: datetime) -> None:
    """Refuse a machine's token from now on.

    Raises:
        NotFound: there is no such token.
    """
    if connection.execute(update(api_tokens).where(api_tokens.c.id == token_id).values(revoked_at=at)).rowcount == 0:
        raise NotFound("token", token_id)


def begin_request(connection: Connection, key: str, *, digest: str, at: datetime) -> tuple[int, str] | None:
    """Claim an idempotency key for a request; return the answer given before if it is a repetition.

    Raises:
        Conflict: the key was used for another request, or the first one is still running.
    """
    drop_old_requests(connection, at=at)
    row = connection.execute(select(idempotency).where(idempotency.c.key == key)).first()
    if row is None:
        connection.execute(insert(idempotency).values(key=key, request_digest=digest, created_at=at))
        return None
    if row.request_digest != digest:
        raise Conflict("this Idempotency-Key was used for another request")
    if row.status is None and row.created_at > at - UNENDED_FOR:
        raise Conflict("the first request with this Idempotency-Key has not ended: try again in a minute")
    if row.status is None:  # the process that began it is gone
        same = (idempotency.c.key == key) & (idempotency.c.created_at == row.created_at)
        if connection.execute(update(idempotency).where(same).values(created_at=at)).rowcount == 0:
            raise Conflict("the first request with this Idempotency-Key has not ended: try again in a minute")
        return None
    return int(row.status), str(row.body)


def drop_old_requests(connection: Connection, *, at: datetime) -> int:
    """Forget answers that are kept no longer for repetitions, and return how many there were."""
    return connection.execute(delete(idempotency).where(idempotency.c.created_at < at - REPEATABLE_FOR)).rowcount


def end_request(connection: Connection, key: str, *, status: int, body: str) -> None:
    """Keep the answer to a request for its repetitions."""
    connection.execute(update(idempotency).where(idempotency.c.key == key).values(status=status, body=body))


def forget_request(connection: Connection, key: str) -> None:
    """Give a key back, because its request failed and may be tried again."""
    connection.execute(delete(idempotency).where(idempotency.c.key == key))
