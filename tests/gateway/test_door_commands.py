"""The commands about modes of doors, as a shell runs them against a served gateway with an operator's token."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import audit_rows
from gateway.store.edges import edge_identity
from gateway.store.places import mark_edge_devices_unseen, note_status
from models.errors import GatehouseError
from models.link import DoorStatus
from tests.gateway.support import Clock, SigningEdge, machine_token
from tests.gateway.test_edge_link import Obedient

Shell = Callable[..., Any]
WHY = ("--reason", "drill on Monday")


@pytest.fixture
def shell(url: str, runtime: Runtime, clock: Clock) -> Shell:
    """Return a function that runs `gatehouse door …` on a thread and returns what it printed."""
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock, role="operator")}

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["door", *arguments], env=environment)
        if isinstance(done.exception, GatehouseError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    return run


async def modes(shell: Shell) -> dict[str, str]:
    return {one["door_id"]: one["mode"] for one in msgspec.json.decode(await shell("modes", "a", "--json"))["items"]}


async def test_a_site_is_locked_down_and_evacuated_from_the_shell_and_back(shell: Shell, runtime: Runtime) -> None:
    told = await shell("lock-down", "a", *WHY)
    assert told.count("locked_down, does not follow") == 2, "nobody waits for a door, and none is said to follow"
    assert await modes(shell) == {"gate": "locked_down", "side": "locked_down"}
    await shell("evacuate", "a", "--door", "gate", *WHY)
    assert await modes(shell) == {"gate": "evacuating", "side": "locked_down"}
    await shell("end-lock-down", "a", *WHY)
    assert await modes(shell) == {"gate": "evacuating", "side": "normal"}
    await shell("end-evacuation", "a", *WHY)
    assert await modes(shell) == {"gate": "normal", "side": "normal"}
    rows = [row for row in await runtime.store.read(audit_rows) if row.action == "site.mode"]
    assert [row.detail["act"] for row in rows] == ["end_evacuation", "end_lock_down", "evacuate", "lock_down"]
    assert {row.detail["reason"] for row in rows} == {WHY[1]}


async def test_a_door_is_held_open_from_the_shell_and_released(shell: Shell, clock: Clock) -> None:
    until = (clock.at + timedelta(minutes=20)).isoformat()
    assert "held_open until" in await shell("hold", "gate", "--until", until, *WHY)
    assert await modes(shell) == {"gate": "held_open", "side": "normal"}
    assert "gate" in await shell("release", "gate", *WHY)
    assert await modes(shell) == {"gate": "normal", "side": "normal"}


async def test_a_door_is_unlocked_from_the_shell_and_a_refusal_names_the_order(shell: Shell, edge: SigningEdge) -> None:
    async with Obedient(edge):
        told = await shell("open", "gate", "--reason", "a parcel")
        assert "gate accepted, order " in told
        assert "gate accepted; " in await shell("order", told.split()[-1])
    async with Obedient(edge, state="refused", reason="locked_down"):
        with pytest.raises(GatehouseError, match="locked_down") as failed:
            await shell("open", "gate", "--reason", "a parcel")
    (named,) = re.findall(r"gatehouse door order (\S+)`", str(failed.value))
    assert "gate refused: locked_down" in await shell("order", named)


async def test_mistakes_about_modes_say_what_to_do(shell: Shell) -> None:
    for arguments, what in (
        (("lock-down", "b", *WHY), "not_found"),
        (("lock-down", "a", "--reason", ""), "reason"),
        (("hold", "gate", "--until", "2020-01-01T00:00:00Z", *WHY), "until"),
        (("evacuate", "a", *WHY, "--token", "gh_wrong"), "unauthenticated"),
    ):
        with pytest.raises(GatehouseError, match=what):
            await shell(*arguments)
    assert await modes(shell) == {"gate": "normal", "side": "normal"}


async def test_a_door_that_its_edge_cannot_serve_says_why_in_the_shell(
    shell: Shell, runtime: Runtime, *, edge: SigningEdge, clock: Clock
) -> None:
    def tell(connection: Connection, trouble: str | None) -> None:
        status = DoorStatus(
            door_id="gate", online=trouble is None, contact="closed", lock="locked", mode="normal", tamper=False,
            alarm="none", at=clock(), trouble=trouble,
        )  # fmt: skip
        identity = edge_identity(connection, edge.id)
        assert identity is not None
        note_status(connection, status, edge=identity)

    assert "has said nothing" in await shell("show", "gate")
    runtime.store.write_now(tell, "localhost:1883: the broker refused 'gate'")
    assert "not served: localhost:1883: the broker refused 'gate'" in await shell("show", "gate")
    assert (await shell("list", "--troubled")).splitlines() == [await shell("show", "gate")]
    runtime.store.write_now(tell, None)
    assert "closed, locked" in await shell("show", "gate")
    assert await shell("list", "--troubled") == "every door is served"
    runtime.store.write_now(mark_edge_devices_unseen, edge.id, at=clock())
    assert "not served: its edge is out of reach" in await shell("list")
    assert runtime.store.write_now(mark_edge_devices_unseen, edge.id, at=clock()) == [], "said once"


async def test_a_bypass_is_shown_wherever_its_door_is(shell: Shell) -> None:
    assert "bypassed" not in await shell("list")
    await shell("bypass", "gate", "--kind", "door_forced", "--minutes", "10", "--reason", "new hinges")
    listed = {line.split()[0]: line for line in (await shell("list")).splitlines()}
    assert "; door_forced bypassed until " in listed["gate"]
    assert listed["gate"].endswith(": new hinges")
    assert "bypassed" not in listed["side"]
    assert (await shell("show", "gate")) == listed["gate"]
    await shell("end-bypass", "gate")
    assert "bypassed" not in await shell("show", "gate")
