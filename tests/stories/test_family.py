"""A family moves in, opens doors by card, PIN and face, moves out, is erased, and gets receipts that anybody can check."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from drivers.door import UnlockDoor
from gateway.store import Connection
from gateway.store.places import put_flat
from gateway.store.schedules import put_group
from gateway.store.tables import metadata
from models.people import Group
from models.places import Flat
from tests.gateway.households import call
from tests.stories.boxes import Box, running
from tests.stories.test_two_edges import CONSENT, Compound, compound, eventually, until

MOTHER, FATHER, CHILD = "p-mother", "p-father", "p-child"
NAMES = {MOTHER: "Wang Meiling", FATHER: "Chen Guowei", CHILD: "Chen Xiaoyu"}
CARD = "A1B2C3D4"


def build_flat(connection: Connection) -> None:
    """Write a flat whose people may pass the gate."""
    put_group(connection, Group(id="homes", site_id="a", name="Homes", doors=("gate",)))
    flat = Flat(id="f101", site_id="a", building="1", unit="1", room="101", keypad="101", groups=("homes",))
    put_flat(connection, flat)


async def move_in(manager: httpx.AsyncClient) -> str:
    """Let mother (card and PIN), father (nothing but his key) and child in, in one act; return the PIN."""
    mother = {
        "id": MOTHER, "name": NAMES[MOTHER], "born_on": "1988-05-04", "relation": "owner", "phone": "13912345678",
        "credentials": [{"kind": "card", "value": CARD}, {"kind": "pin"}],
    }  # fmt: skip
    father = {"id": FATHER, "name": NAMES[FATHER], "born_on": "1986-01-02"}
    child = {"id": CHILD, "name": NAMES[CHILD], "born_on": "2019-07-08", "guardians": [MOTHER]}
    done = await call(manager, "POST", "flats/f101/move-in", 201, json={"people": [mother, father, child]})
    pins = [held["pin"] for held in done["people"][0]["credentials"] if held["pin"]]
    assert len(pins) == 1, "a PIN that was made up is shown once"
    return str(pins[0])


async def shows(box: Box, kind: str, value: str, *, n: int) -> Any:
    """Present something at the gate and return what the door was told."""
    before = len(box.wires.wire.orders)
    box.asks(id=f"{kind}-{n}", door_id="gate", kind=kind, value=value)
    await until(lambda: len(box.wires.wire.orders) > before, what="an answer at the reader")
    return box.wires.wire.orders[-1]


async def gatehouse(*arguments: str) -> tuple[int, str]:
    """Run the command line and return its exit status and what it printed."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await asyncio.wait_for(child.communicate(), 60)
    return child.returncode or 0, printed.decode()


async def test_a_family_moves_in_lives_here_moves_out_and_is_erased_with_receipts(tmp_path: Path) -> None:
    async with compound(tmp_path) as site, site.manager() as manager, running(await site.box("edge-1")) as box:
        site.runtime.store.write_now(build_flat)
        object.__setattr__(site.runtime, "data_dir", tmp_path / "data")
        await until(lambda: box.version > (0, 0), what="the edge has a policy")
        pin = await move_in(manager)
        await they_open_the_gate(box, pin)
        await two_of_them_agree_to_a_face(site, manager, box)
        await they_move_out(manager, box, pin)
        await they_are_erased(site, manager, tmp_path)


def holders(box: Box) -> set[str]:
    """Return whose cards and PINs the decisions at the door know just now."""
    policy = box._admission._book.policy
    return set() if policy is None else {held.person_id for held in policy.credentials}


async def they_open_the_gate(box: Box, pin: str) -> None:
    await until(lambda: holders(box) == {MOTHER}, what="the edge knows the mother's card")
    assert isinstance(await shows(box, "card", CARD, n=1), UnlockDoor)
    assert isinstance(await shows(box, "pin", pin, n=1), UnlockDoor)
    assert not isinstance(await shows(box, "card", "04FFFFFF", n=2), UnlockDoor)


