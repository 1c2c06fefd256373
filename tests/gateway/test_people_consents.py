"""Consents: refusals that nobody asks about again, notices that renew them, a withdrawal while a template is made."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from gateway.runtime import Runtime
from gateway.store import Connection, Store
from gateway.store.consents import supersede_consents
from gateway.store.edges import waiting_commands
from gateway.store.tables import notices
from gateway.store.tables_access import idempotency
from gateway.store.types import as_text
from gateway.store.users import begin_request
from gateway.withdrawal import settle_receipts
from models.assessments import Assessment
from models.errors import Conflict
from models.link import EraseFace, FaceReceipt
from models.notices import Notice, NoticeText, notice_digest
from tests.gateway.households import call, policy_of, refusal
from tests.gateway.support import EDGE, Clock, SigningEdge, assess_faces
from tests.gateway.test_people import CONSENT, JPEG, KIND, answer, enrolled, move_in, next_command, receipt_for

TEXT = NoticeText(**dict.fromkeys(NoticeText.__struct_fields__, "说明"))


@pytest.fixture(autouse=True)
def assessment(runtime: Runtime, clock: Clock) -> Assessment:
    """Have an impact assessment of faces in force at site a."""
    return assess_faces(runtime.store, at=clock())


def publish(runtime: Runtime, version: str, *, renews: bool = False) -> Notice:
    """Publish a notice of site a, as the API of notices does."""
    at = runtime.clock()
    made = Notice(id=f"n-{version}", site_id="a", version=version, zh=TEXT, en=TEXT, renews=renews, published_at=at)

    def write(connection: Connection) -> None:
        connection.execute(
            notices.insert().values(
                id=made.id, site_id="a", purpose="door_face", name=version, record=as_text(made),
                sha256=notice_digest(made), published_at=at,
            )
        )  # fmt: skip
        if renews:
            supersede_consents(connection, "a", purpose="door_face", at=at)

    runtime.store.write_now(write)
    return made


async def test_who_refused_is_not_asked_again_and_keeps_every_right(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    await move_in(manager, consent=False)
    await call(manager, "POST", "people/p1/permits", 201, json={"doors": "all"})
    before = (await call(manager, "GET", "people/p1"))["may_be_asked"], policy_of(runtime).permits
    assert before[0] == ["door_face"]
    await call(manager, "POST", "people/p1/refusals", 204, json={})
    await call(manager, "POST", "people/p1/refusals", 204, json={})
    person = await call(manager, "GET", "people/p1")
    assert person["may_be_asked"] == []
    assert policy_of(runtime).permits == before[1]
    assert refusal(runtime, "p1") is None
    second = await call(manager, "POST", "people/p1/consents", 409, json=CONSENT)
    assert "do not ask again" in second["detail"]
    await call(manager, "POST", "people/p1/consents", 201, json=CONSENT | {"own_request": True})
    assert (await call(manager, "GET", "people/p1"))["may_be_asked"] == []


async def test_who_withdrew_is_not_asked_again_but_may_come_back(manager: httpx.AsyncClient) -> None:
    consent_id = await move_in(manager)
    await call(manager, "DELETE", f"people/p1/consents/{consent_id}", 204)
    assert (await call(manager, "GET", "people/p1"))["may_be_asked"] == []
    await call(manager, "POST", "people/p1/consents", 201, json=CONSENT)


async def test_a_notice_that_renews_stops_matching_until_people_consent_anew(
    manager: httpx.AsyncClient, runtime: Runtime, *, clock: Clock
) -> None:
    await move_in(manager)
    clock.turn(minutes=1)
    first = publish(runtime, "2026-1")
    other = await call(manager, "POST", "people/p1/consents", 422, json=CONSENT)
    assert "'2026-1'" in other["detail"], "a site with a notice takes consents to its notice"
    told = CONSENT | {"text_version": "2026-1"}
    made = await call(manager, "POST", "people/p1/consents", 201, json=told)
    assert made["text_sha256"] == notice_digest(first)
    await call(manager, "POST", "people/p1/consents", 422, json=told | {"text_sha256": "0" * 64})
    clock.turn(minutes=1)
    publish(runtime, "2026-2")
    await call(manager, "POST", "people/p1/consents", 201, json=told)
    clock.turn(minutes=1)
    publish(runtime, "2026-3", renews=True)
    assert [one.live(clock()) for one in policy_of(runtime).consents] == [False, False, False]
    assert not any(one.over(clock()) for one in policy_of(runtime).consents), "templates wait for a new consent"
    person = await call(manager, "GET", "people/p1")
    assert person["may_be_asked"] == ["door_face"], "a new purpose may be asked about"
    refused = await call(manager, "PUT", "people/p1/face", 422, content=JPEG, headers=KIND)
    assert refused["reason"] == "no_consent"
    await call(manager, "POST", "people/p1/consents", 422, json=told)
    await call(manager, "POST", "people/p1/consents", 201, json=told | {"text_version": "2026-3"})
    assert [one.live(clock()) for one in policy_of(runtime).consents].count(True) == 1


async def test_a_withdrawal_while_the_template_is_made_destroys_it(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    consent_id = await move_in(manager)
    asking = asyncio.create_task(manager.put("/api/v1/people/p1/face", content=JPEG, headers=KIND))
    command = await next_command(edge, runtime)
    clock.turn(seconds=1)
    await call(manager, "DELETE", f"people/p1/consents/{consent_id}", 204)
    orders = runtime.store.read_now(waiting_commands, EDGE, at=clock())
    assert [order.person_id for order in orders if isinstance(order, EraseFace)] == ["p1"]
    for order in orders:
        if isinstance(order, EraseFace):
            await answer(edge, order)
    await answer(edge, command, receipt=receipt_for(command, clock))
    refused = await asking
    assert (refused.status_code, refused.json()["reason"]) == (422, "no_consent")
    late = [one for one in runtime.store.read_now(waiting_commands, EDGE, at=clock()) if isinstance(one, EraseFace)]
    assert len(late) == 1, "the receipt came after the erasure: it is ordered again"
    await answer(edge, late[0])
    person = await call(manager, "GET", "people/p1")
    assert (person["faces"], len(person["erased_faces"])) == ([], 1)


def test_a_receipt_for_who_is_gone_orders_the_template_away(runtime: Runtime, clock: Clock) -> None:
    receipt = FaceReceipt(
        id="r", person_id="gone", edge_id=EDGE, contract="dlib", quality=0.9, digest="ab", at=clock()
    )  # fmt: skip
    runtime.store.write_now(settle_receipts, [receipt], consent_id="c", at=clock())
    orders = runtime.store.read_now(waiting_commands, EDGE, at=clock())
    assert [(type(order), order.person_id) for order in orders if isinstance(order, EraseFace)] == [(EraseFace, "gone")]


async def test_withdrawing_one_of_two_consents_keeps_the_template(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, clock: Clock
) -> None:
    consent_id = await enrolled(edge, manager, runtime=runtime, clock=clock)
    await call(manager, "POST", "people/p1/consents", 201, json=CONSENT | {"doors": ["side"]})
    await call(manager, "DELETE", f"people/p1/consents/{consent_id}", 204)
    waiting = runtime.store.read_now(waiting_commands, EDGE, at=clock())
    assert not any(isinstance(order, EraseFace) for order in waiting)
    assert len((await call(manager, "GET", "people/p1"))["faces"]) == 1


@pytest.mark.parametrize(
    ("born_on", "guardian", "status"),
    [
        ("2012-03-02", None, 422),  # 13 years and 364 days: a guardian consents
        ("2012-03-02", "g", 201),
        ("2012-03-01", None, 201),  # 14 today
        ("2012-03-01", "g", 422),
    ],
)
async def test_whether_a_guardian_consents_is_decided_by_the_date_of_birth(
    manager: httpx.AsyncClient, *, born_on: str, guardian: str | None, status: int
) -> None:
    await call(manager, "POST", "people", 201, json={"id": "p1", "name": "C", "born_on": born_on})
    await call(manager, "POST", "people", 201, json={"id": "g", "name": "G"})
    await manager.put("/api/v1/people/p1/guardians/g")
    await call(manager, "POST", "people/p1/consents", status, json=CONSENT | {"guardian": guardian})


async def shown_under_14(manager: httpx.AsyncClient) -> list[bool]:
    """Return whether the office is shown p1 as under 14: in the list, and alone."""
    listed = (await manager.get("/api/v1/people")).json()["items"]
    alone = (await manager.get("/api/v1/people/p1")).json()
    return [one["under_14"] for one in (*listed, alone) if one["id"] == "p1"]


async def test_the_day_is_the_sites_own(manager: httpx.AsyncClient, clock: Clock) -> None:
    clock.turn(hours=8, seconds=-1)  # 15:59:59 UTC: still 1 March in Shanghai
    await call(manager, "POST", "session", json={"username": "manager", "password": "correct horse battery"})
    await call(manager, "POST", "people", 201, json={"id": "p1", "name": "C", "born_on": "2012-03-02"})
    await call(manager, "POST", "people/p1/consents", 422, json=CONSENT)
    assert await shown_under_14(manager) == [True, True]
    clock.turn(seconds=1)
    await call(manager, "POST", "people/p1/consents", 201, json=CONSENT)
    assert await shown_under_14(manager) == [False, False]


async def test_a_person_is_corrected_with_an_etag(manager: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    made = await manager.post("/api/v1/people", json={"id": "p1", "name": "Lin", "external_id": "A-1"})
    tag = {"If-Match": made.headers["etag"]}
    changed = await manager.patch("/api/v1/people/p1", json={"name": "Lin Yue", "phone": "+86 138 0000"}, headers=tag)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["name"], changed.json()["external_id"]) == ("Lin Yue", "A-1")
    await call(manager, "PATCH", "people/p1", 409, json={"name": "X"}, headers=tag)
    for wrong in ({"name": None}, {"born_on": "2027-01-01"}, {"sex": "f"}, {"name": "a\u0000b"}, {"phone": "call me"}):
        await call(manager, "PATCH", "people/p1", 422, json=wrong)
    await call(manager, "PATCH", "people/p1", 422, json={"name": "X"}, headers={"If-Match": "latest"})
    await call(other, "PATCH", "people/p1", 404, json={"name": "X"})
    await call(manager, "POST", "people", 201, json={"id": "p2", "name": "Wang"})
    await call(manager, "PATCH", "people/p2", 409, json={"external_id": "A-1"})
    gone = await call(manager, "PATCH", "people/p1", json={"external_id": None, "phone": None, "born_on": "2000-01-01"})
    assert (gone["external_id"], gone["phone"], gone["born_on"]) == (None, None, "2000-01-01")
    assert gone["version"] == 3
    found = await call(manager, "GET", "people", params={"name": "LIN"})
    assert [one["id"] for one in found["items"]] == ["p1"]
    assert (await call(manager, "GET", "people", params={"external_id": "A-1"}))["items"] == []
    assert (await call(manager, "GET", "people", params={"name": "%"}))["items"] == []


async def test_pages_follow_the_cursor(manager: httpx.AsyncClient) -> None:
    for number in range(5):
        await call(manager, "POST", "people", 201, json={"id": f"p{number}", "name": "N"})
    first = await call(manager, "GET", "people", params={"limit": 3})
    rest = await call(manager, "GET", "people", params={"limit": 3, "cursor": first["next"]})
    assert [one["id"] for one in (*first["items"], *rest["items"])] == [f"p{number}" for number in range(5)]
    assert rest["next"] is None


async def test_a_repeated_request_answers_again_without_names(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    key = {"Idempotency-Key": "once"}
    body: dict[str, Any] = {"id": "p1", "name": "Lin Yue", "phone": "138 0000"}
    first = await manager.post("/api/v1/people", json=body, headers=key)
    again = await manager.post("/api/v1/people", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.json()["id"], again.json()["name"]) == ("p1", "")
    kept = runtime.store.read_now(lambda c: [tuple(row) for row in c.execute(select(idempotency))])
    assert "Lin" not in str(kept)
    assert "138" not in str(kept)


def test_a_request_that_never_ended_gives_its_key_back_after_a_minute(store: Store, clock: Clock) -> None:
    at = clock()
    assert store.write_now(begin_request, "k", digest="d", at=at) is None
    with pytest.raises(Conflict, match="minute"):
        store.write_now(begin_request, "k", digest="d", at=at + timedelta(seconds=59))
    assert store.write_now(begin_request, "k", digest="d", at=at + timedelta(seconds=60)) is None
    with pytest.raises(Conflict, match="minute"):
        store.write_now(begin_request, "k", digest="d", at=at + timedelta(seconds=61))
    with pytest.raises(Conflict, match="another request"):
        store.write_now(begin_request, "k", digest="e", at=at + timedelta(days=1))


async def test_of_two_corrections_at_once_one_is_told_to_read_again(manager: httpx.AsyncClient) -> None:
    await call(manager, "POST", "people", 201, json={"id": "p1", "name": "Lin"})
    tag = {"If-Match": '"1"'}
    names = [f"Lin {number}" for number in range(4)]
    answers = await asyncio.gather(
        *(manager.patch("/api/v1/people/p1", json={"name": name}, headers=tag) for name in names)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert (await call(manager, "GET", "people/p1"))["version"] == 2


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_only_a_consent_on_paper_is_older_than_its_record_and_never_than_a_no(
    manager: httpx.AsyncClient, clock: Clock
) -> None:
    await move_in(manager, consent=False)

    async def signed(status: int, days_ago: float, **more: Any) -> Any:
        told = {"channel": "paper", "given_at": (clock() - timedelta(days=days_ago)).isoformat(), **more}
        return await call(manager, "POST", "people/p1/consents", status, json=CONSENT | told)

    for days_ago, more in ((10, {"channel": "office"}), (-1, {}), (400, {})):
        assert (await signed(422, days_ago, **more))["where"] == "given_at"
    made = await signed(201, 10)
    assert (made["given_at"][:10], made["live"]) == ("2026-02-19", True)
    await call(manager, "DELETE", f"people/p1/consents/{made['id']}", 204)
    assert "withdrew" in (await signed(422, 10))["detail"], "the same paper does not undo a withdrawal"
    await call(manager, "POST", "people/p1/refusals", 204, json={})
    assert "refused" in (await signed(422, 5, own_request=True))["detail"]
    clock.turn(minutes=1)
    await signed(201, 0, own_request=True)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_child_whose_age_is_corrected_is_enrolled_in_no_way_without_a_guardian(
    edge: SigningEdge, manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    await move_in(manager)
    for born_on, status in (("2012-03-02", 422), ("2012-03-01", 202)):  # 13 years and 364 days; 14 today
        await call(manager, "PATCH", "people/p1", json={"born_on": born_on})
        told = await call(manager, "POST", "people/p1/face/at-door", status, json={"door_id": "gate"})
        assert status == 202 or told["reason"] == "no_consent"
        if status == 422:
            refused = await call(manager, "PUT", "people/p1/face", 422, content=JPEG, headers=KIND)
            assert refused["reason"] == "no_consent"
