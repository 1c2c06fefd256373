"""What faces may be used for, on a running system: bad photos, consents, doors, counts, stills, strangers, what is kept.

Photos go in by the console's API and faces walk up to simulated cameras; what is kept is searched for on disk, in logs,
in the databases and on the broker.
"""

from __future__ import annotations

import asyncio
import base64
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from config.settings import FaceSettings
from edge import wire
from gateway.media import KEEP_STILLS_FOR, drop_old_stills
from gateway.rehearsal.actors import until
from gateway.rehearsal.stage import RESIDENT_AT_DOOR, RESIDENT_PHOTOS, STRANGER_AT_DOOR
from gateway.runtime import Runtime
from gateway.store import Store
from models.faces.pipeline import FacePipeline
from tests.stories import strangers
from tests.stories.acting import MASK, NAME, StoryStage
from tests.stories.scan import findings, holds_embedding, pictures

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("mosquitto", "mosquitto-clients"),
    pytest.mark.timeout(180),
    pytest.mark.slow,
]
JPEG, PNG = "image/jpeg", "image/png"
ANOTHER_NAME = "住户limits-1"
CARD_S = 1.5


@pytest.fixture(scope="module")
def pipeline() -> FacePipeline:
    """Return the networks of the edge, here."""
    return FacePipeline(cache_dir=FaceSettings().cache_dir.expanduser(), threads=1)


@pytest.fixture(scope="module")
def known(stage: StoryStage, pipeline: FacePipeline) -> list[NDArray[np.float32]]:
    """Return the embeddings of the resident and of the stranger, computed here from the same portraits."""
    names = (*RESIDENT_PHOTOS, RESIDENT_AT_DOOR, STRANGER_AT_DOOR)
    return [pipeline.photo(stage.picture(name).read_bytes()).embedding for name in names]


def encoded(image: Image.Image, kind: str = JPEG, **more: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind.removeprefix("image/").upper(), **more)
    return buffer.getvalue()


