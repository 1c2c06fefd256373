"""Logging in, roles and scopes, where changes may come from, and what every answer carries."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from gateway.auth.passwords import hash_password, lock_after, password_matches
from gateway.auth.roles import RIGHTS, Caller, check_role
from gateway.runtime import HASHES_AT_ONCE, Runtime
from gateway.store.audit import audit_rows
from gateway.store.tables_access import idempotency
from gateway.store.users import SessionRules, disable_user, set_password
from models.errors import Forbidden, InvalidInput
from tests.gateway.conftest import logged_in
from tests.gateway.support import PASSWORD, Clock, SigningEdge, forced

LOGIN = {"username": "operator", "password": PASSWORD}


async def log_in(url: str, **change: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        return await client.post("/api/v1/session", json=LOGIN | change)


async def test_a_session_is_a_cookie_that_scripts_cannot_read(url: str) -> None:
    answer = await log_in(url)
    assert answer.json()["user"]["role"] == "operator"
    cookie = answer.headers["set-cookie"]
    for part in ("gatehouse_session=", "HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie


async def test_logging_out_ends_the_session(operator: httpx.AsyncClient) -> None:
    assert (await operator.get("/api/v1/session")).json()["user"]["username"] == "operator"
    kept = operator.cookies["gatehouse_session"]
    assert (await operator.delete("/api/v1/session")).status_code == 204
    again = await operator.get("/api/v1/session", headers={"Cookie": f"gatehouse_session={kept}"})
    assert again.status_code == 401


async def test_a_session_ends_when_idle_and_in_any_case(operator: httpx.AsyncClient, clock: Clock) -> None:
    for _ in range(25):
        clock.turn(minutes=25)
        assert (await operator.get("/api/v1/session")).status_code == 200
    clock.turn(minutes=31)
    assert (await operator.get("/api/v1/session")).status_code == 401


async def test_a_session_has_a_longest_life(operator: httpx.AsyncClient, clock: Clock) -> None:
    for _ in range(28):
        clock.turn(minutes=25)
        assert (await operator.get("/api/v1/session")).status_code == 200
    clock.turn(minutes=25)
    assert (await operator.get("/api/v1/session")).status_code == 401


async def test_wrong_names_and_passwords_look_alike_and_lock_for_a_while(
    url: str, runtime: Runtime, clock: Clock
) -> None:
    wrong, nobody = await log_in(url, password="wrong"), await log_in(url, username="nobody")
    assert wrong.status_code == nobody.status_code == 401
    assert wrong.json() == nobody.json()
    for _ in range(4):
        await log_in(url, password="wrong")
    assert (await log_in(url)).status_code == 401, "locked, even with the right password"
    clock.turn(seconds=31)
    assert (await log_in(url)).status_code == 200
    results = [row.result for row in runtime.store.read_now(audit_rows) if row.action == "session.log_in"]
    assert results.count("wrong_password") == 5
    assert {"locked", "unknown_user", "ok"} <= set(results)


async def test_guessing_many_at_once_is_no_way_around_the_lock(url: str, runtime: Runtime) -> None:
    answers = await asyncio.gather(*(log_in(url, password="wrong") for _ in range(12)))
    assert {answer.status_code for answer in answers} == {401}
    results = [row.result for row in runtime.store.read_now(audit_rows) if row.action == "session.log_in"]
    assert results.count("wrong_password") <= 4 + HASHES_AT_ONCE
    assert len(results) == 12


async def test_disabling_and_new_passwords_work_at_once(
    operator: httpx.AsyncClient, runtime: Runtime, url: str
) -> None:
    new = "another good password"
    runtime.store.write_now(set_password, "operator", password_hash=hash_password(new))
    assert (await operator.get("/api/v1/session")).status_code == 401
    assert (await log_in(url, password=new)).status_code == 200
    runtime.store.write_now(disable_user, "operator", at=runtime.clock())
    assert (await log_in(url, password=new)).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200), ({"Sec-Fetch-Site": "same-origin"}, 200), ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403), ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403),
    ],
)  # fmt: skip
async def test_changes_come_from_our_own_pages_only(
    operator: httpx.AsyncClient, edge: SigningEdge, *, headers: dict[str, str], status: int
) -> None:
    await edge.report(forced())
    alert = (await operator.get("/api/v1/alerts")).json()["items"][0]
    answer = await operator.post(f"/api/v1/alerts/{alert['id']}/acknowledge", json={}, headers=headers)
    assert answer.status_code == status
    own = {"Origin": str(operator.base_url).rstrip("/")}
    assert (await operator.post("/api/v1/session", json=LOGIN, headers=own)).status_code == 200
    cross = {"Origin": "https://evil.example"}
    assert (await operator.post("/api/v1/session", json=LOGIN, headers=cross)).status_code == 403


ROUTES = ["alerts", "doors", "cameras", "people", "facts", "system", "audit", "live", "session", "centre/sequence"]


async def test_nobody_sees_anything_without_logging_in(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for route in ROUTES:
            answer = await client.get(f"/api/v1/{route}")
            assert answer.status_code == 401, route
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_roles_see_what_their_duty_needs(url: str) -> None:
    seen: dict[str, set[str]] = {}
    for role in ("operator", "manager", "guard", "integrator", "audit_administrator", "system_administrator"):
        async with logged_in(url, role) as client:
            statuses = {r: (await client.get(f"/api/v1/{r}")).status_code for r in ROUTES if r != "live"}
            assert set(statuses.values()) <= {200, 403}
            seen[role] = {route for route, status in statuses.items() if status == 200}
    common = {"session"}
    assert seen == {
        "operator": common | {"alerts", "doors", "cameras", "system", "centre/sequence"},
        "manager": common | {"alerts", "doors", "cameras", "people", "facts", "system", "centre/sequence"},
        "guard": common,
        "integrator": common | {"doors", "cameras", "system", "centre/sequence"},
        "audit_administrator": common | {"audit"},
        "system_administrator": common | {"doors", "cameras", "system", "centre/sequence"},
    }


async def test_errors_are_problems_and_never_repeat_a_secret(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answers = [
            await client.post("/api/v1/session", json={"username": "x", "password": "hunter2" * 40}),
            await client.post("/api/v1/session", content=b"{"),
            await client.post("/api/v1/session", content=b"x" * 70_000),
            await client.get("/api/v1/nothing"),
            await client.put("/api/v1/session"),
        ]
    assert [answer.status_code for answer in answers] == [422, 422, 413, 404, 405]
    for answer in answers:
        told = answer.json()
        assert (told["status"], told["type"][:4]) == (answer.status_code, "urn:")
        assert "hunter2" not in answer.text


async def test_a_pin_cannot_be_guessed_from_what_is_kept_for_repetitions(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    await manager.post("/api/v1/people", json={"id": "p1", "name": "Lin Yue"})
    path = "/api/v1/people/p1/credentials"
    key = {"Idempotency-Key": "5f0c6d0e-once", "Content-Type": "application/json"}
    body = b'{"kind":"pin","value":"480213"}'
    first, again = [await manager.post(path, content=body, headers=key) for _ in range(2)]
    assert (first.status_code, again.json()) == (201, first.json())
    (row,) = runtime.store.read_now(lambda connection: connection.execute(select(idempotency)).all())
    assert hashlib.sha256(f"POST {path}\n".encode() + body).hexdigest() != row.request_digest
    assert "5f0c6d0e-once" not in str(row), "the key that the digest is made with is not kept"


async def test_the_console_is_served_with_a_nonce_of_its_own_each_time(url: str, runtime: Runtime) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        missing = await client.get("/")
        assert missing.status_code == 503
        assert "make" in missing.text
        (runtime.console / "assets").mkdir(parents=True)
        (runtime.console / "index.html").write_text('<meta name="csp-nonce" content="__CSP_NONCE__">')
        (runtime.console / "assets" / "a.js").write_text("1")
        (runtime.console.parent / "secret").write_text("secret")
        pages = [await client.get(path) for path in ("/", "/alerts/7")]
        nonces = [page.text.split('content="')[1].split('"')[0] for page in pages]
        assert len({*nonces, "__CSP_NONCE__"}) == 3
        for page, nonce in zip(pages, nonces, strict=True):
            assert f"'nonce-{nonce}'" in page.headers["content-security-policy"]
        script = await client.get("/assets/a.js")
        assert "javascript" in script.headers["content-type"]
        assert "immutable" in script.headers["cache-control"]
        for path in ("/assets/b.js", "/assets/../../secret", "/assets/%2e%2e/%2e%2e/secret"):
            assert "secret" not in (await client.get(path)).text


async def test_openapi_names_every_route_with_its_schema(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        made: dict[str, Any] = (await client.get("/api/v1/openapi.json")).json()
    assert {"/api/v1/alerts", "/api/v1/doors/{door_id}/unlock", "/api/v1/people/{person_id}/face"} <= set(made["paths"])
    schemas = made["components"]["schemas"]
    assert {"AlertView", "DoorView", "PersonView", "Problem", "Place"} <= set(schemas)
    assert not {"password", "url", "user"} & set(schemas["CameraView"]["properties"])


def test_passwords_are_argon2id_and_of_a_decent_length() -> None:
    hashed = hash_password(PASSWORD)
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert password_matches(PASSWORD, hashed)
    assert not password_matches("wrong", hashed)
    assert not password_matches("nobody has this password", None)
    assert not password_matches("x", "no hash")
    for bad in ("short", "x" * 257):
        with pytest.raises(InvalidInput):
            hash_password(bad)


def test_guessing_waits_longer_each_time_and_never_for_ever() -> None:
    rules = SessionRules()
    waits = [
        lock_after(n, attempts=rules.attempts, longest=rules.lockout).total_seconds()
        for n in (1, 4, 5, 6, 7, 50, 10**6)
    ]
    assert waits == [0, 0, 30, 60, 120, 900, 900]


def test_duties_are_separate() -> None:
    for role, rights in RIGHTS.items():
        if role.endswith("administrator"):
            assert not rights & {"people:read", "people:write", "alerts:act", "doors:unlock", "facts:read"}, role
    assert not RIGHTS["operator"] & {"people:read", "people:write", "facts:read"}
    assert check_role("manager") == "manager"
    with pytest.raises(InvalidInput):
        check_role("root")
    caller = Caller(id="u", username="u", role="guard", sites=frozenset())
    with pytest.raises(Forbidden, match="guard"):
        caller.require("doors:read")


def test_the_first_user_is_made_once_with_a_password_in_a_private_file(runtime: Runtime, tmp_path: Path) -> None:
    from gateway.files import write_private
    from gateway.housekeeping import first_user

    assert not runtime.store.write_now(first_user, hash_password(PASSWORD), at=runtime.clock()), "there are users"
    write_private(tmp_path / "deep" / "file", "text")
    assert (tmp_path / "deep" / "file").stat().st_mode & 0o777 == 0o600
