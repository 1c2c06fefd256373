"""Queries about edges: enrolment by one-time tokens, nonces, revocation, what an edge says about itself, and commands."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from gateway.store.dialect import insert_into, inserted
from gateway.store.sealed import unwrapped, wrapped
from gateway.store.tables import cameras, commands, controllers, doors, edge_nonces, edge_tokens, edges
from gateway.store.tables_people import face_receipts
from gateway.store.types import as_text
from gateway.views import EdgeView
from models.device_orders import InstallKey, ProbeDevice, TryPart
from models.errors import Conflict, Forbidden, InvalidInput, NotFound
from models.link import CLOCK_WINDOW_S, Command, EdgeStatus, Introduction, Result

TOKEN_LIFE = timedelta(hours=1)
OVER_TOKENS_LIFE = timedelta(days=1)
"""How long a token that is spent or over can still be told from one that never was."""
ONLINE_FOR = timedelta(seconds=45)
NONCE_LIFE = timedelta(seconds=2 * CLOCK_WINDOW_S + 60)
ENDED_COMMANDS_LIFE = timedelta(days=30)
COMMANDS_AT_ONCE = 100
NAME_CHARS = 128


class EdgeIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Name an enrolled edge and the key that its signatures are checked with (base64 of 32 bytes)."""

    id: str
    site_id: str
    public_key: str


def hashed(secret: str) -> str:
    """Return the hex SHA-256 under which a random token is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_edge_token(gateway_key: str) -> str:
    """Return a fresh one-time token that pins the gateway's key: a random part, a dot, the base64url SHA-256 of the key."""
    if not gateway_key:
        return secrets.token_urlsafe(32)
    pin = hashlib.sha256(base64.b64decode(gateway_key)).digest()
    return f"{secrets.token_urlsafe(32)}.{base64.urlsafe_b64encode(pin).decode().rstrip('=')}"


def add_edge_token(
    connection: Connection, token: str, *, site_id: str, at: datetime, life: timedelta = TOKEN_LIFE
) -> None:
    """Keep the hash of a one-time enrolment token, good for an hour unless said otherwise."""
    values = {"token_hash": hashed(token), "site_id": site_id, "expires_at": at + life}
    connection.execute(insert(edge_tokens).values(**values))


def of_another_site(connection: Connection, edge_id: str, *, site_id: str) -> bool:
    """Return whether an edge id is spoken for elsewhere: another site has it, revoked or not, or devices there name it."""
    for table in (edges, doors, cameras, controllers):
        column = table.c.id if table is edges else table.c.edge_id
        query = select(table.c.id).where(column == edge_id, table.c.site_id != site_id).limit(1)
        if connection.execute(query).first() is not None:
            return True
    return False


def enrol_edge(connection: Connection, told: Introduction, *, at: datetime) -> EdgeIdentity:
    """Enrol an edge and spend its token. The same edge, key and token again (a lost answer) change nothing.

    Raises:
        Forbidden: the token is unknown, spent or too old.
        Conflict: another key is enrolled under this id: revoke it first; or the id is another site's.
    """
    edge_id, key = told.edge_id, told.public_key
    row = connection.execute(select(edge_tokens).where(edge_tokens.c.token_hash == hashed(told.token))).first()
    if row is None or row.expires_at <= at:
        raise Forbidden(
            "the enrolment token is unknown or older than an hour: make a new one with `gatehouse edge token`"
        )
    if of_another_site(connection, edge_id, site_id=row.site_id):
        raise Conflict(
            f"edge id {edge_id!r} is not for this token's site: choose another id, or a token of its own site"
        )
    known = connection.execute(select(edges).where(edges.c.id == edge_id)).first()
    if row.used_at is not None:
        if known is None or known.public_key != key or row.used_by != edge_id or known.revoked_at is not None:
            raise Forbidden("the enrolment token was used already: make a new one with `gatehouse edge token`")
        return EdgeIdentity(id=edge_id, site_id=row.site_id, public_key=key)
    if known is not None and known.public_key != key and known.revoked_at is None:
        raise Conflict(f"edge {edge_id!r} is enrolled with another key: revoke it first with `gatehouse edge revoke`")
    spend = update(edge_tokens).where(edge_tokens.c.token_hash == row.token_hash, edge_tokens.c.used_at.is_(None))
    if connection.execute(spend.values(used_at=at, used_by=edge_id)).rowcount != 1:
        raise Forbidden("the enrolment token was used already")
    if known is not None and known.public_key != key:
        _forget_device(connection, edge_id, at=at)
    values = {
        "site_id": row.site_id, "name": told.name, "public_key": key, "seal_key": told.seal_key, "revoked_at": None,
        "protection": told.protection, "enrolled_at": at,
    }  # fmt: skip
    upsert = insert_into(connection, edges).values(id=edge_id, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=values))
    return EdgeIdentity(id=edge_id, site_id=row.site_id, public_key=key)


