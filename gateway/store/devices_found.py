"""Queries about devices that searches found: what each told, how it stands here, and its credentials, wrapped by the vault.

One row per device and site, under an id made of the site and the device's own; what a device says of itself is cleaned
before it gets here (gateway.device_orders).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.store.places import put_camera
from gateway.store.sealed import unwrapped, wrapped
from gateway.store.tables import cameras, devices, doors
from gateway.store.types import as_text
from models.devices import LADDER, Candidate, Part, Reach, Wire, drives, lent
from models.errors import NotFound
from models.places import Camera, Door

DeviceState = Literal["found", "adopted", "removed"]
FOUND_MOST: Final = 2000
"""Devices of a site that nobody adopted; beyond that the ones that were seen longest ago are forgotten."""
KEY: Final = "device"
"""The key of a door's driver settings that names the device whose credentials it uses."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a device wants to be told."""

    user: str = ""
    password: str = ""
    """Of a reader its key."""
    pending: str = ""
    """A key that a reader was sent, until it is known whether it took it: it must not be lost meanwhile."""

    def __repr__(self) -> str:
        return "Credentials(…)"


class KeptDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a device that was found, and which of its parts is which door or camera here."""

    id: str
    site_id: str
    edge_id: str
    state: DeviceState
    candidate: Candidate
    adopted: dict[str, str] = {}
    """The id of our door or camera by the part's own id."""
    trusted: str = ""
    """Hex SHA-256 of the certificate that somebody compared and trusts; empty for none."""
    has_credentials: bool
    seen_at: datetime


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a device was asked: the row of one that is known, whether with freshly given credentials, under which pin."""

    key: str | None = None
    fresh: bool = False
    fingerprint: str = ""


class InUse(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the doors and cameras of a site, to find which parts of devices they are."""

    doors: tuple[Door, ...]
    cameras: tuple[Camera, ...]

    def of(self, told: Candidate) -> dict[str, str]:
        """Return which parts of a device are doors and cameras here, by whatever way they were configured."""
        ours = {}
        for part in told.parts:
            if part.kind == "camera":
                same = next((one.id for one in self.cameras if part.url and part.url in (one.url, one.main_url)), None)
            else:
                same = next((one.id for one in self.doors if _is_part(one, part, wire=told.wire)), None)
            if same is not None:
                ours[part.id] = same
        return ours


def _is_part(door: Door, part: Part, *, wire: Wire) -> bool:
    return drives(door.driver, door.id, part=part.id, wire=wire, settings=part.settings)


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    candidate: Candidate
    adopted: dict[str, str] = {}
    trusted: str = ""


def device_id(site_id: str, candidate: Candidate) -> str:
    """Return the id of a device at a site; it is the same each time it is found."""
    return f"dv-{hashlib.sha256(f'{site_id} {candidate.id}'.encode()).hexdigest()[:24]}"


def _kept(row: Row[Any], *, there: frozenset[str]) -> KeptDevice:
    record = msgspec.json.decode(row.record, type=_Record)
    adopted = {part: ours for part, ours in record.adopted.items() if ours in there}
    state: DeviceState = "found" if row.state == "adopted" and not adopted else row.state
    return KeptDevice(
        id=row.id, site_id=row.site_id, edge_id=row.edge_id, state=state, candidate=record.candidate, adopted=adopted,
        trusted=record.trusted, has_credentials=bool(row.credentials), seen_at=row.seen_at,
    )  # fmt: skip


def _there(connection: Connection, site_ids: frozenset[str]) -> frozenset[str]:
    """Return the ids of doors and cameras: what was deleted since is adopted no longer."""
    ours = select(doors.c.id).where(doors.c.site_id.in_(site_ids))
    return frozenset(
        connection.execute(ours.union(select(cameras.c.id).where(cameras.c.site_id.in_(site_ids)))).scalars()
    )


