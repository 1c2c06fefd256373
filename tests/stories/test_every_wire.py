"""Doors on every wire are alike to the people who pass and watch them: MQTT, ONVIF and OSDP on one edge, simulated over
the real wires, from a card at a reader to an alert on the console.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.rehearsal.actors import until
from tests.stories.wires import EXITS, TELLS_FORCED, WireStage, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[WireStage]:
    """Yield the whole system on three wires, started once."""
    async with running(WireStage, prefix="gh-wires-") as stage:
        yield stage


async def test_one_card_opens_doors_on_every_wire_and_no_other_does(stage: WireStage) -> None:
    card = await stage.person("wired", doors=list(EXITS))
    for door in EXITS:

        async def opened(door: str = door) -> bool:  # its edge may not have the card yet
            return bool((await stage.present(door, card)).get("unlocked"))

        await until(opened, what=f"the card opens {door}", within_s=20, every_s=0.5)
        stranger = await stage.present(door, "DEADBEEF")
        assert (bool(stranger.get("unlocked")), stranger["feedback"]) == (False, "unknown_credential"), door

    async def recorded() -> bool:
        facts = [await stage.facts(door, "access_granted") for door in EXITS]
        return all(any(fact["person_id"] == "wired" and fact["unlocked"] for fact in own) for own in facts)

    await until(recorded, what="a grant on record at every door", within_s=20)


async def test_forced_is_alike_on_every_wire_and_never_claimed_where_it_cannot_be_told(stage: WireStage) -> None:
    await asyncio.sleep(11)  # a grant of the test before explains openings for a while
    mark = stage.ear.mark()
    for door in EXITS:
        await stage.act(door, "force")
    for door in TELLS_FORCED:
        alert = await stage.alert_at(door, "door_forced", since=mark)
        assert (alert["severity"], alert["condition"]) == ("urgent", "active"), door
    for door in EXITS:
        await stage.act(door, "close")
    for door in TELLS_FORCED:
        await stage.alert_at(door, "door_forced", since=mark, condition="cleared")
    for door in set(EXITS) - set(TELLS_FORCED):

        async def told(door: str = door) -> bool:
            return any(fact["cause"] == "unknown" for fact in await stage.facts(door, "door_opened"))

        await until(told, what=f"the opening of {door}, of unknown cause", within_s=20)
        assert await stage.facts(door, "door_forced") == [], door


async def test_held_open_is_alike_on_every_wire(stage: WireStage) -> None:
    mark = stage.ear.mark()
    for door in EXITS:
        await stage.act(door, "open")
    for door in EXITS:
        alert = await stage.alert_at(door, "door_held_open", since=mark)
        assert alert["severity"] == "minor", door
    for door in EXITS:
        await stage.act(door, "close")
        await stage.alert_at(door, "door_held_open", since=mark, condition="cleared")


async def test_a_device_that_reboots_comes_back_by_itself_and_raises_no_alarm(stage: WireStage) -> None:
    card = await stage.person("patient", doors=["panel", "side"])

    async def opens(door: str) -> bool:
        return bool((await stage.present(door, card)).get("unlocked"))

    await until(lambda: opens("panel"), what="the device's door opens", within_s=20, every_s=0.5)
    mark = stage.ear.mark()
    await stage.at("panel").ask(act="misbehave", fault="reboot")
    assert await opens("side"), "another wire goes on"
    await until(lambda: opens("panel"), what="the device's door opens again", within_s=45, every_s=1.0)
    alarms = {"door_forced", "door_held_open", "door_tampered", "duress"}
    heard = [content for _, name, content in stage.ear.heard_since(mark) if name == "alert"]
    assert [one["kind"] for one in heard if one["kind"] in alarms] == []


def framed(card: str) -> str:
    """Return a card of four bytes as the bits of a Wiegand frame of 34, which an OSDP reader gives."""
    bits = f"{int(card, 16):032b}"
    frame = f"{bits[:16].count('1') % 2}{bits}{(bits[16:].count('1') + 1) % 2}"
    return f"34:{int(frame, 2) << 6:010X}"


async def test_one_card_opens_however_a_reader_writes_its_number(stage: WireStage) -> None:
    card = await stage.person("written", doors=list(EXITS))
    backwards = bytes.fromhex(card)[::-1].hex().upper()
    for door, reading in (("side", card.lower()), ("annex", backwards), ("kiosk", framed(card))):

        async def opened(door: str = door, reading: str = reading) -> bool:  # its edge may not have the card yet
            return bool((await stage.present(door, reading)).get("unlocked"))

        await until(opened, what=f"the card opens {door}", within_s=20, every_s=0.5)
    noisy = f"{framed(card)[:-3]}{int(framed(card)[-3:], 16) ^ 0x100:03X}"
    for door, reading in (("side", backwards), ("kiosk", noisy)):
        stranger = await stage.present(door, reading)
        assert (bool(stranger.get("unlocked")), stranger["feedback"]) == (False, "unknown_credential"), door


async def test_an_unlock_from_the_desk_is_confirmed_by_what_each_door_reports(stage: WireStage) -> None:
    for door in EXITS:
        answer = await stage.manager.post(f"/api/v1/doors/{door}/unlock", json={"reason": "a parcel"})
        assert answer.status_code == 200, f"{door}: {answer.text}"
        path = f"/api/v1/commands/{answer.json()['command_id']}"

        async def confirmed(path: str = path) -> bool:
            return bool((await stage.manager.get(path)).json()["state"] == "confirmed")

        await until(confirmed, what=f"{door} reports that it is unlocked", within_s=10)
        order = (await stage.manager.get(path)).json()
        assert (order["confirmed_by"], order["reason"]) == ("lock", "a parcel"), door
        assert order["asked_at"] <= order["delivered_at"] <= order["deadline"]
