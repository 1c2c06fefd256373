"""What was said long ago opens nothing, on every wire: orders and cards that are stuck on their way and arrive late.

The doors: one of the MQTT contract, one by a vendor's map, a bare relay, one of ONVIF and one of OSDP, on one edge. What
holds words up is real: a stopped edge, a stopped broker, a stopped device, and messages of forty minutes ago.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from gateway.rehearsal.actors import until
from gateway.rehearsal.processes import descendants
from models.errors import GatehouseError
from tests.stories.wires import WireLayout, WireStage, running

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("mosquitto", "mosquitto-clients"),
    pytest.mark.timeout(240),
    pytest.mark.slow,
]
HELD_UP_S = 4.5
"""Longer than any order is valid and any request is fresh (3 s)."""
VENDOR, RELAY = "lodge", "barrier"
SIMULATED = ("side", "panel", "kiosk")
"""Doors whose simulators count how often they were opened: MQTT, ONVIF, OSDP."""
TASMOTA = ("tele/lodge/LWT", "stat/lodge/POWER", "tele/lodge/SENSOR", "cmnd/lodge/Backlog0")
PULSE = "site/barrier/pulse"


class LateLayout(WireLayout):
    """Lay out the same site with a door by a vendor's map and a bare relay."""

    def __init__(self, directory: Any, *, port: int) -> None:
        super().__init__(directory, port=port)
        users = yaml.safe_load(self.path("users.yaml").read_text())
        own = {VENDOR: list(TASMOTA), RELAY: [PULSE]}
        for door, topics in own.items():
            self.secrets[door] = f"{door}-{os.urandom(8).hex()}"
            users[door] = {"password": self.secrets[door], "topics": topics}
        self.path("users.yaml").write_text(yaml.safe_dump(users))

    def site(self, cameras: dict[str, Any]) -> dict[str, object]:
        """Return the site with the doors that the stories need."""
        site: Any = super().site(cameras)
        plain = {"edge": "edge-1", "exit_kind": "none", "factors": ["card"]}
        vendor = {"kind": "mqtt", "map": "tasmota"}
        relay = {"kind": "mqtt", "map": "relay", "names": {"topic": PULSE}}
        site["doors"] += [{**plain, "id": VENDOR, "name": VENDOR, "driver": vendor}]
        site["doors"] += [{**plain, "id": RELAY, "name": RELAY, "driver": relay}]
        return dict(site)


