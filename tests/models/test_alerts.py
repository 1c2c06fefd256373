"""Which facts raise, clear or say nothing; and what people can do with an alert."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.alerts import (
    SECURITY_KINDS,
    SEVERITIES,
    AlertKind,
    Clear,
    Raise,
    Severity,
    Workflow,
    advance_workflow,
    alert_id,
    alerts_for,
)
from models.errors import Conflict
from models.events import AnyFact, Fact, kind_of

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
MORE: dict[str, dict[str, Any]] = {
    "access_granted": {"attempt": "a", "method": "card", "unlocked": True},
    "access_denied": {"attempt": "a", "method": "card", "reason": "no_permit"},
    "door_opened": {"cause": "unknown"},
    "door_held_open": {"open_s": 31.0},
    "device_gap": {"first": 1, "last": 2},
    "camera_lost": {"reason": "timeout"},
    "door_called": {"attempt": "a"},
    "door_call_ended": {"attempt": "a", "how": "opened"},
    "passback_noticed": {"attempt": "a", "person_id": "p"},
    "camera_troubled": {"trouble": "covered"},
    "camera_settled": {"trouble": "moved"},
    "power_cut": {"doors": ("a", "b")},
    "clock_doubted": {"why": "earlier", "off_s": -3600.0},
}
MEANING: dict[str, tuple[AlertKind, Severity] | tuple[AlertKind, ...] | None] = {
    "access_granted": None,
    "access_denied": None,
    "door_opened": None,
    "exit_requested": None,
    "door_forced": ("door_forced", "urgent"),
    "door_held_open": ("door_held_open", "minor"),
    "door_tampered": ("door_tampered", "major"),
    "door_faulted": ("door_faulted", "minor"),
    "duress_reported": ("duress", "urgent"),
    "emergency_released": ("emergency_release", "urgent"),
    "device_lost": ("device_lost", "minor"),
    "device_gap": ("device_gap", "minor"),
    "camera_lost": ("camera_lost", "minor"),
    "door_closed": ("door_forced", "door_held_open", "emergency_release"),
    "door_tamper_cleared": ("door_tampered",),
    "device_back": ("device_lost",),
    "camera_back": ("camera_lost",),
    "door_fault_cleared": ("door_faulted",),
    "mains_lost": None,
    "mains_back": None,
    "battery_low": ("battery_low", "minor"),
    "battery_good": ("battery_low",),
    "door_called": ("door_call", "info"),
    "door_call_ended": ("door_call",),
    "passback_noticed": None,
    "camera_troubled": ("camera_covered", "major"),
    "camera_settled": ("camera_moved",),
    "power_cut": ("power_cut", "major"),
    "power_restored": ("power_cut",),
    "clock_doubted": None,
    "clock_trusted": None,
}
ABOUT = {"camera": "camera_id", "clock": "edge_id", "power": "edge_id"}
ENDS = {
    "door_closed", "door_tamper_cleared", "device_back", "camera_back", "door_fault_cleared", "battery_good",
    "door_call_ended", "camera_settled", "power_restored",
}  # fmt: skip
KINDS: dict[str, type[Fact]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyFact)}


def fact_of(kind: str, **more: Any) -> Any:
    fields: dict[str, Any] = {"id": "f", "at": T0, ABOUT.get(kind.partition("_")[0], "door_id"): "x"}
    return KINDS[kind](**fields | MORE.get(kind, {}) | more)


def test_every_fact_kind_has_a_meaning_here() -> None:
    assert set(MEANING) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_raises_clears_or_says_nothing(kind: str) -> None:
    meaning, expected = alerts_for(fact_of(kind, late=True, exercise=True)), MEANING[kind]
    if expected is None:
        assert meaning is None
    elif kind in ENDS:
        assert isinstance(meaning, Clear)
        assert (meaning.kinds, meaning.source_id, meaning.at) == (expected, "x", T0)
    else:
        assert isinstance(meaning, Raise)
        assert (meaning.kind, meaning.severity) == expected
        assert meaning.alert_id == alert_id("f", meaning.kind)
        assert (meaning.source_id, meaning.at, meaning.late, meaning.exercise) == ("x", T0, True, True)


def test_every_kind_has_a_severity_and_security_is_never_minor() -> None:
    assert set(SEVERITIES) == set(get_args(AlertKind))
    assert {SEVERITIES[kind] for kind in SECURITY_KINDS} == {"urgent", "major"}


@given(st.one_of([st.from_type(kind) for kind in get_args(AnyFact)]))
def test_redelivery_names_the_same_alert_and_only_its_own_place(fact: AnyFact) -> None:
    again = msgspec.json.decode(msgspec.json.encode(fact), type=AnyFact)
    one, other = alerts_for(fact), alerts_for(again)
    assert type(one) is type(other)
    if isinstance(one, Raise) and isinstance(other, Raise):
        assert one.alert_id == other.alert_id != alert_id(fact.id + "x", one.kind)
        assert kind_of(fact) not in {"door_closed", "device_back"}


ALLOWED: set[tuple[Workflow, Workflow]] = {
    ("new", "acknowledged"),
    ("new", "escalated"),
    ("new", "resolved"),
    ("acknowledged", "escalated"),
    ("acknowledged", "resolved"),
    ("escalated", "acknowledged"),
    ("escalated", "resolved"),
}


@pytest.mark.parametrize("to", get_args(Workflow))
@pytest.mark.parametrize("current", get_args(Workflow))
def test_people_move_an_alert_forward_and_never_out_of_resolved(current: Workflow, to: Workflow) -> None:
    if (current, to) in ALLOWED:
        assert advance_workflow(current, to) == to
    else:
        with pytest.raises(Conflict, match=f"{current} cannot become {to}"):
            advance_workflow(current, to)
