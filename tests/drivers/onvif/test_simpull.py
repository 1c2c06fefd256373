"""Events, doors and access points of the simulated device over the wire."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from lxml import etree

from drivers.onvif.simcore import SERVICES
from drivers.onvif.simpull import MAX_PULL_POINTS, MAX_QUEUE
from drivers.onvif.simsoap import NAMESPACES, instant
from tests.drivers.contract import now
from tests.drivers.onvif.asking import Client, asking, values

GONE = (400, ["s:Sender", "ter:InvalidArgVal"])
DOORS = "tns1:Door//."


def subscribing(topics: str = "", life: str = "PT60S") -> str:
    concrete = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"
    expression = f'<wsnt:TopicExpression Dialect="{concrete}">{topics}</wsnt:TopicExpression>'
    chosen = f"<tev:Filter>{expression}</tev:Filter>" if topics else ""
    lasting = f"<tev:InitialTerminationTime>{life}</tev:InitialTerminationTime>"
    return f"<tev:CreatePullPointSubscription>{chosen}{lasting}</tev:CreatePullPointSubscription>"


def pulling(timeout: str = "PT0S", limit: object = 100) -> str:
    return f"<tev:PullMessages><tev:Timeout>{timeout}</tev:Timeout><tev:MessageLimit>{limit}</tev:MessageLimit></tev:PullMessages>"


async def subscribed(client: Client, topics: str = "", life: str = "PT60S") -> str:
    """Return the path of a new pull point."""
    answer = await client.ask(subscribing(topics, life), path=SERVICES["tev"][0])
    return values(answer, "wsa:Address")[0].removeprefix(client.unit.origin)


async def pulled(client: Client, path: str, **how: object) -> list[tuple[str, str, str]]:
    """Return topic, operation and last item of what is pulled."""
    root = await client.ask(pulling(**how), path=path)  # type: ignore[arg-type]
    return [shortly(message) for message in root.findall(".//wsnt:NotificationMessage", NAMESPACES)]


def shortly(message: etree._Element) -> tuple[str, str, str]:
    inner = message.find("wsnt:Message/tt:Message", NAMESPACES)
    assert inner is not None
    items = inner.findall("tt:Data/tt:SimpleItem", NAMESPACES)
    topic = values(message, "wsnt:Topic")[0].rpartition("/")[2]
    return topic, inner.get("PropertyOperation", ""), items[-1].get("Value", "") if items else ""


async def test_a_pull_point_begins_with_every_state_and_goes_on_with_changes() -> None:
    async with asking() as client:
        path = await subscribed(client)
        first = await pulled(client, path)
        assert {operation for _, operation, _ in first} == {"Initialized"}
        assert ("DoorMode", "Initialized", "Locked") in first
        client.unit.device.open("gate", client.unit.clock(), force=True)
        assert await pulled(client, path) == [
            ("DoorPhysicalState", "Changed", "Open"),
            ("DoorAlarm", "Changed", "DoorForcedOpen"),
            ("DigitalInput", "Changed", "true"),
        ]
        assert await pulled(client, path) == []


async def test_a_long_poll_ends_with_the_first_event() -> None:
    async with asking() as client:
        path = await subscribed(client, DOORS)
        await pulled(client, path)
        waiting = asyncio.create_task(pulled(client, path, timeout="PT30S"))
        before = client.unit.requests
        await client.unit.until(lambda: client.unit.requests > before)
        client.unit.device.open("gate", client.unit.clock(), force=True)
        async with asyncio.timeout(5):
            assert ("DoorPhysicalState", "Changed", "Open") in await waiting


async def test_a_filter_lets_its_topics_pass_and_no_others() -> None:
    async with asking() as client:
        path = await subscribed(client, "tns1:Door/State/DoorMode|tns1:Device//.")
        topics = {topic for topic, _, _ in await pulled(client, path)}
        assert topics == {"DoorMode", "DigitalInput", "Relay", "PowerSupplyFailure"}


async def test_a_message_limit_leaves_the_rest_for_the_next_pull() -> None:
    async with asking() as client:
        path = await subscribed(client)
        every = len(client.unit.device.current(now()))
        assert len(await pulled(client, path, limit=3)) == 3
        assert len(await pulled(client, path)) == every - 3


async def test_a_subscription_that_nobody_pulls_ends_and_holds_a_bounded_number() -> None:
    async with asking() as client:
        path = await subscribed(client, life="PT1S")
        point = next(iter(client.unit.subscriptions.points.values()))
        for number in range(MAX_QUEUE + 50):
            client.unit.device.senses["motion"] = number % 2 == 0
            client.unit.device.settle(client.unit.clock())
        assert len(point.queue) == MAX_QUEUE
        client.unit.subscriptions.expire(now() + timedelta(seconds=2))
        assert await client.fault(pulling(), path=path) == GONE


async def test_pulling_keeps_alive_unless_the_device_wants_to_be_asked() -> None:
    async with asking() as client:
        path = await subscribed(client, life="PT20S")
        point = next(iter(client.unit.subscriptions.points.values()))
        client.unit.misbehave("needs_renew", on=True)
        ends_at = point.ends_at
        await pulled(client, path)
        assert point.ends_at == ends_at
        await client.ask("<wsnt:Renew><wsnt:TerminationTime>PT90S</wsnt:TerminationTime></wsnt:Renew>", path=path)
        assert point.ends_at > ends_at + timedelta(seconds=60)
        client.unit.misbehave("needs_renew", on=False)
        ends_at = point.ends_at
        await pulled(client, path)
        assert point.ends_at > ends_at


async def test_unsubscribing_ends_one_or_at_a_broken_device_all() -> None:
    async with asking() as client:
        first, second, third = [await subscribed(client) for _ in range(3)]
        await client.ask("<wsnt:Unsubscribe/>", path=first)
        assert await client.fault(pulling(), path=first) == GONE
        assert await pulled(client, second)
        client.unit.misbehave("drops_all_subscriptions_on_unsubscribe", on=True)
        await client.ask("<wsnt:Unsubscribe/>", path=second)
        assert await client.fault(pulling(), path=third) == GONE


async def test_a_pull_that_waits_ends_when_its_subscription_is_lost() -> None:
    async with asking() as client:
        path = await subscribed(client, "tns1:AccessControl//.")
        waiting = asyncio.create_task(client.fault(pulling("PT60S"), path=path))
        before = client.unit.requests
        await client.unit.until(lambda: client.unit.requests > before)
        client.unit.misbehave("lost_subscription", on=True)
        async with asyncio.timeout(5):
            assert await waiting == GONE
        assert await subscribed(client), "a new one may be made"


async def test_pull_points_are_bounded() -> None:
    async with asking() as client:
        for _ in range(MAX_PULL_POINTS):
            await subscribed(client)
        assert await client.fault(subscribing()) == (500, ["s:Receiver", "ter:Action", "ter:MaxPullPoints"])


async def test_seeking_brings_kept_events_of_a_time_forwards_and_back() -> None:
    async with asking() as client:
        unit = client.unit
        start = unit.clock()
        for door_open in (True, False):
            unit.device.open("gate", unit.clock(), force=True) if door_open else unit.device.doors["gate"].close()
            unit.device.settle(unit.clock())
        path = await subscribed(client, DOORS)
        at = f"<tev:UtcTime>{instant(start - timedelta(seconds=1))}</tev:UtcTime>"
        await client.ask(f"<tev:Seek>{at}</tev:Seek>", path=path)
        forwards = [(topic, value) for topic, _, value in await pulled(client, path)]
        assert forwards == [
            ("DoorPhysicalState", "Open"),
            ("DoorAlarm", "DoorForcedOpen"),
            ("DoorPhysicalState", "Closed"),
            ("DoorAlarm", "Normal"),
        ]
        at = f"<tev:UtcTime>{instant(unit.clock() + timedelta(seconds=1))}</tev:UtcTime><tev:Reverse>true</tev:Reverse>"
        await client.ask(f"<tev:Seek>{at}</tev:Seek>", path=path)
        assert [(topic, value) for topic, _, value in await pulled(client, path)] == forwards[::-1]


async def test_a_synchronisation_point_tells_every_state_anew() -> None:
    async with asking() as client:
        path = await subscribed(client)
        first = await pulled(client, path)
        await client.ask("<tev:SetSynchronizationPoint/>", path=path)
        assert await pulled(client, path) == first
        client.unit.misbehave("duplicate_initialized", on=True)
        assert await pulled(client, path) == first


@pytest.mark.parametrize(
    "body",
    [
        pulling(timeout="soon"),
        pulling(timeout="PT9999S"),
        pulling(limit=0),
        pulling(limit="many"),
        "<tev:PullMessages/>",
        "<tev:Seek><tev:UtcTime>yesterday</tev:UtcTime></tev:Seek>",
        "<tev:Seek><tev:UtcTime>2026-01-01T00:00:00</tev:UtcTime></tev:Seek>",
        "<wsnt:Renew><wsnt:TerminationTime>2001-01-01T00:00:00Z</wsnt:TerminationTime></wsnt:Renew>",
        subscribing(life="P"),
        subscribing("x") .replace("ConcreteSet", "XPath"),
        "<tev:CreatePullPointSubscription><tev:Filter><wsnt:MessageContent/></tev:Filter></tev:CreatePullPointSubscription>",
    ],
)  # fmt: skip
async def test_what_cannot_be_meant_is_a_fault_of_the_sender(body: str) -> None:
    async with asking() as client:
        path = await subscribed(client)
        status, codes = await client.fault(body, path=path)
        assert (status, codes[0]) == (400, "s:Sender")


async def test_doors_are_told_page_by_page() -> None:
    doors = [f"door-{number}" for number in range(25)]
    async with asking(*doors) as client:
        got: list[str] = []
        start = ""
        while True:
            root = await client.ask(f"<tdc:GetDoorInfoList>{start}</tdc:GetDoorInfoList>")
            got += [element.get("token", "") for element in root.findall(".//tdc:DoorInfo", NAMESPACES)]
            following = values(root, "tdc:NextStartReference")
            if not following:
                break
            start = f"<tdc:Limit>7</tdc:Limit><tdc:StartReference>{following[0]}</tdc:StartReference>"
        assert got == doors
        bad = "<tdc:GetDoorInfoList><tdc:StartReference>x</tdc:StartReference></tdc:GetDoorInfoList>"
        assert (await client.fault(bad))[1][-1] == "ter:InvalidStartReference"
        several = "".join(f"<tdc:Token>{door}</tdc:Token>" for door in ("door-3", "nowhere"))
        root = await client.ask(f"<tdc:GetDoorInfo>{several}</tdc:GetDoorInfo>")
        assert values(root, "tdc:Name") == ["door-3"]


async def test_an_unknown_door_is_not_found() -> None:
    async with asking() as client:
        for name in ("GetDoorState", "AccessDoor", "LockDoor"):
            fault = await client.fault(f"<tdc:{name}><tdc:Token>attic</tdc:Token></tdc:{name}>")
            assert fault == (400, ["s:Sender", "ter:InvalidArgVal", "ter:NotFound"])


async def test_a_door_that_may_not_obey_says_so() -> None:
    async with asking() as client:
        token = "<tdc:Token>gate</tdc:Token>"
        await client.ask(f"<tdc:LockDownDoor>{token}</tdc:LockDownDoor>")
        failure = (500, ["s:Receiver", "ter:Action", "ter:Failure"])
        assert await client.fault(f"<tdc:AccessDoor>{token}</tdc:AccessDoor>") == failure
        await client.ask(f"<tdc:LockDownReleaseDoor>{token}</tdc:LockDownReleaseDoor>")
        client.unit.misbehave("refuse_unlock", on=True)
        assert await client.fault(f"<tdc:AccessDoor>{token}</tdc:AccessDoor>") == failure
        client.unit.misbehave("refuse_unlock", on=False)
        await client.ask(f"<tdc:AccessDoor>{token}<tdc:AccessTime>PT2S</tdc:AccessTime></tdc:AccessDoor>")
        state = await client.ask(f"<tdc:GetDoorState>{token}</tdc:GetDoorState>")
        assert values(state, "tdc:DoorMode") == ["Accessed"]


async def test_an_access_point_is_turned_off_and_on() -> None:
    async with asking() as client:
        token = "<tac:Token>gate-in</tac:Token>"
        for name, enabled in (("Disable", "false"), ("Enable", "true")):
            await client.ask(f"<tac:{name}AccessPoint>{token}</tac:{name}AccessPoint>")
            state = await client.ask(f"<tac:GetAccessPointState>{token}</tac:GetAccessPointState>")
            assert values(state, "tac:Enabled") == [enabled]


async def test_a_decision_for_nobody_is_a_failure() -> None:
    body = "<tac:AccessPointToken>gate-in</tac:AccessPointToken><tac:Decision>{}</tac:Decision>"
    async with asking() as client:
        fault = await client.fault(f"<tac:ExternalAuthorization>{body.format('Granted')}</tac:ExternalAuthorization>")
        assert fault == (500, ["s:Receiver", "ter:Action", "ter:Failure"])
        fault = await client.fault(f"<tac:ExternalAuthorization>{body.format('Maybe')}</tac:ExternalAuthorization>")
        assert fault == (400, ["s:Sender", "ter:InvalidArgVal"])


async def test_a_relay_is_set_by_its_token() -> None:
    async with asking() as client:
        body = "<tds:RelayOutputToken>{}</tds:RelayOutputToken><tds:LogicalState>{}</tds:LogicalState>"
        setting = f"<tds:SetRelayOutputState>{body}</tds:SetRelayOutputState>"
        await client.ask(setting.format("gate-relay", "active"))
        assert client.unit.device.doors["gate"].unlocked
        assert (await client.fault(setting.format("attic", "active")))[1][-1] == "ter:NotFound"
        assert (await client.fault(setting.format("gate-relay", "maybe")))[0] == 400
