"""The worker as a process: the two paths over a real broker, killed in the middle, and stopped cleanly."""

from __future__ import annotations

import asyncio
import resource
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.responses import Response

from drivers.mqtt.habits import Habits
from drivers.mqtt.simdoor import SimulatedDoor
from edge.spool import Spool
from edge.times import KEY as TIMES_KEY
from edge.times import Times
from models.link import Unlock
from tests.edge.doubles import card, door, now, permit, pin, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.rig import Process, open_rig

RESIDENT: dict[str, Any] = {
    "credentials": (card("p1", "7186A61E"), pin("p1", "123456")),
    "permits": (permit("p1"),),
}


async def test_a_card_opens_the_door_and_a_wrong_one_is_told_why(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door(), **RESIDENT)) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: any(s.doors and s.doors[0].online for s in gateway.statuses), what="the door online")
        opened = await rig.doors["d1"].request("card", "71:86:a6:1e", reader="in", timeout_s=5)
        assert opened.ok
        assert opened.unlocked
        refused = await rig.doors["d1"].request("card", "99", reader="in", timeout_s=5)
        assert refused.feedback == "unknown_credential"
        assert (await rig.doors["d1"].request("pin", "123456", reader="in", timeout_s=5)).unlocked
        await until(lambda: len(gateway.of("access_granted")) == 2 and len(gateway.of("access_denied")) == 1)
        assert gateway.of("access_granted")[0]["person_id"] == "p1"
        assert "7186" not in str(gateway.facts)


async def test_a_forced_door_reaches_the_gateway_and_is_acknowledged_to_the_door(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door())) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: any(s.doors and s.doors[0].online for s in gateway.statuses))
        rig.doors["d1"].force()
        await until(lambda: len(gateway.of("door_forced")) == 1, what="the forced door")
        seq, _ = rig.doors["d1"].progress()
        await until(lambda: rig.doors["d1"].progress() == (seq, seq), what="the end-to-end acknowledgement")


async def test_an_unlock_from_the_console_is_confirmed_and_an_expired_one_is_not_delivered(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door())) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: gateway.listeners > 0 and any(s.doors and s.doors[0].online for s in gateway.statuses))
        late = Unlock(id="c0", door_id="d1", reason="x", requested_by="u", deadline=now() - timedelta(minutes=40))
        good = Unlock(id="c1", door_id="d1", reason="x", requested_by="u", deadline=now() + timedelta(seconds=5))
        for command in (late, good, good):
            gateway.send(command)
        await until(lambda: {r.command_id for r in gateway.results} == {"c0", "c1"})
        states = {result.command_id: result.state for result in gateway.results}
        assert states == {"c0": "expired", "c1": "confirmed"}
        assert rig.doors["d1"].unlocks == 1


async def test_doors_open_without_a_gateway_after_a_restart(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door(), **RESIDENT)) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: any(s.doors and s.doors[0].online for s in gateway.statuses))
        gateway.fail = lambda _request, _body: Response(status_code=500)
        await rig.worker.stop(signal.SIGKILL)
        await rig.worker.start()
        await rig.doors["d1"].until(rig.doors["d1"].connected.is_set)
        await _eventually_opens(rig.doors["d1"])


async def _eventually_opens(simulated: SimulatedDoor) -> None:
    for _ in range(20):  # tries of a person at the door, each answered or timed out
        if (await simulated.request("card", "7186A61E", reader="in", timeout_s=0.5)).unlocked:
            return
    pytest.fail("the door did not open")


async def test_kill_9_in_a_storm_of_events_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    ids = tuple(f"d{n}" for n in range(1, 6))
    doors = tuple(door(door_id, exit_kind="none") for door_id in ids)
    async with (
        GatewayDouble(policy(*doors)) as gateway,
        open_rig(tmp_path, gateway, door_ids=ids, habits=Habits(plain=True)) as rig,
    ):
        await until(lambda: any(len(s.doors) == 5 and all(d.online for d in s.doors) for s in gateway.statuses))
        for round_no in range(4):
            for _ in range(10):
                for simulated in rig.doors.values():
                    simulated.emit("fault", detail="storm")
                await asyncio.sleep(0.005)
            await rig.worker.stop(signal.SIGKILL)
            for simulated in rig.doors.values():
                simulated.emit("fault", detail=f"while away {round_no}")
            await rig.worker.start()
        await until(
            lambda: all(d.progress()[0] == d.progress()[1] for d in rig.doors.values()), limit_s=60, what="all acked"
        )
        expected = 4 * 11
        await until(lambda: len(gateway.of("door_faulted")) >= expected * 5, limit_s=20, what="every fact")
        per_door = dict.fromkeys(ids, 0)
        for fact in gateway.of("door_faulted"):
            per_door[fact["door_id"]] += 1
        assert per_door == dict.fromkeys(ids, expected), "none lost, none under two ids"
        assert gateway.of("device_gap") == []


