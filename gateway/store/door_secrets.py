"""Passwords and keys of door drivers: kept wrapped in a column of their own, joined with the record for the door's edge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, or_, select, update

from gateway.store.sealed import unwrapped, wrapped
from gateway.store.tables import doors
from gateway.store.types import as_text
from models.driver_secrets import NAMES, Secret, check_same_host, joined, split, still_meant
from models.places import Door

_secrets = msgspec.json.Decoder(tuple[Secret, ...])


def _about(door_id: str) -> str:
    return f"doors.secrets {door_id}"


def _held(connection: Connection, sealed: str, *, door_id: str) -> tuple[Secret, ...]:
    return _secrets.decode(unwrapped(connection, sealed, about=_about(door_id))) if sealed else ()


def _row(connection: Connection, door_id: str) -> Row[Any, Any, Any] | None:
    return connection.execute(select(doors.c.id, doors.c.record, doors.c.secrets).where(doors.c.id == door_id)).first()


def whole_door(connection: Connection, row: Row[Any]) -> Door:
    """Return the door of a row with the secrets of its driver."""
    door = msgspec.json.decode(row.record, type=Door)
    secrets = _held(connection, row.secrets, door_id=row.id)
    return msgspec.structs.replace(door, driver=joined(door.driver, secrets)) if secrets else door


def whole_doors(connection: Connection, door_ids: Iterable[str]) -> list[Door]:
    """Return the doors with these ids, by id, with the secrets of their drivers."""
    rows = connection.execute(select(doors).where(doors.c.id.in_(tuple(door_ids))).order_by(doors.c.id))
    return [whole_door(connection, row) for row in rows]


def doors_sharing(connection: Connection, name: str, *, value: str, kind: str, edge_id: str) -> list[Door]:
    """Return the doors of an edge whose drivers are of a kind and agree in one setting, by id, with their secrets."""
    named = doors.c.record.contains(f'"{name}":', autoescape=True)
    rows = connection.execute(select(doors).where(doors.c.edge_id == edge_id, named).order_by(doors.c.id)).all()
    drivers = [msgspec.json.decode(row.record, type=Door).driver for row in rows]
    same = [driver.get("kind") == kind and str(driver.get(name)) == value for driver in drivers]
    return [whole_door(connection, row) for row, is_same in zip(rows, same, strict=True) if is_same]


def parted(connection: Connection, door: Door, *, keep: bool) -> dict[str, str]:
    """Return the columns of a door's record and secrets; secrets that stay the same stay wrapped as they are.

    Args:
        connection: one of the transaction that writes them.
        door: the door as it shall be.
        keep: whether a secret that is left out stays the one that is kept.
    """
    public, given = split(door.driver)
    record = as_text(msgspec.structs.replace(door, driver=public))
    row = _row(connection, door.id)
    held = () if row is None else _held(connection, row.secrets, door_id=row.id)
    if keep and row is not None:
        before = msgspec.json.decode(row.record, type=Door).driver
        left_out = still_meant(held, before=before, after=door.driver)
        given = tuple(sorted((*given, *left_out), key=lambda one: one.path))
    if row is not None and given == held:
        return {"record": record, "secrets": row.secrets}
    return {"record": record, "secrets": _sealed(connection, given, door_id=door.id)}


def _sealed(connection: Connection, secrets: tuple[Secret, ...], *, door_id: str) -> str:
    return wrapped(connection, as_text(secrets), about=_about(door_id)) if secrets else ""


def check_door_secrets(connection: Connection, door: Door) -> None:
    """Pass unless a secret that was given for one host would be sent to another.

    Raises:
        InvalidInput: it would.
    """
    row = _row(connection, door.id)
    if row is not None and row.secrets:
        before = msgspec.json.decode(row.record, type=Door).driver
        kept = still_meant(_held(connection, row.secrets, door_id=row.id), before=before, after=door.driver)
        check_same_host(kept, before=before, after=door.driver)


def has_secrets_in_records(connection: Connection) -> bool:
    """Return whether the record of a door holds secrets, as all did before there was a column for them."""
    return bool(_with_secrets(connection))


def move_secrets_out_of_records(connection: Connection) -> int:
    """Move the secrets of doors' drivers into their column and return of how many doors; no version changes."""
    found = _with_secrets(connection)
    for door in found:
        connection.execute(update(doors).where(doors.c.id == door.id).values(**parted(connection, door, keep=True)))
    return len(found)


def _with_secrets(connection: Connection) -> list[Door]:
    named = or_(*(doors.c.record.contains(f'"{name}":', autoescape=True) for name in sorted(NAMES)))
    records = connection.execute(select(doors.c.record).where(named)).scalars()
    read = (msgspec.json.decode(record, type=Door) for record in records)
    return [door for door in read if split(door.driver)[1]]
