"""The edge's clock: steady whatever happens to the wall clock, and distrusted when it starts in its own past."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import SteadyClock
from edge.spool import Spool
from edge.times import KEY as TIMES
from edge.times import Lived, Times, last_times
from models.doors import DoorState, advance, tick
from models.errors import StorageUnavailable
from models.events import AnyFact, ClockDoubted, ClockTrusted
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
    assert machine.clock(last_known=machine.wall + 5).trusted()
    assert machine.clock().trusted()
    assert again.now().utcoffset() == timedelta(0)


YEAR_S = 365 * 86_400.0


@pytest.mark.parametrize(
    ("by_s", "why"), [(-YEAR_S, "earlier"), (YEAR_S, "later"), (-6.0, "earlier"), (31 * 86_400.0, "later")]
)
def test_a_start_a_year_back_or_ahead_is_doubted_until_the_gateway_agrees(by_s: float, why: str) -> None:
    machine = Machine()
    known = machine.wall
    machine.wall += by_s
    clock = machine.clock(last_known=known)
    assert not clock.trusted()
    assert clock.doubt is not None
    assert (clock.doubt.why, round(clock.doubt.off_s)) == (why, round(by_s))
    clock.compare(4.0)
    assert clock.trusted()


def test_a_week_away_from_everything_is_no_reason_for_doubt() -> None:
    machine = Machine()
    clock = machine.clock(last_known=machine.wall - 7 * 86_400)
    machine.pass_s(7 * 86_400)
    assert clock.trusted()


@pytest.mark.parametrize("by_s", [YEAR_S, -YEAR_S, 301.0, -301.0])
def test_a_clock_that_the_gateway_contradicts_is_doubted_until_it_is_set_right(by_s: float) -> None:
    machine = Machine()
    right = machine.wall
    machine.wall += by_s
    clock = machine.clock()
    clock.compare(-by_s)
    assert clock.doubt is not None
    assert (clock.doubt.why, clock.doubt.off_s) == ("gateway", by_s)
    machine.wall = right
    clock.compare(-by_s)
    assert clock.trusted(), "the wall clock was set right"
    assert abs(clock.unix() - right) < 1.0


def test_a_time_that_the_gateway_signed_cannot_be_in_the_future() -> None:
    machine = Machine()
    clock = machine.clock()
    clock.not_before(clock.now() + timedelta(seconds=200))
    assert clock.trusted(), "clocks differ a little"
    clock.not_before(clock.now() + timedelta(days=365))
    assert clock.doubt is not None
    assert clock.doubt.why == "earlier"
    machine.pass_s(YEAR_S * 1.02)
    assert clock.trusted(), "it has got there"


async def test_times_are_kept_while_the_clock_is_trusted_and_doubts_are_facts(tmp_path: Path) -> None:
    machine = Machine()
    async with Spool(tmp_path / "s.db") as spool:
        assert await last_times(spool) == Times()
        lived = _lived(Times(), spool=spool, clock=machine.clock(), heard=5.0)
        await lived.tell()
        await lived.remember()
        before = await last_times(spool)
        assert before == Times(last=machine.wall, heard=5.0)

        machine.wall += YEAR_S
        clock = machine.clock(last_known=before.last)
        lived = _lived(before, spool=spool, clock=clock, heard=None)
        for _ in range(2):
            await lived.tell()
        await lived.remember()
        assert await last_times(spool) == before, "a doubted time is not what was lived through"
        assert lived.last_heard() == 5.0
        clock.confirm()
        await lived.tell()
        facts = [msgspec.json.decode(row.body, type=AnyFact) for row in await spool.oldest(10, max_bytes=10_000)]
        assert [type(fact) for fact in facts] == [ClockDoubted, ClockTrusted]
        assert isinstance(facts[0], ClockDoubted)
        assert (facts[0].edge_id, facts[0].why, facts[0].off_s) == (EDGE, "later", YEAR_S)

        await spool.remember(TIMES, b"{")
        assert await last_times(spool) == Times()


def _lived(before: Times, *, spool: Spool, clock: SteadyClock, heard: float | None) -> Lived:
    ids = itertools.count()
    return Lived(before, edge_id=EDGE, spool=spool, clock=clock, heard=lambda: heard, new_id=lambda: str(next(ids)))


async def test_on_a_full_disk_a_doubt_is_told_later(tmp_path: Path) -> None:
    machine = Machine()
    async with Spool(tmp_path / "s.db", budget_bytes=1) as spool:
        for size in (16_384, 2048, 256, 32, 8):
            with pytest.raises(StorageUnavailable):
                for n in range(2000):
                    await spool.remember(f"{size} {n}", bytes(size))
        lived = _lived(Times(), spool=spool, clock=machine.clock(last_known=machine.wall + 1000), heard=None)
        failures = spool.failures
        for _ in range(3):
            await lived.tell()
            await lived.remember()
        assert spool.failures >= failures + 3
