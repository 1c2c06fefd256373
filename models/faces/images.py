"""Decode an enrolment photo from bytes that anybody may have sent.

JPEG and PNG only, bounded before they are decoded, turned upright by EXIF. Nothing is written; what the photo shows
is not looked at here.
"""

from __future__ import annotations

import io
import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.errors import ImageRejected

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_PIXELS: Final = {"JPEG": 64_000_000, "PNG": 16_000_000}
MIN_SIDE_PX: Final = 48
_SIGNATURES: Final = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}


def decode_photo(content: bytes, *, side_px: int) -> NDArray[np.uint8]:
    """Return the photo upright, (height, width, 3) uint8 RGB, scaled down so that its longer side is at most `side_px`.

    Raises:
        ImageRejected: `too_many_bytes`, `unreadable` (other format, truncated, animated), `too_many_pixels` or
            `too_small`.
    """
    if len(content) > MAX_BYTES:
        raise ImageRejected("too_many_bytes", f"{len(content)} bytes; at most {MAX_BYTES} are taken")
    format_ = next((name for start, name in _SIGNATURES.items() if content.startswith(start)), None)
    if format_ is None:
        raise ImageRejected("unreadable", "neither JPEG nor PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=[format_]) as image:
                return _decode(image, format_, side_px)
        except Image.DecompressionBombError as error:
            raise ImageRejected("too_many_pixels", "its header claims hundreds of megapixels") from error
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise ImageRejected("unreadable", f"a broken {format_} file") from error


def _decode(image: Image.Image, format_: str, side_px: int) -> NDArray[np.uint8]:
    """Check the header, then decode, already reduced where the format can."""
    width, height = image.size
    if width * height > MAX_PIXELS[format_]:
        raise ImageRejected(
            "too_many_pixels", f"{width} x {height} px; at most {MAX_PIXELS[format_] // 1_000_000} megapixels are taken"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise ImageRejected("too_small", f"{width} x {height} px; each side needs at least {MIN_SIDE_PX}")
    if format_ == "PNG" and getattr(image, "n_frames", 1) != 1:  # a JPEG of a telephone may carry further pictures
        raise ImageRejected("unreadable", "an animated picture")
    orientation = image.getexif().get(0x0112, 1)
    image.draft("RGB", (side_px, side_px))
    image.load()
    upright = _flattened(image)
    upright.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    if orientation != 1:
        upright.getexif()[0x0112] = orientation
        upright = ImageOps.exif_transpose(upright)
    return np.ascontiguousarray(upright, dtype=np.uint8)


def _flattened(image: Image.Image) -> Image.Image:
    """Return RGB: transparent parts on white, 16-bit grey scaled to 8."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")
