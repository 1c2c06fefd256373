"""Notices (R1, R2) and impact assessments (R33) over the API: drafts, publication, second persons, and what they allow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, get_args

import httpx
import pytest

from gateway.notice_texts import shipped_notice
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.consents import consents_of
from gateway.store.people import add_person
from gateway.store.users import User, add_user
from models.assessments import TOPICS
from models.errors import InvalidInput
from models.notices import FIELDS, Notice, check_notice, notice_digest
from models.people import Person, Purpose
from tests.gateway.conftest import seated
from tests.gateway.support import BEGINNING, Clock

WORDS = {name: f"What there is to say about {name}, at some length." for name in TOPICS}
WHY = {"Gatehouse-Reason": "reviewed%20on%20paper"}


@pytest.fixture
async def security(url: str, runtime: Runtime, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    user = User(id="u-sec", username="sec", role="security_administrator", sites=("a",), created_at=clock())
    runtime.store.write_now(add_user, user, password_hash="unused")
    async with seated(url, runtime, "sec") as client:
        client.headers.update(WHY)
        yield client


async def texts(client: httpx.AsyncClient, **change: Any) -> dict[str, Any]:
    query = {"handler": "绿苑物业 Green Gardens", "contact": "021-5550 0100"}
    made: dict[str, Any] = (await client.get("/api/v1/notices/template", params=query)).json()
    return {"site_id": "a", "version": "2026-1", "zh": made["zh"], "en": made["en"]} | change


@pytest.mark.parametrize("purpose", get_args(Purpose))
def test_the_notices_that_ship_have_every_legal_field_in_both_languages(purpose: Purpose) -> None:
    zh, en = shipped_notice(purpose, handler="绿苑物业", contact="021-5550 0100")
    notice = Notice(id="n", site_id="a", purpose_kind=purpose, version="1", zh=zh, en=en)
    assert check_notice(notice) is notice
    for name in FIELDS[2:]:
        assert any("\u4e00" <= char <= "\u9fff" for char in getattr(zh, name)), name
        assert getattr(en, name).isascii(), name
    for chinese, english in ((en, en), (zh, shipped_notice(purpose, handler=" ", contact="x")[1])):
        with pytest.raises(InvalidInput):
            check_notice(Notice(id="n", site_id="a", purpose_kind=purpose, version="1", zh=chinese, en=english))


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("field", FIELDS)
async def test_a_notice_with_a_blank_field_is_refused(manager: httpx.AsyncClient, field: str, *, language: str) -> None:
    body = await texts(manager)
    for blank in ("", "  "):
        body[language][field] = blank
        answer = await manager.post("/api/v1/notices", json=body)
        assert answer.status_code == 422
        assert field in answer.json()["where"]


async def test_a_notice_is_drafted_changed_and_published_for_good(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, runtime: Runtime
) -> None:
    made = await manager.post("/api/v1/notices", json=await texts(manager))
    assert made.status_code == 201, made.text
    key, tag = made.json()["notice"]["id"], made.headers["etag"]
    twice = await manager.post("/api/v1/notices", json=await texts(manager))
    assert twice.status_code == 409, "one text per version"
    body = await texts(manager)
    change = {name: body[name] for name in ("zh", "en")}
    change["en"]["retention"] = "Until you move out."
    changed = await manager.put(f"/api/v1/notices/{key}", json=change, headers={"If-Match": tag})
    assert changed.json()["sha256"] != made.json()["sha256"]
    stale = await manager.post(f"/api/v1/notices/{key}/publish", headers={"If-Match": tag})
    assert stale.status_code == 409
    published = (await manager.post(f"/api/v1/notices/{key}/publish")).json()
    assert published["notice"]["published_at"] is not None
    again = await manager.get(f"/api/v1/notices/{key}")
    assert again.json()["sha256"] == published["sha256"]
    for method, path in (("PUT", ""), ("DELETE", ""), ("POST", "/publish")):
        answer = await manager.request(method, f"/api/v1/notices/{key}{path}", json=change if method == "PUT" else None)
        assert answer.status_code == 409, method
        foreign = await other.request(method, f"/api/v1/notices/{key}{path}", json=change if method == "PUT" else None)
        assert foreign.status_code == 404, method
    assert [item["notice"]["id"] for item in (await manager.get("/api/v1/notices")).json()["items"]] == [key]
    assert (await other.get("/api/v1/notices")).json()["items"] == []
    draft = (await manager.post("/api/v1/notices", json=await texts(manager, version="2"))).json()["notice"]["id"]
    assert (await manager.delete(f"/api/v1/notices/{draft}")).status_code == 204
    acts = [row.action for row in runtime.store.read_now(audit_rows) if row.action.startswith("notice.")]
    assert acts == ["notice.delete", "notice.draft", "notice.publish", "notice.change", "notice.draft"]


async def test_the_digest_covers_both_languages_and_every_field() -> None:
    zh, en = shipped_notice("door_face", handler="h", contact="c")
    notice = Notice(id="n", site_id="a", version="1", zh=zh, en=en)
    assert notice_digest(notice) != notice_digest(Notice(id="n", site_id="a", version="1", zh=zh, en=zh))
    assert notice_digest(notice) != notice_digest(Notice(id="n", site_id="a", version="2", zh=zh, en=en))


@pytest.mark.parametrize("renews", [True, False])
async def test_a_notice_that_renews_asks_everybody_anew(
    manager: httpx.AsyncClient, runtime: Runtime, clock: Clock, *, renews: bool
) -> None:
    runtime.store.write_now(add_person, Person(id="p1", site_id="a", name="Lin Yue"), at=clock())
    given = await manager.post("/api/v1/people/p1/consents", json=consent("face-door-1"))
    assert given.status_code == 201, given.text
    body = await texts(manager, version="2027-1", renews=renews)
    key = (await manager.post("/api/v1/notices", json=body)).json()["notice"]["id"]
    clock.turn(minutes=20)
    assert all(each.live(clock()) for each in runtime.store.read_now(consents_of, "p1")), "a draft changes nothing"
    assert (await manager.post(f"/api/v1/notices/{key}/publish")).status_code == 200
    (held,) = runtime.store.read_now(consents_of, "p1")
    assert held.live(clock()) is not renews
    assert not held.over(clock()), "the template stays until the person has answered"


def consent(version: str) -> dict[str, Any]:
    return {"text_version": version, "channel": "office", "evidence": "form 7", "doors": ["gate"]}


def draft(**change: Any) -> dict[str, Any]:
    return {"site_id": "a", "subject": "face", "topics": WORDS} | change


async def state(client: httpx.AsyncClient, key: str) -> tuple[str, bool]:
    shown = (await client.get(f"/api/v1/assessments/{key}")).json()
    return shown["assessment"]["state"], shown["in_force"]


async def test_an_assessment_needs_two_people_and_allows_until_it_is_reopened(
    manager: httpx.AsyncClient, security: httpx.AsyncClient, *, runtime: Runtime
) -> None:
    made = await manager.post("/api/v1/assessments", json=draft())
    assert made.status_code == 201, made.text
    key = made.json()["assessment"]["id"]
    assert await state(manager, key) == ("draft", False)
    assert (await manager.post(f"/api/v1/assessments/{key}/approve", json={}, headers=WHY)).status_code == 403
    approved = await security.post(f"/api/v1/assessments/{key}/approve", json={})
    assert (approved.status_code, approved.json()["in_force"]) == (200, True)
    for method, path, body in (("PUT", "", {"topics": WORDS}), ("DELETE", "", None)):
        answer = await manager.request(method, f"/api/v1/assessments/{key}{path}", json=body)
        assert answer.status_code == 409, "what was approved is kept"
    assert (await manager.post(f"/api/v1/assessments/{key}/reopen")).status_code == 422, "say why"
    assert (await manager.post(f"/api/v1/assessments/{key}/reopen", headers=WHY)).status_code == 200
    assert await state(manager, key) == ("reopened", False)
    second = (await manager.post("/api/v1/assessments", json=draft())).json()["assessment"]["id"]
    assert (await security.post(f"/api/v1/assessments/{second}/approve", json={})).status_code == 200
    assert await state(manager, key) == ("replaced", False)
    third = (await manager.post("/api/v1/assessments", json=draft(subject="recording"))).json()["assessment"]["id"]
    assert (await security.post(f"/api/v1/assessments/{third}/approve", json={})).status_code == 200
    assert await state(manager, second) == ("approved", True), "each subject has its own"
    rows = [row for row in runtime.store.read_now(audit_rows) if row.action == "assessment.approve"]
    assert {row.detail["reason"] for row in rows} == {"reviewed on paper"}


async def test_an_assessment_ends_with_its_validity(
    manager: httpx.AsyncClient, security: httpx.AsyncClient, *, clock: Clock
) -> None:
    key = (await manager.post("/api/v1/assessments", json=draft())).json()["assessment"]["id"]
    over = {"valid_until": (BEGINNING - timedelta(days=1)).isoformat()}
    assert (await security.post(f"/api/v1/assessments/{key}/approve", json=over)).status_code == 422
    soon = {"valid_until": (BEGINNING + timedelta(minutes=20)).isoformat()}
    assert (await security.post(f"/api/v1/assessments/{key}/approve", json=soon)).status_code == 200
    assert await state(manager, key) == ("approved", True)
    clock.turn(minutes=20)
    assert await state(manager, key) == ("approved", False)


async def test_a_draft_is_changed_by_version_and_deleted(manager: httpx.AsyncClient) -> None:
    made = await manager.post("/api/v1/assessments", json=draft())
    key, tag = made.json()["assessment"]["id"], {"If-Match": made.headers["etag"]}
    body = {"topics": WORDS | {"measures_fit": "Other measures that fit better than before."}}
    assert (await manager.put(f"/api/v1/assessments/{key}", json=body, headers=tag)).status_code == 200
    assert (await manager.put(f"/api/v1/assessments/{key}", json=body, headers=tag)).status_code == 409
    assert (await manager.delete(f"/api/v1/assessments/{key}", headers=tag)).status_code == 409
    assert (await manager.delete(f"/api/v1/assessments/{key}")).status_code == 204
    assert (await manager.get(f"/api/v1/assessments/{key}")).status_code == 404


@pytest.mark.parametrize("topic", TOPICS)
async def test_an_assessment_that_says_nothing_about_a_topic_is_refused(manager: httpx.AsyncClient, topic: str) -> None:
    for words in ("", "fine", " " * 50):
        answer = await manager.post("/api/v1/assessments", json=draft(topics=WORDS | {topic: words}))
        assert (answer.status_code, topic in answer.text) == (422, True)


async def test_the_other_site_sees_no_assessment(manager: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    key = (await manager.post("/api/v1/assessments", json=draft())).json()["assessment"]["id"]
    assert (await other.get(f"/api/v1/assessments/{key}")).status_code == 404
    assert (await other.post(f"/api/v1/assessments/{key}/reopen", headers=WHY)).status_code == 404
    assert (await other.post("/api/v1/assessments", json=draft())).status_code == 404
    assert (await other.get("/api/v1/assessments")).json()["items"] == []
