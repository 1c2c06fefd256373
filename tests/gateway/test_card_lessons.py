"""Card lessons as the gateway sees them: ordered, watched, named, set by one confirmation; and no number is kept anywhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import click
import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.readings import KEPT_FOR, LESSONS_MOST, Readings
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.edges import waiting_commands
from models.card_lessons import LearnCards
from models.errors import GatehouseError
from models.link import Heard, Progress
from tests.gateway.households import add_flats, call
from tests.gateway.support import EDGE, Clock, SigningEdge, machine_token
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


@sqlite_only
async def test_what_stands_in_the_way_is_said_and_nothing_is_set(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    path = await gathered(manager, runtime, edge, "08A1B2C3", "08D4E5F6")
    one_card = {"cards": [{"presented": n, "number": CARDS[0]} for n in (1, 2)]}
    assert (await call(manager, "POST", f"{path}/propose", json=one_card))["hint"] == "one_card_differs"
    told = await call(manager, "POST", f"{path}/propose", json=NAMED)
    assert (told["fits"], told["hint"]) == ([], "other_cards")
    await call(manager, "POST", f"{path}/set", 409, json={})
    for wrong in (
        {"cards": [{"presented": 3, "number": CARDS[0]}, NAMED["cards"][1]]},
        {"cards": [{"presented": 1}, NAMED["cards"][1]]},
        {"cards": [{"presented": 1, "number": "no number"}, NAMED["cards"][1]]},
        {"cards": NAMED["cards"][:1]},
        {"cards": [{"presented": 1, "number": CARDS[0], "format": "nothing"}, NAMED["cards"][1]]},
    ):
        refused = await manager.post(f"/api/v1/{path}/propose", json=wrong)
        assert (refused.status_code, CARDS[0] in refused.text) == (422, False), refused.text
    unknown = {"cards": [{"presented": 1, "credential_id": "cr-none"}, NAMED["cards"][1]]}
    await call(manager, "POST", f"{path}/propose", 404, json=unknown)


@sqlite_only
async def test_a_number_may_be_what_a_desk_reader_types(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    desk = {"id": "desk", "name": "Desk", "notation": "decimal", "width": 4, "reverse": True}
    await call(manager, "POST", "card-formats", 201, json=desk)
    path = await gathered(manager, runtime, edge)
    typed = [str(int(one, 16)) for one in READ]
    cards = [{"presented": n, "number": one, "format": "desk"} for n, one in enumerate(typed, start=1)]
    told = await call(manager, "POST", f"{path}/propose", json={"cards": cards})
    assert [one["reverse"] for one in told["fits"]] == [True]


@sqlite_only
async def test_cancelling_forgets_and_reaches_the_edge_at_its_next_word(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    made, command = await begun(manager, runtime, edge)
    path = f"card-lessons/{made['id']}"
    assert await tell(edge, command, READ[0])
    await call(manager, "DELETE", path, 204)
    assert runtime.readings.of(made["id"], at=runtime.clock()) is None
    assert not await tell(edge, command, *READ)
    assert runtime.readings.of(made["id"], at=runtime.clock()) is None, "nor is what comes late kept"
    shown = await call(manager, "GET", path)
    assert (shown["state"], shown["presented"]) == ("cancelled", [])
    await answer(edge, command, state="refused", reason="cancelled")
    await call(manager, "DELETE", path, 204)
    assert [row[1:] for row in rows(runtime)] == [
        ("card_format.learn", "sent"), ("card_format.learn_cancel", "ok"), ("card_format.learn", "cancelled"),
    ]  # fmt: skip
    await call(manager, "POST", f"{path}/propose", 409, json=NAMED)


@sqlite_only
async def test_a_lesson_at_which_nobody_looks_and_one_whose_edge_was_restarted_are_called_off(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    made, command = await begun(manager, runtime, edge)
    clock.turn(seconds=12)
    await call(manager, "GET", f"card-lessons/{made['id']}")
    clock.turn(seconds=14)
    assert await tell(edge, command, READ[0]), "somebody looked 14 s ago"
    clock.turn(seconds=2)
    assert not await tell(edge, command, *READ)
    shown = await call(manager, "GET", f"card-lessons/{made['id']}")
    assert (shown["state"], shown["reason"]) == ("cancelled", "alone")
    assert runtime.readings.of(made["id"], at=clock()) is None
    await answer(edge, command, state="refused", reason="cancelled")
    made, command = await begun(manager, runtime, edge)
    assert await tell(edge, command, READ[0])
    assert not await tell(edge, command, since=clock()), "another run has lost what was gathered"
    shown = await call(manager, "GET", f"card-lessons/{made['id']}")
    assert (shown["state"], shown["reason"]) == ("cancelled", "restarted")
    assert "restarted" in shown["detail"]


@sqlite_only
async def test_what_was_read_is_forgotten_when_nobody_asks_for_it(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    path = await gathered(manager, runtime, edge)
    clock.turn(seconds=KEPT_FOR.total_seconds() - 1)
    assert (await call(manager, "GET", path))["state"] == "confirmed"
    clock.turn(seconds=KEPT_FOR.total_seconds())
    runtime.readings.forget_old(at=clock())
    assert (await call(manager, "GET", path))["state"] == "forgotten"
    late = await manager.post(f"/api/v1/{path}/propose", json=NAMED)
    assert (late.status_code, "begin again" in late.text) == (409, True)


@sqlite_only
async def test_what_was_proposed_stands_while_more_is_read(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    made, command = await begun(manager, runtime, edge, cards=3)
    assert await tell(edge, command, *READ)
    path = f"card-lessons/{made['id']}"
    assert len((await call(manager, "POST", f"{path}/propose", json=NAMED))["fits"]) == 1
    assert await tell(edge, command, *READ, "11223344")
    done = await call(manager, "POST", f"{path}/set", json={"name": "Back gate"})
    assert done["format"]["reverse"] is True
    assert not await tell(edge, command, *READ, "11223344"), "the edge hears that it is over"


def test_only_so_many_lessons_are_held(clock: Clock) -> None:
    readings = Readings()
    for number in range(LESSONS_MOST + 1):
        clock.turn(seconds=1)
        readings.hear(Progress(command_id=f"l{number}", at=clock(), done=0, wanted=2, since=clock()), at=clock())
    assert readings.of("l0", at=clock()) is None
    assert readings.of("l1", at=clock()) is not None


@sqlite_only
async def test_a_lesson_that_cannot_be_is_refused_with_what_to_do(
    edge: SigningEdge, manager: httpx.AsyncClient, *, other: httpx.AsyncClient, operator: httpx.AsyncClient,
    runtime: Runtime, clock: Clock,
) -> None:  # fmt: skip
    async def refused(body: dict[str, Any], status: int, **headers: str) -> str:
        told = await manager.post("/api/v1/card-lessons", json={"door_id": "gate"} | body, headers=WHY | headers)
        assert told.status_code == status, told.text
        return str(told.json()["detail"])

    await hello(edge)
    assert "say why" in await refused({}, 422, **{"Gatehouse-Reason": ""})
    await refused({"door_id": "nowhere"}, 404)
    assert "no reader of cards on side 'out'" in await refused({"reader": "out"}, 422)
    assert "no reader of cards 'r9'" in await refused({"reader_id": "r9"}, 422)
    for key in ("r1", "r2"):
        await call(manager, "POST", "readers", 201, json={"id": key, "door_id": "gate", "kinds": ["card"]})
    assert "r1, r2" in await refused({}, 422)
    for body in ({"cards": 1}, {"cards": 6}, {"for_s": 5}, {"for_s": 121}):
        await refused(body, 422)
    await call(other, "POST", "card-lessons", 404, json={"door_id": "gate"}, headers=WHY)
    await call(operator, "POST", "card-lessons", 403, json={"door_id": "gate"}, headers=WHY)
    made, command = await begun(manager, runtime, edge, reader_id="r1")
    await call(other, "GET", f"card-lessons/{made['id']}", 404)
    await call(other, "DELETE", f"card-lessons/{made['id']}", 404)
    await answer(edge, command, state="refused", reason="unsupported", detail="this edge does not know it: update it")
    shown = await call(manager, "GET", f"card-lessons/{made['id']}")
    assert (shown["state"], shown["reason"], "update it" in shown["detail"]) == ("refused", "unsupported", True)
    clock.turn(minutes=2)
    assert "is away" in await refused({"reader_id": "r1"}, 409)


@sqlite_only
async def test_a_door_whose_edge_was_never_set_up_says_so(manager: httpx.AsyncClient) -> None:
    told = await manager.post("/api/v1/card-lessons", json={"door_id": "gate"}, headers=WHY)
    assert (told.status_code, "not set up yet" in told.text) == (409, True)


@sqlite_only
async def test_an_edge_tells_readings_of_its_lessons_only(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    _, command = await begun(manager, runtime, edge)
    good = {"command_id": command.id, "at": clock().isoformat(), "since": clock().isoformat(), "done": 1, "wanted": 2}
    wrongs: tuple[dict[str, Any], ...] = (
        {"readings": []}, {"readings": ["1", "2"]}, {"readings": ["x" * 65]}, {"readings": ["\n"]}, {"readings": [""]},
        {"readings": [READ[0]], "again": -1}, {"readings": [READ[0]], "since": "1999-01-01T00:00:00Z"},
    )  # fmt: skip
    for wrong in wrongs:
        told = await edge.send("POST", "/edge/v1/progress", good | wrong)
        assert (told.status_code, READ[0] in told.text) == (422, False), wrong
    assert runtime.readings.of(command.id, at=clock()) is None


# ---- from a shell -----------------------------------------------------------------------------------------------------

Shell = Callable[..., Any]


@pytest.fixture
async def shell(url: str, runtime: Runtime, clock: Clock) -> Shell:
    """Return a function that runs `card learn` on a thread, as somebody at a terminal who types `stdin`."""
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock)}

    async def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
        words = ["card", "learn", "--reason", "new readers", *arguments]
        done = await asyncio.to_thread(CliRunner().invoke, app, words, input=stdin, env=environment)
        if isinstance(done.exception, GatehouseError | click.Abort):
            raise done.exception
        return done.exit_code, done.output

    return run


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


@sqlite_only
async def test_a_shell_shows_what_is_read_asks_for_the_cards_and_sets_the_format(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, shell: Shell
) -> None:
    held = await resident(manager, runtime)
    async with answering(edge, runtime, *READ):
        code, said = await shell(
            "--door", "gate", "--save-as", "Back gate", "--id", "back", stdin=f"credential {held}\n{CARDS[1]}\ny\n"
        )
    assert code == 0, said
    assert "card 2 of 2: 8 hexadecimal digits" in said
    assert "fits: hexadecimal, bytes reversed" in said
    assert "not without a format: presentation 1: it would be another card" in said
    assert "reads by back" in said
    assert READ[0] not in said
    assert holder(runtime, READ[0]) == "lin"


@sqlite_only
async def test_a_shell_that_says_no_or_is_left_calls_the_lesson_off(
    edge: SigningEdge, *, runtime: Runtime, shell: Shell
) -> None:
    for typed in (f"{CARDS[0]}\n{CARDS[1]}\nn\n", f"{CARDS[0]}\n"):
        async with answering(edge, runtime, *READ):
            code, said = await shell("--door", "gate", stdin=typed)
        assert code != 0, said
        assert not runtime.readings._held
        assert runtime.store.read_now(waiting_commands, EDGE, at=runtime.clock()) == []
    async with answering(edge, runtime, *READ):
        with pytest.raises(GatehouseError, match="check which card each presentation was"):
            await shell("--door", "gate", "--yes", stdin="11223344\n55667788\n")
    assert not runtime.readings._held


@sqlite_only
async def test_a_shell_says_why_there_is_no_lesson(edge: SigningEdge, *, shell: Shell, runtime: Runtime) -> None:
    await hello(edge)
    with pytest.raises(GatehouseError, match="nowhere"):
        await shell("--door", "nowhere")
    with pytest.raises(GatehouseError, match="no reader of cards 'r9'"):
        await shell("--door", "gate", "--reader", "r9")

    async def too_old() -> None:
        command = await next_command(edge, runtime)
        await answer(edge, command, state="refused", reason="unsupported", detail="this edge cannot do that: update it")

    playing = asyncio.create_task(too_old())
    with pytest.raises(GatehouseError, match="update it"):
        await shell("--door", "gate")
    await playing
