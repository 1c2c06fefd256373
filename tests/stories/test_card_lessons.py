"""New readers on three wires write the same cards in their own ways; a manager teaches the gateway at the doors, and they open.

The whole system is real: the gateway, the edge, and simulated doors on MQTT, ONVIF and OSDP.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.rehearsal.actors import until
from tests.models.test_card_lessons import backwards, framed
from tests.stories.wires import WireLayout, WireStage, running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SHOWN, OTHER = "7186A61E", "84C2F9A3"
"""The card of the design, and another one."""
WHY = {"Gatehouse-Reason": "new%20readers"}
READERS: dict[str, Callable[[str], str]] = {
    "side": str.lower, "panel": backwards, "kiosk": lambda card: framed(backwards(card))
}  # fmt: skip
"""How the reader of each door writes a card: as it is kept, from its last byte on, and so in a Wiegand frame."""


class LessonLayout(WireLayout):
    """Lay out the site without the doors that the manager adds."""

    def __init__(self, directory: Path, *, port: int) -> None:
        super().__init__(directory, port=port)
        self.drivers: dict[str, Any] = {}

    def site(self, cameras: dict[str, Any]) -> dict[str, object]:
        """Return the site without these doors; how they are driven is kept for the manager."""
        site: Any = super().site(cameras)
        self.drivers = {one["id"]: one["driver"] for one in site["doors"] if one["id"] in READERS}
        site["doors"] = [one for one in site["doors"] if one["id"] not in READERS]
        for camera in site["cameras"]:
            if camera.get("door") in READERS:
                del camera["door"]
        return dict(site)


class LessonStage(WireStage):
    """Run the whole system; the manager adds the doors."""

    layout_type = LessonLayout
    files: LessonLayout

    async def _doors_online(self) -> bool:
        """Add the doors as soon as the manager is logged in, and return whether the stage's own are online."""
        while self.files.drivers:
            door, driver = self.files.drivers.popitem()
            body = {"id": door, "name": door, "edge_id": "edge-1", "site_id": "demo", "driver": driver}
            await self.call("POST", "doors", 201, json=body)
        return await super()._doors_online()

    async def call(self, method: str, path: str, status: int = 200, **what: Any) -> Any:
        """Call the API as the manager, insist on a status and return the answer's JSON."""
        answer = await self.manager.request(method, f"/api/v1/{path}", **what)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def lesson(self, door: str, state: str, *, key: str) -> Any:
        """Wait until a lesson stands so, and return it."""

        async def stands() -> Any:
            told = await self.call("GET", f"card-lessons/{key}")
            assert told["state"] in (state, "waiting", "running"), told
            return told if told["state"] == state else None

        return await until(stands, what=f"the lesson at {door} {state}", within_s=15, every_s=0.1)

    async def opens(self, door: str, card: str) -> bool:
        """Return whether a card opens a door."""
        return bool((await self.present(door, READERS[door](card))).get("unlocked"))

    async def comes_to_open(self, door: str, card: str, *, within_s: float = 25) -> None:
        """Wait until a card opens a door: its edge may not have heard yet, or still be learning."""
        await until(lambda: self.opens(door, card), what=f"the card opens {door}", within_s=within_s, every_s=0.4)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[LessonStage]:
    """Yield the whole system on three wires, started once."""
    async with running(LessonStage, prefix="gh-learn-") as stage:
        yield stage


async def test_a_card_that_each_reader_writes_in_its_own_way_opens_every_door_once_they_are_learnt(
    stage: LessonStage,
) -> None:
    await stage.call("POST", "people", 201, json={"id": "tester", "name": "测试员", "site_id": "demo"})
    await stage.call("POST", "people/tester/permits", 201, json={"doors": list(READERS)})
    held = await stage.call("POST", "people/tester/credentials", 201, json={"kind": "card", "value": SHOWN})
    await stage.comes_to_open("side", SHOWN)
    for door in ("panel", "kiosk"):
        seen = await stage.present(door, READERS[door](SHOWN))
        assert (bool(seen.get("unlocked")), seen["feedback"]) == (False, "unknown_credential"), door
    learnt = {}
    for door, write in READERS.items():
        made = await stage.call("POST", "card-lessons", 202, json={"door_id": door}, headers=WHY)
        await stage.lesson(door, "running", key=made["id"])
        for card in (SHOWN, OTHER):
            seen = await stage.present(door, write(card))
            assert (bool(seen.get("unlocked")), seen["feedback"]) == (False, "learning"), door
        shown = await stage.lesson(door, "confirmed", key=made["id"])
        assert len(shown["presented"]) == 2, door
        cards = [{"presented": 1, "credential_id": held["id"]}, {"presented": 2, "number": OTHER}]
        proposal = await stage.call("POST", f"card-lessons/{made['id']}/propose", json={"cards": cards})
        learnt[door] = [(one["needed"], one["frame"], one["reverse"]) for one in proposal["fits"]]
        done = await stage.call("POST", f"card-lessons/{made['id']}/set", json={"name": f"Reader of {door}"})
        assert (done["reader"]["door_id"], bool(done["format"])) == (door, door != "side")
    assert learnt == {"side": [(False, 0, False)], "panel": [(True, 0, True)], "kiosk": [(True, 34, True)]}
    for door in READERS:
        await stage.comes_to_open(door, SHOWN)
        assert not await stage.opens(door, OTHER), f"nobody has the other one: {door}"
    told = [await stage.facts(door, kind) for door in READERS for kind in ("access_denied", "access_granted")]
    assert not any(number in json.dumps(told) for number in (SHOWN, OTHER, backwards(SHOWN), backwards(OTHER)))


async def test_a_command_line_that_is_left_gives_the_reader_back_at_once(stage: LessonStage) -> None:
    config = str(stage.files.path("gatehouse.yaml"))

    async def command(*words: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *words, env={"PATH": "/usr/bin:/bin", **environment},
            cwd=Path(__file__).parents[2], stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    asking = await command("token", "add", "laptop", "--role", "manager", "--json", "--config", config)
    out, _ = await asyncio.wait_for(asking.communicate(), 30)
    token = str(json.loads(out)["token"])
    learning = await command(
        "card", "learn", "--door", "side", "--reason", "new readers", "--url", stage.url, GATEHOUSE_TOKEN=token
    )
    try:
        assert learning.stdout is not None
        said = await asyncio.wait_for(learning.stdout.readline(), 20)
        assert b"open nothing meanwhile" in said
        assert not await stage.opens("side", SHOWN)
        learning.send_signal(signal.SIGINT)
        await asyncio.wait_for(learning.wait(), 10)
        await stage.comes_to_open(
            "side", SHOWN, within_s=10
        )  # a lesson at which nobody looks any more takes 15 s to end
    finally:
        if learning.returncode is None:
            learning.kill()
            await learning.wait()
