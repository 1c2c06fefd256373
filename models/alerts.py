"""Alerts: which facts raise or clear which, and the workflow that people drive. Storage and delivery are elsewhere.

An alert has a *condition* (what the place says: active or cleared) and a *workflow* (what people did); neither moves
the other.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

import msgspec

from models.errors import Conflict
from models.events import NAMESPACE, AnyFact, CameraSettled, CameraTroubled, Trouble, kind_of, source_of

AlertKind = Literal[
    "door_forced", "door_held_open", "door_tampered", "door_faulted", "duress", "emergency_release", "device_lost",
    "device_gap", "camera_lost", "camera_covered", "camera_moved", "camera_defocused", "camera_frozen",
    "camera_clock_skew", "camera_tampered", "power_cut", "battery_low", "door_call", "delivery_paused", "edge_lost",
]  # fmt: skip
Severity = Literal["urgent", "major", "minor", "info"]
Condition = Literal["active", "cleared"]
Workflow = Literal["new", "acknowledged", "escalated", "resolved"]
Change = Literal["raised", "updated", "acknowledged", "escalated", "cleared", "resolved"]

SEVERITIES: dict[AlertKind, Severity] = {
    "duress": "urgent",
    "door_forced": "urgent",
    "emergency_release": "urgent",
    "door_tampered": "major",
    "edge_lost": "major",
    "delivery_paused": "major",
    "power_cut": "major",
    "camera_covered": "major",
    "camera_tampered": "major",
    "camera_moved": "minor",
    "camera_defocused": "minor",
    "camera_frozen": "minor",
    "camera_clock_skew": "minor",
    "battery_low": "minor",
    "door_call": "info",
    "device_lost": "minor",
    "camera_lost": "minor",
    "door_held_open": "minor",
    "door_faulted": "minor",
    "device_gap": "minor",
}
SECURITY_KINDS: frozenset[AlertKind] = frozenset({"duress", "door_forced", "emergency_release", "door_tampered"})
"""What a coordination centre is told by default; the rest only when it is escalated."""

_RAISED_BY: dict[str, AlertKind] = {
    "door_forced": "door_forced",
    "door_held_open": "door_held_open",
    "door_tampered": "door_tampered",
    "door_faulted": "door_faulted",
    "duress_reported": "duress",
    "emergency_released": "emergency_release",
    "device_lost": "device_lost",
    "device_gap": "device_gap",
    "camera_lost": "camera_lost",
    "power_cut": "power_cut",
    "battery_low": "battery_low",
    "door_called": "door_call",
}
_TROUBLES: dict[Trouble, AlertKind] = {
    "covered": "camera_covered",
    "moved": "camera_moved",
    "defocused": "camera_defocused",
    "frozen": "camera_frozen",
    "clock_skew": "camera_clock_skew",
    "tampered": "camera_tampered",
}
_CLEARED_BY: dict[str, tuple[AlertKind, ...]] = {
    "door_closed": ("door_forced", "door_held_open", "emergency_release"),
    "door_tamper_cleared": ("door_tampered",),
    "device_back": ("device_lost",),
    "camera_back": ("camera_lost",),
    "door_fault_cleared": ("door_faulted",),
    "power_restored": ("power_cut",),
    "battery_good": ("battery_low",),
    "door_call_ended": ("door_call",),
}
_NEXT: dict[Workflow, frozenset[Workflow]] = {
    "new": frozenset({"acknowledged", "escalated", "resolved"}),
    "acknowledged": frozenset({"escalated", "resolved"}),
    "escalated": frozenset({"acknowledged", "resolved"}),
    "resolved": frozenset(),
}


class Raise(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for an alert of a kind at a place; if one of that kind is active there, it is updated instead."""

    alert_id: str
    kind: AlertKind
    severity: Severity
    source_id: str
    at: datetime
    late: bool
    exercise: bool


class Clear(msgspec.Struct, frozen=True, kw_only=True):
    """Say that the condition of a kind of alert at a place has ended."""

    kinds: tuple[AlertKind, ...]
    source_id: str
    at: datetime


def alerts_for(fact: AnyFact) -> Raise | Clear | None:
    """Return what a fact means for alerts: raise one, clear some, or nothing. Clearing never raises."""
    kind = kind_of(fact)
    source = source_of(fact)
    if isinstance(fact, CameraSettled):
        return Clear(kinds=(_TROUBLES[fact.trouble],), source_id=source, at=fact.at)
    if kind in _CLEARED_BY:
        return Clear(kinds=_CLEARED_BY[kind], source_id=source, at=fact.at)
    raised = _TROUBLES[fact.trouble] if isinstance(fact, CameraTroubled) else _RAISED_BY.get(kind)
    if raised is None:
        return None
    return Raise(
        alert_id=alert_id(fact.id, raised),
        kind=raised,
        severity=SEVERITIES[raised],
        source_id=source,
        at=fact.at,
        late=fact.late,
        exercise=fact.exercise,
    )


def alert_id(fact_id: str, kind: AlertKind) -> str:
    """Return the UUIDv5 of the alert that a fact raises: redelivery of the fact names the same alert."""
    return str(uuid.uuid5(NAMESPACE, f"{fact_id}\x1falert\x1f{kind}"))


def advance_workflow(current: Workflow, to: Workflow) -> Workflow:
    """Return the new workflow state.

    Raises:
        Conflict: people cannot go from the current state to that one (a resolved alert stays resolved).
    """
    if to not in _NEXT[current]:
        raise Conflict(f"an alert that is {current} cannot become {to}; load it again to see what others did")
    return to
