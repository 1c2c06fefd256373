"""Door policies from the gateway's API to a reader: set by a manager, in force at an edge, told to the desk."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from drivers.door import GiveFeedback, SetMode, UnlockDoor, Warn
from models.policy import Policy
from models.reports import Presence, Snapshot
from tests.edge.doubles import MemoryWire, event, now
from tests.gateway.households import call
from tests.stories.boxes import Box, running
from tests.stories.test_two_edges import Compound, compound, eventually, until

CARDS = {"p1": "A1", "p2": "A2"}
DOORS = ("gate", "side")
_numbers = itertools.count(1)


@dataclass
class Porch:
    """Two doors of an edge, the people who may pass them, and the manager who says how."""

    site: Compound
    manager: httpx.AsyncClient
    box: Box
    seq: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DOORS, 0))

    @property
    def wire(self) -> MemoryWire:
        return self.box.wires.wire

    async def rule(self, *doors: str, **rules: Any) -> None:
        """Change how doors are configured, and wait until their edge does so."""
        for door_id in doors:
            await call(self.manager, "PATCH", f"doors/{door_id}/settings", json=rules)

        def ruled(policy: Policy) -> bool:
            meant = [door for door in policy.doors if door.id in doors]
            return all(getattr(door, name) == value for door in meant for name, value in rules.items())

        await self.knows(ruled)

    async def knows(self, holds: Callable[[Policy], bool]) -> None:
        """Wait until something holds of the policy that is in force at the edge."""

        def in_force() -> bool:
            policy = self.box._admission._book.policy
            return policy is not None and holds(policy)

        await until(in_force, what="the edge knows")

    async def ask(self, door_id: str, kind: str = "card", value: str | None = None, *, reader: str = "in") -> str:
        """Let somebody act at a reader; return how that was answered there."""
        attempt = f"r{next(_numbers)}"
        self.box.asks(id=attempt, door_id=door_id, kind=kind, value=value, reader=reader)
        return await self.answer(attempt)

    async def answer(self, attempt: str) -> str:
        def answers() -> list[Any]:
            orders = self.wire.orders
            return [o for o in orders if isinstance(o, UnlockDoor | GiveFeedback) and o.attempt == attempt]

        await until(lambda: bool(answers()), what="an answer at the reader")
        return "unlocked" if isinstance(answers()[0], UnlockDoor) else str(answers()[0].reason)

    async def happens(self, door_id: str, *kinds: str) -> None:
        """Let a door report events, one after another."""
        for kind in kinds:
            self.seq[door_id] += 1
            seq = self.seq[door_id]
            self.wire.say(door_id, event(seq, kind))
            await until(lambda n=seq: (door_id, n) in self.wire.acknowledged, what=kind)  # type: ignore[misc]

    async def alert(self, kind: str, condition: str = "active") -> dict[str, Any]:
        """Wait until the desk sees an alert of a kind in a condition."""

        def found(page: Any) -> list[dict[str, Any]]:
            return [one for one in page["items"] if (one["kind"], one["condition"]) == (kind, condition)]

        page = await eventually(self.manager, "alerts?status=all", lambda page: bool(found(page)))
        return found(page)[0]


def settle(wire: MemoryWire, seq: dict[str, int]) -> None:
    """Let every door say that it is there, closed and locked."""
    for door_id in DOORS:
        wire.say(door_id, Presence(at=now(), online=True))
        wire.say(door_id, Snapshot(at=now(), event_seq=seq[door_id], contact="closed", lock="locked"))


@contextlib.asynccontextmanager
async def porch(folder: Path) -> AsyncIterator[Porch]:
    """Serve a gateway and an edge with two doors and two residents."""
    async with compound(folder) as site, site.manager() as manager, running(await site.box("edge-1")) as box:
        await until(lambda: box.version > (0, 0), what="the edge has a policy")
        opened = Porch(site, manager, box)
        for person_id, card in CARDS.items():
            await site.resident(manager, person_id, "gate", card=card)
        await opened.knows(lambda policy: len(policy.credentials) == len(CARDS))
        settle(box.wires.wire, opened.seq)
        await until(lambda: len(box.wires.wire.acknowledged) >= 2 * len(DOORS), what="the doors are known")
        yield opened


async def test_who_is_made_to_open_has_a_pin_that_calls_for_help_in_silence(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        threat = {"kind": "pin", "value": "7719042", "duress": True}
        await call(at.manager, "POST", "people/p1/credentials", 201, json=threat)
        await at.knows(lambda policy: any(one.duress for one in policy.credentials))
        assert await at.ask("gate", "pin", "7719042") == "unlocked"
        alert = await at.alert("duress")
        assert (alert["severity"], alert["place"]["door_id"]) == ("urgent", "gate")


async def test_nobody_comes_in_twice_and_everybody_gets_out(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        refused = await at.manager.patch("/api/v1/doors/gate/settings", json={"passback": "hard"})
        assert (refused.status_code, "either side" in refused.text) == (422, True)
        for side in ("in", "out"):
            made = await call(
                at.manager, "POST", "readers", 201, json={"door_id": "gate", "side": side, "kinds": ["card"]}
            )
        await at.rule("gate", passback="hard")
        kept = await at.manager.delete(f"/api/v1/readers/{made['id']}")
        assert (kept.status_code, "either side" in kept.text) == (422, True)
        assert await at.ask("gate", value="A1") == "unlocked"
        await at.happens("gate", "opened", "closed")
        assert await at.ask("gate", value="A1") == "passback"
        assert await at.ask("gate", value="A1", reader="out") == "unlocked"
        assert await at.ask("gate", value="A1") == "unlocked"


async def test_a_sluice_opens_one_door_and_a_vault_wants_two_people(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        await at.rule(*DOORS, interlock="sluice")
        assert await at.ask("gate", value="A1") == "unlocked"
        assert await at.ask("side", value="A2") == "interlocked"
        await at.happens("gate", "opened", "closed")
        assert await at.ask("side", value="A2") == "unlocked"
        await at.rule("gate", interlock="", two_person=True)
        assert await at.ask("gate", value="A1") == "awaits_second_person"
        assert await at.ask("gate", value="A2") == "unlocked"


async def test_a_card_and_the_pin_of_its_holder_open_together_and_neither_alone(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        refused = await at.manager.patch("/api/v1/doors/gate/settings", json={"factors": ["card+pin", "card"]})
        assert (refused.status_code, "card+pin goes with" in refused.text) == (422, True)
        await call(at.manager, "POST", "people/p1/credentials", 201, json={"kind": "pin", "value": "7719042"})
        await at.knows(lambda policy: any(one.kind == "pin" for one in policy.credentials))
        await at.rule("gate", factors=("card+pin",))
        assert await at.ask("gate", value="A2") == "awaits_pin"
        assert await at.ask("gate", "pin", "7719042") == "unknown_credential", "it is the PIN of somebody else"
        assert await at.ask("gate", value="A1") == "awaits_pin"
        assert await at.ask("gate", "pin", "7719042") == "unlocked"
        page = await eventually(at.manager, "facts?type=access_granted", lambda page: bool(page["items"]))
        assert [(fact["method"], fact["person_id"]) for fact in page["items"]] == [("card+pin", "p1")]


async def test_a_door_stands_unlocked_from_the_first_person_on(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        day = {"id": "day", "name": "Day", "windows": [{"from_time": "00:00", "until_time": "00:00"}]}
        await call(at.manager, "POST", "schedules", 201, json=day)
        await at.rule("gate", free_schedule_id="day", first_person=True)
        assert await at.ask("gate", value="BAD") == "unknown_credential"
        assert await at.ask("gate", value="A1") == "unlocked"

        def told() -> list[str]:
            return [o.mode for o in at.wire.orders if isinstance(o, SetMode) and o.door_id == "gate"]

        await until(lambda: "held_open" in told(), what="the door is told to stand unlocked")


async def test_a_power_cut_is_one_alert_until_every_door_is_back(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        for door_id in DOORS:
            await at.happens(door_id, "mains_lost")
        alert = await at.alert("power_cut")
        assert (alert["severity"], alert["count"], alert["place"]["name"]) == ("major", 1, "edge-1")
        await at.happens("gate", "mains_back")
        await at.happens("side", "battery_low")
        assert (await at.alert("battery_low"))["place"]["door_id"] == "side"
        assert (await at.alert("power_cut"))["id"] == alert["id"], "one door is still dark"
        await at.happens("side", "mains_back")
        assert (await at.alert("power_cut", "cleared"))["id"] == alert["id"]


async def test_a_door_that_is_left_open_warns_first_and_then_tells_the_desk(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        await at.rule("gate", held_open_s=4)
        assert await at.ask("gate", value="A1") == "unlocked"
        await at.happens("gate", "opened")
        await at.alert("door_held_open")
        assert [order.reason for order in at.wire.orders if isinstance(order, Warn)] == ["held_soon"]
        await at.happens("gate", "closed")
        await at.alert("door_held_open", "cleared")


async def test_who_rings_is_let_in_or_sent_away_by_the_desk(tmp_path: Path) -> None:
    async with porch(tmp_path) as at:
        assert await at.ask("gate", "call") == "unsupported"
        station = {"door_id": "gate", "kinds": ["call"], "name": "Station"}
        await call(at.manager, "POST", "readers", 201, json=station)
        await at.knows(lambda policy: any("call" in one.kinds for door in policy.doors for one in door.readers))
        assert await at.ask("gate", "call") == "calling"
        alert = await at.alert("door_call")
        assert (alert["severity"], alert["place"]["door_id"]) == ("info", "gate")
        await call(at.manager, "POST", "doors/gate/unlock", json={"reason": "a parcel"})
        assert (await at.alert("door_call", "cleared"))["id"] == alert["id"]
        assert await at.ask("gate", "call") == "calling"
        second = await at.alert("door_call")
        await call(at.manager, "POST", "doors/gate/refuse-call", json={"reason": "a hawker"})
        await eventually(
            at.manager, "alerts?status=all",
            lambda page: any(one["id"] == second["id"] and one["condition"] == "cleared" for one in page["items"]),
        )  # fmt: skip
        told = [order.reason for order in at.wire.orders if isinstance(order, GiveFeedback)]
        assert told[-1] == "call_refused"
        gone = await at.manager.post("/api/v1/doors/gate/refuse-call", json={"reason": "a hawker"})
        assert gone.status_code == 409
