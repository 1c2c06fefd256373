"""What the simulated camera shows: drawn scenes before a door, encoded once as H.264 or H.265 and then played from memory.

Somebody walks up to the door, stands there and leaves: a flat portrait on a drawn body (`approach`), a head that turns
as live ones do (`head`) or keeps still (`head_still`), or somebody who holds up a picture of one (`print`,
`print_moved`, `print_bent`, `screen`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal, get_args

import av
import msgspec
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from drivers.rtsp.rtp import Codec, is_key, split_annexb
from drivers.rtsp.scenes_acts import ACTS, Perform, performer
from drivers.rtsp.scenes_figures import Box, sprite
from drivers.rtsp.scenes_relief import LENS_PX, Pixels, Place
from models.errors import InvalidInput

SceneName = Literal[
    "quiet", "approach", "pass", "black", "moved", "covered", "blurred", "night", "headlights",
    "head", "head_still", "print", "print_moved", "print_bent", "screen",
]  # fmt: skip
SCENES: Final[tuple[SceneName, ...]] = get_args(SceneName)
WITH_PERSON: Final = ("approach", "pass", *ACTS)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Size and rhythm of a camera's picture; `noise` in grey levels (standard deviation), a key frame every `gop_s`."""

    width: int = 640
    height: int = 360
    fps: int = 10
    gop_s: float = 2.0
    noise: float = 0.7
    seed: int = 1
    codec: Codec = "h264"

    @property
    def gop(self) -> int:
        """Pictures from one key frame to the next."""
        return max(1, round(self.gop_s * self.fps))


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How a person comes: seconds to walk up, stay and leave; width of the face in px far away and near the door."""

    approach_s: float = 3.0
    stay_s: float = 5.0
    leave_s: float = 3.0
    far_px: float = 25.0
    near_px: float = 120.0

    @property
    def length_s(self) -> float:
        """Seconds until the person is gone."""
        return self.approach_s + self.stay_s + self.leave_s


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What to show.

    `portrait` and `face` (x, y, w, h in the photograph) say who comes; scenes without a person need neither. `seed`
    varies how a head turns and how a picture of one is held.
    """

    name: SceneName = "quiet"
    portrait: str | None = None
    face: Box | None = None
    script: Script = Script()
    seed: int = 1


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One encoded picture: its NAL units in order; a key picture carries its parameter sets with it."""

    units: tuple[bytes, ...]
    key: bool
    codec: Codec = "h264"


class Clip(msgspec.Struct, frozen=True, kw_only=True):
    """An encoded scene; `near_s` after its start the face is 100 px wide (None without a person)."""

    pictures: tuple[Picture, ...]
    loops: bool
    near_s: float | None = None


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """Where a face is: centre as parts of the frame, width in px of a frame 640 px wide."""

    x: float
    y: float
    face_px: float


def walk(script: Script, at_s: float) -> Spot | None:
    """Say where the person is `at_s` seconds into the script; None before and after."""
    if not 0 <= at_s < script.length_s:
        return None
    if at_s < script.approach_s:
        part = at_s / script.approach_s
    elif at_s < script.approach_s + script.stay_s:
        part = 1.0
    else:
        part = min(1.0, 1.0 - (at_s - script.approach_s - script.stay_s) / script.leave_s)
    # Someone walking at constant speed grows with the inverse of the distance.
    near, far = 1 / script.near_px, 1 / script.far_px
    face_px = 1 / (far + (near - far) * part)
    sway = math.sin(at_s * 2.3)
    return Spot(
        x=0.5 + 0.28 * (1 - part) ** 1.2 + 0.006 * sway,
        y=0.36 + 0.02 * (1 - part) + 0.004 * math.sin(at_s * 5.1),
        face_px=face_px * (1 + 0.01 * sway),
    )


def pass_by(script: Script, at_s: float) -> Spot | None:
    """Say where somebody is who walks past in the distance and never comes to the door."""
    part = at_s / script.length_s
    return Spot(x=-0.1 + 1.2 * part, y=0.38, face_px=script.far_px * 1.4) if 0 <= part < 1 else None


def near_after_s(script: Script, *, fps: int, face_px: float = 100.0) -> float | None:
    """Return the time of the first picture whose face is at least `face_px` wide (in a frame 640 px wide)."""
    for number in range(round(script.length_s * fps)):
        spot = walk(script, number / fps)
        if spot and spot.face_px >= face_px:
            return number / fps
    return None


def backdrop(look: Look, *, moved: bool = False) -> Image.Image:
    """Draw wall, pavement and a door, as the camera sees them; `moved` as if somebody had turned the camera."""
    wide, high = look.width * 5 // 4, look.height * 5 // 4
    rows = np.linspace(150, 205, high, dtype=np.float32)[:, None]
    columns = 12 * np.sin(np.linspace(0, 9, wide, dtype=np.float32))[None, :]
    grey = np.clip(rows + columns, 0, 255).astype(np.uint8)
    image = Image.fromarray(np.dstack([grey, grey, (grey * 0.93).astype(np.uint8)]))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, int(high * 0.72), wide, high), fill=(112, 110, 104))
    for x in range(0, wide, max(8, wide // 9)):
        draw.line((x, int(high * 0.72), x - wide // 12, high), fill=(92, 90, 86), width=2)
    draw.rectangle((int(wide * 0.06), int(high * 0.2), int(wide * 0.2), int(high * 0.72)), fill=(96, 74, 58))
    draw.rectangle((int(wide * 0.08), int(high * 0.24), int(wide * 0.18), int(high * 0.5)), fill=(140, 160, 172))
    draw.rectangle((int(wide * 0.8), int(high * 0.3), int(wide * 0.95), int(high * 0.6)), fill=(74, 98, 70))
    left, top = (wide - look.width, high - look.height) if moved else (0, 0)
    return image.filter(ImageFilter.GaussianBlur(1.2)).crop((left, top, left + look.width, top + look.height))


def _lit(view: Image.Image, name: SceneName) -> Image.Image:
    """Return the view as what happens to the camera shows it: something before it, a blur, another light."""
    if name == "black":
        return Image.new("RGB", view.size, (6, 6, 6))
    if name == "blurred":
        return view.filter(ImageFilter.GaussianBlur(view.width / 80))
    if name not in ("covered", "night", "headlights"):
        return view
    across = np.linspace(-1, 1, view.width, dtype=np.float32)[None, :, None]
    down = np.linspace(-1, 1, view.height, dtype=np.float32)[:, None, None]
    if name == "covered":  # a cloth, through which some light comes
        return Image.fromarray((np.array((70, 62, 58), np.float32) + 9 * across + 5 * down).astype(np.uint8))
    pixels = np.asarray(view, dtype=np.float32)
    if name == "night":  # a lamp beside the lens, in black and white
        grey = pixels.mean(axis=2, keepdims=True) * np.exp(-((across / 0.9) ** 2) - (down / 0.9) ** 2)
        return Image.fromarray(np.repeat((8 + 0.45 * grey).astype(np.uint8), 3, axis=2))
    lamps = sum(np.exp(-(((across - x) / 0.2) ** 2) - ((down - 0.3) / 0.25) ** 2) for x in (-0.4, 0.1))
    return Image.fromarray(np.clip(0.4 * pixels + 420 * lamps, 0, 255).astype(np.uint8))


def paint(look: Look, scene: Scene) -> Iterator[Pixels]:
    """Draw the pictures of a scene, (height, width, 3) uint8 RGB each.

    Raises:
        InvalidInput: the scene needs a portrait and has none, or it cannot be read.
    """
    rng = np.random.default_rng(look.seed)
    shape = (look.height, look.width, 1)
    grain = [np.rint(rng.normal(0, look.noise, shape)).astype(np.int16) for _ in range(7 if look.noise else 0)]
    still = _lit(backdrop(look, moved=scene.name == "moved"), scene.name)
    perform = _performer(scene)
    path = pass_by if scene.name == "pass" else walk
    for number in range(_length(look, scene)):
        pixels = np.array(still, dtype=np.uint8)
        spot = path(scene.script, number / look.fps) if perform else None
        if perform and spot:
            perform(pixels, _place_of(spot, look), at_s=number / look.fps)
        if grain:
            pixels = np.clip(pixels.astype(np.int16) + grain[number % len(grain)], 0, 255).astype(np.uint8)
        yield pixels


def _performer(scene: Scene) -> Perform | None:
    """Return who performs in a scene; None where nobody comes."""
    if scene.name not in WITH_PERSON:
        return None
    if not scene.portrait:
        raise InvalidInput("portrait", f"the scene {scene.name!r} needs the path of a photograph")
    if scene.name in ACTS:
        return performer(scene.name, Path(scene.portrait), face=scene.face, seed=scene.seed)
    return _cardboard(sprite(Path(scene.portrait), scene.face))


def _place_of(spot: Spot, look: Look) -> Place:
    far = LENS_PX / spot.face_px
    return Place(x=spot.x * look.width, y=spot.y * look.height, face_px=spot.face_px * look.width / 640, far=far)


def _length(look: Look, scene: Scene) -> int:
    if scene.name in WITH_PERSON:
        return round(scene.script.length_s * look.fps)
    return look.gop * 2


def _cardboard(person: tuple[Image.Image, float]) -> Perform:
    """Show a flat figure as it is, to whole pixels."""
    figure, face_part = person

    def perform(frame: Pixels, place: Place, *, at_s: float) -> None:  # noqa: ARG001 - a flat figure never moves
        width = max(4, round(place.face_px / face_part))
        height = width * figure.height // figure.width
        small = figure.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        image = Image.fromarray(frame)
        image.paste(small, (round(place.x - width / 2), round(place.y - height / 4)), small)
        frame[:] = np.asarray(image)

    return perform


def encode(look: Look, scene: Scene) -> Clip:
    """Draw and encode a scene; every clip of one `Look` has the same parameter sets and starts with a key picture.

    Raises:
        InvalidInput: see `paint`.
    """
    pictures: list[Picture] = []
    encoder = _encoder(look)
    for number, pixels in enumerate(paint(look, scene)):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        frame.time_base = Fraction(1, look.fps)
        pictures += [_picture(bytes(packet), look.codec) for packet in encoder.encode(frame)]
    pictures += [_picture(bytes(packet), look.codec) for packet in encoder.encode(None)]
    comes_near = scene.name in WITH_PERSON and scene.name != "pass"
    return Clip(
        pictures=tuple(pictures),
        loops=scene.name not in WITH_PERSON,
        near_s=near_after_s(scene.script, fps=look.fps) if comes_near else None,
    )


def decoded(clip: Clip) -> Iterator[Pixels]:
    """Return a clip's pictures as they come out of a decoder, (height, width, 3) uint8 RGB each."""
    decoder = av.CodecContext.create("hevc" if clip.pictures[0].codec == "h265" else "h264", "r")
    stream = [b"".join(b"\0\0\0\1" + unit for unit in picture.units) for picture in clip.pictures]
    for data in [*stream, b""]:
        for frame in decoder.decode(av.Packet(data) if data else None):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _encoder(look: Look) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx265" if look.codec == "h265" else "libx264", "w")
    encoder.width, encoder.height = look.width, look.height
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, look.fps)
    encoder.framerate = Fraction(look.fps, 1)
    encoder.gop_size = look.gop
    encoder.thread_count = 1
    params = f"keyint={look.gop}:min-keyint={look.gop}:scenecut=0:bframes=0:repeat-headers=1:annexb=1"
    encoder.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "profile": "main",
        "crf": "21",
        **(
            {"x265-params": f"{params}:open-gop=0:pools=none:frame-threads=1:info=0:log-level=error"}
            if look.codec == "h265"
            else {"x264-params": f"{params}:threads=1"}
        ),
    }
    return encoder


def _picture(stream: bytes, codec: Codec) -> Picture:
    units = tuple(split_annexb(stream))
    return Picture(units=units, key=is_key(units, codec), codec=codec)
