"""Who comes to the simulated door: head and shoulders cut out of a photograph, flat or wrapped on the shape of a head.

No detector and no network here: where the face is in the photograph is told, known for the pictures that the tests use,
or taken to be where portraits have it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from drivers.rtsp.scenes_relief import FACE_AT, FACE_PX, Figure, Pixels, Plane, figure_of
from models.errors import InvalidInput

Box = tuple[int, int, int, int]

MAX_PORTRAIT_PX: Final = 40_000_000
# x, y, w, h of the face in px, for the photographs of face-recognition's source distribution and scikit-image's
# astronaut.
KNOWN_FACES: Final[dict[tuple[str, tuple[int, int]], Box]] = {
    ("biden.jpg", (970, 2204)): (419, 241, 322, 322),
    ("obama.jpg", (910, 1137)): (349, 142, 269, 269),
    ("obama2.jpg", (626, 1200)): (171, 290, 268, 268),
    ("obama3.jpg", (1434, 2333)): (646, 302, 310, 310),
    ("obama_partial_face2.jpg", (551, 1137)): (349, 142, 269, 269),
    ("astronaut.png", (512, 512)): (179, 83, 90, 90),
}


def sprite(portrait: Path, face: Box | None) -> tuple[Image.Image, float]:
    """Cut head and shoulders out of a photograph, soft at the edges, on a drawn coat.

    Returns:
        The RGBA picture, whose face is centred at (1/2, 1/4) of it, and the width of the face as part of its
    width.

    Raises:
        InvalidInput: the file is no readable picture, or too large.
    """
    photo = _open_photo(portrait)
    x, y, w, h = _face_of(photo, portrait.name, face)
    scale = 160 / w
    size = (480, 800)
    origin = (x + w / 2 - 240 / scale, y + h / 2 - 200 / scale)
    around = (origin[0], origin[1], origin[0] + size[0] / scale, origin[1] + size[1] / scale)
    cut = photo.transform(size, Image.Transform.EXTENT, around, Image.Resampling.BICUBIC)
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((240 - 130, 200 - 175, 240 + 130, 200 + 150), fill=255)
    draw.rounded_rectangle((240 - 190, 300, 240 + 190, 430), radius=70, fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(9))
    body = Image.new("RGBA", size, (0, 0, 0, 0))
    ImageDraw.Draw(body).rounded_rectangle((240 - 185, 310, 240 + 185, 900), radius=80, fill=(38, 42, 58, 255))
    body.paste(cut.convert("RGBA"), (0, 0), mask)
    return body, 160 / size[0]


def _face_of(photo: Image.Image, name: str, face: Box | None) -> Box:
    found = face or KNOWN_FACES.get((name, photo.size)) or _where_portraits_have_it(photo.size)
    if found[2] <= 0 or found[3] <= 0:
        raise InvalidInput("face", "width and height must be above zero")
    return found


def _open_photo(path: Path) -> Image.Image:
    try:
        with Image.open(path) as photo:
            if photo.width * photo.height > MAX_PORTRAIT_PX:
                raise InvalidInput("portrait", f"{path.name} has more than {MAX_PORTRAIT_PX} pixels")
            return photo.convert("RGB")
    except OSError as error:
        raise InvalidInput("portrait", f"{path} cannot be read as a picture") from error


def _where_portraits_have_it(size: tuple[int, int]) -> Box:
    side = int(min(size) * 0.4)
    return (size[0] - side) // 2, int(size[1] * 0.38) - side // 2, side, side


SIZE: Final = (480, 800)
"""Width and height of every figure in px."""
_HEAD: Final = (0.60, 0.80, 0.55)
"""Half the width, height and depth of a head in widths of its face (the box of a detector)."""


def head(portrait: Path, face: Box | None) -> Figure:
    """Wrap a portrait on the shape of a head with nose, brows and chin, above a coat; only the head turns.

    Raises:
        InvalidInput: see `sprite`.
    """
    photo = cut(portrait, face)
    coat = Image.new("RGB", SIZE, (38, 42, 58))
    worn = Image.new("L", SIZE, 0)
    ImageDraw.Draw(worn).rounded_rectangle((240 - 185, 330, 240 + 185, 900), radius=70, fill=255)
    mask = _outline(photo)
    rows = np.clip((440.0 - np.arange(SIZE[1], dtype=np.float32)) / 60, 0, 1)[:, None]
    part = mask.astype(np.float32) / 255 * rows
    rgb = np.asarray(coat, np.float32) * (1 - part[..., None]) + photo.astype(np.float32) * part[..., None]
    alpha = np.maximum(part * 255, np.asarray(worn.filter(ImageFilter.GaussianBlur(2)), np.float32))
    down = (np.arange(SIZE[1], dtype=np.float32) - FACE_AT[1]) / FACE_PX
    turns = np.repeat(np.clip((1.0 - down) / 0.5, 0, 1)[:, None], SIZE[0], axis=1).astype(np.float32)
    rgba = np.dstack([rgb, alpha]).astype(np.uint8)
    return figure_of(rgba, depth=relief(), turns=cv2.GaussianBlur(turns, (0, 0), 12).astype(np.float32))


def relief() -> Plane:
    """Return the depth of a head before its ears, (height, width) float32 in widths of the face."""
    columns, rows = np.meshgrid(np.arange(SIZE[0], dtype=np.float32), np.arange(SIZE[1], dtype=np.float32))
    x, y = (columns - FACE_AT[0]) / FACE_PX, (rows - FACE_AT[1]) / FACE_PX
    wide, high, deep = _HEAD
    away = np.clip(np.hypot(x / wide, (y + 0.08) / high), 0, 1)
    depth = deep * np.cos(away * np.pi / 2)
    depth += 0.13 * np.exp(-((x / 0.10) ** 2) - ((y - 0.06) / 0.15) ** 2)  # nose
    depth -= 0.04 * np.exp(-(((np.abs(x) - 0.21) / 0.09) ** 2) - ((y + 0.17) / 0.07) ** 2)  # eyes
    depth += 0.03 * np.exp(-((x / 0.16) ** 2) - ((y - 0.46) / 0.08) ** 2)  # chin
    return cv2.GaussianBlur(depth, (0, 0), 2).astype(np.float32)


def cut(portrait: Path, face: Box | None) -> Pixels:
    """Cut a photograph so that its face is where every figure has it; its border is drawn out where it ends.

    Returns:
        (800, 480, 3) uint8.

    Raises:
        InvalidInput: see `sprite`.
    """
    photo = _open_photo(portrait)
    x, y, w, h = _face_of(photo, portrait.name, face)
    scale = FACE_PX / w
    left, top = x + w / 2 - FACE_AT[0] / scale, y + h / 2 - FACE_AT[1] / scale
    right, bottom = left + SIZE[0] / scale, top + SIZE[1] / scale
    spare = math.ceil(max(0.0, -left, -top, right - photo.width, bottom - photo.height))
    if spare > 4 * max(photo.size):
        raise InvalidInput("face", f"{(x, y, w, h)} is not in a photograph of {photo.width} x {photo.height} px")
    wider = Image.fromarray(np.pad(np.asarray(photo), ((spare, spare), (spare, spare), (0, 0)), "edge"))
    around = (left + spare, top + spare, right + spare, bottom + spare)
    return np.asarray(wider.resize(SIZE, Image.Resampling.LANCZOS, box=around))


def _outline(photo: Pixels) -> Pixels:
    """Return where the person is, (height, width) uint8, soft at the edges: GrabCut from the usual place of a head."""
    mask = np.full(photo.shape[:2], cv2.GC_BGD, np.uint8)
    cv2.ellipse(mask, (240, 190), (125, 170), 0, 0, 360, cv2.GC_PR_BGD, -1)
    cv2.rectangle(mask, (60, 330), (420, 470), cv2.GC_PR_FGD, -1)
    cv2.ellipse(mask, (240, 185), (95, 145), 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.ellipse(mask, (240, 186), (72, 112), 0, 0, 360, cv2.GC_FGD, -1)
    cv2.rectangle(mask, (190, 285), (290, 470), cv2.GC_FGD, -1)
    small = cv2.resize(photo[:470], (240, 235), interpolation=cv2.INTER_AREA)
    labels = np.ascontiguousarray(mask[:470:2, ::2])
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, labels, (0, 0, 1, 1), *models, 4, cv2.GC_INIT_WITH_MASK)
    person = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    person = cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)).astype(np.uint8)
    found = np.zeros(photo.shape[:2], np.uint8)
    found[:470] = cv2.resize(person * np.uint8(255), (480, 470), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(found, (0, 0), 3).astype(np.uint8)
