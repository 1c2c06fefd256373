"""The uplink over real HTTP: nothing leaves the spool unconfirmed, one bad fact blocks none, commands run once."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from httpx_sse import ServerSentEvent
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from edge.checkpoints import KEPT, Checkpoints
from edge.checkpoints import KEY as CHECKPOINTS
from edge.spool import Spool
from edge.uplink import LESSONS_AT_ONCE
from models.card_lessons import LearnCards
from models.errors import DeviceUnreachable
from models.events import DoorFaulted, fact_id
from models.link import Checkpoint, Command, EraseFace, Progress, Result, Unlock
from tests.edge.doubles import EDGE, now, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.linked import linked


def faults(*numbers: int, detail: str = "") -> list[DoorFaulted]:
    return [
        DoorFaulted(id=fact_id(EDGE, "d1", str(n), "door_faulted"), at=now(), door_id="d1", detail=detail)
        for n in numbers
    ]


async def test_facts_arrive_in_order_and_leave_the_spool(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        made = faults(*range(1200))
        for start in range(0, 1200, 100):
            await side.spool.commit(None, made[start : start + 100])
        await until(lambda: len(gateway.facts) == 1200)
        assert list(gateway.facts) == [fact.id for fact in made]
        assert max(len(batch) for batch in gateway.batches) <= 500
        await until(lambda: side.spool.backlog == 0)


async def test_what_the_gateway_did_not_confirm_is_sent_again_under_the_same_id(tmp_path: Path) -> None:
    answers = iter([500, 429, 302, 401, 503])

    def fail(request: HttpRequest, _body: bytes) -> Response | None:
        if request.url.path != "/edge/v1/facts":
            return None
        status = next(answers, None)
        return None if status is None else Response(status_code=status, headers={"location": "/elsewhere"})

    async with GatewayDouble(policy(), fail=fail) as gateway, linked(tmp_path, gateway) as side:
        (fact,) = faults(1)
        await side.spool.commit(None, (fact,))
        await until(lambda: list(gateway.facts) == [fact.id], limit_s=20)
        await until(lambda: side.spool.backlog == 0)


async def test_a_half_answer_deletes_nothing(tmp_path: Path) -> None:
    garbage = iter([b'{"committed":["', b"", b'{"committed":["somebody else"]}'])

    def fail(request: HttpRequest, _body: bytes) -> Response | None:
        part = next(garbage, None) if request.url.path == "/edge/v1/facts" else None
        return None if part is None else Response(part)

    async with GatewayDouble(policy(), fail=fail) as gateway, linked(tmp_path, gateway) as side:
        (fact,) = faults(1)
        await side.spool.commit(None, (fact,))
        await until(lambda: list(gateway.facts) == [fact.id], limit_s=20)


async def test_one_bad_fact_blocks_no_other(tmp_path: Path) -> None:
    def fail(request: HttpRequest, body: bytes) -> Response | None:
        return Response(status_code=422) if b"poison" in body else None

    async with GatewayDouble(policy(), fail=fail) as gateway, linked(tmp_path, gateway) as side:
        await side.spool.commit(None, [*faults(1, 2, 3), *faults(4, detail="poison"), *faults(5, 6, 7)])
        await until(lambda: len(gateway.facts) == 6)
        await until(lambda: side.spool.backlog == 1)
        await side.spool.commit(None, faults(8))
        await until(lambda: len(gateway.facts) == 7, limit_s=2, what="a later fact, without delay")
        assert list(gateway.facts) == [fact.id for fact in faults(1, 2, 3, 5, 6, 7, 8)], "in order"
        assert side.uplink.counters["facts_refused"] == 1


async def test_a_busy_gateway_gets_no_later_fact_before_an_earlier_one(tmp_path: Path) -> None:
    statuses = iter([413, 503, 413, 429])

    def fail(request: HttpRequest, _body: bytes) -> Response | None:
        status = next(statuses, None) if request.url.path == "/edge/v1/facts" else None
        return None if status is None else Response(status_code=status)

    async with GatewayDouble(policy(), fail=fail) as gateway, linked(tmp_path, gateway) as side:
        await side.spool.commit(None, faults(*range(8)))
        await until(lambda: len(gateway.facts) == 8, limit_s=20)
        assert list(gateway.facts) == [fact.id for fact in faults(*range(8))]


async def test_facts_wait_while_the_gateway_is_away(tmp_path: Path) -> None:
    gateway = GatewayDouble(policy())
    async with gateway, linked(tmp_path, gateway, start=False) as side:
        await side.spool.commit(None, faults(1, 2))
    async with Spool(tmp_path / "spool.db") as spool:
        assert spool.backlog == 2
    async with gateway, linked(tmp_path, gateway) as side:
        await until(lambda: len(gateway.facts) == 2)


async def test_a_wrong_clock_is_learnt_from_the_gateway(tmp_path: Path) -> None:
    async with GatewayDouble(policy(), clock_ahead_s=7200.0) as gateway, linked(tmp_path, gateway) as side:
        await side.spool.commit(None, faults(1))
        await until(lambda: len(gateway.facts) == 1)
        assert abs((side.channel.gateway_now() - now()).total_seconds() - 7200) < 3


async def test_the_policy_is_fetched_once_and_again_when_it_changes(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: len(side.policies) == 1 and gateway.listeners == 1)
        gateway.publish(policy(n=2))
        await until(lambda: [p.n for p in side.policies] == [1, 2])
        side.uplink._policy_due.set()
        await until(lambda: not side.uplink._policy_due.is_set())
        assert gateway.policies_sent == 2


async def test_a_command_is_obeyed_once_and_an_expired_one_never(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        soon, past = now() + timedelta(seconds=5), now() - timedelta(seconds=1)
        gateway.send(Unlock(id="late", door_id="d1", reason="r", requested_by="u", deadline=past))
        for _ in range(3):
            gateway.send(Unlock(id="good", door_id="d1", reason="r", requested_by="u", deadline=soon))
        gateway.tell("command", "{nonsense")
        gateway.send(Unlock(id="next", door_id="d1", reason="r", requested_by="u", deadline=soon))
        await until(lambda: {"late", "good", "next"} <= {r.command_id for r in gateway.results})
        assert sorted(side.obeyed) == ["good", "next"]
        assert next(r.state for r in gateway.results if r.command_id == "late") == "expired"
        assert side.uplink.counters["unreadable_commands"] == 1


async def test_a_command_that_this_edge_does_not_know_is_declined_by_its_id(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        nameless = ('{"type":"of_tomorrow"}', '{"type":"of_tomorrow","id":7}', f'{{"id":"{"x" * 65}"}}')
        for data in (*nameless, '{"type":"of_tomorrow","id":"new","more":[1]}'):
            gateway.tell("command", data)
        await until(lambda: len(gateway.results) == 1)
        (told,) = gateway.results
        assert (told.command_id, told.state, told.reason) == ("new", "refused", "unsupported")
        assert side.uplink.counters["unreadable_commands"] == 4
        assert side.obeyed == []


async def test_what_the_pinned_gateway_did_not_sign_for_this_edge_is_neither_obeyed_nor_answered(
    tmp_path: Path,
) -> None:
    soon = now() + timedelta(seconds=20)

    def unlock(command_id: str) -> str:
        return msgspec.json.encode(
            Unlock(id=command_id, door_id="d1", reason="r", requested_by="u", deadline=soon)
        ).decode()

    def signed(data: str, *, key: Ed25519PrivateKey, about: bytes) -> str:
        return base64.b64encode(key.sign(about + data.encode())).decode()

    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        about, data = f"command\n{EDGE}\n".encode(), unlock("forged")
        other = f"command\n{EDGE}-2\n".encode()
        for mark in (
            "", "id: x\n", "id: %%%\n",
            f"id: {signed(data, key=Ed25519PrivateKey.generate(), about=about)}\n",
            f"id: {signed(data, key=gateway.key, about=other)}\n",
            f"id: {signed(unlock('another'), key=gateway.key, about=about)}\n",
        ):  # fmt: skip
            gateway._push(f"{mark}event: command\ndata: {data}\n\n")
        gateway.tell("command", unlock("good"))
        await until(lambda: [result.command_id for result in gateway.results] == ["good"])
        assert side.obeyed == ["good"]
        assert side.uplink.counters["commands_forged"] == 6


async def test_only_a_signed_announcement_makes_an_edge_ask_for_a_policy(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway, start=False) as side:
        right = base64.b64encode(gateway.key.sign(f"command\n{EDGE}\n[1,2]".encode())).decode()
        for data, signature, heeded in (("[1,2]", "", False), ("[1,3]", right, False), ("[1,2]", right, True)):
            side.uplink._take(ServerSentEvent(event="policy", data=data, id=signature))
            assert side.uplink._policy_due.is_set() == heeded


async def test_a_deadline_is_handed_on_in_the_edges_own_clock(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        side.channel.signer.offset_s = 200.0  # the gateway's clock is ahead of ours
        wanted = now() + timedelta(seconds=3)
        ahead = wanted + timedelta(seconds=200)
        gateway.send(Unlock(id="c", door_id="d1", reason="r", requested_by="u", deadline=ahead))
        await until(lambda: side.obeyed == ["c"])
        assert abs(side.deadlines[0] - wanted) < timedelta(seconds=1)


async def test_how_far_a_command_is_is_told_and_whether_anybody_still_wants_it(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        told = Progress(command_id="e1", at=now(), done=1, wanted=3, hint="hold_still")
        assert await side.channel.progress(told)
        gateway.called_off.add("e1")
        assert not await side.channel.progress(told)
        assert gateway.progress == [told, told]
        gateway.fail = lambda request, _: Response(b"{}") if request.url.path.endswith("/progress") else None
        with pytest.raises(DeviceUnreachable, match="progress"):
            await side.channel.progress(told)


async def test_the_command_stream_is_opened_again(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        gateway._push("")
        await until(lambda: gateway.listeners == 0)
        await until(lambda: gateway.listeners == 1)
        assert side.channel.last_heard is not None


async def test_a_change_of_status_is_sent_soon(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: len(gateway.statuses) == 1)
        side.uplink.changed()
        await until(lambda: len(gateway.statuses) == 2, limit_s=3)


async def test_a_command_that_breaks_fails_alone_and_the_next_is_obeyed(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        soon = now() + timedelta(seconds=5)
        for command_id in ("breaks", "works"):
            gateway.send(Unlock(id=command_id, door_id="d1", reason="r", requested_by="u", deadline=soon))
        await until(
            lambda: {r.command_id: r.state for r in gateway.results} == {"breaks": "failed", "works": "confirmed"}
        )
        assert next(r.detail for r in gateway.results if r.command_id == "breaks") == "ZeroDivisionError"
        assert side.uplink.counters["commands_broken"] == 1


async def test_one_dead_door_of_twenty_delays_no_other_however_often_it_is_asked(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        at_work, obey = asyncio.Event(), side.obey

        async def dead(command: Command) -> Result:
            if isinstance(command, Unlock) and command.door_id == "d1":
                await at_work.wait()
            return await obey(command)

        side.obey = dead  # type: ignore[method-assign]
        soon = now() + timedelta(seconds=30)
        for n in range(20):
            gateway.send(Unlock(id=f"dead-{n}", door_id="d1", reason="r", requested_by="u", deadline=soon))
        for n in range(2, 21):
            gateway.send(Unlock(id=f"good-{n}", door_id=f"d{n}", reason="r", requested_by="u", deadline=soon))
        await until(lambda: len(gateway.results) == 19, what="the other doors")
        assert all(result.command_id.startswith("good") for result in gateway.results)
        at_work.set()
        await until(lambda: len(gateway.results) == 39)


async def test_readers_that_learn_keep_no_erasure_waiting_and_have_a_limit_of_their_own(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        over, obey = asyncio.Event(), side.obey
        learning: set[str] = set()

        async def learn(command: Command) -> Result:
            if isinstance(command, LearnCards):
                learning.add(command.id)
                await over.wait()
            return await obey(command)

        side.obey = learn  # type: ignore[method-assign]
        soon = now() + timedelta(seconds=30)
        for n in range(LESSONS_AT_ONCE + 1):
            gateway.send(LearnCards(id=f"lesson-{n}", door_id=f"d{n}", deadline=soon))
        gateway.send(EraseFace(id="erase-1", person_id="p1", deadline=soon))
        await until(lambda: [result.command_id for result in gateway.results] == ["erase-1"], what="the erasure")
        assert len(learning) == LESSONS_AT_ONCE
        over.set()
        await until(lambda: len(gateway.results) == LESSONS_AT_ONCE + 2)


async def test_a_command_that_comes_again_after_a_restart_is_answered_and_not_obeyed_again(tmp_path: Path) -> None:
    again = EraseFace(id="e1", person_id="p1", deadline=now() + timedelta(days=30))
    async with GatewayDouble(policy()) as gateway:
        for _ in range(2):
            gateway.results.clear()
            async with linked(tmp_path, gateway) as side:
                await until(lambda: gateway.listeners == 1)
                gateway.send(again)
                await until(lambda: [r.command_id for r in gateway.results] == ["e1"])
                obeyed = side.obeyed
            await until(lambda: gateway.listeners == 0)
        assert obeyed == []


async def test_the_audit_logs_checkpoints_are_kept_once_each_and_the_newest_is_told(tmp_path: Path) -> None:
    def checkpoint(seq: int, digest: str = "aa") -> Checkpoint:
        return Checkpoint(seq=seq, digest=digest, at=now(), signature="s")

    async with GatewayDouble(policy(), checkpoint=checkpoint(5)) as gateway:
        async with linked(tmp_path, gateway) as side:
            await until(lambda: side.checkpoints.newest is not None)
            for told in (checkpoint(4), checkpoint(9), checkpoint(9, "bb")):
                gateway.checkpoint = told
                asked = gateway.answered
                side.uplink._policy_due.set()
                await until(lambda: gateway.answered > asked)  # noqa: B023 - called at once
            await until(lambda: side.checkpoints.counters == {"contradictions": 1})
            assert [one.seq for one in side.checkpoints.kept] == [5, 9]
            await side.checkpoints.witness("{not json")
            assert side.checkpoints.counters["unreadable"] == 1
        async with linked(tmp_path, gateway, start=False) as side:
            newest = side.checkpoints.newest
            assert newest is not None
            assert (newest.seq, newest.digest) == (9, "aa")


async def test_of_checkpoints_the_last_thousand_stay(tmp_path: Path) -> None:
    async with Spool(tmp_path / "spool.db") as spool:
        many = tuple(Checkpoint(seq=n, digest="aa", at=now(), signature="s") for n in range(1, KEPT + 1))
        await spool.remember(CHECKPOINTS, msgspec.json.encode(many))
        checkpoints = Checkpoints(spool)
        await checkpoints.load()
        await checkpoints.witness(msgspec.json.encode(msgspec.structs.replace(many[-1], seq=KEPT + 1)).decode())
        assert [one.seq for one in checkpoints.kept] == list(range(2, KEPT + 2))
