"""The audit log: who may read what of it, reasons, and that no way of changing it goes unseen."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import Connection, delete, insert, select, update

from gateway.auth.keys import fresh_key
from gateway.checkpoints import FILE, append_checkpoint, checkpoints_in, note_checkpoint
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.audit import GENESIS, AuditEntry, append_audit, audit_rows, verify_audit
from gateway.store.checkpoints import (
    Witness,
    contradictions,
    drop_old_checkpoints,
    latest_checkpoint,
    make_checkpoint,
    witnesses,
)
from gateway.store.tables import edges
from gateway.store.tables_access import audit
from gateway.store.tables_events import counters
from gateway.store.users import User, add_user, change_user
from models.errors import InvalidInput
from models.link import Checkpoint
from tests.gateway.conftest import seated
from tests.gateway.support import BEGINNING, Clock, SigningEdge, serving


def write_rows(store: Store, count: int = 5) -> None:
    for n in range(count):
        store.write_now(append_audit, AuditEntry(actor="u-1", action="person.look_up", subject=f"p-{n}"), at=BEGINNING)


def forge(connection: Connection) -> None:
    """Write the whole chain anew with another row 2, as somebody with the database's password would."""
    rows = [row._asdict() for row in connection.execute(select(audit).order_by(audit.c.seq))]
    rows[1]["subject"] = "p-9"
    connection.execute(delete(audit))
    connection.execute(update(counters).where(counters.c.name == "audit").values(value=0))
    for row in rows:
        entry = AuditEntry(
            actor=row["actor"], action=row["action"], subject=row["subject"], result=row["result"],
            detail=msgspec.json.decode(row["detail"]),
        )  # fmt: skip
        append_audit(connection, entry, at=row["at"])


def cut(connection: Connection) -> None:
    """Cut the last rows off and turn the counter back."""
    connection.execute(delete(audit).where(audit.c.seq > 2))
    connection.execute(update(counters).where(counters.c.name == "audit").values(value=2))


def swap(connection: Connection) -> None:
    """Let two rows change places."""
    first, second = (dict(connection.execute(select(audit).where(audit.c.seq == n)).one()._mapping) for n in (2, 3))
    connection.execute(delete(audit).where(audit.c.seq.in_((2, 3))))
    connection.execute(insert(audit).values(**{**first, "seq": 3}))
    connection.execute(insert(audit).values(**{**second, "seq": 2}))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c.execute(update(audit).where(audit.c.seq == 2).values(subject="p-9")), "row 2 was changed"),
        (lambda c: c.execute(delete(audit).where(audit.c.seq == 2)), "rows 2 to 2 are missing"),
        (lambda c: c.execute(delete(audit).where(audit.c.seq == 5)), "rows 5 to 5 are missing at the end"),
        (swap, "was changed"),
        (lambda c: c.execute(update(counters).where(counters.c.name == "audit").values(value=3)), "never counted"),
    ],
)
def test_a_changed_missing_or_moved_row_shows(store: Store, change: Callable[[Connection], Any], *, fault: str) -> None:
    write_rows(store)
    assert store.read_now(verify_audit)[2] == []
    store.write_now(change)
    assert any(fault in found for found in store.read_now(verify_audit)[2])


@pytest.mark.parametrize(("change", "fault"), [(forge, "written anew"), (cut, "is missing")])
async def test_a_forged_chain_is_told_by_every_witness(
    runtime: Runtime, change: Callable[[Connection], Any], *, fault: str, tmp_path: Path
) -> None:
    store, key = runtime.store, runtime.gateway_key
    write_rows(store)
    made = await note_checkpoint(runtime, tmp_path / FILE)
    assert made is not None
    store.write_now(insert_edge, made)
    kept = [*store.read_now(witnesses), *checkpoints_in(tmp_path / FILE)]
    assert {witness.name for witness in kept} == {"database", "edge witness", f"{FILE}:1"}
    assert store.read_now(contradictions, kept, public_key=key.public_key) == []
    store.write_now(change)
    assert store.read_now(verify_audit)[2] == [], "the chain alone does not show it"
    told = store.read_now(contradictions, kept, public_key=key.public_key)
    assert len(told) == 3
    assert all(fault in each for each in told)


