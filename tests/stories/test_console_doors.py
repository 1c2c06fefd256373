"""What is done at a door, in Chromium: a call is answered or refused, rules are changed, alarms bypassed, a card is given.

The gateway is a real process; the edge is this test, which obeys as an edge does.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from models.events import DoorCalled, DoorCallEnded
from models.link import Command, RefuseCall, Result, Unlock
from tests.stories.served import SITE, Edge, Served, east, seeded
from tests.stories.test_console import BUILT, DESK, PHONE
from tests.stories.test_console_faces import accessible, browser, managing

__all__ = ["browser"]
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("chromium"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not BUILT.exists() and os.environ.get("CI") != "true", reason="the console is not built: run `make setup`"
    ),
]
expect.set_options(timeout=15_000)
PEOPLE: dict[str, Any] = SITE | {"people": [{"id": "p1", "name": "王芳", "external_id": "R-1024"}]}
DESK_READER = {"id": "desk", "name": "Desk reader", "notation": "decimal", "width": 4, "reverse": True}
TROUBLE = "its broker refuses the edge: set driver.user and driver.password_file"


class Station:
    """A door station with its edge: it rings, and a call ends when the desk opens or refuses."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.attempt = ""

    async def ring(self) -> None:
        self.attempt = str(uuid.uuid4())
        await self.edge.report(DoorCalled(**self._fact()))

    async def obey(self, command: Command) -> Result:
        how = {Unlock: "opened", RefuseCall: "refused"}.get(type(command))
        answers = how is not None and self.attempt != ""
        state: Literal["confirmed", "refused"] = "confirmed" if answers or isinstance(command, Unlock) else "refused"
        if answers:
            await self.edge.report(DoorCallEnded(**self._fact(), how=how))  # type: ignore[arg-type]
            self.attempt = ""
        return Result(command_id=command.id, state=state, at=datetime.now(UTC))

    def _fact(self) -> dict[str, Any]:
        return {"id": str(uuid.uuid4()), "at": datetime.now(UTC), "door_id": "east", "attempt": self.attempt}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Yield one gateway for all tests of this file."""
    seed = await asyncio.to_thread(seeded, tmp_path_factory.mktemp("seed"), site=PEOPLE, role="manager")
    gateway = Served(tmp_path_factory.mktemp("served"), seed)
    await gateway.start()
    yield gateway
    await gateway.kill(signal.SIGTERM)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def station(served: Served) -> AsyncIterator[Station]:
    edge = Edge(served.url)
    await edge.enrol(served.edge_token)
    standing = Station(edge)
    await edge.tell(east())
    obeying = asyncio.create_task(edge.obey(standing.obey))
    yield standing
    if obeying.done():
        obeying.result()
    obeying.cancel()


async def posted(page: Page, served: Served, *, path: str, body: dict[str, Any]) -> None:
    made = await page.request.post(f"{served.url}/api/v1/{path}", data=body)
    assert made.ok, await made.text()


async def begun(page: Page, door: str, what: str) -> None:
    """Choose what to do at a door from its menu."""
    await page.get_by_role("button", name=f"What to do at {door}").click()
    await page.get_by_role("menuitem", name=f"{what} of {door}").click()


async def opened_for(page: Page, served: Served, reason: str) -> bool:
    """Return whether the door was opened for a reason that is kept with the order."""
    held = await (await page.request.get(f"{served.url}/api/v1/doors/east/commands")).json()
    return any(one["reason"] == reason for one in held["items"])


async def test_a_call_rings_and_the_desk_opens_or_refuses(browser: Browser, served: Served, station: Station) -> None:
    async with managing(browser, served) as page:
        await station.ring()
        card = page.get_by_role("article", name="Info Somebody rings 东门")
        await expect(card).to_contain_text("Rings since")
        await expect(page.get_by_text("1 alert is sounding")).to_be_visible()
        await expect(page.locator("[data-door=east]")).to_contain_text("Somebody rings")
        opening = card.get_by_role("button", name="Open 东门 to who rings")
        await expect(opening).to_be_disabled()
        assert await accessible(page) == []
        await card.get_by_role("button", name="Delivery").click()
        await opening.click()
        await expect(card).to_contain_text("Answered by li.wei at")
        await expect(card).to_contain_text("Call ended at")
        await expect(page.get_by_text("1 alert is sounding")).to_be_hidden()
        assert await opened_for(page, served, "Delivery")
        await card.get_by_role("button", name=re.compile("Resolve")).click()
        await page.get_by_label("Handled").click()
        await page.get_by_role("dialog").get_by_role("button", name="Resolve").click()
        await expect(card).to_be_hidden()

        await station.ring()
        await card.get_by_role("button", name="Refuse the call at 东门").click()
        await expect(page.get_by_text("Who rang at 东门 was told")).to_be_visible()
        await expect(card).to_contain_text("Call ended at")
        assert station.attempt == ""


async def test_a_manager_changes_the_rules_of_a_door_unless_somebody_was_faster(
    browser: Browser, served: Served, station: Station
) -> None:
    async with managing(browser, served) as page:
        await posted(page, served, path="doors", body={"id": "lobby", "name": "Lobby", "edge_id": "edge-1"})
        schedule = {"id": "day", "name": "Daytime", "windows": [{"from_time": "08:00", "until_time": "18:00"}]}
        await posted(page, served, path="schedules", body=schedule)
        await page.reload()
        await begun(page, "东门", "Rules")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("This door comes from the site file")
        await expect(dialog.get_by_role("button", name="Save")).to_be_disabled()
        await dialog.get_by_role("button", name="Close").last.click()

        await begun(page, "Lobby", "Rules")
        await dialog.get_by_label("Reason").fill("sluice")
        await dialog.get_by_label("Refuse").check()
        assert await accessible(page) == []
        await dialog.get_by_role("button", name="Save").click()
        passback = dialog.locator("fieldset", has_text="Anti-passback")
        await expect(passback.get_by_role("alert")).to_contain_text("it needs a reader on either side")
        await passback.get_by_label("Nothing").check()
        await dialog.get_by_label("Two people must ask").check()
        await dialog.get_by_label("The second must ask within").fill("20")
        await dialog.get_by_label("Stands unlocked").click()
        await page.get_by_title("Daytime").click()
        await dialog.get_by_label("Only once somebody").check()
        await dialog.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Saved; the edge follows at once")).to_be_visible()
        kept = await (await page.request.get(f"{served.url}/api/v1/doors/lobby/settings")).json()
        assert (kept["two_person"], kept["second_within_s"], kept["free_schedule_id"]) == (True, 20.0, "day")
        assert (kept["first_person"], kept["passback"]) == (True, "off")

        other = await page.request.patch(f"{served.url}/api/v1/doors/lobby/settings", data={"unlock_s": 9})
        assert other.ok
        await dialog.get_by_label("Interlock group").fill("sluice")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("Somebody changed this door meanwhile")
        await expect(dialog.get_by_label("Time to pass")).to_have_value("9")
        await expect(dialog.get_by_label("Interlock group")).to_have_value("")


async def test_alarms_of_a_door_are_bypassed_for_a_while_and_again_early_on_a_phone(
    browser: Browser, served: Served, station: Station
) -> None:
    async with managing(browser, served, size=PHONE) as page:
        await station.edge.tell(msgspec.structs.replace(east(), online=False, trouble=TROUBLE))
        await page.get_by_text("Doors", exact=True).first.click()
        door = page.locator("[data-door=east]")
        await expect(door).to_contain_text(TROUBLE)
        await begun(page, "东门", "Bypass alarms")
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Door forced open").check()
        await dialog.get_by_text("4 h", exact=True).click()
        await dialog.get_by_label("Reason").fill("new hinges")
        assert await accessible(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        await dialog.get_by_role("button", name="Begin").click()
        await expect(door).to_contain_text("Door forced open")
        await begun(page, "东门", "Bypass alarms")
        await expect(dialog).to_contain_text("li.wei: new hinges")
        await dialog.get_by_role("button", name="End it now").click()
        await expect(door.get_by_text("No alerts until")).to_be_hidden()
        await station.edge.tell(east())


async def test_a_card_is_given_from_a_desk_reader(browser: Browser, served: Served, station: Station) -> None:
    async with managing(browser, served, size=DESK) as page:
        await posted(page, served, path="card-formats", body=DESK_READER)
        await page.get_by_role("button", name="Give a card").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Reason").fill("moved in")
        await dialog.get_by_label("Name or external id").fill("R-1024")
        await page.keyboard.press("Enter")
        await dialog.get_by_role("button", name="王芳").click()
        await expect(dialog).to_contain_text("Has no card")
        await dialog.get_by_label("Format of the desk reader").click()
        await page.get_by_title("Desk reader", exact=True).click()
        await dialog.get_by_label("Number of the card").focus()
        await page.keyboard.type("0514229873\n")
        await expect(dialog.locator(".card-number")).to_contain_text("7186A61E")
        await expect(dialog).to_contain_text("Has no card")
        await page.keyboard.type("hello\n")
        await expect(dialog.locator(".card-number")).to_contain_text("decimal digits")
        await expect(dialog.get_by_role("button", name="Give the card")).to_be_disabled()
        await page.keyboard.type("0514229873\n")
        assert await accessible(page) == []
        await dialog.get_by_role("button", name="Give the card").click()
        await expect(dialog).to_contain_text("Has 1 card that opens")
        await expect(dialog.get_by_label("Number of the card")).to_have_value("")
        taken = {"kind": "card", "value": "7186A61E"}
        again = await page.request.post(f"{served.url}/api/v1/people/p1/credentials", data=taken)
        assert again.status == 409, "what was shown is what was kept"
