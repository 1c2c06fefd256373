"""The uplink over real HTTP: nothing leaves the spool unconfirmed, one bad fact blocks none, commands run once."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from edge.clock import SteadyClock
from edge.identity import Signer, is_loopback, load_key, public_key, trust
from edge.spool import Spool
from edge.uplink import Uplink, enrol
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput, NotFound
from models.events import DoorFaulted, fact_id
from models.link import MAX_PHOTO_BYTES, Command, EdgeStatus, Result, Unlock
from models.policy import Policy
from tests.edge.doubles import EDGE, GatewayDouble, now, policy, until


@dataclass
class Side:
    """One end of a link: the uplink, its spool, and what it was told."""

    uplink: Uplink
    spool: Spool
    gateway: GatewayDouble
    policies: list[Policy] = field(default_factory=list)
    obeyed: list[str] = field(default_factory=list)
    deadlines: list[datetime] = field(default_factory=list)


@contextlib.asynccontextmanager
async def linked(folder: Path, gateway: GatewayDouble, *, start: bool = True) -> AsyncIterator[Side]:
    key = load_key(folder / "edge.key")
    clock = SteadyClock()
    async with (
        Spool(folder / "spool.db") as spool,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client,
    ):
        body = {"token": "token", "edge_id": EDGE, "name": "x", "public_key": public_key(key)}
        await enrol(client, body)
        signer = Signer(key, edge_id=EDGE, unix=clock.unix, nonce=lambda: secrets.token_hex(16))
        side: Side

        async def on_policy(new: Policy) -> None:
            side.policies.append(new)

        async def obey(command: Command) -> Result:
            side.obeyed.append(command.id)
            side.deadlines.append(command.deadline)
            return Result(command_id=command.id, state="confirmed", at=now())

        def status() -> EdgeStatus:
            return EdgeStatus(
                edge_id=EDGE, at=now(), backlog=spool.backlog, doors=(), cameras=(), counters={}, policy=(1, 1)
            )

        uplink = Uplink(
            client=client, signer=signer, spool=spool, clock=clock, status=status, on_policy=on_policy, obey=obey
        )
        side = Side(uplink, spool, gateway)
        async with asyncio.TaskGroup() as tasks:
            if start:
                uplink.start(tasks)
            yield side
            for task in list(tasks._tasks):
                task.cancel()


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
        assert abs((side.uplink.gateway_now() - now()).total_seconds() - 7200) < 3


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
        gateway._push("event: command\ndata: {nonsense\n\n")
        gateway.send(Unlock(id="next", door_id="d1", reason="r", requested_by="u", deadline=soon))
        await until(lambda: {"late", "good", "next"} <= {r.command_id for r in gateway.results})
        assert sorted(side.obeyed) == ["good", "next"]
        assert next(r.state for r in gateway.results if r.command_id == "late") == "expired"


async def test_a_deadline_is_handed_on_in_the_edges_own_clock(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        side.uplink._signer.offset_s = 200.0  # the gateway's clock is ahead of ours
        wanted = now() + timedelta(seconds=3)
        ahead = wanted + timedelta(seconds=200)
        gateway.send(Unlock(id="c", door_id="d1", reason="r", requested_by="u", deadline=ahead))
        await until(lambda: side.obeyed == ["c"])
        assert abs(side.deadlines[0] - wanted) < timedelta(seconds=1)


async def test_the_command_stream_is_opened_again(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: gateway.listeners == 1)
        gateway._push("")
        await until(lambda: gateway.listeners == 0)
        await until(lambda: gateway.listeners == 1)
        assert side.uplink.last_heard is not None


async def test_a_change_of_status_is_sent_soon(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway) as side:
        await until(lambda: len(gateway.statuses) == 1)
        side.uplink.changed()
        await until(lambda: len(gateway.statuses) == 2, limit_s=3)


async def test_photos_come_through_the_relay_once_and_bounded(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, linked(tmp_path, gateway, start=False) as side:
        gateway.photos = {"t1": b"photo", "t2": b"x" * (MAX_PHOTO_BYTES + 1)}
        assert await side.uplink.relay("t1") == b"photo"
        with pytest.raises(NotFound):
            await side.uplink.relay("t1")
        with pytest.raises(InvalidInput):
            await side.uplink.relay("t2")
        with pytest.raises(InvalidInput):
            await side.uplink.relay("../policy")


async def test_enrolment_says_whether_the_token_or_the_gateway_is_at_fault() -> None:
    async with GatewayDouble(policy()) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            with pytest.raises(DeviceRefused):
                await enrol(client, {"token": "wrong", "edge_id": EDGE, "name": "", "public_key": ""})
        port = gateway.port
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        with pytest.raises(DeviceUnreachable):
            await enrol(client, {"token": "t"})


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    first = public_key(load_key(tmp_path / "edge.key"))
    assert public_key(load_key(tmp_path / "edge.key")) == first
    assert (tmp_path / "edge.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "edge.key").chmod(0o640)
    with pytest.raises(InvalidInput):
        load_key(tmp_path / "edge.key")
    (tmp_path / "edge.key").chmod(0o600)
    (tmp_path / "edge.key").write_bytes(b"short")
    with pytest.raises(InvalidInput):
        load_key(tmp_path / "edge.key")


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1", True), ("http://localhost", True), ("http://[::1]:8", True),
        ("http://10.0.0.1", False), ("http://127.0.0.1.example.com", False), ("http://", False),
    ],
)  # fmt: skip
def test_plain_http_is_for_this_machine_only(url: str, here: bool) -> None:
    assert is_loopback(url) is here
    if here:
        assert trust(url, ca_file=None, allow_plain=False) is False
    else:
        with pytest.raises(InvalidInput):
            trust(url, ca_file=None, allow_plain=False)
        assert trust(url, ca_file=None, allow_plain=True) is False


def test_a_certificate_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    assert trust("https://gateway", ca_file=None, allow_plain=False) is not False
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(InvalidInput):
            trust("https://gateway", ca_file=tmp_path / name, allow_plain=False)


def test_a_gateway_without_a_time_teaches_nothing(tmp_path: Path) -> None:
    signer = Signer(load_key(tmp_path / "k"), edge_id=EDGE, unix=time.time, nonce=lambda: "n")
    assert not signer.learn_offset(None)
    assert not signer.learn_offset("yesterday")
    assert signer.offset_s == 0.0
    headers: dict[str, Any] = signer.headers("GET", "/x", body=b"")
    assert set(headers) == {"Gatehouse-Edge", "Gatehouse-Time", "Gatehouse-Nonce", "Gatehouse-Signature"}
    assert msgspec.json.encode(headers)
