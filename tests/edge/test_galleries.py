"""Whose face may be matched: only with an assessment, a live consent for this door, and a policy that carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.attention_window import Shown
from models.access import Request
from models.calibration import DEMO_MAX_PEOPLE, Profile
from tests.edge.doubles import consent, now, person, until
from tests.edge.porch import Porch, face, homes, porch


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
