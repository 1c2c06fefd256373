"""Two edges of one site: one joins and gets its copies, one is away for a week, one lies about its doors, one is stolen."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyrage

from drivers.door import UnlockDoor
from edge.backup import back_up, read_backup, restore
from edge.keystore import KeyStore
from edge.spool import Spool
from edge.times import KEY as TIMES
from edge.times import Times
from gateway.joining import Joining
from gateway.runtime import Runtime
from gateway.store import Connection, Store
from gateway.store.assessments import add_assessment
from gateway.store.places import put_camera, put_door
from models.assessments import TOPICS, Assessment, Topics
from models.events import ClockTrusted
from models.link import ErasureReceipt, ShareTemplates, erasure_statement
from models.places import Camera, Door
from tests.gateway.conftest import seated
from tests.gateway.households import call
from tests.gateway.support import REGISTER, add_people, furnish, serving
from tests.stories.boxes import Box, Cable, MovingClock, running

CONSENT = {"text_version": "face-door-1", "channel": "office", "evidence": "folder seventeen"}
PHOTO = b"\xff\xd8\xff the face of "


@dataclass
class Compound:
    """A gateway, its clock and its people at work."""

    runtime: Runtime
    clock: MovingClock
    url: str
    folder: Path

    @contextlib.asynccontextmanager
    async def manager(self) -> AsyncIterator[httpx.AsyncClient]:
        async with seated(self.url, self.runtime, "manager") as client:
            yield client

    async def box(self, edge_id: str) -> Box:
        cable = Cable(int(self.url.rpartition(":")[2]))
        await cable.plug()
        box = Box(self.folder / edge_id, edge_id=edge_id, cable=cable, clock=self.clock)
        async with seated(self.url, self.runtime, "system_administrator") as client:
            told = await call(client, "POST", "edges/tokens", 201, json={"site_id": "a"})
        (box.folder / "token").write_text(told["token"])
        return box

    async def resident(self, client: httpx.AsyncClient, person_id: str, *doors: str, card: str) -> str:
        """Move somebody in who has a card for every door and consents to faces at some; return the consent's id."""
        await call(client, "POST", "people", 201, json={"id": person_id, "name": f"Name of {person_id}"})
        await call(client, "POST", f"people/{person_id}/permits", 201, json={"doors": "all"})
        await call(client, "POST", f"people/{person_id}/credentials", 201, json={"kind": "card", "value": card})
        return await self.consents(client, person_id, *doors)

    async def consents(self, client: httpx.AsyncClient, person_id: str, *doors: str) -> str:
        made = await call(client, "POST", f"people/{person_id}/consents", 201, json={**CONSENT, "doors": list(doors)})
        return str(made["id"])

    async def enrol(self, client: httpx.AsyncClient, person_id: str) -> None:
        photo, kind = PHOTO + person_id.encode(), {"Content-Type": "image/jpeg"}
        await call(client, "PUT", f"people/{person_id}/face", content=photo, headers=kind)


@contextlib.asynccontextmanager
async def compound(folder: Path) -> AsyncIterator[Compound]:
    """Serve a gateway whose site has the gate on edge-1 and the pool on edge-2, both with a camera and a face reader."""
    store, clock = Store(f"sqlite:///{folder / 'gateway.db'}"), MovingClock()
    store.migrate()
    furnish(store)
    add_people(store, clock)  # type: ignore[arg-type]
    store.write_now(_build_pool, at=clock())
    runtime = Runtime(store=store, clock=clock, routes=(), console=folder / "console", receivers=())
    async with serving(runtime) as url:
        yield Compound(runtime, clock, url, folder)
    store.close()


@contextlib.asynccontextmanager
async def two_boxes(site: Compound) -> AsyncIterator[tuple[Box, Box]]:
    async with running(await site.box("edge-1")) as first, running(await site.box("edge-2")) as second:
        yield first, second


def _build_pool(connection: Connection, *, at: Any) -> None:
    camera = Camera(
        id="poolcam", site_id="a", name="Pool", edge_id="edge-2", url="rtsp://192.0.2.2/s", register=REGISTER
    )
    put_camera(connection, camera)
    factors: Any = ("card", "face")
    put_door(
        connection, Door(id="pool", site_id="a", name="Pool", edge_id="edge-2", factors=factors, camera_id="poolcam")
    )
    said = Topics(**dict.fromkeys(TOPICS, "weighed with care and found to be in order"))
    add_assessment(
        connection,
        Assessment(
            id="a1", site_id="a", subject="face", topics=said, state="approved", drafted_by="x", drafted_at=at,
            approved_by="y", approved_at=at,
        ),
    )  # fmt: skip


