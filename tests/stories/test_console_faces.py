"""The office's console in Chromium: a manager sees how doors use faces, enrols, draws a near zone and counts evidence.

The gateway is a real process; the edge is this test, which obeys commands as an edge does. What is shown of faces is
words and counts: no page ever draws a person's picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from models.assessments import TOPICS
from models.calibration import STEPS, FaceUse, ImpostorEvidence, needed_pairs
from models.link import (
    Command,
    CountImpostors,
    EnrolAtDoor,
    EnrolFace,
    FaceReceipt,
    FaceStatus,
    Progress,
    Result,
    TakeStill,
)
from tests.needs import program
from tests.stories.served import PASSWORD, SITE, Edge, Served, east, seeded
from tests.stories.test_console import BUILT, CONSOLE, COUNT_REFUSALS, DESK, PHONE

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("chromium"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not BUILT.exists() and os.environ.get("CI") != "true", reason="the console is not built: run `make setup`"
    ),
]
expect.set_options(timeout=15_000)
REGISTER = {
    "purpose": "gate", "place_class": "community_common", "sign_confirmed_on": "2026-01-01", "banned_area_checked": True,
}  # fmt: skip
CONSENT = {
    "id": "k1", "doors": ["east"], "text_version": "v", "text_sha256": "0" * 64, "given_at": "2026-01-01T00:00:00Z",
    "channel": "paper", "evidence": "form 1",
}  # fmt: skip
FACES: dict[str, Any] = SITE | {
    "doors": [SITE["doors"][0] | {"factors": ["face", "face+card", "card"]}, SITE["doors"][1]],
    "assessments": [
        {
            "id": "a", "subject": "face", "topics": dict.fromkeys(TOPICS, "weighed with care and found to be in order"),
            "drafted_by": "office", "drafted_at": "2026-01-01T00:00:00Z", "approved_by": "board",
            "approved_at": "2026-01-02T00:00:00Z",
        }
    ],
    "people": [
        {"id": "p1", "name": "王芳", "consents": [CONSENT]},
        {"id": "p2", "name": "王强"},
    ],
}  # fmt: skip
USE = FaceUse(
    people=60, alone=False, verify_radius=0.4, why_not=("no_liveness", "too_little_evidence"),
    needed_pairs=needed_pairs(60),
)  # fmt: skip


def grey() -> bytes:
    """Return a picture without anybody in it."""
    file = io.BytesIO()
    Image.new("RGB", (640, 360), (120, 130, 140)).save(file, "JPEG")
    return file.getvalue()


class Obedient:
    """What the edge of this test does with each command; it refuses the first photo."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.photos = 0

    async def act(self, command: Command) -> Result | None:
        at = datetime.now(UTC)
        done: dict[str, Any] = {"command_id": command.id, "state": "confirmed", "at": at}
        if isinstance(command, EnrolFace):
            self.photos += 1
            if self.photos == 1:
                return Result(command_id=command.id, state="refused", reason="blurred", at=at)
            return Result(**done, receipt=_receipt(command.person_id, at=at))
        if isinstance(command, EnrolAtDoor):
            for taken, hint in ((0, "come_closer"), (2, "turn_slightly")):
                told = Progress(command_id=command.id, at=at, done=taken, wanted=command.pictures, hint=hint)  # type: ignore[arg-type]
                await self.edge.progress(told)
            return None  # the person has not turned yet
        if isinstance(command, TakeStill):
            await self.edge.picture(command.id, grey(), camera=command.camera_id)
            return Result(**done, media_id=command.id)
        if isinstance(command, CountImpostors):
            return Result(**done, evidence=_counted(at))
        return Result(command_id=command.id, state="refused", reason="unsupported", at=at)


def _receipt(person_id: str, *, at: datetime) -> FaceReceipt:
    key = str(uuid.uuid4())
    return FaceReceipt(id=key, person_id=person_id, edge_id="edge-1", contract="m", quality=0.9, digest="0" * 64, at=at)