def small(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    image.thumbnail((700, 700))
    return image


def two_faces(stage: StoryStage) -> bytes:
    one, other = small(stage.picture(RESIDENT_PHOTOS[0])), small(stage.picture(STRANGER_AT_DOOR))
    both = Image.new("RGB", (one.width + other.width, 700))
    both.paste(one, (0, 0))
    both.paste(other, (one.width, 0))
    return encoded(both)


BadPhoto = Callable[[StoryStage], bytes]
BAD_PHOTOS: dict[str, tuple[BadPhoto, str, int, set[str]]] = {
    "no face": (lambda _: encoded(Image.new("RGB", (640, 480), "grey")), JPEG, 422, {"no_face"}),
    "two faces": (two_faces, JPEG, 422, {"two_faces"}),
    "one pixel": (lambda _: encoded(Image.new("RGB", (1, 1)), PNG), PNG, 422, {"too_small"}),
    "100 megapixels": (
        lambda _: encoded(Image.new("L", (10_000, 10_000)), PNG, compress_level=1), PNG, 422, {"too_many_pixels"},
    ),
    "truncated": (lambda s: s.picture(RESIDENT_PHOTOS[0]).read_bytes()[:9000], JPEG, 422, {"unreadable"}),
    "5 MB": (lambda s: s.picture(RESIDENT_PHOTOS[0]).read_bytes() + bytes(5_000_000), JPEG, 413, {"too_large"}),
    "another type": (lambda s: s.picture(RESIDENT_PHOTOS[0]).read_bytes(), "image/webp", 422, {"unreadable"}),
    "no type": (lambda s: s.picture(RESIDENT_PHOTOS[0]).read_bytes(), "", 422, {"unreadable"}),
    "a lie": (lambda s: s.picture(RESIDENT_PHOTOS[0]).read_bytes(), PNG, 422, {"unreadable"}),
    "a form": (lambda _: b"--x\r\nContent-Disposition: form-data\r\n\r\n\xff\xd8\xff\r\n--x--\r\n",
               "multipart/form-data; boundary=x", 422, {"unreadable"}),
    "nothing": (lambda _: b"", JPEG, 422, {"unreadable"}),
}  # fmt: skip


async def test_a_bad_photo_is_refused_with_its_reason_and_kept_nowhere(
    stage: StoryStage, known: list[NDArray[np.float32]]
) -> None:
    await stage.person("limits-1", doors=["gate"], consent=True)
    wrong = {}
    for name, (make, kind, status, reasons) in BAD_PHOTOS.items():
        answer = await stage.put_photo("limits-1", make(stage), kind=kind)
        problem = answer.json()
        told = (answer.status_code, answer.headers["content-type"], problem.get("reason") in reasons)
        if told != (status, "application/problem+json", True) or not problem["detail"]:
            wrong[name] = (answer.status_code, problem)
    assert wrong == {}
    person = await stage._checked(stage.manager.get("/api/v1/people/limits-1"))
    assert person["faces"] == []
    assert findings(stage.kept_files(), known) == {}


async def test_a_photo_on_its_side_is_taken_and_kept_nowhere(
    stage: StoryStage, known: list[NDArray[np.float32]]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.open(stage.picture(RESIDENT_PHOTOS[0])).convert("RGB").rotate(90, expand=True)
    answer = await stage.put_photo("limits-1", encoded(lying, exif=exif, quality=95))
    assert answer.status_code == 200, answer.text
    assert answer.json()["receipt"]["digest"]
    assert findings(stage.kept_files(), known) == {}
    assert not any(word in answer.text for word in ("embedding", "image"))
    await stage._checked(stage.manager.delete(await consent_of(stage, "limits-1")))


async def consent_of(stage: StoryStage, person_id: str) -> str:
    person = await stage._checked(stage.manager.get(f"/api/v1/people/{person_id}"))
    return f"/api/v1/people/{person_id}/consents/{person['consents'][0]['id']}"


async def test_without_consent_no_photo_leaves_the_gateway(stage: StoryStage) -> None:
    await stage.person("limits-2", doors=["gate"])
    photo = stage.picture(RESIDENT_PHOTOS[0]).read_bytes()
    for person, status, reason in (("limits-2", 422, "no_consent"), ("nobody", 404, None)):
        answer = await stage.put_photo(person, photo)
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, answer.json().get("reason")) == (status, reason)


async def test_an_expired_permit_opens_nothing(stage: StoryStage) -> None:
    card = await stage.person("limits-3")
    until_text = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    permit = {"doors": ["gate"], "valid_until": until_text}
    await stage._checked(stage.manager.post("/api/v1/people/limits-3/permits", json=permit))

    async def known_at_the_door() -> bool:
        answer = await stage.present_card("gate", card)
        assert answer["outcome"] == "denied", answer
        return bool(answer["reason"] == "expired" and await stage.denied("gate", str(answer["attempt"])) == "expired")

    await until(known_at_the_door, what="the card refused as expired", within_s=15)


async def test_a_face_is_matched_only_at_the_doors_of_its_consent(stage: StoryStage) -> None:
    await stage.vision_ready()
    elsewhere = await stage.look("side", "lobby", portrait=RESIDENT_AT_DOOR)
    assert elsewhere["outcome"] == "denied", elsewhere
    fact = await stage.fact("side", "access_denied", attempt=str(elsewhere["attempt"]))
    assert (fact["method"], fact["person_id"], fact["reason"]) == ("face", None, "not_recognised")
    at_home = await stage.look("gate", "gate", portrait=RESIDENT_AT_DOOR)
    assert at_home["outcome"] == "unlocked", at_home


async def test_what_an_edge_counts_among_residents_narrows_its_doors_only_if_two_look_alike(stage: StoryStage) -> None:
    for people, (person_id, portrait) in enumerate((("limits-4", STRANGER_AT_DOOR), ("limits-5", RESIDENT_AT_DOOR)), 2):
        await stage.person(person_id, doors=["gate"], consent=True)
        answer = await stage.put_photo(person_id, stage.picture(portrait).read_bytes())
        assert answer.status_code == 200, answer.text
        found = await stage.count_pairs("gate", people=people)
        told = (found["in_force"], found["edge_id"], found["source"], found["persons"], found["pairs"])
        assert told == (True, "edge-1", "site", people, people * (people - 1) // 2)
        use = await stage.face_use("gate")
        assert (use["people"], use["alone"], use["radius"], use["why_not"]) == (people, True, 0.4, [])
        if people == 2:
            assert (found["matched"][39], use["verify_radius"]) == (0, 0.4)
    assert found["matched"][39] == 1, "two of the three look alike"
    assert use["verify_radius"] == pytest.approx(found["matched"].index(1) / 100)
    for person_id in ("limits-4", "limits-5"):
        await stage._checked(stage.manager.delete(await consent_of(stage, person_id)))


async def test_a_still_shows_neither_face_nor_mask_stays_on_no_edge_and_goes_after_its_life(
    stage: StoryStage, known: list[NDArray[np.float32]], *, pipeline: FacePipeline
) -> None:
    await stage.vision_ready()
    path, portrait = "/api/v1/cameras/gate/stills", str(stage.picture(RESIDENT_AT_DOOR))
    why = {"Gatehouse-Reason": "near zone"}
    script = {"approach_s": 1.0, "stay_s": 12.0, "leave_s": 1.0}
    shown = await stage.cameras.ask(camera="gate", scene="approach", portrait=portrait, script=script, within_s=60)
    await asyncio.sleep(max(0.0, float(shown["near_at"]) - datetime.now(UTC).timestamp() + 0.7))
    path += "/" + str((await stage._checked(stage.manager.post(path, headers=why)))["id"])

    async def ended() -> Any:
        still = await stage._checked(stage.manager.get(path))
        return still if still["state"] != "waiting" else None

    still = await until(ended, what="the still", within_s=20)
    await stage.quiet()
    assert still["state"] == "ready", still
    jpeg = (await stage.manager.get(f"{path}/picture", headers=why)).content
    rgb = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.uint8)
    assert pipeline.detect(rgb, min_face_px=24) == []
    assert brightness(rgb, MASK).max() < 16, "the mask of the camera's register is black"
    left, top, right, bottom = MASK
    for beside in ([right + 0.02, top, right + 0.15, bottom], [left, bottom + 0.04, right, bottom + 0.2]):
        assert brightness(rgb, beside).min() > 16, "and nothing else"
    log = (stage.directory / "logs" / "up.log").read_text()
    assert "a still of camera gate was sent: 1 faces hidden" in log, "nobody stood there"
    media = stage.directory / "data" / "gateway"
    kept = [file for file in stage.kept_files() if jpeg in file.read_bytes()]
    assert [file.is_relative_to(media) for file in kept] == [True]
    assert set(findings(stage.kept_files(), known)) == {kept[0].name}

    store = Store(f"sqlite:///{next(media.glob('*.db'))}")
    later = Runtime(store=store, clock=lambda: datetime.now(UTC) + KEEP_STILLS_FOR, data_dir=media)
    assert await drop_old_stills(later) == 1
    store.close()
    gone = await stage._checked(stage.manager.get(path))
    assert (gone["state"], gone["reason"]) == ("failed", "gone")
    assert (await stage.manager.get(f"{path}/picture", headers=why)).status_code == 404
    assert findings(stage.kept_files(), known) == {}


def brightness(rgb: NDArray[np.uint8], area: list[float]) -> NDArray[np.float64]:
    """Return how bright an area of a picture is, pixel by pixel; the area in parts of the picture."""
    rows, cols = rgb.shape[:2]
    left, top, right, bottom = area
    cut = rgb[int(top * rows) : int(bottom * rows), int(left * cols) : int(right * cols)]
    grey: NDArray[np.float64] = cut.mean(axis=2)
    return grey


async def counters(stage: StoryStage) -> wire.FacesHealth:
    """Ask the face process itself, in the worker's place for a moment; the worker connects again by itself."""
    reader, writer = await asyncio.open_unix_connection(str(stage.edge_dir / "run" / "faces.sock"))
    try:
        await wire.write(writer, wire.WorkerHello())
        async with asyncio.timeout(10):
            while (message := await wire.read(reader, wire.from_faces)) is not None:
                if isinstance(message, wire.FacesHealth):
                    return message
    finally:
        writer.close()
    raise AssertionError("the face process closed the connection")


async def at_rest(stage: StoryStage) -> wire.FacesHealth:
    """Return the counters once the last crop that was asked for is done with."""
    last: list[int] = []

    async def same() -> wire.FacesHealth | None:
        now = await counters(stage)
        last.append(now.crops)
        return now if last[-3:] == [now.crops] * 3 else None

    found: wire.FacesHealth = await until(same, what="the face process at rest", within_s=15, every_s=0.5)
    return found


async def test_who_passes_by_without_an_act_is_not_looked_at(stage: StoryStage) -> None:
    if not (await counters(stage)).embeddings:
        await stage.look("gate", "gate", portrait=RESIDENT_AT_DOOR)
    before = await at_rest(stage)
    assert before.embeddings > 0, "the counter counts nothing"
    portrait = str(stage.picture(RESIDENT_AT_DOOR))
    walks = [
        await stage.cameras.ask(camera=camera, scene=scene, portrait=portrait, within_s=60)
        for camera, scene in (("gate", "approach"), ("lobby", "pass"))
    ]
    near_in_s = float(walks[0]["near_at"]) - datetime.now(UTC).timestamp()
    await asyncio.sleep(max(0.0, near_in_s) + 1.5)
    after = await counters(stage)
    await stage.quiet()
    assert (after.crops, after.faces, after.embeddings) == (before.crops, before.faces, before.embeddings)


async def press_on(stage: StoryStage, heard: list[str]) -> None:
    """Press the button at the gate again whenever the door has answered, and keep what it said."""
    while True:
        outcome = await stage._ask("gate", "button", timeout_s=14.0)
        assert outcome["outcome"] == "denied", outcome
        heard.append(str(outcome["attempt"]))


async def test_a_thousand_pictures_of_strangers_leave_no_trace_but_refusals(
    stage: StoryStage, known: list[NDArray[np.float32]], *, pipeline: FacePipeline, tmp_path: Path
) -> None:
    await stage.vision_ready()
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "astronaut.png")  # type: ignore[no-untyped-call]
    portraits = [stage.picture(STRANGER_AT_DOOR), tmp_path / "astronaut.png"]
    samples = strangers.embedded(strangers.faces(portraits, 24, pipeline=pipeline), pipeline)
    crops = strangers.faces(portraits, 1_000, pipeline=pipeline)
    before, socket = await at_rest(stage), stage.edge_dir / "run" / "faces.sock"
    attempts: list[str] = []
    async with stage.hearing("gatehouse/v1/#", user="edge") as heard, strangers.eye_held(stage.up_pid, "gate"):
        pressing = asyncio.create_task(press_on(stage, attempts))
        assert await strangers.show(socket, "gate", crops, at=(250, 80)) == 1_000
        pressing.cancel()
    after = await at_rest(stage)
    assert after.embeddings - before.embeddings >= 950
    for attempt in attempts:
        fact = await stage.fact("gate", "access_denied", attempt=attempt)
        assert (fact["person_id"], fact.get("evidence")) == (None, None)
    capture, centre = tmp_path / "broker", tmp_path / "centre"
    capture.write_bytes(b"\n".join(body for _, body in heard))
    centre.write_text(str(await stage.centre_received()))
    assert any(name.endswith("/request") for name, _ in heard)
    assert findings([*stage.kept_files(), capture, centre], [*known, *samples]) == {}