async def until(condition: Callable[[], bool], *, what: str, within_s: float = 15.0) -> float:
    """Wait until something holds; return after how many seconds it did."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"{what}: not within {within_s} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def eventually(client: httpx.AsyncClient, path: str, holds: Callable[[Any], bool]) -> Any:
    """Ask the API until its answer holds; return it."""
    for _ in range(100):
        told = await call(client, "GET", path)
        if holds(told):
            return told
        await asyncio.sleep(0.1)
    raise AssertionError(told)


async def joined(site: Compound, what: Callable[[], bool]) -> None:
    """Let the gateway look for what edges lack until something holds."""
    for _ in range(100):
        await Joining(site.runtime).look()
        if what():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the joining edge got no copy")


async def known_at(manager: httpx.AsyncClient, person_id: str, *edges: str) -> dict[str, Any]:
    """Return a person once the receipts of these edges, and of no others, are there: they follow the copies."""
    for _ in range(100):
        shown: dict[str, Any] = await call(manager, "GET", f"people/{person_id}")
        if sorted(proof["edge_id"] for proof in shown["faces"]) == sorted(edges):
            return shown
        await asyncio.sleep(0.05)
    raise AssertionError(f"receipts of {shown['faces']}")


async def test_an_edge_that_joins_gets_what_its_doors_were_consented_to_and_a_withdrawal_reaches_both(
    tmp_path: Path,
) -> None:
    async with compound(tmp_path) as site, site.manager() as manager, running(await site.box("edge-1")) as first:
        await until(lambda: first.version > (0, 0), what="the first edge has a policy")
        await site.resident(manager, "p1", "gate", card="A1")
        await site.resident(manager, "p2", "gate", card="A2")
        for person_id in ("p1", "p2"):
            await site.enrol(manager, person_id)
        assert first.held() == ["p1", "p2"]
        both = await site.consents(manager, "p1", "gate", "pool")
        async with running(await site.box("edge-2")) as second:
            await until(lambda: second.version > (0, 0), what="the second edge has a policy")
            await joined(site, lambda: second.held() == ["p1"])
            await until(lambda: second.matched_at("pool") == {"p1"}, what="p1 is matched at the pool")
            shown = await known_at(manager, "p1", "edge-1", "edge-2")

            for consent in shown["consents"]:
                await call(manager, "DELETE", f"people/p1/consents/{consent['id']}", 204)
            assert both in {consent["id"] for consent in shown["consents"]}
            stopped_s = await until(
                lambda: not (first.matched_at("gate") - {"p2"}) and not second.matched_at("pool"),
                what="p1 is matched nowhere", within_s=5.0,
            )  # fmt: skip
            await until(lambda: first.held() == ["p2"] and second.held() == [], what="destroyed", within_s=5.0)
            assert stopped_s < 5.0


async def test_an_edge_that_is_away_for_a_week_goes_on_by_card_and_catches_up(tmp_path: Path) -> None:
    async with compound(tmp_path) as site, two_boxes(site) as (first, second):
        async with site.manager() as manager:
            await until(lambda: first.version > (0, 0) < second.version, what="both have policies")
            consent = await site.resident(manager, "p1", "gate", "pool", card="A1")
            await site.enrol(manager, "p1")
            assert (first.held(), second.held()) == (["p1"], ["p1"])
            await second.cable.pull()
            await call(manager, "DELETE", f"people/p1/consents/{consent}", 204)
            await until(lambda: first.held() == [], what="the edge that is reachable destroys it", within_s=5.0)
        assert second.held() == ["p1"], "nobody could tell it"
        site.clock.turn(hours=25)
        assert await refused_for(second, "pool", n=1) == "policy_expired"
        await opens(second, "pool", card="A1", n=2)
        site.clock.turn(days=7)
        assert await refused_for(second, "pool", n=3) == "policy_expired"
        await opens(second, "pool", card="A1", n=4)
        await second.cable.plug()
        await until(lambda: second.held() == [], what="it destroys what was withdrawn", within_s=30.0)
        await until(lambda: second._spool.backlog == 0, what="the week's facts arrive", within_s=30.0)
        async with site.manager() as manager:
            shown = await eventually(manager, "people/p1", lambda told: told["faces"] == [])
            assert {proof["edge_id"] for proof in shown["erased_faces"]} == {"edge-1", "edge-2"}


async def refused_for(box: Box, door_id: str, *, n: int) -> str | None:
    """Press the button at a door; return why no face was looked for."""
    before = len(box.wires.wire.orders)
    box.asks(id=f"press-{n}", door_id=door_id, kind="button")
    await until(lambda: len(box.wires.wire.orders) > before, what="an answer at the reader")
    return getattr(box.wires.wire.orders[-1], "reason", None)


async def opens(box: Box, door_id: str, *, card: str, n: int) -> None:
    """Show a card at a door that opens."""
    before = len(box.wires.wire.orders)
    box.asks(id=f"card-{n}", door_id=door_id, kind="card", value=card)
    await until(lambda: len(box.wires.wire.orders) > before, what="an answer at the reader")
    assert isinstance(box.wires.wire.orders[-1], UnlockDoor), box.wires.wire.orders[-1]


async def test_a_stolen_edge_is_revoked_at_once_and_gets_nothing_any_more(tmp_path: Path) -> None:
    async with compound(tmp_path) as site, two_boxes(site) as (first, stolen), site.manager() as manager:
        await until(lambda: first.version > (0, 0) < stolen.version, what="both have policies")
        await site.resident(manager, "p1", "gate", card="A1")
        await site.enrol(manager, "p1")
        await site.consents(manager, "p1", "gate", "pool")
        async with seated(site.url, site.runtime, "system_administrator") as administrator:
            why = {"Gatehouse-Reason": "stolen from the pool house"}
            await call(administrator, "POST", "edges/edge-2/revoke", json={}, headers=why)
        await until(lambda: stolen._channel.unwelcome, what="the gateway refuses it", within_s=5.0)
        before = stolen.version
        await until(lambda: not first._policies.current.siblings, what="the sibling knows", within_s=5.0)  # type: ignore[union-attr]
        assert await Joining(site.runtime).look() == 0
        share = ShareTemplates(id="x", to_edge="edge-2", relay_ticket="t", deadline=site.clock())
        assert (await first._faces.sharing.share(share)).reason == "no_sibling"
        await site.resident(manager, "p2", "pool", card="A2")
        assert stolen.version == before
        assert stolen.held() == []


async def test_an_erasure_at_the_office_ends_in_the_edges_receipt_which_verifies_alone(tmp_path: Path) -> None:
    async with compound(tmp_path) as site, site.manager() as manager, running(await site.box("edge-1")) as first:
        await until(lambda: first.version > (0, 0), what="the edge has a policy")
        await site.resident(manager, "p1", "gate", card="A1")
        await site.enrol(manager, "p1")
        await call(manager, "DELETE", "people/p1")
        await until(lambda: first.held() == [], what="destroyed", within_s=5.0)
        proof = await eventually(manager, "erasures/p1", lambda told: told["edges"][0]["state"] != "waiting")
        (shown,) = proof["edges"]
        assert shown["state"] == "erased"
        (receipt,) = msgspec.convert(shown["receipts"], tuple[ErasureReceipt, ...])
        first._identity.public_key().verify(base64.b64decode(receipt.signature), erasure_statement(receipt))
        assert (receipt.person_id, receipt.templates, receipt.edge_id) == ("p1", 1, "edge-1")
        assert first._keys.tombstones == {"p1"}


async def test_a_restored_edge_is_soon_trusted_again_but_brings_no_erased_person_back(tmp_path: Path) -> None:
    owner = pyrage.x25519.Identity.generate()
    async with compound(tmp_path) as site, site.manager() as manager:
        box = await site.box("edge-1")
        async with running(box) as first:
            await until(lambda: first.version > (0, 0), what="the edge has a policy")
            for person_id in ("p1", "p2"):
                await site.resident(manager, person_id, "gate", card=f"A{person_id}"[:1] + person_id[1:])
                await site.enrol(manager, person_id)
            data = box.folder / "data"
            content = back_up(
                data, edge_id="edge-1", keys=first._keys, recipient=str(owner.to_public()), at=site.clock()
            )
            await call(manager, "DELETE", "people/p1")
            await until(lambda: first.held() == ["p2"], what="p1 is erased")
        data.rename(tmp_path / "lost")
        site.clock.turn(minutes=5)
        data.mkdir(mode=0o700)
        backup = read_backup(content, identity=str(owner))
        keys = KeyStore(data)
        assert restore(backup, data, edge_id="edge-1", keys=keys, tombstones=(), at=site.clock()) == 2
        again = Box(box.folder, edge_id="edge-1", cable=box.cable, clock=site.clock)
        await again.cable.plug()
        async with running(again):
            await until(lambda: again.held() == ["p2"], what="a later policy judged what came back", within_s=30.0)
            await until(lambda: again.matched_at("gate") == {"p2"}, what="the other is matched again")
            assert again._keys.tombstones == {"p1"}


async def test_a_clock_set_back_by_a_year_is_told_and_ends_when_the_gateway_is_heard(tmp_path: Path) -> None:
    async with compound(tmp_path) as site:
        box = await site.box("edge-1")
        (box.folder / "data").mkdir(mode=0o700)
        async with Spool(box.folder / "data" / "spool.db") as spool:
            lived = Times(last=site.clock.unix() + 365 * 86_400.0, heard=None)
            await spool.remember(TIMES, msgspec.json.encode(lived))
        await box.cable.pull()
        async with running(box) as first:
            assert not first._clock.trusted()
            await until(lambda: first._spool.backlog == 1, what="the doubt is a fact")
            await first.cable.plug()
            await until(first._clock.trusted, what="the gateway's agreement")
            async with site.manager() as manager:
                told = await eventually(manager, "facts", lambda page: len(page["items"]) == 2)
            kinds = {fact["type"]: fact for fact in told["items"]}
            assert kinds.keys() == {"clock_doubted", "clock_trusted"}
            assert (kinds["clock_doubted"]["edge_id"], kinds["clock_doubted"]["why"]) == ("edge-1", "earlier")
            forged = ClockTrusted(id="f1", at=site.clock(), edge_id="edge-2")
            answer = await first._channel.request("POST", "/edge/v1/facts", content=msgspec.json.encode([forged]))
            assert answer.json() == {"committed": [], "rejected": ["f1"]}