def insert_edge(connection: Connection, checkpoint: Checkpoint) -> None:
    text = msgspec.json.encode(checkpoint).decode()
    connection.execute(
        insert(edges).values(
            id="witness", site_id="a", name="Edge", public_key="", enrolled_at=BEGINNING, checkpoint=text
        )
    )


async def test_a_checkpoint_under_another_key_is_no_witness(runtime: Runtime) -> None:
    write_rows(runtime.store)
    other = runtime.store.write_now(make_checkpoint, fresh_key(), at=BEGINNING)
    assert other is not None
    told = runtime.store.read_now(
        contradictions, [Witness(name="x", checkpoint=other)], public_key=runtime.gateway_key.public_key
    )
    assert told == ["x: the checkpoint of row 5 is not signed by this gateway"]


async def test_checkpoints_are_made_when_there_is_something_new(runtime: Runtime, clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / FILE
    assert await note_checkpoint(runtime, file) is None
    write_rows(runtime.store, 2)
    first = await note_checkpoint(runtime, file)
    assert first is not None
    assert (first.seq, await note_checkpoint(runtime, file)) == (2, None)
    clock.turn(days=2)
    write_rows(runtime.store, 1)
    second = await note_checkpoint(runtime, file)
    assert [each.checkpoint for each in checkpoints_in(file)] == [first, second]
    assert file.stat().st_mode & 0o777 == 0o600
    assert runtime.store.write_now(drop_old_checkpoints, before=clock()) == 1
    assert runtime.store.read_now(latest_checkpoint) == second


def test_a_torn_line_of_the_file_is_skipped_and_rubbish_is_told(tmp_path: Path) -> None:
    file = tmp_path / FILE
    assert list(checkpoints_in(file)) == []
    checkpoint = Checkpoint(seq=1, digest=GENESIS, at=BEGINNING, signature="")
    append_checkpoint(file, checkpoint)
    with file.open("ab") as stream:
        stream.write(b'{"seq":2,')
    assert [each.checkpoint for each in checkpoints_in(file)] == [checkpoint]
    file.write_text("rubbish\n")
    with pytest.raises(InvalidInput, match="no checkpoint"):
        list(checkpoints_in(file))


async def auditor(url: str, runtime: Runtime, sites: tuple[str, ...]) -> list[dict[str, Any]]:
    user = User(id="u-aud", username="aud", role="audit_administrator", sites=sites, created_at=BEGINNING)
    runtime.store.write_now(add_user, user, password_hash="unused")
    async with seated(url, runtime, "aud") as client:
        items: list[dict[str, Any]] = (await client.get("/api/v1/audit?limit=500")).json()["items"]
        return items


async def test_rows_name_the_actor_the_unit_and_the_reason(
    url: str, runtime: Runtime, manager: httpx.AsyncClient
) -> None:
    runtime.store.write_now(lambda c: change_user(c, "u-manager", unit="Green Gardens Ltd"))
    await manager.get("/api/v1/people", headers={"Gatehouse-Reason": "yearly%20check"})
    rows = [row for row in await auditor(url, runtime, ("*",)) if row["action"] == "person.list"]
    assert [(row["name"], row["unit"], row["reason"]) for row in rows] == [
        ("manager", "Green Gardens Ltd", "yearly check")
    ]
    assert runtime.store.read_now(verify_audit)[2] == []


async def test_an_auditor_of_one_site_sees_what_its_people_did(
    url: str, runtime: Runtime, manager: httpx.AsyncClient, *, other: httpx.AsyncClient
) -> None:
    for client in (manager, other):
        await client.get("/api/v1/people")
    actors = {row["actor"] for row in await auditor(url, runtime, ("a",))}
    assert "u-manager" in actors
    assert "u-other" not in actors


async def test_the_log_is_filtered_and_paged(url: str, runtime: Runtime) -> None:
    write_rows(runtime.store, 7)
    runtime.store.write_now(append_audit, AuditEntry(actor="system", action="edge.token", subject="e"), at=BEGINNING)
    user = User(id="u-aud", username="aud", role="audit_administrator", sites=("*",), created_at=BEGINNING)
    runtime.store.write_now(add_user, user, password_hash="unused")
    async with seated(url, runtime, "aud") as client:
        for query, count in (
            ("action=person.", 7), ("action=person.look_up", 7), ("action=person", 0), ("action=%25", 0),
            ("subject=p-3", 1), ("actor=system", 1), ("since=2027-01-01T00:00:00Z", 0), ("actor=u-1&subject=e", 0),
        ):  # fmt: skip
            items = (await client.get(f"/api/v1/audit?{query}")).json()["items"]
            assert len(items) == count, query
        seen: list[int] = []
        page: dict[str, Any] = (await client.get("/api/v1/audit?action=person.&limit=3")).json()
        while True:
            seen += [row["seq"] for row in page["items"]]
            if page["next"] is None:
                break
            address = f"/api/v1/audit?action=person.&limit=3&cursor={page['next']}"
            page = (await client.get(address)).json()
        assert seen == [7, 6, 5, 4, 3, 2, 1]
        for bad in ("since=2027-01-01T00:00:00", "since=9999-12-31T23:59:59Z", "limit=0", "cursor=0", "actor="):
            assert (await client.get(f"/api/v1/audit?{bad}")).status_code == 422, bad


async def test_checkpoints_are_shown_with_the_key_that_signs_them(url: str, runtime: Runtime, tmp_path: Path) -> None:
    write_rows(runtime.store)
    made = await note_checkpoint(runtime, tmp_path / FILE)
    async with seated(url, runtime, "audit_administrator") as client:
        answer = await client.get("/api/v1/audit/checkpoints")
    assert msgspec.convert(answer.json()["items"], list[Checkpoint]) == [made]
    assert answer.headers["gatehouse-key"] == runtime.gateway_key.public_key
    assert len(base64.b64decode(answer.headers["gatehouse-key"])) == 32


async def test_where_reasons_are_required_looks_and_changes_carry_one(runtime: Runtime) -> None:
    why = {"Gatehouse-Reason": "handover"}
    async with serving(replace(runtime, require_reasons=True)) as url, seated(url, runtime, "manager") as client:
        for method, path in (("GET", "people"), ("GET", "facts"), ("POST", "people"), ("GET", "people/nobody")):
            body = {"name": "Lin Yue"} if method == "POST" else None
            bare = await client.request(method, f"/api/v1/{path}", json=body)
            assert (bare.status_code, "Gatehouse-Reason" in bare.text) == (422, True), path
            told = await client.request(method, f"/api/v1/{path}", json=body, headers=why)
            assert told.status_code in {200, 201, 404}, told.text
        assert (await client.get("/api/v1/alerts")).status_code == 200, "operators at night are not asked"
    reasons = [row.detail.get("reason") for row in runtime.store.read_now(audit_rows) if row.action != "refused"]
    assert reasons.count("handover") >= 3


async def test_refusals_are_on_record(url: str, runtime: Runtime, edge: SigningEdge) -> None:
    assert edge.id
    async with seated(url, runtime, "guard") as client:
        assert (await client.get("/api/v1/people", headers={"Gatehouse-Reason": "curious"})).status_code == 403
    (row,) = [row for row in runtime.store.read_now(audit_rows) if row.action == "refused"]
    assert (row.actor, row.subject, row.detail["reason"]) == ("u-guard", "people:read", "curious")
