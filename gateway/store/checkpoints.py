"""Signed checkpoints of the audit chain: how far it was and what its last row was, for witnesses outside the database.

Whoever can write the table can also write a new chain; a checkpoint that an edge, a file or a collector keeps shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection, delete, insert, select

from gateway.auth.keys import GatewayKey
from gateway.auth.signatures import signed_by
from gateway.store.dialect import hold_feed
from gateway.store.tables import edges
from gateway.store.tables_access import audit, audit_checkpoints
from models.link import Checkpoint


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """Name who keeps a checkpoint: the database itself, a file, an edge."""

    name: str
    checkpoint: Checkpoint


def checkpoint_statement(seq: int, digest: str, *, at: datetime) -> bytes:
    """Return the bytes that the gateway signs."""
    return "\n".join(("gatehouse-checkpoint-1", str(seq), digest, at.astimezone(UTC).isoformat())).encode()


def make_checkpoint(connection: Connection, key: GatewayKey, *, at: datetime) -> Checkpoint | None:
    """Write and return a checkpoint of the chain as it is; None if nothing was added since the last one."""
    hold_feed(connection)
    last = connection.execute(select(audit.c.seq, audit.c.digest).order_by(audit.c.seq.desc()).limit(1)).first()
    known = latest_checkpoint(connection)
    if last is None or (known is not None and known.seq >= last.seq):
        return None
    signature = key.sign(checkpoint_statement(last.seq, last.digest, at=at))
    made = Checkpoint(seq=last.seq, digest=last.digest, at=at, signature=signature)
    connection.execute(insert(audit_checkpoints).values(**msgspec.structs.asdict(made)))
    return made


def latest_checkpoint(connection: Connection) -> Checkpoint | None:
    """Return the newest checkpoint, or None."""
    found = checkpoints_of(connection, before=None, limit=1)
    return found[0] if found else None


def checkpoints_of(connection: Connection, *, before: int | None, limit: int) -> list[Checkpoint]:
    """Return checkpoints, newest first, before the number of a row."""
    query = select(audit_checkpoints).order_by(audit_checkpoints.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_checkpoints.c.seq < before)
    return [
        Checkpoint(seq=row.seq, digest=row.digest, at=row.at, signature=row.signature)
        for row in connection.execute(query)
    ]


def drop_old_checkpoints(connection: Connection, *, before: datetime) -> int:
    """Delete checkpoints from before a time but for the newest; return how many went."""
    newest = latest_checkpoint(connection)
    old = (audit_checkpoints.c.at < before) & (audit_checkpoints.c.seq < (newest.seq if newest else 0))
    return connection.execute(delete(audit_checkpoints).where(old)).rowcount


def witnesses(connection: Connection) -> list[Witness]:
    """Return what the database and the edges keep: all our checkpoints, and the newest that each edge reported."""
    own = [Witness(name="database", checkpoint=each) for each in checkpoints_of(connection, before=None, limit=10_000)]
    rows = connection.execute(select(edges.c.id, edges.c.checkpoint).where(edges.c.checkpoint.is_not(None)))
    told = [(row.id, msgspec.json.decode(row.checkpoint, type=Checkpoint)) for row in rows]
    return own + [Witness(name=f"edge {edge_id}", checkpoint=checkpoint) for edge_id, checkpoint in told]


def contradictions(connection: Connection, kept: Iterable[Witness], *, public_key: str) -> list[str]:
    """Return what the witnesses say against the chain; nothing means that they agree with it."""
    faults = []
    for witness in kept:
        told = witness.checkpoint
        if not signed_by(public_key, told.signature, checkpoint_statement(told.seq, told.digest, at=told.at)):
            faults.append(f"{witness.name}: the checkpoint of row {told.seq} is not signed by this gateway")
            continue
        digest = connection.execute(select(audit.c.digest).where(audit.c.seq == told.seq)).scalar()
        if digest is None:
            faults.append(f"{witness.name}: row {told.seq} is missing, it was there at {told.at.isoformat()}")
        elif digest != told.digest:
            faults.append(
                f"{witness.name}: the chain up to row {told.seq} was written anew after {told.at.isoformat()}"
            )
    return faults