def _counted(at: datetime) -> ImpostorEvidence:
    pairs = 60 * 59 // 2
    return ImpostorEvidence(
        id=str(uuid.uuid4()), contract="m", source="site", persons=60, pairs=pairs, matched=(0,) * STEPS,
        upper=(3 / pairs,) * STEPS, at=at, edge_id="edge-1",
    )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Yield one gateway for all tests of this file: each looks at, or adds, what no other touches."""
    seed = await asyncio.to_thread(seeded, tmp_path_factory.mktemp("seed"), site=FACES, role="manager")
    gateway = Served(tmp_path_factory.mktemp("served"), seed)
    await gateway.start()
    edge = Edge(gateway.url)
    await edge.enrol(gateway.edge_token)
    await edge.tell(east(face=FaceStatus(use=USE, contract="m")))
    obeying = asyncio.create_task(edge.obey(Obedient(edge).act))
    yield gateway
    if obeying.done():
        obeying.result()
    obeying.cancel()
    await gateway.kill(signal.SIGTERM)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        yield launched
        await launched.close()


@contextlib.asynccontextmanager
async def managing(browser: Browser, served: Served, *, size: ViewportSize = DESK) -> AsyncIterator[Page]:
    """Yield the page of a logged-in manager, in English; at its end it has met no Content-Security-Policy."""
    window = await browser.new_context(viewport=size)
    await window.add_init_script(COUNT_REFUSALS)
    page = await window.new_page()
    await page.goto(served.url)
    await page.get_by_label("用户名").fill("li.wei")
    await page.get_by_label("密码", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="登录").click()
    await page.get_by_text("English").click()
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    yield page
    assert await page.evaluate("window.refused") == []
    await window.close()


STILL = """() => Promise.all(
    document.getAnimations().filter(one => one.effect.getComputedTiming().endTime < Infinity)
        .map(one => one.finished.catch(() => null)))"""


async def accessible(page: Page) -> list[tuple[str, str]]:
    """Return what axe finds wrong; nothing where it is not installed."""
    axe = CONSOLE / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        return []
    await page.evaluate(axe.read_text("utf-8"))
    await page.evaluate(STILL)  # what fades in or out has no contrast of its own yet
    found = await page.evaluate("axe.run({exclude: [['.ant-message']]})")
    return [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]]


async def test_a_manager_sees_how_a_door_uses_faces_and_enrols_who_consented(browser: Browser, served: Served) -> None:
    async with managing(browser, served) as page:
        door = page.locator("[data-door=east]")
        await expect(door).to_contain_text("Face with card or PIN")
        await door.locator("summary").click()
        await expect(door).to_contain_text("Nothing tells a live face from a picture here")
        await expect(door).to_contain_text(f"{needed_pairs(60):,} pairs of persons without a false match")
        assert await accessible(page) == []

        await page.get_by_role("button", name="Enrol a face").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("王")
        await dialog.get_by_role("button", name="Find").click()
        await dialog.get_by_role("button", name="王强").click()
        await expect(dialog).to_contain_text("No live consent")
        await expect(dialog.get_by_role("button", name="Choose photos")).to_have_count(0)
        await dialog.get_by_role("button", name="Somebody else").click()
        await dialog.get_by_role("button", name="王芳").click()
        await expect(dialog).to_contain_text("Consented to faces at: 东门")
        files: Any = [{"name": f"{n}.jpg", "mimeType": "image/jpeg", "buffer": grey()} for n in range(2)]
        await dialog.locator("input[type=file]").set_input_files(files)
        await expect(dialog.locator("[data-photo=refused]")).to_contain_text("Blurred")
        await expect(dialog.locator("[data-photo=taken]")).to_have_count(1)
        await expect(dialog).to_contain_text("1 template enrolled")
        assert await accessible(page) == []

        await dialog.get_by_text("At a door").click()
        await dialog.get_by_role("button", name="Start").click()
        await expect(dialog.locator(".standing-hint")).to_have_text("Turn your head a little")
        await expect(dialog).to_contain_text("2 of 3 pictures")
        assert await accessible(page) == []
        await dialog.get_by_role("button", name="Stop").click()
        await expect(dialog).to_contain_text("Stopped")
        pictures = await page.locator("main img, [role=dialog] img").count()
        assert pictures == 0, "no face is shown"


async def test_a_near_zone_is_drawn_by_mouse_and_keyboard_on_a_still_and_saved(
    browser: Browser, served: Served
) -> None:
    async with managing(browser, served, size=PHONE) as page:
        body = {
            "id": "lens", "name": "Lens", "edge_id": "edge-1", "url": "rtsp://127.0.0.1:1/lens", "door_id": "east",
            "register": REGISTER,
        }  # fmt: skip
        made = await page.request.post(f"{served.url}/api/v1/cameras", data=body)
        assert made.ok, await made.text()
        await page.reload()
        await page.get_by_text("Cameras", exact=True).first.click()
        await page.get_by_role("button", name="Near zone of Lens").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Reason").fill("near zone")
        await dialog.get_by_role("button", name="Take a picture").click()
        await expect(dialog.get_by_role("img", name=re.compile("unrecognisable"))).to_be_visible()
        assert await dialog.locator(".board img").evaluate("image => image.naturalWidth") == 640

        area = await dialog.locator(".board").bounding_box()
        assert area is not None
        await dialog.get_by_role("button", name="Corner 1:").hover()
        await page.mouse.down()
        await page.mouse.move(area["x"] + area["width"] / 4, area["y"] + area["height"] / 2, steps=4)
        await page.mouse.up()
        await expect(dialog.get_by_label("Corner 1, percent across")).to_have_value("25")
        await dialog.get_by_role("button", name="Corner 2:").focus()
        await page.keyboard.press("Shift+ArrowLeft")
        await dialog.get_by_label("Corner 3, percent down").fill("90")
        await page.keyboard.press("Enter")
        assert await accessible(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        await dialog.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Saved; the edge follows at once")).to_be_visible()
        kept = await (await page.request.get(f"{served.url}/api/v1/cameras/lens/settings")).json()
        assert [round(number, 2) for number in kept["near_zone"]] == [0.25, 0.5, 0.95, 0.0, 1.0, 0.9, 0.0, 1.0]


async def test_evidence_is_counted_and_says_for_how_many_people_it_carries(browser: Browser, served: Served) -> None:
    async with managing(browser, served) as page:
        await page.get_by_role("button", name="Evidence").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Nothing was counted yet")
        await dialog.get_by_role("button", name="Count now").click()
        await expect(dialog).to_contain_text("edge-1: counted")
        row = dialog.locator("[data-calibration]")
        await expect(row).to_contain_text("1,770")
        await expect(row).to_contain_text(f"60: too little, {needed_pairs(60):,} pairs needed")
        assert await accessible(page) == []
