"""Devices that lack what the simulated one has: no GetServices, relays that stay on, doors without lock-down, short lives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from lxml import etree

from drivers.door import SetMode
from drivers.onvif.client import OnvifClient
from drivers.onvif.driver import OnvifDoors
from drivers.onvif.endpoint import Endpoint, endpoint_of
from drivers.onvif.markup import local
from drivers.onvif.positions import Positions
from models.doors import Presence
from tests.drivers.contract import now, soon, unlock
from tests.drivers.onvif.rigs import eventually

SPACES = (
    'xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:ter="urn:ter" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" '
    'xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:tev="http://www.onvif.org/ver10/events/wsdl" '
    'xmlns:tdc="http://www.onvif.org/ver10/doorcontrol/wsdl" xmlns:wsa="http://www.w3.org/2005/08/addressing" '
    'xmlns:wsnt="http://docs.oasis-open.org/wsn/b-2"'
)
UNKNOWN = (
    "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>ter:ActionNotSupported</s:Value></s:Subcode></s:Code>"
    "<s:Reason><s:Text>unknown</s:Text></s:Reason></s:Fault>"
)
TIMES = "<{0}:CurrentTime>2026-11-23T12:00:00Z</{0}:CurrentTime><{0}:TerminationTime>2026-11-23T12:00:02Z</{0}:TerminationTime>"
USUAL = {
    "GetSystemDateAndTime": (
        "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
        "<tt:DaylightSavings>false</tt:DaylightSavings></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
    ),
    "GetCapabilities": (
        "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Events><tt:XAddr>http://10.0.0.1/onvif/events</tt:XAddr></tt:Events>"
        "</tds:Capabilities></tds:GetCapabilitiesResponse>"
    ),
    "GetRelayOutputs": (
        '<tds:GetRelayOutputsResponse><tds:RelayOutputs token="R"><tt:Properties><tt:Mode>Bistable</tt:Mode>'
        "<tt:DelayTime>PT0S</tt:DelayTime><tt:IdleState>open</tt:IdleState></tt:Properties></tds:RelayOutputs>"
        "</tds:GetRelayOutputsResponse>"
    ),
    "SetRelayOutputState": "<tds:SetRelayOutputStateResponse/>",
    "CreatePullPointSubscription": (
        "<tev:CreatePullPointSubscriptionResponse><tev:SubscriptionReference><wsa:Address>http://10.0.0.1/onvif/sub</wsa:Address>"
        '<wsa:ReferenceParameters><x:Id xmlns:x="urn:x">77</x:Id></wsa:ReferenceParameters></tev:SubscriptionReference>'
        f"{TIMES.format('wsnt')}</tev:CreatePullPointSubscriptionResponse>"
    ),
    "PullMessages": f"<tev:PullMessagesResponse>{TIMES.format('tev')}</tev:PullMessagesResponse>",
    "GetDoorInfoList": (
        '<tdc:GetDoorInfoListResponse><tdc:DoorInfo token="D"><tdc:Name>D</tdc:Name><tdc:Capabilities Access="true"/>'
        "</tdc:DoorInfo></tdc:GetDoorInfoListResponse>"
    ),
    "GetDoorState": (
        "<tdc:GetDoorStateResponse><tdc:DoorState><tdc:DoorMode>{mode}</tdc:DoorMode></tdc:DoorState></tdc:GetDoorStateResponse>"
    ),
    "BlockDoor": "<tdc:BlockDoorResponse/>",
    "LockDoor": "<tdc:LockDoorResponse/>",
}


def pressed(down: bool) -> str:
    """Return a notification of an input, by a device that has no time."""
    return (
        "<wsnt:NotificationMessage><wsnt:Topic>tns1:Device/Trigger/DigitalInput</wsnt:Topic><wsnt:Message>"
        '<tt:Message PropertyOperation="Changed"><tt:Source><tt:SimpleItem Name="InputToken" Value="K"/></tt:Source>'
        f'<tt:Data><tt:SimpleItem Name="LogicalState" Value="{str(down).lower()}"/></tt:Data></tt:Message>'
        "</wsnt:Message></wsnt:NotificationMessage>"
    )


@dataclass
class OldDevice:
    """Answer SOAP by a table; what is not in it is unknown to the device."""

    answers: dict[str, str] = field(default_factory=lambda: dict(USUAL))
    asked: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    relay: str = "inactive"
    switched: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Switchings that go wrong once each: on is done and not answered, off is neither."""
    garbled: str = ""
    """A door whose state is nonsense."""
    news: list[str] = field(default_factory=list)
    """What the next pulls bring."""
    mode: str = "Locked"
    url: str = ""

    def answer(self, raw: bytes) -> bytes:
        envelope = etree.fromstring(raw)
        body = next(child for child in envelope if local(child) == "Body")[0]
        name = local(body)
        self.asked.append(name)
        if name == "PullMessages":
            self.headers = [local(e) for child in envelope if local(child) == "Header" for e in child]
        if name == "SetRelayOutputState":
            wanted = next(e.text or "" for e in body if local(e) == "LogicalState")
            self.switched.append(wanted)
            lost = wanted in self.lost
            self.relay = self.relay if lost and wanted == "inactive" else wanted
            if lost:
                self.lost.remove(wanted)
                return b""
        self.mode = {"BlockDoor": "Blocked", "LockDoor": "Locked"}.get(name, self.mode)
        told = self.answers.get(name, UNKNOWN).replace("{mode}", self.mode)
        if name == "GetDoorState" and self.garbled in [e.text for e in body]:
            told = "<tdc:Weather>fine</tdc:Weather>"
        if name == "PullMessages" and self.news:
            told = told.replace("</tev:PullMessagesResponse>", f"{self.news.pop(0)}</tev:PullMessagesResponse>")
        content = f"<s:Envelope {SPACES}><s:Body>{told}</s:Body></s:Envelope>".encode()
        status = b"500 Fault" if told == UNKNOWN else b"200 OK"
        return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(content), content)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            writer.write(self.answer(await reader.readexactly(length)))
            await writer.drain()
        writer.close()

    @property
    def endpoint(self) -> Endpoint:
        return endpoint_of({"url": self.url, "pull_s": 1, "timeout_s": 2.0})

    def driver(self, *doors: str, **part: Any) -> OnvifDoors:
        settings = {"url": self.url, "pull_s": 1, "timeout_s": 2.0, **part}
        return OnvifDoors(
            endpoint_of(settings), doors=doors or ("gate",), client_id="c", now=now, positions=Positions()
        )