def _forget_device(connection: Connection, edge_id: str, *, at: datetime) -> None:
    """Close what was known of the device that had this id before: its templates, checkpoint and orders are not the new one's."""
    gone = (face_receipts.c.edge_id == edge_id) & face_receipts.c.erased_at.is_(None)
    connection.execute(update(face_receipts).where(gone).values(erased_at=at))
    connection.execute(update(edges).where(edges.c.id == edge_id).values(checkpoint=None, status=None))
    waiting = (commands.c.edge_id == edge_id) & commands.c.ended_at.is_(None)
    connection.execute(update(commands).where(waiting).values(ended_at=at))


def edge_identity(connection: Connection, edge_id: str) -> EdgeIdentity | None:
    """Return an edge that is enrolled and not revoked, or None."""
    row = connection.execute(select(edges).where(edges.c.id == edge_id, edges.c.revoked_at.is_(None))).first()
    return None if row is None else EdgeIdentity(id=row.id, site_id=row.site_id, public_key=row.public_key)


def is_enrolled(connection: Connection, edge: EdgeIdentity) -> bool:
    """Return whether an edge is still the one that it was: not revoked, nor enrolled with another key or at another site."""
    return edge_identity(connection, edge.id) == edge


def speaks_for(connection: Connection, source_id: str, *, edge: EdgeIdentity) -> bool:
    """Return whether an edge may report about a door or camera: its own ones, and what nobody knows (any more)."""
    found = select(doors.c.edge_id, doors.c.site_id).where(doors.c.id == source_id)
    found_too = select(cameras.c.edge_id, cameras.c.site_id).where(cameras.c.id == source_id)
    owners = connection.execute(found.union(found_too)).all()
    return not owners or any((row.edge_id, row.site_id) == (edge.id, edge.site_id) for row in owners)


def spend_nonce(connection: Connection, nonce: str, *, edge_id: str, at: datetime) -> bool:
    """Remember a nonce and that the edge was heard; return False if the nonce was seen before."""
    insertion = insert_into(connection, edge_nonces).values(edge_id=edge_id, nonce=nonce, seen_at=at)
    fresh = insertion.on_conflict_do_nothing(index_elements=["edge_id", "nonce"])
    if not inserted(connection, fresh, key=edge_nonces.c.nonce):
        return False
    connection.execute(update(edges).where(edges.c.id == edge_id).values(seen_at=at))
    return True


def drop_old_nonces(connection: Connection, *, at: datetime) -> int:
    """Delete nonces so old that their time is refused anyway, and enrolment tokens that were over yesterday."""
    over = edge_tokens.c.expires_at < at - OVER_TOKENS_LIFE
    return (
        connection.execute(delete(edge_nonces).where(edge_nonces.c.seen_at < at - NONCE_LIFE)).rowcount
        + connection.execute(delete(edge_tokens).where(over)).rowcount
    )


def revoke_edge(connection: Connection, edge_id: str, *, at: datetime) -> None:
    """Refuse an edge from now on.

    Raises:
        NotFound: no such edge.
    """
    if connection.execute(update(edges).where(edges.c.id == edge_id).values(revoked_at=at)).rowcount == 0:
        raise NotFound("edge", edge_id)


