"""The console in Chromium against a real gateway process: a forced door rings, is acknowledged, and survives outages.

The gateway is started as people start it; the edge is this test, which enrols and signs its requests like any edge.
Each page counts what the Content-Security-Policy refused, and every test ends by asking for none.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect

from models.events import DoorClosed
from tests.needs import program
from tests.stories.served import PASSWORD, Edge, Seed, Served, east, forced, seeded, until

CONSOLE = Path(__file__).parents[2] / "gateway" / "console"
BUILT = CONSOLE / "dist" / "index.html"
pytestmark = [
    pytest.mark.needs("chromium"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not BUILT.exists() and os.environ.get("CI") != "true", reason="the console is not built: run `make setup`"
    ),
]
expect.set_options(timeout=15_000)
DESK, PHONE = ViewportSize(width=1366, height=900), ViewportSize(width=390, height=844)
SILENT_UNTIL_TOUCHED = "--autoplay-policy=document-user-activation-required"
COUNT_REFUSALS = """
window.refused = [];
addEventListener("securitypolicyviolation", (event) => refused.push(event.violatedDirective + " " + event.blockedURI));
"""


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    return seeded(tmp_path_factory.mktemp("seed"))


@pytest.fixture
async def served(tmp_path: Path, seed: Seed) -> AsyncIterator[Served]:
    gateway = Served(tmp_path, seed)
    await gateway.start()
    yield gateway
    await gateway.kill(signal.SIGTERM)


@pytest.fixture
async def edge(served: Served) -> Edge:
    enrolled = Edge(served.url)
    await enrolled.enrol(served.edge_token)
    await enrolled.tell(east())
    return enrolled


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=program("chromium"), args=["--no-sandbox", SILENT_UNTIL_TOUCHED]
        )
        yield launched
        await launched.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser window; at its end no page of it may have met the Content-Security-Policy, or thrown."""
    window = await browser.new_context(viewport=DESK)
    await window.add_init_script(COUNT_REFUSALS)
    errors: list[str] = []
    window.on("weberror", lambda error: errors.append(str(error.error)))
    window.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    yield window
    for page in window.pages:
        errors += await page.evaluate("window.refused ?? []")
    assert errors == []


async def logged_in(window: BrowserContext, served: Served) -> Page:
    page = await window.new_page()
    await page.goto(served.url)
    await page.get_by_label("用户名").fill("li.wei")
    await page.get_by_label("密码", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="登录").click()
    await expect(page.get_by_text("实时更新")).to_be_visible()
    return page


async def test_a_forced_door_rings_is_acknowledged_and_resolved_in_both_languages(
    context: BrowserContext, served: Served, edge: Edge
) -> None:
    page = await logged_in(context, served)
    door = page.locator("[data-door=east]")
    await expect(door).to_contain_text("门关")
    await expect(page.locator("[data-door=north]")).to_contain_text("离线")
    await expect(page.locator("[data-camera=eye]")).to_contain_text("在线")
    await expect(page.get_by_text("没有未结告警")).to_be_visible()

    await edge.report(forced())
    await edge.tell(east(contact="open", alarm="forced"))
    card = page.get_by_role("article", name="紧急 强行开门 东门")
    await expect(card).to_contain_text("持续中")
    await expect(page.get_by_text("1 条告警正在响铃")).to_be_visible()
    await expect(door).to_contain_text("强行开门")
    await expect(door).to_contain_text("门开")

    await page.get_by_text("English").click()
    card = page.get_by_role("article", name="Urgent Door forced open 东门")
    await expect(card).to_contain_text("Active")
    await expect(door).to_contain_text("Forced open")
    await page.get_by_role("button", name="Acknowledge alert: Door forced open, 东门").click()
    await expect(card).to_contain_text("Acknowledged by li.wei at")
    await expect(page.get_by_text("is sounding")).to_have_count(0)

    await edge.report(DoorClosed(id=str(uuid.uuid4()), at=datetime.now(UTC), door_id="east"))
    await edge.tell(east())
    await expect(card).to_contain_text("Cleared")
    await expect(door).to_contain_text("Closed")
    await page.get_by_role("button", name="Resolve alert").click()
    await page.get_by_label("False alarm").check()
    await page.get_by_role("dialog").get_by_role("button", name="Resolve").click()
    await expect(page.get_by_text("No open alerts")).to_be_visible()
    await page.get_by_text("All", exact=True).click()
    await expect(page.get_by_role("article")).to_contain_text("False alarm")


