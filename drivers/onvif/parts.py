"""The doors, access points and relays of a device, asked page by page, and which of them are our doors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from drivers.door import Capability
from drivers.onvif import soap
from drivers.onvif.client import OnvifClient
from drivers.onvif.contracts import Service
from drivers.onvif.doors import CAPABILITIES, Standing
from drivers.onvif.endpoint import DoorPart, Endpoint
from models.errors import InvalidInput

PAGE: Final = 50
PAGES_MOST: Final = 20
TOKEN_CHARS: Final = 64
Side = Literal["in", "out"]


class DoorFound(msgspec.Struct, frozen=True, kw_only=True):
    """Name a door of DoorControl with what it says that it can do."""

    token: str
    name: str = ""
    can: frozenset[str] = frozenset()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Return what of it has a word of ours."""
        return frozenset(CAPABILITIES[word] for word in self.can if word in CAPABILITIES)


class AccessPointFound(msgspec.Struct, frozen=True, kw_only=True):
    """Name an access point, the door that it leads to, and whether it asks us who may pass."""

    token: str
    name: str = ""
    door: str = ""
    asks: bool = False
    tells_duress: bool = False


class RelayFound(msgspec.Struct, frozen=True, kw_only=True):
    """Name a relay; a monostable one falls back by itself."""

    token: str
    monostable: bool = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what of a device can be a door."""

    doors: tuple[DoorFound, ...] = ()
    points: tuple[AccessPointFound, ...] = ()
    relays: tuple[RelayFound, ...] = ()


async def find_parts(client: OnvifClient) -> Found:
    """Return the doors, access points and relays of a device; a service that it lacks has none.

    Raises:
        DeviceUnreachable: it no longer answers.
        DeviceRefused: it does not take the credentials.
        InvalidInput: its answer cannot be read.
    """
    return Found(
        doors=tuple(_door(told) for told in await _pages(client, "door", "GetDoorInfoList", item="DoorInfo")),
        points=tuple(
            _point(told) for told in await _pages(client, "access", "GetAccessPointInfoList", item="AccessPointInfo")
        ),
        relays=await _relays(client),
    )


async def standing_of(client: OnvifClient, token: str) -> Standing:
    """Return how a door of DoorControl stands; raises what `OnvifClient.ask` raises."""
    told = await client.ask("door", "GetDoorState", arguments={"Token": token})
    state: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    return Standing(
        mode=str(state.get("DoorMode") or ""),
        contact=str(state.get("DoorPhysicalState") or ""),
        lock=str(state.get("LockPhysicalState") or ""),
        alarm=str(state.get("Alarm") or ""),
        tamper=_inner(state.get("Tamper")),
        fault=_inner(state.get("Fault")),
    )


def our_parts(endpoint: Endpoint, doors: Iterable[str], *, found: Found) -> dict[str, DoorPart]:
    """Return which parts of the device each of our doors is.

    Raises:
        InvalidInput: the settings leave it open; the message names what the device has.
    """
    names = tuple(doors)
    if endpoint.doors:
        missing = [name for name in names if name not in endpoint.doors]
        if missing:
            raise InvalidInput("driver.doors", f"does not say which part of the device {missing[0]} is")
        return {name: endpoint.doors[name] for name in names}
    if len(names) != 1:
        raise InvalidInput("driver.doors", f"must say which part of the device each of {', '.join(names)} is")
    part = endpoint.part
    if part.door is None and part.relay is None:
        if len(found.doors) != 1:
            told = ", ".join(door.token for door in found.doors[:10]) or "no door of DoorControl; name a relay"
            raise InvalidInput("driver.door", f"say which part of the device the door {names[0]} is: {told}")
        part = msgspec.structs.replace(part, door=found.doors[0].token)
    return {names[0]: part}


def our_readers(parts: Mapping[str, DoorPart], *, found: Found) -> dict[str, tuple[str, Side]]:
    """Return the access points of our doors with the side that each is on: outside unless the settings say otherwise."""
    by_door = {part.door: name for name, part in parts.items() if part.door is not None}
    readers: dict[str, tuple[str, Side]] = {
        point.token: (by_door[point.door], "in") for point in found.points if point.door in by_door
    }
    for name, part in parts.items():
        if part.reader_in is not None:
            readers[part.reader_in] = (name, "in")
        if part.reader_out is not None:
            readers[part.reader_out] = (name, "out")
    return readers


def our_capabilities(part: DoorPart, *, found: Found, readers: Iterable[str], stores: bool) -> frozenset[Capability]:
    """Return what a door can do.

    Args:
        part: the door's parts of the device.
        found: what the device has.
        readers: the door's access points.
        stores: the device keeps events until we have them.
    """
    can: set[Capability] = set()
    for door in found.doors:
        if door.token == part.door:
            can |= door.capabilities
    own = set(readers)
    points = [point for point in found.points if point.token in own]
    if any(point.asks for point in points):
        can |= {"card", "pin"}
    if any(point.tells_duress for point in points):
        can.add("duress")
    can |= {"relay"} if part.relay is not None else set()
    can |= {"contact"} if part.contact is not None else set()
    can |= {"button"} if part.exit_button is not None or part.call is not None or points else set()
    return frozenset(can | ({"ack"} if stores else set()))


async def _pages(client: OnvifClient, service: Service, operation: str, *, item: str) -> list[Mapping[str, Any]]:
    """Return the items of a list, page by page; a device that answers its own reference again has no more."""
    items: list[Mapping[str, Any]] = []
    reference: str | None = None
    seen: set[str | None] = set()
    while reference not in seen and len(seen) < PAGES_MOST:
        seen.add(reference)
        arguments: dict[str, Any] = {"Limit": PAGE} | ({} if reference is None else {"StartReference": reference})
        try:
            told = await client.ask(service, operation, arguments=arguments)
        except soap.Fault as fault:
            if fault.unauthorised:
                raise
            return items  # it has no such service, whatever it claims
        page = told.get(item) if isinstance(told, Mapping) else told
        items += [entry for entry in page or () if isinstance(entry, Mapping)]
        reference = told.get("NextStartReference") if isinstance(told, Mapping) else None
        if not reference:
            break
    return items


async def _relays(client: OnvifClient) -> tuple[RelayFound, ...]:
    try:
        told = await client.ask("device", "GetRelayOutputs")
    except soap.Fault as fault:
        if fault.unauthorised:
            raise
        return ()
    found = []
    for entry in told if isinstance(told, list) else ():
        properties = entry.get("Properties") or {}
        found.append(RelayFound(token=_token(entry), monostable=properties.get("Mode") == "Monostable"))
    return tuple(found)


def _door(told: Mapping[str, Any]) -> DoorFound:
    capabilities = told.get("Capabilities") or {}
    can = frozenset(name for name, value in capabilities.items() if value is True)
    return DoorFound(token=_token(told), name=_name(told), can=can)


def _point(told: Mapping[str, Any]) -> AccessPointFound:
    capabilities = told.get("Capabilities") or {}
    return AccessPointFound(
        token=_token(told),
        name=_name(told),
        door=str(told.get("Entity") or "")[:TOKEN_CHARS],
        asks=capabilities.get("ExternalAuthorization") is True,
        tells_duress=capabilities.get("Duress") is True,
    )


def _token(told: Mapping[str, Any]) -> str:
    return str(told.get("token") or "")[:TOKEN_CHARS]


def _name(told: Mapping[str, Any]) -> str:
    return str(told.get("Name") or "")[:128]


def _inner(told: object) -> str:
    return str(told.get("State") or "") if isinstance(told, Mapping) else ""
