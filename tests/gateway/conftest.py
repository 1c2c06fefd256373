"""Fixtures of the gateway's tests: a store on SQLite and on a real PostgreSQL, a clock, a served gateway, an edge."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from gateway.api.deps import COOKIE
from gateway.centre.events import Route
from gateway.runtime import Receiver, Runtime
from gateway.store import Store
from gateway.store.tables import metadata
from gateway.store.users import start_session
from tests.gateway.backups import fill
from tests.gateway.support import PASSWORD, Clock, SigningEdge, add_people, furnish, serving
from tests.needs import missing

POSTGRES = Path("/usr/lib/postgresql/15/bin")
# What a test loses when its machine loses power is of no interest; isolation and locks are as everywhere.
POSTGRES_IN_A_HURRY = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off"
CENTRE_KEY = "whsec_" + "a2V5" * 8


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start PostgreSQL on a temporary directory and yield the address of its server, without a database name."""
    absent = missing("postgresql")
    if absent:
        reason = f"{', '.join(absent)} is not installed: run `make setup` as root"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-pg-"))
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres", "postgres")
    name = "postgres" if user else pwd.getpwuid(os.geteuid()).pw_name
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "check": True, "cwd": folder}
    subprocess.run([POSTGRES / "initdb", "-A", "trust", "-N", "-D", data], **user, **quiet)  # type: ignore[call-overload]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 {POSTGRES_IN_A_HURRY}"
    start = [POSTGRES / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"]
    subprocess.run(start, **user, **quiet)  # type: ignore[call-overload]
    try:
        yield f"postgresql://{name}@127.0.0.1:{port}"
    finally:
        stop = [POSTGRES / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run(stop, **user, **quiet)  # type: ignore[call-overload]
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file that every migration has run on once; tests work on copies of it."""
    file = tmp_path_factory.mktemp("template") / "gateway.db"
    made = Store(f"sqlite:///{file}")
    made.migrate()
    made.close()
    return file


@pytest.fixture(scope="session")
def migrated_database(postgres: str) -> str:
    """Return the name of a PostgreSQL database that every migration has run on once; tests work on copies of it."""
    name = "migrated"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    made = Store(f"{postgres}/{name}")
    made.migrate()
    made.close()
    return name


@pytest.fixture
def empty_database(postgres: str) -> str:
    """Return the address of a new PostgreSQL database without any table."""
    return _database(postgres, template="template1")


def _database(server: str, *, template: str) -> str:
    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return f"{server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Yield a store with its tables, empty, on each database."""
    if request.param == "sqlite":
        file = tmp_path / "gateway.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), file)
        made = Store(f"sqlite:///{file}")
    else:
        template = request.getfixturevalue("migrated_database")
        made = Store(_database(request.getfixturevalue("postgres"), template=template))
    yield made
    made.close()


@pytest.fixture
def full(store: Store) -> Store:
    """Return a store with rows in every table."""
    store.write_now(fill, list(metadata.sorted_tables))
    return store


@pytest.fixture(params=["to-sqlite", "to-postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Yield a store on an empty database."""
    if request.param == "to-sqlite":
        made = Store(f"sqlite:///{tmp_path / 'restored.db'}")
    else:
        made = Store(request.getfixturevalue("empty_database"))
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still until it is turned."""
    return Clock()


@pytest.fixture
def runtime(store: Store, clock: Clock, tmp_path: Path) -> Runtime:
    """Return what a gateway process shares, with two sites and users of all roles."""
    furnish(store)
    add_people(store, clock)
    return Runtime(
        store=store, clock=clock, routes=(Route(centre_id="centre"),), console=tmp_path / "console",
        receivers=(Receiver(centre_id="centre", secrets=(CENTRE_KEY,)),),
    )  # fmt: skip


@pytest.fixture
async def url(runtime: Runtime) -> AsyncIterator[str]:
    """Serve the gateway and yield its address."""
    async with serving(runtime) as address:
        yield address


@pytest.fixture
async def edge(url: str, runtime: Runtime, clock: Clock) -> AsyncIterator[SigningEdge]:
    """Yield an enrolled edge."""
    made = SigningEdge(url, clock)
    answer = await made.enrol(runtime.store)
    assert answer.status_code == 201, answer.text
    yield made
    await made.client.aclose()


@contextlib.asynccontextmanager
async def logged_in(url: str, username: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        answer = await client.post("/api/v1/session", json={"username": username, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        yield client


@contextlib.asynccontextmanager
async def seated(url: str, runtime: Runtime, username: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client in a session that was begun beside the API: argon2 is for the tests of logging in."""
    secret = secrets.token_urlsafe(32)
    runtime.store.write_now(start_session, secret, user_id=f"u-{username}", rules=runtime.sessions, at=runtime.clock())
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        client.cookies.set(COOKIE, secret, domain="127.0.0.1", path="/")
        yield client


@pytest.fixture
async def operator(url: str, runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client of an operator of site a."""
    async with seated(url, runtime, "operator") as client:
        yield client


@pytest.fixture
async def manager(url: str, runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client of a manager of site a."""
    async with seated(url, runtime, "manager") as client:
        yield client


@pytest.fixture
async def system(url: str, runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client of a system administrator of site a."""
    async with seated(url, runtime, "system_administrator") as client:
        yield client


@pytest.fixture
async def other(url: str, runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client of a manager of site b."""
    async with seated(url, runtime, "other") as client:
        yield client
