"""The face process: it looks only where it was asked to, newest only, and forgets; its networks are a function here."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge import wire
from edge.facelink import FaceLink
from edge.faces_look import BUDGET_S, FULL_EVERY_S, Look, Looker, Tally, View, built_in
from edge.tracks import LIFE_S, Tracks
from models.errors import DeviceUnreachable
from models.faces.liveness import Watcher
from models.faces.pipeline import Face, Rgb
from models.liveness import Provider, Reading, Verdict
from models.recognition import FaceQuality
from models.zones import WHOLE
from tests.edge.doubles import until
from tests.edge.faces_stage import CONTRACT, GOOD, Networks, attend, crop, stage


async def test_without_an_act_at_the_door_nothing_is_looked_at(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        eye = await on.eye()
        other = await on.eye("c2")
        await until(lambda: len(on.process._eyes) == 2)
        for n in range(5):
            await eye.show(frame_no=n)
        on.link.attend(attend("c2"))
        listening = asyncio.create_task(other.listen())
        await until(lambda: other.credits == 1)
        await other.show()
        await until(lambda: len(on.sightings) == 1)
        assert (on.networks.detections, on.networks.embeddings) == (1, 1)
        listening.cancel()


async def test_a_face_in_the_near_zone_is_told_with_its_place_and_embedding(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        eye = await on.eye()
        on.link.attend(attend())
        listening = asyncio.create_task(eye.listen())
        for n in range(1, 4):
            await until(lambda n=n: eye.credits >= n)  # type: ignore[misc]
            await eye.show(value=101, frame_no=n)
            await until(lambda n=n: len(on.sightings) == n)  # type: ignore[misc]
        first, *others = on.sightings
        assert np.frombuffer(first.embedding, "<f4").tolist() == [101.0] * 128
        assert first.contract == CONTRACT.id
        assert first.box == (110.0, 60.0, 80.0, 80.0)
        assert {s.track_id for s in others} == {first.track_id}
        assert {s.first_usable_at for s in others} == {first.first_usable_at}
        assert eye.watches >= 1
        listening.cancel()


async def test_a_face_outside_the_near_zone_is_not_embedded(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        eye = await on.eye()
        on.link.attend(attend(near_zone=(0.5, 0.0, 1.0, 1.0)))
        await until(lambda: on.process._attends != {})
        await eye.show()
        await until(lambda: on.networks.detections == 1)
        await eye.show()
        await until(lambda: on.networks.detections == 2)
        assert on.networks.embeddings == 0
        assert on.sightings == []


async def test_an_unusable_face_is_told_with_its_reason_and_not_embedded(tmp_path: Path) -> None:
    bad = FaceQuality(
        face_px=80, eye_px=40.0, blur=1.0, brightness=120.0, contrast=40.0, yaw=0.0, roll_deg=0.0, inside=1.0
    )
    async with stage(tmp_path, quality_=bad) as on:
        eye = await on.eye()
        on.link.attend(attend())
        await until(lambda: on.process._attends != {})
        await eye.show()
        await until(lambda: len(on.unusable) == 1)
        assert on.unusable[0].reason == "blurred"
        await eye.show(frame_no=2)
        await until(lambda: on.process.tally.crops == 2)
        assert len(on.unusable) == 1, "at most once a second"
        assert on.networks.embeddings == 0


async def test_between_full_passes_known_faces_are_followed_and_a_lost_one_is_looked_for_at_once(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path) as on:
        eye = await on.eye()
        on.link.attend(attend())
        await until(lambda: on.process._attends != {})
        for n in range(1, 4):
            await eye.show(frame_no=n)
            await until(lambda n=n: len(on.sightings) == n)  # type: ignore[misc]
        assert (on.networks.detections, on.networks.followed) == (1, 2)
        assert len({sighting.track_id for sighting in on.sightings}) == 1
        on.networks.boxes = [(15, 10, 94, 89)]
        await eye.show(frame_no=4)
        await until(lambda: len(on.sightings) == 4)
        assert (on.networks.detections, on.networks.followed) == (2, 3)
        assert len({sighting.track_id for sighting in on.sightings}) == 1


def test_a_whole_crop_is_looked_at_again_every_half_second() -> None:
    networks, view = Networks(), View(tracks=Tracks(new_id=lambda: "t"))
    looker = Looker(networks, tally=Tally(), watch=built_in)  # type: ignore[arg-type]
    for step in range(11):
        looker.look_at([Look(crop=crop(frame_no=step), attend=attend(), view=view)], at=step / 10)
    assert FULL_EVERY_S == 0.5
    assert (networks.detections, networks.followed) == (3, 8)


def test_what_several_cameras_see_is_embedded_at_once_and_late_crops_wait_for_the_next_look() -> None:
    networks, tally = Networks(), Tally()
    looks = [
        Look(crop=crop(f"c{n}", value=n), attend=attend(f"c{n}"), view=View(tracks=Tracks(new_id=str)))
        for n in range(5)
    ]
    ticks = iter((0.0, 0.02, 0.04, BUDGET_S + 0.01))
    looker = Looker(networks, tally=tally, watch=built_in, clock=lambda: next(ticks))  # type: ignore[arg-type]
    seen = looker.look_at(looks, at=0.0)
    assert [np.frombuffer(face.embedding, "<f4")[0] for faces in seen for face in faces] == [0.0, 1.0, 2.0]
    assert networks.batches == [3]
    assert (tally.crops, tally.faces, tally.embeddings, tally.batches) == (3, 3, 3, 1)


async def test_no_camera_starves_while_others_are_looked_at(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        eyes = [await on.eye(f"c{n}") for n in range(4)]
        for n in range(4):
            on.link.attend(msgspec.structs.replace(attend(f"c{n}"), door_id=f"d{n}"))
        await until(lambda: len(on.process._attends) == 4)
        for eye in eyes:
            await eye.show()
        await until(lambda: {sighting.door_id for sighting in on.sightings} == {"d0", "d1", "d2", "d3"})


@dataclass
class Watched:
    """Say that a track is live from its third picture on, and remember what was observed."""

    places: list[tuple[float, float]] = field(default_factory=list)

    def observe(self, rgb: Rgb, *, origin: tuple[float, float], scale: float, face: Face, at_s: float) -> Reading:
        self.places.append((origin[0] + scale * face.box[0], origin[1] + scale * face.box[1]))
        verdict: Verdict = "live" if len(self.places) > 2 else "undecided"
        return Reading(provider="parallax", verdict=verdict, frames=len(self.places))


def test_each_track_has_one_who_watches_it_for_life_and_goes_with_it(caplog: pytest.LogCaptureFixture) -> None:
    watchers: list[Watched] = []

    def watch(provider: Provider) -> Watcher | None:
        watchers.append(Watched())
        return watchers[-1]

    names = iter("abcdef")
    networks, view = Networks(), View(tracks=Tracks(new_id=lambda: next(names)))
    looker = Looker(networks, tally=Tally(), watch=watch)  # type: ignore[arg-type]

    def look(at: float, *boxes: tuple[int, int, int, int], provider: Provider = "parallax") -> list[Reading | None]:
        networks.boxes = list(boxes)
        asked = attend(liveness=provider, near_zone=WHOLE)
        (seen,) = looker.look_at([Look(crop=crop(), attend=asked, view=view)], at=at)
        return [face.liveness for face in seen]

    one, other = (0, 0, 49, 49), (-80, 0, -31, 49)
    first = Reading(provider="parallax", verdict="undecided", frames=1)
    assert look(0.0, one) == [first]
    networks.quality_ = msgspec.structs.replace(GOOD, blur=1.0)
    assert look(0.6, one, other)[1] == first
    assert [len(watcher.places) for watcher in watchers] == [2, 1], "a blurred face is watched too"
    assert watchers[0].places[0] == (100.0, 50.0), "in px of the full frame"
    live = look(1.2, one)[0]
    assert live is not None
    assert live.verdict == "live"
    assert look(1.2 + LIFE_S + 0.1, one) == [first]
    assert set(view.watchers) == {"c"}
    assert look(3.0, one, provider="model") == [first]
    assert len(look(3.6, one, other, provider="model")) == 2
    assert len(watchers) == 5
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1, "once, not at each track"
    assert "edge.faces.models.liveness" in told[0]
    assert built_in("none") is None
    assert built_in("device") is None


async def test_what_the_watcher_says_is_told_with_the_sighting_and_it_goes_with_its_face(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        eye = await on.eye()
        on.link.attend(attend(liveness="parallax", for_s=20.0))
        await until(lambda: on.process._attends != {})
        await eye.show()
        await until(lambda: len(on.sightings) == 1)
        assert on.sightings[0].liveness == Reading(provider="parallax", verdict="undecided", frames=1)
        assert len(on.process._eyes["c1"].views["d1"].watchers) == 1
        gone_at = time.monotonic()
        await until(lambda: on.process._eyes["c1"].views == {})
        assert time.monotonic() - gone_at < 2.0
        assert on.process._eyes["c1"].views == {}


POLYGON = (0.1, 0.1, 0.4, 0.1, 0.4, 0.6)
"""A triangle: what its least rectangle holds in the lower left is outside."""


@pytest.mark.parametrize(("place", "inside"), [((20, 10), True), ((-40, 60), False)])
async def test_a_near_zone_may_be_a_polygon(tmp_path: Path, place: tuple[int, int], inside: bool) -> None:
    x, y = place
    async with stage(tmp_path, boxes=[(x, y, x + 79, y + 79)]) as on:
        eye = await on.eye()
        on.link.attend(attend(near_zone=POLYGON))
        await until(lambda: on.process._attends != {})
        await eye.show()
        await until(lambda: on.process.tally.crops == 1)
        assert on.networks.embeddings == inside
        assert on.process.tally.faces == inside


ENROL_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"boxes": []}, "no_face"),
    "two": ({"boxes": [(0, 0, 49, 49), (50, 0, 99, 49)]}, "two_faces"),
    "one who fills the picture": ({"boxes": [(-150, -120, 199, 229)]}, "too_large"),
    "one who is turned further than a template may be": (
        {"quality_": msgspec.structs.replace(GOOD, yaw=0.55)}, "turned_away",
    ),
    "one who is blurred": ({"quality_": msgspec.structs.replace(GOOD, blur=16.0)}, "blurred"),
}  # fmt: skip


@pytest.mark.parametrize("case", ENROL_CASES)
async def test_an_enrolment_is_told_at_every_picture_what_is_missing(tmp_path: Path, case: str) -> None:
    more, reason = ENROL_CASES[case]
    async with stage(tmp_path, **more) as on:
        told: list[wire.FaceSighting | wire.FaceUnusable] = []
        on.link.take("d1", told.append)
        on.link.attend(attend(enrol=True))
        await until(lambda: on.process._attends != {})
        eye = await on.eye()
        for n in range(1, 4):
            await eye.show(frame_no=n)
            await until(lambda n=n: on.process.tally.crops == n)  # type: ignore[misc]
        await until(lambda: len(told) >= 3)
        assert {face.reason for face in told if isinstance(face, wire.FaceUnusable)} == {reason}
        assert (on.networks.embeddings, on.networks.followed) == (0, 0)
        assert (on.sightings, on.unusable) == ([], [])


async def test_an_enrolment_gets_the_one_good_face_at_every_picture(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        told: list[wire.FaceSighting | wire.FaceUnusable] = []
        on.link.take("d1", told.append)
        on.link.attend(attend(enrol=True))
        await until(lambda: on.process._attends != {})
        eye = await on.eye()
        for n in range(1, 3):
            await eye.show(frame_no=n)
            await until(lambda n=n: len(told) == n)  # type: ignore[misc]
        assert all(isinstance(face, wire.FaceSighting) for face in told)
        assert (on.networks.detections, on.networks.followed) == (2, 0), "newcomers are seen at once"


async def test_an_old_frame_is_not_looked_at(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        eye = await on.eye()
        on.link.attend(attend())
        await until(lambda: on.process._attends != {})
        await eye.show(late_s=2.0)
        await until(lambda: on.process.stale == 1)
        assert on.networks.detections == 0


async def test_ignoring_a_door_stops_at_once_and_forgets_its_tracks(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        eye = await on.eye()
        on.link.attend(attend())
        await until(lambda: on.process._attends != {})
        await eye.show()
        await until(lambda: len(on.sightings) == 1)
        assert len(on.process._eyes["c1"].views["d1"].tracks) == 1
        on.link.ignore("d1")
        await until(lambda: on.process._attends == {})
        assert on.process._eyes["c1"].views == {}
        await eye.show()
        await until(lambda: on.process._eyes["c1"].crop is None)
        assert on.networks.detections == 1


async def test_when_the_worker_is_gone_nothing_is_looked_at(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        on.link.attend(attend())
        await until(lambda: on.process._attends != {})
        assert on.process._worker is not None
        on.process._worker.close()
        await until(lambda: on.process._attends == {})


async def test_an_attention_that_is_over_is_forgotten(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.eye()
        on.link.attend(attend(for_s=0.2))
        await until(lambda: on.process._attends != {})
        await until(lambda: on.process._attends == {}, limit_s=3)


async def test_photos_become_embeddings_or_reasons(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        face = await on.link.photo(b"somebody", request_id="a")
        assert face.ok
        assert len(face.embedding) == 128 * 4
        assert (await on.link.photo(b"nobody", request_id="b")).reason == "no_face"


async def test_what_is_not_ours_ends_that_connection_only(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        reader, writer = await asyncio.open_unix_connection(str(on.socket))
        writer.write(b"\x00\x00\x00\x05hello")
        assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_unix_connection(str(on.socket))
        writer.write(b"\xff\xff\xff\xff")
        assert await reader.read() == b""
        writer.close()
        assert (await on.link.photo(b"somebody", request_id="a")).ok


async def test_a_crop_that_lies_about_its_size_is_no_picture(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        eye = await on.eye()
        on.link.attend(attend())
        await until(lambda: on.process._attends != {})
        lie = msgspec.structs.replace(crop(), cols=4000, rows=4000, frame_w=4000, frame_h=4000)
        await wire.write(eye.writer, lie)
        await until(lambda: on.process.tally.crops == 1)
        assert on.networks.detections == 0


def test_tracks_follow_near_boxes_and_die_within_two_seconds_after_they_were_last_seen() -> None:
    names = iter("abcdef")
    tracks = Tracks(new_id=lambda: next(names))
    left, right = (0.0, 0.0, 50.0, 50.0), (300.0, 0.0, 50.0, 50.0)
    assert [t.id for t in tracks.follow([left, right], at=0.0)] == ["a", "b"]
    assert [t.id for t in tracks.follow([right, left], at=0.1)] == ["b", "a"]
    assert [t.id for t in tracks.follow([(600.0, 0.0, 50.0, 50.0)], at=0.2)] == ["c"]
    tracks.expire(at=0.15 + LIFE_S)
    assert LIFE_S < 2.0
    assert len(tracks) == 1
    assert [t.id for t in tracks.follow([left], at=0.2)] == ["d"]


def test_a_face_that_doubles_its_size_at_once_is_another() -> None:
    names = iter("ab")
    tracks = Tracks(new_id=lambda: next(names))
    tracks.follow([(0.0, 0.0, 40.0, 40.0)], at=0.0)
    assert tracks.follow([(0.0, 0.0, 160.0, 160.0)], at=0.1)[0].id == "b"


async def test_a_face_process_that_is_not_there_or_goes_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    link = FaceLink(tmp_path / "nobody.sock")
    with pytest.raises(DeviceUnreachable, match="face process"):
        await link.run(lambda: None)
    link.attend(attend())
    link.ignore("d1")
    link.ignore("d1")
    async with stage(tmp_path) as on:
        again = FaceLink(on.socket)
        again.attend(attend())
        running = asyncio.create_task(again.run(lambda: None))
        await until(lambda: on.process._attends != {}, what="what was asked before the connection")
        assert on.process._worker is not None
        on.process._worker.close()
        with pytest.raises(DeviceUnreachable):
            await running
        assert not again.ready


def test_another_face_in_the_place_of_one_begins_a_track_that_nobody_found_alive() -> None:
    names, networks = iter("ab"), Networks()
    view = View(tracks=Tracks(new_id=lambda: next(names)))
    looker = Looker(networks, tally=Tally(), watch=lambda _: Watched())  # type: ignore[arg-type]
    told = []
    for step, value in enumerate((1, 1, 1, 9, 9)):
        shown = crop(value=value, frame_no=step)
        ((seen,),) = looker.look_at([Look(crop=shown, attend=attend(liveness="parallax"), view=view)], at=step / 10)
        told.append((seen.track.id, None if seen.liveness is None else seen.liveness.verdict))
    assert told == [("a", "undecided"), ("a", "undecided"), ("a", "live"), ("b", None), ("b", "undecided")]
