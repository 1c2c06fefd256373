"""An integrator at work, by commands only: finds a device on the wire, lends it credentials, tries it, adopts it, replaces it.

The whole system is real and the devices are simulators on their real wires: ONVIF with TLS, RTSP, MQTT.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from gateway.rehearsal.actors import Remote, until
from gateway.rehearsal.processes import module_argv
from tests.needs import program
from tests.stories.acting import StoryStage
from tests.stories.test_console import BUILT, COUNT_REFUSALS, DESK, PHONE
from tests.stories.test_console_faces import accessible

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("mosquitto", "mosquitto-clients"),
    pytest.mark.timeout(180),
    pytest.mark.slow,
]
EDGE, USER, PASSWORD = "edge-1", "installer", "device-pass-7"
WHY = ("--reason", "adoption")
CUT_OFF = "(body => body.scrollWidth > body.clientWidth)(document.querySelector('.ant-modal-body'))"


@dataclass
class Onvif:
    """A simulated device."""

    address: str
    control: Remote
    fingerprint: str

    async def doors(self) -> str:
        """Return what the device tells of its doors, as text."""
        return json.dumps(await self.control.ask(act="status"))


@dataclass
class Integrator:
    """Somebody with a terminal and a token."""

    stage: StoryStage
    token: str
    secret: Path

    async def says(self, *arguments: str, status: int = 0) -> Any:
        """Run a command and return what it prints as JSON."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments, "--url", self.stage.url, "--json",
            env={"PATH": "/usr/bin:/bin", "GATEHOUSE_TOKEN": self.token}, cwd=Path(__file__).parents[2],
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, complaint = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == status, (out + complaint).decode()
        return json.loads(out)

    async def knows(self, device_id: str) -> Any:
        """Lend a device its credentials and trust its certificate."""
        told = ("--user", USER, "--password-file", str(self.secret), "--trust")
        return await self.says("device", "probe", device_id, *told, *WHY)

    async def finds(self, device: Onvif) -> Any:
        """Have the device's address asked and return it as far as it was reached."""
        return await self.says("device", "probe", device.address, "--edge", EDGE, *WHY, status=1)

    async def online(self, door_id: str) -> None:
        """Wait until a door is served."""

        async def served() -> bool:
            answer = await self.stage.manager.get(f"/api/v1/doors/{door_id}")
            return bool(answer.json().get("online"))

        await until(served, what=f"door {door_id} online", within_s=30)