def devices_found(connection: Connection, *, site_ids: frozenset[str], site_id: str | None = None) -> list[KeptDevice]:
    """Return the devices of some sites (or of one of them), the ones seen last first."""
    asked = site_ids if site_id is None else site_ids & {site_id}
    there = _there(connection, asked)
    query = select(devices).where(devices.c.site_id.in_(asked)).order_by(devices.c.seen_at.desc(), devices.c.id)
    return [_kept(row, there=there) for row in connection.execute(query)]


def device_by_id(connection: Connection, key: str, *, site_ids: frozenset[str]) -> KeptDevice:
    """Return a device of one of these sites.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    row = connection.execute(select(devices).where(devices.c.id == key, devices.c.site_id.in_(site_ids))).first()
    if row is None:
        raise NotFound("device", key)
    return _kept(row, there=_there(connection, frozenset({row.site_id})))


def in_use(connection: Connection, site_id: str) -> InUse:
    """Return the doors and cameras of a site."""
    theirs = connection.execute(select(doors.c.record).where(doors.c.site_id == site_id)).scalars()
    streams = connection.execute(select(cameras.c.record).where(cameras.c.site_id == site_id)).scalars()
    return InUse(
        doors=tuple(msgspec.json.decode(text, type=Door) for text in theirs),
        cameras=tuple(msgspec.json.decode(text, type=Camera) for text in streams),
    )


def known_as(connection: Connection, told: Candidate, *, site_id: str, edge_id: str) -> str:
    """Return the id under which a device is kept, or would be.

    One that told no lasting name yet is the one that the same edge knows at that address and port, and the other way
    round, unless its serial or its certificate says that it is another.

    Args:
        connection: a reading one.
        told: the device as it answered.
        site_id: the site of who asked it.
        edge_id: who asked it: an address means something to that edge only.
    """
    key = device_id(site_id, told)
    mine = devices.c.site_id == site_id
    if told.wire != "onvif" or connection.execute(select(devices.c.id).where(mine, devices.c.id == key)).first():
        return key
    record, place = devices.c.record, _place(told)
    named = record.contains(told.id, autoescape=True) | record.contains(place, autoescape=True)
    query = select(devices).where(mine, devices.c.edge_id == edge_id, named).order_by(devices.c.seen_at.desc())
    for row in connection.execute(query):
        if _same(msgspec.json.decode(row.record, type=_Record), told):
            return str(row.id)
    return key


def _same(known: _Record, told: Candidate) -> bool:
    before = known.candidate
    if before.wire != told.wire or before.id == told.id:
        return before.wire == told.wire
    unnamed = _by_address(before) or _by_address(told)
    shown = {before.fingerprint, known.trusted, told.fingerprint} - {""}
    return unnamed and _place(before) == _place(told) != "" and len(shown) < 2 and not is_another(before, told)


def _place(one: Candidate) -> str:
    """Return host and port of a device's address, empty where it is none."""
    try:
        return urlsplit(one.address).netloc
    except ValueError:
        return ""


def keep_candidate(
    connection: Connection, told: Candidate, *, here: InUse, site_id: str, edge_id: str, at: datetime, asked: Asked
) -> tuple[str, Candidate]:
    """Keep what a device told and return its id and what of it was believed; what was done with it stays.

    Kept credentials are for the address that they opened: a device that says that it is now elsewhere is believed only if
    it took freshly given ones, or showed the certificate that is trusted.

    Args:
        connection: a writing one.
        told: the device as it answered now.
        here: the doors and cameras of the site.
        site_id: the site of who asked it.
        edge_id: who asked it.
        at: when.
        asked: how it was asked.
    """
    key = asked.key or known_as(connection, told, site_id=site_id, edge_id=edge_id)
    row = connection.execute(select(devices).where(devices.c.id == key, devices.c.site_id == site_id)).first()
    if row is None:
        ours = here.of(told)
        state = "adopted" if ours else "found"
        values = {"record": as_text(_Record(candidate=told, adopted=ours)), "site_id": site_id, "state": state}
        connection.execute(insert(devices).values(id=key, edge_id=edge_id, seen_at=at, **values))
        _forget_oldest(connection, site_id)
        return key, told
    known = msgspec.json.decode(row.record, type=_Record)
    if asked.key is not None or row.credentials:
        told = _believed(known, told, asked=asked, keeps=bool(row.credentials))
    if _by_address(told):
        told = msgspec.structs.replace(told, id=known.candidate.id)
    adopted = {**here.of(told), **known.adopted}
    record = msgspec.structs.replace(known, candidate=merged(known.candidate, told), adopted=adopted)
    # Who serves what was adopted goes on serving it, whoever else can hear the device.
    serving = row.edge_id if row.state == "adopted" else edge_id
    state = "adopted" if row.state == "found" and adopted else row.state
    changed = {"record": as_text(record), "edge_id": serving, "seen_at": at, "version": row.version + 1}
    changed["state"] = state
    connection.execute(update(devices).where(devices.c.id == key).values(**changed))
    return key, told


