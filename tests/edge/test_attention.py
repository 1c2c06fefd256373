"""Faces at doors: only with live consent for this door, only fresh and agreeing frames, and never without an answer."""

from __future__ import annotations

import base64
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.door import GiveFeedback, UnlockDoor
from edge import wire
from edge.attention import Attention, Faces
from edge.galleries import DEMO_PEOPLE
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from models.access import Request
from models.events import AccessDenied, AccessGranted
from models.places import Camera
from models.policy import DesiredMode, Policy
from models.recognition import FaceQuality
from tests.edge.conftest import House, open_house
from tests.edge.doubles import EDGE, card, consent, door, now, online, permit, person, policy, until

QUALITY = FaceQuality(
    face_px=80, eye_px=40.0, blur=100.0, brightness=120.0, contrast=40.0, yaw=0.0, roll_deg=0.0, inside=1.0
)


def face(person_id: str) -> NDArray[np.float32]:
    """Return an embedding of unit length that is far from everybody else's."""
    rng = np.random.default_rng(zlib.crc32(person_id.encode()))
    vector = rng.normal(size=128)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class Link:
    """A face process that sees what the test says."""

    attended: list[wire.Attend] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    on_sighting: Callable[[wire.FaceSighting], None] = lambda _: None
    on_unusable: Callable[[wire.FaceUnusable], None] = lambda _: None

    def attend(self, attend: wire.Attend) -> None:
        self.attended.append(attend)

    def ignore(self, door_id: str) -> None:
        self.ignored.append(door_id)

    def see(self, embedding: NDArray[np.float32], *, track: str = "t1", age_ms: float = 20.0, **more: Any) -> None:
        self.on_sighting(
            wire.FaceSighting(
                door_id=more.get("door_id", "d1"), camera_id="c1", track_id=track, frame_no=1,
                captured_at=time.time() - age_ms / 1000, age_ms=age_ms, first_usable_at=time.time(),
                embedding=embedding.astype("<f4").tobytes(), contract=more.get("contract", "m"),
                quality=QUALITY, box=(0.0, 0.0, 80.0, 80.0),
            )
        )  # fmt: skip


@dataclass
class Porch:
    house: House
    link: Link
    keys: KeyStore
    policies: Policies
    attention: Attention

    async def apply(self, new: Policy) -> None:
        accepted = await self.policies.take(new)
        assert accepted is not None
        self.house.admission.apply(new)
        self.house.keeper.apply(self.policies.usable_doors(), new.modes)
        self.attention.apply(new)

    def enrol(self, person_id: str, *doors: str) -> None:
        template = Opened(person_id=person_id, doors=doors or ("d1",), contract="m", embedding=face(person_id))
        self.keys.put(template, consent_id="c", quality=1.0, at=now())
        self.attention.refresh()

    async def press(self, n: object = 1) -> None:
        before = len(self.link.attended)
        self.house.wire.ask(Request(id=f"r{n}", door_id="d1", kind="button"))
        await until(lambda: len(self.link.attended) > before)

    async def answer(self) -> str:
        orders = self.house.wire.orders
        await until(lambda: any(isinstance(o, UnlockDoor | GiveFeedback) for o in orders), limit_s=15)
        last = orders[-1]
        return "unlocked" if isinstance(last, UnlockDoor) else last.reason if isinstance(last, GiveFeedback) else "?"


def homes(n: int = 1, **more: Any) -> Policy:
    people = more.pop("ids", ("p1", "p2"))
    return policy(
        door(factors=("face", "card"), camera_id="c1", **more.pop("of_door", {})),
        n=n,
        cameras=(Camera(id="c1", site_id="s1", name="c1", edge_id=EDGE, url="rtsp://x", door_id="d1"),),
        people=tuple(person(p, **more.pop(p, {})) for p in people),
        permits=more.pop("permits", tuple(permit(p) for p in people)),
        consents=more.pop("consents", tuple(consent(p) for p in people)),
        credentials=(card("p1", "7186A61E"),),
        **more,
    )


@contextlib.asynccontextmanager
async def porch(folder: Path, *, allowed: bool = True, heard_ago_s: float | None = 0.0) -> AsyncIterator[Porch]:
    async with open_house(folder) as house:
        keys, link = KeyStore(folder), Link()
        policies = Policies(edge_id=EDGE, spool=house.spool, keys=keys)
        attention = Attention(
            admission=house.admission, keeper=house.keeper, clock=house.clock,
            link=link,  # type: ignore[arg-type]
            keys=keys, policies=policies, faces=Faces(allowed=allowed), tasks=house.tasks,
            last_heard=lambda: None if heard_ago_s is None else house.clock.unix() - heard_ago_s,
        )  # fmt: skip
        house.admission.faces = attention
        attention.start()
        at_door = Porch(house, link, keys, policies, attention)
        await at_door.apply(homes())
        house.wire.say("d1", online())
        yield at_door


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
    assert at_door.attention._windows["d1"].match is None