async def test_the_search_finds_what_it_is_for(known: list[NDArray[np.float32]]) -> None:
    rng = np.random.default_rng(7)
    frame = known[2] + rng.normal(0, 0.02, 128).astype(np.float32)
    noise = rng.bytes(4099)
    forms = {
        "float32": frame.astype("<f4").tobytes(),
        "float16": frame.astype("<f2").tobytes(),
        "base64": base64.b64encode(b"ab" + frame.astype("<f4").tobytes()),
        "json": str(frame.tolist()).encode(),
    }
    assert [name for name, form in forms.items() if not holds_embedding(noise + form + noise, known)] == []
    assert not holds_embedding(noise * 8, known)
    assert pictures(noise + encoded(Image.new("RGB", (64, 64))) + noise) == ["JPEG (64, 64)"]


async def test_without_the_face_process_a_card_opens_at_once(stage: StoryStage) -> None:
    for _ in range(3):
        stage.kill("edge", "faces")
        card = await stage.present_card("gate", stage.card)
        assert card["outcome"] == "unlocked", card
        assert float(card["ms"]) <= CARD_S * 1000

        async def back() -> bool:
            return (await counters(stage)).ready

        await until_connected(back)


async def until_connected(condition: Callable[[], Any]) -> None:
    """Wait until the face process answers again."""

    async def answers() -> bool:
        try:
            return bool(await condition())
        except (OSError, AssertionError, TimeoutError):
            return False

    await until(answers, what="the face process is back", within_s=60)


