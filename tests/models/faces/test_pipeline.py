"""The way from pixels to people, on real photographs of three persons."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from models.errors import ImageRejected
from models.faces.pipeline import FacePipeline
from models.faces.quality import measure
from models.gallery import Gallery
from models.recognition import QualityGates, Rule, SeenFace, recognise, unusable

ROOT = Path(__file__).parents[3]
Rgb = NDArray[np.uint8]


def png(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def small(path: Path, side: int = 800) -> Image.Image:
    image = Image.open(path).convert("RGB")
    image.thumbnail((side, side))
    return image


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(a - b))


def test_a_face_whose_eyes_are_just_far_enough_apart_is_not_too_small_to_be_looked_for(
    pipeline: FacePipeline, photos: dict[str, Path], astronaut: Rgb
) -> None:
    least = int(30 * pipeline.face_to_eyes)
    for rgb in (np.asarray(small(photos["obama.jpg"])), np.asarray(small(photos["biden.jpg"])), astronaut):
        eye_px = pipeline.quality(rgb, pipeline.detect(rgb, min_face_px=80)[0]).eye_px
        for wanted in (30.5, 31.5, 33.0):
            size = (round(rgb.shape[1] * wanted / eye_px), round(rgb.shape[0] * wanted / eye_px))
            shown = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
            assert len(pipeline.detect(shown, min_face_px=least)) == 1, (wanted, size)


def test_a_resident_is_known_from_another_photo_and_a_stranger_is_not(
    pipeline: FacePipeline, photos: dict[str, Path], astronaut: Rgb
) -> None:
    enrolled = pipeline.photo(photos["obama.jpg"].read_bytes())
    contract = enrolled.contract.id
    gallery = Gallery(
        ["obama", "astronaut"],
        np.stack([enrolled.embedding, pipeline.photo(png(Image.fromarray(astronaut))).embedding]),
    )

    def shown(name: str) -> list[SeenFace]:
        frames = []
        for at, shift in enumerate((0, 5, 9)):
            rgb = np.ascontiguousarray(np.asarray(small(photos[name]))[shift:, shift:])
            faces = pipeline.detect(rgb, min_face_px=80)
            assert len(faces) == 1
            quality = pipeline.quality(rgb, faces[0])
            assert unusable(quality, QualityGates()) is None
            frames.append(
                SeenFace(
                    at_s=at / 10, embedding=pipeline.embed(rgb, faces)[0], contract=contract, sharpness=quality.blur
                )
            )
        return frames

    rule = Rule(radius=0.40)
    resident = recognise(shown("obama2.jpg"), gallery, contract=contract, rule=rule)
    stranger = recognise(shown("biden.jpg"), gallery, contract=contract, rule=rule)

    assert getattr(resident, "person_id", None) == "obama"
    assert getattr(stranger, "reason", None) == "not_recognised"


def test_photos_of_one_person_are_near_and_of_two_are_far(pipeline: FacePipeline, photos: dict[str, Path]) -> None:
    embedded = {
        n: pipeline.photo(photos[f"{n}.jpg"].read_bytes()).embedding for n in ("obama", "obama2", "obama3", "biden")
    }

    assert distance(embedded["obama"], embedded["obama2"]) < 0.40
    assert distance(embedded["obama"], embedded["obama3"]) < 0.40
    assert all(distance(embedded["biden"], embedded[name]) > 0.7 for name in ("obama", "obama2", "obama3"))


def rejected(pipeline: FacePipeline, content: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        pipeline.photo(content)
    assert "{" not in caught.value.detail
    return caught.value.reason


def test_a_photo_that_cannot_enrol_says_why(pipeline: FacePipeline, photos: dict[str, Path]) -> None:
    obama, biden = small(photos["obama.jpg"]), small(photos["biden.jpg"])
    both = Image.new("RGB", (obama.width + biden.width, 800))
    both.paste(obama, (0, 0))
    both.paste(biden, (obama.width, 0))
    tiny = Image.new("RGB", (400, 400), (120, 130, 140))
    tiny.paste(obama.resize((160, 200)), (120, 100))
    face = pipeline.detect(np.asarray(obama), min_face_px=80)[0].box
    close = obama.crop((face[0] + 6, face[1] + 6, face[2] - 6, face[3] - 6)).resize((400, 400))

    assert rejected(pipeline, png(Image.new("RGB", (400, 300), "green"))) == "no_face"
    assert rejected(pipeline, png(both, "JPEG")) == "two_faces"
    assert rejected(pipeline, png(tiny)) == "too_small"
    assert rejected(pipeline, png(close)) in {"too_large", "cut_off", "no_face"}
    assert rejected(pipeline, png(obama.filter(ImageFilter.GaussianBlur(5)))) == "blurred"
    assert rejected(pipeline, png(obama.point(lambda level: level * 0.15))) == "too_dark"
    assert rejected(pipeline, png(obama.rotate(38, resample=Image.Resampling.BICUBIC))) in {"turned_away", "no_face"}
    assert rejected(pipeline, photos["obama_partial_face.jpg"].read_bytes()) == "cut_off"
    assert rejected(pipeline, b"nothing") == "unreadable"


def test_a_face_that_fills_the_picture_is_too_large(pipeline: FacePipeline, photos: dict[str, Path]) -> None:
    obama = small(photos["obama.jpg"])
    left, top, right, bottom = pipeline.detect(np.asarray(obama), min_face_px=80)[0].box

    assert rejected(pipeline, png(obama.crop((left - 2, top - 2, right + 2, bottom + 2)))) in {"too_large", "cut_off"}


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_lying_on_its_side_enrols_the_same_face(
    pipeline: FacePipeline, photos: dict[str, Path], orientation: int
) -> None:
    obama = small(photos["obama.jpg"])
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = pipeline.photo(png(obama.transpose(turns[orientation]), exif=exif))

    assert distance(lying.embedding, pipeline.photo(png(obama)).embedding) < 0.05


def test_nobody_in_the_picture_gives_no_embeddings(pipeline: FacePipeline) -> None:
    rgb = np.zeros((120, 160, 3), np.uint8)

    assert pipeline.detect(rgb, min_face_px=80) == []
    assert pipeline.embed(rgb, []).shape == (0, 128)


def test_a_view_of_a_frame_is_as_good_as_a_copy(pipeline: FacePipeline, astronaut: Rgb) -> None:
    view = astronaut[20:260, 110:330]
    faces = pipeline.detect(view, min_face_px=80)
    copy = np.ascontiguousarray(view)

    assert np.array_equal(pipeline.embed(view, faces), pipeline.embed(copy, pipeline.detect(copy, min_face_px=80)))
    assert pipeline.quality(view, faces[0]) == pipeline.quality(copy, faces[0])


def test_a_followed_face_embeds_as_a_found_one(pipeline: FacePipeline, astronaut: Rgb) -> None:
    (found,) = pipeline.detect(astronaut, min_face_px=80)
    (again,) = pipeline.follow(astronaut[6:, 9:], near=[found.box])

    both = pipeline.embed_all([(astronaut, [found]), (astronaut[6:, 9:], [again])])

    assert distance(both[0], both[1]) < 0.2
    assert pipeline.follow(astronaut, near=[]) == []


def test_pose_light_and_place_are_measured() -> None:
    chip = np.full((150, 150, 3), 90, np.uint8)
    chip[::2] = 110
    upright = np.array([[140, 100], [120, 100], [60, 100], [80, 100], [100, 130]], np.float32)
    frontal = measure(chip, upright, box=(50, 50, 149, 149), size=(200, 200))
    turned = measure(chip, upright + np.array([[0, 0]] * 4 + [[24, 0]]), box=(-50, 50, 49, 149), size=(200, 200))

    assert frontal.eye_px == 60
    assert frontal.face_px == 100
    assert (frontal.yaw, frontal.roll_deg, frontal.inside) == (0.0, 0.0, 1.0)
    assert frontal.brightness == pytest.approx(100, abs=1)
    assert frontal.contrast == pytest.approx(10, abs=1)
    assert turned.yaw == pytest.approx(0.8)
    assert turned.inside == 0.5


def test_the_memory_stays_small(cache_dir: Path, photos: dict[str, Path], pipeline: FacePipeline) -> None:
    program = (
        "import sys, pathlib, psutil, numpy as np; from models.faces.pipeline import FacePipeline; "
        "pipeline = FacePipeline(cache_dir=pathlib.Path(sys.argv[1]), threads=1); "
        "content = pathlib.Path(sys.argv[2]).read_bytes(); "
        "[pipeline.photo(content) for _ in range(3)]; "
        "[pipeline.detect(np.zeros((360, 640, 3), np.uint8), min_face_px=60) for _ in range(3)]; "
        "print(psutil.Process().memory_info().rss)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(cache_dir), str(photos["obama3.jpg"])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert int(ran.stdout) <= 350e6
