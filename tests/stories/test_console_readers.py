"""An integrator at the console, in Chromium: a card reader is asked, given its key, adopted with its wiring, and opens."""

from __future__ import annotations

import os

import pytest
from playwright.async_api import async_playwright, expect

from gateway.rehearsal.actors import until
from tests.needs import program
from tests.stories.acting import StoryStage
from tests.stories.test_adoption import at_the_console, integrator
from tests.stories.test_console import BUILT, COUNT_REFUSALS, DESK
from tests.stories.test_console_faces import accessible
from tests.stories.test_reader_adoption import line_of

__all__ = ["integrator"]
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("mosquitto", "mosquitto-clients", "chromium"),
    pytest.mark.timeout(180),
    pytest.mark.slow,
    pytest.mark.skipif(
        not BUILT.exists() and os.environ.get("CI") != "true", reason="the console is not built: run `make setup`"
    ),
]


@pytest.mark.usefixtures("integrator")
async def test_a_reader_that_the_console_adopts_opens_its_door(stage: StoryStage) -> None:
    port, wall = await line_of(stage)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        window = await browser.new_context(viewport=DESK)
        await window.add_init_script(COUNT_REFUSALS)
        page = await at_the_console(window, stage)
        await page.get_by_role("button", name="添加设备").click()
        await page.get_by_label("原因").fill("接入副楼")
        await page.get_by_role("tab", name="按地址询问").click()
        await page.get_by_label("协议").click()
        await page.locator(".ant-select-item-option-content", has_text="OSDP").click()
        await page.get_by_label("地址", exact=True).fill(f"{port}#0")
        await page.get_by_role("button", name="询问设备").first.click()
        card = page.locator(".device").filter(has_text=f"{port}#0")
        await expect(card).to_contain_text("还没有自己的密钥", timeout=40_000)
        await card.get_by_role("button", name="安装密钥").click()
        await card.get_by_role("button", name="立即安装").click()
        await expect(card).to_contain_text("第 4 步", timeout=40_000)
        await card.get_by_label("门锁所接的输出").fill("0")
        await card.get_by_label("门磁的输入").fill("0")
        assert await accessible(page) == []
        await card.get_by_label("接入后的名称").fill("副楼")
        await card.get_by_role("button", name="接入").click()
        await expect(card).to_contain_text("已接入", timeout=15_000)
        assert await page.evaluate("window.refused") == []
        await browser.close()
    doors = (await stage.manager.get("/api/v1/doors")).json()["items"]
    annex = next(one["id"] for one in doors if one["name"] == "副楼")

    async def opens() -> bool:
        answer = await stage.manager.post(f"/api/v1/doors/{annex}/unlock", json={"reason": "first day"})
        return answer.is_success

    await until(opens, what="the adopted door opens", within_s=40, every_s=1.0)
    assert (await wall.ask(act="status"))["doors"]["outside"]["unlocks"] >= 1
