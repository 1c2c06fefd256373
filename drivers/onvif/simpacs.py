"""The Door Control and Access Control services of the simulated device (ONVIF specifications of both, version 1.0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drivers.onvif.simcall import Call, Handler, by_token, page
from drivers.onvif.simdevice import AccessPoint
from drivers.onvif.simdoor import RELEASES, TARGETS
from drivers.onvif.simsoap import SoapFault, Xml, tag

MAX_LIMIT: Final = 10
"""Entries in one answer; more come by StartReference."""
AREAS: Final[Mapping[str, str]] = {"outside": "Outside", "inside": "Inside"}


def _door_capabilities(_: Call) -> Xml:
    return tag("tdc:GetServiceCapabilitiesResponse", tag("tdc:Capabilities", MaxLimit=MAX_LIMIT))


def _door_info(call: Call, token: str) -> Xml:
    alarm = not by_token(call.device.doors, token).plain
    able: dict[str, bool] = dict.fromkeys(
        ("Access", "AccessTimingOverride", "Lock", "Unlock", "Block", "DoubleLock", "LockDown", "LockOpen"), True
    )
    able |= {"DoorMonitor": True, "LockMonitor": True, "DoubleLockMonitor": False}
    capabilities = tag("tdc:Capabilities", **able, Alarm=alarm, Tamper=True, Fault=True)
    return tag("tdc:DoorInfo", tag("tdc:Name", token), tag("tdc:Description", "Simulated"), capabilities, token=token)


def _doors(call: Call) -> Xml:
    tokens, reference = page(call, tuple(call.device.doors), prefix="tdc", limit=MAX_LIMIT)
    more = tag("tdc:NextStartReference", reference) if reference else None
    return tag("tdc:GetDoorInfoListResponse", more, *(_door_info(call, token) for token in tokens))


def _doors_named(call: Call) -> Xml:
    tokens = _tokens(call, "tdc")
    return tag("tdc:GetDoorInfoResponse", *(_door_info(call, token) for token in tokens if token in call.device.doors))


def _tokens(call: Call, prefix: str) -> list[str]:
    found = [element.text or "" for element in call.body.findall("{*}Token")]
    if not 0 < len(found) <= MAX_LIMIT:
        raise SoapFault(f"name 1 to {MAX_LIMIT} tokens", "ter:InvalidArgs", f"{prefix}:TooManyItems")
    return found


def _door_state(call: Call) -> Xml:
    door = by_token(call.device.doors, call.text("tdc:Token"))
    fault = tag("tdc:Reason", door.fault) if door.fault else None
    return tag(
        "tdc:GetDoorStateResponse",
        tag(
            "tdc:DoorState",
            tag("tdc:DoorPhysicalState", door.leaf),
            tag("tdc:LockPhysicalState", "Unlocked" if door.unlocked else "Locked"),
            None if door.plain else tag("tdc:Alarm", door.alarm),
            tag("tdc:Tamper", tag("tdc:State", "TamperDetected" if door.tampered else "NotInTamper")),
            tag("tdc:Fault", fault, tag("tdc:State", "NotInFault" if door.fault is None else "FaultDetected")),
            tag("tdc:DoorMode", door.mode),
        ),
    )


def _obeyed(call: Call, done: bool) -> None:
    if not done:
        raise SoapFault(
            f"the door is {by_token(call.device.doors, call.text('tdc:Token')).mode}",
            "ter:Action",
            "ter:Failure",
            sender=False,
        )


def _refuse(call: Call) -> None:
    if "refuse_unlock" in call.faults:
        raise SoapFault("the door did not move", "ter:Action", "ter:Failure", sender=False)


def _access(call: Call) -> Xml:
    token = call.text("tdc:Token")
    by_token(call.device.doors, token)
    for_s, too_long_s = call.seconds("tdc:AccessTime"), call.seconds("tdc:OpenTooLongTime")
    if for_s is None and call.optional("tdc:UseExtendedTime") in {"true", "1"}:
        for_s = call.device.timing.extended_s
    _refuse(call)
    _obeyed(call, call.device.access(token, call.now, for_s=for_s, too_long_s=too_long_s))
    return tag("tdc:AccessDoorResponse")


def _command(name: str) -> Handler:
    def obey(call: Call) -> Xml:
        token = call.text("tdc:Token")
        by_token(call.device.doors, token)
        if name in {"UnlockDoor", "LockOpenDoor"}:
            _refuse(call)
        _obeyed(call, call.device.command(token, name, now=call.now))
        return tag(f"tdc:{name}Response")

    return obey


def _access_capabilities(_: Call) -> Xml:
    return tag("tac:GetServiceCapabilitiesResponse", tag("tac:Capabilities", MaxLimit=MAX_LIMIT))


def _point_info(point: AccessPoint) -> Xml:
    areas = tuple(AREAS) if point.side == "in" else tuple(AREAS)[::-1]
    capabilities = tag(
        "tac:Capabilities",
        DisableAccessPoint=True,
        Duress=True,
        AnonymousAccess=True,
        AccessTaken=True,
        ExternalAuthorization=True,
    )
    return tag(
        "tac:AccessPointInfo",
        tag("tac:Name", f"{point.door} {point.side}"),
        tag("tac:AreaFrom", areas[0]),
        tag("tac:AreaTo", areas[1]),
        tag("tac:EntityType", "tdc:Door"),
        tag("tac:Entity", point.door),
        capabilities,
        token=point.token,
    )


def _points(call: Call) -> Xml:
    points, reference = page(call, tuple(call.device.points.values()), prefix="tac", limit=MAX_LIMIT)
    more = tag("tac:NextStartReference", reference) if reference else None
    return tag("tac:GetAccessPointInfoListResponse", more, *map(_point_info, points))


def _points_named(call: Call) -> Xml:
    points = [call.device.points[token] for token in _tokens(call, "tac") if token in call.device.points]
    return tag("tac:GetAccessPointInfoResponse", *map(_point_info, points))


def _area_info(token: str) -> Xml:
    return tag("tac:AreaInfo", tag("tac:Name", AREAS[token]), token=token)


def _areas(call: Call) -> Xml:
    tokens, reference = page(call, tuple(AREAS), prefix="tac", limit=MAX_LIMIT)
    more = tag("tac:NextStartReference", reference) if reference else None
    return tag("tac:GetAreaInfoListResponse", more, *map(_area_info, tokens))


def _areas_named(call: Call) -> Xml:
    return tag("tac:GetAreaInfoResponse", *(_area_info(token) for token in _tokens(call, "tac") if token in AREAS))


def _point_state(call: Call) -> Xml:
    point = by_token(call.device.points, call.text("tac:Token"))
    return tag("tac:GetAccessPointStateResponse", tag("tac:AccessPointState", tag("tac:Enabled", point.enabled)))


def _able(*, enabled: bool) -> Handler:
    def switch(call: Call) -> Xml:
        by_token(call.device.points, call.text("tac:Token")).enabled = enabled
        call.device.settle(call.now)
        return tag(f"tac:{'Enable' if enabled else 'Disable'}AccessPointResponse")

    return switch


def _decide(call: Call) -> Xml:
    token, decision = call.text("tac:AccessPointToken"), call.text("tac:Decision")
    by_token(call.device.points, token)
    if decision not in {"Granted", "Denied"}:
        raise SoapFault("Decision is Granted or Denied", "ter:InvalidArgVal")
    if decision == "Granted":
        _refuse(call)
    reason = call.optional("tac:Reason") or ""
    if not call.device.decide(token, granted=decision == "Granted", reason=reason, now=call.now):
        raise SoapFault(
            "nobody waits for a decision there, or the door may not open",
            "ter:Action",
            "ter:Failure",
            sender=False,
        )
    return tag("tac:ExternalAuthorizationResponse")


HANDLERS: Final[Mapping[str, Handler]] = {
    "tdc:GetServiceCapabilities": _door_capabilities,
    "tdc:GetDoorInfoList": _doors,
    "tdc:GetDoorInfo": _doors_named,
    "tdc:GetDoorState": _door_state,
    "tdc:AccessDoor": _access,
    **{f"tdc:{name}": _command(name) for name in (*TARGETS, *RELEASES)},
    "tac:GetServiceCapabilities": _access_capabilities,
    "tac:GetAccessPointInfoList": _points,
    "tac:GetAccessPointInfo": _points_named,
    "tac:GetAreaInfoList": _areas,
    "tac:GetAreaInfo": _areas_named,
    "tac:GetAccessPointState": _point_state,
    "tac:EnableAccessPoint": _able(enabled=True),
    "tac:DisableAccessPoint": _able(enabled=False),
    "tac:ExternalAuthorization": _decide,
}
"""The thirteen operations of Door Control and the nine of Access Control."""
