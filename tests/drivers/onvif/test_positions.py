"""Up to where a device's events are committed, also where its clock is set meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from drivers.onvif.positions import DEVICES_MOST, Positions

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("ahead", "moved", "at"),
    [
        pytest.param(timedelta(0), -HOUR, AT - HOUR, id="set back, it goes back with it"),
        pytest.param(2 * HOUR, HOUR, AT, id="set forward, it is asked for what it stamped before"),
        pytest.param(HOUR + timedelta(seconds=1), timedelta(0), AT, id="drift moves nothing"),
    ],
)
def test_a_position_follows_the_device_s_clock(ahead: timedelta, moved: timedelta, at: datetime) -> None:
    positions = Positions()
    assert positions.follow_clock("d", HOUR) == timedelta(0)
    positions.advance("d", AT)
    assert positions.follow_clock("d", ahead) == moved
    assert positions.at("d") == at
    assert positions.follow_clock("d", ahead) == timedelta(0)


def test_as_many_devices_are_remembered_as_there_is_room_for() -> None:
    positions = Positions()
    for number in range(DEVICES_MOST + 1):
        positions.advance(str(number), AT)
        positions.follow_clock(str(number), HOUR)
    assert positions.at("0") is None
    assert positions.at(str(DEVICES_MOST)) == AT
    assert positions.follow_clock("0", timedelta(0)) == timedelta(0)