async def device(stage: StoryStage, name: str, *, tls: bool = True, door: str = "annex") -> Onvif:
    """Start a device with a door, and a camera that nobody watches yet."""
    stream = f"{str(stage.files.urls['lobby']).rpartition('/')[0]}/{name}"
    argv = module_argv("drivers", "simulate", "onvif", "--door", door, "--serial", name, "--user", USER)
    argv += ["--password-file", str(stage.files.path("device.secret")), "--rtsp", stream, *(["--tls"] if tls else [])]
    ready = await stage._start_child(name, argv)
    return Onvif(str(ready["address"]), Remote(name, str(ready["control"])), str(ready.get("fingerprint", "")))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def integrator(stage: StoryStage) -> Integrator:
    stage.files.keep_secret("device.secret", PASSWORD)
    config = str(stage.files.path("gatehouse.yaml"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "token", "add", "laptop", "--role", "manager", "--json",
        "--config", config, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return Integrator(stage, str(json.loads(out)["token"]), stage.files.path("device.secret"))


async def test_a_device_is_found_trusted_tried_adopted_and_replaced_by_commands(
    stage: StoryStage, integrator: Integrator
) -> None:
    first = await device(stage, "SIM-A")
    stuck = await integrator.finds(first)
    assert (stuck["trouble"], stuck["fingerprint"], stuck["reach"]) == ("certificate", first.fingerprint, "answers")
    known = await integrator.knows(stuck["id"])
    assert (known["reach"], known["serial"], known["has_credentials"]) == ("known", "SIM-A", True)
    assert {part["kind"] for part in known["parts"]} >= {"camera", "door"}
    assert PASSWORD not in json.dumps(known)

    before = await first.doors()
    tried = await integrator.says("device", "try", known["id"], "--part", "annex", *WHY)
    assert tried["state"] == "confirmed"
    assert await first.doors() != before, "the door itself says that it was opened"

    await integrator.says(
        "device", "adopt", known["id"], "--part", "annex", "--as", "annex", "--name", "Annex", *WHY
    )  # fmt: skip
    await integrator.online("annex")
    opened = await stage.manager.post("/api/v1/doors/annex/unlock", json={"reason": "first day"})
    assert opened.status_code == 200, opened.text

    second = await device(stage, "SIM-B")
    spare = await integrator.knows((await integrator.finds(second))["id"])
    taken = await integrator.says("device", "replace", known["id"], spare["id"], *WHY)
    assert "annex" in {part["adopted_as"] for part in taken["parts"]}
    settings = (await stage.manager.get("/api/v1/doors/annex/settings")).json()
    assert settings["driver"]["url"] == second.address
    assert PASSWORD not in json.dumps(settings)
    before = await second.doors()

    async def opens() -> bool:
        answer = await stage.manager.post("/api/v1/doors/annex/unlock", json={"reason": "second day"})
        return answer.is_success and await second.doors() != before

    await until(opens, what="the new device opens the old door", within_s=30, every_s=1.0)
    listed = (await integrator.says("device", "list", "--removed"))["items"]
    assert [one["id"] for one in listed] == [known["id"]]


async def test_a_camera_by_its_stream_gives_a_still_without_faces_and_is_adopted_off(
    stage: StoryStage, integrator: Integrator, tmp_path: Path
) -> None:
    url = str(stage.files.urls["lobby"]).replace("127.0.0.1", "localhost")
    refused = await integrator.says("device", "probe", url, "--edge", EDGE, *WHY, status=1)
    assert (refused["reach"], refused["trouble"]) in {("answers", "credentials"), ("heard", "unreachable")}
    secret = str(stage.files.path("camera.secret"))
    seen = await integrator.says(
        "device", "probe", refused["id"], "--user", "gatehouse", "--password-file", secret, *WHY
    )
    assert (seen["reach"], seen["parts"][0]["width_px"] > 0) == ("ready", True)
    still = tmp_path / "still.jpg"
    await integrator.says("device", "try", seen["id"], "--out", str(still), *WHY)
    with Image.open(still) as picture:
        assert max(picture.size) <= 640
    adopted = await integrator.says("device", "adopt", seen["id"], "--as", "court", "--name", "Court", *WHY)
    assert adopted["state"] == "adopted"
    court = (await stage.manager.get("/api/v1/cameras/court/settings")).json()
    assert (court["url"], court["has_password"], court["register"]) == (url, True, None)


async def test_a_search_of_the_broker_tells_which_doors_are_served_already(
    stage: StoryStage, integrator: Integrator
) -> None:
    found = await integrator.says("discover", "--edge", EDGE, "--wire", "mqtt", "--for", "4", *WHY)
    states = {one["parts"][0]["id"]: one["state"] for one in found["items"]}
    assert states.keys() >= {"gate", "side"}
    assert {states["gate"], states["side"]} == {"adopted"}


async def at_the_console(window: BrowserContext, stage: StoryStage) -> Page:
    """Return the console with the manager logged in."""
    page = await window.new_page()
    await page.goto(stage.url)
    await page.get_by_label("用户名").fill("manager")
    await page.get_by_label("密码", exact=True).fill(stage.passwords["manager"])
    await page.get_by_role("button", name="登录").click()
    return page


@pytest.mark.needs("chromium")
@pytest.mark.skipif(
    not BUILT.exists() and os.environ.get("CI") != "true", reason="the console is not built: run `make setup`"
)
async def test_the_console_leads_from_a_search_to_a_door_that_opens(
    stage: StoryStage, integrator: Integrator, tmp_path: Path
) -> None:
    shed = await device(stage, "SIM-C", tls=False, door="shed")
    host = shed.address.removeprefix("http://").partition("/")[0]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        window = await browser.new_context(viewport=DESK)
        await window.add_init_script(COUNT_REFUSALS)
        page = await at_the_console(window, stage)
        await page.get_by_role("button", name="添加设备").click()
        await page.get_by_label("原因").fill("接入棚屋")
        await page.get_by_label("另外逐个询问的地址").fill(host)
        await page.get_by_role("button", name="查找", exact=True).click()
        card = page.locator(".device").filter(has_text=host)
        await expect(card).to_contain_text("第 3 步", timeout=30_000)
        await card.get_by_label("设备用户名").fill(USER)
        await card.get_by_label("设备密码").fill(PASSWORD)
        await card.get_by_role("button", name="询问设备").click()
        card = page.locator(".device").filter(has_text="SIM-C")
        await expect(card).to_contain_text("第 4 步", timeout=30_000)
        door = card.locator("[data-part=shed]")
        before = await shed.doors()
        await door.get_by_role("button", name="试开一次").click()
        await expect(door).to_contain_text("设备已确认", timeout=30_000)
        assert await shed.doors() != before
        await door.get_by_label("接入后的名称").fill("棚屋")
        await door.get_by_role("button", name="接入").click()
        await expect(door).to_contain_text("已接入", timeout=15_000)
        assert await accessible(page) == []
        await page.get_by_role("dialog").get_by_text("关闭", exact=True).click()
        await page.get_by_role("button", name="深色模式").click()
        await page.get_by_role("button", name="添加设备").click()
        await expect(card).to_contain_text("第 5 步")
        await page.screenshot(path=tmp_path / "dark.png", full_page=True)
        assert await accessible(page) == []
        assert await page.evaluate("window.refused") == []
        await browser.close()
    doors = (await stage.manager.get("/api/v1/doors")).json()["items"]
    await integrator.online(next(one["id"] for one in doors if one["name"] == "棚屋"))


async def chosen(page: Page, label: str, *, option: str) -> None:
    """Choose an option of a list."""
    await page.get_by_label(label).click()
    await page.locator(".ant-select-item-option-content", has_text=option).click()


async def seen(page: Page, folder: Path, name: str) -> None:
    """Take a picture of the page as a desk and as a telephone show it; nothing in it bars anybody."""
    assert await accessible(page) == []
    for size, kind in ((PHONE, "phone"), (DESK, "desk")):
        await page.set_viewport_size(size)
        await page.screenshot(path=folder / f"{name}-{kind}.png", full_page=True)
        assert not await page.evaluate(CUT_OFF), "nothing is cut off at the side"


async def asks_by_hand(page: Page, address: str, *, user: str, password: str) -> None:
    """Have the edge ask one address."""
    form = page.locator(".by-hand")
    await form.get_by_label("地址", exact=True).fill(address)
    await form.get_by_label("设备用户名").fill(user)
    await form.get_by_label("设备密码").fill(password)
    await form.get_by_role("button", name="询问设备").click()


async def adopts_a_stream(page: Page, stream: str, *, password: str) -> None:
    """Ask a camera that has no ONVIF by its server and path, and adopt it as the yard."""
    server, _, path = stream.rpartition("/")
    await page.locator(".by-hand").get_by_label("流路径").fill(path)
    await asks_by_hand(page, server, user="gatehouse", password=password)
    yard = page.locator(".device", has_text=stream)
    await expect(yard).to_contain_text("第 5 步", timeout=40_000)
    await yard.get_by_label("接入后的名称").fill("后院")
    await yard.get_by_role("button", name="接入").click()
    await expect(yard).to_contain_text("已接入", timeout=15_000)


async def replaces(page: Page, spare: Onvif, *, folder: Path) -> None:
    """Ask a spare device by hand, let it take over, and offer the old one again."""
    await chosen(page, "协议", option="ONVIF")
    await asks_by_hand(page, spare.address, user=USER, password=PASSWORD)
    await expect(page.get_by_role("listitem", name="SIM-D")).to_contain_text("第 4 步", timeout=30_000)
    old = page.get_by_role("listitem", name="SIM-C")
    await old.get_by_role("button", name="更换设备").click()
    await chosen(page, "由哪台设备接替", option="SIM-D")
    await seen(page, folder, "replace")
    await old.get_by_role("button", name="接替").click()
    await expect(page.get_by_role("listitem", name="SIM-D")).to_contain_text("已接入：棚屋", timeout=15_000)
    await page.get_by_label("显示已移除的设备").click()
    await expect(old).to_contain_text("已移除")
    await old.get_by_role("button", name="重新列出").click()
    await expect(old.get_by_role("button", name="不再显示")).to_be_visible()


async def registers(page: Page, *, folder: Path) -> str:
    """Register the cameras that have no entry after a look at the preview, and return the table that was saved."""
    await page.get_by_role("tab", name="批量登记").click()
    await page.get_by_label("全选未登记的").click()
    await page.get_by_label("用途").fill("看守后院")
    await page.get_by_label("提示标识确认日期").fill("2026-05-01")
    await page.get_by_label("名称格式").fill("{name} {n}")
    await page.get_by_label("隐私遮挡").fill("0 0 100 10")
    await page.get_by_label("已逐台确认").click()
    await page.get_by_role("button", name="预览").click()
    await expect(page.get_by_role("dialog")).to_contain_text("尚未改动")
    await page.get_by_role("button", name="深色模式").dispatch_event("click")
    await seen(page, folder, "register")
    await page.get_by_role("button", name="登记", exact=False).last.click()
    await expect(page.get_by_role("dialog")).to_contain_text("未能登记 0 台")
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="导出结果").click()
    return (await (await saving.value).path()).read_text("utf-8-sig")


@pytest.mark.needs("chromium")
@pytest.mark.skipif(
    not BUILT.exists() and os.environ.get("CI") != "true", reason="the console is not built: run `make setup`"
)
async def test_the_console_asks_a_stream_by_hand_replaces_a_device_and_registers_cameras(
    stage: StoryStage, integrator: Integrator, tmp_path: Path
) -> None:
    spare = await device(stage, "SIM-D", tls=False, door="shed")
    stream = str(stage.files.urls["gate"]).replace("127.0.0.1", "localhost")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        window = await browser.new_context(viewport=DESK, accept_downloads=True)
        await window.add_init_script(COUNT_REFUSALS)
        page = await at_the_console(window, stage)
        await page.get_by_role("button", name="添加设备").click()
        await page.get_by_label("原因").fill("接入后院")
        await page.get_by_role("tab", name="按地址询问").click()
        await adopts_a_stream(page, stream, password=stage.files.secrets["camera"])
        await seen(page, tmp_path, "by-hand")
        await replaces(page, spare, folder=tmp_path)
        assert "后院 " in await registers(page, folder=tmp_path)
        await page.get_by_role("button", name="深色模式").dispatch_event("click")
        await page.get_by_role("radio", name="English").dispatch_event("click")
        await expect(page.get_by_role("dialog")).to_contain_text("registered, 0 not.")
        await seen(page, tmp_path, "registered-english")
        assert await page.evaluate("window.refused") == []
        await browser.close()
    listed = (await stage.manager.get("/api/v1/cameras")).json()["items"]
    yard = next(one["id"] for one in listed if one["name"].startswith("后院 "))
    entry = (await stage.manager.get(f"/api/v1/cameras/{yard}/settings")).json()["register"]
    assert (entry["purpose"], entry["privacy_masks"]) == ("看守后院", [[0.0, 0.0, 1.0, 0.1]])
    door = next(
        one["id"] for one in (await stage.manager.get("/api/v1/doors")).json()["items"] if one["name"] == "棚屋"
    )
    assert (await stage.manager.get(f"/api/v1/doors/{door}/settings")).json()["driver"]["url"] == spare.address
    await integrator.online(door)
