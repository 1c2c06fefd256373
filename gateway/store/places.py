"""Queries about areas, sites, flats, doors and cameras, and how the devices stand."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, and_, delete, func, insert, select, update

from gateway.store.bypasses import going_bypasses
from gateway.store.dialect import insert_into
from gateway.store.door_secrets import parted
from gateway.store.edges import EdgeIdentity
from gateway.store.sealed import unwrapped, wrapped
from gateway.store.tables import (
    areas,
    cameras,
    card_formats,
    companies,
    controllers,
    device_status,
    doors,
    flats,
    readers,
    sites,
)
from gateway.store.types import as_text
from gateway.views import BypassView, CameraView, DoorView, Place
from models.cards import CardFormat
from models.errors import Conflict, NotFound
from models.link import CameraStatus, DoorStatus
from models.places import Area, Camera, Company, Controller, Door, Flat, Site

KEY_BYTES = 32
SILENT_EDGE = "its edge is out of reach"


def _put(connection: Connection, table: Table, *, key: str, values: dict[str, Any], first: dict[str, Any]) -> None:
    """Write a row under its key; its version grows if something changed. `first` is for a new row only.

    Raises:
        Conflict: the key stands for something of another site.
    """
    (column,) = table.primary_key.columns
    row = connection.execute(select(table).where(column == key)).first()
    if row is None:
        connection.execute(insert(table).values({column.name: key, **values, **first}))
        return
    if "site_id" in values and row.site_id != values["site_id"]:
        raise Conflict(f"{key!r} in {table.name} belongs to another site: choose another id")
    if any(getattr(row, name) != value for name, value in values.items()):
        change = update(table).where(column == key).values(**values, version=row.version + 1)
        connection.execute(change)


def put_area(connection: Connection, area: Area, *, seeded: bool = False) -> None:
    """Write an area under its code."""
    values = {name: getattr(area, name) for name in Area.__struct_fields__ if name != "code"}
    _put(connection, areas, key=area.code, values={**values, "seeded": seeded}, first={})


def put_company(connection: Connection, company: Company, *, seeded: bool = False) -> None:
    """Write a property company under its id."""
    values = {"name": company.name, "contact": company.contact, "seeded": seeded}
    _put(connection, companies, key=company.id, values=values, first={})


def put_site(connection: Connection, site: Site, *, seeded: bool = False) -> None:
    """Write a site; a new one gets a credential key, which it keeps for ever."""
    key = wrapped(connection, secrets.token_hex(KEY_BYTES), about=f"sites.credential_key {site.id}")
    values = {name: getattr(site, name) for name in Site.__struct_fields__ if name != "id"}
    _put(connection, sites, key=site.id, values={**values, "seeded": seeded}, first={"credential_key": key})


def put_flat(connection: Connection, flat: Flat, *, seeded: bool = False) -> None:
    """Write a flat under its id; `check_keypads` says whether its code at keypads is its own."""
    values = {name: getattr(flat, name) for name in Flat.__struct_fields__ if name not in ("id", "groups")}
    values |= {"groups": as_text(flat.groups), "seeded": seeded}
    _put(connection, flats, key=flat.id, values=values, first={})


def check_keypads(connection: Connection, site_id: str) -> None:
    """Pass if no two flats of a site have the same code at keypads.

    Raises:
        Conflict: two have.
    """
    coded = select(flats.c.keypad, func.min(flats.c.id).label("one"), func.max(flats.c.id).label("other"))
    coded = coded.where(flats.c.site_id == site_id, flats.c.keypad != "").group_by(flats.c.keypad)
    row = connection.execute(coded.having(func.count() > 1).limit(1)).first()
    if row is not None:
        raise Conflict(f"flats {row.one!r} and {row.other!r} have the same keypad code {row.keypad!r}: change one")


def put_controller(connection: Connection, controller: Controller, *, seeded: bool = False) -> None:
    """Write a controller under its id."""
    values = {
        "site_id": controller.site_id, "edge_id": controller.edge_id, "name": controller.name,
        "record": as_text(controller), "seeded": seeded,
    }  # fmt: skip
    _put(connection, controllers, key=controller.id, values=values, first={})


def put_door(connection: Connection, door: Door, *, seeded: bool = False, keep_secrets: bool = False) -> None:
    """Write a door and its readers under their ids; its mode stays as it is.

    The secrets of its driver go into a column of their own; `keep_secrets` leaves those that are not given as they are.

    Raises:
        Conflict: it is a door of another site, or a reader is another door's.
    """
    values = {
        "site_id": door.site_id, "edge_id": door.edge_id, "name": door.name,
        "controller_id": door.controller_id, "seeded": seeded, **parted(connection, door, keep=keep_secrets),
    }  # fmt: skip
    _put(connection, doors, key=door.id, values=values, first={"mode": "normal", "mode_version": 1})
    for reader in (reader for reader in door.readers if reader.id):
        owner = connection.execute(select(readers.c.door_id).where(readers.c.id == reader.id)).scalar()
        if owner not in (None, door.id):
            raise Conflict(f"reader {reader.id!r} belongs to another door: choose another id")
        row = {"door_id": door.id, "record": as_text(reader), "seeded": seeded}
        _put(connection, readers, key=reader.id, values=row, first={})
    kept = [reader.id for reader in door.readers]
    connection.execute(delete(readers).where(readers.c.door_id == door.id, readers.c.id.not_in(kept)))


def put_card_format(connection: Connection, one: CardFormat, *, seeded: bool = False) -> None:
    """Write a card format under its id."""
    values = {"site_id": one.site_id, "name": one.name, "record": as_text(one), "seeded": seeded}
    _put(connection, card_formats, key=one.id, values=values, first={})


def put_camera(connection: Connection, camera: Camera, *, seeded: bool = False, keep_password: bool = False) -> None:
    """Write a camera under its id, its password in a column of its own; `keep_password` leaves that as it is."""
    about = f"cameras.password {camera.id}"
    password = wrapped(connection, camera.password, about=about)
    values = {
        "site_id": camera.site_id, "edge_id": camera.edge_id, "name": camera.name,
        "record": as_text(msgspec.structs.replace(camera, password="")), "seeded": seeded,
    }  # fmt: skip
    before = connection.execute(select(cameras.c.password).where(cameras.c.id == camera.id)).scalar()
    if not keep_password and before is not None and unwrapped(connection, before, about=about) != camera.password:
        values["password"] = password
    _put(connection, cameras, key=camera.id, values=values, first={"password": password})


def site_by_id(connection: Connection, site_id: str) -> Site:
    """Return a site.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(sites).where(sites.c.id == site_id)).first()
    if row is None:
        raise NotFound("site", site_id)
    return msgspec.convert({name: getattr(row, name) for name in Site.__struct_fields__}, Site)


