"""The store on both databases: migrations make the tables that the code names; a commit that cannot be is told as such."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from gateway.housekeeping import clean_up, offer_edge_token
from gateway.intake import take_in
from gateway.runtime import Runtime
from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_audit, verify_audit
from gateway.store.dialect import next_number
from gateway.store.edges import EdgeIdentity, edge_identity, enrol_edge, spend_nonce
from gateway.store.facts import facts_of
from gateway.store.feed import announce, announcements_after, feed_range
from gateway.store.migrate import HEAD, current_revision
from gateway.store.restoring import leave_the_past
from gateway.store.tables import metadata
from gateway.store.tables_access import users
from gateway.store.types import UtcTime
from models.errors import Conflict, SettingsError, StorageUnavailable
from models.link import Introduction
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge, closed, forced

EDGE_A = EdgeIdentity(id=EDGE, site_id="a", public_key="")
SITE = frozenset({"a"})


def test_the_migrations_make_the_tables_that_the_code_names(store: Store) -> None:
    assert current_revision(store.engine) == HEAD
    with store.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []
    assert users.name in metadata.tables
    store.migrate()


def test_another_database_is_refused_with_what_to_write() -> None:
    with pytest.raises(SettingsError, match="sqlite:///"):
        Store("mysql://h/d")


def test_times_come_back_aware_in_utc(store: Store) -> None:
    east = datetime(2026, 3, 1, 16, 0, tzinfo=timezone(timedelta(hours=8)))
    kind = UtcTime()
    stored = kind.process_bind_param(east, store.engine.dialect)
    back = kind.process_result_value(stored, store.engine.dialect)
    assert back == BEGINNING
    assert back is not None
    assert back.tzinfo == UTC
    with pytest.raises(ValueError, match="zone"):
        kind.process_bind_param(datetime(2026, 3, 1), store.engine.dialect)  # noqa: DTZ001 - that is the point


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    def half(connection: Connection) -> None:
        announce(connection, "door", site_id="a", body={}, at=BEGINNING)
        raise Conflict("in the middle")

    with pytest.raises(Conflict):
        store.write_now(half)
    assert store.read_now(feed_range) == (1, 0)


def test_feed_numbers_never_show_a_gap_that_fills_later(store: Store) -> None:
    """Followers read "after n": a lower number that commits later would be skipped for ever."""
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while not done.is_set() or len(seen) < 200:
            last = seen[-1] if seen else 0
            seen.extend(row.seq for row in store.read_now(announcements_after, last))
            if len(seen) >= 200:
                return

    def write() -> None:
        for _ in range(50):
            store.write_now(announce, "door", site_id="a", body={}, at=BEGINNING)

    writers = [threading.Thread(target=write) for _ in range(4)]
    follower = threading.Thread(target=follow)
    for thread in (*writers, follower):
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    follower.join(60)
    assert seen == list(range(1, 201))


def test_counters_count_from_one(store: Store) -> None:
    assert [store.write_now(next_number, "x") for _ in range(3)] == [1, 2, 3]
    assert store.write_now(next_number, "y") == 1


def test_a_nonce_is_good_once_per_edge(store: Store) -> None:
    assert store.write_now(spend_nonce, "n", edge_id="e1", at=BEGINNING)
    assert not store.write_now(spend_nonce, "n", edge_id="e1", at=BEGINNING)
    assert store.write_now(spend_nonce, "n", edge_id="e2", at=BEGINNING)


def fill_audit(store: Store, count: int = 5) -> None:
    for n in range(count):
        entry = AuditEntry(actor="u", action="act", subject=str(n), detail={"n": str(n)})
        store.write_now(append_audit, entry, at=BEGINNING)


def test_an_untouched_audit_chain_verifies(store: Store) -> None:
    assert store.read_now(verify_audit) == (0, "0" * 64, [])
    fill_audit(store)
    rows, digest, faults = store.read_now(verify_audit)
    assert (rows, len(digest), faults) == (5, 64, [])


@pytest.mark.parametrize(
    ("crime", "sign"),
    [
        ("UPDATE audit SET subject = 'x' WHERE seq = 3", "row 3 was changed"),
        ("UPDATE audit SET at = '2020-01-01 00:00:00' WHERE seq = 2", "row 2 was changed"),
        ("DELETE FROM audit WHERE seq = 2", "rows 2 to 2 are missing"),
        ("DELETE FROM audit WHERE seq = 5", "missing at the end"),
        ("DELETE FROM audit", "missing at the end"),
        ("UPDATE audit SET digest = previous WHERE seq = 4", "row 4 was changed"),
    ],
)
def test_a_tampered_audit_chain_shows(store: Store, crime: str, sign: str) -> None:
    fill_audit(store)
    store.write_now(lambda connection: connection.execute(text(crime)))
    assert any(sign in fault for fault in store.read_now(verify_audit)[2])


def test_two_rows_that_changed_places_show(store: Store) -> None:
    fill_audit(store)

    def swap(connection: Connection) -> None:
        for change in ("seq = 99 WHERE seq = 2", "seq = 2 WHERE seq = 3", "seq = 3 WHERE seq = 99"):
            connection.execute(text(f"UPDATE audit SET {change}"))  # noqa: S608 - constants

    store.write_now(swap)
    assert len(store.read_now(verify_audit)[2]) >= 2


def test_housekeeping_deletes_what_has_had_its_time(runtime: Runtime, clock: Clock) -> None:
    store = runtime.store
    raw = [msgspec.Raw(msgspec.json.encode(fact)) for fact in (forced(), closed(at=BEGINNING + timedelta(days=150)))]
    store.write_now(take_in, raw, edge=EDGE_A, at=clock(), routes=())
    store.write_now(spend_nonce, "n", edge_id="e", at=clock())
    assert store.write_now(clean_up, keep_facts=timedelta(days=180), at=clock()) == 0
    clock.turn(days=181)
    assert store.write_now(clean_up, keep_facts=timedelta(days=180), at=clock()) == 2
    assert [key for _, key, _ in store.read_now(facts_of, site_ids=SITE)] == [closed().id]


def test_a_token_is_offered_to_an_edge_that_has_a_site_and_is_unknown(runtime: Runtime, clock: Clock) -> None:
    life = timedelta(hours=1)
    assert runtime.store.write_now(offer_edge_token, EDGE, life=life, at=clock())
    assert runtime.store.write_now(offer_edge_token, "nowhere", life=life, at=clock()) is None


def test_the_edge_of_a_box_that_was_restored_into_a_new_folder_gets_a_new_token(runtime: Runtime, clock: Clock) -> None:
    life, store = timedelta(hours=1), runtime.store
    token = store.write_now(offer_edge_token, EDGE, life=life, at=clock())
    told = Introduction(edge_id=EDGE, token=str(token), name="box", public_key="old key")
    store.write_now(enrol_edge, told, at=clock())
    assert store.write_now(offer_edge_token, EDGE, life=life, at=clock(), blank=True) is None, "nothing was restored"
    clock.turn(hours=1)
    store.write_now(leave_the_past, 7, at=clock())
    assert store.write_now(offer_edge_token, EDGE, life=life, at=clock(), blank=False) is None, "it has its key still"
    again = store.write_now(offer_edge_token, EDGE, life=life, at=clock(), blank=True)
    assert again
    assert store.read_now(edge_identity, EDGE) is None
    new = Introduction(edge_id=EDGE, token=again, name="box", public_key="new key")
    store.write_now(enrol_edge, new, at=clock())
    clock.turn(seconds=1)
    assert store.write_now(offer_edge_token, EDGE, life=life, at=clock(), blank=True) is None, "once is enough"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_locked_database_acknowledges_nothing(edge: SigningEdge, runtime: Runtime, file: Path) -> None:
    holder = sqlite3.connect(file, isolation_level=None)
    runtime.store.engine.dispose()
    holder.execute("BEGIN IMMEDIATE")
    signed = await edge.report(forced())
    holder.rollback()
    holder.close()
    assert signed.status_code == 503
    assert signed.headers["retry-after"] == "5"
    assert runtime.store.read_now(facts_of, site_ids=SITE) == []
    assert (await edge.report(forced())).status_code == 200


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_full_disk_acknowledges_nothing_and_loses_nothing(edge: SigningEdge, runtime: Runtime) -> None:
    pages = runtime.store.read_now(lambda c: int(c.execute(text("PRAGMA page_count")).scalar() or 0))
    _limit_pages(runtime.store, pages)
    answers = [await edge.report(*(forced("gate", 1000 * n + m) for m in range(200))) for n in range(3)]
    assert 503 in {answer.status_code for answer in answers}
    acknowledged = {key for answer in answers if answer.status_code == 200 for key in answer.json()["committed"]}
    kept = {key for _, key, _ in runtime.store.read_now(facts_of, site_ids=SITE, limit=5000)}
    assert acknowledged == kept
    _limit_pages(runtime.store, 1_000_000)
    assert (await edge.report(*(forced("gate", 1000 + m) for m in range(200)))).status_code == 200


def _limit_pages(store: Store, pages: int) -> None:
    """Make every connection refuse to grow the file, as a full disk does (SQLITE_FULL)."""
    from sqlalchemy import event

    def bound(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}").close()

    store.engine.dispose()
    event.listen(store.engine, "connect", bound)


async def test_a_database_that_is_away_is_not_ready(runtime: Runtime, url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/healthz")).json() == {"ok": True}
        assert (await client.get("/readyz")).status_code == 200
        assert "gatehouse_info" in (await client.get("/metrics")).text


def test_a_database_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = Store(f"sqlite:///{tmp_path / 'file' / 'gateway.db'}")
    with pytest.raises(StorageUnavailable):
        store.migrate()
    store.close()
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_bytes(b"this is no database at all" * 100)
    store = Store(f"sqlite:///{rubbish}")
    with pytest.raises(StorageUnavailable):
        store.migrate()
    store.close()
