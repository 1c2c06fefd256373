"""Doors that share a camera, and whole frames that come too late."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from edge import wire
from edge.faces import EyeLink, FaceProcess
from tests.edge.doubles import until
from tests.edge.faces_stage import attend, crop, stage


async def test_doors_that_share_a_camera_take_turns_and_enrolment_comes_first(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        process = on.process
        for door_id in ("d1", "d2"):
            on.link.attend(msgspec.structs.replace(attend(), door_id=door_id))
        await until(lambda: len(process._attends) == 2)
        eye = await on.eye()
        for n in range(1, 5):
            await eye.show(frame_no=n)
            await until(lambda n=n: len(on.sightings) == n)  # type: ignore[misc]
        assert [one.door_id for one in on.sightings] == ["d1", "d2", "d1", "d2"]
        asked = attend()
        process._attends["d1"] = asked
        process._attends["d2"] = msgspec.structs.replace(asked, door_id="d2", enrol=True)
        assert [one.door_id for one in process._attended("c1")] == ["d2", "d1"]
        process._attends["d1"] = msgspec.structs.replace(asked, enrol=True)
        assert not process._still_asked(asked), "what was seen for an act is no picture for an enrolment"


def test_a_whole_frame_that_nobody_waits_for_any_more_is_dropped() -> None:
    loop = asyncio.new_event_loop()
    whole: asyncio.Future[wire.Crop] = loop.create_future()
    whole.cancel()
    eye = EyeLink("c1", None, whole=whole)  # type: ignore[arg-type]
    FaceProcess(load=lambda: None)._take_crop(eye, msgspec.structs.replace(crop(), x=0, y=0, frame_w=100, frame_h=100))  # type: ignore[arg-type,return-value]
    assert not eye.whole
    loop.close()
