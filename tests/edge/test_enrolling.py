"""Enrolment at a door: one live person, from several sides, with hints; whoever else comes by leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge import wire
from edge.clock import SteadyClock
from edge.enrolling import DoorEnrolment
from edge.facelink import Taker
from edge.keystore import KeyStore
from edge.policies import Policies
from models.errors import Conflict, DeviceUnreachable
from models.link import EnrolAtDoor, Progress, Result
from models.liveness import Reading
from models.places import Camera
from tests.edge.doubles import consent, door, now, person, policy, until
from tests.edge.test_enrolment import CONTRACT, GOOD, office

CAMERA = Camera(
    id="c1", site_id="s", edge_id="edge-1", name="Camera", url="rtsp://192.0.2.1/s", door_id="d1",
    near_zone=(0.2, 0.2, 0.8, 0.9),
)  # fmt: skip
DOOR = door(factors=("card", "face"), camera_id="c1")
COMMAND = EnrolAtDoor(
    id="e1", person_id="p1", consent_id="consent-p1", door_id="d1", pictures=3, deadline=now() + timedelta(days=1)
)

ONE = msgspec.structs.replace(COMMAND, pictures=1)


@dataclass
class Camera1:
    """A face process that shows what it is told, as soon as somebody asks."""

    shows: list[wire.FaceSighting | wire.FaceUnusable] = field(default_factory=list)
    ready: bool = True
    enabled: bool = True
    taken: bool = False
    asked: list[wire.Attend] = field(default_factory=list)
    taker: Taker | None = None
    released: int = 0

    def take(self, door_id: str, taker: Taker) -> None:
        if self.taken:
            raise Conflict(f"somebody is being enrolled at door {door_id} already")
        self.taker = taker

    def release(self, door_id: str) -> None:
        self.taker, self.released = None, self.released + 1

    def attend(self, attend: wire.Attend) -> None:
        self.asked.append(attend)
        while self.shows and self.taker is not None:
            self.taker(self.shows.pop(0))


@dataclass
class Place:
    enrolment: DoorEnrolment
    camera: Camera1
    keys: KeyStore
    policies: Policies
    told: list[Progress]

    async def enrol(self, command: EnrolAtDoor = COMMAND) -> Result:
        return await self.enrolment.enrol(command)


@contextlib.asynccontextmanager
async def place(
    folder: Path, *shows: wire.FaceSighting | wire.FaceUnusable, at_door: Any = DOOR,
    wanted: Callable[[Progress], bool] = lambda _: True, **more: Any
) -> AsyncIterator[Place]:  # fmt: skip
    told: list[Progress] = []

    async def tell(progress: Progress) -> bool:
        told.append(progress)
        return wanted(progress)

    async with office(folder) as at:
        about = {"people": (person("p1"),), "consents": (consent("p1"),), "cameras": (CAMERA,)} | more
        await at.policies.take(policy(at_door, n=2, **about))
        camera = Camera1(list(shows))
        enrolment = DoorEnrolment(
            office=at.enrolment, link=camera, clock=SteadyClock(), policies=at.policies, tell=tell,
            wall=lambda: 0.0,
        )  # fmt: skip
        yield Place(enrolment, camera, at.keys, at.policies, told)


def seen(at_s: float, *, yaw: float = 0.0, who: float = 0.0, verdict: Any = None) -> wire.FaceSighting:
    """A good picture of the person at `who`, turned by `yaw`."""
    embedding = np.zeros(128, "<f4")
    embedding[0] = who
    reading = None if verdict is None else Reading(provider="parallax", verdict=verdict)
    return wire.FaceSighting(
        door_id="d1", camera_id="c1", track_id="t", frame_no=1, captured_at=at_s, age_ms=10.0, first_usable_at=0.0,
        embedding=embedding.tobytes(), contract=CONTRACT, quality=msgspec.structs.replace(GOOD, yaw=yaw),
        box=(0.0, 0.0, 1.0, 1.0), liveness=reading,
    )  # fmt: skip


def poor(reason: str) -> wire.FaceUnusable:
    return wire.FaceUnusable(door_id="d1", camera_id="c1", reason=reason, captured_at=0.0)


SIDES = (seen(1.0), seen(2.0, yaw=0.2, who=0.1), seen(3.0, yaw=-0.2, who=0.2))


async def test_three_sides_of_one_person_become_three_templates(tmp_path: Path) -> None:
    async with place(tmp_path, *SIDES) as at:
        result = await at.enrol()
        assert result.state == "confirmed", result.detail
        assert [one.id for one in at.keys.sealed()] == [receipt.id for receipt in result.receipts]
        assert [float(one.embedding[0]) for one in at.keys.open_all()] == pytest.approx([0.0, 0.1, 0.2])
        (asked,) = {(one.camera_id, one.near_zone, one.enrol) for one in at.camera.asked}
        assert asked == ("c1", CAMERA.near_zone, True)
        assert at.camera.released == 1


async def test_what_was_seen_before_the_order_is_no_picture(tmp_path: Path) -> None:
    async with place(tmp_path, seen(-0.1, who=0.3), *SIDES) as at:
        assert (await at.enrol()).state == "confirmed"
        assert [float(one.embedding[0]) for one in at.keys.open_all()] == pytest.approx([0.0, 0.1, 0.2])


async def test_pictures_replace_what_was_enrolled_before(tmp_path: Path) -> None:
    async with place(tmp_path, *SIDES) as at:
        await at.enrol()
        at.camera.shows = [seen(1.0, who=0.7)]
        assert (await at.enrol(ONE)).state == "confirmed"
        assert [float(one.embedding[0]) for one in at.keys.open_all()] == pytest.approx([0.7])


async def test_somebody_else_replaces_nobody_at_a_door_unless_the_order_says_so(tmp_path: Path) -> None:
    async with place(tmp_path, *SIDES) as at:
        await at.enrol()
        before = at.keys.sealed()
        at.camera.shows = [seen(1.0, who=0.8)]  # 0.6 from the nearest
        refused = await at.enrol(ONE)
        assert (refused.state, refused.reason, at.keys.sealed()) == ("refused", "differs", before)
        assert "say `anew`" in refused.detail
        at.camera.shows = [seen(1.0, who=0.8)]
        assert (await at.enrol(msgspec.structs.replace(ONE, anew=True))).state == "confirmed"
        assert [float(one.embedding[0]) for one in at.keys.open_all()] == pytest.approx([0.8])
        at.camera.shows = [msgspec.structs.replace(seen(1.0, who=5.0), contract="own.sface/128/euclidean/sha256:1")]
        assert (await at.enrol(ONE)).state == "confirmed", "another network: nothing to compare"


@pytest.mark.parametrize(
    ("shown", "hint"),
    [
        (poor("too_small"), "come_closer"), (poor("cut_off"), "step_back"), (poor("turned_away"), "look_straight"),
        (poor("too_dark"), "more_light"), (poor("too_bright"), "less_light"), (poor("blurred"), "hold_still"),
        (poor("two_faces"), "one_person_only"), (poor("something_new"), "hold_still"), (seen(1.0), "taken"),
    ],
)  # fmt: skip
async def test_what_to_do_is_said_while_they_stand_there(tmp_path: Path, shown: Any, hint: str) -> None:
    async with place(tmp_path, shown, wanted=lambda told: told.hint != hint) as at:
        assert (await at.enrol()).reason == "cancelled"
        assert (at.told[-1].hint, at.told[-1].wanted) == (hint, 3)
        assert at.keys.sealed() == ()


async def test_who_called_it_off_before_the_last_picture_is_heard_before_anything_is_sealed(tmp_path: Path) -> None:
    called_off = False

    def call_off_with_the_last_picture(told: Progress) -> bool:
        nonlocal called_off
        if not called_off and told.done == 1 and at.camera.taker is not None:
            called_off = True
            for side in SIDES[1:]:
                at.camera.taker(side)
            return True
        return not called_off

    async with place(tmp_path, SIDES[0], wanted=call_off_with_the_last_picture) as at:
        result = await at.enrol()
        assert (result.state, result.reason, result.receipts) == ("refused", "cancelled", ())
        assert ([told.done for told in at.told], at.keys.sealed()) == ([1, 3], ())


async def test_a_second_picture_shows_another_side_or_comes_much_later(tmp_path: Path) -> None:
    alike = [seen(1.0), seen(1.1, yaw=0.3), seen(2.0, yaw=0.05), seen(6.1, yaw=0.05)]
    async with place(tmp_path, *alike) as at:
        assert (await at.enrol(msgspec.structs.replace(COMMAND, pictures=2))).state == "confirmed"
        assert len(at.keys.sealed()) == 2
        assert at.camera.shows == []


async def test_somebody_else_in_between_is_not_taken_and_three_times_ends_it(tmp_path: Path) -> None:
    other = seen(1.5, who=0.9)
    async with place(tmp_path, SIDES[0], other, SIDES[1], other, SIDES[2]) as at:
        assert (await at.enrol()).state == "confirmed"
        assert all(one.embedding[0] < 0.5 for one in at.keys.open_all())
    async with place(tmp_path / "2", SIDES[0], other, other, other, *SIDES[1:]) as at:
        ended = await at.enrol()
        assert (ended.reason, "begin again" in ended.detail) == ("another_person", True)
        assert at.keys.sealed() == ()


LIVE_DOOR = msgspec.structs.replace(DOOR, liveness="parallax")


async def test_a_picture_held_up_enrols_nobody(tmp_path: Path) -> None:
    attack = (seen(1.0, verdict="undecided"), seen(2.0, verdict="attack"), *SIDES)
    async with place(tmp_path, *attack, at_door=LIVE_DOOR) as at:
        assert (await at.enrol()).reason == "not_live"
        assert at.keys.sealed() == ()


async def test_where_a_door_can_tell_only_who_is_live_is_pictured(tmp_path: Path) -> None:
    live = [msgspec.structs.replace(one, liveness=Reading(provider="parallax", verdict="live")) for one in SIDES]
    async with place(tmp_path, seen(0.5, verdict="undecided", who=0.3), *live, at_door=LIVE_DOOR) as at:
        assert (await at.enrol()).state == "confirmed"
        assert not any(one.embedding[0] > 0.25 for one in at.keys.open_all())
    soon = msgspec.structs.replace(COMMAND, deadline=now() + timedelta(seconds=2.6))
    async with place(tmp_path / "2", *SIDES, poor("no_face"), at_door=LIVE_DOOR) as at:
        assert (await at.enrol(soon)).reason == "liveness_unclear"
        assert at.keys.sealed() == ()


async def test_when_time_is_over_the_good_pictures_count_and_without_one_the_reason(tmp_path: Path) -> None:
    def soon() -> EnrolAtDoor:
        return msgspec.structs.replace(COMMAND, deadline=now() + timedelta(seconds=2.6))

    async with place(tmp_path, SIDES[0]) as at:
        result = await at.enrol(soon())
        assert (result.state, len(result.receipts)) == ("confirmed", 1)
        at.camera.shows = [poor("too_dark")]
        dark = await at.enrol(soon())
        assert (dark.reason, "begin again" in dark.detail) == ("too_dark", True)
        assert len(at.keys.sealed()) == 1, "a failed enrolment takes nothing away"


async def test_a_consent_withdrawn_while_they_stand_there_leaves_nothing(tmp_path: Path) -> None:
    withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())
    async with place(tmp_path, SIDES[0]) as at:
        enrolling = asyncio.create_task(at.enrol())
        await until(lambda: bool(at.told), what="progress")
        await at.policies.take(
            policy(DOOR, n=3, people=(person("p1"),), consents=(withdrawn,), cameras=(CAMERA,))
        )  # fmt: skip
        ended = await enrolling
        assert (ended.reason, "the consent ended" in ended.detail) == ("no_consent", True)
        assert at.keys.sealed() == ()
        assert at.camera.released == 1


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"cameras": ()}, "no_camera"), ({"consents": ()}, "no_consent"), ({"consents": (consent("p1", "d2"),)}, "no_consent"),
        ({"assessed": ()}, "not_assessed"), ({"people": (person("p1", under_14=True),)}, "no_consent"),
    ],
)  # fmt: skip
async def test_without_camera_consent_for_this_door_or_assessment_nobody_is_looked_at(
    tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    async with place(tmp_path, *SIDES, **more) as at:
        assert (await at.enrol()).reason == reason
        assert at.camera.asked == []


async def test_a_door_that_is_taken_or_cannot_see_says_so(tmp_path: Path) -> None:
    async with place(tmp_path, *SIDES) as at:
        at.camera.taken = True
        assert (await at.enrol()).reason == "busy"
        at.camera.ready = False
        result = await at.enrol()
        assert (result.state, result.reason) == ("failed", "not_ready")
        at.camera.enabled = False
        result = await at.enrol()
        assert (result.state, result.reason) == ("failed", "faces_off")
        assert "edge.faces.enabled" in result.detail


async def test_a_gateway_that_cannot_be_told_stops_nobody(tmp_path: Path) -> None:
    def away(_: Progress) -> bool:
        raise DeviceUnreachable("gateway", "away")

    async with place(tmp_path, *SIDES, wanted=away) as at:
        assert (await at.enrol()).state == "confirmed"


async def test_no_number_of_an_embedding_that_is_none_is_taken(tmp_path: Path) -> None:
    async with place(tmp_path, seen(0.5, who=float("nan")), *SIDES) as at:
        assert (await at.enrol()).state == "confirmed"
        assert all(np.isfinite(one.embedding).all() for one in at.keys.open_all())
