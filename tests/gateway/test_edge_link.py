"""The edge link: who may speak, what a batch of facts becomes, what policy and commands an edge gets."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import Any, Self

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.orders import UNLOCK_VALID
from gateway.runtime import Runtime
from gateway.store.alerts import alerts_of
from gateway.store.audit import audit_rows
from gateway.store.edges import add_command, add_edge_token, commands_wait, revoke_edge
from gateway.store.facts import facts_of
from gateway.store.places import put_door
from models.events import AccessGranted
from models.link import Checkpoint, Command, DoorStatus, EdgeStatus, EraseFace, Result
from models.places import Door
from models.policy import Policy
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge, closed, forced, listening, until

SITE = frozenset({"a"})


async def test_a_signed_batch_is_committed_and_a_repetition_changes_nothing(
    edge: SigningEdge, runtime: Runtime
) -> None:
    for _ in range(2):
        answer = await edge.report(forced(), closed())
        assert answer.status_code == 200
        assert answer.json()["committed"] == [forced().id, closed().id]
    assert len(runtime.store.read_now(facts_of, site_ids=SITE)) == 2
    (alert,) = runtime.store.read_now(alerts_of, site_ids=SITE, open_only=True, before=None, limit=10)
    assert (alert.kind, alert.condition, alert.workflow, alert.count) == ("door_forced", "cleared", "new", 1)
    assert alert.place.name == "East gate"


async def test_a_bad_fact_is_set_aside_and_holds_back_no_other(edge: SigningEdge, runtime: Runtime) -> None:
    good = msgspec.json.encode(forced())
    bad = b'{"id":"x-1","type":"door_forced","at":"yesterday","door_id":"gate"}'
    foreign = msgspec.json.encode(forced("far"))
    naive = b'{"id":"x-2","type":"door_closed","at":"2026-03-01T08:00:00","door_id":"gate"}'
    answer = await edge.send("POST", "/edge/v1/facts", b"[" + b",".join((bad, good, foreign, naive, b'"text"')) + b"]")
    told = answer.json()
    assert told["committed"] == [forced().id]
    assert told["rejected"][:3] == ["x-1", forced("far").id, "x-2"]
    assert len(told["rejected"]) == 4
    assert len(runtime.store.read_now(facts_of, site_ids=SITE)) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"\xff\xfe", b"[" + b"1," * 500 + b"1]"])
async def test_what_is_no_batch_is_refused(edge: SigningEdge, body: bytes) -> None:
    answer = await edge.send("POST", "/edge/v1/facts", body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_beyond_its_limit_is_refused(edge: SigningEdge) -> None:
    answer = await edge.send("POST", "/edge/v1/facts", b"[" + b" " * (1024 * 1024) + b"]")
    assert answer.status_code == 413

    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65536

    answer = await edge.client.post("/edge/v1/facts", content=chunks(), headers=edge.headers("POST", "/edge/v1/facts"))
    assert answer.status_code == 413


async def test_a_request_is_refused_unless_the_edge_itself_signed_it_now(edge: SigningEdge, clock: Clock) -> None:
    target = "/edge/v1/policy"
    good = edge.headers("GET", target)
    refused = [
        good | {"Gatehouse-Signature": "AAAA"},
        good | {"Gatehouse-Signature": "%"},
        good | {"Gatehouse-Edge": "edge-2"},
        good | {"Gatehouse-Nonce": "0" * 31},
        good | {"Gatehouse-Time": "soon"},
        {},
        edge.headers("POST", target),
        edge.headers("GET", target, b"x"),
        edge.headers("GET", target + "?all=1"),
        SigningEdge("", clock).headers("GET", target),
    ]
    for headers in refused:
        answer = await edge.client.get(target, headers=headers)
        assert answer.status_code == 401, headers
        assert int(answer.headers["Gatehouse-Time"]) == int(clock().timestamp())
    assert (await edge.client.get(target, headers=good)).status_code == 200
    assert (await edge.client.get(target, headers=good)).status_code == 401, "a nonce is good once"


async def test_another_clock_is_refused_with_ours(edge: SigningEdge, clock: Clock) -> None:
    slow = edge.headers("GET", "/edge/v1/policy")
    clock.turn(seconds=301)
    answer = await edge.client.get("/edge/v1/policy", headers=slow)
    assert answer.status_code == 401
    assert int(answer.headers["Gatehouse-Time"]) == int(clock().timestamp())


async def test_a_revoked_edge_is_refused_at_once(edge: SigningEdge, runtime: Runtime, clock: Clock) -> None:
    runtime.store.write_now(revoke_edge, edge.id, at=clock())
    assert (await edge.send("GET", "/edge/v1/policy")).status_code == 401


async def test_a_token_enrols_one_edge_once_within_its_hour(url: str, runtime: Runtime, clock: Clock) -> None:
    first, second = SigningEdge(url, clock, edge_id="e1"), SigningEdge(url, clock, edge_id="e2")
    runtime.store.write_now(add_edge_token, "token", site_id="a", at=clock())
    runtime.store.write_now(add_edge_token, "late", site_id="a", at=clock())

    async def enrol(edge: SigningEdge, token: str) -> httpx.Response:
        body = {"token": token, "edge_id": edge.id, "name": "E", "public_key": edge.public_key}
        return await edge.client.post("/edge/v1/enrol", json=body)

    key = runtime.gateway_key.public_key
    assert (await enrol(first, "token")).json() == {"edge_id": "e1", "site_id": "a", "gateway_key": key}
    assert (await enrol(first, "token")).status_code == 201, "a lost answer may be asked for again"
    assert (await enrol(second, "token")).status_code == 403
    assert (await enrol(second, "wrong")).status_code == 403
    thief = SigningEdge(url, clock, edge_id="e1")
    runtime.store.write_now(add_edge_token, "another", site_id="a", at=clock())
    assert (await enrol(thief, "another")).status_code == 409, "an enrolled id is not taken over"
    clock.turn(minutes=61)
    assert (await enrol(second, "late")).status_code == 403
    for edge in (first, second, thief):
        await edge.client.aclose()


@pytest.mark.parametrize(
    "change", [{"edge_id": "../x"}, {"public_key": "AAAA"}, {"public_key": "%"}, {"more": 1}, {"token": None}]
)
async def test_a_malformed_enrolment_is_refused(url: str, clock: Clock, change: dict[str, Any]) -> None:
    edge = SigningEdge(url, clock)
    body = {"token": "t", "edge_id": "e", "name": "E", "public_key": edge.public_key} | change
    async with edge.client as client:
        assert (await client.post("/edge/v1/enrol", json=body)).status_code == 422


async def test_a_policy_holds_what_its_doors_need_and_its_number_grows_with_its_content(
    edge: SigningEdge, manager: httpx.AsyncClient
) -> None:
    first = await edge.send("GET", "/edge/v1/policy")
    policy = msgspec.json.decode(first.content, type=Policy)
    assert [door.id for door in policy.doors] == ["gate", "side"]
    assert policy.cameras[0].password == "s3cret"
    assert (await edge.send("GET", "/edge/v1/policy", **{"If-None-Match": first.headers["etag"]})).status_code == 304
    await manager.post("/api/v1/people", json={"id": "p1", "name": "Lin Yue"})
    assert (await edge.send("GET", "/edge/v1/policy")).headers["etag"] == first.headers["etag"], "names are not policy"
    await manager.post("/api/v1/people/p1/permits", json={"doors": ["gate"]})
    await manager.post("/api/v1/people/p1/credentials", json={"kind": "card", "value": "71:86:A6:1E"})
    second = await edge.send("GET", "/edge/v1/policy", **{"If-None-Match": first.headers["etag"]})
    after = msgspec.json.decode(second.content, type=Policy)
    assert (after.epoch, after.n) > (policy.epoch, policy.n)
    assert len(after.people) == 1
    assert len(after.permits) == len(after.credentials) == 1
    assert "Lin" not in second.text
    assert "7186A61E" not in second.text


async def test_a_policy_is_renewed_before_it_ends(edge: SigningEdge, clock: Clock) -> None:
    first = msgspec.json.decode((await edge.send("GET", "/edge/v1/policy")).content, type=Policy)
    clock.turn(hours=13)
    later = msgspec.json.decode((await edge.send("GET", "/edge/v1/policy")).content, type=Policy)
    assert later.n == first.n + 1
    assert later.valid_until > first.valid_until


class Obedient:
    """Follows an edge's command stream and answers every command."""

    def __init__(self, edge: SigningEdge, **answer: Any) -> None:
        self.edge, self.answer = edge, {"state": "confirmed"} | answer
        self.heard: list[tuple[str, str]] = []
        self._busy = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        await until(lambda: self.heard)
        return self

    async def __aexit__(self, *exc: object) -> None:
        async with self._busy:  # a request that is cut off half-way would leave its connection behind
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def run(self) -> None:
        target = "/edge/v1/commands"
        async with listening(str(self.edge.client.base_url), target, headers=self.edge.headers("GET", target)) as ear:
            while True:
                event = await ear.next()
                await self._hear(event.name, event.data)

    async def _hear(self, name: str, data: str) -> None:
        self.heard.append((name, data))
        if name == "command":
            command: Any = msgspec.json.decode(data, type=Command)
            result = Result(command_id=command.id, at=self.edge.clock(), **self.answer)
            async with self._busy:
                await self.edge.send("POST", "/edge/v1/results", result)


