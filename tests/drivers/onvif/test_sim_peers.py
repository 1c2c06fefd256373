"""The simulated device before clients written by others: npm's `onvif`, Debian's onvif-tools (libonvif), and zeep."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from zeep import Client, Settings
from zeep.exceptions import Fault
from zeep.wsse.username import UsernameToken

from drivers.onvif.simauth import Access
from drivers.onvif.simcore import SERVICES
from drivers.onvif.simdevice import Identity, SimulatedDevice
from drivers.onvif.simdoor import RELEASES, TARGETS, Timing
from drivers.onvif.simserver import SimulatedOnvif
from tests.drivers.contract import now

PEER = Path(__file__).parents[2] / "peers" / "onvif"
PROGRAMS = Path(sys.executable).parent
WSDL = Path(str(files("onvif"))) / "wsdl"
PASSWORD = 'gate "& <7>'
"""Plain: npm's client reads passwords as ASCII."""


@pytest.fixture
async def unit() -> AsyncIterator[SimulatedOnvif]:
    device = SimulatedDevice(Identity(), doors=("gate", "garage"), timing=Timing(access_s=0.5))
    access = Access(user="admin", password=PASSWORD)
    made = SimulatedOnvif(device, access=access, now=now, rng=random.Random(2))
    async with made.serving():
        yield made


@pytest.fixture(scope="session")
def installed() -> Path:
    """Return the folder of npm's client, installed once from its lock file."""
    if not (PROGRAMS / "npm").exists():
        pytest.skip("npm is not installed: run `make setup`")
    stamp, lock = PEER / "node_modules" / ".installed", PEER / "package-lock.json"
    with lock.open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
            path = os.pathsep.join([str(PROGRAMS), os.environ.get("PATH", "")])
            command = [str(PROGRAMS / "npm"), "ci", "--silent", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=PEER, env={**os.environ, "PATH": path}, capture_output=True, timeout=100)
            if done.returncode != 0:
                pytest.skip("npm reaches no registry: check the network")
            stamp.touch()
    return PEER


