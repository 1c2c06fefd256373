"""R29: enrolled people are counted once per handler; the warning, the timer and the printed pack come in time."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select, update

from gateway.counts import LIMIT, NEAR, WORKING_DAYS, note_counts, working_days_after
from gateway.runtime import Runtime
from gateway.store.assessments import add_assessment
from gateway.store.filings import enrolled_people
from gateway.store.tables import companies, notices, sites
from gateway.store.tables_access import audit
from gateway.store.tables_people import face_receipts, people
from gateway.store.types import as_text
from models.assessments import TOPICS, Assessment, Topics
from models.notices import FIELDS, Notice, NoticeText
from tests.gateway.support import BEGINNING, Clock


def one_company(runtime: Runtime) -> None:
    """Give both sites to one company."""

    def write(connection: Any) -> None:
        connection.execute(insert(companies).values(id="wy", name="物业 <One>", contact="010-1"))
        connection.execute(update(sites).values(company_id="wy"))

    runtime.store.write_now(write)


def enrol(runtime: Runtime, count: int, *, site_id: str = "a", first: int = 0, **more: Any) -> None:
    """Write people with a template each."""
    rows = [
        {"id": f"{site_id}-{n}", "site_id": site_id, "name": f"n{n}", "phone": f"1{n:010d}", "created_at": BEGINNING}
        | more
        for n in range(first, first + count)
    ]
    proofs = [
        {
            "id": f"r-{row['id']}", "person_id": row["id"], "consent_id": "c", "edge_id": "edge-1", "contract": "c",
            "quality": 1.0, "digest": "d", "at": BEGINNING,
        }
        for row in rows
    ]  # fmt: skip

    def write(connection: Any) -> None:
        connection.execute(insert(people), rows)
        connection.execute(insert(face_receipts), proofs)

    runtime.store.write_now(write)


def noted(runtime: Runtime) -> list[str]:
    query = select(audit.c.action).where(audit.c.subject == "wy").order_by(audit.c.seq)
    return list(runtime.store.read_now(lambda connection: connection.execute(query).scalars().all()))


@pytest.mark.slow
def test_a_hundred_thousand_enrolled_people_start_the_timer_once(runtime: Runtime, clock: Clock) -> None:
    one_company(runtime)
    enrol(runtime, NEAR - 1)
    (filing,) = runtime.store.write_now(note_counts, at=clock())
    assert (filing.enrolled, filing.state, noted(runtime)) == (NEAR - 1, "below", [])
    enrol(runtime, 1, first=NEAR)
    (filing,) = runtime.store.write_now(note_counts, at=clock())
    assert (filing.enrolled, filing.state, noted(runtime)) == (NEAR, "near", ["filing.near"])
    enrol(runtime, LIMIT - NEAR, site_id="b", first=200_000)
    clock.turn(days=3)
    (filing,) = runtime.store.write_now(note_counts, at=clock())
    assert (filing.enrolled, filing.state, filing.reached_on) == (LIMIT, "due", clock().date())
    clock.turn(days=10)
    (later,) = runtime.store.write_now(note_counts, at=clock())
    assert later.due_on == filing.due_on == working_days_after(filing.reached_on or date.min, WORKING_DAYS)
    assert noted(runtime) == ["filing.near", "filing.due"]


def test_who_is_on_record_at_two_sites_counts_once_and_erased_faces_do_not(runtime: Runtime) -> None:
    enrol(runtime, 3)
    enrol(runtime, 3, site_id="b", first=1)
    enrol(runtime, 2, site_id="b", first=50, phone=None, name="Lin", born_on=date(1990, 1, 1))
    enrol(runtime, 2, site_id="b", first=60, phone=None, name="Wei")
    both = ("a", "b")
    assert runtime.store.read_now(enrolled_people, both) == 4 + 1 + 2
    erased = update(face_receipts).where(face_receipts.c.person_id == "a-0").values(erased_at=BEGINNING)
    runtime.store.write_now(lambda connection: connection.execute(erased).rowcount)
    assert runtime.store.read_now(enrolled_people, both) == 6
    assert runtime.store.read_now(enrolled_people, ("a",)) == 2


@pytest.mark.parametrize(
    ("start", "days", "end"),
    [
        (date(2026, 3, 2), 1, date(2026, 3, 3)),
        (date(2026, 3, 6), 1, date(2026, 3, 9)),
        (date(2026, 3, 7), 1, date(2026, 3, 9)),
        (date(2026, 3, 2), 30, date(2026, 4, 13)),
    ],
)
def test_working_days_leave_out_week_ends(start: date, days: int, end: date) -> None:
    assert working_days_after(start, days) == end
    counted = [start + timedelta(days=n) for n in range(1, (end - start).days + 1)]
    assert sum(day.weekday() < 5 for day in counted) == days


async def test_the_pack_says_what_the_filing_asks_and_is_safe_to_print(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    enrol(runtime, 2)
    filings = (await manager.get("/api/v1/filings")).json()["items"]
    assert [(one["handler_id"], one["enrolled"]) for one in filings] == [("site.a", 2)]
    answer = await manager.get("/api/v1/filings/site.a/pack")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "AES-256-GCM" in answer.text
    assert "<dd>2</dd>" in answer.text


async def test_the_filing_of_a_company_with_a_foreign_site_is_not_shown(
    manager: httpx.AsyncClient, operator: httpx.AsyncClient, runtime: Runtime
) -> None:
    one_company(runtime)
    assert (await manager.get("/api/v1/filings")).json()["items"] == []
    assert (await manager.get("/api/v1/filings/wy/pack")).status_code == 404
    assert (await operator.get("/api/v1/filings")).status_code == 403


async def test_the_pack_quotes_the_notice_and_the_assessment_in_force(
    manager: httpx.AsyncClient, runtime: Runtime, clock: Clock
) -> None:
    said = {name: f"{name} <b>说明</b>" for name in FIELDS}
    notice = Notice(
        id="n", site_id="a", version="2", zh=NoticeText(**said), en=NoticeText(**said), published_at=clock()
    )
    one = Assessment(
        id="pia", site_id="a", subject="face", topics=Topics(**dict.fromkeys(TOPICS, "weighed with care, see <file>")),
        state="approved", drafted_by="x", drafted_at=clock(), approved_by="y", approved_at=clock(),
    )  # fmt: skip

    def write(connection: Any) -> None:
        row = {"id": "n", "site_id": "a", "purpose": "door_face", "name": "2", "record": as_text(notice)}
        connection.execute(insert(notices).values(**row, sha256="0" * 64, published_at=clock()))
        add_assessment(connection, one)

    runtime.store.write_now(write)
    page = (await manager.get("/api/v1/filings/site.a/pack")).text
    assert page.count("rights_route &lt;b&gt;说明") == 2
    assert page.count("see &lt;file&gt;") == len(TOPICS)
    assert "<b>" not in page