async def test_names_cards_and_pins_are_nowhere_but_where_they_belong(stage: StoryStage) -> None:
    pin = "739164052817"
    await stage._checked(
        stage.manager.post(f"/api/v1/people/{stage.resident_id}/credentials", json={"kind": "pin", "value": pin})
    )
    person_card = await stage.present_card("gate", stage.card)
    assert person_card["outcome"] == "unlocked"
    wrong = await stage.present_card("gate", "00C0FFEE00")
    await stage.denied("gate", str(wrong["attempt"]))

    async def pin_opens() -> bool:
        return bool((await stage._ask("gate", "pin", value=pin, timeout_s=5.0))["outcome"] == "unlocked")

    await until(pin_opens, what="the PIN opens the door", within_s=15)
    values = [stage.card.encode(), stage.card.lower().encode(), b"00C0FFEE00", pin.encode()]
    names = [NAME.encode(), ANOTHER_NAME.encode(), *(str([name])[2:-2].encode("unicode_escape") for name in (NAME,))]
    keep_values = {path for path in stage.kept_files() if any(value in path.read_bytes() for value in values)}
    assert {path.name for path in keep_values} == set()
    told = str(await stage.centre_received()) + "".join([str(row) for row in await all_facts(stage)])
    assert not any(name.decode() in told for name in names)
    logs = (stage.directory / "logs").glob("*.log")
    assert [log.name for log in logs if any(name in log.read_bytes() for name in names)] == []
    assert rows_with(stage.directory / "data" / "gateway", names) == {"people"}


async def all_facts(stage: StoryStage) -> list[dict[str, Any]]:
    page = await stage._checked(stage.manager.get("/api/v1/facts", params={"limit": 500}))
    assert page["items"]
    return list(page["items"])


def rows_with(folder: Path, words: list[bytes]) -> set[str]:
    """Return the tables of the gateway's database in which one of the words stands."""
    found = set()
    with closing(sqlite3.connect(f"file:{next(folder.glob('*.db'))}?mode=ro", uri=True)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = db.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608 - the names are the database's own
            flat = "\n".join(str(cell) for row in rows for cell in row).encode()
            if any(word in flat for word in words):
                found.add(table)
    return found