async def run(*command: str, given: str, limit_s: float = 60) -> str:
    """Run a program with something on standard input and return what it says."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(limit_s):
            told, _ = await process.communicate(given.encode())
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, told.decode()
    return told.decode()


async def test_the_npm_client_looks_at_the_camera_and_hears_the_doors(unit: SimulatedOnvif, installed: Path) -> None:
    async def force() -> None:
        await unit.until(lambda: unit.subscriptions.pulls > 0)
        unit.device.open("gate", unit.clock(), force=True)
        unit.device.senses["motion"] = True
        unit.device.settle(unit.clock())

    forcing = asyncio.create_task(force())
    host, port = unit.address
    node = str(PROGRAMS / "node")
    seen = json.loads(await run(node, str(installed / "look.mjs"), host, str(port), "admin", given=PASSWORD))
    await forcing
    assert seen["warnings"] == []
    assert (seen["profiles"], seen["media2"]) == (["main", "sub"], True)
    assert seen["information"]["serialNumber"] == unit.device.identity.serial
    assert seen["stream"] == unit.streams.main
    assert seen["snapshot"] == f"{unit.origin}/onvif/snapshot"
    assert seen["presets"] == ["home", "gate"]
    assert seen["position"]["x"] == 0.4
    assert unit.device.preset == "gate"
    assert (seen["topics"]["DoorAlarm"], str(seen["topics"]["MotionAlarm"]).lower()) == ("DoorForcedOpen", "true")


def may_unshare() -> bool:
    """Return whether this machine lets us make networks of our own."""
    command = ["unshare", "--map-root-user", "--net", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.needs("onvif-tools", "ip", "unshare", "nsenter")
async def test_libonvif_finds_the_device_by_multicast_and_questions_it(tmp_path: Path) -> None:
    if not may_unshare():
        pytest.skip("this machine lets us make no networks of our own")
    (tmp_path / "password").write_text(PASSWORD)
    device = [sys.executable, "-m", "drivers", "simulate", "onvif", "--user", "admin"]
    device += ["--password-file", str(tmp_path / "password"), "--rtsp", "rtsp://10.55.0.1/sub"]
    device += ["--main-rtsp", "rtsp://10.55.0.1/main"]
    questions = "get profiles\nget video\nget video options\nget time\nget network\nget rtsp\nquit\n"
    separate = ["unshare", "--map-root-user", "--net", "bash", str(PEER / "two_networks.sh"), PASSWORD, *device]
    told = await run(*separate, given=questions)
    assert "Found 1 cameras" in told
    assert "serial: SIM-0001" in told
    for line in ("Token 0: main", "Token 1: sub", "Resolution: 1920 x 1080", "640 x 360", "Time Offset: 0 seconds"):
        assert line in told, told
    assert "IP Address: 10.55.0.1" in told
    assert "rtsp://10.55.0.1/main" in told
    assert "ERROR" not in told


def service(wsdl: str, binding: str, url: str) -> Any:
    """Return a strict zeep service with a UsernameToken."""
    settings = Settings(strict=True)
    token = UsernameToken("admin", PASSWORD, use_digest=True)  # type: ignore[no-untyped-call]
    client = Client(str(WSDL / wsdl), wsse=token, settings=settings)  # type: ignore[no-untyped-call]
    return client.create_service(binding, url)  # type: ignore[no-untyped-call]


def questioned(origin: str) -> dict[str, Any]:
    """Ask every service of a device by its WSDL and return what is worth a look."""
    seen: dict[str, Any] = {}

    def at(prefix: str, wsdl: str, binding: str) -> Any:
        return service(wsdl, binding, f"{origin}{SERVICES[prefix][0]}")

    device = at("tds", "devicemgmt.wsdl", "{http://www.onvif.org/ver10/device/wsdl}DeviceBinding")
    for name in ("GetServiceCapabilities", "GetScopes", "GetNetworkInterfaces", "GetRelayOutputs", "GetCapabilities"):
        assert getattr(device, name)(), name
    assert device.GetServices(IncludeCapability=False)
    device.SetRelayOutputState(RelayOutputToken="garage-relay", LogicalState="active")
    media = at("trt", "media.wsdl", "{http://www.onvif.org/ver10/media/wsdl}MediaBinding")
    seen["sizes"] = [p.VideoEncoderConfiguration.Resolution.Width for p in media.GetProfiles()]
    setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
    seen["stream"] = media.GetStreamUri(StreamSetup=setup, ProfileToken="sub").Uri
    assert media.GetVideoSources()
    assert media.GetVideoEncoderConfigurations()
    assert media.GetServiceCapabilities().SnapshotUri
    turning = at("tptz", "ptz.wsdl", "{http://www.onvif.org/ver20/ptz/wsdl}PTZBinding")
    turning.GotoPreset(ProfileToken="main", PresetToken="gate")
    seen["tilt"] = turning.GetStatus("main").Position.PanTilt.y
    assert turning.GetNodes()
    assert turning.GetConfigurations()
    seen["doors"] = _doors(
        at("tdc", "doorcontrol.wsdl", "{http://www.onvif.org/ver10/doorcontrol/wsdl}DoorControlBinding")
    )
    points = at("tac", "accesscontrol.wsdl", "{http://www.onvif.org/ver10/accesscontrol/wsdl}PACSBinding")
    seen["points"] = _points(points)
    events = at("tev", "events.wsdl", "{http://www.onvif.org/ver10/events/wsdl}EventBinding")
    seen["events"] = _events(events)
    return seen


def _doors(doors: Any) -> list[str]:
    assert doors.GetServiceCapabilities().MaxLimit
    listed = [door.token for door in doors.GetDoorInfoList(Limit=1).DoorInfo]
    assert doors.GetDoorInfo(Token=["gate", "garage"])
    modes = []
    steps = (
        "LockOpenDoor",
        "LockOpenReleaseDoor",
        "LockDownDoor",
        "LockDownReleaseDoor",
        "BlockDoor",
        "DoubleLockDoor",
    )
    for name in (*steps, "UnlockDoor", "LockDoor"):
        getattr(doors, name)(Token="gate")
        modes.append(doors.GetDoorState(Token="gate").DoorMode)
    doors.AccessDoor(Token="gate", AccessTime=timedelta(seconds=30))
    assert {*steps, "UnlockDoor", "LockDoor"} == {*TARGETS, *RELEASES}
    return [*listed, *modes, doors.GetDoorState(Token="gate").DoorMode]


def _points(points: Any) -> list[Any]:
    assert points.GetServiceCapabilities().MaxLimit
    told = points.GetAccessPointInfoList().AccessPointInfo
    assert points.GetAccessPointInfo(Token=["gate-in"])[0].EntityType.endswith("Door")
    assert len(points.GetAreaInfoList().AreaInfo) == len(points.GetAreaInfo(Token=["inside", "outside"]))
    points.DisableAccessPoint(Token="gate-in")
    enabled = [points.GetAccessPointState(Token="gate-in").Enabled]
    points.EnableAccessPoint(Token="gate-in")
    enabled.append(points.GetAccessPointState(Token="gate-in").Enabled)
    with pytest.raises(Fault, match="nobody waits"):
        points.ExternalAuthorization(AccessPointToken="gate-in", Decision="Granted")
    return [len(told), *enabled]


def _events(events: Any) -> list[int]:
    assert events.GetServiceCapabilities().WSPullPointSupport
    assert events.GetEventProperties().TopicSet
    made = events.CreatePullPointSubscription(InitialTerminationTime="PT60S")
    address = made.SubscriptionReference.Address._value_1
    point = service("events.wsdl", "{http://www.onvif.org/ver10/events/wsdl}PullPointSubscriptionBinding", address)
    counts = [len(point.PullMessages(Timeout=timedelta(seconds=5), MessageLimit=100).NotificationMessage)]
    point.SetSynchronizationPoint()
    counts.append(len(point.PullMessages(Timeout=timedelta(seconds=5), MessageLimit=100).NotificationMessage))
    point.Seek(UtcTime=now() - timedelta(hours=1))
    counts.append(len(point.PullMessages(Timeout=timedelta(seconds=5), MessageLimit=100).NotificationMessage))
    subscription = service("events.wsdl", "{http://www.onvif.org/ver10/events/wsdl}SubscriptionManagerBinding", address)
    assert subscription.Renew(TerminationTime="PT60S").TerminationTime
    subscription.Unsubscribe()
    with pytest.raises(Fault, match="no such subscription"):
        subscription.Renew(TerminationTime="PT60S")
    return counts


async def test_zeep_asks_every_service_by_its_wsdl(unit: SimulatedOnvif) -> None:
    seen = await asyncio.to_thread(questioned, unit.origin)
    assert seen["sizes"] == [1920, 640]
    assert seen["stream"] == unit.streams.sub
    assert seen["tilt"] == -0.2
    modes = [
        "LockedOpen",
        "Locked",
        "LockedDown",
        "Locked",
        "Blocked",
        "DoubleLocked",
        "Unlocked",
        "Locked",
        "Accessed",
    ]
    assert seen["doors"] == ["gate", *modes]
    assert seen["points"] == [4, False, True]
    states = len(unit.device.properties())
    assert seen["events"][:2] == [states, states]
    assert seen["events"][2] == min(100, unit.device.told)
