"""Open the database and run queries on threads, one transaction each. Knows no table and no query.

SQLite (WAL, synchronous=FULL) has one writing thread, so writers never wait for each other's locks inside this process;
PostgreSQL has several, and what must be in order takes an advisory lock (see feed.py, audit.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.errors import Conflict, InvalidInput, SettingsError, SettingsFault, StorageUnavailable

if TYPE_CHECKING:
    from gateway.auth.vault import Vault

P = ParamSpec("P")
T = TypeVar("T")
READERS = 4
POSTGRES_WRITERS = 8
VAULT = "gatehouse_vault"
"""The execution option under which the vault travels with each connection (gateway.store.sealed)."""
BUSY_TIMEOUT_MS = 5000


def engine_for(url: str, *, password: str | None = None) -> Engine:
    """Return an engine for a database URL: `sqlite:////path/file.db` or `postgresql://user:password@host/name`.

    Raises:
        SettingsError: the URL names another kind of database.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, pool_size=READERS + 1, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() == "postgresql":
        psycopg = parsed.set(drivername="postgresql+psycopg", password=password or parsed.password)
        return create_engine(psycopg, pool_size=READERS + POSTGRES_WRITERS, pool_pre_ping=True, pool_timeout=5)
    fault = SettingsFault(
        file="settings", line=0, path="gateway.database", message=f"unknown database {parsed.get_backend_name()!r}",
        suggestion="use sqlite:////var/lib/gatehouse/gateway.db or postgresql://user:password@host/name",
    )  # fmt: skip
    raise SettingsError([fault])


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # A reader that turns writer can fail with "locked" half-way; a writer says so at once.
    writing = connection.get_execution_options().get("gatehouse_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


class Store:
    """Own an engine and the threads that use it."""

    def __init__(self, url: str, *, password: str | None = None, vault: Vault | None = None) -> None:
        self.engine = engine_for(url, password=password)
        self.engine.update_execution_options(**{VAULT: vault})
        self.vault = vault
        self.sqlite = self.engine.dialect.name == "sqlite"
        self._writers = ThreadPoolExecutor(1 if self.sqlite else POSTGRES_WRITERS, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    def migrate(self) -> None:
        """Bring the tables to this version's schema; returns at once if they are.

        Raises:
            StorageUnavailable: the database cannot be opened or written.
        """
        from gateway.store.migrate import to_head

        def prepare() -> None:
            if self.sqlite and (file := self.engine.url.database):
                Path(file).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            to_head(self.engine)

        _guarded(prepare)

    def close(self) -> None:
        """End the threads and close all connections."""
        self._writers.shutdown()
        self._readers.shutdown()
        self.engine.dispose()

    async def write(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query in one writing transaction; it is durable when this returns.

        Raises:
            StorageUnavailable: nothing was committed (disk full, database locked or away).
            Conflict: a key that must be unique exists already.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writers, lambda: self.write_now(act, *args, **kwargs))

    async def read(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query in one reading transaction.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: self.read_now(act, *args, **kwargs))

    def write_now(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `write` on the calling thread, for the command line."""

        def run() -> T:
            with self.engine.connect().execution_options(gatehouse_write=True) as connection, connection.begin():
                return act(connection, *args, **kwargs)

        return _guarded(run)

    def read_now(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `read` on the calling thread, for the command line."""

        def run() -> T:
            with self.engine.connect() as connection, connection.begin():
                return act(connection, *args, **kwargs)

        return _guarded(run)

    def snapshot_now(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading query on the calling thread that sees the database as it is now, however long it takes.

        Nobody has to wait for it. SQLite keeps what changes meanwhile in its log, which grows until the end.

        Raises:
            StorageUnavailable: the database does not answer.
        """

        def run() -> T:
            frozen = {} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
            with self.engine.connect().execution_options(**frozen) as connection, connection.begin():
                return act(connection, *args, **kwargs)

        return _guarded(run)


def _guarded(run: Callable[[], T]) -> T:
    try:
        return run()
    except IntegrityError as error:
        raise Conflict(f"the database refused a duplicate or a dangling reference: {error.orig}") from error
    except (DataError, OverflowError) as error:
        what = "a value cannot be stored: leave out characters such as NUL, and use smaller numbers"
        raise InvalidInput("request", what) from error
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        raise StorageUnavailable(f"the database did not commit: {cause}") from error