def _believed(known: _Record, told: Candidate, *, asked: Asked, keeps: bool) -> Candidate:
    """Return what a device may say of itself: one that is another, or is elsewhere without proof, only that it is so."""
    before = known.candidate
    if is_another(before, told):
        said = " ".join(word for word in (told.maker, told.model, told.serial) if word)
        detail = f"another device answers there: {said or told.id}"
        return msgspec.structs.replace(
            before, reach="answers", trouble="another_device", detail=detail, code="", parts=()
        )
    pinned = bool(asked.fingerprint) and asked.fingerprint == known.trusted
    proven = (asked.fresh or pinned) and LADDER.index(told.reach) >= LADDER.index("known")
    if not keeps or proven or told.address == before.address:
        return told
    detail = f"heard at {told.address}: ask it there, with its credentials"
    return msgspec.structs.replace(before, trouble="moved", detail=detail, code="", seen_at=told.seen_at)


def is_another(known: Candidate, told: Candidate) -> bool:
    """Return whether who answered is not the device that is known, by the name that lasts or by its serial."""
    named = told.id != known.id and not _by_address(told) and not _by_address(known)
    introduced = LADDER.index(told.reach) >= LADDER.index("known") and bool(known.serial)
    return named or (introduced and told.serial != known.serial)


def _by_address(one: Candidate) -> bool:
    """Return whether a device's id is only where it was found: it told no lasting name, or was not reached."""
    try:
        return one.id in {f"{one.wire}-{urlsplit(one.address).netloc}", f"{one.wire}-{one.address}"}
    except ValueError:
        return False


def merged(known: Candidate, told: Candidate) -> Candidate:
    """Return what is known of a device after it answered again; a search that hears less of it forgets nothing."""
    if not told.trouble and LADDER.index(told.reach) < LADDER.index(known.reach):
        found = msgspec.structs.replace(known, address=told.address, seen_at=told.seen_at)
        return msgspec.structs.replace(found, trouble="", detail="", code="") if known.trouble == "moved" else found
    kept = {
        name: getattr(known, name)
        for name in ("maker", "model", "serial", "firmware", "fingerprint", "parts", "clock_off_s")
        if not getattr(told, name)
    }
    return msgspec.structs.replace(told, **kept)


def mark_reached(connection: Connection, key: str, *, reach: Reach) -> None:
    """Note how far a device was reached by a trial of one of its parts."""
    record = _record(connection, key)
    if record is not None:
        candidate = msgspec.structs.replace(record.candidate, reach=reach, trouble="", detail="", code="")
        _write(connection, key, msgspec.structs.replace(record, candidate=candidate))


def trust_certificate(connection: Connection, key: str, *, fingerprint: str) -> None:
    """Trust the certificate of a device from now on, and no other."""
    record = _record(connection, key)
    if record is not None:
        _write(connection, key, msgspec.structs.replace(record, trusted=fingerprint))


def _record(connection: Connection, key: str) -> _Record | None:
    text = connection.execute(select(devices.c.record).where(devices.c.id == key)).scalar()
    return None if text is None else msgspec.json.decode(text, type=_Record)


def _write(connection: Connection, key: str, record: _Record) -> None:
    values = {"record": as_text(record), "version": devices.c.version + 1}
    connection.execute(update(devices).where(devices.c.id == key).values(**values))


