"""Devices before they are adopted: wires searched side by side, one asked, a door tried once, a still without faces."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.process import Backoff, Supervisor, keep_running
from config.settings import BrokerLink
from drivers.discovery import Discover
from drivers.door import Executed
from drivers.mqtt.driver import MqttDoors
from drivers.rtsp.scenes import Look
from drivers.rtsp.server import Access, CameraServer
from edge import wire
from edge.adopting import Adopting, better, fitting
from edge.clock import SteadyClock
from edge.facelink import FaceLink
from edge.lines import Lines
from edge.trial_eyes import TrialEyes
from edge.wires import Wires
from models.device_orders import Discover as Search
from models.device_orders import ProbeDevice, TryPart
from models.devices import CANDIDATES_MOST, Candidate
from models.errors import DeviceRefused, DeviceUnreachable
from models.link import MAX_BODY_BYTES, Result
from models.places import Door
from tests.edge.doubles import EDGE, MemoryWire, door, now, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.linked import linked

JPEG = b"\xff\xd8\xff\xe0 a picture whose faces are hidden"
USER, PASSWORD = "viewer", "p@ss/word"


def search(found: tuple[Candidate, ...] = (), fails: Exception | None = None, *, waits: bool = False) -> Discover:
    """Return a wire's search that finds some devices, then fails or waits for ever if it is told to."""

    async def searching(
        settings: Mapping[str, object], *, networks: tuple[str, ...], now: Callable[[], datetime], limit_s: float
    ) -> AsyncIterator[Candidate]:
        for candidate in found:
            yield candidate
        if fails is not None:
            raise fails
        if waits:
            await asyncio.Event().wait()

    return searching


@dataclass
class Bench:
    """The part over a real link and real eyes; the face process is a socket, the door's wire is in memory."""

    adopting: Adopting
    gateway: GatewayDouble
    door: MemoryWire
    searches: dict[Any, Any]
    children: Supervisor
    link: FaceLink
    asked: list[wire.TakePicture] = field(default_factory=list)
    doors: tuple[Door, ...] = ()
    hellos: list[str] = field(default_factory=list)
    trials: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    picture: wire.Picture = field(default_factory=lambda: wire.Picture(request_id="", ok=True, jpeg=JPEG))

    async def look(self, url: str, *, password: str = PASSWORD, limit_s: float = 12.0) -> Candidate:
        order = ProbeDevice(
            id="o-probe", wire="rtsp", address=url, user=USER, password=password, deadline=soon(limit_s)
        )
        result = await self.adopting.probe(order)
        assert result.state == "confirmed"
        (candidate,) = result.candidates
        return candidate

    async def attempt(self, act: Any, *, url: str = "", **settings: Any) -> Result:
        known = {"url": url, "user": USER, "password": PASSWORD} | settings if url else settings
        order = TryPart(
            id=f"o-{act}", wire="rtsp" if url else "onvif", settings=known, part="front", act=act, reason="adoption",
            requested_by="u", deadline=soon(15),
        )  # fmt: skip
        return await self.adopting.attempt(order)


def soon(seconds: float) -> datetime:
    return now() + timedelta(seconds=seconds)


