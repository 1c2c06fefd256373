"""Every operation of the OpenAPI document with what nobody thought to send: whatever comes, no answer is 5xx.

Made by schemathesis from the document, sent to a real server on each database, by whoever may call the operation, half
of the time about objects that exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case

from gateway.api.application import application
from gateway.auth.roles import RIGHTS, Role
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.users import User, add_api_token
from tests.gateway.conftest import _database
from tests.gateway.routes import fill, route_table
from tests.gateway.support import Clock, furnish, serving

EXAMPLES = 6
ENDLESS = {"/api/v1/live"}
WAITS_FOR_AN_EDGE = {
    "/api/v1/doors/{door_id}/unlock",
    "/api/v1/doors/{door_id}/refuse-call",
    "/api/v1/people/{person_id}/face",
}
ORDER: tuple[Role, ...] = (
    "manager", "system_administrator", "security_administrator", "audit_administrator", "operator", "integrator"
)  # fmt: skip
BY_NAME = {entry.name: entry for entry in route_table()}


class Target(msgspec.Struct, frozen=True):
    """A served gateway: its address, a token for each role, and ids of objects that exist."""

    url: str
    tokens: dict[Role, str]
    ids: dict[str, str]


def tokens_for(store: Store, clock: Clock) -> dict[Role, str]:
    """Return a token of each role: managers of site a, everybody else everywhere."""
    made: dict[Role, str] = {}
    for role in RIGHTS:
        made[role] = f"gh_{secrets.token_urlsafe(16)}"
        scope = ("a",) if role == "manager" else ("*",)
        owner = User(id=f"t-{role}", username=role, role=role, sites=scope, created_at=clock())
        store.write_now(add_api_token, made[role], owner=owner)
    return made


@contextlib.asynccontextmanager
async def target_on(store: Store, folder: Path) -> AsyncIterator[Target]:
    clock = Clock()
    furnish(store)
    tokens = tokens_for(store, clock)
    async with serving(Runtime(store=store, clock=clock, data_dir=folder)) as url, contextlib.AsyncExitStack() as stack:
        clients: dict[Role, httpx.AsyncClient] = {}
        for role, token in tokens.items():
            headers = {"Authorization": f"Bearer {token}"}
            made = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30)
            clients[role] = await stack.enter_async_context(made)
        yield Target(url, tokens, await fill(clients))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Serve a furnished gateway in a thread of its own, for all tests of this module."""
    folder = tmp_path_factory.mktemp("schemathesis")
    if request.param == "sqlite":
        url = f"sqlite:///{folder / 'gateway.db'}"
    else:
        url = _database(request.getfixturevalue("postgres"), template="template1")
    store = Store(url)
    store.migrate()
    ready, done, found = threading.Event(), asyncio.Event(), list[Target]()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with target_on(store, folder) as made:
            found.append(made)
            ready.set()
            await done.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(60)
    yield found[0]
    loop.call_soon_threadsafe(done.set)
    thread.join(30)
    store.close()


def document() -> dict[str, Any]:
    """Return the OpenAPI document; it needs no database."""
    app = application(Runtime(store=Store("sqlite://")))
    made: dict[str, Any] = app.openapi()
    made["paths"] = {path: item for path, item in made["paths"].items() if path not in ENDLESS}
    return made


schema = schemathesis.openapi.from_dict(document())
schema.config.phases.update(phases=["fuzzing"])  # the other phases send hundreds of requests to each operation


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_no_operation_answers_5xx(case: Case[Any], target: Target) -> None:
    entry = BY_NAME[f"{case.operation.method.upper()} {case.path}"]
    role: Role = next((role for role in ORDER if entry.may(role)), "manager")
    headers = {"Authorization": f"Bearer {target.tokens[role]}", "Gatehouse-Reason": "schemathesis"}
    coin = zlib.crc32(repr((case.body, case.query, case.path_parameters)).encode("utf-8", "replace"))
    if case.path not in WAITS_FOR_AN_EDGE and coin % 2:
        case.path_parameters.update({name: target.ids[name] for name in entry.params() if name in target.ids})
    answer = case.call(base_url=target.url, headers=headers, timeout=30)
    assert answer.status_code < 500, f"{answer.status_code} {answer.text}"
    if answer.status_code >= 400:
        told = msgspec.json.decode(answer.content)
        assert (told["status"], told["type"][:4]) == (answer.status_code, "urn:")
        assert told["detail"], "an error says what to do"


def test_the_document_names_every_route() -> None:
    paths: dict[str, Any] = application(Runtime(store=Store("sqlite://"))).openapi()["paths"]
    named = {f"{method.upper()} {path}" for path, item in paths.items() for method in item}
    hidden = {"GET /healthz", "GET /readyz", "GET /metrics", "GET /{path:path}"}
    assert named | hidden == set(BY_NAME)
