"""A window's answer against a plain oracle: whatever is seen in whatever order, only what counts opens."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import wire
from edge.attention_window import GRACE_S, RECENT_S, TRACK_S, Shown, Window
from edge.galleries import DoorGallery
from edge.keystore import Opened
from models.access import Claim, Request
from models.calibration import FaceUse
from models.gallery import Gallery
from models.liveness import Provider, Reading, Verdict
from tests.edge.doubles import door
from tests.edge.porch import MODEL, QUALITY, face

PEOPLE = ("p1", "p2")
TEMPLATES = tuple(Opened(person_id=one, doors=("d1",), contract=MODEL, embedding=face(one)) for one in PEOPLE)
GALLERY = DoorGallery(
    contract=MODEL,
    people=Gallery(PEOPLE, np.stack([template.embedding for template in TEMPLATES])),
    templates=TEMPLATES,
)
USE = FaceUse(people=2, alone=True, radius=0.4, verify_radius=0.4)
BUTTON = Request(id="r1", door_id="d1", kind="button")
CLAIM = Claim(attempt="r1", door_id="d1", method="face+card", person_id="p1")


@dataclass(frozen=True)
class Seen:
    """Say that a face was seen on a track, so long after the sighting before."""

    after_s: float
    track: str
    who: str
    verdict: Verdict | None


OFTEN = [("t1", "p1")] * 4 + [("t2", "p2")] * 4
sightings = st.builds(
    lambda after_s, whose, verdict: Seen(after_s, whose[0], whose[1], verdict),
    st.sampled_from([0.05, 0.05, 0.1, 0.1, 0.1, 0.3, 0.45, 0.7, 1.0, 1.3]),
    st.sampled_from([*OFTEN, ("t1", "p2"), ("t2", "p1"), ("t1", "stranger"), ("t2", "stranger")]),
    st.sampled_from([None, "live", "live", "live", "undecided", "attack"]),
)


@dataclass
class Oracle:
    """Say in other words what a window answers: who is shown, `None` to wait, or a refusal."""

    provider: Provider
    claimed: bool
    tracks: dict[str, list[tuple[float, Seen]]] = field(default_factory=dict)
    pictures: dict[str, float] = field(default_factory=dict)
    caught: bool = False
    since: float | None = None

    def see(self, seen: Seen, now: float) -> None:
        self.tracks = {key: rows for key, rows in self.tracks.items() if now - rows[-1][0] <= TRACK_S}
        self.pictures = {key: at for key, at in self.pictures.items() if now - at <= 10.0}
        self.tracks.setdefault(seen.track, []).append((now, seen))
        if self.provider == "parallax" and (seen.verdict == "attack" or seen.track in self.pictures):
            self.pictures[seen.track] = now
            self.caught |= self.shown(seen.track) is not None

    def shown(self, track: str) -> str | None:
        newest = self.tracks[track][-1][0]
        last = [seen.who for at, seen in self.tracks[track] if newest - at <= 2.0][-3:]
        named = [one for one in PEOPLE if last.count(one) >= 2 and not (self.claimed and one != CLAIM.person_id)]
        return named[0] if named else None

    def counts(self, track: str) -> bool:
        if track in self.pictures:
            return False
        if self.provider == "none":
            return True
        newest, seen = self.tracks[track][-1]
        last = [one.who for at, one in self.tracks[track] if newest - at <= 2.0][-3:]
        return seen.verdict == "live" and last == [self.shown(track)] * 3

    def open_question(self, track: str) -> bool:
        newest = self.tracks[track][-1][0]
        few = len([at for at, _ in self.tracks[track] if newest - at <= 2.0][-3:]) < 2
        return track not in self.pictures and (few or (self.shown(track) is not None and not self.counts(track)))

    def answer(self, now: float) -> str | None:
        live = [key for key, rows in self.tracks.items() if now - rows[-1][0] <= TRACK_S]
        people = {self.shown(key) for key in live if self.shown(key) is not None and self.counts(key)}
        if not people:
            self.since = None
            return "not_live" if self.caught else None
        if len(people) > 1:
            return "ambiguous"
        self.since = now if self.since is None else self.since
        recent = [key for key in live if now - self.tracks[key][-1][0] <= RECENT_S]
        if any(self.open_question(key) for key in recent) and now - self.since < GRACE_S:
            return None
        return people.pop()


def sighted(seen: Seen, now: float) -> wire.FaceSighting:
    told = None if seen.verdict is None else Reading(provider="parallax", verdict=seen.verdict)
    return wire.FaceSighting(
        door_id="d1", camera_id="c1", track_id=seen.track, frame_no=1, captured_at=now, age_ms=10.0,
        first_usable_at=now, embedding=face(seen.who).astype("<f4").tobytes(), contract=MODEL, quality=QUALITY,
        box=(0.0, 0.0, 80.0, 80.0), liveness=told,
    )  # fmt: skip


@given(st.lists(sightings, min_size=3, max_size=14), st.booleans(), st.sampled_from(["none", "parallax"]))
@settings(max_examples=300, deadline=None)
def test_a_window_answers_as_the_plain_words_say(sequence: list[Seen], claimed: bool, provider: Provider) -> None:
    window = Window(door=door("d1", liveness=provider), request=BUTTON, until=1e9, claims=(CLAIM,) if claimed else ())
    oracle = Oracle(provider, claimed)
    now = 1000.0
    for seen in sequence:
        now += seen.after_s
        window.see(sighted(seen, now), GALLERY, use=USE, now=now)
        oracle.see(seen, now)
        answer = window.answer(now)
        assert (answer.match.person_id if isinstance(answer, Shown) else answer) == oracle.answer(now)
        if isinstance(answer, Shown):
            assert answer.match.evidence.agreeing >= 2
            assert answer.match.evidence.mode == ("verified" if claimed else "identified")


@given(st.lists(sightings, max_size=14))
@settings(max_examples=50, deadline=None)
def test_nothing_of_a_track_outlives_it(sequence: list[Seen]) -> None:
    window = Window(door=door("d1"), request=BUTTON, until=1e9)
    now = 1000.0
    for seen in sequence:
        now += seen.after_s
        window.see(sighted(seen, now), GALLERY, use=USE, now=now)
    window.forget(now + TRACK_S + 0.01)
    assert window.tracks == {}


def test_a_window_without_anybody_to_compare_with_says_why() -> None:
    nobody = Window(door=door("d1"), request=BUTTON, until=1e9)
    one = sighted(Seen(0.0, "t1", "p1", None), 1000.0)
    assert nobody.see(one, None, use=USE, now=1000.0) is None
    assert nobody.worst() == "not_recognised"
    withdrawn = Window(door=door("d1"), request=BUTTON, until=1e9, claims=(CLAIM,))
    others = DoorGallery(contract=MODEL, people=GALLERY.people, templates=TEMPLATES[1:])
    assert withdrawn.see(one, others, use=USE, now=1000.0) is None
    assert withdrawn.worst() == "consent_withdrawn"
    off = FaceUse(people=2, alone=False)
    shut = Window(door=door("d1"), request=BUTTON, until=1e9)
    assert shut.see(one, GALLERY, use=off, now=1000.0) is None
