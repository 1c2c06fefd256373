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
import pytest

from gateway.centre.events import Route
from gateway.runtime import Receiver, Runtime
from gateway.store import Store
from tests.gateway.support import PASSWORD, Clock, SigningEdge, add_people, furnish, serving
from tests.needs import missing

POSTGRES = Path("/usr/lib/postgresql/15/bin")
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
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    start = [POSTGRES / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"]
    subprocess.run(start, **user, **quiet)  # type: ignore[call-overload]
    try:
        yield f"postgresql://{name}@127.0.0.1:{port}"
    finally:
        stop = [POSTGRES / "pg_ctl", "-D", data, "-m", "immediate", "stop"]
        subprocess.run(stop, **user, **quiet)  # type: ignore[call-overload]
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Yield a store with its tables, empty, on each database."""
    if request.param == "sqlite":
        made = Store(f"sqlite:///{tmp_path / 'gateway.db'}")
    else:
        server = request.getfixturevalue("postgres")
        name = f"t{secrets.token_hex(6)}"
        subprocess.run(
            [POSTGRES / "psql", "-q", "-d", f"{server}/postgres", "-c", f"CREATE DATABASE {name}"], check=True
        )
        made = Store(f"{server}/{name}")
    made.migrate()
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


@pytest.fixture
async def operator(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client of a logged-in operator of site a."""
    async with logged_in(url, "operator") as client:
        yield client


@pytest.fixture
async def manager(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client of a logged-in manager of site a."""
    async with logged_in(url, "manager") as client:
        yield client


@pytest.fixture
async def other(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client of a logged-in manager of site b."""
    async with logged_in(url, "other") as client:
        yield client
