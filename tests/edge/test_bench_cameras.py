"""The benchmark of cameras measures what it says: living eyes beside FFmpeg; how much anything costs decides no test."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from edge.bench_cameras import Watched, Yard, beside, fleet_row, measure
from models.errors import GatehouseError


@pytest.mark.needs("ffmpeg")
async def test_eyes_and_ffmpeg_are_measured_while_they_decode(tmp_path: Path) -> None:
    async with Yard(tmp_path) as yard, yard.fleet():
        eye = await yard.eye("full", yard.urls["c0"], rate="full")
        theirs = await yard.ffmpeg(yard.urls["c0"])
        await yard.reports.until("live", ["full"])
        await measure([eye, theirs], seconds=2, windows=2)
        assert yard.reports.last["full"].frames > 0
    row = beside("decode_cost", eye, theirs=theirs, target=1.2, what="every picture")
    assert len(row.samples) == 2
    assert row.ours == pytest.approx(eye.share / theirs.share, abs=0.001)
    assert 0 < eye.share < 1


async def test_a_process_that_ended_ends_the_benchmark() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    watched = Watched(process.pid)
    assert watched.cost_s() > 0
    process.kill()
    await process.wait()
    with pytest.raises(GatehouseError, match="ended"):
        await measure([watched], seconds=0.1, windows=1)


def test_a_fleet_is_flat_when_one_of_many_costs_what_one_alone_does() -> None:
    flat = fleet_row([(1.0, 0.010), (8.0, 0.0101)])
    assert (flat.ours, flat.met) == (198.0, True)
    assert not fleet_row([(1.0, 0.010), (8.0, 0.02)]).met
