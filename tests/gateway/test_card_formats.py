"""Card formats through the API and the shell: kept while a reader names them, in the policy of its edge only, learnt from cards."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from edge.credentials import Book
from gateway.cli import app
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from models.access import Request
from models.errors import GatehouseError
from models.policy import Policy
from tests.gateway.households import add_flats, call, policy_of
from tests.gateway.placing import API, told
from tests.gateway.support import Clock, machine_token

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
REVERSED = {"id": "back", "name": "Back gate", "reverse": True}


def holder(runtime: Runtime, reading: str, *, reader: str = "in") -> str | None:
    """Return whose card an edge takes a reading at the gate for, by the policy's bytes."""
    policy = msgspec.json.decode(msgspec.json.encode(policy_of(runtime)), type=Policy)
    asked = Request(id="r", door_id="gate", kind="card", value=reading, reader=reader)  # type: ignore[arg-type]
    return Book.of(policy).find(asked, at=AT, clock_trusted=True)[0].person_id


async def test_one_card_opens_whatever_reader_reads_it(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    add_flats(runtime)
    await call(manager, "POST", "people", 201, json={"id": "lin", "name": "Lin"})
    await call(manager, "POST", "people/lin/permits", 201, json={"doors": ["gate"]})
    await call(manager, "POST", "people/lin/credentials", 201, json={"kind": "card", "value": "7186A61E"})
    await call(manager, "POST", "card-formats", 201, json=REVERSED)
    await call(manager, "POST", "card-formats", 201, json={"id": "spare", "name": "Spare", "notation": "decimal"})
    assert policy_of(runtime).card_formats == (), "no reader of this edge names one"
    reader = {"id": "out-1", "door_id": "gate", "side": "out", "kinds": ["card"], "format": "back"}
    await call(manager, "POST", "readers", 201, json=reader)
    await call(manager, "POST", "readers", 201, json={"id": "in-1", "door_id": "gate", "kinds": ["card"]})
    assert [one.id for one in policy_of(runtime).card_formats] == ["back"]
    assert holder(runtime, "7186A61E") == "lin", "a number from before formats"
    assert holder(runtime, "1EA68671", reader="out") == "lin"
    assert (holder(runtime, "1EA68671"), holder(runtime, "7186A61E", reader="out")) == (None, None)
    second = {"id": "in-2", "door_id": "gate", "side": "in", "kinds": ["card"], "format": "back"}
    await call(manager, "POST", "readers", 201, json=second)
    assert [holder(runtime, one) for one in ("7186A61E", "1EA68671")] == ["lin", "lin"], "two readers on one side"


async def test_a_card_is_given_as_a_desk_reader_reads_it(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    add_flats(runtime)
    await call(manager, "POST", "people", 201, json={"id": "lin", "name": "Lin"})
    await call(manager, "POST", "people/lin/permits", 201, json={"doors": ["gate"]})
    desk = {"id": "desk", "name": "Desk", "notation": "decimal", "width": 4, "reverse": True}
    await call(manager, "POST", "card-formats", 201, json=desk)
    given = {"kind": "card", "value": "0514229873", "format": "desk"}
    await call(manager, "POST", "people/lin/credentials", 201, json=given)
    assert holder(runtime, "7186A61E") == "lin"
    twice = await manager.post(f"{API}/people/lin/credentials", json={"kind": "card", "value": "7186A61E"})
    assert twice.status_code == 409, "the same card in another writing"
    unknown = await manager.post(f"{API}/people/lin/credentials", json=given | {"format": "nothing"})
    assert (unknown.status_code, "nothing" in told(unknown)) == (422, True)
    wrong = await manager.post(f"{API}/people/lin/credentials", json=given | {"value": "71 86 A6 1E"})
    assert (wrong.status_code, "A6" in wrong.text) == (422, False)


async def test_a_format_that_a_reader_names_stays(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, runtime: Runtime
) -> None:
    made = await call(manager, "POST", "card-formats", 201, json=REVERSED)
    assert (made["site_id"], made["version"], made["seeded"]) == ("a", 1, False)
    await call(manager, "POST", "card-formats", 409, json=REVERSED)
    await call(manager, "POST", "readers", 201, json={"id": "in-1", "door_id": "side", "format": "back"})
    in_use = await manager.delete(f"{API}/card-formats/back")
    assert (in_use.status_code, "a reader" in told(in_use)) == (409, True)
    nowhere = await manager.patch(f"{API}/readers/in-1", json={"format": "nothing"})
    assert (nowhere.status_code, "nothing" in told(nowhere)) == (422, True)
    await call(manager, "PATCH", "card-formats/back", json={"frame": 34}, headers={"If-Match": '"1"'})
    await call(manager, "PATCH", "card-formats/back", 409, json={"frame": 26}, headers={"If-Match": '"1"'})
    unfit = await manager.patch(f"{API}/card-formats/back", json={"width": 3})
    assert (unfit.status_code, "leave it out" in told(unfit)) == (422, True)
    for method, path in (("GET", "card-formats/back"), ("DELETE", "card-formats/back")):
        await call(other, method, path, 404)
    assert (await call(other, "GET", "card-formats"))["items"] == []
    await call(manager, "PATCH", "readers/in-1", json={"format": ""})
    await call(manager, "DELETE", "card-formats/back", 204)
    actions = [row.action for row in await runtime.store.read(audit_rows) if row.action.startswith("card_format")]
    assert actions == ["card_format.remove", "card_format.change", "card_format.add"]


async def test_known_cards_teach_a_format_and_no_number_is_kept(
    manager: httpx.AsyncClient, url: str, *, runtime: Runtime, clock: Clock
) -> None:
    cards = [{"reading": "1EA68671", "number": "7186A61E"}, {"reading": "44332211", "number": "11223344"}]
    (found,) = (await call(manager, "POST", "card-formats/learn", json={"cards": cards}))["items"]
    assert (found["reverse"], found["notation"], found["frame"]) == (True, "hex", 0)
    cards[1]["number"] = "55667788"
    assert (await call(manager, "POST", "card-formats/learn", json={"cards": cards}))["items"] == []
    await call(manager, "POST", "card-formats/learn", 422, json={"cards": [cards[0], cards[0]]})
    bad = await manager.post(f"{API}/card-formats/learn", json={"cards": [cards[0], cards[0] | {"number": "x7186"}]})
    assert (bad.status_code, "7186" in bad.text) == (422, False)
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock)}

    async def shell(*arguments: str, stdin: str = "", group: str = "card") -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, [group, *arguments], input=stdin, env=environment)
        if isinstance(done.exception, GatehouseError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    lesson = "018,20554 12504A\n018,20555 12504B\n"
    assert await shell("learn", stdin=lesson) == "facility code and number"
    assert await shell("learn", "--save-as", "Old gate", "--id", "old", stdin=lesson) == "old: facility code and number"
    assert await shell("add", "Desk", "--id", "desk", "--frame", "34", "--reverse", "--keep", "3") == "desk"
    listed = await shell("list")
    assert "Desk: hexadecimal, Wiegand 34, bytes reversed, last 3 bytes kept" in listed
    await call(manager, "POST", "people", 201, json={"id": "lin", "name": "Lin"})
    await call(manager, "POST", "people/lin/permits", 201, json={"doors": ["gate"]})
    given = ("credential", "lin", "card", "--value", "-", "--format", "old")
    await shell(*given, stdin="018,20554\n", group="person")
    assert holder(runtime, "12504A") == "lin", "held to a desk reader that types facility code and number"
    await shell("remove", "desk")
    assert "desk" not in await shell("list")
    with pytest.raises(GatehouseError, match="no format reads"):
        await shell("learn", stdin="1EA68671 7186A61E\n44332211 55667788\n")
    assert "7186" not in msgspec.json.encode(await runtime.store.read(audit_rows)).decode()
