"""Visitor passes: whom they let in, for how long, how often, and what their edge is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from gateway.issuing import PASSES_PER_HOST, forget_visitors
from gateway.runtime import Runtime
from gateway.store.places import put_door
from gateway.store.tables_people import people
from models.events import AccessGranted, fact_id
from models.people import credential_digest
from models.places import Door
from models.rights import Rights
from tests.gateway.households import add_flats, call, policy_of
from tests.gateway.support import EDGE, PASSWORD, Clock, SigningEdge
from tests.gateway.test_rights import opened

EVENING = "2026-03-01T20:00:00Z"


@pytest.fixture(autouse=True)
async def lin(runtime: Runtime, manager: httpx.AsyncClient) -> None:
    """Give site a its flats, and a host to flat 101."""
    add_flats(runtime)
    await call(manager, "POST", "people", 201, json={"id": "lin", "name": "Lin Yue", "flat": "f101"})


async def test_a_guest_gets_in_once_by_qr_and_the_edge_says_so(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    body = {"host": "lin", "visitor": "Grandmother Zhou", "valid_until": EVENING}
    made = await call(manager, "POST", "visitors", 201, json=body)
    assert (made["doors"], made["uses"], made["used"], made["has_pin"]) == (["gate", "side"], 1, 0, False)
    qr = await call(manager, "POST", f"visitors/{made['id']}/qr", 201)
    policy = policy_of(runtime)
    ticket = opened(policy, qr["ticket"])
    assert (ticket.about, ticket.id) == ("pass", made["id"])
    assert "Zhou" not in str(policy)
    rights = Rights.of(policy)
    assert rights.pass_refusal(ticket.id, "gate", at=clock(), used=0, clock_trusted=True) is None
    granted = AccessGranted(
        id=fact_id(EDGE, "gate", "7", "access_granted"), at=clock(), door_id="gate", attempt="t", method="qr",
        pass_id=made["id"], unlocked=True,
    )  # fmt: skip
    await edge.report(granted)
    await edge.report(granted)
    shown = await call(manager, "GET", f"visitors/{made['id']}")
    assert shown["used"] == 1, "a fact that is told twice counts once"
    over = await call(manager, "POST", f"visitors/{made['id']}/qr", 409)
    assert "over" in over["detail"]
    told = policy_of(runtime)
    assert [one.used for one in told.passes] == [1]


async def test_an_edge_uses_up_no_pass_of_doors_that_are_not_its_own(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, url: str, clock: Clock
) -> None:
    back = Door(id="back", site_id="a", name="Back door", edge_id="edge-2")
    runtime.store.write_now(put_door, back)
    body = {"host": "lin", "doors": ["gate"], "valid_until": EVENING}
    made = await call(manager, "POST", "visitors", 201, json=body)
    stranger = SigningEdge(url, clock, edge_id="edge-2")
    assert (await stranger.enrol(runtime.store)).status_code == 201
    for n, door_id in enumerate(("back", "gate", "nowhere")):
        used = AccessGranted(
            id=fact_id("edge-2", door_id, str(n), "access_granted"), at=clock(), door_id=door_id, attempt="t",
            method="qr", pass_id=made["id"], unlocked=True,
        )  # fmt: skip
        assert (await stranger.report(used)).status_code == 200
    assert (await call(manager, "GET", f"visitors/{made['id']}"))["used"] == 0
    await stranger.client.aclose()


async def test_a_pin_for_a_guest_is_made_up_long_enough_and_shown_once(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    body = {"host": "lin", "doors": ["gate"], "valid_until": EVENING, "with_pin": True}
    key = {"Idempotency-Key": "guest"}
    made = await call(manager, "POST", "visitors", 201, json=body | {"visitor": "Zhou"}, headers=key)
    again = await call(manager, "POST", "visitors", 201, json=body | {"visitor": "Zhou"}, headers=key)
    assert (len(made["pin"]), made["has_pin"]) == (5, True)
    assert (again["pin"], again["visitor"], again["id"]) == (None, "", made["id"])
    policy = policy_of(runtime)
    digest = credential_digest("pin", made["pin"], bytes.fromhex(policy.credential_key))
    assert [one.pin_digest for one in policy.passes] == [digest]
    taken = await manager.post("/api/v1/people/lin/credentials", json={"kind": "pin", "value": made["pin"] + "7"})
    assert taken.status_code == 201, "another PIN is free"
    await call(manager, "POST", "people/lin/credentials", 422, json={"kind": "pin", "value": made["pin"]})
    longer = await call(manager, "POST", "visitors", 201, json=body)
    assert len(longer["pin"]) == 6, "three PINs at this site by now"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"valid_until": "2026-03-01T07:00:00Z"}, "later than now"),
        ({"valid_from": "2026-03-02T00:00:00Z"}, "ends after it begins"),
        ({"valid_until": "2026-05-01T00:00:00Z"}, "31 days"),
        ({"doors": ["far"]}, "'far'"),
        ({"doors": ["pool"]}, "host may not pass"),
        ({"host": None, "doors": ["gate", "pool"]}, "one edge"),
        ({"host": None, "doors": None}, "name doors"),
        ({"host": None, "doors": ["pool"], "with_pin": True, "uses": 0}, "takes no PIN"),
        ({"uses": -1}, "uses"),
        ({"uses": 1001}, "uses"),
        ({"valid_until": "2026-03-01T20:00:00"}, "valid_until"),
        ({"visitor": "a\nb"}, "visitor"),
        ({"extra": 1}, "extra"),
    ],
)
async def test_what_is_no_pass_is_refused_with_what_to_do(
    manager: httpx.AsyncClient, change: dict[str, Any], *, what: str
) -> None:
    body: dict[str, Any] = {"host": "lin", "doors": ["gate"], "valid_until": EVENING} | change
    refused = await call(manager, "POST", "visitors", 422, json=body)
    assert what in str(refused)


async def test_uncounted_uses_may_have_doors_of_several_edges(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    body = {"doors": ["gate", "pool"], "valid_until": EVENING, "uses": 0}
    made = await call(manager, "POST", "visitors", 201, json=body)
    assert [one.doors for one in policy_of(runtime).passes] == [("gate",)]
    assert [one.doors for one in policy_of(runtime, "edge-2").passes] == [("pool",)]
    assert made["host_id"] is None


async def test_a_revoked_pass_leaves_the_policy(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    made = await call(manager, "POST", "visitors", 201, json={"host": "lin", "valid_until": EVENING})
    await call(manager, "DELETE", f"visitors/{made['id']}", 204)
    await call(manager, "DELETE", f"visitors/{made['id']}", 204)
    assert policy_of(runtime).passes == ()
    await call(manager, "POST", f"visitors/{made['id']}/qr", 409)
    assert (await call(manager, "GET", f"visitors/{made['id']}"))["revoked_at"] is not None


async def test_a_long_pass_gets_its_qr_a_day_at_a_time(manager: httpx.AsyncClient, clock: Clock) -> None:
    body = {"doors": ["gate"], "uses": 0, "valid_from": "2026-03-03T00:00:00Z", "valid_until": "2026-03-20T00:00:00Z"}
    made = await call(manager, "POST", "visitors", 201, json=body)
    qr = await call(manager, "POST", f"visitors/{made['id']}/qr", 201)
    assert (qr["valid_from"], qr["valid_until"]) == ("2026-03-03T00:00:00Z", "2026-03-03T23:59:00Z")
    clock.turn(seconds=1)
    short = await call(manager, "POST", "visitors", 201, json={"doors": ["gate"], "valid_until": EVENING})
    qr = await call(manager, "POST", f"visitors/{short['id']}/qr", 201)
    assert qr["valid_until"] == EVENING


async def test_passes_of_another_site_do_not_exist(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, *, operator: httpx.AsyncClient
) -> None:
    made = await call(manager, "POST", "visitors", 201, json={"host": "lin", "valid_until": EVENING})
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/qr")):
        await call(other, method, f"visitors/{made['id']}{path}", 404)
    await call(other, "POST", "visitors", 404, json={"host": "lin", "valid_until": EVENING})
    assert (await call(other, "GET", "visitors"))["items"] == []
    await call(operator, "GET", "visitors", 403)
    mine = await call(manager, "GET", "visitors", params={"host": "lin", "limit": 1})
    assert [one["id"] for one in mine["items"]] == [made["id"]]
    assert (await call(manager, "GET", "visitors", params={"host": "nobody"}))["items"] == []


async def test_a_host_has_so_many_live_passes_at_most(manager: httpx.AsyncClient) -> None:
    body = {"host": "lin", "valid_until": EVENING}
    for _ in range(PASSES_PER_HOST):
        await call(manager, "POST", "visitors", 201, json=body)
    refused = await call(manager, "POST", "visitors", 409, json=body)
    assert "revoke" in refused["detail"]


async def test_old_passes_are_forgotten_with_the_names_on_them(
    manager: httpx.AsyncClient, runtime: Runtime, *, clock: Clock
) -> None:
    await call(manager, "POST", "visitors", 201, json={"host": "lin", "visitor": "Zhou", "valid_until": EVENING})
    clock.turn(days=30)
    assert runtime.store.write_now(forget_visitors, at=clock()) == 0
    clock.turn(days=1)
    assert runtime.store.write_now(forget_visitors, at=clock()) == 1
    await call(manager, "POST", "session", json={"username": "manager", "password": PASSWORD})
    assert (await call(manager, "GET", "visitors"))["items"] == []


async def test_a_grant_notes_the_day_of_a_persons_activity_at_the_edges_own_site(
    edge: SigningEdge, runtime: Runtime, *, clock: Clock
) -> None:
    def active() -> Any:
        return runtime.store.read_now(
            lambda c: c.execute(select(people.c.active_at).where(people.c.id == "lin")).scalar()
        )

    def granted(n: int, **more: Any) -> AccessGranted:
        return AccessGranted(
            id=fact_id(EDGE, "gate", str(n), "access_granted"), door_id="gate", attempt=str(n), method="card",
            person_id="lin", unlocked=True, **{"at": clock()} | more,
        )  # fmt: skip

    assert active() is None
    await edge.report(granted(1, at=clock() + timedelta(days=400)))
    assert active() == clock(), "an edge whose clock runs ahead keeps nobody active for ever"
    first = clock()
    clock.turn(hours=3)
    await edge.report(granted(2))
    assert active() == first
    clock.turn(days=1)
    await edge.report(granted(3))
    assert active() == clock()