async def two_of_them_agree_to_a_face(site: Compound, manager: httpx.AsyncClient, box: Box) -> None:
    await call(
        manager, "PUT", f"people/{FATHER}/face", 422, content=b"\xff\xd8\xff", headers={"Content-Type": "image/jpeg"}
    )
    await site.consents(manager, MOTHER, "gate")
    alone = {**CONSENT, "doors": ["gate"]}
    await call(manager, "POST", f"people/{CHILD}/consents", 422, json=alone)
    await call(manager, "POST", f"people/{CHILD}/consents", 422, json={**alone, "guardian": FATHER})
    await call(manager, "POST", f"people/{CHILD}/consents", 201, json={**alone, "guardian": MOTHER})
    for person_id in (MOTHER, CHILD):
        await site.enrol(manager, person_id)
    await until(lambda: box.matched_at("gate") == {MOTHER, CHILD}, what="two faces are matched at the gate")
    told = await call(manager, "GET", f"people/{CHILD}/export")
    assert told["kept"]["guardianships"][0]["guardian_id"] == MOTHER
    assert [proof["edge_id"] for proof in told["kept"]["face_receipts"]] == ["edge-1"]
    assert "person.export" in {one["action"] for one in told["look_ups"]}


async def they_move_out(manager: httpx.AsyncClient, box: Box, pin: str) -> None:
    done = await call(manager, "POST", "flats/f101/move-out", json={})
    assert {one["person_id"]: one["left"] for one in done["people"]} == dict.fromkeys(NAMES, True)
    await until(lambda: box.matched_at("gate") == set(), what="nobody is matched", within_s=5.0)
    await until(lambda: box.held() == [], what="the templates are destroyed", within_s=5.0)
    await until(lambda: not holders(box), what="the edge knows that they left", within_s=5.0)
    assert not isinstance(await shows(box, "card", CARD, n=3), UnlockDoor)
    assert not isinstance(await shows(box, "pin", pin, n=3), UnlockDoor)


async def they_are_erased(site: Compound, manager: httpx.AsyncClient, folder: Path) -> None:
    for person_id in NAMES:
        await call(manager, "DELETE", f"people/{person_id}", headers={"Gatehouse-Reason": "moved out, asked for it"})
    for person_id in NAMES:
        await call(manager, "GET", f"people/{person_id}", 404)
        proof = await eventually(
            manager, f"erasures/{person_id}", lambda told: all(edge["state"] == "erased" for edge in told["edges"])
        )
        agreed = [] if person_id == FATHER else ["edge-1"]
        assert [edge["edge_id"] for edge in proof["edges"]] == agreed
        await the_receipt_verifies(proof, folder, key=site.runtime.gateway_key.public_key)
    kept = (folder / "gateway.db").read_bytes() + (folder / "gateway.db-wal").read_bytes()
    assert MOTHER.encode() in kept, "the opaque id stays in the audit log"
    assert (folder / "data" / "tombstones.log").read_text().count("\n") == len(NAMES)
    text = site.runtime.store.read_now(everything)
    assert [name for name in NAMES.values() if name in text] == []


def everything(connection: Connection) -> str:
    """Return all rows of all tables as text."""
    rows = {table.name: [list(row) for row in connection.execute(select(table))] for table in metadata.sorted_tables}
    return json.dumps(rows, default=str, ensure_ascii=False)


async def the_receipt_verifies(proof: dict[str, Any], folder: Path, *, key: str) -> None:
    file = folder / "proof.json"
    file.write_text(json.dumps(proof), "utf-8")
    code, printed = await gatehouse("verify-receipt", str(file), "--gateway-key", key)
    assert code == 0, printed
    proof["person_id"] = "p-somebody-else"
    file.write_text(json.dumps(proof), "utf-8")
    code, printed = await gatehouse("verify-receipt", str(file), "--gateway-key", key)
    assert code == 1, printed
    assert "fault" in printed