def edge_view(connection: Connection, edge_id: str, *, site_ids: frozenset[str], at: datetime) -> EdgeView:
    """Return an edge of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    for view in edge_views(connection, site_ids=site_ids, at=at):
        if view.id == edge_id:
            return view
    raise NotFound("edge", edge_id)


def check_edge_name(name: str) -> str:
    """Return a name without surrounding spaces.

    Raises:
        InvalidInput: it is empty, too long, or has characters that cannot be shown.
    """
    text = name.strip()
    if not text or len(text) > NAME_CHARS or not text.isprintable():
        raise InvalidInput("name", f"use 1 to {NAME_CHARS} printable characters")
    return text


def rename_edge(connection: Connection, edge_id: str, *, name: str, version: int | None) -> None:
    """Give an edge another name; with `version`, only if it has not changed since.

    Raises:
        Conflict: it was changed meanwhile.
    """
    chosen = edges.c.id == edge_id if version is None else (edges.c.id == edge_id) & (edges.c.version == version)
    if connection.execute(update(edges).where(chosen).values(name=name, version=edges.c.version + 1)).rowcount == 0:
        raise Conflict("this edge was changed meanwhile: read it again, then change it")


def keep_edge_status(connection: Connection, status: EdgeStatus) -> None:
    """Keep what an edge says about itself, without its devices (they have rows of their own)."""
    short = msgspec.structs.replace(status, doors=(), cameras=(), tombstones=(), checkpoint=None)
    values = {"status": as_text(short), "protection": status.protection}
    if status.checkpoint is not None:
        values["checkpoint"] = as_text(status.checkpoint)
    connection.execute(update(edges).where(edges.c.id == status.edge_id).values(**values))


def contract_of(connection: Connection, edge_id: str) -> str:
    """Return under which contract an edge says that it compares faces; empty if it did not say."""
    status = connection.execute(select(edges.c.status).where(edges.c.id == edge_id)).scalar()
    return msgspec.json.decode(status, type=EdgeStatus).contract if status else ""


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
                counters=told.counters if told else {}, protection=row.protection,
                templates=told.templates if told else 0, version=row.version,
            )
        )  # fmt: skip
    return views


def add_command(connection: Connection, command: Command, *, edge_id: str, at: datetime) -> None:
    """Keep a command until its edge fetches it or its deadline passes."""
    connection.execute(
        insert(commands).values(
            id=command.id, edge_id=edge_id, kind=str(command.__struct_config__.tag), body=_body(connection, command),
            created_at=at, deadline=command.deadline,
        )
    )  # fmt: skip


def _body(connection: Connection, command: Command) -> str:
    """Return a command as it is kept: wrapped if it holds the credentials of a device."""
    text = as_text(command)
    if isinstance(command, ProbeDevice | TryPart | InstallKey):
        return wrapped(connection, text, about=f"commands.body {command.id}")
    return text


def _command(connection: Connection, key: str, *, body: str) -> Command:
    clear = unwrapped(connection, body, about=f"commands.body {key}")
    command: Command = msgspec.json.decode(clear, type=Command)
    return command


def waiting_commands(
    connection: Connection, edge_id: str, *, at: datetime, without: Iterable[str] = ()
) -> list[Command]:
    """Return the commands of an edge that have neither ended nor passed their deadline, oldest first, some at once."""
    waiting = (commands.c.edge_id == edge_id) & commands.c.ended_at.is_(None) & (commands.c.deadline > at)
    query = select(commands.c.id, commands.c.body).where(waiting).order_by(commands.c.created_at, commands.c.id)
    sent = frozenset(without)
    rows = [row for row in connection.execute(query) if row.id not in sent]
    return [_command(connection, row.id, body=row.body) for row in rows[:COMMANDS_AT_ONCE]]


def mark_delivered(connection: Connection, command_ids: Iterable[str], *, at: datetime) -> None:
    """Note that commands have left for their edge, the first time only; they wait until they have ended all the same."""
    left = commands.c.id.in_(tuple(command_ids)) & commands.c.delivered_at.is_(None)
    connection.execute(update(commands).where(left).values(delivered_at=at))


def commands_wait(connection: Connection, edge_id: str, *, at: datetime) -> bool:
    """Return whether an edge has a command to obey."""
    return bool(waiting_commands(connection, edge_id, at=at))


def unended_commands(connection: Connection, *, at: datetime) -> list[tuple[str, Command]]:
    """Return the commands about faces that have not ended and may still be carried out, each with its edge."""
    about_faces = commands.c.kind.in_(("enrol_face", "enrol_at_door", "erase_face"))
    query = select(commands.c.edge_id, commands.c.body).where(about_faces, commands.c.ended_at.is_(None))
    rows = connection.execute(query.where(commands.c.deadline > at)).all()
    return [(row.edge_id, msgspec.json.decode(row.body, type=Command)) for row in rows]


def keep_result(connection: Connection, result: Result, *, edge_id: str) -> Command | None:
    """Keep the end of a command and return the command; None if it is not this edge's or has ended before."""
    own = (commands.c.id == result.command_id) & (commands.c.edge_id == edge_id) & commands.c.ended_at.is_(None)
    row = connection.execute(select(commands.c.id, commands.c.body).where(own).with_for_update()).first()
    if row is None:
        return None
    connection.execute(update(commands).where(own).values(result=as_text(result), ended_at=result.at))
    return _command(connection, row.id, body=row.body)


def result_of(connection: Connection, command_id: str) -> Result | None:
    """Return how a command ended, or None if it has not."""
    text = connection.execute(select(commands.c.result).where(commands.c.id == command_id)).scalar()
    return None if text is None else msgspec.json.decode(text, type=Result)


def drop_old_commands(connection: Connection, *, at: datetime) -> int:
    """Delete commands whose deadline passed a month ago; what was done is in the audit log."""
    return connection.execute(delete(commands).where(commands.c.deadline < at - ENDED_COMMANDS_LIFE)).rowcount
