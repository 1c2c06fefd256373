"""Whose face may be matched: only with an assessment, a live consent for this door, and a policy that carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge.attention_window import Shown
from edge.templates import Plain
from models.access import Request
from models.calibration import DEMO_MAX_PEOPLE, FaceUse, ImpostorEvidence, Profile
from models.liveness import Reading
from tests.edge.doubles import consent, now, person, until
from tests.edge.porch import MODEL, Porch, face, homes, porch
from tests.models.test_calibration import counted


@pytest.fixture
async def at_door(tmp_path: Path) -> AsyncIterator[Porch]:
    async with porch(tmp_path) as opened:
        yield opened


async def test_a_template_of_another_door_or_model_is_not_matched(at_door: Porch) -> None:
    at_door.enrol("p1", "d2")
    assert at_door.attention.galleries.doors == {}
    at_door.enrol("p1", "d1")
    await at_door.press()
    for _ in range(3):
        at_door.link.see(face("p1"), contract="other model")
    assert at_door.shows() is None


async def test_a_withdrawal_stops_matching_even_in_flight(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())
    await at_door.apply(homes(2, consents=(withdrawn, consent("p2"))))
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert at_door.shows() is None


async def test_a_match_is_asked_for_its_consent_again_before_the_door_opens(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert isinstance(at_door.shows(), Shown)
    policy_now = at_door.policies.current
    assert policy_now is not None
    withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())
    at_door.policies.current = msgspec.structs.replace(policy_now, consents=(withdrawn,))
    assert await at_door.answer() == "consent_withdrawn"


async def test_a_person_missing_from_the_policy_is_not_matched_but_not_erased(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.apply(homes(2, ids=("p2",)))
    assert at_door.attention.galleries.doors == {}
    assert len(at_door.keys.sealed()) == 1


async def test_a_child_without_a_guardians_consent_is_not_matched(at_door: Porch) -> None:
    at_door.enrol("p1")
    child = homes(2)
    child = msgspec.structs.replace(child, people=(person("p1", under_14=True),))
    await at_door.apply(child)
    assert at_door.attention.galleries.doors == {}


async def test_more_people_than_the_demo_carries_are_let_in_by_no_face_alone(at_door: Porch) -> None:
    ids = tuple(f"q{n}" for n in range(DEMO_MAX_PEOPLE + 1))
    await at_door.apply(homes(2, ids=ids))
    for one in ids[:-1]:
        at_door.enrol(one)
    assert at_door.attention.galleries.uses["d1"].alone
    at_door.enrol(ids[-1])
    assert at_door.attention.galleries.uses["d1"].why_not == ("gallery_too_large",)
    at_door.house.wire.ask(Request(id="r1", door_id="d1", kind="button"))
    assert await at_door.answer() == "face_not_alone"
    assert at_door.link.attended == []


async def test_a_permit_is_needed_besides_the_face(at_door: Porch) -> None:
    await at_door.apply(homes(2, permits=()))
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert await at_door.answer() == "no_permit"


async def test_without_an_assessment_no_template_is_even_opened(at_door: Porch) -> None:
    at_door.enrol("p1")
    assert list(at_door.attention.galleries.doors) == ["d1"]
    await at_door.apply(homes(2, assessed=()))
    assert at_door.attention.galleries.doors == {}
    await at_door.apply(homes(3))
    assert list(at_door.attention.galleries.doors) == ["d1"]


async def test_an_assessment_that_ends_while_somebody_is_looked_for_opens_nothing(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    now_in_force = at_door.policies.current
    assert now_in_force is not None
    at_door.policies.current = msgspec.structs.replace(now_in_force, assessed=())
    assert await at_door.answer() == "not_assessed"


@pytest.mark.parametrize(
    ("profile", "heard_ago_s", "changes", "reason"),
    [
        ("off", 0.0, {}, "unsupported"),
        ("demo", None, {}, "policy_expired"),
        ("demo", 90_000.0, {}, "policy_expired"),
        ("demo", 0.0, {"valid_until": now() - timedelta(seconds=1)}, "policy_expired"),
        ("demo", 0.0, {"cameras": ()}, "unsupported"),
        ("demo", 0.0, {"assessed": ()}, "not_assessed"),
        ("demo", 0.0, {"assessed": ("recording",)}, "not_assessed"),
    ],
)
async def test_where_faces_are_shut_out_the_reader_says_so_and_cards_go_on(
    tmp_path: Path, profile: Profile, heard_ago_s: float | None, changes: dict[str, Any], reason: str
) -> None:
    async with porch(tmp_path, profile=profile, heard_ago_s=heard_ago_s) as shut:
        shut.enrol("p1")
        await shut.apply(msgspec.structs.replace(homes(2), **changes))
        shut.house.wire.ask(Request(id="r1", door_id="d1", kind="button"))
        assert await shut.answer() == reason
        assert shut.link.attended == []
        shut.house.wire.ask(Request(id="r2", door_id="d1", kind="card", value="7186A61E"))
        await until(lambda: len(shut.house.wire.unlocks()) == 1)


# ---- how a door may use faces ---------------------------------------------------------------------------------------

ALIVE = {"liveness": "model", "liveness_covers": ("print", "screen"), "liveness_basis": "report 7"}


@pytest.fixture
async def calibrated(tmp_path: Path) -> AsyncIterator[Porch]:
    async with porch(tmp_path, profile="calibrated") as opened:
        yield opened


async def lives(at_door: Porch, people: int, *evidence: ImpostorEvidence, **more: Any) -> FaceUse:
    """Let so many people be enrolled at the door; return how it may use faces."""
    ids = tuple(f"q{n}" for n in range(people))
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(people, 128)).astype("<f4")
    at_door.keys.put_all(
        [
            Plain(
                person_id=one, doors=("d1",), contract=MODEL, consent_id="c", quality=1.0, at=now(),
                embedding=row.tobytes(),
            )
            for one, row in zip(ids, rows, strict=True)
        ]
    )  # fmt: skip
    more.setdefault("of_door", ALIVE)
    n = (at_door.policies.current.n if at_door.policies.current else 0) + 1
    await at_door.apply(homes(n, ids=ids, calibrations=evidence, **more))
    galleries = at_door.attention.galleries
    if not more.get("assessed", ("face",)):
        return galleries.uses["d1"]
    await until(lambda: galleries.uses["d1"].people == people, what="the gallery")
    return galleries.uses["d1"]


@pytest.mark.parametrize(("people", "enough", "too_few"), [(60, 610, 590), (200, 1110, 1080), (5_000, 5_500, 5_400)])
async def test_a_face_alone_opens_as_far_as_counted_evidence_carries_the_gallery(
    calibrated: Porch, people: int, enough: int, too_few: int
) -> None:
    carried = await lives(calibrated, people, counted(enough))
    assert (carried.people, carried.alone, carried.radius) == (people, True, 0.45)
    short = await lives(calibrated, people, counted(too_few))
    assert (short.alone, short.radius, short.why_not) == (False, 0.0, ("too_little_evidence",))
    assert short.needed_pairs > too_few * (too_few - 1) / 2
    calibrated.house.wire.ask(Request(id="r1", door_id="d1", kind="button"))
    assert await calibrated.answer() == "face_not_alone"
    assert calibrated.link.attended == []


async def test_a_growing_gallery_tightens_the_radius_and_then_wants_a_card_too(calibrated: Porch) -> None:
    alike = counted(1300, first_at=0.42)
    assert (await lives(calibrated, 60, alike)).radius == 0.45
    assert (await lives(calibrated, 200, alike)).radius == 0.41
    grown = await lives(calibrated, 400, alike)
    assert (grown.alone, grown.verify_radius) == (False, 0.45)


async def test_the_radius_in_force_is_the_one_that_decides(calibrated: Porch) -> None:
    use = await lives(calibrated, 60, counted(1300, first_at=0.31, falls=40))
    assert use.radius == 0.30
    gallery = calibrated.attention.galleries.doors["d1"]
    nearest = gallery.templates[0].embedding
    for n, (aside, expected) in enumerate([(0.35, False), (0.25, True)]):
        await calibrated.press(n)
        for _ in range(3):
            live = Reading(provider="model", verdict="live")
            calibrated.link.see(nearest + np.float32(aside) * face("aside"), track=f"t{n}", liveness=live)
        assert isinstance(calibrated.shows(), Shown) is expected
    assert await calibrated.answer() == "pressed_again"
    await until(lambda: len(calibrated.house.wire.unlocks()) == 1)


@pytest.mark.parametrize(
    ("evidence", "door", "why"),
    [
        ([counted(610, contract="own/128/euclidean/sha256:00")], ALIVE, ("no_evidence",)),
        ([], ALIVE, ("no_evidence",)),
        ([msgspec.structs.replace(counted(610), upper=(0.0,) * 60)], ALIVE, ("no_evidence",)),
        ([counted(610)], {}, ("no_liveness",)),
        ([counted(610)], {"liveness": "parallax"}, ("liveness_incomplete",)),
        ([counted(610)], ALIVE | {"liveness_covers": ("print",)}, ("liveness_incomplete",)),
        ([counted(610)], ALIVE | {"liveness": "device"}, ("liveness_incomplete",)),
    ],
    ids=[
        "another network's",
        "none",
        "impossible counts",
        "no liveness",
        "parallax covers no screen",
        "prints only",
        "a terminal whose verdict nobody brings",
    ],
)
async def test_what_lacks_keeps_a_bare_face_out_and_is_said(
    calibrated: Porch, evidence: list[ImpostorEvidence], door: dict[str, Any], why: tuple[str, ...]
) -> None:
    use = await lives(calibrated, 2, *evidence, of_door=door)
    assert (use.alone, use.radius, use.why_not) == (False, 0.0, why)
    assert use.verify_radius > 0, "with a card or PIN a face still counts"


@pytest.mark.parametrize("profile", ["demo", "calibrated"])
@pytest.mark.parametrize("factors", [("face", "card"), ("face+card", "pin")])
async def test_a_network_for_liveness_that_the_edge_does_not_have_finds_nobody_alive_and_is_said(
    tmp_path: Path, profile: Profile, factors: tuple[str, ...]
) -> None:
    async with porch(tmp_path, profile=profile, liveness_model=False) as blind:
        use = await lives(blind, 2, counted(610), of_door=ALIVE, factors=factors)
        assert (use.alone, use.radius, use.verify_radius, use.why_not[0]) == (False, 0.0, 0.0, "no_liveness_model")
        parallax = await lives(blind, 2, counted(610), of_door={"liveness": "parallax"}, factors=factors)
        assert "no_liveness_model" not in parallax.why_not, "that one is built in"


async def test_the_status_of_a_door_says_how_it_uses_faces_and_the_log_says_when_that_changes(
    calibrated: Porch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="gatehouse.edge.galleries")
    told: list[bool] = []
    calibrated.attention.galleries.on_change = lambda: told.append(True)
    await lives(calibrated, 2, counted(610))
    (status,) = calibrated.attention.told(calibrated.house.keeper.statuses())
    assert status.face is not None
    assert (status.face.use.alone, status.face.contract, status.face.provider) == (True, MODEL, "model")
    assert caplog.messages[-1] == "door d1: a face alone opens, 2 people, radius 0.45"
    said = len(told)
    calibrated.attention.refresh()
    assert len(told) == said, "nothing changed"
    await lives(calibrated, 2)
    assert caplog.messages[-1] == "door d1: a face counts with card or PIN only, 2 people: no_evidence"
    await lives(calibrated, 2, counted(610), assessed=())
    assert caplog.messages[-1] == "door d1: no face is matched: not_assessed, no_evidence"
    assert len(told) == said + 2
    assert not any(f"q{n}" in message for n in range(2) for message in caplog.messages)


async def test_a_door_that_takes_no_face_has_no_word_about_faces_in_its_status(calibrated: Porch) -> None:
    calibrated.enrol("p1")
    await calibrated.apply(homes(2, factors=("card",)))
    (status,) = calibrated.attention.told(calibrated.house.keeper.statuses())
    assert status.face is None
    assert calibrated.attention.galleries.doors == {}


async def test_a_camera_that_is_not_served_is_a_reason_too(calibrated: Porch) -> None:
    await lives(calibrated, 2, counted(610))
    unserved = msgspec.structs.replace(homes(9, of_door=ALIVE), cameras=())
    await calibrated.apply(unserved)
    assert calibrated.attention.galleries.uses["d1"].why_not[0] == "no_camera"


async def test_templates_of_a_network_that_runs_no_more_match_nobody(
    at_door: Porch, caplog: pytest.LogCaptureFixture
) -> None:
    at_door.enrol("p1")
    await at_door.press()
    for _ in range(3):
        at_door.link.see(face("p1"), contract="own/128/euclidean/sha256:11")
    assert at_door.attention.galleries.doors == {}
    assert "enrol anew" in caplog.text
    assert await at_door.end() == "not_recognised"
    status = at_door.attention.galleries.status(at_door.house.keeper.door("d1"))
    assert status is not None
    assert (status.use.people, status.use.why_not) == (0, ("no_evidence",)), "0.40 is a radius of another network"
