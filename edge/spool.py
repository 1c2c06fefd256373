"""The edge's memory: door states, facts that the gateway has not confirmed, uses of passes, who is inside; in one SQLite file.

A door's state and the facts that led to it are written in one transaction (WAL, synchronous=FULL), in a thread of its
own; whatever waits meanwhile joins the next transaction. Nothing is deleted but what the gateway confirmed, by id. When
the disk or the budget is full, commits fail and nothing is dropped. It knows no door rules and no network.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from models.doors import DoorState
from models.errors import StorageUnavailable
from models.events import AnyFact

log = logging.getLogger("gatehouse.edge.spool")

GROUP_S = 0.002
"""How long a transaction waits for company; well under the 10 ms that a door may feel."""
GROUP_LIMIT = 512
PAGE_BYTES = 4096
DEFAULT_BUDGET_BYTES = 512 * 1024 * 1024
BUSY_S = 5.0

_TABLES = """
CREATE TABLE IF NOT EXISTS door_state (door_id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pass_uses (
  pass_id TEXT NOT NULL, n INTEGER NOT NULL, attempt TEXT NOT NULL UNIQUE, until REAL NOT NULL, PRIMARY KEY (pass_id, n)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS insiders (
  door_id TEXT NOT NULL, person_id TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (door_id, person_id)
) WITHOUT ROWID;
"""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]


class SpooledFact(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one stored fact: its order, its id and its JSON exactly as it was committed."""

    n: int
    id: str
    body: bytes


class _Job:
    """Carry one piece of work to the thread and its outcome back."""

    def __init__(self, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def answer(self, value: object, error: BaseException | None) -> None:
        def settle() -> None:
            if self.future.done():
                return
            if error is None:
                self.future.set_result(value)
            else:
                self.future.set_exception(error)
                self.future.exception()  # an awaiter may have given up; the error itself was logged

        try:
            self.loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop has closed: nobody is left to tell
            log.debug("an answer came after the loop had closed")


class Spool:
    """Keep states and facts durable. Use as an async context manager; every method may be called from its loop only."""

    def __init__(self, path: Path, *, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self._path = path
        self._budget_pages = max(64, budget_bytes // PAGE_BYTES)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._grown = asyncio.Event()
        self._failing = False
        self._added = 0
        self.backlog = 0
        """Facts that the gateway has not confirmed."""
        self.commits = 0
        self.failures = 0

    async def __aenter__(self) -> Self:
        """Open the file, or start a new one beside a damaged one.

        Raises:
            StorageUnavailable: the file can be neither opened nor created.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if error is None:
                loop.call_soon_threadsafe(opened.set_result, None)
            else:
                loop.call_soon_threadsafe(opened.set_exception, error)

        self._thread = threading.Thread(target=self._run, args=(settle,), name="spool", daemon=True)
        self._thread.start()
        await opened
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, BUSY_S)

    def commit(
        self, state: DoorState | None, facts: Iterable[AnyFact] = (), *, notes: Mapping[str, bytes] | None = None
    ) -> asyncio.Future[None]:
        """Store a door's state, facts and named values together; the future is done once they are on disk.

        A fact whose id is already stored is not stored again. `StorageUnavailable` means that nothing was stored.
        """
        rows = [(fact.id, msgspec.json.encode(fact)) for fact in facts]
        body = None if state is None else msgspec.json.encode(state)

        def work(db: sqlite3.Connection) -> None:
            if state is not None:
                db.execute("INSERT OR REPLACE INTO door_state VALUES (?, ?)", (state.door_id, body))
            if rows:
                added = db.executemany("INSERT OR IGNORE INTO facts (id, body) VALUES (?, ?)", rows).rowcount
                self._added += max(added, 0)
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", tuple((notes or {}).items()))

        return self._submit(work)

    def states(self) -> asyncio.Future[dict[str, DoorState]]:
        """Return every stored door state that this version can read."""
        return self._submit(_read_states)

    def oldest(self, limit: int, *, max_bytes: int, without: Iterable[str] = ()) -> asyncio.Future[list[SpooledFact]]:
        """Return the oldest facts in order but for some ids: one if there is any, else within `limit` and `max_bytes`."""
        left_out = frozenset(without)

        def work(db: sqlite3.Connection) -> list[SpooledFact]:
            batch: list[SpooledFact] = []
            size = 0
            for n, key, body in db.execute(
                "SELECT n, id, body FROM facts ORDER BY n LIMIT ?", (limit + len(left_out),)
            ):
                if key in left_out:
                    continue
                size += len(body) + 1
                if len(batch) == limit or (batch and size > max_bytes):
                    break
                batch.append(SpooledFact(n=n, id=key, body=body))
            return batch

        return self._submit(work)

    def confirm(self, ids: Sequence[str]) -> asyncio.Future[None]:
        """Delete facts that the gateway holds, by id."""

        def work(db: sqlite3.Connection) -> None:
            removed = db.executemany("DELETE FROM facts WHERE id = ?", [(key,) for key in ids]).rowcount
            self._added -= max(removed, 0)

        return self._submit(work)

    def remember(self, key: str, value: bytes) -> asyncio.Future[None]:
        """Store a named value: the policy, the last wall time."""
        return self._run_sql("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    def recall(self, key: str) -> asyncio.Future[bytes | None]:
        """Return a named value, or None."""

        def work(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            return None if row is None else bytes(row[0])

        return self._submit(work)

    def pass_uses(self, pass_id: str) -> asyncio.Future[int]:
        """Return the number of the last use of a visitor's pass that was taken here, 0 if there is none."""

        def work(db: sqlite3.Connection) -> int:
            row = db.execute("SELECT max(n) FROM pass_uses WHERE pass_id = ?", (pass_id,)).fetchone()
            return int(row[0] or 0)

        return self._submit(work)

    def take_pass_use(self, pass_id: str, *, n: int, attempt: str, until: datetime) -> asyncio.Future[bool]:
        """Take use `n` of a pass for an attempt; False if it was taken, or if the attempt has taken one already."""
        row = (pass_id, n, attempt, until.timestamp())

        def work(db: sqlite3.Connection) -> bool:
            return db.execute("INSERT OR IGNORE INTO pass_uses VALUES (?, ?, ?, ?)", row).rowcount == 1

        return self._submit(work)

    def return_pass_use(self, pass_id: str, *, attempt: str) -> asyncio.Future[None]:
        """Give the use of an attempt back, unless a later use was taken meanwhile."""
        last = "(SELECT max(n) FROM pass_uses WHERE pass_id = ?)"

        def work(db: sqlite3.Connection) -> None:
            query = f"DELETE FROM pass_uses WHERE pass_id = ? AND attempt = ? AND n = {last}"  # noqa: S608 - no input
            db.execute(query, (pass_id, attempt, pass_id))

        return self._submit(work)

    def forget_pass_uses(self, known: Iterable[str], *, before: datetime) -> asyncio.Future[None]:
        """Forget the uses of passes that ended before a time, but for the known ones."""
        kept, limit = frozenset(known), before.timestamp()

        def work(db: sqlite3.Connection) -> None:
            ended = db.execute("SELECT DISTINCT pass_id FROM pass_uses WHERE until < ?", (limit,)).fetchall()
            db.executemany("DELETE FROM pass_uses WHERE pass_id = ?", [row for row in ended if row[0] not in kept])

        return self._submit(work)

    def insiders(self) -> asyncio.Future[dict[tuple[str, str], datetime]]:
        """Return who came in by which door, and when: times by door and person."""

        def work(db: sqlite3.Connection) -> dict[tuple[str, str], datetime]:
            rows = db.execute("SELECT door_id, person_id, at FROM insiders")
            return {(door_id, person_id): datetime.fromtimestamp(at, UTC) for door_id, person_id, at in rows}

        return self._submit(work)

    def note_insider(self, door_id: str, person_id: str, *, at: datetime) -> asyncio.Future[None]:
        """Note that somebody came in by a door."""
        return self._run_sql("INSERT OR REPLACE INTO insiders VALUES (?, ?, ?)", door_id, person_id, at.timestamp())

    def forget_insider(self, door_id: str, person_id: str) -> asyncio.Future[None]:
        """Forget that somebody came in by a door."""
        return self._run_sql("DELETE FROM insiders WHERE door_id = ? AND person_id = ?", door_id, person_id)

    async def wait_for_facts(self, timeout_s: float) -> bool:
        """Wait until there is a fact to send, at most `timeout_s`; return whether there is one."""
        if self.backlog == 0:
            self._grown.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._grown.wait()
            except TimeoutError:
                return False
        return self.backlog > 0

    def _run_sql(self, query: str, *values: object) -> asyncio.Future[None]:
        def work(db: sqlite3.Connection) -> None:
            db.execute(query, values)

        return self._submit(work)

    def _submit(self, work: Work) -> asyncio.Future[Any]:
        job = _Job(work, asyncio.get_running_loop())
        self._jobs.put(job)
        return job.future

    def _run(self, opened: Callable[[BaseException | None], None]) -> None:
        try:
            db = self._open()
        except (sqlite3.Error, OSError) as error:
            opened(StorageUnavailable(f"the spool {self._path.name} cannot be opened: {error}"))
            return
        opened(None)
        running = True
        while running:
            first = self._jobs.get()
            if first is None:
                break
            jobs = [first]
            running = self._gather(jobs)
            self._transact(db, jobs)
        db.close()

    def _gather(self, jobs: list[_Job]) -> bool:
        """Add what waits, or comes within a moment, to a transaction; return False when the spool is closing."""
        deadline = time.monotonic() + GROUP_S
        while len(jobs) < GROUP_LIMIT:
            try:
                job = self._jobs.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return True
            if job is None:
                return False
            jobs.append(job)
        return True

    def _transact(self, db: sqlite3.Connection, jobs: list[_Job]) -> None:
        self._added = 0
        try:
            db.execute("BEGIN IMMEDIATE")
            results = [job.work(db) for job in jobs]
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(db, error)
            if len(jobs) > 1:  # what still fits, or makes room, shall not fail with the rest
                for job in jobs:
                    self._transact(db, [job])
                return
            jobs[0].answer(None, StorageUnavailable(f"the spool could not store: {error}"))
            return
        self._succeeded(jobs[0].loop)
        for job, result in zip(jobs, results, strict=True):
            job.answer(result, None)

    def _undo(self, db: sqlite3.Connection, error: sqlite3.Error) -> None:
        self.failures += 1
        if not self._failing:
            log.warning("spool cannot store: %s; doors go on, nothing is acknowledged until it can", error)
        self._failing = True
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # room in the write-ahead log may be all that is missing
        except sqlite3.Error as second:
            log.debug("after a failed commit: %s", second)

    def _succeeded(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._failing:
            log.info("spool stores again")
        self._failing = False
        self.commits += 1
        added, self._added = self._added, 0

        def publish() -> None:
            self.backlog += added
            if added > 0:
                self._grown.set()

        if added:
            try:
                loop.call_soon_threadsafe(publish)
            except RuntimeError:
                log.debug("a commit ended after the loop had closed")

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
            log.warning(
                "spool %s is damaged (%s): kept as %s, a new one is started", self._path.name, error, aside.name
            )
            for suffix in ("", "-wal", "-shm"):
                part = Path(f"{self._path}{suffix}")
                if part.exists():
                    part.rename(f"{aside}{suffix}")
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
        # Nobody else uses the file: a second worker is refused, and no shared-memory file is needed, so that a worker
        # can start, read its policy and open doors while the disk is full.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA max_page_count = {self._budget_pages}")
        db.executescript(_TABLES)
        self.backlog = int(db.execute("SELECT count(*) FROM facts").fetchone()[0])
        return db


def _read_states(db: sqlite3.Connection) -> dict[str, DoorState]:
    states: dict[str, DoorState] = {}
    for door_id, body in db.execute("SELECT door_id, body FROM door_state"):
        try:
            states[door_id] = msgspec.json.decode(body, type=DoorState)
        except msgspec.MsgspecError as error:
            log.warning("the stored state of door %s cannot be read (%s): it starts as unknown", door_id, error)
    return states
