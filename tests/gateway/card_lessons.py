"""A lesson about cards as its tests begin it, with an edge that they play."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import msgspec
import pytest

from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from models.card_lessons import LearnCards
from models.link import Heard, Progress
from tests.gateway.households import add_flats, call
from tests.gateway.support import EDGE, SigningEdge
from tests.gateway.test_card_formats import holder
from tests.gateway.test_people import answer, next_command
from tests.models.test_card_lessons import CARDS, backwards, framed

WHY = {"Gatehouse-Reason": "new%20readers"}
READ = tuple(backwards(one) for one in CARDS)
NAMED = {"cards": [{"presented": n, "number": one} for n, one in enumerate(CARDS, start=1)]}
sqlite_only = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


async def hello(edge: SigningEdge) -> None:
    """Let the gateway hear an edge, which is online from then on."""
    assert (await edge.send("GET", "/edge/v1/policy")).status_code == 200


async def begun(manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, **body: Any) -> Any:
    """Begin a lesson; return it and the order as its edge gets it."""
    await hello(edge)
    made = await call(manager, "POST", "card-lessons", 202, json={"door_id": "gate"} | body, headers=WHY)
    command = await next_command(edge, runtime)
    assert isinstance(command, LearnCards)
    return made, command


async def tell(
    edge: SigningEdge, command: LearnCards, *readings: str, since: datetime | None = None, **more: Any
) -> bool:
    """Say as the edge what was read so far; return whether anybody still wants it."""
    told = Progress(
        command_id=command.id, at=edge.clock(), done=len(readings), wanted=command.cards,
        since=since or command.deadline, readings=readings, **more,
    )  # fmt: skip
    answered = await edge.send("POST", "/edge/v1/progress", told)
    assert answered.status_code == 200, answered.text
    return msgspec.json.decode(answered.content, type=Heard).wanted


async def gathered(manager: httpx.AsyncClient, runtime: Runtime, edge: SigningEdge, *readings: str) -> str:
    """Have cards gathered; return the path of the lesson."""
    made, command = await begun(manager, runtime, edge)
    assert await tell(edge, command, *(readings or READ))
    await answer(edge, command)
    return f"card-lessons/{made['id']}"


async def resident(manager: httpx.AsyncClient, runtime: Runtime, card: str = CARDS[0]) -> str:
    """Let Lin have a card at the gate; return its id."""
    add_flats(runtime)
    await call(manager, "POST", "people", 201, json={"id": "lin", "name": "Lin"})
    await call(manager, "POST", "people/lin/permits", 201, json={"doors": ["gate"]})
    given = await call(manager, "POST", "people/lin/credentials", 201, json={"kind": "card", "value": card})
    return str(given["id"])


def rows(runtime: Runtime) -> list[tuple[str, str, str]]:
    """Return what is on record about lessons, oldest first."""
    found = reversed(runtime.store.read_now(audit_rows))
    return [(row.actor, row.action, row.result) for row in found if row.action.startswith("card_format.learn")]


def everything(runtime: Runtime) -> str:
    """Return all that the database holds, as text."""

    def read(connection: Any) -> str:
        from gateway.store.tables import metadata

        return repr([tuple(row) for table in metadata.sorted_tables for row in connection.execute(table.select())])

    return runtime.store.read_now(read)


async def test_a_reader_that_begins_at_the_other_end_is_learnt_and_set_by_one_confirmation(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    held = await resident(manager, runtime)
    assert holder(runtime, READ[0]) is None
    made, command = await begun(manager, runtime, edge)
    assert (made["state"], made["wanted"], made["presented"]) == ("waiting", 2, [])
    assert (command.door_id, command.reader, command.cards) == ("gate", "in", 2)
    path = f"card-lessons/{made['id']}"
    assert await tell(edge, command)
    assert (await call(manager, "GET", path))["state"] == "running"
    assert await tell(edge, command, READ[0], again=1)
    shown = await call(manager, "GET", path)
    assert shown["presented"] == [{"kind": "hex", "length": 8, "parity": "unknown"}]
    assert shown["again"] == 1
    assert await tell(edge, command, *READ)
    await answer(edge, command)
    assert (await call(manager, "GET", path))["state"] == "confirmed"
    cards = [{"presented": 1, "credential_id": held}, {"presented": 2, "number": CARDS[1]}]
    told = await call(manager, "POST", f"{path}/propose", json={"cards": cards})
    assert [(one["notation"], one["reverse"], one["frame"]) for one in told["fits"]] == [("hex", True, 0)]
    refused = [one["why"] for one in told["tried"] if one["why"]]
    assert "presentation 1: it would be another card" in refused
    assert any("facility" in why for why in refused)
    done = await call(manager, "POST", f"{path}/set", json={"name": "Back gate", "id": "back"})
    assert (done["format"]["id"], done["reader"]["format"], done["reader"]["side"]) == ("back", "back", "in")
    assert holder(runtime, READ[0]) == "lin", "the card of the design opens on this reader now"
    assert holder(runtime, CARDS[0], reader="out") == "lin", "and on the one that reads it as it is kept"
    await call(manager, "POST", f"{path}/set", 409, json={})
    assert (await call(manager, "GET", path))["state"] == "forgotten"
    assert rows(runtime) == [
        ("u-manager", "card_format.learn", "sent"), (EDGE, "card_format.learn", "ok"),
        ("u-manager", "card_format.learn", "ok"),
    ]  # fmt: skip
    text = everything(runtime) + repr(runtime.readings.__dict__) + str(told) + str(done) + str(shown)
    assert not any(one in text for one in (*CARDS, *READ))


async def test_a_format_that_the_site_has_is_used_again_and_none_is_set_where_none_is_needed(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    await call(manager, "POST", "card-formats", 201, json={"id": "old", "name": "Old", "frame": 34, "reverse": True})
    await call(manager, "POST", "readers", 201, json={"id": "r1", "door_id": "gate", "kinds": ["card"]})
    path = await gathered(manager, runtime, edge, *(framed(one) for one in READ))
    shown = await call(manager, "GET", path)
    assert shown["reader_id"] == "r1"
    assert shown["presented"][0] == {"kind": "bits", "length": 34, "parity": "right"}
    await call(manager, "POST", f"{path}/propose", json=NAMED)
    done = await call(manager, "POST", f"{path}/set", json={"name": "Another"})
    assert (done["format"]["id"], done["reader"]["id"], done["reader"]["format"]) == ("old", "r1", "old")
    path = await gathered(manager, runtime, edge, *CARDS)
    told = await call(manager, "POST", f"{path}/propose", json=NAMED)
    assert [one["needed"] for one in told["fits"]] == [False]
    done = await call(manager, "POST", f"{path}/set", json={})
    assert (done["format"], done["reader"]["format"]) == (None, "")


@contextlib.asynccontextmanager
async def answering(edge: SigningEdge, runtime: Runtime, *readings: str) -> AsyncIterator[None]:
    """Play the edge of a lesson for the length of the block."""

    async def play() -> None:
        command = await next_command(edge, runtime)
        for many in range(len(readings) + 1):
            assert await tell(edge, command, *readings[:many])
        await answer(edge, command)

    await hello(edge)
    playing = asyncio.create_task(play())
    yield
    await asyncio.wait_for(playing, 10)
