"""The clocks of a stream: how old a picture is, and whether the camera knows the time of day."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.rtsp.stream_clock import StreamAge, clock_off_s


def test_a_burst_after_a_stall_is_as_old_as_the_stall() -> None:
    age = StreamAge()
    assert [age.age_s(n / 10, 100 + n / 10) for n in range(5)] == pytest.approx([0] * 5)
    burst = [age.age_s(0.5 + n / 10, 103.5) for n in range(30)]
    assert burst[0] == pytest.approx(3.0, abs=0.01)
    assert burst == sorted(burst, reverse=True)
    assert age.age_s(3.5, 103.5) == pytest.approx(0, abs=0.01)
    assert age.jumps == 0


def test_pictures_lost_in_a_stall_do_not_make_the_late_ones_fresh() -> None:
    age = StreamAge()
    age.age_s(0, 100)
    assert age.age_s(0.1, 105) == pytest.approx(4.9, abs=0.01)
    assert age.age_s(3.0, 105) == pytest.approx(2.0, abs=0.01)
    assert age.jumps == 0


@pytest.mark.parametrize("jump_s", [-100, 100])
def test_a_clock_that_jumps_starts_a_new_count(jump_s: int) -> None:
    age = StreamAge()
    for n in range(10):
        age.age_s(200 + n / 10, 100 + n / 10)
    ages = [age.age_s(200 + jump_s + n / 10, 100 + n / 10) for n in range(10, 20)]
    assert ages == pytest.approx([0] * 10, abs=0.01)
    assert age.jumps == 1


def test_a_clock_that_runs_slow_does_not_age_for_ever() -> None:
    age = StreamAge()
    ages = [age.age_s(n * (1 - 1e-4), float(n)) for n in range(100_000)]
    assert max(ages) < 0.01


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50))
def test_an_age_is_never_negative(delays: list[float]) -> None:
    age = StreamAge()
    assert all(age.age_s(n / 10, n / 10 + delay) >= -1e-9 for n, delay in enumerate(delays))


@pytest.mark.parametrize("reference", [b"", b"\0" * 7, (86_400 * 10**6).to_bytes(8, "little"), b"\xff" * 16])
def test_a_clock_that_was_never_set_tells_no_time_of_day(reference: bytes) -> None:
    assert clock_off_s(reference, 1.8e9) is None
