"""From a device that was found to doors and cameras here: adopt a part, replace a device, remove it, offer it again.

What is adopted is an ordinary door or camera, written and checked as any other; the device only lends its settings and
its credentials. A device that replaces another takes over its doors and cameras under their ids, so that rights, permits
and history stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.auth.roles import Caller
from gateway.on_record import note
from gateway.reader_adoption import Adoption, adopt_reader, heir_driver
from gateway.store import Connection
from gateway.store.devices import CAMERAS, DOORS
from gateway.store.devices_found import (
    KEY,
    Credentials,
    KeptDevice,
    credentials_of,
    device_by_id,
    doors_naming,
    set_device,
)
from gateway.store.kept import Act
from models.devices import Part
from models.errors import Conflict, InvalidInput, NotFound
from models.places import Camera, Door, Reader, check_id


def adopt(connection: Connection, key: str, *, wanted: Adoption, caller: Caller, at: datetime) -> KeptDevice:
    """Make a door or a camera of a part of a device, and return the device.

    Raises:
        NotFound: there is no such device in the caller's scope, or it has no such part.
        Conflict: it was removed, or the part is adopted.
        InvalidInput: the part cannot be adopted so.
    """
    device = device_by_id(connection, key, site_ids=caller.sites)
    part = _part(device, wanted.part)
    if device.state == "removed":
        raise Conflict("this device was removed: offer it again first").because("device_removed")
    if part.id in device.adopted:
        raise Conflict(f"this part is {device.adopted[part.id]!r} here already").because("part_adopted")
    held, by = credentials_of(connection, key, site_id=device.site_id), Act(caller=caller, at=at)
    if part.kind == "camera":
        CAMERAS.added(connection, _camera(device, part, wanted, held=held), by=by)
        ours = wanted.id
    elif device.candidate.wire == "osdp":
        ours = adopt_reader(connection, device, part=part, wanted=wanted, by=by)
    else:
        door = _door(device, part, wanted, at=at)
        DOORS.added(connection, door, by=by)
        ours = door.id
    set_device(connection, device, state="adopted", adopted={**device.adopted, part.id: ours})
    note(connection, caller, action="device.adopt", subject=key, at=at, site=device.site_id, part=part.id, id=ours)
    return device_by_id(connection, key, site_ids=caller.sites)


def _part(device: KeptDevice, part_id: str) -> Part:
    found = next((part for part in device.candidate.parts if part.id == part_id), None)
    if found is None:
        raise NotFound("part", part_id)
    return found


def _camera(device: KeptDevice, part: Part, wanted: Adoption, *, held: Credentials) -> Camera:
    return Camera(
        id=wanted.id, site_id=device.site_id, edge_id=device.edge_id, name=wanted.name or part.name or part.id,
        door_id=wanted.door_id, register=wanted.register, **_stream(part, held),
    )  # fmt: skip


def _stream(part: Part, held: Credentials) -> dict[str, Any]:
    side = dict(part.settings) or None
    return {
        "url": part.url, "main_url": "" if part.main_url == part.url else part.main_url, "device": side,
        "user": held.user, "password": held.password,
    }  # fmt: skip


def _door(device: KeptDevice, part: Part, wanted: Adoption, *, at: datetime) -> Door:
    """Return the door that a part becomes; by MQTT the door's name on the wire is its id."""
    ours = check_id(part.id, "part") if device.candidate.wire == "mqtt" else wanted.id
    return Door(
        id=ours, site_id=device.site_id, edge_id=device.edge_id, name=wanted.name or part.name or part.id,
        address=wanted.address, readers=(Reader(id=f"r-{ours}"[:64]),), driver=_driver(device, part), since=at,
    )  # fmt: skip


def _driver(device: KeptDevice, part: Part) -> dict[str, object]:
    lends = {KEY: device.id} if device.has_credentials else {}
    return {"kind": device.candidate.wire, **part.settings, **lends}


def replace(
    connection: Connection, key: str, *, by: str, parts: Mapping[str, str], caller: Caller, at: datetime
) -> KeptDevice:
    """Let another device take over the doors and cameras of this one under their ids, and return it; this one is removed.

    Args:
        connection: a writing one.
        key: the device that goes.
        by: the device that comes.
        parts: which part of the old device becomes which of the new one; where it does not say, the part of the same
            name, or the only one of its kind.
        caller: who wants it.
        at: when.

    Raises:
        NotFound: one of them is not in the caller's scope, or has no such part.
        Conflict: the old one has nothing adopted, or a door described by hand uses its credentials; or the new one was removed
            or has the part in use.
        InvalidInput: it is at another site or edge, or a part fits none of the new device's.
    """
    old = device_by_id(connection, key, site_ids=caller.sites)
    new = device_by_id(connection, by, site_ids=caller.sites)
    _check_pair(old, new)
    taken = {old.adopted[part]: _heir(_part(old, part), new, wanted=parts.get(part)) for part in old.adopted}
    _check_heirs(taken, new)
    held, act = credentials_of(connection, by, site_id=new.site_id), Act(caller=caller, at=at)
    for ours, part in taken.items():
        if part.kind == "camera":
            CAMERAS.changed(connection, ours, changes=_stream(part, held), by=act)
        else:
            driver = (
                _driver(new, part)
                if new.candidate.wire != "osdp"
                else heir_driver(connection, ours, old=old, new=new, part=part)
            )
            DOORS.changed(connection, ours, changes={"driver": driver, "since": at}, by=act)
    _check_not_named(connection, old)
    set_device(connection, old, state="removed", adopted={})
    adopted = new.adopted | {part.id: ours for ours, part in taken.items()}
    set_device(connection, new, state="adopted", adopted=adopted)
    note(connection, caller, action="device.replace", subject=key, at=at, site=old.site_id, by=by)
    return device_by_id(connection, by, site_ids=caller.sites)