class LateStage(WireStage):
    """Run the site, and stop parts of it for a while."""

    layout_type = LateLayout
    files: LateLayout

    def _pid(self, *words: str) -> int:
        found = [pid for pid, said in descendants(self.up_pid).items() if all(word in said for word in words)]
        assert len(found) == 1, f"{words}: {found}"
        return found[0]

    @contextlib.asynccontextmanager
    async def stopped(self, *words: str, for_s: float = HELD_UP_S) -> AsyncIterator[None]:
        """Stop the process with these words; after the block it goes on, once it stood still for so long."""
        pid = self._pid(*words)
        os.kill(pid, signal.SIGSTOP)
        ends = asyncio.get_running_loop().time() + for_s
        try:
            yield
            await asyncio.sleep(max(0.0, ends - asyncio.get_running_loop().time()))
        finally:
            os.kill(pid, signal.SIGCONT)

    async def opened(self) -> dict[str, int]:
        """Return how often each simulated door was opened."""
        return {
            door: (await self.at(door).ask(door=door, act="status"))["doors"][door]["unlocks"] for door in SIMULATED
        }

    async def unlock(self, door: str) -> tuple[int, dict[str, Any]]:
        """Ask at the desk for a door to be opened; return what the desk is told."""
        answer = await self.manager.post(f"/api/v1/doors/{door}/unlock", json={"reason": "a parcel"}, timeout=20)
        return answer.status_code, answer.json()

    async def show(self, door: str, card: str) -> None:
        """Present a card at a simulated door, whatever comes of it."""
        with contextlib.suppress(GatehouseError):
            await self.present(door, card)

    async def swipe(self, card: str) -> None:
        """Present a card at the vendor's reader, which tells no time."""
        await self.publish("tele/lodge/SENSOR", {"PN532": {"UID": card}}, user=VENDOR)

    async def refusals(self, door: str) -> int:
        """Return how many cards are on record as stale at a door."""
        return sum(fact["reason"] == "stale" for fact in await self.facts(door, "access_denied"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[LateStage]:
    """Yield the whole system on every wire, started once, with the vendor's device on its topic."""
    async with running(LateStage, prefix="gh-late-") as stage:
        await stage.publish(TASMOTA[0], b'"Online"', "-r", user=VENDOR)
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def card(stage: LateStage) -> str:
    """Return a card that opens every door now."""
    number = await stage.person("punctual", doors=[*SIMULATED, VENDOR, RELAY])
    for door in SIMULATED:

        async def opens(door: str = door) -> bool:
            return bool((await stage.present(door, number)).get("unlocked"))

        await until(opens, what=f"the card opens {door}", within_s=20, every_s=0.5)
    async with stage.hearing(TASMOTA[3], user=VENDOR) as pulses:

        async def pulsed() -> bool:
            await stage.swipe(number)
            return bool(pulses)

        await until(pulsed, what="the card opens the vendor's door", within_s=20, every_s=0.5)
    return number


async def test_orders_and_cards_that_an_edge_gets_late_open_nothing_on_any_wire(stage: LateStage, card: str) -> None:
    before, stale = await stage.opened(), {door: await stage.refusals(door) for door in (*SIMULATED, VENDOR)}
    async with stage.hearing(TASMOTA[3], user=VENDOR) as vendor, stage.hearing(PULSE, user=RELAY) as relay:
        async with stage.stopped("edge worker"):
            orders = [asyncio.create_task(stage.unlock(door)) for door in (*SIMULATED, VENDOR, RELAY)]
            shown = [asyncio.create_task(stage.show(door, card)) for door in SIMULATED]
            await stage.swipe(card)
        for door, order in zip((*SIMULATED, VENDOR, RELAY), orders, strict=True):
            status, told = await order
            assert (status, told["code"]) == (504, "command_expired"), f"{door}: {told}"
        await asyncio.gather(*shown)

        async def on_record() -> bool:
            return all([await stage.refusals(door) > stale[door] for door in stale])

        await until(on_record, what="each late card on record as stale", within_s=15)
        assert (await stage.opened(), vendor, relay) == (before, [], [])
    assert (await stage.unlock("side"))[0] == 200


async def test_a_broker_that_stands_still_hands_nothing_on_that_opens_once_it_goes_on(
    stage: LateStage, card: str
) -> None:
    doors = ("side", VENDOR, RELAY)
    await stage.at("side").ask(door="side", act="wait", until="locked", timeout_s=20, within_s=25)
    before, stale = await stage.opened(), await stage.refusals("side")
    refused = len((await stage.standing("side"))["refused"])
    mine = (TASMOTA[3], VENDOR), (PULSE, RELAY)
    async with stage.hearing(mine[0][0], user=mine[0][1]) as vendor, stage.hearing(PULSE, user=RELAY) as relay:
        async with stage.stopped(*stage.broker_words):
            orders = [asyncio.create_task(stage.unlock(door)) for door in doors]
            shown = asyncio.create_task(stage.show("side", card))
            told = dict(zip(doors, await asyncio.gather(*orders), strict=True))
        for door in doors:
            status, problem = told[door]
            assert (status, problem["code"]) == (502, "device_refused"), f"{door}: {problem}"
        await shown

        async def late_words_are_on_record() -> bool:
            standing = await stage.standing("side")
            return len(standing["refused"]) > refused and await stage.refusals("side") > stale

        await until(late_words_are_on_record, what="the late order and the late card refused", within_s=15)
        assert (await stage.standing("side"))["refused"][-1][1] == "expired"
        assert (await stage.opened(), vendor, relay) == (before, [], [])
        for door, pulses in ((VENDOR, vendor), (RELAY, relay)):
            await stage.unlock(door)

            async def pulsed(pulses: list[tuple[str, bytes]] = pulses) -> bool:
                return len(pulses) == 1

            await until(pulsed, what=f"{door} opens again now", within_s=10)


async def test_devices_that_stand_still_refuse_the_orders_of_meanwhile(stage: LateStage) -> None:
    await stage.at("side").ask(door="side", act="wait", until="locked", timeout_s=20, within_s=25)
    before, unexpected = await stage.opened(), await stage.edge_counter("wires_results_unexpected")
    child = next(child for child in stage._children if child.name == "doors")
    os.kill(child.pid, signal.SIGSTOP)
    try:
        status, told = await stage.unlock("side")
        assert (status, told["code"]) == (502, "device_refused")
        assert "in time" in told["detail"]
        await asyncio.sleep(1.5)  # past the order's validity and the leeway of the door's clock
    finally:
        os.kill(child.pid, signal.SIGCONT)

    async def answered_late() -> bool:
        return await stage.edge_counter("wires_results_unexpected") > unexpected

    await until(answered_late, what="the late answer counted", within_s=20)
    assert (await stage.standing("side"))["refused"][-1][1] == "expired"
    assert await stage.opened() == before


async def test_words_of_forty_minutes_ago_open_nothing(stage: LateStage, card: str) -> None:
    before, stale = await stage.opened(), await stage.refusals("side")
    key = await stage.request("side", card, ago_s=40 * 60)
    assert await stage.denied("side", key) == "stale"
    assert await stage.refusals("side") == stale + 1
    refused = len((await stage.standing("side"))["refused"])
    await stage.doors.ask(door="side", act="misbehave", fault="replay_command", on=True)

    async def replayed() -> bool:
        return len((await stage.standing("side"))["refused"]) > refused

    await until(replayed, what="the order of forty minutes ago refused", within_s=20)
    await stage.doors.ask(door="side", act="misbehave", fault="replay_command", on=False)
    for fault in ("late_events", "replay"):
        await stage.at("kiosk").ask(door="kiosk", act="misbehave", fault=fault, on=True)
    await stage.at("kiosk").ask(act="unplug")
    late = asyncio.create_task(stage.show("kiosk", card))
    await asyncio.sleep(1.0)
    await stage.at("kiosk").ask(act="plug_in")
    await late
    for fault in ("late_events", "replay"):
        await stage.at("kiosk").ask(door="kiosk", act="misbehave", fault=fault, on=False)
    assert await stage.opened() == before


async def test_what_is_shown_while_an_edge_starts_again_opens_nothing_once_it_is_back(
    stage: LateStage, card: str
) -> None:
    await stage.at("side").ask(door="side", act="wait", until="locked", timeout_s=20, within_s=25)
    before = await stage.opened()
    granted = {door: len(await stage.facts(door, "access_granted")) for door in (*SIMULATED, VENDOR)}
    async with stage.hearing(TASMOTA[3], user=VENDOR) as vendor:
        stage.kill("edge", "worker")
        await asyncio.gather(*(stage.show(door, card) for door in SIMULATED), stage.swipe(card))

        async def serves() -> bool:
            return bool((await stage.present("side", card)).get("unlocked"))

        await until(serves, what="the edge serves again", within_s=40, every_s=0.5)
        assert vendor == []
    after = await stage.opened()
    assert (after["panel"], after["kiosk"]) == (before["panel"], before["kiosk"])
    assert after["side"] == before["side"] + 1, "only the card of now opened"
    for door in (*SIMULATED[1:], VENDOR):
        assert len(await stage.facts(door, "access_granted")) == granted[door], door
