"""Imports: every row of a spreadsheet is written or told why not, once, and can be taken back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from gateway.auth.roles import Caller
from gateway.bulk.importing import note_interrupted, run_imports
from gateway.bulk.reading import MAX_BYTES
from gateway.bulk.undo import undo
from gateway.runtime import Runtime
from gateway.store.audit import verify_audit
from gateway.store.imports import drop_old_changes
from gateway.store.places import put_flat
from gateway.store.tables_access import audit
from gateway.store.tables_people import credentials, import_changes, imports, occupancies, people
from models.places import Flat
from tests.gateway.support import Clock, until

HEADER = "external_id,name,building,unit,room,phone,card,relation,valid_until"


@pytest.fixture
async def office(runtime: Runtime, manager: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the manager's client while imports are carried out, at a site with ten flats."""

    def build(connection: Any) -> None:
        for room in range(101, 111):
            put_flat(connection, Flat(id=f"f{room}", site_id="a", building="3", unit="1", room=str(room)))

    runtime.store.write_now(build)
    task = asyncio.create_task(run_imports(runtime, lambda: None))
    yield manager
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def send(client: httpx.AsyncClient, content: bytes | str, **params: Any) -> httpx.Response:
    raw = content.encode() if isinstance(content, str) else content
    return await client.post("/api/v1/imports", content=raw, params=params, headers={"Content-Type": "text/csv"})


async def imported(client: httpx.AsyncClient, content: bytes | str) -> dict[str, Any]:
    answer = await send(client, content)
    assert answer.status_code == 202, answer.text

    async def ended() -> dict[str, Any] | None:
        view: dict[str, Any] = (await client.get(f"/api/v1/imports/{answer.json()['id']}")).json()
        return view if view["state"] != "running" else None

    view: dict[str, Any] = await until(ended, within_s=60)
    return view


def counts(view: dict[str, Any]) -> tuple[int, int, int, int]:
    report = view["report"]
    return report["added"], report["changed"], report["unchanged"], report["rejected"]


def table(runtime: Runtime, which: Any) -> list[Any]:
    return list(runtime.store.read_now(lambda connection: connection.execute(select(which)).all()))


FAMILY = (
    f"{HEADER}\n1,Lin Yue,3,1,101,13800000000,04AB,业主,\n2,Lin Wei,3,1,101,,,家属,2026-12-31\n3,Nobody,9,9,999,,,,\n"
)


async def test_residents_of_a_file_live_in_their_flats_with_their_cards(
    office: httpx.AsyncClient, runtime: Runtime
) -> None:
    view = await imported(office, FAMILY)
    assert view["state"] == "done"
    assert (view["done"], view["total"]) == (3, 3)
    assert counts(view) == (2, 0, 0, 1)
    assert view["report"]["faults"] == [
        {"line": 4, "column": "room", "what": "this site has no such flat: add it first, or mend the row"}
    ]
    assert {(row.external_id, row.name, row.phone) for row in table(runtime, people)} == {
        ("1", "Lin Yue", "13800000000"), ("2", "Lin Wei", None),
    }  # fmt: skip
    assert {(row.flat_id, row.relation, row.valid_until) for row in table(runtime, occupancies)} == {
        ("f101", "owner", None), ("f101", "family", datetime(2026, 12, 31, 16, tzinfo=UTC)),
    }  # fmt: skip
    (card,) = table(runtime, credentials)
    assert (card.kind, card.state) == ("card", "active")
    assert "4AB" not in card.digest


async def test_a_dry_run_says_the_same_and_writes_nothing(office: httpx.AsyncClient, runtime: Runtime) -> None:
    answer = await send(office, FAMILY, dry_run="true")
    assert answer.status_code == 200
    assert (answer.json()["state"], counts(answer.json())) == ("checked", (2, 0, 0, 1))
    assert table(runtime, people) == table(runtime, imports) == []


async def test_the_same_file_again_changes_nothing(office: httpx.AsyncClient, runtime: Runtime) -> None:
    first = await imported(office, FAMILY)
    again = await send(office, FAMILY)
    assert again.status_code == 200
    assert (again.json()["id"], again.json()["repeated"]) == (first["id"], True)
    assert len(table(runtime, people)) == 2


async def test_the_same_rows_in_another_file_change_nothing(office: httpx.AsyncClient, runtime: Runtime) -> None:
    await imported(office, FAMILY)
    view = await imported(office, FAMILY + "\n")
    assert counts(view) == (0, 0, 2, 1)
    assert len(table(runtime, people)) == len(table(runtime, occupancies)) == 2
    assert len(table(runtime, credentials)) == 1


async def test_a_later_file_corrects_and_a_blank_cell_changes_nothing(
    office: httpx.AsyncClient, runtime: Runtime
) -> None:
    await imported(office, FAMILY)
    view = await imported(office, f"{HEADER}\n1,Lin Yue-Hua,3,1,102,,,,\n2,Lin Wei,3,1,101,,,tenant,\n")
    assert counts(view) == (0, 2, 0, 0)
    changed = {row.external_id: row for row in table(runtime, people)}
    assert (changed["1"].name, changed["1"].phone, changed["1"].version) == ("Lin Yue-Hua", "13800000000", 2)
    assert sorted((row.flat_id, row.relation) for row in table(runtime, occupancies)) == [
        ("f101", "owner"), ("f101", "tenant"), ("f102", "family"),
    ]  # fmt: skip