def _check_heirs(taken: Mapping[str, Part], new: KeptDevice) -> None:
    """Pass if each door and camera gets a part of its own that is free."""
    heirs = {part.id for part in taken.values()}
    if len(heirs) < len(taken):
        raise InvalidInput("parts", "two parts cannot become the same one: say which becomes which").because(
            "same_heir"
        )
    if heirs & new.adopted.keys():
        raise Conflict(
            f"{', '.join(sorted(heirs & new.adopted.keys()))} of the device that takes over is in use here"
        ).because("heir_in_use")
    for ours, part in taken.items():
        if new.candidate.wire == "mqtt" and part.id != ours:
            raise InvalidInput(
                "parts", f"name the door {ours!r} on the device itself: by MQTT its name there is its id"
            ).because("name_on_device")


def _check_pair(old: KeptDevice, new: KeptDevice) -> None:
    if old.id == new.id or not old.adopted:
        raise Conflict("name a device whose doors or cameras are in use, and another one that takes them over").because(
            "nothing_to_take_over"
        )
    if new.state == "removed":
        raise Conflict("the device that takes over was removed: offer it again first").because("heir_removed")
    if "osdp" in {old.candidate.wire, new.candidate.wire} and old.candidate.wire != new.candidate.wire:
        raise InvalidInput("by", "a reader is replaced by a reader")
    if (new.site_id, new.edge_id) != (old.site_id, old.edge_id):
        raise InvalidInput(
            "by", f"edge {old.edge_id!r} must find it: that is where the doors and cameras are served"
        ).because("other_edge")


def _heir(part: Part, new: KeptDevice, *, wanted: str | None) -> Part:
    """Return the part of a new device that takes over an old one's."""
    if wanted is not None:
        heir = _part(new, wanted)
        if (heir.kind == "camera") != (part.kind == "camera"):
            raise InvalidInput("parts", f"{part.id!r} and {wanted!r} are not of one kind").because("other_kind")
        return heir
    alike = [one for one in new.candidate.parts if one.kind == part.kind]
    same = [one for one in alike if one.id == part.id]
    if len(same) != 1 and len(alike) != 1:
        raise InvalidInput("parts", f"say which part of the new device becomes {part.id!r}").because("say_which")
    return (same or alike)[0]


def remove(connection: Connection, key: str, *, caller: Caller, at: datetime) -> None:
    """Remove a device: its credentials are destroyed, and searches that find it again do not offer it.

    Raises:
        NotFound: there is no such device in the caller's scope.
        Conflict: a door or camera here is still a part of it, or a door's driver names it for its credentials, or it is
            not known yet whether it took the key that it was sent.
    """
    device = device_by_id(connection, key, site_ids=caller.sites)
    if device.adopted:
        raise Conflict(
            f"it is {', '.join(sorted(device.adopted.values()))} here: delete that first, or replace it"
        ).because("device_in_use")
    _check_not_named(connection, device)
    if credentials_of(connection, key, site_id=device.site_id).pending:
        what = "it was sent a key and has not said whether it took it: send the key again or ask it, else it is lost"
        raise Conflict(what).because("key_pending")
    set_device(connection, device, state="removed", adopted={})
    note(connection, caller, action="device.remove", subject=key, at=at, site=device.site_id)


def _check_not_named(connection: Connection, device: KeptDevice) -> None:
    """Pass unless a door that was described by hand would lose its credentials with a device."""
    named = doors_naming(connection, device)
    if named:
        raise Conflict(
            f"the driver of {', '.join(named)} names it for its credentials: take `device` out there first"
        ).because("names_credentials")


def offer(connection: Connection, key: str, *, caller: Caller, at: datetime) -> KeptDevice:
    """Offer a device again that was removed, and return it.

    Raises:
        NotFound: there is no such device in the caller's scope.
    """
    device = device_by_id(connection, key, site_ids=caller.sites)
    if device.state == "removed":
        set_device(connection, device, state="found", adopted={})
    note(connection, caller, action="device.offer", subject=key, at=at, site=device.site_id)
    return device_by_id(connection, key, site_ids=caller.sites)