def named(answer: httpx.Response) -> str:
    """Return where a problem says that its order is shown."""
    link = answer.links["status"]["url"]
    assert link.endswith(f"/{answer.json()['command_id']}")
    return link


async def test_an_unlock_is_answered_once_the_door_took_it(
    edge: SigningEdge, operator: httpx.AsyncClient, runtime: Runtime
) -> None:
    async with Obedient(edge) as obedient:
        answer = await operator.post("/api/v1/doors/gate/unlock", json={"reason": "a parcel"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "accepted"
        assert [name for name, _ in obedient.heard] == ["policy", "command"]


async def test_an_unlock_that_the_door_refuses_is_a_problem(edge: SigningEdge, operator: httpx.AsyncClient) -> None:
    async with Obedient(edge, state="refused", reason="locked_down"):
        answer = await operator.post("/api/v1/doors/gate/unlock", json={"reason": "a parcel"})
        assert answer.status_code == 502
        assert "locked_down" in answer.json()["detail"]
        order = (await operator.get(named(answer))).json()
        assert (order["id"], order["state"], order["why"]) == (answer.json()["command_id"], "refused", "locked_down")


async def test_a_caller_is_sent_away_and_whoever_comes_too_late_is_told_so(
    edge: SigningEdge, operator: httpx.AsyncClient, runtime: Runtime
) -> None:
    refuse: dict[str, Any] = {"url": "/api/v1/doors/gate/refuse-call", "json": {"reason": "a hawker"}}
    async with Obedient(edge) as obedient:
        answer = await operator.post(**refuse)
        assert (answer.status_code, answer.json()["state"]) == (200, "confirmed")
        (_, (_, order)) = obedient.heard
        assert msgspec.json.decode(order)["type"] == "refuse_call"
    async with Obedient(edge, state="refused", reason="no_call"):
        late = await operator.post(**refuse)
        assert (late.status_code, "nobody calls" in late.text) == (409, True)
        order = (await operator.get(named(late))).json()
        assert (order["kind"], order["state"], order["reason"]) == ("refuse_call", "refused", "a hawker")
    newest = (await operator.get("/api/v1/doors/gate/commands")).json()["items"]
    assert newest == [], "a caller sent away is no order to unlock"
    rows = runtime.store.read_now(audit_rows)
    assert [row.detail["reason"] for row in rows if row.action == "door.refuse_call"] == ["a hawker"] * 2


async def test_a_command_past_its_deadline_is_never_delivered(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    asking = asyncio.create_task(operator.post("/api/v1/doors/gate/unlock", json={"reason": "a parcel"}))
    await until(lambda: runtime.store.read_now(commands_wait, EDGE, at=clock()))
    clock.turn(seconds=UNLOCK_VALID.total_seconds() + 0.1)
    async with Obedient(edge) as obedient:
        answer = await asking
        assert answer.status_code == 504
        assert [name for name, _ in obedient.heard] == ["policy"]
        assert (await operator.get(named(answer))).json()["door_id"] == "gate"


async def test_a_repeated_unlock_with_one_key_opens_once(edge: SigningEdge, operator: httpx.AsyncClient) -> None:
    async with Obedient(edge) as obedient:
        headers = {"Idempotency-Key": "k1"}
        first, second = [
            await operator.post("/api/v1/doors/gate/unlock", json={"reason": "a parcel"}, headers=headers)
            for _ in range(2)
        ]
        assert first.json() == second.json()
        other = await operator.post("/api/v1/doors/gate/unlock", json={"reason": "another"}, headers=headers)
        assert other.status_code == 409
        assert sum(name == "command" for name, _ in obedient.heard) == 1


def _status(edge: SigningEdge, **door: Any) -> EdgeStatus:
    values: dict[str, Any] = {
        "door_id": "gate", "online": True, "contact": "closed", "lock": "locked", "mode": "normal", "tamper": False,
        "alarm": "none", "at": BEGINNING,
    }  # fmt: skip
    return EdgeStatus(
        edge_id=edge.id, at=BEGINNING, backlog=3, doors=(DoorStatus(**values | door),), cameras=(), counters={"x": 1},
        policy=(1, 1),
    )  # fmt: skip


async def test_a_status_shows_how_doors_stand_and_an_edge_speaks_for_its_own_only(
    edge: SigningEdge, operator: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    assert (await edge.send("POST", "/edge/v1/status", _status(edge))).status_code == 204
    door = (await operator.get("/api/v1/doors/gate")).json()
    assert (door["online"], door["contact"], door["lock"]) == (True, "closed", "locked")
    await edge.send("POST", "/edge/v1/status", _status(edge, door_id="far"))
    assert (await other.get("/api/v1/doors/far")).json()["online"] is False
    liar = msgspec.structs.replace(_status(edge), edge_id="edge-9")
    assert (await edge.send("POST", "/edge/v1/status", liar)).status_code == 422


async def test_a_grant_raises_no_alert(edge: SigningEdge, runtime: Runtime) -> None:
    fact = AccessGranted(id="g", at=BEGINNING, door_id="gate", attempt="t", method="card", person_id="p", unlocked=True)
    assert (await edge.report(fact)).status_code == 200
    assert runtime.store.read_now(alerts_of, site_ids=SITE, open_only=True, before=None, limit=10) == []


async def test_a_fact_about_a_siblings_door_is_set_aside(edge: SigningEdge, runtime: Runtime) -> None:
    runtime.store.write_now(put_door, Door(id="back", site_id="a", name="Back door", edge_id="edge-2"))
    answer = (await edge.report(forced("back"), forced("gate"))).json()
    assert (answer["rejected"], answer["committed"]) == ([forced("back").id], [forced("gate").id])
    assert len(runtime.store.read_now(facts_of, site_ids=SITE)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x\x00y"}, {"id": "x" * 65}, {"id": ""}, {"door_id": "gate\x00"}, {"at": BEGINNING.replace(year=1)},
        {"device_at": BEGINNING.replace(year=9999)},
    ],
)  # fmt: skip
async def test_what_no_database_keeps_is_set_aside_and_never_a_reason_to_try_for_ever(
    edge: SigningEdge, runtime: Runtime, change: dict[str, Any]
) -> None:
    answer = await edge.report(msgspec.structs.replace(forced(), **change), closed())
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (len(told["rejected"]), told["committed"]) == (1, [closed().id])


@pytest.mark.parametrize("target", ["/edge/v1/status", "/edge/v1/results", "/edge/v1/enrol"])
async def test_nul_and_impossible_times_are_refused_with_a_sentence(edge: SigningEdge, target: str) -> None:
    nul = b'{"edge_id":"edge-1\\u0000"}'
    assert (await edge.send("POST", target, nul)).status_code == 422
    if target == "/edge/v1/status":
        for status in (
            msgspec.structs.replace(_status(edge), at=BEGINNING.replace(tzinfo=None)),
            _status(edge, at=BEGINNING.replace(year=1)),
            msgspec.structs.replace(
                _status(edge), checkpoint=Checkpoint(seq=2**63, digest="", at=BEGINNING, signature="")
            ),
        ):
            assert (await edge.send("POST", target, status)).status_code == 422


async def test_every_event_for_an_edge_is_signed_for_that_edge_alone(
    edge: SigningEdge, runtime: Runtime, clock: Clock
) -> None:
    order = EraseFace(id="order-1", person_id="p1", deadline=clock() + timedelta(days=1))
    runtime.store.write_now(add_command, order, edge_id=edge.id, at=clock())
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(runtime.gateway_key.public_key))
    target = "/edge/v1/commands"
    async with listening(str(edge.client.base_url), target, headers=edge.headers("GET", target)) as ear:
        heard = [await ear.next(), await ear.next()]
    assert sorted(event.name for event in heard) == ["command", "policy"]
    for event in heard:
        key.verify(base64.b64decode(event.id), f"command\n{edge.id}\n{event.data}".encode())


async def test_a_command_comes_again_until_it_has_ended(
    edge: SigningEdge, operator: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:  # fmt: skip
    order = EraseFace(id="order-1", person_id="p1", deadline=clock() + timedelta(days=1))
    runtime.store.write_now(add_command, order, edge_id=edge.id, at=clock())
    target = "/edge/v1/commands"

    async def first() -> str:
        async with listening(str(edge.client.base_url), target, headers=edge.headers("GET", target)) as ear:
            return str((await ear.next()).json()["id"])

    assert [await first(), await first()] == ["order-1", "order-1"], "a stream that broke off loses none"
    async with Obedient(edge) as obedient:
        await until(lambda: not runtime.store.read_now(commands_wait, EDGE, at=clock()))
        assert [name for name, _ in obedient.heard].count("command") == 1, "on one stream it comes once"
    async with Obedient(edge) as obedient:
        assert [name for name, _ in obedient.heard] == ["policy"]
