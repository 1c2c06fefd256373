"""Queries about edges: enrolment by one-time tokens, nonces, revocation, what an edge says about itself, and commands."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from gateway.store.dialect import insert_into, inserted
from gateway.store.tables import commands, edge_nonces, edge_tokens, edges
from gateway.store.types import as_text
from gateway.views import EdgeView
from models.errors import Conflict, Forbidden, NotFound
from models.link import CLOCK_WINDOW_S, Command, EdgeStatus, Result

TOKEN_LIFE = timedelta(hours=1)
ONLINE_FOR = timedelta(seconds=45)
NONCE_LIFE = timedelta(seconds=2 * CLOCK_WINDOW_S + 60)
ENDED_COMMANDS_LIFE = timedelta(days=30)


class EdgeIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Name an enrolled edge and the key that its signatures are checked with (base64 of 32 bytes)."""

    id: str
    site_id: str
    public_key: str


def hashed(secret: str) -> str:
    """Return the hex SHA-256 under which a random token is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_edge_token(
    connection: Connection, token: str, *, site_id: str, at: datetime, life: timedelta = TOKEN_LIFE
) -> None:
    """Keep the hash of a one-time enrolment token, good for an hour unless said otherwise."""
    values = {"token_hash": hashed(token), "site_id": site_id, "expires_at": at + life}
    connection.execute(insert(edge_tokens).values(**values))


def enrol_edge(
    connection: Connection, token: str, *, edge_id: str, name: str, public_key: str, at: datetime
) -> EdgeIdentity:
    """Enrol an edge and spend its token. The same edge, key and token again (a lost answer) change nothing.

    Raises:
        Forbidden: the token is unknown, spent or too old.
        Conflict: another key is enrolled under this id: revoke it first.
    """
    row = connection.execute(select(edge_tokens).where(edge_tokens.c.token_hash == hashed(token))).first()
    if row is None or row.expires_at <= at:
        raise Forbidden(
            "the enrolment token is unknown or older than an hour: make a new one with `gatehouse edge token`"
        )
    known = connection.execute(select(edges).where(edges.c.id == edge_id)).first()
    if row.used_at is not None:
        if known is None or known.public_key != public_key or row.used_by != edge_id or known.revoked_at is not None:
            raise Forbidden("the enrolment token was used already: make a new one with `gatehouse edge token`")
        return EdgeIdentity(id=edge_id, site_id=row.site_id, public_key=public_key)
    if known is not None and known.public_key != public_key and known.revoked_at is None:
        raise Conflict(f"edge {edge_id!r} is enrolled with another key: revoke it first with `gatehouse edge revoke`")
    values = {"site_id": row.site_id, "name": name, "public_key": public_key, "enrolled_at": at, "revoked_at": None}
    upsert = insert_into(connection, edges).values(id=edge_id, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=values))
    spend = update(edge_tokens).where(edge_tokens.c.token_hash == row.token_hash, edge_tokens.c.used_at.is_(None))
    if connection.execute(spend.values(used_at=at, used_by=edge_id)).rowcount != 1:
        raise Forbidden("the enrolment token was used already")
    return EdgeIdentity(id=edge_id, site_id=row.site_id, public_key=public_key)


def edge_identity(connection: Connection, edge_id: str) -> EdgeIdentity | None:
    """Return an edge that is enrolled and not revoked, or None."""
    row = connection.execute(select(edges).where(edges.c.id == edge_id, edges.c.revoked_at.is_(None))).first()
    return None if row is None else EdgeIdentity(id=row.id, site_id=row.site_id, public_key=row.public_key)


def spend_nonce(connection: Connection, nonce: str, *, edge_id: str, at: datetime) -> bool:
    """Remember a nonce and that the edge was heard; return False if the nonce was seen before."""
    insertion = insert_into(connection, edge_nonces).values(edge_id=edge_id, nonce=nonce, seen_at=at)
    fresh = insertion.on_conflict_do_nothing(index_elements=["edge_id", "nonce"])
    if not inserted(connection, fresh, key=edge_nonces.c.nonce):
        return False
    connection.execute(update(edges).where(edges.c.id == edge_id).values(seen_at=at))
    return True


def drop_old_nonces(connection: Connection, *, at: datetime) -> int:
    """Delete nonces so old that their time is refused anyway."""
    return connection.execute(delete(edge_nonces).where(edge_nonces.c.seen_at < at - NONCE_LIFE)).rowcount


def revoke_edge(connection: Connection, edge_id: str, *, at: datetime) -> None:
    """Refuse an edge from now on.

    Raises:
        NotFound: no such edge.
    """
    if connection.execute(update(edges).where(edges.c.id == edge_id).values(revoked_at=at)).rowcount == 0:
        raise NotFound("edge", edge_id)


def keep_edge_status(connection: Connection, status: EdgeStatus) -> None:
    """Keep what an edge says about itself, without its devices (they have rows of their own)."""
    short = msgspec.structs.replace(status, doors=(), cameras=())
    connection.execute(update(edges).where(edges.c.id == status.edge_id).values(status=as_text(short)))


def edge_views(connection: Connection, *, site_ids: frozenset[str] | None, at: datetime) -> list[EdgeView]:
    """Return the edges of some sites (None: all) by id."""
    query = select(edges).order_by(edges.c.id)
    if site_ids is not None:
        query = query.where(edges.c.site_id.in_(site_ids))
    views = []
    for row in connection.execute(query):
        told = msgspec.json.decode(row.status, type=EdgeStatus) if row.status else None
        views.append(
            EdgeView(
                id=row.id, name=row.name, site_id=row.site_id, enrolled_at=row.enrolled_at, revoked_at=row.revoked_at,
                seen_at=row.seen_at, online=row.seen_at is not None and at - row.seen_at < ONLINE_FOR,
                backlog=told.backlog if told else 0, policy=told.policy if told else None,
                counters=told.counters if told else {},
            )
        )  # fmt: skip
    return views


def add_command(connection: Connection, command: Command, *, edge_id: str, at: datetime) -> None:
    """Keep a command until its edge fetches it or its deadline passes."""
    connection.execute(
        insert(commands).values(
            id=command.id, edge_id=edge_id, kind=str(command.__struct_config__.tag), body=as_text(command),
            created_at=at, deadline=command.deadline,
        )
    )  # fmt: skip


def take_commands(connection: Connection, edge_id: str, *, at: datetime) -> list[Command]:
    """Hand out an edge's waiting commands, each once and never after its deadline."""
    waiting = (commands.c.edge_id == edge_id) & commands.c.delivered_at.is_(None) & (commands.c.deadline > at)
    query = select(commands.c.id, commands.c.body).where(waiting).order_by(commands.c.created_at, commands.c.id)
    rows = connection.execute(query.with_for_update(skip_locked=True)).all()
    ids = [row.id for row in rows]
    if ids:
        connection.execute(update(commands).where(commands.c.id.in_(ids)).values(delivered_at=at))
    return [msgspec.json.decode(row.body, type=Command) for row in rows]