def only_site(connection: Connection) -> str | None:
    """Return the id of the site if there is exactly one."""
    ids = connection.execute(select(sites.c.id).limit(2)).scalars().all()
    return ids[0] if len(ids) == 1 else None


def site_of_edge(connection: Connection, edge_id: str) -> str | None:
    """Return the site of an edge's doors or cameras, or None if it has none."""
    rows = select(doors.c.site_id).where(doors.c.edge_id == edge_id)
    found = rows.union(select(cameras.c.site_id).where(cameras.c.edge_id == edge_id))
    return next(iter(sorted(connection.execute(found).scalars())), None)


def credential_key(connection: Connection, site_id: str) -> str:
    """Return the hex key under which the site's cards and PINs are digested.

    Raises:
        NotFound: there is no such site.
    """
    key = connection.execute(select(sites.c.credential_key).where(sites.c.id == site_id)).scalar()
    if key is None:
        raise NotFound("site", site_id)
    return unwrapped(connection, key, about=f"sites.credential_key {site_id}")


def flat_is_at(connection: Connection, flat_id: str, *, site_id: str) -> bool:
    """Return whether a flat belongs to a site."""
    found = select(flats.c.id).where(flats.c.id == flat_id, flats.c.site_id == site_id)
    return connection.execute(found).first() is not None


def door_by_id(connection: Connection, door_id: str) -> Door:
    """Return a door, without the secrets of its driver.

    Raises:
        NotFound: there is none.
    """
    record = connection.execute(select(doors.c.record).where(doors.c.id == door_id)).scalar()
    if record is None:
        raise NotFound("door", door_id)
    return msgspec.json.decode(record, type=Door)


def doors_named(connection: Connection, door_ids: Iterable[str]) -> list[Door]:
    """Return the doors with these ids; unknown ids are left out."""
    rows = connection.execute(select(doors.c.record).where(doors.c.id.in_(tuple(door_ids)))).scalars()
    return [msgspec.json.decode(record, type=Door) for record in rows]


def doors_of_site(connection: Connection, site_id: str) -> tuple[str, ...]:
    """Return the ids of a site's doors."""
    return tuple(
        connection.execute(select(doors.c.id).where(doors.c.site_id == site_id).order_by(doors.c.id)).scalars()
    )


def door_views(
    connection: Connection, door_ids: Iterable[str] | None = None, *, site_ids: frozenset[str] | None
) -> list[DoorView]:
    """Return how the doors of some sites (None: all) stand, by name; with `door_ids`, only those."""
    status = and_(device_status.c.id == doors.c.id, device_status.c.kind == "door")
    query = select(doors.c.id, doors.c.record, doors.c.mode, device_status.c.body).outerjoin(device_status, status)
    query = query.order_by(doors.c.name, doors.c.id)
    if site_ids is not None:
        query = query.where(doors.c.site_id.in_(site_ids))
    if door_ids is not None:
        query = query.where(doors.c.id.in_(tuple(door_ids)))
    rows = connection.execute(query).all()
    bypassed = {one.door_id: one for one in going_bypasses(connection)}
    return [_door_view(row, bypass=bypassed.get(row.id)) for row in rows]


