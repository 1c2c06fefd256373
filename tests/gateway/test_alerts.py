"""Alerts through the API and the live feed: what raises, counts, clears; who acts; what a broken connection gets again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.centre.signing import signature_headers
from gateway.runtime import Runtime
from gateway.status import notice_silent_edges
from gateway.store.alerts import alerts_of
from gateway.store.edges import revoke_edge
from gateway.store.feed import drop_old_announcements
from models.events import CameraLost, DoorCalled, DoorCallEnded, DoorHeldOpen, DuressReported
from tests.gateway.conftest import CENTRE_KEY
from tests.gateway.support import BEGINNING, Clock, Ear, SigningEdge, closed, forced, listening

SITE = frozenset({"a"})


def cookie_of(client: httpx.AsyncClient) -> dict[str, str]:
    return {"Cookie": f"gatehouse_session={client.cookies['gatehouse_session']}"}


async def open_alerts(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await client.get("/api/v1/alerts")).json()["items"])


async def test_a_repetition_while_active_counts_and_a_new_one_after_clearing_is_new(
    edge: SigningEdge, operator: httpx.AsyncClient
) -> None:
    await edge.report(forced(n=1), forced(n=2))
    (alert,) = await open_alerts(operator)
    assert (alert["count"], alert["condition"], alert["version"]) == (2, "active", 2)
    await edge.report(closed(n=3), forced(n=4))
    assert [each["condition"] for each in await open_alerts(operator)].count("active") == 1
    assert len(await open_alerts(operator)) == 2


async def test_condition_and_workflow_do_not_move_each_other(edge: SigningEdge, operator: httpx.AsyncClient) -> None:
    await edge.report(forced())
    (alert,) = await open_alerts(operator)
    path = f"/api/v1/alerts/{alert['id']}"
    taken = (await operator.post(f"{path}/acknowledge", json={"note": "on my way"})).json()
    assert (taken["workflow"], taken["condition"], taken["acknowledged_by"]) == ("acknowledged", "active", "operator")
    await edge.report(closed())
    assert (await operator.get(path)).json()["condition"] == "cleared"
    assert (await operator.post(f"{path}/acknowledge", json={})).status_code == 409
    done = (await operator.post(f"{path}/resolve", json={"disposition": "false_alarm"})).json()
    assert (done["workflow"], done["disposition"]) == ("resolved", "false_alarm")
    assert await open_alerts(operator) == []
    everything = (await operator.get("/api/v1/alerts", params={"status": "all"})).json()["items"]
    assert [each["id"] for each in everything] == [alert["id"]]
    assert (await operator.post(f"{path}/resolve", json={"disposition": "handled"})).status_code == 409


async def test_an_outdated_edit_is_refused(edge: SigningEdge, operator: httpx.AsyncClient) -> None:
    await edge.report(forced())
    (alert,) = await open_alerts(operator)
    path = f"/api/v1/alerts/{alert['id']}"
    etag = (await operator.get(path)).headers["etag"]
    await edge.report(closed())
    assert (await operator.post(f"{path}/acknowledge", json={}, headers={"If-Match": etag})).status_code == 409
    assert (await operator.post(f"{path}/acknowledge", json={}, headers={"If-Match": "x"})).status_code == 422
    now = (await operator.get(path)).headers["etag"]
    assert (await operator.post(f"{path}/acknowledge", json={}, headers={"If-Match": now})).status_code == 200


async def test_alerts_of_another_site_do_not_exist(
    edge: SigningEdge, other: httpx.AsyncClient, runtime: Runtime
) -> None:
    await edge.report(forced())
    (alert,) = runtime.store.read_now(alerts_of, site_ids=SITE, open_only=True, before=None, limit=5)
    assert await open_alerts(other) == []
    for method, path in (("GET", ""), ("POST", "/acknowledge"), ("POST", "/resolve")):
        body = None if method == "GET" else {"disposition": "handled"} if path == "/resolve" else {}
        answer = await other.request(method, f"/api/v1/alerts/{alert.id}{path}", json=body)
        assert answer.status_code == 404
    assert (await other.post("/api/v1/doors/gate/unlock", json={"reason": "please"})).status_code == 404
    assert (await other.get("/api/v1/doors/gate")).status_code == 404
    assert (await other.get("/api/v1/cameras/cam")).status_code == 404


async def test_pages_follow_one_another_without_gap_or_repetition(
    edge: SigningEdge, operator: httpx.AsyncClient
) -> None:
    for n in range(7):
        at = BEGINNING + timedelta(seconds=n // 2)
        await edge.report(forced("gate", 10 * n, at=at), closed("gate", 10 * n + 1, at=at))
    seen, cursor = [], None
    while True:
        params: dict[str, Any] = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await operator.get("/api/v1/alerts", params=params)).json()
        seen += [each["id"] for each in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 7
    assert (await operator.get("/api/v1/alerts", params={"cursor": "rubbish"})).status_code == 422


async def next_alert(ear: Ear) -> dict[str, Any]:
    while True:
        event = await ear.next()
        if event.name == "alert":
            return dict(event.json())


async def test_the_feed_tells_changes_and_replays_what_a_broken_connection_missed(
    edge: SigningEdge, operator: httpx.AsyncClient, url: str
) -> None:
    async with listening(url, "/api/v1/live", headers=cookie_of(operator)) as ear:
        hello = await ear.next()
        assert hello.name == "hello"
        await edge.report(forced())
        raised = await next_alert(ear)
        assert (raised["change"], raised["kind"], raised["place"]["door_id"]) == ("raised", "door_forced", "gate")
    await edge.report(closed())
    await operator.post(f"/api/v1/alerts/{raised['id']}/acknowledge", json={})
    missed = cookie_of(operator) | {"Last-Event-ID": str(raised["seq"])}
    async with listening(url, "/api/v1/live", headers=missed) as ear:
        changes = [await next_alert(ear) for _ in range(2)]
    assert [change["change"] for change in changes] == ["cleared", "acknowledged"]
    assert changes[0]["seq"] > raised["seq"]


@pytest.mark.parametrize("last", ["999999", "1", "\u00b2"])
async def test_a_place_that_the_feed_no_longer_has_is_a_reset(
    edge: SigningEdge, operator: httpx.AsyncClient, *, url: str, runtime: Runtime, last: str
) -> None:
    await edge.report(*(forced("gate", n) for n in range(10)))
    runtime.store.write_now(drop_old_announcements, keep=3)
    async with listening(url, "/api/v1/live", headers=cookie_of(operator) | {"Last-Event-ID": last}) as ear:
        assert (await ear.next()).name == "reset"


async def test_the_feed_shows_each_only_their_sites(edge: SigningEdge, other: httpx.AsyncClient, url: str) -> None:
    async with listening(url, "/api/v1/live", headers=cookie_of(other) | {"Last-Event-ID": "0"}) as ear:
        await edge.report(forced())
        with pytest.raises(TimeoutError):
            await ear.next(within_s=0.5)


async def test_late_facts_exercises_and_cameras_are_marked(edge: SigningEdge, operator: httpx.AsyncClient) -> None:
    await edge.report(
        forced("gate", late=True),
        DuressReported(id="d", at=BEGINNING, door_id="side", exercise=True),
        CameraLost(id="c", at=BEGINNING, camera_id="cam", reason="cut"),
        DoorHeldOpen(id="h", at=BEGINNING, door_id="side", open_s=31),
    )
    found = {each["kind"]: each for each in await open_alerts(operator)}
    assert found["door_forced"]["late"] is True
    assert found["duress"]["exercise"] is True
    assert (found["duress"]["severity"], found["door_held_open"]["severity"]) == ("urgent", "minor")
    assert found["camera_lost"]["place"] | {"address": ""} == {
        "site_id": "a", "site_name": "Site a", "door_id": None, "camera_id": "cam", "name": "Camera", "address": "",
        "timezone": "Asia/Shanghai",
    }  # fmt: skip
    assert {kind: each["delivery"] for kind, each in found.items()} == {
        "door_forced": "pending", "duress": "pending", "camera_lost": "none", "door_held_open": "none",
    }  # fmt: skip


async def test_a_silent_edge_is_an_alert_that_its_next_word_clears(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    store, began = runtime.store, clock()
    clock.turn(seconds=59)
    assert not store.write_now(notice_silent_edges, at=clock(), since=began, routes=())
    clock.turn(seconds=2)
    assert store.write_now(notice_silent_edges, at=clock(), since=began, routes=())
    assert not store.write_now(notice_silent_edges, at=clock(), since=began, routes=())
    (alert,) = await open_alerts(operator)
    assert (alert["kind"], alert["place"]["name"]) == ("edge_lost", "edge-1")
    status = {"edge_id": edge.id, "at": clock().isoformat(), "backlog": 0, "doors": [], "cameras": [], "counters": {},
              "policy": [1, 1]}  # fmt: skip
    assert (await edge.send("POST", "/edge/v1/status", status)).status_code == 204
    assert (await open_alerts(operator))[0]["condition"] == "cleared"


def rung(n: int = 1, *, at: datetime = BEGINNING, **more: Any) -> DoorCalled:
    return DoorCalled(id=f"ring-{n}", at=at, door_id="gate", attempt=f"a{n}", **more)


async def test_a_call_is_over_once_its_edge_falls_silent(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    store, began = runtime.store, clock()
    await edge.report(rung(), forced("gate", 2))
    clock.turn(seconds=59)
    assert not store.write_now(notice_silent_edges, at=clock(), since=began, routes=())
    assert {each["condition"] for each in await open_alerts(operator)} == {"active"}
    clock.turn(minutes=9)
    assert store.write_now(notice_silent_edges, at=clock(), since=began, routes=())
    found = {each["kind"]: each["condition"] for each in await open_alerts(operator)}
    assert found == {"edge_lost": "active", "door_call": "cleared", "door_forced": "active"}
    await edge.report(
        DoorCallEnded(id="over", at=BEGINNING + timedelta(minutes=1), door_id="gate", attempt="a1", how="unanswered")
    )
    assert not store.write_now(notice_silent_edges, at=clock(), since=began, routes=()), "ended once"


async def test_a_call_is_over_once_its_edge_is_revoked(
    edge: SigningEdge, operator: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    await edge.report(rung())
    runtime.store.write_now(revoke_edge, edge.id, at=clock())
    assert runtime.store.write_now(notice_silent_edges, at=clock(), since=clock(), routes=())
    assert [(each["kind"], each["condition"]) for each in await open_alerts(operator)] == [("door_call", "cleared")]
    assert not runtime.store.write_now(notice_silent_edges, at=clock(), since=clock(), routes=()), "ended once"


async def test_a_ring_is_a_call_of_its_own_though_nobody_told_the_end_of_the_one_before(
    edge: SigningEdge, operator: httpx.AsyncClient
) -> None:
    later = BEGINNING + timedelta(minutes=5)
    await edge.report(rung(late=True), rung(2, at=later))
    await edge.report(rung(2, at=later))
    found = [(each["condition"], each["late"], each["count"]) for each in await open_alerts(operator)]
    assert found == [("active", False, 1), ("cleared", True, 1)]


def receipt(alert_id: str, state: str = "accepted", **change: Any) -> dict[str, Any]:
    return {"alert_id": alert_id, "state": state, "at": BEGINNING.isoformat(), "reference": "R-1"} | change


async def test_a_signed_receipt_is_shown_once_on_its_alert(
    edge: SigningEdge, operator: httpx.AsyncClient, *, url: str, clock: Clock
) -> None:
    import msgspec

    await edge.report(forced())
    (alert,) = await open_alerts(operator)

    async def push(content: object, key: str = CENTRE_KEY) -> httpx.Response:
        body = msgspec.json.encode(content)
        headers = signature_headers("m", timestamp_s=int(clock().timestamp()), body=body, keys=[key])
        return await edge.client.post("/api/v1/centre/receipts", content=body, headers=headers)

    async with listening(url, "/api/v1/live", headers=cookie_of(operator)) as ear:
        await ear.next()
        assert (await push(receipt(alert["id"]))).json() == {"taken": 1}
        told = await ear.next()
    assert (told.name, told.json()["alert_id"], told.json()["receipt"]["state"]) == ("receipt", alert["id"], "accepted")
    assert (await push(receipt(alert["id"]))).json() == {"taken": 0}
    assert (await push([receipt(alert["id"], "closed")])).json() == {"taken": 1}
    shown = (await operator.get(f"/api/v1/alerts/{alert['id']}")).json()["receipts"]
    assert {each["state"] for each in shown} == {"accepted", "closed"}
    assert (await push(receipt(alert["id"]), key="whsec_" + "b3RoZXIx" * 4)).status_code == 401
    assert (await push(receipt("unknown"))).status_code == 404
    for bad in (receipt(alert["id"], "eaten"), receipt(alert["id"], at="2026-03-01T08:00:00"), {"x": 1}, "text"):
        assert (await push(bad)).status_code == 422
