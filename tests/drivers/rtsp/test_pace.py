"""When the reader of a stream may rest: only once it holds the newest picture."""

from __future__ import annotations

import math

import pytest

from drivers.rtsp.pace import Gathering, Pace
from drivers.rtsp.stream_clock import StreamAge


def test_after_a_burst_only_its_newest_picture_ends_the_reading() -> None:
    gathering = Gathering()
    gathering.newest(0.0, age_s=0.0, arrived_s=0.0, waited_s=0.1)
    burst = [gathering.newest(n / 10, age_s=0.33 - n / 10, arrived_s=0.33, waited_s=0.0) for n in (1, 2, 3)]
    assert burst == [False, False, True], "the next one comes in 0.07 s"


def test_a_stalled_stream_is_caught_up_with_before_the_next_rest() -> None:
    gathering = Gathering()
    gathering.newest(0.0, age_s=0.0, arrived_s=0.0, waited_s=0.1)
    late = [gathering.newest(n / 10, age_s=10 - n / 10, arrived_s=10.0, waited_s=0.0) for n in range(1, 101)]
    assert late == [False] * 99 + [True]


@pytest.mark.parametrize(("waited_s", "rests"), [(0.001, False), (0.08, True)])
def test_without_a_clock_it_rests_after_it_had_to_wait(waited_s: float, *, rests: bool) -> None:
    assert Gathering().newest(None, age_s=math.inf, arrived_s=1.0, waited_s=waited_s) is rests


@pytest.mark.parametrize("drift", [-2e-4, 0.0, 2e-4])
@pytest.mark.parametrize("rest_s", [0.3, 1.4])
def test_a_reader_that_rests_for_hours_does_not_fall_behind(rest_s: float, drift: float) -> None:
    """The age may rise slowly with a camera's slow clock: rests that went by it alone came later and later."""
    gathering, age, now_s, said, behind = Gathering(), StreamAge(), 0.0, [0.0], [0.0]
    for number in range(36_000 * 3):
        came_s = number / 10 * (1 + drift)
        waited_s, now_s = max(0.0, came_s - now_s), max(now_s, came_s)
        told_s = age.age_s(number / 10, now_s)
        said.append(abs(told_s - (now_s - came_s)))
        behind.append(now_s - came_s)
        if gathering.newest(number / 10, age_s=told_s, arrived_s=now_s, waited_s=waited_s):
            now_s += rest_s
    assert max(behind) < rest_s + 0.2
    assert max(said) < 0.1


def test_a_key_rate_wants_key_pictures_alone_and_full_rate_all_again() -> None:
    pace = Pace()
    pace.at_key("key", 0.0)
    assert (pace.wants(key=True), pace.wants(key=False)) == (True, False)
    pace.at_key("full", 4.0)
    assert pace.wants(key=False)