async def test_a_card_of_somebody_else_rejects_the_whole_row(office: httpx.AsyncClient, runtime: Runtime) -> None:
    await imported(office, FAMILY)
    view = await imported(office, "external_id,name,card\n8,Wu,4AB\n9,Zhou,4AC\n")
    assert counts(view) == (1, 0, 0, 1)
    assert [(fault["line"], fault["column"]) for fault in view["report"]["faults"]] == [(2, "card")]
    assert "8" not in {row.external_id for row in table(runtime, people)}


async def test_every_person_of_an_import_stands_in_the_audit_chain_without_a_name(
    office: httpx.AsyncClient, runtime: Runtime
) -> None:
    view = await imported(office, FAMILY)
    rows = table(runtime, audit)
    added = {row.subject for row in rows if row.action == "person.add"}
    assert added == {row.id for row in table(runtime, people)}
    assert [row.action for row in rows if row.subject == view["id"]] == ["import.begin", "import.end"]
    assert not any(name in row.detail for row in rows for name in ("Lin Yue", "Lin Wei", "13800000000"))
    assert runtime.store.read_now(verify_audit)[2] == []


async def test_an_import_is_taken_back_whole(office: httpx.AsyncClient, runtime: Runtime) -> None:
    await imported(office, f"{HEADER}\n1,Old Name,3,1,101,1380000,,,\n")
    before = table(runtime, people), table(runtime, occupancies)
    view = await imported(office, FAMILY)
    answer = await office.post(f"/api/v1/imports/{view['id']}/undo")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["state"], told["report"]["conflicts"]) == ("undone", [])
    ((person,), (flat,)), ((was,), (lived,)) = (table(runtime, people), table(runtime, occupancies)), before
    assert (person.name, person.phone, flat.relation) == (was.name, was.phone, lived.relation)
    assert table(runtime, credentials) == []
    again = await imported(office, FAMILY)
    assert counts(again) == (1, 1, 0, 1), "an undone file may be sent again"
    twice = await office.post(f"/api/v1/imports/{view['id']}/undo")
    assert twice.status_code == 409


async def test_an_undo_leaves_what_somebody_changed_since(office: httpx.AsyncClient, runtime: Runtime) -> None:
    view = await imported(office, FAMILY)
    ids = {row.external_id: row.id for row in table(runtime, people)}
    permit = await office.post(f"/api/v1/people/{ids['2']}/permits", json={"doors": ["gate"]})
    assert permit.status_code == 201, permit.text
    later = await imported(office, "external_id,name,phone\n1,Lin Yue,13900000000\n")
    answer = (await office.post(f"/api/v1/imports/{view['id']}/undo")).json()
    left = {(conflict["kind"], conflict["object_id"]): conflict["why"] for conflict in answer["report"]["conflicts"]}
    assert set(left) == {("person.add", ids["1"]), ("person.add", ids["2"])}
    assert "permits" in left["person.add", ids["2"]]
    assert {row.external_id for row in table(runtime, people)} == {"1", "2"}
    back = (await office.post(f"/api/v1/imports/{later['id']}/undo")).json()
    assert back["report"]["conflicts"] == []
    assert {row.phone for row in table(runtime, people)} == {"13800000000", None}


