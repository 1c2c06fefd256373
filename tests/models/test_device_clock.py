"""When an event happened: live as it arrives, late as the device's clock says, or unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.device_clock import LATE_AFTER_S, LEEWAY_S, DeviceClock, Placed, believed, measure, place

T0 = datetime(2026, 5, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def learn(*pairs: tuple[float, float], backlog: bool = False) -> DeviceClock:
    """Return the clock after events at (device, arrival) seconds."""
    clock = DeviceClock()
    for device_s, arrival_s in pairs:
        clock = measure(clock, at(device_s), at=at(arrival_s), backlog=backlog)
    return clock


@pytest.mark.parametrize(
    ("pairs", "offset_s"),
    [
        pytest.param([(0, 100)], 100, id="the first event teaches the offset"),
        pytest.param([(0, 100), (50, 140)], 90, id="a smaller offset is nearer the truth"),
        pytest.param([(0, 100), (50, 155)], 100.5, id="a slightly larger one counts a tenth"),
        pytest.param([(0, 0), (10, 70)], 0, id="a much larger one is a delay"),
        pytest.param([(0, 0), (10, 70), (11, 71), (12, 72)], 0, id="a queue that empties is a delay"),
        pytest.param([(0, 0), (10, 70), (60, 120)], 60, id="a clock that was set back is learnt from two events apart"),
        pytest.param([(0, 0), (10, 70), (20, 500), (300, 780)], 480, id="a doubt that is not confirmed begins again"),
    ],
)
def test_the_offset_is_learnt(pairs: list[tuple[float, float]], offset_s: float) -> None:
    assert learn(*pairs).offset_s == pytest.approx(offset_s)


def test_what_waited_or_has_no_time_teaches_nothing() -> None:
    assert learn((0, 100), backlog=True) == DeviceClock()
    assert measure(DeviceClock(), None, at=T0, backlog=False) == DeviceClock()


@pytest.mark.parametrize(
    ("device_s", "arrival_s", "backlog", "expected"),
    [
        pytest.param(None, 5, False, Placed(moments=(at(5),), late=False), id="live without a clock"),
        pytest.param(None, 5, True, Placed(moments=(), late=True), id="waited without a clock"),
        pytest.param(5, 5, False, Placed(moments=(at(5),), late=False), id="live"),
        pytest.param(9, 5, False, Placed(moments=(at(5),), late=False), id="never later than its arrival"),
        pytest.param(2, 5, False, Placed(moments=(at(2), at(5)), late=False), id="a little delayed"),
        pytest.param(
            0, 60, False, Placed(moments=(at(0), at(60)), late=True, leeway_s=LATE_AFTER_S), id="much delayed"
        ),
        pytest.param(
            0, 60, True, Placed(moments=(at(0),), late=True, leeway_s=LATE_AFTER_S), id="known to have waited"
        ),
        pytest.param(3, 5, True, Placed(moments=(at(3),), late=False, leeway_s=LATE_AFTER_S), id="waited a little"),
    ],
)
def test_an_event_is_placed(device_s: float | None, arrival_s: float, backlog: bool, expected: Placed) -> None:
    device_at = None if device_s is None else at(device_s)
    assert place(DeviceClock(offset_s=0.0), device_at, at=at(arrival_s), backlog=backlog) == expected


def test_without_an_offset_only_live_events_can_be_placed() -> None:
    assert place(DeviceClock(), at(0), at=at(5), backlog=True) == Placed(moments=(), late=True)


@given(st.floats(-1e6, 1e6), st.floats(0, LEEWAY_S), st.floats(0, 1e5))
def test_no_constant_offset_makes_a_live_event_late(offset_s: float, jitter_s: float, gap_s: float) -> None:
    clock = learn((0, offset_s), (gap_s, gap_s + offset_s + jitter_s))
    placed = place(clock, at(2 * gap_s), at=at(2 * gap_s + offset_s + jitter_s), backlog=False)
    assert not placed.late
    assert placed.moments[-1] == at(2 * gap_s + offset_s + jitter_s)


@pytest.mark.parametrize(
    ("learnt_s", "asked_s", "offset_s"),
    [
        pytest.param(None, 100, 100, id="nothing was learnt yet"),
        pytest.param(98, 100, 98, id="what was learnt from events is finer"),
        pytest.param(-3600, 0, 0, id="a clock that was set"),
        pytest.param(5, None, 5, id="a wire that does not ask"),
    ],
)
def test_a_clock_that_the_wire_asked_for_is_believed_where_it_was_set(
    learnt_s: float | None, asked_s: float | None, offset_s: float
) -> None:
    assert believed(DeviceClock(offset_s=learnt_s), asked_s).offset_s == offset_s