async def test_a_late_report_rings_nobody_until_it_happens_again_now(
    context: BrowserContext, served: Served, edge: Edge
) -> None:
    page = await logged_in(context, served)
    await edge.report(forced(late=True))
    await expect(page.get_by_role("article")).to_contain_text("补报")
    await expect(page.get_by_text("声音已启用")).to_be_visible()
    await expect(page.get_by_text("正在响铃")).to_have_count(0)
    await edge.report(forced())
    await expect(page.get_by_text("1 条告警正在响铃")).to_be_visible()
    await expect(page.get_by_text("补报")).to_have_count(0)


async def test_the_page_says_loudly_when_the_browser_keeps_it_silent(
    context: BrowserContext, served: Served, edge: Edge
) -> None:
    await logged_in(context, served)
    await edge.report(forced())
    page = await context.new_page()
    devtools = await context.new_cdp_session(page)
    await page.goto(served.url)

    async def banner() -> bool:
        # Playwright's own look at a page counts as a person's touch and would arm the sound.
        ask = {
            "expression": "document.body.innerText.includes('现有 1 条告警应当响铃，但没有声音')",
            "userGesture": False,
        }
        return bool((await devtools.send("Runtime.evaluate", ask))["result"]["value"])

    await until(banner, what="the banner about silence", within_s=15)
    await page.get_by_role("button", name="启用声音").click()
    await expect(page.get_by_text("1 条告警正在响铃")).to_be_visible()
    await expect(page.get_by_text("浏览器禁止了声音")).to_have_count(0)
    await page.get_by_role("button", name="消音").click()
    await expect(page.get_by_text("正在响铃")).to_have_count(0)


async def test_an_outage_of_the_gateway_shows_and_hides_no_alert(
    context: BrowserContext, served: Served, edge: Edge
) -> None:
    page = await logged_in(context, served)
    await served.kill()
    await expect(page.get_by_text("与网关的连接已中断")).to_be_visible()
    await served.start()
    await edge.report(forced())
    await expect(page.get_by_role("article", name="紧急 强行开门 东门")).to_be_visible(timeout=30_000)
    await expect(page.get_by_text("实时更新")).to_be_visible(timeout=30_000)


async def test_an_ended_session_returns_to_the_log_in_and_loses_nothing(
    context: BrowserContext, served: Served, edge: Edge
) -> None:
    page = await logged_in(context, served)
    await edge.report(forced())
    await page.get_by_role("button", name="处置告警").click()
    await page.get_by_label("误报").check()
    await page.get_by_label("备注").fill("风吹开的")
    await context.clear_cookies()
    await page.get_by_role("button", name="完成处置").click()
    await expect(page.get_by_text("登录已过期")).to_be_visible()
    await page.get_by_label("用户名").fill("li.wei")
    await page.get_by_label("密码", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="登录").click()
    await expect(page.get_by_label("备注")).to_have_value("风吹开的")
    await page.get_by_role("button", name="完成处置").click()
    await expect(page.get_by_text("没有未结告警")).to_be_visible()
    await page.get_by_role("button", name="退出登录").click()
    await expect(page.get_by_label("用户名")).to_be_visible()


@pytest.mark.parametrize(("size", "language"), [(DESK, "中文"), (PHONE, "English")])
async def test_the_page_is_accessible_and_fits_the_screen(
    context: BrowserContext, served: Served, edge: Edge, *, size: ViewportSize, language: str
) -> None:
    page = await logged_in(context, served)
    await edge.report(forced())
    await page.set_viewport_size(size)
    await page.get_by_text(language).click()
    await expect(page.get_by_role("article")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    axe = CONSOLE / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("the console's development packages are not installed: run `make setup`")
    await page.evaluate(axe.read_text("utf-8"))
    found = await page.evaluate("axe.run()")
    assert found["passes"]
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]] == []


async def test_each_page_has_its_own_nonce_and_a_strict_policy(served: Served) -> None:
    async with httpx.AsyncClient() as client:
        first, second = await client.get(served.url), await client.get(served.url)
    policy = first.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert f'content="{nonce}"' in first.text
    assert "__CSP_NONCE__" not in first.text
    assert nonce not in second.text
