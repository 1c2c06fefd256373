"""A card reader becomes a reader of a door: of a new one, or of one that has a reader already, on its other side.

Which output the lock hangs on and what is wired to the inputs, a reader cannot tell: whoever adopts it says so. Its key
stays with the device, wrapped; the door's driver only names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gateway.store import Connection
from gateway.store.devices import DOORS
from gateway.store.devices_found import KEY, KeptDevice, credentials_of, in_use
from gateway.store.kept import Act
from gateway.store.places import door_by_id
from models.devices import Part, readers_of
from models.errors import Conflict, InvalidInput, NotFound
from models.places import CameraRegister, Door, Reader


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a reader stands at its door: its side, the output of the strike, what its inputs say, and its keypad."""

    side: Literal["in", "out"] = "in"
    strike: int | msgspec.UnsetType | None = msgspec.UNSET
    """None if the lock hangs on no output of it; unsaid, it is the output that the reader itself named."""
    inputs: dict[str, int | list[int]] = {}
    keypad: Literal["pin", "flat_pin", "off"] = "pin"
    plain: bool = False
    """Whether it may be spoken to in clear, without a key: anybody at its cable can then be any card."""


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a part becomes: its id and name here, and for a camera the door that it looks at and its register entry.

    A reader becomes a new door, or with `door_id` a further reader of that one, wired as `wiring` says.
    """

    part: str
    id: str
    name: str = ""
    address: str = ""
    door_id: str | None = None
    register: CameraRegister | None = None
    wiring: Wiring = Wiring()


def adopt_reader(connection: Connection, device: KeptDevice, *, part: Part, wanted: Adoption, by: Act) -> str:
    """Make a reader the reader of a door, and return the door's id.

    Raises:
        NotFound: the door is not in the caller's scope.
        Conflict: the reader has no key yet and may not speak in clear; or a door has it already, or another reader on that side.
        InvalidInput: the door is not on the reader's line, or its settings cannot be used.
    """
    _check_free(connection, device, part=part)
    line = {"kind": "osdp", "port": part.settings.get("port"), "baud_rate": part.settings.get("baud_rate")}
    side, kinds = wanted.wiring.side, ("card",) if wanted.wiring.keypad == "off" else ("card", "pin")
    if wanted.door_id is None:
        entry = _entry(connection, device, part=part, wiring=wanted.wiring)
        if "strike" not in entry and wanted.wiring.strike is msgspec.UNSET:
            told = InvalidInput(
                "wiring.strike", "say which output the lock hangs on, or null if it hangs on none of it"
            )
            raise told.because("no_strike")
        reader = Reader(id=f"r-{wanted.id}"[:64], side=side, kinds=kinds)
        door = Door(
            id=wanted.id, site_id=device.site_id, edge_id=device.edge_id, name=wanted.name or part.name,
            address=wanted.address, readers=(reader,), driver={**line, "readers": [entry]}, since=by.at,
        )  # fmt: skip
        DOORS.added(connection, door, by=by)
        return door.id
    door = _door_on(connection, device, line, door_id=wanted.door_id)
    if any(reader.side == side for reader in door.readers):
        what = f"door {door.id!r} has a reader on that side: say the other one, or replace that device"
        raise Conflict(what).because("side_taken")
    entries = list(door.driver["readers"])  # type: ignore[call-overload]
    has_strike = any(isinstance(one, dict) and one.get("strike") is not None for one in entries)
    entry = _entry(connection, device, part=part, wiring=wanted.wiring, has_strike=has_strike)
    reader = Reader(id=f"r-{device.id}"[:64], side=side, kinds=kinds)
    changes: dict[str, Any] = {
        "readers": msgspec.to_builtins([*door.readers, reader]),
        "driver": {**door.driver, "readers": [*entries, entry]},
    }
    DOORS.changed(connection, door.id, changes=changes, by=by)
    return door.id


def _check_free(connection: Connection, device: KeptDevice, *, part: Part) -> None:
    """Pass unless a door of the same edge names a reader at this address of the line."""
    port, address = part.settings.get("port"), part.settings.get("address")
    for door in in_use(connection, device.site_id).doors:
        on_line = door.driver.get("kind") == "osdp" and (door.edge_id, door.driver.get("port")) == (
            device.edge_id,
            port,
        )
        if on_line and any(one.get("address", 0) == address for one in readers_of(door.driver, door.id)):
            taken = Conflict(f"door {door.id!r} has a reader at this address of the line already: replace that device")
            raise taken.because("address_taken")


def _entry(
    connection: Connection, device: KeptDevice, *, part: Part, wiring: Wiring, has_strike: bool = False
) -> dict[str, Any]:
    """Return a reader as its door's driver names it; the output that it named is its strike unless the door has one."""
    entry: dict[str, Any] = {"address": part.settings.get("address", 0), "side": wiring.side, "keypad": wiring.keypad}
    own = None if has_strike else part.settings.get("strike")
    strike = own if wiring.strike is msgspec.UNSET else wiring.strike
    if strike is not None:
        entry["strike"] = strike
    if wiring.inputs:
        entry["inputs"] = wiring.inputs
    return entry | _trust(connection, device, plain=wiring.plain)