@pytest.fixture
async def old() -> AsyncIterator[OldDevice]:
    device = OldDevice()
    async with await asyncio.start_server(device.serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        device.url = f"http://{host}:{port}/onvif/device_service"
        yield device


async def test_services_come_by_capabilities_where_there_is_nothing_newer(old: OldDevice) -> None:
    async with OnvifClient(old.endpoint, now=now) as client:
        address = client.services["http://www.onvif.org/ver10/events/wsdl"]
    assert address == old.url.replace("device_service", "events")
    assert not client.told_time, "a clock that was never set tells none"


async def test_a_relay_that_stays_on_is_let_go_of_when_its_time_is_over(old: OldDevice) -> None:
    old.relay = "active"
    async with old.driver(relay="R") as driver:
        assert old.relay == "inactive", "a process that died may have left it on"
        assert (await soon(driver.execute(unlock("gate", "u1", hold_s=0.1)))).ok
        assert old.relay == "active"
        await eventually(lambda: old.relay == "inactive")
        assert (await soon(driver.execute(unlock("gate", "u2", hold_s=30)))).ok
        await asyncio.sleep(0)  # its release waits by now
        assert (await soon(driver.execute(unlock("gate", "u3", hold_s=30)))).ok
    assert old.relay == "inactive", "whoever leaves lets go"
    assert old.switched[-3:] == ["active", "active", "inactive"], "a second pulse does not end with the first"


@pytest.mark.parametrize(("lost", "certain"), [(["active"], False), (["inactive", "inactive"], True)])
async def test_a_relay_is_let_go_of_whatever_got_lost_on_the_way(
    old: OldDevice, lost: list[str], certain: bool
) -> None:
    async with old.driver(relay="R") as driver:
        old.lost = lost
        executed = await soon(driver.execute(unlock("gate", "u1", hold_s=0.1)))
        assert (executed.ok, executed.certain) == (certain, certain)
        assert old.relay == "active"
        await eventually(lambda: old.relay == "inactive")


async def test_a_door_whose_state_is_nonsense_is_away_and_takes_no_other_with_it(old: OldDevice) -> None:
    old.garbled = "E"
    async with old.driver("good", "bad", doors={"good": {"door": "D"}, "bad": {"door": "E"}}) as driver:
        online: dict[str, bool] = {}
        async with asyncio.timeout(10):
            async for reported in driver.reports():
                if isinstance(reported.report, Presence):
                    online[reported.door_id] = reported.report.online
                if len(online) == 2:
                    break
    assert online == {"good": True, "bad": False}


async def test_a_call_without_a_time_is_not_of_now_while_stored_events_come_back(old: OldDevice) -> None:
    old.answers["Seek"] = "<tev:SeekResponse/>"
    old.news = [pressed(True), pressed(False), "", pressed(True)]
    async with old.driver(door="D", call="K") as driver:
        requests = aiter(driver.requests())
        stored, fresh = [await soon(anext(requests)) for _ in range(2)]
    assert (stored.kind, stored.redelivered, fresh.redelivered) == ("call", True, False)
    assert stored.id != fresh.id


async def test_a_door_without_lock_down_is_blocked_and_locked_again(old: OldDevice) -> None:
    async with old.driver() as driver:
        assert driver.capabilities("gate") == frozenset({"lock"})
        assert (await soon(driver.execute(SetMode(door_id="gate", version=1, mode="locked_down")))).ok
        assert (old.mode, old.asked.count("LockDownDoor")) == ("Blocked", 1)
        assert (await soon(driver.execute(SetMode(door_id="gate", version=2, mode="normal")))).ok
        assert old.mode == "Locked"
        refused = await soon(driver.execute(SetMode(door_id="gate", version=3, mode="held_open")))
        assert (refused.ok, refused.certain) == (False, True)


async def test_a_subscription_is_renewed_where_a_pull_does_not_keep_it_and_referred_to_as_told(old: OldDevice) -> None:
    async with old.driver():
        await eventually(lambda: "Renew" in old.asked)
        assert old.headers == ["Action", "MessageID", "To", "Id"]
    assert old.asked[-1] == "Unsubscribe"


async def test_a_device_that_holds_no_pull_open_is_not_asked_without_pause(old: OldDevice) -> None:
    async with old.driver():
        await eventually(lambda: old.asked.count("PullMessages") >= 2)
        before = old.asked.count("PullMessages")
        await asyncio.sleep(0.6)
        assert old.asked.count("PullMessages") - before <= 4
