"""A visitor at a real door: broker, worker and simulated door as processes, without a gateway, killed in between."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from starlette.responses import Response

from drivers.mqtt.habits import Outcome
from tests.edge.doubles import until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.rig import Rig, open_rig
from tests.edge.visitors import PIN, VISITOR_PIN, compound, ticket, visitor


async def test_a_pass_is_used_as_often_as_it_says_without_a_gateway_and_through_kill_9(tmp_path: Path) -> None:
    given = compound(visitor(uses=2))
    async with GatewayDouble(given) as gateway, open_rig(tmp_path, gateway, door_ids=("d1", "d2")) as rig:
        await until(lambda: any(len(s.doors) == 2 and all(d.online for d in s.doors) for s in gateway.statuses))
        assert (await show(rig, "qr", ticket("v1"))).unlocked
        await until(lambda: len(gateway.of("access_granted")) == 1, what="the first use at the gateway")
        gateway.fail = lambda _request, _body: Response(status_code=500)
        await restart(rig)
        assert (await show(rig, "pin", VISITOR_PIN, "d2")).unlocked
        await restart(rig)
        assert (await show(rig, "qr", ticket("v1"))).feedback == "used_up"
        assert (await show(rig, "flat_pin", f"1-101#{PIN}")).unlocked, "residents come and go"
        assert (await show(rig, "qr", ticket("qr-p1", "credential"))).unlocked
        gateway.fail = lambda _request, _body: None
        await until(lambda: {"flat_pin", "qr"} <= {fact["method"] for fact in residents(gateway)}, limit_s=30)
        first = gateway.of("access_granted")[0]
        assert (first["pass_id"], first.get("person_id")) == ("v1", None)
        assert "used_up" in {fact["reason"] for fact in gateway.of("access_denied")}
        everything = str(gateway.facts) + "\n".join(rig.worker.lines)
        assert not [value for value in (PIN, VISITOR_PIN, "GH1.") if value in everything]


def residents(gateway: GatewayDouble) -> list[dict[str, Any]]:
    """Return the passages of residents that the gateway has heard of."""
    return [fact for fact in gateway.of("access_granted") if fact.get("person_id") == "p1"]


async def show(rig: Rig, kind: str, value: str, door_id: str = "d1") -> Outcome:
    """Present something at a door, and return how it was answered."""
    return await rig.doors[door_id].request(kind, value, reader="in", timeout_s=5)


async def restart(rig: Rig) -> None:
    """Kill the worker and start it again; wait until it serves its doors."""
    await rig.worker.stop(signal.SIGKILL)
    await rig.worker.start()
    for _ in range(20):  # tries with a value of nobody, each answered or timed out
        answers = [await rig.doors[door_id].request("card", "00", reader="in", timeout_s=0.5) for door_id in rig.doors]
        if all(answer.feedback == "unknown_credential" for answer in answers):
            return
    raise AssertionError("the doors were not served again")
