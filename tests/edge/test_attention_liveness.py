"""Pictures of faces, two faces at once, and faces that several templates know: what a window answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.attention_window import Shown
from edge.guesses import PACES
from edge.templates import Plain
from models.access import Request
from models.events import AccessGranted
from models.liveness import Reading, Verdict
from tests.edge.doubles import now, until
from tests.edge.porch import MODEL, Porch, face, homes, porch

CARD = "7186A61E"


@pytest.fixture
async def at_door(tmp_path: Path) -> AsyncIterator[Porch]:
    async with porch(tmp_path) as opened:
        await opened.apply(homes(2, of_door={"liveness": "parallax"}))
        for one in ("p1", "p2"):
            opened.enrol(one)
        yield opened


def reading(verdict: Verdict, **more: Any) -> Reading:
    return Reading(**{"provider": "parallax", "verdict": verdict, "score": 0.5, "frames": 9} | more)


async def test_a_live_face_opens_and_its_reading_is_in_the_evidence(at_door: Porch) -> None:
    await at_door.press()
    assert at_door.link.attended[-1].liveness == "parallax"
    at_door.link.see(face("p1"), liveness=reading("undecided"))
    at_door.link.see(face("p1"), liveness=reading("undecided"))
    assert at_door.shows() is None, "it matches, and nobody knows yet whether it is a picture"
    at_door.link.see(face("p1"), liveness=reading("live"))
    assert await at_door.answer() == "unlocked"
    await until(lambda: at_door.house.keeper.counters.get("access_granted") == 1)
    await at_door.house.keeper.recorded("d1")
    (fact,) = [one for one in await at_door.house.facts() if isinstance(one, AccessGranted)]
    assert fact.evidence is not None
    assert fact.evidence.liveness == reading("live")


async def test_a_picture_of_a_resident_is_refused_at_once(at_door: Porch) -> None:
    await at_door.press()
    at_door.link.see(face("p1"), liveness=reading("undecided"))
    at_door.link.see(face("p1"), liveness=reading("attack"))
    assert await at_door.answer() == "not_live"


async def test_what_was_told_to_be_a_picture_stays_one(at_door: Porch) -> None:
    await at_door.press()
    at_door.link.see(face("p1"), liveness=reading("attack"))
    at_door.link.see(face("p1"), liveness=reading("live"))
    at_door.link.see(face("p1"), liveness=reading("live"))
    assert await at_door.answer() == "not_live"
    assert not at_door.house.wire.unlocks()


async def test_pressing_again_does_not_acquit_a_picture(at_door: Porch) -> None:
    await at_door.press(1)
    at_door.link.see(face("p1"), liveness=reading("attack"))
    await at_door.press(2)
    at_door.link.see(face("p1"), liveness=reading("live"))
    at_door.link.see(face("p1"), liveness=reading("live"))
    await until(lambda: at_door.house.admission.counters.get("denied_not_live") == 2)
    assert "denied_pressed_again" not in at_door.house.admission.counters
    assert not at_door.house.wire.unlocks()


async def test_who_goes_on_holding_pictures_up_waits_before_a_bare_face_is_looked_at(at_door: Porch) -> None:
    admission = at_door.house.admission
    for n in range(PACES["face"].free + 1):
        await at_door.press(n)
        for _ in range(2):
            at_door.link.see(face("p1"), track=f"t{n}", liveness=reading("attack"))
        await until(lambda n=n: admission.counters.get("denied_not_live") == n + 1)  # type: ignore[misc]
    looked = len(at_door.link.attended)
    at_door.house.wire.ask(Request(id="card", door_id="d1", kind="card", value=CARD))
    await until(lambda: len(at_door.house.wire.unlocks()) == 1, what="a card goes on opening")
    at_door.house.wire.ask(Request(id="more", door_id="d1", kind="button"))
    await until(lambda: admission.counters.get("denied_locked_out") == 1, what="and clears nothing of the pictures")
    assert len(at_door.link.attended) == looked
    assert not admission.slowed("d2"), "other doors are as they were"


async def test_strangers_at_a_bare_face_slow_nobody_down(at_door: Porch) -> None:
    for n in range(PACES["face"].free + 3):
        await at_door.press(n)
        for _ in range(3):
            at_door.link.see(face("stranger"), track=f"t{n}", liveness=reading("live"))
        assert await at_door.end() == "not_recognised"
        await until(lambda n=n: at_door.house.admission.counters.get("denied_not_recognised") == n + 1)  # type: ignore[misc]
    assert not at_door.house.admission.slowed("d1")


async def test_a_picture_on_the_wall_keeps_nobody_out(at_door: Porch) -> None:
    await at_door.press()
    at_door.link.see(face("a poster"), track="wall", liveness=reading("attack"))
    at_door.link.see(face("a poster"), track="wall", liveness=reading("attack"))
    for _ in range(3):
        at_door.link.see(face("p1"), liveness=reading("live"))
    at_door.link.see(face("p1"), liveness=reading("live"))
    assert await at_door.answer() == "unlocked"


@pytest.mark.parametrize(
    "told",
    [None, reading("undecided"), reading("live", provider="model")],
    ids=["no reading", "undecided", "another provider's"],
)
async def test_a_face_that_nobody_found_alive_waits_and_is_refused_in_the_end(
    at_door: Porch, told: Reading | None
) -> None:
    await at_door.press()
    for _ in range(4):
        at_door.link.see(face("p1"), liveness=told)
    assert at_door.shows() is None
    assert await at_door.end() == "liveness_unclear"


async def test_a_door_that_begins_to_ask_for_a_live_face_asks_in_open_windows_too(at_door: Porch) -> None:
    await at_door.apply(homes(3))
    await at_door.press()
    at_door.link.see(face("p1"))
    await at_door.apply(homes(4, of_door={"liveness": "parallax"}))
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert await at_door.end() == "liveness_unclear"


async def test_a_door_that_goes_while_somebody_is_looked_for_opens_nothing(at_door: Porch) -> None:
    await at_door.press()
    at_door.link.see(face("p1"), liveness=reading("live"))
    before = at_door.policies.current
    assert before is not None
    at_door.policies.current = msgspec.structs.replace(before, doors=())
    at_door.attention.refresh()
    at_door.link.see(face("p1"), liveness=reading("live"))
    at_door.link.see(face("p1"), liveness=reading("live"))
    assert await at_door.end() == "face_unusable"


async def test_a_strangers_picture_is_a_picture(at_door: Porch) -> None:
    await at_door.press()
    for _ in range(4):
        at_door.link.see(face("stranger"), liveness=reading("attack"))
    assert at_door.shows() is None, "somebody else may step in"
    assert await at_door.end() == "not_live"


async def test_a_card_does_not_excuse_a_picture_of_its_holder(at_door: Porch) -> None:
    await at_door.apply(homes(3, factors=("face+card", "qr"), of_door={"liveness": "parallax"}))
    for n, verdict in enumerate(("undecided", "attack")):
        at_door.house.wire.ask(Request(id=f"r{n}", door_id="d1", kind="card", value=CARD))
        await until(lambda: "d1" in at_door.attention._windows)
        at_door.link.see(face("p1"), track=f"t{n}", liveness=reading(verdict))  # type: ignore[arg-type]
        at_door.link.see(face("p1"), track=f"t{n}", liveness=reading(verdict))  # type: ignore[arg-type]
        if verdict == "undecided":
            assert await at_door.end() == "liveness_unclear"
    await until(lambda: at_door.house.admission.counters.get("denied_not_live") == 1)
    assert not at_door.house.wire.unlocks()


async def test_pictures_held_up_after_a_card_slow_the_doors_bare_faces_too(at_door: Porch) -> None:
    await at_door.apply(homes(3, factors=("face", "face+card", "qr"), of_door={"liveness": "parallax"}))
    admission = at_door.house.admission
    for n in range(PACES["face"].free + 1):
        assert not admission.slowed("d1")
        looked = len(at_door.link.attended)
        at_door.house.wire.ask(Request(id=f"r{n}", door_id="d1", kind="card", value=CARD))
        await until(lambda looked=looked: len(at_door.link.attended) > looked)  # type: ignore[misc]
        for _ in range(2):
            at_door.link.see(face("p1"), track=f"t{n}", liveness=reading("attack"))
        await until(lambda n=n: admission.counters.get("denied_not_live") == n + 1)  # type: ignore[misc]
    at_door.house.wire.ask(Request(id="bare", door_id="d1", kind="button"))
    await until(lambda: admission.counters.get("denied_locked_out") == 1)
    at_door.house.wire.ask(Request(id="live", door_id="d1", kind="card", value=CARD))
    await until(lambda: "d1" in at_door.attention._windows)
    for _ in range(3):
        at_door.link.see(face("p1"), track="live", liveness=reading("live"))
    await until(
        lambda: len(at_door.house.wire.unlocks()) == 1, what="a card with its holder's live face goes on opening"
    )


async def test_a_hands_free_door_opens_for_no_picture_and_says_so_once(at_door: Porch) -> None:
    hands_free = {"hands_free": True, "impact_assessment": "pia-1", "liveness": "parallax"}
    await at_door.apply(homes(3, of_door=hands_free))
    await until(lambda: "d1" in at_door.attention._windows, limit_s=5)
    for _ in range(4):
        at_door.link.see(face("p1"), track="t1", liveness=reading("undecided"))
    for _ in range(6):
        at_door.link.see(face("p2"), track="t2", liveness=reading("attack"))
    await until(lambda: at_door.house.admission.counters.get("denied_not_live") == 1)
    at_door.link.see(face("p1"), track="t1", liveness=reading("live"))
    await until(lambda: len(at_door.house.wire.unlocks()) == 1)
    assert at_door.house.admission.counters == {"denied_not_live": 1, "unlocks": 1}


async def hands_free(at_door: Porch) -> None:
    """Make the door a hands-free one that is attended."""
    door = {"hands_free": True, "impact_assessment": "pia-1", "liveness": "parallax"}
    await at_door.apply(homes(3, of_door=door))
    await until(lambda: "d1" in at_door.attention._windows, limit_s=5)


async def test_pictures_held_up_at_a_hands_free_door_make_it_wait_too(at_door: Porch) -> None:
    await hands_free(at_door)
    for n in range(PACES["face"].free + 1):
        for _ in range(3):
            at_door.link.see(face("p1"), track=f"t{n}", liveness=reading("attack"))
    await until(lambda: "d1" not in at_door.attention._windows, what="nobody is looked at")
    for _ in range(3):
        at_door.link.see(face("p1"), track="live", liveness=reading("live"))
    assert at_door.house.admission.counters == {"denied_not_live": PACES["face"].free + 1}
    assert at_door.link.ignored[-1] == "d1"


async def test_a_poster_in_view_of_a_hands_free_door_is_one_wrong_attempt(at_door: Porch) -> None:
    await hands_free(at_door)
    for _ in range(8):
        for _ in range(3):
            at_door.link.see(face("poster"), track="wall", liveness=reading("attack"))
        at_door.attention._rest = {key: at - 6.0 for key, at in at_door.attention._rest.items()}
    await until(lambda: at_door.house.admission.counters.get("denied_not_live") == 1)
    await at_door.house.keeper.recorded("d1")
    assert at_door.house.admission.counters == {"denied_not_live": 1}


# ---- two faces in the zone ------------------------------------------------------------------------------------------


@pytest.fixture
async def flat_door(tmp_path: Path) -> AsyncIterator[Porch]:
    async with porch(tmp_path) as opened:
        for one in ("p1", "p2"):
            opened.enrol(one)
        yield opened


async def test_two_residents_at_once_are_ambiguous_whoever_pressed(flat_door: Porch) -> None:
    await flat_door.press()
    for _ in range(2):
        flat_door.link.see(face("p1"), track="t1")
        flat_door.link.see(face("p2"), track="t2")
    assert await flat_door.answer() == "ambiguous"
    assert not flat_door.house.wire.unlocks()


async def test_a_match_waits_a_moment_for_the_other_face(flat_door: Porch) -> None:
    await flat_door.press()
    flat_door.link.see(face("p2"), track="t2")
    flat_door.link.see(face("p1"), track="t1")
    flat_door.link.see(face("p1"), track="t1")
    assert flat_door.shows() is None
    flat_door.link.see(face("p2"), track="t2")
    assert await flat_door.answer() == "ambiguous"


async def test_another_face_that_stays_unclear_delays_a_resident_by_a_moment_only(flat_door: Porch) -> None:
    await flat_door.press()
    flat_door.link.see(face("somebody"), track="t2")
    flat_door.link.see(face("p1"), track="t1")
    flat_door.link.see(face("p1"), track="t1")
    assert flat_door.shows() is None
    assert await flat_door.answer() == "unlocked"


async def test_a_guest_beside_a_resident_keeps_nobody_out(flat_door: Porch) -> None:
    await flat_door.press()
    for _ in range(3):
        flat_door.link.see(face("guest"), track="t2")
    for _ in range(2):
        flat_door.link.see(face("p1"), track="t1")
    shown = flat_door.shows()
    assert isinstance(shown, Shown)
    assert shown.match.person_id == "p1"
    assert await flat_door.answer() == "unlocked"


def away(distance: float) -> NDArray[np.float32]:
    """Return an embedding of the resident that is so far from the first template."""
    return (face("p1") + distance * face("glasses")).astype(np.float32)


@pytest.mark.parametrize(("second", "expected"), [(0.9, "unlocked"), (None, "not_recognised")])
async def test_any_of_several_templates_of_a_person_will_do(
    flat_door: Porch, second: float | None, expected: str
) -> None:
    if second is not None:
        flat_door.keys.add(
            Plain(
                person_id="p1", doors=("d1",), contract=MODEL, consent_id="c", quality=1.0, at=now(),
                embedding=away(second).astype("<f4").tobytes(),
            )
        )  # fmt: skip
        flat_door.attention.refresh()
    gallery = flat_door.attention.galleries.doors["d1"]
    assert (len(gallery.people), gallery.people.people) == (3 if second else 2, ("p1", "p2"))
    await flat_door.press()
    for _ in range(2):
        flat_door.link.see(away(0.8))
    assert (await flat_door.answer() if second else await flat_door.end()) == expected


async def test_an_embedding_that_cannot_be_compared_is_counted_and_ends_nothing(flat_door: Porch) -> None:
    await flat_door.press()
    flat_door.link.see(np.full(128, np.nan, np.float32), track="t1")
    flat_door.link.see(np.ones(64, np.float32), track="t2")
    flat_door.link.see(np.ones(64, np.float32), track="t2")
    assert flat_door.attention.counters["unreadable_sightings"] == 3
    for _ in range(2):
        flat_door.link.see(face("p1"), track="t1")
    assert await flat_door.answer() == "unlocked"