def _forget_oldest(connection: Connection, site_id: str) -> None:
    unused = (devices.c.site_id == site_id) & (devices.c.state == "found")
    oldest = select(devices.c.id).where(unused).order_by(devices.c.seen_at.desc()).offset(FOUND_MOST)
    ids = connection.execute(oldest).scalars().all()
    if ids:
        connection.execute(delete(devices).where(devices.c.id.in_(ids)))


def set_device(
    connection: Connection, device: KeptDevice, *, state: DeviceState, adopted: dict[str, str] | None = None
) -> None:
    """Write how a device stands; one that is removed keeps no credentials."""
    kept = device.adopted if adopted is None else adopted
    record = _Record(candidate=device.candidate, adopted=kept, trusted=device.trusted)
    values: dict[str, Any] = {"state": state, "record": as_text(record), "version": devices.c.version + 1}
    if state == "removed":
        values["credentials"] = ""
    connection.execute(update(devices).where(devices.c.id == device.id).values(**values))


def set_credentials(connection: Connection, key: str, *, credentials: Credentials, site_id: str) -> None:
    """Keep the credentials of a device of a site, wrapped; doors that name it use them from the next policy on."""
    about, empty = f"devices.credentials {key}", credentials == Credentials()
    sealed = "" if empty else wrapped(connection, as_text(credentials), about=about)
    mine = (devices.c.id == key) & (devices.c.site_id == site_id)
    connection.execute(update(devices).where(mine).values(credentials=sealed))


def hand_to_cameras(connection: Connection, device: KeptDevice, *, user: str, password: str) -> list[str]:
    """Write credentials into the cameras that a device is here, and return their ids.

    Those of the site file keep theirs, as does one whose stream was described anew since.
    """
    streams = InUse(doors=(), cameras=in_use(connection, device.site_id).cameras).of(device.candidate).values()
    query = select(cameras.c.record).where(cameras.c.id.in_(tuple(streams)), ~cameras.c.seeded).order_by(cameras.c.id)
    found = [msgspec.json.decode(text, type=Camera) for text in connection.execute(query).scalars().all()]
    for camera in found:
        put_camera(connection, msgspec.structs.replace(camera, user=user, password=password))
    return [camera.id for camera in found]


def credentials_of(connection: Connection, key: str, *, site_id: str) -> Credentials:
    """Return the credentials of a device of a site, empty ones where it has none or there is no such device."""
    held = select(devices.c.credentials).where(devices.c.id == key, devices.c.site_id == site_id)
    text = connection.execute(held).scalar() or ""
    clear = unwrapped(connection, text, about=f"devices.credentials {key}")
    return msgspec.json.decode(clear, type=Credentials) if clear else Credentials()


def doors_naming(connection: Connection, device: KeptDevice) -> list[str]:
    """Return the ids of the doors whose driver names a device, to be lent its credentials."""
    lent = doors.c.record.contains(f'"{KEY}":"{device.id}"', autoescape=True)
    query = select(doors.c.id).where(doors.c.site_id == device.site_id, lent).order_by(doors.c.id)
    return list(connection.execute(query).scalars())


def for_edge(connection: Connection, door: Door) -> Door:
    """Return a door as its edge needs it: in place of the devices that its driver or its readers name, their credentials."""
    driver = _with_credentials(connection, door.driver, door=door)
    readers = driver.get("readers")
    if isinstance(readers, list):
        driver["readers"] = [
            _with_credentials(connection, one, door=door) if isinstance(one, dict) else one for one in readers
        ]
    return msgspec.structs.replace(door, driver=driver)


def _with_credentials(connection: Connection, section: Mapping[str, object], *, door: Door) -> dict[str, object]:
    key = section.get(KEY)
    if not isinstance(key, str):
        return dict(section)
    held = credentials_of(connection, key, site_id=door.site_id)
    named = lent(_wire_of(door), user=held.user, password=held.password)
    return {name: value for name, value in section.items() if name != KEY} | named


def _wire_of(door: Door) -> Wire:
    return "osdp" if door.driver.get("kind") == "osdp" else "onvif"
