"""Covered, moved, defocused, frozen: each is told after its hold-off; what only changes the light never is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.picture_health import (
    GAP_S,
    TROUBLES,
    Lasting,
    Limits,
    Luma,
    PictureHealth,
    PictureTrouble,
    Verdict,
    View,
    view_of,
)

SIZE = (640, 360)
Picture = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
ACROSS, DOWN = np.meshgrid(np.linspace(-1, 1, SIZE[0]), np.linspace(-1, 1, SIZE[1]))
SCENES = ("astronaut", "coffee", "camera", "grass")


def photograph(name: str, *, right: int = 0, down: int = 0) -> Picture:
    """Return a photograph as a camera sees it, turned to the right and down by so many pixels."""
    pixels = np.asarray(getattr(skimage.data, name)(), dtype=np.float32)
    grey = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32) if pixels.ndim == 3 else pixels
    high = min(grey.shape[0], grey.shape[1] * 9 // 16)
    top = (grey.shape[0] - high) // 2
    wide: Picture = cv2.resize(grey[top : top + high], (960, 540), interpolation=cv2.INTER_AREA).astype(np.float32)
    return wide[60 + down : 420 + down, 100 + right : 740 + right]


class Camera:
    """A picture with fresh noise at every look, one look every `every_s` seconds."""

    def __init__(self, *, every_s: float = 1.0, noise: float = 1.5, limits: Limits | None = None) -> None:
        self.health = PictureHealth(limits)
        self.at_s = 1000.0
        self._every_s = every_s
        rng = np.random.default_rng(1)
        self._noise = [rng.normal(0, noise, SIZE[::-1]).astype(np.float32) for _ in range(5)]

    def shows(self, picture: Picture, for_s: float) -> Verdict:
        verdict = Verdict()
        for number in range(max(1, round(for_s / self._every_s))):
            noise = self._noise[number % len(self._noise)]
            verdict = self.looks(picture + noise[: picture.shape[0], : picture.shape[1]])
        return verdict

    def looks(self, picture: Picture) -> Verdict:
        self.at_s += self._every_s
        view = view_of(np.clip(16 + picture * np.float32(219 / 255), 0, 255).astype(np.uint8))
        assert view is not None
        return self.health.observe(view, self.at_s)


def blurred(picture: Picture, sigma: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.float32)


COVERS: dict[str, Callable[[Picture], Picture]] = {
    "cloth": lambda picture: np.full_like(picture, 80) + 8 * ACROSS.astype(np.float32),
    "hand": lambda picture: blurred(
        np.full_like(picture, 120) - 60 * (ACROSS**2 + DOWN**2 < 0.1).astype(np.float32), 40
    ),
    "paint": lambda picture: np.full_like(picture, 230),
    "tape on most of it": lambda picture: np.where(ACROSS < 0.8, 40, picture).astype(np.float32),
    "nothing but dark": lambda picture: picture * 0,
}
LIGHTS: dict[str, Callable[[Picture], Picture]] = {
    "dusk": lambda picture: picture * 0.3,
    "night": lambda picture: picture * 0.1,
    "infrared": lambda picture: 10 + picture * (0.1 + 0.3 * np.exp(-(ACROSS**2) - DOWN**2)).astype(np.float32),
    "foliage bright in infrared": lambda picture: 10 + 0.1 * picture + 0.2 * np.clip(255 - picture, 0, 255),
    "fog": lambda picture: 0.3 * picture + 130,
    "headlights": lambda picture: np.clip(
        0.4 * picture + 420 * np.exp(-(((ACROSS + 0.3) / 0.2) ** 2) - ((DOWN - 0.3) / 0.25) ** 2).astype(np.float32),
        0,
        255,
    ),
    "half in the shadow": lambda picture: picture * np.where(ACROSS < 0, 0.5, 1).astype(np.float32),
    "somebody before the door": lambda picture: np.where(
        (abs(ACROSS) < 0.3) & (DOWN > -0.6), 90 + 20 * np.sin(ACROSS * 60), picture
    ).astype(np.float32),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_usual_picture_has_no_trouble(scene: str) -> None:
    verdict = Camera().shows(photograph(scene), 40)
    assert verdict == Verdict(absent=TROUBLES)


@pytest.mark.parametrize("cover", COVERS)
@pytest.mark.parametrize("scene", SCENES)
def test_whatever_covers_the_lens_is_told_after_its_hold_off_and_when_it_is_gone(scene: str, cover: str) -> None:
    camera, usual = Camera(), photograph(scene)
    camera.shows(usual, 40)
    covered = COVERS[cover](usual)
    assert camera.shows(covered, 14).troubles == ()
    assert camera.shows(covered, 3).troubles == ("covered",)
    assert camera.shows(covered, 65).troubles == ("covered",), "it is not frozen or moved besides"
    verdict = camera.shows(usual, 7)
    assert verdict.troubles == ()
    assert "covered" in verdict.absent


@pytest.mark.parametrize("scene", SCENES)
def test_another_view_is_told_until_the_old_one_is_back(scene: str) -> None:
    camera = Camera()
    camera.shows(photograph(scene), 40)
    moved = photograph(scene, right=120, down=60)
    assert camera.shows(moved, 29).troubles == ()
    assert camera.shows(moved, 200).troubles == ("moved",)
    assert camera.shows(photograph(scene), 7).troubles == ()


@pytest.mark.parametrize("scene", SCENES)
def test_a_blur_is_told_until_the_picture_is_sharp_again(scene: str) -> None:
    camera, usual = Camera(), photograph(scene)
    camera.shows(usual, 40)
    assert camera.shows(blurred(usual, 6), 59).troubles == ()
    assert camera.shows(blurred(usual, 6), 100).troubles == ("defocused",)
    assert camera.shows(usual, 7).troubles == ()


@pytest.mark.parametrize("light", LIGHTS)
@pytest.mark.parametrize("scene", SCENES)
def test_another_light_and_somebody_who_stays_are_no_trouble(scene: str, light: str) -> None:
    camera, usual = Camera(), photograph(scene)
    camera.shows(usual, 40)
    changed = LIGHTS[light](usual)
    assert camera.shows(changed, 120).troubles == ()
    assert camera.shows(usual, 10).troubles == ()


def test_a_short_cover_is_no_trouble() -> None:
    camera, usual = Camera(), photograph("coffee")
    camera.shows(usual, 40)
    for _ in range(20):
        assert camera.shows(COVERS["cloth"](usual), 8).troubles == ()
        assert camera.shows(usual, 4).troubles == ()


def test_the_same_picture_for_a_minute_is_frozen_and_any_noise_ends_it() -> None:
    camera, usual = Camera(), photograph("coffee")
    camera.shows(usual, 40)
    assert [camera.looks(usual).troubles for _ in range(62)][-1] == ("frozen",)
    assert camera.shows(usual, 7).troubles == ()


def test_six_looks_a_minute_will_do() -> None:
    camera, usual = Camera(every_s=10), photograph("coins")
    camera.shows(usual, 100)
    assert camera.shows(COVERS["cloth"](usual), 30).troubles == ("covered",)
    assert camera.shows(usual, 20).troubles == ()


def test_a_camera_that_was_covered_from_the_start_is_told_and_learns_its_view_once_it_is_free() -> None:
    camera, usual = Camera(), photograph("camera")
    covered = camera.shows(COVERS["cloth"](usual), 20)
    assert covered == Verdict(troubles=("covered",)), "nothing else can be told"
    assert camera.shows(usual, 50) == Verdict(absent=TROUBLES)
    assert camera.shows(photograph("camera", right=150, down=80), 40).troubles == ("moved",)


def test_a_view_that_stays_is_known_after_a_day_and_the_old_one_too() -> None:
    camera = Camera(limits=Limits(accept_s=300))
    camera.shows(photograph("coffee"), 40)
    assert camera.shows(photograph("rocket"), 200).troubles == ("moved",)
    assert camera.shows(photograph("rocket"), 200).troubles == ()
    assert camera.shows(photograph("coffee"), 60).troubles == ()
    assert camera.shows(photograph("grass"), 60).troubles == ("moved",)


def test_a_gap_is_no_hold_off() -> None:
    camera, usual = Camera(), photograph("coffee")
    camera.shows(usual, 40)
    camera.shows(COVERS["cloth"](usual), 1)
    camera.at_s += GAP_S + 1
    assert camera.shows(COVERS["cloth"](usual), 1).troubles == ()


def test_another_size_starts_a_view_of_its_own() -> None:
    camera = Camera()
    camera.shows(photograph("coffee"), 40)
    assert camera.shows(photograph("coffee")[:120, :160], 100).troubles == ()


def test_a_wall_without_anything_on_it_is_covered_only_when_it_is_dark_or_bare() -> None:
    wall = np.full((360, 640), 150, np.float32) + 60 * ((ACROSS > 0.1) & (DOWN > 0.1)).astype(np.float32)
    camera = Camera()
    assert camera.shows(wall, 100).troubles == ()
    assert camera.shows(wall * 0, 100).troubles == ("covered",)


def test_a_thumbnail_is_too_small_to_tell() -> None:
    assert view_of(np.zeros((23, 64), np.uint8)) is None
    assert view_of(np.zeros((48, 31), np.uint8)) is None
    assert view_of(np.zeros((24, 32), np.uint8)) is not None


def test_a_large_picture_has_a_view_of_the_usual_size() -> None:
    view = view_of(np.zeros((2304, 4096), np.uint8))
    assert view is not None
    assert view.means.shape == view.edges.shape == view.fine.shape == (36, 48)


def _verdicts(pictures: Iterable[Luma], gaps: Iterable[float]) -> list[Verdict]:
    health, at_s, verdicts = PictureHealth(), 0.0, []
    for picture, gap in zip(pictures, gaps, strict=True):
        at_s += gap
        view = view_of(picture)
        assert isinstance(view, View)
        verdicts.append(health.observe(view, at_s))
    return verdicts


@given(
    st.lists(arrays(np.uint8, (48, 64)), min_size=1, max_size=12).flatmap(
        lambda pictures: st.tuples(
            st.just(pictures), st.lists(st.floats(0, 100), min_size=len(pictures), max_size=len(pictures))
        )
    )
)
def test_whatever_is_seen_no_trouble_is_in_force_and_absent_at_once(seen: tuple[list[Luma], list[float]]) -> None:
    for verdict in _verdicts(*seen):
        assert not set(verdict.troubles) & set(verdict.absent)


@given(st.lists(st.sampled_from([True, False, None]), max_size=60), st.integers(1, 8), st.integers(1, 8))
def test_nothing_begins_or_ends_before_its_time(seen: list[bool | None], begins_s: int, ends_s: int) -> None:
    lasting, before = Lasting(begins_s, ends_s=ends_s), None
    for at_s, evidence in enumerate(seen):
        lasting.observe(evidence, at_s)
        if lasting.state is not before:
            needed = begins_s if lasting.state else ends_s
            assert at_s >= needed
            assert set(seen[at_s - needed : at_s + 1]) == {lasting.state}
        before = lasting.state


def test_a_trouble_that_is_not_in_force_has_lasted_for_no_time() -> None:
    lasting = Lasting(1, ends_s=1)
    assert lasting.lasted_s(5) == 0
    for at_s in range(4):
        lasting.observe(True, at_s)
    assert lasting.lasted_s(5) == 4


def test_every_trouble_has_its_hold_off() -> None:
    trouble: PictureTrouble
    for trouble in TROUBLES:
        assert getattr(Limits(), f"{trouble}_s") > 0
