"""An integrator at a line of card readers, by commands only: found, given their keys, tried, adopted as both sides of a door."""

from __future__ import annotations

import pytest

from gateway.rehearsal.actors import Remote, until
from gateway.rehearsal.processes import module_argv
from tests.stories.acting import StoryStage
from tests.stories.test_adoption import EDGE, WHY, Integrator, integrator

__all__ = ["integrator"]
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("mosquitto", "mosquitto-clients"),
    pytest.mark.timeout(180),
    pytest.mark.slow,
]


async def line_of(stage: StoryStage) -> tuple[str, Remote]:
    """Start a line with a reader on each side of a wall, in install mode; return its port and what reaches its wall."""
    doors = (word for side in ("outside", "inside") for word in ("--door", side))
    ready = await stage._start_child("line", module_argv("drivers", "simulate", "osdp", *doors))
    return str(ready["port"]), Remote("line", str(ready["control"]))


async def test_two_readers_of_a_line_become_the_two_sides_of_a_door(
    stage: StoryStage,
    integrator: Integrator,
) -> None:
    port, wall = await line_of(stage)
    found = (await integrator.says("device", "probe", port, "--edge", EDGE, *WHY))["items"]
    assert [(one["reach"], one["trouble"]) for one in found] == [("answers", "")] * 2
    first, second = (next(one["id"] for one in found if one["address"] == f"{port}#{at}") for at in (0, 1))
    for reader in (first, second):
        assert (await integrator.says("device", "key", reader, *WHY))["state"] == "confirmed"

    assert (await integrator.says("device", "try", first, "--signal", *WHY))["state"] == "confirmed"
    outside = (await wall.ask(act="status"))["doors"]["outside"]
    assert ("light green" in outside["told"], outside["unlocks"]) == (True, 0)
    assert (await integrator.says("device", "try", first, *WHY))["state"] == "confirmed"
    assert (await wall.ask(act="status"))["doors"]["outside"]["unlocks"] == 1

    wired = ("--strike", "0", "--input", "open=0", "--input", "exit=1")
    await integrator.says("device", "adopt", first, "--as", "annex-gate", "--name", "Annex", *wired, *WHY)
    await integrator.says("device", "adopt", second, "--door", "annex-gate", "--side", "out", *WHY)

    async def opens() -> bool:
        answer = await stage.manager.post("/api/v1/doors/annex-gate/unlock", json={"reason": "first day"})
        return answer.is_success

    await until(opens, what="the adopted door opens", within_s=40, every_s=1.0)
    assert (await wall.ask(act="status"))["doors"]["outside"]["unlocks"] >= 2
    asked = await wall.ask(door="inside", act="card", value="7186A61E")
    assert asked["feedback"] == "unknown_credential", "whoever stands inside is answered there"
