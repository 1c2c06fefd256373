"""Every route of the API against every role and every foreign site or area, and every act on record.

Generated from the route table (tests.gateway.routes): a route that is added is in it.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
import textwrap
from collections.abc import AsyncIterator
from datetime import datetime
from functools import cache
from typing import Any, get_args

import httpx
import pytest
from sqlalchemy import Connection, func, insert, select

from gateway.auth.roles import PERSONAL, RIGHTS, Role
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.devices_found import Asked, InUse, keep_candidate
from gateway.store.edges import add_command
from gateway.store.places import put_area
from gateway.store.tables import media, metadata
from gateway.store.tables_access import audit
from gateway.store.users import User, add_user
from models.card_lessons import LearnCards
from models.device_orders import Discover
from models.devices import Candidate, Part
from models.link import EnrolAtDoor, TakeStill, Unlock
from models.places import Area
from tests.gateway.conftest import seated
from tests.gateway.routes import BODIES, OPEN, RAW, Entry, call, fill, route_table
from tests.gateway.support import SigningEdge, forced

TABLE = route_table()
GUARDED = [entry for entry in TABLE if entry.rights]
SCOPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a": (("a",), ()), "b": (("b",), ()), "area": ((), ("310105",)), "every": (("*",), ()),
}  # fmt: skip
ROLES: tuple[Role, ...] = get_args(Role)
CALLERS: tuple[tuple[str, Role], ...] = (
    ("a", "manager"), ("every", "security_administrator"), ("every", "system_administrator")
)  # fmt: skip
STREAMS = {"/api/v1/live"}
UNREADABLE = {
    "/api/v1/media/{medium_id}": "there is no file behind it here (test_media)",
    "/api/v1/cameras/{camera_id}/stills/{still_id}/picture": "there is no file behind it here (test_stills)",
    "/api/v1/devices/orders/{order_id}/picture": "there is no file behind it here (test_adoption)",
    "/api/v1/erasures/{person_id}": "nobody was erased here (test_erasure)",
}
GLOBAL = {
    "GET /api/v1/areas/{code}": "the division of the country is public",
    "GET /api/v1/companies/{company_id}": "names of companies are no secret of a site",
}
sqlite_only = pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # both databases answer alike: test_store


class Estate:
    """Hold a site full of objects, and callers of every role at it, at another site and in another area."""

    def __init__(self, url: str, runtime: Runtime) -> None:
        self.url = url
        self.runtime = runtime
        self.ids: dict[str, str] = {}
        self.clients: dict[tuple[str, Role], httpx.AsyncClient] = {}

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        at = self.runtime.clock()
        for scope, (sites, areas) in SCOPES.items():
            for role in ROLES:
                name = f"{scope}-{role}"
                user = User(id=f"u-{name}", username=name, role=role, sites=sites, areas=areas, created_at=at)
                self.runtime.store.write_now(add_user, user, password_hash="unused")
                client = await stack.enter_async_context(seated(self.url, self.runtime, name))
                self.clients[scope, role] = client

    def rows(self) -> int:
        return self.runtime.store.read_now(lambda c: c.execute(select(func.count()).select_from(audit)).scalar_one())


@pytest.fixture
async def estate(url: str, runtime: Runtime, edge: SigningEdge) -> AsyncIterator[Estate]:
    made = Estate(url, runtime)
    async with contextlib.AsyncExitStack() as stack:
        await made.open(stack)
        await edge.report(forced())
        makers = {role: made.clients["a", role] for role in ROLES}
        made.ids = await fill(makers | {"system_administrator": made.clients["every", "system_administrator"]})
        keeper = made.clients["every", "system_administrator"]
        belongs = await keeper.patch("/api/v1/sites/a", json={"company_id": made.ids["company_id"]})
        assert belongs.status_code == 200, belongs.text
        alerts = (await made.clients["a", "manager"].get("/api/v1/alerts")).json()["items"]
        made.ids["alert_id"] = alerts[0]["id"]
        runtime.store.write_now(add_medium, at=runtime.clock())
        runtime.store.write_now(put_area, Area(code="310104", name="Xuhui", level="district"))
        order = TakeStill(id="still-1", camera_id="cam", deadline=runtime.clock())
        runtime.store.write_now(add_command, order, edge_id="edge-1", at=runtime.clock())
        enrolment = EnrolAtDoor(
            id="enrol-1", person_id="p-1", consent_id="c", door_id="gate", deadline=runtime.clock()
        )  # fmt: skip
        runtime.store.write_now(add_command, enrolment, edge_id="edge-1", at=runtime.clock())
        unlock = Unlock(id="unlock-1", door_id="gate", reason="r", requested_by="u", deadline=runtime.clock())
        runtime.store.write_now(add_command, unlock, edge_id="edge-1", at=runtime.clock())
        lesson = LearnCards(id="lesson-1", door_id="gate", deadline=runtime.clock())
        runtime.store.write_now(add_command, lesson, edge_id="edge-1", at=runtime.clock())
        discovery = Discover(id="order-1", deadline=runtime.clock())
        runtime.store.write_now(add_command, discovery, edge_id="edge-1", at=runtime.clock())
        found = device(runtime)
        made.ids |= {
            "medium_id": "m-1",
            "still_id": "still-1",
            "enrolment_id": "enrol-1",
            "command_id": "unlock-1",
            "device_id": found,
            "order_id": "order-1",
            "lesson_id": "lesson-1",
            "handler_id": made.ids["company_id"],
            "centre_id": "centre",
        }
        yield made


def device(runtime: Runtime) -> str:
    """Let an edge of site a have found a device with a door, and return its id."""
    front = Candidate(id="onvif-1", wire="onvif", address="http://192.0.2.9/", parts=(Part(id="front", kind="door"),))
    found, _ = runtime.store.write_now(
        keep_candidate, front, here=InUse(doors=(), cameras=()), site_id="a", edge_id="edge-1",
        at=runtime.clock(), asked=Asked(),
    )  # fmt: skip
    return found


def add_medium(connection: Connection, *, at: datetime) -> None:
    """Write what the gateway knows of a picture."""
    kind = {"media_type": "image/jpeg", "size_bytes": 1, "sha256": "0" * 64, "blurred": True}
    where = {"id": "m-1", "site_id": "a", "edge_id": "edge-1", "camera_id": "cam", "at": at, "received_at": at}
    connection.execute(insert(media).values(**kind, **where))


def held(connection: Connection) -> dict[str, list[Any]]:
    """Return what the tables hold, but for those that note requests themselves."""
    noted = {"audit", "audit_people", "counters", "sessions", "idempotency", "edge_nonces", "alembic_version"}
    tables = [table for table in metadata.sorted_tables if table.name not in noted]
    return {table.name: [tuple(row) for row in connection.execute(select(table))] for table in tables}


def test_every_route_asks_who_calls() -> None:
    bare = {entry.name for entry in TABLE if not entry.rights and not entry.anyone}
    assert bare == set(OPEN), "a route without a right must be explained in OPEN"
    assert {entry.path for entry in TABLE if entry.anyone} == {"/api/v1/session", "/api/v1/session/password"}
    assert len(GUARDED) > 100


def test_every_right_is_held_and_used() -> None:
    used = {right for entry in TABLE for right in entry.rights}
    given = {right for rights in RIGHTS.values() for right in rights}
    assert used <= given
    assert given - used <= {"system:write", "backups:write"}, "a right that opens nothing misleads who grants it"


def test_every_route_that_takes_a_body_has_one_here() -> None:
    known = set(BODIES) | set(RAW)
    names = {entry.name for entry in TABLE}
    assert known <= names, "a body for a route that is gone"


@sqlite_only
async def test_every_path_is_called_with_an_object_that_exists(estate: Estate) -> None:
    """Without one, the answer 404 to somebody from elsewhere would prove nothing."""
    unknown = {name for entry in GUARDED for name in entry.params() if name not in estate.ids}
    assert unknown == set(), "make one in tests/gateway/routes.py:MADE_BY"
    for entry in GUARDED:
        if entry.method != "GET" or not entry.params() or entry.path in UNREADABLE:
            continue
        role = next(role for role in ROLES if entry.may(role))
        answer = await call(estate.clients["every", role], entry, estate.ids)
        assert answer.status_code == 200, f"{entry.name}: {answer.text[:200]}"


@sqlite_only
async def test_nobody_gets_in_without_logging_in(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for entry in TABLE:
            if entry.rights or entry.anyone:
                answer = await call(client, entry, {})
                assert answer.status_code == 401, entry.name
                stale = await client.request(entry.method, entry.path, headers={"Authorization": "Bearer gh_no"})
                assert stale.status_code == 401, entry.name


@sqlite_only
async def test_what_a_role_does_not_include_is_refused_and_noted(estate: Estate) -> None:
    for role in ROLES:
        client = estate.clients["a", role]
        for entry in GUARDED:
            if entry.may(role):
                continue
            before = estate.rows()
            answer = await call(client, entry, estate.ids)
            assert answer.status_code == 403, f"{role}: {entry.name}"
            assert estate.rows() == before + 1, entry.name
            named = answer.json()["detail"].partition("these roles do: ")[2].split(", ")
            assert all(other in RIGHTS and entry.may(other) for other in named), f"{entry.name}: {named}"
    refused = [row for row in estate.runtime.store.read_now(audit_rows, limit=5000) if row.action == "refused"]
    assert {row.result for row in refused} == {"forbidden"}
    assert {row.detail["reason"] for row in refused} == {"authorisation matrix"}


@sqlite_only
@pytest.mark.parametrize("scope", ["b", "area"])
async def test_a_foreign_site_looks_as_if_it_were_not_there(estate: Estate, *, scope: str) -> None:
    before = estate.runtime.store.read_now(held)
    wrong = []
    for role in ROLES:
        client = estate.clients[scope, role]
        for entry in GUARDED:
            if not entry.may(role) or entry.path in STREAMS:
                continue
            answer = await call(client, entry, estate.ids)
            problem = _leak(entry, answer, estate.ids)
            if problem:
                wrong.append(f"{scope} {role}: {entry.name}: {problem}")
    assert wrong == []
    after = estate.runtime.store.read_now(held)
    assert {name for name in before if before[name] != after[name]} == set()


def _leak(entry: Entry, answer: httpx.Response, ids: dict[str, str]) -> str | None:
    """Say what is wrong with an answer about site a to somebody from elsewhere; None if nothing is."""
    named = entry.params() or (entry.name in BODIES and '"a"' in str(BODIES[entry.name]).replace("'", '"'))
    if entry.name not in GLOBAL and named and answer.status_code not in {403, 404}:
        return f"{answer.status_code} {answer.text[:200]}"
    secret = {name: key for name, key in ids.items() if name not in {"centre_id", *entry.params()}}
    shown = [name for name, key in secret.items() if f'"{key}"' in answer.text]
    if answer.status_code < 300 and entry.name not in GLOBAL and shown:
        return f"shows {shown}"
    return None


def test_every_look_at_people_and_every_change_is_put_on_record() -> None:
    """R31, enumerated: the code of every such route reaches the audit log (the next test calls them)."""
    silent = {entry.name for entry in TABLE if recorded(entry) and not reaches(entry.endpoint, "append_audit")}
    assert silent - {"POST /api/v1/centre/receipts"} == set(), "a route that leaves no trace"
    looks = {entry.name for entry in TABLE if entry.method == "GET" and set(entry.rights) & PERSONAL}
    assert {"GET /api/v1/people", "GET /api/v1/people/{person_id}", "GET /api/v1/facts"} <= looks


def test_the_search_for_the_audit_log_finds_what_it_is_for() -> None:
    assert reaches(fill, "route_table")
    assert not reaches(held, "append_audit")
    quiet = {entry.name: entry.endpoint for entry in TABLE}
    for name in ("GET /api/v1/system", "GET /api/v1/alerts", "GET /api/v1/doors", "GET /api/v1/readers/{reader_id}"):
        assert not reaches(quiet[name], "append_audit"), name


def recorded(entry: Entry) -> bool:
    """Return whether the use of a route must be on record."""
    return (entry.changes or bool(set(entry.rights) & PERSONAL)) and entry.path not in STREAMS


def reaches(function: Any, name: str, seen: set[Any] | None = None) -> bool:
    """Return whether a function of ours calls or hands on a function of a name, directly or through others of ours."""
    seen = set() if seen is None else seen
    function = inspect.unwrap(function)
    if function in seen:
        return False
    seen.add(function)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    statements = getattr(tree, "body", [])  # not the signature: its dependencies write refusals only
    for node in (inner for statement in statements for inner in ast.walk(statement)):
        word = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if word == name:
            return True
        found = [function.__globals__.get(word)] if isinstance(node, ast.Name) else methods().get(word, [])
        ours = [each for each in found if inspect.isfunction(each) and each.__module__.startswith(OURS)]
        if any(reaches(each, name, seen) for each in ours):
            return True
    return False


OURS = ("gateway.", "tests.")


@cache
def methods() -> dict[str, list[Any]]:
    """Return the methods of all classes of the gateway by their names: whose they are is not known from the text."""
    found: dict[str, list[Any]] = {}
    for name, module in sorted(sys.modules.items()):
        classes = vars(module).values() if name.startswith(("gateway.api.", "gateway.store.")) else ()
        for each in (kind for kind in classes if inspect.isclass(kind) and kind.__module__ == name):
            for key, value in vars(each).items():
                if (
                    inspect.isfunction(value)
                    and value.__module__ == name
                    and value.__qualname__.startswith(each.__name__)
                ):
                    found.setdefault(key, []).append(value)
    return found


@sqlite_only
async def test_what_succeeds_is_on_record_with_its_reason(estate: Estate) -> None:
    """R31, by calling: an answer of 2xx to a look at people or to a change has appended a row that carries the reason."""
    done, silent = set(), set()
    for entry in sorted(GUARDED, key=lambda entry: (entry.method == "DELETE", "publish" in entry.path)):
        if not recorded(entry):
            continue
        for scope, role in CALLERS:
            if not entry.may(role):
                continue
            before = estate.rows()
            answer = await call(estate.clients[scope, role], entry, estate.ids)
            if answer.status_code < 300:
                done.add(entry.name)
                rows = estate.runtime.store.read_now(audit_rows, limit=estate.rows() - before)
                if not any(row.detail.get("reason") for row in rows):
                    silent.add(entry.name)
    assert silent == set()
    wanted = {entry.name for entry in GUARDED if recorded(entry)}
    assert len(done) >= len(wanted) * 0.7, f"too few could be called: {sorted(wanted - done)}"


def test_no_route_takes_a_picture_and_says_who_it_is() -> None:
    """R10: pictures go in at one place, for a person who is named in the path; nothing is searched by a face."""
    taking = {entry.name for entry in TABLE if reaches(entry.endpoint, "body") and entry.name in RAW}
    assert {name for name in RAW if RAW[name][1].startswith("image/")} == {"PUT /api/v1/people/{person_id}/face"}
    assert taking <= set(RAW)
    words = ("identify", "recogni", "match", "search", "who-is", "lookup", "similar", "watch", "face")
    named = {entry.path for entry in TABLE if any(word in entry.path.lower() for word in words)}
    assert named == {
        "/api/v1/people/{person_id}/face", "/api/v1/people/{person_id}/face/at-door",
        "/api/v1/face-enrolments/{enrolment_id}",
    }  # fmt: skip
