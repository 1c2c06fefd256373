"""Faces at doors: only fresh and agreeing frames open, and never without an answer."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from drivers.door import GiveFeedback
from edge import wire
from edge.keystore import Opened
from models.events import AccessDenied, AccessGranted
from models.policy import DesiredMode
from tests.edge.doubles import now, until
from tests.edge.porch import MODEL, Porch, face, homes, porch


@pytest.fixture
async def at_door(tmp_path: Path) -> AsyncIterator[Porch]:
    async with porch(tmp_path) as opened:
        yield opened


async def test_two_agreeing_frames_open_and_say_why(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    assert at_door.house.wire.orders == [], "one frame is not enough"
    at_door.link.see(face("p1"))
    assert await at_door.answer() == "unlocked"
    await until(lambda: at_door.house.keeper.counters.get("access_granted") == 1)
    await at_door.house.keeper.recorded("d1")
    (fact,) = [f for f in await at_door.house.facts() if isinstance(f, AccessGranted)]
    assert (fact.person_id, fact.method, fact.attempt) == ("p1", "face", "r1")
    assert fact.evidence is not None
    assert (fact.evidence.agreeing, fact.evidence.gallery_size) == (2, 1)
    assert at_door.link.ignored == ["d1"]


async def test_frames_of_different_tracks_do_not_agree(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    for n in range(5):
        at_door.link.see(face("p1"), track=f"t{n}")
    assert at_door.shows() is None


async def test_two_who_are_too_alike_open_for_neither(at_door: Porch) -> None:
    at_door.enrol("p1")
    twin = Opened(person_id="p2", doors=("d1",), contract=MODEL, embedding=face("p1") + np.float32(1e-3))
    at_door.keys.put(twin, consent_id="c", quality=1.0, at=now())
    at_door.attention.refresh()
    await at_door.press()
    for _ in range(3):
        at_door.link.see(face("p1"))
    window = at_door.attention._windows["d1"]
    assert at_door.shows() is None
    assert "ambiguous" in window.reasons


async def test_a_stranger_is_answered_when_the_window_ends(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    for _ in range(3):
        at_door.link.see(face("stranger"))
    assert await at_door.end() == "not_recognised"
    await at_door.house.keeper.recorded("d1")
    (fact,) = [f for f in await at_door.house.facts() if isinstance(f, AccessDenied)]
    assert (fact.person_id, fact.method) == (None, "face")
    assert at_door.attention._windows == {}


async def test_frames_that_are_old_or_from_the_future_open_nothing(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    for age_ms in (1600.0, 5000.0, -10_000.0):
        at_door.link.see(face("p1"), age_ms=age_ms)
        at_door.link.see(face("p1"), age_ms=age_ms)
    assert at_door.attention.counters["stale_frames"] == 6
    assert at_door.shows() is None


async def test_a_locked_down_door_opens_for_no_face(at_door: Porch) -> None:
    await at_door.apply(homes(2, modes=(DesiredMode(door_id="d1", version=1, mode="locked_down"),)))
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    await until(lambda: at_door.house.admission.counters.get("denied_locked_down") == 1)
    assert not at_door.house.wire.unlocks()


async def test_a_second_press_answers_the_first_and_extends_its_window(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press(1)
    until_first = at_door.attention._windows["d1"].until
    await at_door.press(2)
    await until(lambda: bool(at_door.house.wire.orders), what="an answer to the first press")
    (answer,) = at_door.house.wire.orders
    assert isinstance(answer, GiveFeedback)
    assert (answer.attempt, answer.reason) == ("r1", "pressed_again")
    assert at_door.attention._windows["d1"].until > until_first
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    await until(lambda: bool(at_door.house.wire.unlocks()))
    assert [order.attempt for order in at_door.house.wire.unlocks()] == ["r2"]
    await until(lambda: at_door.house.keeper.counters.get("access_granted") == 1)
    await at_door.house.keeper.recorded("d1")
    facts = {f.attempt: f for f in await at_door.house.facts() if isinstance(f, AccessGranted | AccessDenied)}
    assert sorted(facts) == ["r1", "r2"], "every press becomes one fact"
    assert isinstance(facts["r1"], AccessDenied)
    assert facts["r1"].person_id is None


async def test_a_hands_free_door_is_attended_without_an_act_and_rests_after_a_person(at_door: Porch) -> None:
    hands_free = {"hands_free": True, "impact_assessment": "pia-1"}
    at_door.enrol("p1")
    await at_door.apply(homes(2, of_door=hands_free))
    await until(lambda: "d1" in at_door.attention._windows, limit_s=5)
    for n in range(6):
        at_door.link.see(face("p1"), track=f"t{n // 3}")
    await until(lambda: len(at_door.house.wire.unlocks()) == 1)
    for _ in range(6):
        at_door.link.see(face("stranger"), track="s")
    await until(lambda: at_door.house.admission.counters.get("denied_not_recognised") == 1)
    assert len(at_door.house.wire.unlocks()) == 1
    await at_door.apply(homes(3))
    await until(lambda: at_door.attention._windows == {}, limit_s=5)


async def test_an_unusable_face_is_the_reason_when_nothing_better_is_known(at_door: Porch) -> None:
    await at_door.press()
    at_door.link.on_unusable(wire.FaceUnusable(door_id="d1", camera_id="c1", reason="blurred", captured_at=time.time()))
    assert await at_door.end() == "face_unusable"


async def test_the_window_of_a_door_forgets_tracks_that_are_over(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    for n in range(40):
        at_door.link.see(face("stranger"), track=f"t{n}")
    assert len(at_door.attention._windows["d1"].tracks) <= 16


async def test_a_stranger_who_left_is_forgotten_within_two_seconds(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("stranger"))
    window = at_door.attention._windows["d1"]
    assert window.tracks
    await until(lambda: not window.tracks, limit_s=2.0)
    assert at_door.attention._windows == {"d1": window}, "while the window is still open"


async def test_nothing_of_a_thousand_strangers_reaches_the_disk_or_the_log(
    at_door: Porch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    at_door.enrol("p1")
    await at_door.press()
    strangers = [face(f"stranger {n}") for n in range(1000)]
    for n, one in enumerate(strangers):
        at_door.link.see(one, track=f"t{n // 3}")
    assert await at_door.end() == "not_recognised"
    await at_door.house.keeper.recorded("d1")
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) + caplog.text.encode()
    for one in strangers:
        raw = one.tobytes()
        forms = (raw[:16], one.astype(np.float16).tobytes()[:16], base64.b64encode(raw)[:16], f"{one[0]:.8}".encode())
        assert not any(form in kept for form in forms)
    assert at_door.attention._windows == {}
