"""When the reader of a stream may rest: only once it holds the newest picture."""

from __future__ import annotations

import math

import pytest

from drivers.rtsp.pace import Gathering, Pace


def test_after_a_burst_only_its_newest_picture_ends_the_reading() -> None:
    gathering = Gathering()
    gathering.newest(0.0, age_s=0.0, waited_s=0.0)
    burst = [gathering.newest(n / 10, age_s=0.33 - n / 10, waited_s=0.0) for n in (1, 2, 3)]
    assert burst == [False, False, True], "the next one comes in 0.07 s"


def test_a_stalled_stream_is_caught_up_with_before_the_next_rest() -> None:
    gathering = Gathering()
    late = [gathering.newest(n / 10, age_s=10 - n / 10, waited_s=0.0) for n in range(101)]
    assert late == [False] * 100 + [True]


@pytest.mark.parametrize(("waited_s", "rests"), [(0.001, False), (0.08, True)])
def test_without_a_clock_it_rests_after_it_had_to_wait(waited_s: float, *, rests: bool) -> None:
    assert Gathering().newest(None, age_s=math.inf, waited_s=waited_s) is rests


def test_a_key_rate_wants_key_pictures_alone_and_full_rate_all_again() -> None:
    pace = Pace()
    pace.at_key("key", 0.0)
    assert (pace.wants(key=True), pace.wants(key=False)) == (True, False)
    pace.at_key("full", 4.0)
    assert pace.wants(key=False)