def _trust(connection: Connection, device: KeptDevice, *, plain: bool) -> dict[str, Any]:
    """Return what a reader is trusted by: the device that holds its key, or leave to speak in clear."""
    if plain:
        return {"plain": True}
    if not credentials_of(connection, device.id, site_id=device.site_id).password:
        told = Conflict("this reader has no key of its own yet: install one, or say that it may speak in clear (plain)")
        raise told.because("no_key")
    return {KEY: device.id}


def _door_on(connection: Connection, device: KeptDevice, line: Mapping[str, object], *, door_id: str) -> Door:
    """Return a door that a reader of a line can be added to."""
    door = door_by_id(connection, door_id)
    if door.site_id != device.site_id:
        raise NotFound("door", door_id)
    same = {name: door.driver.get(name, 9600 if name == "baud_rate" else None) for name in line}
    if door.edge_id != device.edge_id or same != dict(line):
        told = InvalidInput("door_id", f"door {door_id!r} is not on this line: a door's readers share one")
        raise told.because("other_line")
    if not isinstance(door.driver.get("readers"), list):
        raise InvalidInput("door_id", f"door {door_id!r}: write its readers as a list first (docs/osdp.md)")
    return door


def heir_driver(
    connection: Connection, door_id: str, *, old: KeptDevice, new: KeptDevice, part: Part
) -> dict[str, object]:
    """Return the driver of a door in which one reader takes the place of another; what is wired to it stays.

    It speaks by its key if it has one, also in the place of one that spoke in clear.

    Raises:
        Conflict: the new reader has no key, or the door no longer names the old one.
        InvalidInput: it is on another line than the door's other reader.
    """
    driver = dict(door_by_id(connection, door_id).driver)
    given = driver.get("readers")
    entries = [dict(one) for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    addresses = {one.settings.get("address") for one in old.candidate.parts}
    goes = next((one for one in entries if one.get(KEY) == old.id or one.get("address", 0) in addresses), None)
    if goes is None:
        raise Conflict(f"door {door_id!r} names another reader by now: change its driver by hand")
    line = {"port": part.settings.get("port"), "baud_rate": part.settings.get("baud_rate")}
    if len(entries) > 1 and any(driver.get(name) != value for name, value in line.items()):
        raise InvalidInput("by", f"it is on another line than the other reader of door {door_id!r}")
    plain = bool(goes.get("plain")) and not credentials_of(connection, new.id, site_id=new.site_id).password
    kept = {name: value for name, value in goes.items() if name not in {KEY, "plain", "key_file"}}
    comes = kept | {"address": part.settings.get("address", 0)} | _trust(connection, new, plain=plain)
    return {**driver, **line, "readers": [comes if one is goes else one for one in entries]}