def commands_wait(connection: Connection, edge_id: str, *, at: datetime) -> bool:
    """Return whether an edge has a command to fetch."""
    waiting = (commands.c.edge_id == edge_id) & commands.c.delivered_at.is_(None) & (commands.c.deadline > at)
    return connection.execute(select(commands.c.id).where(waiting).limit(1)).first() is not None


def unended_commands(connection: Connection, *, at: datetime) -> list[tuple[str, Command]]:
    """Return the commands about faces that have not ended and may still be carried out, each with its edge."""
    about_faces = commands.c.kind.in_(("enrol_face", "erase_face"))
    query = select(commands.c.edge_id, commands.c.body).where(about_faces, commands.c.ended_at.is_(None))
    rows = connection.execute(query.where(commands.c.deadline > at)).all()
    return [(row.edge_id, msgspec.json.decode(row.body, type=Command)) for row in rows]


def keep_result(connection: Connection, result: Result, *, edge_id: str) -> Command | None:
    """Keep the end of a command and return the command; None if it is not this edge's or has ended before."""
    own = (commands.c.id == result.command_id) & (commands.c.edge_id == edge_id) & commands.c.ended_at.is_(None)
    row = connection.execute(select(commands.c.body).where(own)).first()
    if row is None:
        return None
    connection.execute(update(commands).where(own).values(result=as_text(result), ended_at=result.at))
    command: Command = msgspec.json.decode(row.body, type=Command)
    return command


def result_of(connection: Connection, command_id: str) -> Result | None:
    """Return how a command ended, or None if it has not."""
    text = connection.execute(select(commands.c.result).where(commands.c.id == command_id)).scalar()
    return None if text is None else msgspec.json.decode(text, type=Result)


def drop_old_commands(connection: Connection, *, at: datetime) -> int:
    """Delete commands whose deadline passed a month ago; what was done is in the audit log."""
    return connection.execute(delete(commands).where(commands.c.deadline < at - ENDED_COMMANDS_LIFE)).rowcount
