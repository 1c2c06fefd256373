"""Users, roles by a second person, tokens: what administrators may, what they see, and what is on record."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.auth.passwords import hash_password
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.audit import audit_rows
from gateway.store.users import User, add_user
from tests.gateway.conftest import logged_in, seated
from tests.gateway.support import PASSWORD, Clock

WHY = {"Gatehouse-Reason": "staff%20list%20of%20March"}
NEW = "a good new password"


def add_administrators(store: Store, clock: Clock) -> None:
    """Add security administrators: ada and ben everywhere, cai for site a only, dee for the area of site a."""
    scopes: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "ada": (("*",), ()), "ben": (("*",), ()), "cai": (("a",), ()), "dee": ((), ("310104",)),
    }  # fmt: skip
    for name, (sites, areas) in scopes.items():
        user = User(
            id=f"u-{name}", username=name, role="security_administrator", sites=sites, areas=areas, created_at=clock()
        )
        store.write_now(add_user, user, password_hash="unused")


@pytest.fixture
async def ada(url: str, runtime: Runtime, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    add_administrators(runtime.store, clock)
    async with seated(url, runtime, "ada") as client:
        client.headers.update(WHY)
        yield client


@contextlib.asynccontextmanager
async def as_user(url: str, runtime: Runtime, name: str) -> AsyncIterator[httpx.AsyncClient]:
    async with seated(url, runtime, name) as client:
        client.headers.update(WHY)
        yield client


@pytest.fixture
async def ben(ada: httpx.AsyncClient, url: str, runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    async with as_user(url, runtime, "ben") as client:
        assert client.base_url == ada.base_url
        yield client


async def asked(client: httpx.AsyncClient, **change: Any) -> dict[str, Any]:
    """Add a user and return what was answered."""
    body = {"username": "wang", "unit": "Police room 3", "role": "operator", "sites": ["a"], "password": PASSWORD}
    answer = await client.post("/api/v1/users", json=body | change)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def waiting(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get("/api/v1/role-changes")).json()["items"]
    return items


async def test_a_new_user_sees_nothing_until_a_second_person_approves(
    ada: httpx.AsyncClient, ben: httpx.AsyncClient, *, url: str, runtime: Runtime
) -> None:
    made = await asked(ada)
    assert (made["role"], made["sites"]) == ("guard", [])
    (change,) = await waiting(ada)
    assert (change["user_id"], change["role"], change["reason"]) == (made["id"], "operator", "staff list of March")
    async with logged_in(url, "wang") as wang:
        assert (await wang.get("/api/v1/alerts")).status_code == 403
        own = await ada.post(f"/api/v1/role-changes/{change['id']}/approve")
        assert own.status_code == 403, "who asked does not decide"
        assert (await ben.post(f"/api/v1/role-changes/{change['id']}/approve")).json()["decision"] == "approved"
        assert (await wang.get("/api/v1/alerts")).status_code == 200, "rights are effective at once"
        again = await ben.post(f"/api/v1/role-changes/{change['id']}/approve")
        assert again.status_code == 409
    acts = [row.action for row in runtime.store.read_now(audit_rows)]
    assert {"user.add", "role.ask", "role.approve"} <= set(acts)
    assert await waiting(ada) == []


async def test_nobody_decides_about_themselves_and_old_requests_lapse(
    ada: httpx.AsyncClient, ben: httpx.AsyncClient, *, url: str, runtime: Runtime, clock: Clock
) -> None:
    body = {"role": "security_administrator", "sites": ["*"]}
    answer = await ada.post("/api/v1/users/u-ben/roles", json=body)
    assert answer.status_code == 201, answer.text
    change = answer.json()
    assert (await ben.post(f"/api/v1/role-changes/{change['id']}/approve")).status_code == 403
    twice = await ada.post("/api/v1/users/u-ben/roles", json=body)
    assert twice.status_code == 409, "one request at a time"
    assert (await ada.post(f"/api/v1/role-changes/{change['id']}/reject")).json()["decision"] == "rejected"
    change = (await ada.post("/api/v1/users/u-operator/roles", json={"role": "manager", "sites": ["a"]})).json()
    clock.turn(minutes=1, days=7)
    async with as_user(url, runtime, "ben") as fresh:
        late = await fresh.post(f"/api/v1/role-changes/{change['id']}/approve")
    assert (late.status_code, "ask again" in late.json()["detail"]) == (409, True)


async def test_administrators_see_and_grant_within_their_own_scope(
    ada: httpx.AsyncClient, url: str, runtime: Runtime
) -> None:
    everybody = [user["username"] for user in (await ada.get("/api/v1/users")).json()["items"]]
    assert {"other", "ada", "operator"} <= set(everybody)
    for name, seen in (("cai", {"cai"}), ("dee", {"cai", "dee"})):
        async with as_user(url, runtime, name) as client:
            names = {user["username"] for user in (await client.get("/api/v1/users")).json()["items"]}
            assert seen <= names
            assert not {"other", "ada"} & names
            await check_far_away(client)


async def check_far_away(client: httpx.AsyncClient) -> None:
    """Check that users and scopes beyond site a look as if they were not there."""
    assert (await client.get("/api/v1/users/u-other")).status_code == 404
    assert (await client.post("/api/v1/users/u-other/disable")).status_code == 404
    assert (await client.put("/api/v1/users/u-other/password", json={"password": NEW})).status_code == 404
    for scope in ({"sites": ["b"]}, {"sites": ["*"]}, {"areas": ["310105"]}, {"areas": ["310000"]}):
        answer = await client.post("/api/v1/users/u-operator/roles", json={"role": "operator", **scope})
        assert answer.status_code == 404, scope


async def test_a_new_user_is_judged_by_the_scope_that_was_asked_for(
    ada: httpx.AsyncClient, url: str, runtime: Runtime
) -> None:
    made = await asked(ada, username="far", sites=["b"])
    (change,) = await waiting(ada)
    async with as_user(url, runtime, "cai") as cai:
        assert (await cai.get(f"/api/v1/users/{made['id']}")).status_code == 404
        assert await waiting(cai) == []
        assert (await cai.post(f"/api/v1/role-changes/{change['id']}/approve")).status_code == 404


async def test_disabling_works_at_once_and_can_be_undone(
    ada: httpx.AsyncClient, operator: httpx.AsyncClient, runtime: Runtime
) -> None:
    assert (await operator.get("/api/v1/alerts")).status_code == 200
    gone = (await ada.post("/api/v1/users/u-operator/disable")).json()
    assert gone["disabled_at"] is not None
    assert (await operator.get("/api/v1/alerts")).status_code == 401
    back = (await ada.post("/api/v1/users/u-operator/enable")).json()
    assert back["disabled_at"] is None
    assert (await operator.get("/api/v1/alerts")).status_code == 401, "the session ended for good"
    assert (await ada.post("/api/v1/users/u-ada/disable")).status_code == 409
    rows = runtime.store.read_now(audit_rows)
    assert [row.detail.get("reason") for row in rows if row.action == "user.disable"] == ["staff list of March"]


async def test_a_changed_unit_needs_the_version_that_was_seen(ada: httpx.AsyncClient) -> None:
    first = await ada.get("/api/v1/users/u-operator")
    tag = first.headers["etag"]
    changed = await ada.patch("/api/v1/users/u-operator", json={"unit": "Room 4"}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["unit"]) == (200, "Room 4")
    stale = await ada.patch("/api/v1/users/u-operator", json={"unit": "Room 5"}, headers={"If-Match": tag})
    assert stale.status_code == 409


async def test_a_forgotten_password_is_replaced_but_not_that_of_who_could_approve(
    ada: httpx.AsyncClient, url: str
) -> None:
    assert (await ada.put("/api/v1/users/u-operator/password", json={"password": NEW})).status_code == 200
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.post("/api/v1/session", json={"username": "operator", "password": NEW})
        assert answer.status_code == 200
    refused = await ada.put("/api/v1/users/u-ben/password", json={"password": NEW})
    assert refused.status_code == 403
    assert (await ada.put("/api/v1/users/u-operator/password", json={"password": "short"})).status_code == 422


async def test_people_change_their_own_password_and_keep_one_session(url: str, runtime: Runtime, clock: Clock) -> None:
    user = User(id="u-li", username="li", role="operator", sites=("a",), created_at=clock())
    runtime.store.write_now(add_user, user, password_hash=hash_password(PASSWORD))
    async with logged_in(url, "li") as first, logged_in(url, "li") as second:
        wrong = await first.put("/api/v1/session/password", json={"old": "not this one", "new": NEW})
        assert wrong.status_code == 403
        done = await first.put("/api/v1/session/password", json={"old": PASSWORD, "new": NEW})
        assert done.status_code == 200
        assert (await first.get("/api/v1/session")).status_code == 200
        assert (await second.get("/api/v1/session")).status_code == 401


async def test_a_token_has_no_rights_until_approved_ends_and_can_be_revoked(
    ada: httpx.AsyncClient, ben: httpx.AsyncClient, *, url: str, clock: Clock
) -> None:
    body = {"name": "lift controller", "role": "integrator", "sites": ["a"], "days": 30}
    made = (await ada.post("/api/v1/tokens", json=body)).json()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    async with httpx.AsyncClient(base_url=url, trust_env=False, headers=bearer) as machine:
        assert (await machine.get("/api/v1/doors")).status_code == 403
        (change,) = await waiting(ada)
        assert (await ben.post(f"/api/v1/role-changes/{change['id']}/approve")).status_code == 200
        assert (await machine.get("/api/v1/doors")).status_code == 200
        (shown,) = (await ada.get("/api/v1/tokens")).json()["items"]
        assert (shown["name"], shown["role"], shown["sites"]) == ("lift controller", "integrator", ["a"])
        assert made["token"] not in str(shown)
        clock.at += timedelta(days=30)
        assert (await machine.get("/api/v1/doors")).status_code == 401, "it has ended"
        clock.at -= timedelta(days=30)
        assert (await ada.delete(f"/api/v1/tokens/{made['id']}")).status_code == 204
        assert (await machine.get("/api/v1/doors")).status_code == 401


async def test_no_machine_grants_roles(ada: httpx.AsyncClient) -> None:
    body = {"name": "bot", "role": "security_administrator", "sites": ["a"]}
    assert (await ada.post("/api/v1/tokens", json=body)).status_code == 422


@pytest.mark.parametrize(
    "change",
    [
        {"role": "root"}, {"sites": [], "areas": []}, {"sites": [""]}, {"areas": ["31x"]}, {"password": "short"},
        {"username": " "}, {"username": "x" * 65}, {"more": 1}, {"sites": ["a"] * 501},
    ],
)  # fmt: skip
async def test_what_makes_no_user_is_refused(ada: httpx.AsyncClient, change: dict[str, Any]) -> None:
    body = {"username": "wang", "role": "operator", "sites": ["a"], "password": PASSWORD} | change
    answer = await ada.post("/api/v1/users", json=body)
    assert answer.status_code == 422
    assert PASSWORD not in answer.text


async def test_acts_that_need_a_reason_are_refused_without_one(ada: httpx.AsyncClient) -> None:
    for reason in ("", "x", "%ff", "a" * 201):
        answer = await ada.post("/api/v1/users/u-operator/disable", headers={"Gatehouse-Reason": reason})
        assert (answer.status_code, "Gatehouse-Reason" in answer.text) == (422, True), reason
    chinese = {"Gatehouse-Reason": "%E7%A6%BB%E8%81%8C"}
    assert (await ada.post("/api/v1/users/u-operator/disable", headers=chinese)).status_code == 200
