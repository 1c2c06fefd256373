"""Search files for faces: pictures, and numbers that lie near a known embedding in whatever form they are written.

An embedding of a video frame is never known to the bit from outside, so the search is for anything near it: each run of
128 numbers in binary (32 or 16 bits, at every offset), in base64, or written out, closer than two photos of one person.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NEAR = 0.55
DIMENSIONS = 128
MARKS = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a", re.DOTALL)
MAX_FILE_BYTES = 64 * 1024 * 1024
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{340,}={0,2}")
_NUMBERS = re.compile(rb"(?:-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?[\s,;]+){127}-?\d+(?:\.\d+)?")


def pictures(content: bytes) -> list[str]:
    """Return the formats and sizes of the pictures that a file holds anywhere: JPEG, PNG, WebP, GIF."""
    found = []
    for match in MARKS.finditer(content):
        try:
            with Image.open(io.BytesIO(content[match.start() :])) as image:
                found.append(f"{image.format} {image.size}")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # the mark stands there by chance
    return found


def holds_embedding(content: bytes, known: Iterable[NDArray[np.float32]]) -> bool:
    """Return whether a file holds numbers near one of the known embeddings."""
    wanted = np.stack(list(known))
    return any(_near(numbers, wanted) for numbers in _readings(content))


def _readings(content: bytes) -> Iterator[NDArray[np.float32]]:
    for blob in (content, *_decoded(content)):
        for form, width in (("<f4", 4), (">f4", 4), ("<f2", 2)):
            for offset in range(width):
                usable = (len(blob) - offset) // width * width
                if usable >= DIMENSIONS * width:
                    with np.errstate(invalid="ignore", over="ignore"):
                        yield np.frombuffer(blob[offset : offset + usable], form).astype(np.float32)
    for match in _NUMBERS.finditer(content):
        yield np.array(re.split(rb"[\s,;]+", match.group().strip()), dtype=np.float64).astype(np.float32)


def _decoded(content: bytes) -> Iterator[bytes]:
    for match in _BASE64.finditer(content):
        text = match.group().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4):
            piece = text[start:] if len(text[start:]) % 4 != 1 else text[start:-1]
            try:
                yield base64.b64decode(piece + b"=" * (-len(piece) % 4))
            except binascii.Error:
                continue


def _near(numbers: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    """Return whether any window of 128 numbers is near: sums first, so that few windows are looked at closely."""
    if len(numbers) < DIMENSIONS:
        return False
    sane = np.isfinite(numbers) & (np.abs(numbers) < 2.0)
    values = np.where(sane, numbers, 0.0).astype(np.float64)
    squares = np.concatenate(([0.0], np.cumsum(values**2)))
    good = np.concatenate(([0], np.cumsum(sane)))
    length = squares[DIMENSIONS:] - squares[:-DIMENSIONS]
    whole = (good[DIMENSIONS:] - good[:-DIMENSIONS]) == DIMENSIONS
    for one in wanted.astype(np.float64):
        reach = float(np.linalg.norm(one))
        norm = np.sqrt(np.maximum(length, 0.0))
        for start in np.flatnonzero(whole & (np.abs(norm - reach) < NEAR)):
            if float(np.linalg.norm(values[start : start + DIMENSIONS] - one)) < NEAR:
                return True
    return False


def findings(files: Iterable[Path], known: Iterable[NDArray[np.float32]]) -> dict[str, str]:
    """Return what was found, by file name: pictures and embeddings."""
    known, found = list(known), {}
    for path in files:
        try:
            content = path.read_bytes()[:MAX_FILE_BYTES]
        except FileNotFoundError:
            continue  # it ended meanwhile
        if marks := pictures(content):
            found[path.name] = f"pictures {marks}"
        elif holds_embedding(content, known):
            found[path.name] = "an embedding"
    return found