async def test_two_who_undo_at_once_lose_nothing_of_the_report(
    office: httpx.AsyncClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await imported(office, FAMILY)
    ids = {row.external_id: row.id for row in table(runtime, people)}
    permit = await office.post(f"/api/v1/people/{ids['2']}/permits", json={"doors": ["gate"]})
    assert permit.status_code == 201, permit.text
    changes = len(table(runtime, import_changes))
    monkeypatch.setattr("gateway.bulk.undo.STEP", 1)  # so that the steps of the two take turns
    keeper = Caller(id="u-keeper", username="keeper", role="manager", sites=frozenset({"a"}))
    both = await asyncio.gather(*(undo(runtime, view["id"], caller=keeper) for _ in range(2)))
    assert [(one.state, one.report.undone, len(one.report.conflicts)) for one in both] == [
        ("undone", changes - 1, 1)
    ] * 2
    told = (await office.get(f"/api/v1/imports/{view['id']}")).json()["report"]
    assert (told["undone"], len(told["conflicts"])) == (changes - 1, 1)


async def test_how_to_undo_is_forgotten_after_a_month(
    office: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:
    view = await imported(office, FAMILY)
    runtime.store.write_now(drop_old_changes, before=clock() + timedelta(seconds=1))
    assert table(runtime, import_changes) == []
    answer = await office.post(f"/api/v1/imports/{view['id']}/undo")
    assert answer.status_code == 409
    assert len(table(runtime, people)) == 2


async def test_imports_of_another_site_do_not_exist(office: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    view = await imported(office, FAMILY)
    assert (await other.get(f"/api/v1/imports/{view['id']}")).status_code == 404
    assert (await other.post(f"/api/v1/imports/{view['id']}/undo")).status_code == 404
    assert (await send(other, FAMILY, site_id="a")).status_code == 404
    assert (await other.get("/api/v1/imports")).json()["items"] == []
    assert [item["id"] for item in (await office.get("/api/v1/imports")).json()["items"]] == [view["id"]]


async def test_who_only_watches_alerts_imports_nobody(operator: httpx.AsyncClient) -> None:
    assert (await send(operator, FAMILY)).status_code == 403


async def test_a_file_beyond_the_limit_and_a_broken_one_are_refused(office: httpx.AsyncClient) -> None:
    assert (await send(office, b"x" * (MAX_BYTES + 1))).status_code == 413
    answer = await send(office, "gender,name\nx,y\n")
    assert answer.status_code == 422
    assert "is not kept" in answer.json()["detail"]


async def test_more_imports_than_may_wait_are_refused(runtime: Runtime, manager: httpx.AsyncClient) -> None:
    answers = [await send(manager, f"external_id,name\n{number},A\n") for number in range(6)]
    codes = [answer.status_code for answer in answers]
    assert [code for code, _ in itertools.groupby(codes)] == [202, 409]
    assert runtime.store.read_now(lambda c: c.execute(select(func.count()).select_from(imports)).scalar()) == 4


async def test_an_import_that_a_restart_cut_off_says_so_and_goes_on_when_sent_again(
    runtime: Runtime, manager: httpx.AsyncClient, clock: Clock
) -> None:
    content = "external_id,name\n1,A\n"
    view = (await send(manager, content)).json()
    runtime.imports.get_nowait()  # the process ends here: what waited is gone
    clock.turn(seconds=1)
    assert runtime.store.write_now(note_interrupted, before=clock()) == 1
    after = (await manager.get(f"/api/v1/imports/{view['id']}")).json()
    assert after["state"] == "failed"
    assert "again" in after["report"]["problem"]
    assert (await send(manager, content)).status_code == 202


@pytest.mark.parametrize("place", ['["2026-01-01T00:00:00","x"]', '["2026-01-01T00:00:00Z","a\\u0000"]', "[1]", "x"])
async def test_a_forged_cursor_is_refused_with_what_to_do(manager: httpx.AsyncClient, place: str) -> None:
    cursor = base64.urlsafe_b64encode(place.encode()).decode()
    answer = await manager.get("/api/v1/imports", params={"cursor": cursor})
    assert answer.status_code == 422, answer.text
    assert answer.json()["where"] == "cursor"


async def test_dates_of_a_file_end_a_tenancy_and_what_is_over_is_told(
    office: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:
    head = "external_id,name,flat,valid_from,valid_until\n"
    await imported(office, head + "1,A,f101,2026-02-01,\n2,B,f102,,\n3,C,f103,,\n")
    view = await imported(
        office, head + "1,A,f101,,2026-01-15\n2,B,f102,,2026-02-15\n9,D,f104,,2026-02-15\n3,C,f109,,\n"
    )
    assert counts(view) == (0, 2, 0, 2)
    assert {(fault["line"], fault["column"]) for fault in view["report"]["faults"]} == {
        (2, "valid_until"), (4, "valid_until"),
    }  # fmt: skip
    again = await imported(office, head + "2,B,f102,,2026-02-15\n")
    assert counts(again) == (0, 0, 1, 0), "a tenancy that ended on that day stays as it is"


async def test_people_of_the_site_file_and_lost_cards_are_left_alone(
    office: httpx.AsyncClient, runtime: Runtime
) -> None:
    await imported(office, "external_id,name,card\n1,A,04AB\n2,B,\n")

    def change(connection: Any) -> None:
        connection.execute(update(credentials).values(state="lost"))
        connection.execute(update(people).where(people.c.external_id == "2").values(seeded=True))

    runtime.store.write_now(change)
    view = await imported(office, "external_id,name,card\n1,A,04AB\n2,Other,\n")
    assert counts(view) == (0, 0, 0, 2)
    told = {fault["column"]: fault["what"] for fault in view["report"]["faults"]}
    assert "reported lost" in told["card"]
    assert "site.yaml" in told["external_id"]


async def test_an_import_that_the_database_does_not_take_says_so(office: httpx.AsyncClient, runtime: Runtime) -> None:
    runtime.store.write_now(import_changes.drop)
    view = await imported(office, FAMILY)
    assert view["state"] == "failed"
    assert "send the file again" in view["report"]["problem"]
    assert table(runtime, people) == [], "a batch is written whole or not at all"
    runtime.store.write_now(import_changes.create)
    assert counts(await imported(office, FAMILY)) == (2, 0, 0, 1)


async def test_a_dry_run_that_finds_nobody_new_still_names_every_fault(office: httpx.AsyncClient) -> None:
    many = "external_id,name\n" + "".join(f"{number},=x\n" for number in range(1_200))
    report = (await send(office, many, dry_run="true")).json()["report"]
    assert (report["rejected"], len(report["faults"]), report["more_faults"]) == (1_200, 1_000, 200)
