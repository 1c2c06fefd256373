"""The edge's clock: steady whatever happens to the wall clock, and distrusted when it starts in its own past."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import SteadyClock
from models.doors import DoorState, advance, tick
from tests.edge.doubles import EDGE, door, event


class Machine:
    """The two clocks of a machine, by hand."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.boot = 50.0

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds

    def clock(self, *, last_known: float | None = None) -> SteadyClock:
        return SteadyClock(wall=lambda: self.wall, steady=lambda: self.boot, last_known=last_known)


@given(jumps=st.lists(st.tuples(st.floats(0, 1000), st.floats(-1e7, 1e7)), max_size=20))
def test_time_never_goes_back_nor_runs_more_than_a_hundredth_wrong(jumps: list[tuple[float, float]]) -> None:
    machine = Machine()
    clock = machine.clock()
    for passed, jump in jumps:
        before = clock.unix()
        machine.wall += jump
        machine.pass_s(passed)
        after = clock.unix()
        assert passed * 0.98 - 1e-3 <= after - before <= passed * 1.02 + 1e-3


def test_a_corrected_wall_clock_is_followed_slowly() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 10
    assert abs(clock.jumped_s() - 10) < 0.01
    machine.pass_s(600)
    assert abs(clock.jumped_s() - 4) < 0.01
    machine.pass_s(600)
    assert abs(clock.jumped_s()) < 0.01


def test_a_jump_of_the_wall_clock_makes_no_door_held_open() -> None:
    machine = Machine()
    clock = machine.clock()
    gate = door(held_open_s=30.0)
    state = DoorState(door_id="d1", edge_id=EDGE)
    state, _ = advance(state, event(1, at=clock.now()), door=gate)
    machine.wall += 3600
    machine.pass_s(10)
    state, facts = tick(state, door=gate, at=clock.now())
    assert "door_held_open" not in [msgspec.to_builtins(fact)["type"] for fact in facts]


def test_a_start_before_the_last_known_time_is_not_trusted_until_the_gateway_agrees() -> None:
    machine = Machine()
    clock = machine.clock(last_known=machine.wall + 1000)
    assert not clock.trusted()
    clock.confirm()
    assert clock.trusted()
    again = machine.clock(last_known=machine.wall + 1000)
    machine.pass_s(1001)
    assert again.trusted()
    assert machine.clock(last_known=machine.wall - 5).trusted()
    assert machine.clock().trusted()
    assert again.now().utcoffset() == timedelta(0)