@contextlib.asynccontextmanager
async def face_process(socket: Path, made: list[Bench]) -> AsyncIterator[None]:
    """Serve what the bench says that a face process answers; it hears eyes as well as the worker's link."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.write(writer, wire.FacesHealth(ready=True, contract="m"))
        while (message := await wire.read(reader, wire.to_faces)) is not None:
            if isinstance(message, wire.EyeHello):
                made[0].hellos.append(message.camera_id)
            if isinstance(message, wire.TakePicture):
                made[0].asked.append(message)
                told = made[0].picture
                answer = wire.Picture(request_id=message.request_id, ok=told.ok, reason=told.reason, jpeg=told.jpeg)
                await wire.write(writer, answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, path=str(socket))
    yield
    server.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made: list[Bench] = []

    def open_trial(kind: str, settings: Mapping[str, Any], *, part: str) -> MemoryWire:
        made[0].trials.append((kind, dict(settings), part))
        return made[0].door

    with tempfile.TemporaryDirectory(prefix="gh-try-") as short:  # sockets need a short path
        folder, searches = Path(short), dict[Any, Any]()
        link = FaceLink(folder / "f.sock")
        async with (
            face_process(link.socket, made),
            GatewayDouble(policy()) as gateway,
            linked(folder, gateway, start=False) as side,
            Supervisor() as children,
        ):
            eyes = TrialEyes(children=children, run_dir=folder, faces_socket=link.socket)
            adopting = Adopting(
                clock=SteadyClock(), channel=side.channel, link=link, eyes=eyes, open_trial=open_trial,
                reached=lambda _wire: {"host": "x"}, doors=lambda: made[0].doors, discoverers=searches, probers={},
            )  # fmt: skip
            made.append(Bench(adopting, gateway, MemoryWire(), searches, children, link))
            running = asyncio.create_task(keep_running("link", link.run, backoff=Backoff(first_s=0.01)))
            yield made[0]
            running.cancel()


@contextlib.asynccontextmanager
async def camera() -> AsyncIterator[str]:
    """Serve a simulated camera that wants credentials; yields the address of its stream."""
    access = Access(kind="digest", user=USER, password=PASSWORD)
    server = CameraServer(look=Look(gop_s=1.0), access=access, rng=random.Random(7))
    async with server.serving(["yard"]):
        yield server.url("yard")


def one(key: str, **more: Any) -> Candidate:
    return Candidate(id=key, wire="onvif", address="http://192.0.2.1/", **more)


# ---- search -----------------------------------------------------------------------------------------------------------


async def test_wires_are_searched_side_by_side_and_one_that_is_away_is_named(bench: Bench) -> None:
    bench.searches["onvif"] = lambda: search((one("a"), one("b"), one("a", reach="answers", serial="7")))
    bench.searches["mqtt"] = lambda: search(fails=DeviceUnreachable("broker", "it is away"))
    result = await bench.adopting.discover(Search(id="o1", deadline=soon(5)))
    assert (result.state, result.detail) == ("confirmed", "mqtt: broker: it is away")
    assert [(each.id, each.serial) for each in result.candidates] == [("a", "7"), ("b", "")]


async def test_a_search_that_hangs_ends_in_time_with_what_it_found(bench: Bench) -> None:
    bench.searches["onvif"] = lambda: search((one("a"),), waits=True)
    async with asyncio.timeout(5):
        result = await bench.adopting.discover(Search(id="o1", wires=("onvif",), deadline=soon(1.7)))
    assert [each.id for each in result.candidates] == ["a"]
    assert "not searched to its end" in result.detail
    assert [(note.wire, note.code) for note in result.notes] == [("onvif", "not_to_end")]


async def test_a_search_that_could_not_begin_failed_and_says_why(bench: Bench) -> None:
    result = await bench.adopting.discover(Search(id="o1", wires=("osdp",), deadline=soon(5)))
    assert (result.state, result.reason) == ("failed", "unsearchable")
    assert "osdp" in result.detail


async def test_a_flood_of_devices_is_bounded(bench: Bench) -> None:
    many = tuple(one(f"d{n}", detail="x" * 4000) for n in range(CANDIDATES_MOST + 50))
    bench.searches["onvif"] = lambda: search(many)
    result = await bench.adopting.discover(Search(id="o1", deadline=soon(20)))
    assert 0 < len(result.candidates) < CANDIDATES_MOST
    assert "more were found" in result.detail
    assert len(fitting(many)) * 4000 < MAX_BODY_BYTES


def test_of_two_answers_of_a_device_the_one_that_came_further_counts() -> None:
    heard, known = one("a"), one("a", reach="known", model="M")
    assert better(known, heard) is known
    assert better(heard, known) is known
    assert better(heard, one("a", detail="later")).detail == "later"


# ---- one device -------------------------------------------------------------------------------------------------------


async def test_a_camera_known_by_its_stream_is_looked_at_and_its_eye_is_gone(bench: Bench) -> None:
    async with camera() as url:
        candidate = await bench.look(url)
        assert (candidate.wire, candidate.reach, candidate.trouble) == ("rtsp", "ready", "")
        (part,) = candidate.parts
        assert (part.kind, part.url, part.width_px > 0, part.height_px > 0) == ("camera", url, True, True)
        refused = await bench.look(url, password="wrong")
        assert (refused.id, refused.reach, refused.trouble) == (candidate.id, "answers", "credentials")
        astray = await bench.look(f"{url}-elsewhere")
        assert (refused.code, astray.trouble, astray.code) == ("wrong_login", "unsupported", "wrong_path")
    assert PASSWORD not in f"{candidate} {refused}"
    assert bench.asked == [], "nobody asked for a picture"
    await until(lambda: not bench.children.pids, what="the end of the eyes")


async def test_a_camera_that_is_not_there_is_told_so(bench: Bench) -> None:
    candidate = await bench.look("rtsp://127.0.0.1:1/none")
    assert (candidate.reach, candidate.trouble, candidate.code) == ("heard", "unreachable", "no_connection")


async def test_a_device_of_a_wire_that_cannot_be_asked_is_refused(bench: Bench) -> None:
    result = await bench.adopting.probe(ProbeDevice(id="o1", wire="osdp", address="/dev/ttyS0", deadline=soon(5)))
    assert (result.state, result.reason) == ("refused", "unsupported")


# ---- one part ---------------------------------------------------------------------------------------------------------


async def test_a_still_of_a_camera_on_trial_reaches_the_gateway_as_the_orders_own(bench: Bench) -> None:
    async with camera() as url:
        result = await bench.attempt("still", url=url)
    assert (result.state, result.media_id) == ("confirmed", "o-still")
    about, content = bench.gateway.media["o-still"]
    assert (content, about["camera"], about["blurred"]) == (JPEG, "o-still", "yes")
    assert [each.camera_id for each in bench.asked] == ["o-still"]
    assert set(bench.hellos) == {"o-still"}


async def test_a_picture_whose_faces_cannot_be_hidden_is_not_sent(bench: Bench) -> None:
    bench.picture = wire.Picture(request_id="", ok=False, reason="unblurrable", jpeg=JPEG)
    async with camera() as url:
        result = await bench.attempt("still", url=url)
    assert (result.state, result.reason) == ("failed", "unblurrable")
    assert bench.gateway.media == {}


async def test_a_still_where_faces_are_off_says_what_to_set_and_nobody_waits(bench: Bench) -> None:
    bench.link.enabled = False
    async with camera() as url:
        result = await bench.attempt("still", url=url)
    assert (result.state, result.reason) == ("failed", "faces_off")
    assert "set `edge.faces.enabled`" in result.detail


async def test_a_still_of_a_camera_that_refuses_says_so(bench: Bench) -> None:
    async with camera() as url:
        result = await bench.attempt("still", url=url, password="wrong")
    assert (result.state, result.reason) == ("refused", "credentials")


async def test_a_door_on_trial_is_unlocked_once_with_its_settings(bench: Bench) -> None:
    result = await bench.attempt("unlock", address="192.0.2.9", password="x")
    assert result.state == "confirmed"
    assert bench.trials == [("onvif", {"address": "192.0.2.9", "password": "x"}, "front")]
    (unlock,) = bench.door.unlocks()
    assert (unlock.id, unlock.door_id, unlock.attempt) == ("o-unlock", "front", None)
    assert 0 < unlock.valid_ms <= 3000


@pytest.mark.parametrize(
    "driver",
    [
        {"kind": "onvif", "url": "http://192.0.2.9/onvif/device_service", "door": "front", "user": "admin", "password": "y"},
        {"kind": "onvif", "url": "http://192.0.2.9:80/", "door": "front"},
    ],
)  # fmt: skip
async def test_a_door_that_is_served_here_is_never_tried(bench: Bench, driver: dict[str, Any]) -> None:
    bench.doors = (door("lobby", driver=driver), door("front"))
    url = "http://192.0.2.9/onvif/device_service"

    async def attempt(**which: str) -> Result:
        here: dict[str, Any] = {"kind": "onvif", "url": url, "door": "front", "password": "x", **which}
        order = TryPart(
            id="o", wire="onvif", settings=here, part=here["door"], act="unlock", reason="adoption", requested_by="u",
            deadline=soon(15),
        )  # fmt: skip
        return await bench.adopting.attempt(order)

    result = await attempt()
    assert (result.state, result.reason) == ("refused", "refused")
    assert "lobby" in result.detail
    assert bench.trials == []
    assert (await attempt(door="back")).state == "confirmed", "another door of it"
    assert (await attempt(url="http://192.0.2.9:81/")).state == "confirmed", "another device behind one address"


@pytest.mark.parametrize(
    ("executed", "told"),
    [
        (Executed(ok=False, error="locked down"), ("refused", "refused")),
        (Executed(ok=False, certain=False, error="silence"), ("failed", "no_answer")),
    ],
)
async def test_a_door_that_does_not_confirm_has_not_opened(
    bench: Bench, executed: Executed, told: tuple[str, str]
) -> None:
    async def answer(_order: object) -> Executed:
        return executed

    bench.door.answer = answer
    result = await bench.attempt("unlock")
    assert (result.state, result.reason) == told


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (DeviceRefused("d", "wrong password"), ("refused", "refused")),
        (DeviceUnreachable("d", "silence"), ("failed", "unreachable")),
    ],
)
async def test_a_door_that_cannot_be_reached_says_why(bench: Bench, fails: Exception, told: tuple[str, str]) -> None:
    bench.door.fails = fails
    result = await bench.attempt("unlock")
    assert (result.state, result.reason) == told


def test_a_door_on_trial_keeps_no_session_at_the_broker() -> None:
    wires = Wires(BrokerLink(host="127.0.0.1", port=1999), edge_id=EDGE, now=now)
    driver = wires.open_trial("mqtt", {}, part="d9")
    assert isinstance(driver, MqttDoors)
    endpoint = driver._endpoint
    assert (endpoint.port, endpoint.session_expiry_s, endpoint.client_id) == (1999, 0, "gatehouse-edge-1-trial-1")
    other = wires.open_trial("mqtt", {}, part="d8")
    assert isinstance(other, MqttDoors)
    assert other._endpoint.client_id != endpoint.client_id  # two trials at once leave each other alone
    assert wires.reached("onvif") == {}


async def test_a_reader_of_a_door_here_is_not_tried_by_another_name_of_its_line(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to("/dev/ttyNONE0")
    readers = [{"address": 0, "strike": 0, "key": "5a" * 16}]
    gate = Door(
        id="gate", site_id="s", name="gate", edge_id=EDGE, driver={"kind": "osdp", "port": "/dev/ttyNONE0", "readers": readers}
    )  # fmt: skip
    bench.doors = (gate,)
    bench.adopting._lines = Lines(
        clock=SteadyClock(), wires=Wires(BrokerLink(), edge_id=EDGE, now=now), doors=lambda: bench.doors,
        mode=lambda _id: "normal", state=lambda _id: None,
    )  # fmt: skip
    order = TryPart(
        id="o-8", wire="osdp", settings={"port": str(tmp_path / "by-id"), "address": 0, "strike": 0}, part="0",
        act="unlock", reason="adoption", requested_by="u", pause=True, deadline=soon(15),
    )  # fmt: skip
    result = await bench.adopting.attempt(order)
    assert (result.state, "door 'gate'" in result.detail, bench.trials) == ("refused", True, [])
