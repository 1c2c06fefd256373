"""The commands about people, as a shell runs them against a served gateway with a machine's token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.runtime import Runtime
from models.errors import GatehouseError
from tests.gateway.households import add_flats, policy_of, refusal
from tests.gateway.support import Clock, machine_token

Shell = Callable[..., Any]


@pytest.fixture
def shell(url: str, runtime: Runtime, clock: Clock) -> Shell:
    """Return a function that runs a command on a thread and returns what it printed."""
    add_flats(runtime)
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock)}

    async def run(*arguments: str, stdin: str = "") -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), input=stdin, env=environment)
        if isinstance(done.exception, GatehouseError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    return run


async def test_a_household_is_kept_from_the_shell(shell: Shell, runtime: Runtime) -> None:
    lin = await shell("person", "add", "Lin Yue", "--id", "lin", "--phone", "138 0000", "--external-id", "A-1")
    assert lin == "lin"
    await shell("person", "add", "Bao", "--id", "bao", "--born-on", "2020-05-01", "--flat", "f101")
    await shell("person", "guardian", "bao", "lin")
    await shell("person", "move-in", "f101", "lin", "--relation", "owner", "--reason", "新住户")
    assert refusal(runtime, "lin") is None
    card = await shell("person", "credential", "lin", "card", "--value", "7186A61E", "--label", "grey")
    pin = await shell("person", "credential", "lin", "pin", "--make-up")
    assert pin.isdigit()
    await shell("person", "credential", "lin", "pin", stdin="7391468\n")
    new = await shell("person", "replace", "lin", card, "--kind", "card", "--value", "AA01")
    assert new != card
    consent = ("--door", "gate", "--evidence", "folder 7")
    await shell("person", "consent", "bao", *consent, "--guardian", "lin")
    await shell("person", "refuse", "lin")
    with pytest.raises(GatehouseError, match="own_request"):
        await shell("person", "consent", "lin", *consent)
    given = await shell("person", "consent", "lin", *consent, "--own-request")
    await shell("person", "withdraw", "lin", given)
    await shell("person", "permit", "lin", "--group", "homes")
    await shell("person", "permit", "lin", "--door", "gate")
    await shell("person", "permit", "lin")
    assert (await shell("person", "qr", "lin", "--renew")).startswith("GH1.")
    shown = msgspec.json.decode(await shell("person", "show", "lin"))
    assert [one["state"] for one in shown["credentials"]].count("active") == 4
    threat = await shell("person", "credential", "lin", "pin", "--duress", stdin="8402957\n")
    again = await shell("person", "replace", "lin", threat, "--kind", "pin", stdin="9513068\n")
    assert [one.id for one in policy_of(runtime).credentials if one.duress] == [again]
    with pytest.raises(GatehouseError, match="only a PIN"):
        await shell("person", "credential", "lin", "card", "--value", "AA02", "--duress")
    assert (await shell("person", "move-out", "f101")).startswith("2 moved out, 2 of them")
    assert policy_of(runtime).credentials == ()


async def test_visitors_are_let_in_from_the_shell(shell: Shell, runtime: Runtime) -> None:
    made = await shell("visitor", "add", "2026-03-01T20:00:00Z", "--door", "gate", "--name", "Zhou", "--with-pin")
    pass_id, pin = made.split()
    assert pin.isdigit()
    assert (await shell("visitor", "qr", pass_id)).startswith("GH1.")
    assert [one.id for one in policy_of(runtime).passes] == [pass_id]
    await shell("visitor", "revoke", pass_id)
    assert policy_of(runtime).passes == ()


async def test_mistakes_say_what_to_do(shell: Shell) -> None:
    for arguments, what in (
        (("person", "credential", "lin", "card"), "number of the card"),
        (("person", "credential", "nobody", "pin", "--make-up"), "not_found"),
        (("person", "move-in", "nowhere", "lin"), "not_found"),
        (("person", "show", "lin", "--token", ""), "--token"),
        (("person", "show", "lin", "--token", "gh_wrong"), "unauthenticated"),
        (("visitor", "add", "tomorrow", "--door", "gate"), "valid_until"),
    ):
        with pytest.raises(GatehouseError, match=what):
            await shell(*arguments)
