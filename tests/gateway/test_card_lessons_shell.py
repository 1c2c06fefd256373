"""Card lessons from a shell: what is read is shown, the cards are asked for, one confirmation sets the format."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import click
import httpx
import pytest
import yaml
from sqlalchemy import update
from typer.testing import CliRunner

from gateway.cli import app
from gateway.runtime import Runtime
from gateway.store.edges import waiting_commands
from gateway.store.tables import doors
from models.errors import GatehouseError
from tests.gateway.card_lessons import (
    READ,
    answering,
    hello,
    resident,
    sqlite_only,
)
from tests.gateway.support import EDGE, Clock, SigningEdge, machine_token
from tests.gateway.test_card_formats import holder
from tests.gateway.test_people import answer, next_command
from tests.models.test_card_lessons import CARDS

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
async def test_a_slip_is_asked_again_and_a_reader_of_the_site_file_gets_lines_for_it(
    edge: SigningEdge, *, runtime: Runtime, shell: Shell
) -> None:
    runtime.store.write_now(lambda c: c.execute(update(doors).where(doors.c.id == "gate").values(seeded=True)))
    typed = f"7186A61G\n{CARDS[0]}\n{CARDS[1]}\n"
    async with answering(edge, runtime, *READ):
        code, said = await shell("--door", "gate", "--save-as", "Back gate", "--id", "back", stdin=typed)
    assert code == 0, said
    assert said.index("the site file describes this reader") < said.index("card 1 of 2")
    assert "card 1: " in said
    assert "type it again" in said
    lines = said[said.index("card_formats:") :]
    assert yaml.safe_load(lines) == {"card_formats": [{"id": "back", "name": "Back gate", "reverse": True}]}
    assert "`format: back` at reader 'in' of door gate" in said
    assert not runtime.readings._held


@sqlite_only
async def test_typed_lines_that_cannot_be_read_are_named(shell: Shell) -> None:
    for typed, what in (("1EA68671;7186A61E\n", "line 1: write READING NUMBER"), ("1 2\nAB XY\n", "line 2: ")):
        with pytest.raises(GatehouseError, match=what) as told:
            await shell(stdin=typed)
        assert "1EA68671" not in str(told.value)


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