async def test_two_who_are_too_alike_open_for_neither(at_door: Porch) -> None:
    at_door.enrol("p1")
    twin = Opened(person_id="p2", doors=("d1",), contract="m", embedding=face("p1") + np.float32(1e-3))
    at_door.keys.put(twin, consent_id="c", quality=1.0, at=now())
    at_door.attention.refresh()
    await at_door.press()
    for _ in range(3):
        at_door.link.see(face("p1"))
    window = at_door.attention._windows["d1"]
    assert window.match is None
    assert "ambiguous" in window.reasons


async def test_a_stranger_is_answered_when_the_window_ends(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    for _ in range(3):
        at_door.link.see(face("stranger"))
    at_door.attention._windows["d1"].until = 0.0
    at_door.attention._windows["d1"].moved.set()
    assert await at_door.answer() == "not_recognised"
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
    assert at_door.attention._windows["d1"].match is None


async def test_a_template_of_another_door_or_model_is_not_matched(at_door: Porch) -> None:
    at_door.enrol("p1", "d2")
    assert at_door.attention.galleries.doors == {}
    at_door.enrol("p1", "d1")
    await at_door.press()
    for _ in range(3):
        at_door.link.see(face("p1"), contract="other model")
    assert at_door.attention._windows["d1"].match is None


async def test_a_withdrawal_stops_matching_even_in_flight(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())
    await at_door.apply(homes(2, consents=(withdrawn, consent("p2"))))
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert at_door.attention._windows["d1"].match is None


async def test_a_match_is_asked_for_its_consent_again_before_the_door_opens(at_door: Porch) -> None:
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert at_door.attention._windows["d1"].match is not None
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


async def test_more_people_than_the_demo_carries_are_not_matched_at_all(at_door: Porch) -> None:
    ids = tuple(f"q{n}" for n in range(DEMO_PEOPLE + 1))
    await at_door.apply(homes(2, ids=ids))
    for one in ids[:-1]:
        at_door.enrol(one)
    assert list(at_door.attention.galleries.doors) == ["d1"]
    at_door.enrol(ids[-1])
    assert at_door.attention.galleries.doors == {}


async def test_a_permit_is_needed_besides_the_face(at_door: Porch) -> None:
    await at_door.apply(homes(2, permits=()))
    at_door.enrol("p1")
    await at_door.press()
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert await at_door.answer() == "no_permit"


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
    ("allowed", "heard_ago_s", "changes", "reason"),
    [
        (False, 0.0, {}, "unsupported"),
        (True, None, {}, "policy_expired"),
        (True, 90_000.0, {}, "policy_expired"),
        (True, 0.0, {"valid_until": now() - timedelta(seconds=1)}, "policy_expired"),
        (True, 0.0, {"cameras": ()}, "unsupported"),
        (True, 0.0, {"assessed": ()}, "not_assessed"),
        (True, 0.0, {"assessed": ("recording",)}, "not_assessed"),
    ],
)
async def test_where_faces_are_shut_out_the_reader_says_so_and_cards_go_on(
    tmp_path: Path, allowed: bool, heard_ago_s: float | None, changes: dict[str, Any], reason: str
) -> None:
    async with porch(tmp_path, allowed=allowed, heard_ago_s=heard_ago_s) as shut:
        shut.enrol("p1")
        await shut.apply(msgspec.structs.replace(homes(2), **changes))
        shut.house.wire.ask(Request(id="r1", door_id="d1", kind="button"))
        assert await shut.answer() == reason
        assert shut.link.attended == []
        shut.house.wire.ask(Request(id="r2", door_id="d1", kind="card", value="7186A61E"))
        await until(lambda: len(shut.house.wire.unlocks()) == 1)


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
    at_door.attention._windows["d1"].until = 0.0
    at_door.attention._windows["d1"].moved.set()
    assert await at_door.answer() == "face_unusable"


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
    at_door.attention._windows["d1"].until = 0.0
    at_door.attention._windows["d1"].moved.set()
    assert await at_door.answer() == "not_recognised"
    await at_door.house.keeper.recorded("d1")
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) + caplog.text.encode()
    for one in strangers:
        raw = one.tobytes()
        forms = (raw[:16], one.astype(np.float16).tobytes()[:16], base64.b64encode(raw)[:16], f"{one[0]:.8}".encode())
        assert not any(form in kept for form in forms)
    assert at_door.attention._windows == {}