async def test_a_full_disk_locks_nobody_out_and_loses_nothing(tmp_path: Path) -> None:
    gate = door(exit_kind="none")
    async with (
        GatewayDouble(policy(gate, **RESIDENT)) as gateway,
        open_rig(tmp_path, gateway, habits=Habits(plain=True)) as rig,
    ):
        simulated = rig.doors["d1"]
        await until(lambda: any(s.doors and s.doors[0].online for s in gateway.statuses))
        assert (await simulated.request("card", "7186A61E", reader="in", timeout_s=5)).unlocked
        assert rig.worker.child is not None
        pid, plenty = rig.worker.child.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        first, _ = simulated.progress()
        for _ in range(20):
            simulated.emit("fault", detail="while the disk is full")
        await until(lambda: any("spool cannot store" in line for line in rig.worker.lines), what="the warning")
        assert (await simulated.request("card", "7186A61E", reader="in", timeout_s=5)).unlocked, "residents get in"
        assert simulated.progress()[1] <= first, "nothing is acknowledged"
        assert gateway.of("door_faulted") == []
        resource.prlimit(pid, resource.RLIMIT_FSIZE, plenty)
        await until(lambda: len(gateway.of("door_faulted")) == 20, limit_s=30, what="the events, once there is room")
        await until(lambda: simulated.progress()[0] == simulated.progress()[1], limit_s=30)
        await until(lambda: len(gateway.of("access_granted")) == 2)


async def test_a_worker_that_starts_on_a_full_disk_opens_doors(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door(), **RESIDENT)) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: any(s.doors and s.doors[0].online for s in gateway.statuses))
        await rig.worker.stop(signal.SIGKILL)
        await rig.worker.start(disk_full=True)
        await _eventually_opens(rig.doors["d1"])
        assert any("spool cannot store" in line for line in rig.worker.lines)


async def test_that_the_gateway_was_heard_is_remembered_with_the_first_policy(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door(), **RESIDENT)) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: any(s.doors and s.doors[0].online for s in gateway.statuses))
        await rig.worker.stop(signal.SIGKILL)  # in its first minute; without a gateway, faces need this
        async with Spool(rig.folder / "edge" / "spool.db") as spool:
            stored = await spool.recall(TIMES_KEY)
        assert stored is not None
        assert msgspec.json.decode(stored, type=Times).heard is not None


async def test_what_a_policy_takes_away_is_gone_at_once_on_a_full_disk_too(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door(), **RESIDENT)) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: any(s.doors and s.doors[0].online for s in gateway.statuses))
        simulated = rig.doors["d1"]
        assert (await simulated.request("card", "7186A61E", reader="in", timeout_s=5)).unlocked
        assert rig.worker.child is not None
        resource.prlimit(rig.worker.child.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        await until(lambda: gateway.listeners >= 1)
        gateway.publish(policy(door(), n=2))
        await until(lambda: gateway.statuses[-1].policy == (1, 2), what="the new policy in force")
        refused = await simulated.request("card", "7186A61E", reader="in", timeout_s=5)
        assert refused.feedback == "unknown_credential"


async def test_a_second_worker_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door())) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: gateway.listeners > 0)
        second = Process(rig.worker.argv)
        with pytest.raises(AssertionError, match="database is locked"):
            await second.start()
        assert await second.stop() == 1
        assert not rig.worker.ended


async def test_an_edge_that_died_between_enrolment_and_its_note_is_still_known(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door())) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: gateway.listeners > 0)
        await rig.worker.stop(signal.SIGKILL)
        (tmp_path / "edge" / "enrolled.json").unlink()
        gateway.spent = gateway.token
        await rig.worker.start()
        await until(lambda: gateway.listeners > 0)
        await until((tmp_path / "edge" / "enrolled.json").exists)


async def test_a_gateway_that_forgot_the_edge_is_told_again_with_a_new_token(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door())) as gateway, open_rig(tmp_path, gateway):
        await until(lambda: gateway.listeners > 0)
        gateway.public_key = None
        gateway.secret = "new"
        (tmp_path / "token").write_text(gateway.token)
        gateway._push("")
        await until(lambda: gateway.public_key is not None, limit_s=30)
        await until(lambda: gateway.listeners > 0, limit_s=30)


async def test_a_gateway_with_another_key_is_believed_only_with_a_token_that_vouches_for_it(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door())) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: any(s.policy == (1, 1) for s in gateway.statuses))
        gateway.key, gateway.spent = Ed25519PrivateKey.generate(), gateway.token
        gateway.publish(policy(door(), n=2))
        gateway._push("")  # a gateway that was set up anew has no open stream
        await until(lambda: any("pinned at enrolment" in line for line in rig.worker.lines), what="the warning")
        assert all(s.policy == (1, 1) for s in gateway.statuses if s.policy != (0, 0))
        gateway.secret = "new"
        (tmp_path / "token").write_text(gateway.token)
        await until(lambda: gateway.statuses[-1].policy == (1, 2), limit_s=40, what="the policy under the new key")


async def test_a_worker_under_an_outer_key_starts_only_with_it(tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.write_bytes(b"o" * 32)
    outer.chmod(0o600)
    guarded = {"protection": {"kind": "external", "key_file": str(outer)}}
    async with GatewayDouble(policy(door())) as gateway, open_rig(tmp_path, gateway, edge=guarded) as rig:
        await until(lambda: any(s.protection == "external" and s.policy == (1, 1) for s in gateway.statuses))
        assert not (tmp_path / "edge" / "master.key").exists()
        await rig.worker.stop(signal.SIGTERM)
        outer.unlink()
        with pytest.raises(AssertionError, match="is it mounted"):
            await rig.worker.start()


async def test_sigterm_stops_cleanly_and_leaves_no_process(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door())) as gateway, open_rig(tmp_path, gateway) as rig:
        await until(lambda: gateway.listeners > 0)
        assert rig.worker.child is not None
        family = psutil.Process(rig.worker.child.pid).children(recursive=True)
        assert await rig.worker.stop(signal.SIGTERM) == 0
        assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
