"""Areas, companies, sites and flats through the API, on both databases: scope, versions, and what may not go while it is needed."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import httpx
import pytest

from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.places import put_area, put_flat, put_site
from models.places import Area, Flat, Site
from tests.gateway.placing import API, As, ids, machine, made, told


@pytest.fixture
def acting(url: str, runtime: Runtime) -> As:
    """Return a way to act as a machine with any role and scope."""
    return partial(machine, url, runtime)


TREE = [
    ("310104", "district", None), ("310104005", "subdistrict", "310104"), ("310104005012", "community", "310104005"),
    ("310105", "district", None), ("310105001", "subdistrict", "310105"), ("310105001001", "community", "310105001"),
]  # fmt: skip


def plant_tree(runtime: Runtime, *, seeded: bool = False) -> None:
    def write(connection: Any) -> None:
        for code, level, parent in TREE:
            area = Area(code=code, name=f"Area {code}", level=level, parent=parent)  # type: ignore[arg-type]
            put_area(connection, area, seeded=seeded)

    runtime.store.write_now(write)


async def test_an_area_is_made_shown_changed_and_deleted(acting: As, runtime: Runtime) -> None:
    async with acting() as admin:
        body = {"code": "310104", "level": "district", "name": "Xuhui", "valid_from": "2020-01-01"}
        area = await made(admin, "/areas", body)
        assert (area["version"], area["seeded"], area["valid_from"]) == (1, False, "2020-01-01")
        shown = await admin.get(f"{API}/areas/310104")
        assert shown.headers["etag"] == '"1"'
        stale = await admin.patch(f"{API}/areas/310104", json={"name": "X"}, headers={"If-Match": '"7"'})
        assert (stale.status_code, "changed meanwhile" in told(stale)) == (409, True)
        changed = await admin.patch(f"{API}/areas/310104", json={"name": "徐汇"}, headers={"If-Match": '"1"'})
        assert (changed.status_code, changed.json()["name"], changed.headers["etag"]) == (200, "徐汇", '"2"')
        again = await admin.post(f"{API}/areas", json=body)
        assert again.status_code == 409
        assert (await admin.delete(f"{API}/areas/310104", headers={"If-Match": '"1"'})).status_code == 409
        assert (await admin.delete(f"{API}/areas/310104")).status_code == 204
        assert (await admin.get(f"{API}/areas/310104")).status_code == 404
    rows = await runtime.store.read(audit_rows)
    found = [(row.action, row.subject, row.detail) for row in rows if row.action.startswith("area.")]
    assert found == [
        ("area.remove", "310104", {}), ("area.change", "310104", {"fields": "name"}), ("area.add", "310104", {}),
    ]  # fmt: skip


UNFIT_AREAS: list[tuple[dict[str, Any], str]] = [
    ({"code": "3101"}, "body.code"),
    ({"code": "310104005", "level": "district"}, "code"),
    ({"level": "county"}, "body.level"),
    ({"name": " "}, "body.name"),
    ({"name": "a\u0000b"}, "body.name"),
    ({"parent": "310104005"}, "parent"),
    ({"code": "310104005", "level": "subdistrict", "parent": "310105"}, "parent"),
    ({"successor": "310104"}, "successor"),
    ({"successor": "310199"}, "successor"),
    ({"valid_from": "2026-01-02", "valid_until": "2026-01-02"}, "valid_until"),
    ({"level": "subdistrict", "code": "310104005", "parent": "310104"}, "parent"),
    ({"surprise": 1}, "body.surprise"),
]


async def test_an_area_that_does_not_fit_is_refused(acting: As) -> None:
    async with acting() as admin:
        for change, where in UNFIT_AREAS:
            body = {"code": "310104", "level": "district", "name": "Xuhui"} | change
            answer = await admin.post(f"{API}/areas", json=body)
            assert (answer.status_code, answer.json().get("where")) == (422, where), (change, answer.text)
        assert ids(await admin.get(f"{API}/areas"), "code") == []


async def test_an_area_in_use_is_not_deleted(acting: As, runtime: Runtime) -> None:
    plant_tree(runtime)
    async with acting(areas=("310105",)) as admin:
        for code, use in (
            ("310104005012", "a site"), ("310104005", "an area below it"), ("310105", "a token's scope"),
        ):  # fmt: skip
            answer = await admin.delete(f"{API}/areas/{code}")
            assert (answer.status_code, use in told(answer)) == (409, True), answer.text
        await made(admin, "/areas", {"code": "310199", "level": "district", "name": "New"})
        assert (await admin.patch(f"{API}/areas/310104", json={"successor": "310199"})).status_code == 200
        answer = await admin.delete(f"{API}/areas/310199")
        assert "an area that it replaced" in told(answer)
        back = await admin.patch(f"{API}/areas/310199", json={"successor": "310104"})
        assert (back.status_code, back.json()["where"]) == (422, "successor")


async def test_a_scope_follows_an_area_to_its_successor_and_back(acting: As, runtime: Runtime) -> None:
    plant_tree(runtime)
    async with acting() as admin:
        await made(admin, "/areas", {"code": "310199", "level": "district", "name": "Renamed"})
        async with acting(role="operator", sites=(), areas=("310199",)) as newer:
            assert ids(await newer.get(f"{API}/doors")) == []
            assert (await admin.patch(f"{API}/areas/310104", json={"successor": "310199"})).status_code == 200
            assert ids(await newer.get(f"{API}/doors")) == ["gate", "side"], "the site keeps its old code"
        recoded = Site(id="a", name="Site a", community="310199001001", lat=31.2, lon=121.4)
        await runtime.store.write(put_site, recoded)
        async with acting(role="operator", sites=(), areas=("310104",)) as older:
            assert ids(await older.get(f"{API}/doors")) == ["gate", "side"], "the scope keeps its old code"
            assert ids(await older.get(f"{API}/sites")) == ["a"]
        async with acting(role="operator", sites=(), areas=("310105",)) as elsewhere:
            assert ids(await elsewhere.get(f"{API}/doors")) == ["far"]


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_scope_without_a_code_covers_nothing(acting: As, runtime: Runtime, *, replaced: bool) -> None:
    if replaced:
        renamed = Area(code="310104", name="Old", level="district", successor="310199")
        await runtime.store.write(put_area, renamed)
    async with acting(role="operator", sites=(), areas=("",)) as nobody:
        assert ids(await nobody.get(f"{API}/sites")) == []
        assert ids(await nobody.get(f"{API}/areas"), "code") == []
    async with acting(role="operator", sites=(), areas=("3101",)) as city:
        assert ids(await city.get(f"{API}/sites")) == ["a", "b"]


async def test_nobody_widens_their_scope_by_naming_a_successor(acting: As, runtime: Runtime) -> None:
    plant_tree(runtime)
    async with acting(sites=(), areas=("310104",)) as admin:
        assert ids(await admin.get(f"{API}/sites")) == ["a"]
        taken = await admin.patch(f"{API}/areas/310104", json={"successor": "310105"})
        assert (taken.status_code, taken.json()["where"]) == (422, "successor")
        below = await admin.patch(f"{API}/areas/310104005012", json={"successor": "310105001001"})
        assert (below.status_code, below.json()["where"]) == (422, "successor")
        foreign = await admin.post(f"{API}/areas", json={"code": "310106", "level": "district", "name": "Mine now"})
        assert foreign.status_code == 403
        assert ids(await admin.get(f"{API}/sites")) == ["a"]


async def test_areas_are_seen_in_scope_and_above_sites_in_scope(acting: As, runtime: Runtime) -> None:
    plant_tree(runtime)
    async with acting(role="manager", sites=("a",)) as manager:
        above = ["310104", "310104005", "310104005012"]
        assert ids(await manager.get(f"{API}/areas"), "code") == above
        assert ids(await manager.get(f"{API}/areas", params={"level": "community"}), "code") == above[2:]
        assert ids(await manager.get(f"{API}/areas", params={"parent": "310104"}), "code") == above[1:2]
        assert (await manager.get(f"{API}/areas/310105")).status_code == 404
        assert (await manager.patch(f"{API}/areas/310104", json={"name": "X"})).status_code == 403
    async with acting(sites=("a",)) as admin:
        beyond = await admin.patch(f"{API}/areas/310104", json={"name": "X"})
        assert (beyond.status_code, "beyond your scope" in told(beyond)) == (403, True)


async def test_companies_do_not_see_one_another(acting: As, runtime: Runtime) -> None:
    async with acting() as admin:
        for company, site in (("north", "a"), ("south", "b")):
            await made(admin, "/companies", {"id": company, "name": company, "contact": "office"})
            joined = await admin.patch(f"{API}/sites/{site}", json={"company_id": company})
            assert (joined.status_code, joined.json()["company_id"]) == (200, company)
        unknown = await admin.patch(f"{API}/sites/a", json={"company_id": "nobody"})
        assert (unknown.status_code, unknown.json()["where"]) == (422, "company_id")
        used = await admin.delete(f"{API}/companies/north")
        assert (used.status_code, "a site" in told(used)) == (409, True)
        assert (await admin.patch(f"{API}/sites/a", json={"company_id": None})).status_code == 200
        assert (await admin.delete(f"{API}/companies/north")).status_code == 204
    async with acting(role="manager", sites=("b",)) as manager:
        assert ids(await manager.get(f"{API}/companies")) == ["south"]
    async with acting(sites=("a",)) as small:
        assert ids(await small.get(f"{API}/companies")) == []
        assert (await small.get(f"{API}/companies/south")).status_code == 404
        assert (await small.post(f"{API}/companies", json={"name": "Own"})).status_code == 403


async def test_a_site_is_added_within_the_areas_in_scope_only(acting: As, runtime: Runtime) -> None:
    body = {"id": "new", "name": "New", "community": "310104005012", "lat": 31.0, "lon": 121.0}
    async with acting(sites=(), areas=("310104",)) as admin:
        site = await made(admin, "/sites", body)
        assert (site["timezone"], site["datum"], site["version"]) == ("Asia/Shanghai", "WGS-84", 1)
        assert "credential_key" not in site
        outside = await admin.post(f"{API}/sites", json=body | {"id": "out", "community": "310105001001"})
        assert outside.status_code == 403
        moved = await admin.patch(f"{API}/sites/new", json={"community": "310105001001"})
        assert moved.status_code == 403
        assert (await admin.get(f"{API}/sites/new")).json()["community"] == "310104005012"
        assert (await admin.get(f"{API}/sites/b")).status_code == 404
        assert (await admin.delete(f"{API}/sites/new")).status_code == 204
    async with acting() as everywhere:
        assert ids(await everywhere.get(f"{API}/sites")) == ["a", "b"]


UNFIT_SITES: list[tuple[dict[str, Any], str]] = [
    ({"community": "310104"}, "community"),
    ({"grid": "310105001001001"}, "grid"),
    ({"timezone": "Mars/Olympus"}, "timezone"),
    ({"timezone": "../../etc/passwd"}, "timezone"),
    ({"lat": 31.0, "lon": None}, "lat"),
    ({"lat": 91}, "body.lat"),
    ({"datum": "Clarke"}, "body.datum"),
    ({"name": None}, "body.name"),
    ({}, "body"),
]


async def test_a_site_that_does_not_fit_is_refused(acting: As) -> None:
    async with acting() as admin:
        for change, where in UNFIT_SITES:
            answer = await admin.patch(f"{API}/sites/a", json=change)
            assert (answer.status_code, answer.json().get("where")) == (422, where), (change, answer.text)
        assert (await admin.get(f"{API}/sites/a")).json()["version"] == 1


async def test_a_site_with_anything_in_it_is_not_deleted(acting: As, runtime: Runtime) -> None:
    async with acting() as admin:
        answer = await admin.delete(f"{API}/sites/a")
        assert answer.status_code == 409
        assert all(word in told(answer) for word in ("doors", "cameras", "a user's scope")), told(answer)


async def test_flats_belong_to_the_site_in_scope(
    acting: As, manager: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    flat = await made(manager, "/flats", {"building": "1", "room": "101", "keypad": "1101"})
    assert (flat["site_id"], flat["unit"], flat["groups"]) == ("a", "", [])
    for status, answer in (
        (404, await other.get(f"{API}/flats/{flat['id']}")),
        (404, await other.patch(f"{API}/flats/{flat['id']}", json={"room": "9"})),
        (404, await other.delete(f"{API}/flats/{flat['id']}")),
        (404, await other.post(f"{API}/flats", json={"site_id": "a", "building": "1", "room": "1"})),
    ):
        assert answer.status_code == status, answer.text
    assert ids(await other.get(f"{API}/flats", params={"site_id": "a"})) == []
    assert ids(await manager.get(f"{API}/flats", params={"site_id": "a"})) == [flat["id"]]
    async with acting(role="manager", sites=("a", "b")) as both:
        vague = await both.post(f"{API}/flats", json={"building": "1", "room": "1"})
        assert (vague.status_code, vague.json()["where"]) == (422, "site_id")


async def test_a_keypad_code_stands_for_one_flat_of_a_site(
    manager: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    await made(manager, "/flats", {"id": "f1", "building": "1", "room": "101", "keypad": "1101"})
    twice = await manager.post(f"{API}/flats", json={"building": "1", "room": "102", "keypad": "1101"})
    assert (twice.status_code, "keypad" in told(twice)) == (409, True)
    await made(manager, "/flats", {"id": "f2", "building": "1", "room": "102"})
    await made(manager, "/flats", {"id": "f3", "building": "1", "room": "103"})
    changed = await manager.patch(f"{API}/flats/f2", json={"keypad": "1101"})
    assert changed.status_code == 409
    await made(other, "/flats", {"building": "1", "room": "101", "keypad": "1101"})
    wrong = await manager.patch(f"{API}/flats/f2", json={"keypad": "1#1"})
    assert (wrong.status_code, wrong.json()["where"]) == (422, "keypad")
    unknown = await manager.patch(f"{API}/flats/f2", json={"groups": ["nobody"]})
    assert (unknown.status_code, unknown.json()["where"]) == (422, "groups")


async def test_a_flat_that_somebody_belonged_to_stays(manager: httpx.AsyncClient) -> None:
    await made(manager, "/flats", {"id": "f1", "building": "1", "room": "101"})
    await made(manager, "/people", {"id": "p1", "name": "Lin", "flat": "f1"})
    used = await manager.delete(f"{API}/flats/f1")
    assert (used.status_code, "belonged" in told(used)) == (409, True)


async def test_lists_go_on_at_the_cursor(manager: httpx.AsyncClient) -> None:
    for number in range(5):
        await made(manager, "/flats", {"id": f"f{number}", "building": "1", "room": str(number)})
    seen, cursor = [], None
    while True:
        page = (await manager.get(f"{API}/flats", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [f"f{number}" for number in range(5)]
    assert (await manager.get(f"{API}/flats", params={"cursor": "a b"})).status_code == 422


async def test_a_repeated_request_makes_one_flat(manager: httpx.AsyncClient) -> None:
    body = {"building": "1", "room": "101"}
    first, second = [await manager.post(f"{API}/flats", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert (first.status_code, second.status_code, first.json()) == (201, 201, second.json())
    assert len(ids(await manager.get(f"{API}/flats"))) == 1


async def test_what_the_site_file_describes_is_read_only(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    flat = Flat(id="f1", site_id="a", building="1", unit="", room="101")
    await runtime.store.write(put_flat, flat, seeded=True)
    for answer in (
        await manager.patch(f"{API}/flats/f1", json={"room": "9"}), await manager.delete(f"{API}/flats/f1"),
    ):  # fmt: skip
        assert (answer.status_code, "site file" in told(answer)) == (409, True)
    assert (await manager.get(f"{API}/flats/f1")).json()["seeded"] is True


async def test_the_reason_goes_on_record(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    body = {"building": "1", "room": "101"}
    answer = await manager.post(f"{API}/flats", json=body, headers={"Gatehouse-Reason": "new%20building"})
    assert answer.status_code == 201
    (row,) = [row for row in await runtime.store.read(audit_rows) if row.action == "flat.add"]
    assert (row.actor, row.detail) == ("u-manager", {"reason": "new building", "site": "a"})


async def test_operators_see_places_and_change_nothing(operator: httpx.AsyncClient) -> None:
    for path in ("/areas", "/companies", "/sites", "/flats", "/controllers", "/readers"):
        assert (await operator.get(API + path)).status_code == 200
    for method, path in (
        ("POST", "/areas"), ("POST", "/sites"), ("POST", "/flats"), ("POST", "/doors"), ("POST", "/cameras"),
        ("PATCH", "/doors/gate/settings"), ("DELETE", "/cameras/cam"), ("GET", "/cameras/cam/settings"),
    ):  # fmt: skip
        answer = await operator.request(method, API + path, json={})
        assert answer.status_code in {403, 422}, (method, path)


async def test_of_two_who_want_the_same_keypad_code_one_gets_it(manager: httpx.AsyncClient) -> None:
    bodies = [{"building": "1", "room": str(number), "keypad": "1101"} for number in range(6)]
    answers = await asyncio.gather(*(manager.post(f"{API}/flats", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert len(ids(await manager.get(f"{API}/flats"))) == 1