def _door_view(row: Row[Any, Any, Any, Any], *, bypass: BypassView | None) -> DoorView:
    door = msgspec.json.decode(row.record, type=Door)
    view = DoorView(
        id=door.id, name=door.name, site_id=door.site_id, address=door.address, exit_kind=door.exit_kind,
        edge_id=door.edge_id, mode=row.mode, factors=door.factors, bypass=bypass,
    )  # fmt: skip
    if row.body is None:
        return view
    told = msgspec.json.decode(row.body, type=DoorStatus)
    return msgspec.structs.replace(
        view, online=told.online, contact=told.contact, lock=told.lock, mode=told.mode, tamper=told.tamper,
        alarm=told.alarm, seen_at=told.at, face=told.face, trouble=told.trouble,
    )  # fmt: skip


def camera_views(
    connection: Connection, camera_ids: Iterable[str] | None = None, *, site_ids: frozenset[str] | None
) -> list[CameraView]:
    """Return how the cameras of some sites (None: all) stand, by name; with `camera_ids`, only those."""
    status = and_(device_status.c.id == cameras.c.id, device_status.c.kind == "camera")
    query = select(cameras.c.record, device_status.c.body).outerjoin(device_status, status)
    query = query.order_by(cameras.c.name, cameras.c.id)
    if site_ids is not None:
        query = query.where(cameras.c.site_id.in_(site_ids))
    if camera_ids is not None:
        query = query.where(cameras.c.id.in_(tuple(camera_ids)))
    return [_camera_view(row) for row in connection.execute(query)]


def _camera_view(row: Row[Any, Any]) -> CameraView:
    camera = msgspec.json.decode(row.record, type=Camera)
    view = CameraView(
        id=camera.id, name=camera.name, site_id=camera.site_id, edge_id=camera.edge_id, door_id=camera.door_id,
        registered=camera.register is not None,
    )  # fmt: skip
    if row.body is None:
        return view
    told = msgspec.json.decode(row.body, type=CameraStatus)
    return msgspec.structs.replace(view, state=told.state, detail=told.detail, seen_at=told.at, trouble=told.trouble)


def note_status(connection: Connection, told: DoorStatus | CameraStatus, *, edge: EdgeIdentity) -> bool:
    """Keep what an edge says about one of its devices; return whether anything but the time has changed.

    A device that is not this edge's is ignored: an edge speaks for its own doors only.
    """
    is_door = isinstance(told, DoorStatus)
    kind, device_id = ("door", told.door_id) if isinstance(told, DoorStatus) else ("camera", told.camera_id)
    table = doors if is_door else cameras
    mine = (table.c.id == device_id) & (table.c.edge_id == edge.id) & (table.c.site_id == edge.site_id)
    if connection.execute(select(table.c.id).where(mine)).first() is None:
        return False
    key = and_(device_status.c.id == device_id, device_status.c.kind == kind)
    before = connection.execute(select(device_status.c.body).where(key)).scalar()
    values = {"edge_id": edge.id, "body": as_text(told), "at": told.at}
    upsert = insert_into(connection, device_status).values(id=device_id, kind=kind, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["id", "kind"], set_=values))
    if before is None:
        return True
    return msgspec.structs.replace(msgspec.json.decode(before, type=type(told)), at=told.at) != told


def mark_edge_devices_unseen(connection: Connection, edge_id: str, *, at: datetime) -> list[tuple[str, str]]:
    """Say that the doors and cameras of a silent edge are out of reach; return (kind, id) of those that changed."""
    changed = []
    for row in connection.execute(select(device_status).where(device_status.c.edge_id == edge_id)).all():
        if row.kind == "door":
            door = msgspec.json.decode(row.body, type=DoorStatus)
            after: DoorStatus | CameraStatus = msgspec.structs.replace(door, online=False, at=at, trouble=SILENT_EDGE)
            same = not door.online and door.trouble == SILENT_EDGE
        else:
            camera = msgspec.json.decode(row.body, type=CameraStatus)
            after = msgspec.structs.replace(camera, state="lost", detail=SILENT_EDGE, at=at, trouble=SILENT_EDGE)
            same = camera.state == "lost" and camera.trouble == SILENT_EDGE
        if not same:
            key = and_(device_status.c.id == row.id, device_status.c.kind == row.kind)
            connection.execute(update(device_status).where(key).values(body=as_text(after), at=at))
            changed.append((row.kind, row.id))
    return changed


def place_of(connection: Connection, source_id: str, *, kind: str, edge_site: str) -> Place:
    """Return where a source (door, camera or anything else) is; one that we do not know is at its edge's site."""
    table = cameras if kind.startswith("camera") else doors
    row = connection.execute(
        select(table.c.site_id, table.c.name, table.c.record).where(table.c.id == source_id)
    ).first()
    site_id = row.site_id if row else edge_site
    site = connection.execute(
        select(sites.c.name, sites.c.address, sites.c.timezone).where(sites.c.id == site_id)
    ).first()
    address = msgspec.json.decode(row.record).get("address", "") if row else ""
    return Place(
        site_id=site_id,
        site_name=site.name if site else site_id,
        door_id=source_id if kind.startswith(("door", "device", "duress", "emergency", "battery")) else None,
        camera_id=source_id if kind.startswith("camera") else None,
        name=row.name if row else source_id,
        address=address or (site.address if site else ""),
        timezone=site.timezone if site else "Asia/Shanghai",
    )
