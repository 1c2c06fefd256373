"""Places through the API, on both databases: scope, versions, what fits what, and what may not go while it is needed."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import msgspec
import pytest

from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.places import put_area, put_flat, put_site
from gateway.store.registers import seed_assessment
from gateway.store.users import User, add_api_token
from models.assessments import Assessment, Topics
from models.places import Area, Flat, Site
from tests.gateway.support import BEGINNING

API = "/api/v1"
As = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
REGISTER = {
    "purpose": "See who rings", "place_class": "community_common", "sign_confirmed_on": "2026-02-20",
    "banned_area_checked": True, "responsible": "Head of security",
}  # fmt: skip


@pytest.fixture
async def acting(url: str, runtime: Runtime) -> As:
    """Return a way to act as a machine with any role and scope."""

    @contextlib.asynccontextmanager
    async def client(
        role: str = "system_administrator", *, sites: tuple[str, ...] = ("*",), areas: tuple[str, ...] = ()
    ) -> AsyncIterator[httpx.AsyncClient]:
        secret = secrets.token_urlsafe(16)
        owner = User(
            id=f"t-{secrets.token_hex(8)}",
            username="machine",
            role=role,
            sites=sites,
            areas=areas,
            created_at=BEGINNING,
        )
        await runtime.store.write(add_api_token, secret, owner=owner)
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as made:
            yield made

    return client


def told(answer: httpx.Response) -> str:
    return str(answer.json()["detail"])


def ids(answer: httpx.Response, key: str = "id") -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item[key] for item in answer.json()["items"]]


async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(API + path, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


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


@pytest.mark.parametrize(
    ("change", "where"),
    [
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
    ],
)
async def test_an_area_that_does_not_fit_is_refused(acting: As, change: dict[str, Any], where: str) -> None:
    async with acting() as admin:
        answer = await admin.post(
            f"{API}/areas", json={"code": "310104", "level": "district", "name": "Xuhui"} | change
        )
        assert (answer.status_code, answer.json().get("where")) == (422, where), answer.text
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
        async with acting("operator", sites=(), areas=("310199",)) as newer:
            assert ids(await newer.get(f"{API}/doors")) == []
            assert (await admin.patch(f"{API}/areas/310104", json={"successor": "310199"})).status_code == 200
            assert ids(await newer.get(f"{API}/doors")) == ["gate", "side"], "the site keeps its old code"
        recoded = Site(id="a", name="Site a", community="310199001001", lat=31.2, lon=121.4)
        await runtime.store.write(put_site, recoded)
        async with acting("operator", sites=(), areas=("310104",)) as older:
            assert ids(await older.get(f"{API}/doors")) == ["gate", "side"], "the scope keeps its old code"
            assert ids(await older.get(f"{API}/sites")) == ["a"]
        async with acting("operator", sites=(), areas=("310105",)) as elsewhere:
            assert ids(await elsewhere.get(f"{API}/doors")) == ["far"]


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
    async with acting("manager", sites=("a",)) as manager:
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
    async with acting("manager", sites=("b",)) as manager:
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


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"community": "310104"}, "community"),
        ({"grid": "310105001001001"}, "grid"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"lat": 31.0, "lon": None}, "lat"),
        ({"lat": 91}, "body.lat"),
        ({"datum": "Clarke"}, "body.datum"),
        ({"name": None}, "body.name"),
        ({}, "body"),
    ],
)
async def test_a_site_that_does_not_fit_is_refused(acting: As, change: dict[str, Any], where: str) -> None:
    async with acting() as admin:
        answer = await admin.patch(f"{API}/sites/a", json=change)
        assert (answer.status_code, answer.json()["where"]) == (422, where), answer.text
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
    async with acting("manager", sites=("a", "b")) as both:
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


def assess(runtime: Runtime, *, subject: Any = "face", site_id: str = "a") -> str:
    words = "x" * 30
    topics = Topics(lawful_and_necessary=words, impact_and_risk=words, measures_fit=words, leak_and_misuse=words)
    record = Assessment(
        id=f"pia-{subject}-{site_id}", site_id=site_id, subject=subject, topics=topics, state="approved", drafted_by="m",
        drafted_at=BEGINNING, approved_by="n", approved_at=BEGINNING,
    )  # fmt: skip
    runtime.store.write_now(seed_assessment, record)
    return record.id


async def test_a_door_is_made_configured_and_deleted(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    body = {"id": "new", "name": "New door", "edge_id": "edge-1", "driver": {"kind": "mqtt", "topic": "x/y"}}
    door = await made(manager, "/doors", body)
    assert (door["site_id"], door["factors"], door["unlock_s"], door["driver"]["topic"]) == (
        "a",
        ["card", "pin"],
        5,
        "x/y",
    )
    assert [reader["side"] for reader in door["readers"]] == ["in"]
    assert (await manager.get(f"{API}/doors/new")).json()["online"] is False
    changed = await manager.patch(
        f"{API}/doors/new/settings", json={"unlock_s": 9, "factors": ["card"]}, headers={"If-Match": '"1"'}
    )
    assert (changed.status_code, changed.json()["unlock_s"], changed.json()["version"]) == (200, 9, 2)
    shown = await manager.get(f"{API}/doors/new/settings")
    assert (shown.json(), shown.headers["etag"]) == (changed.json(), '"2"')
    assert (await manager.delete(f"{API}/doors/new")).status_code == 204
    assert (await manager.get(f"{API}/doors/new")).status_code == 404
    assert ids(await manager.get(f"{API}/readers", params={"door_id": "new"})) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"factors": ["face"], "camera_id": "cam"}, "doors.side.factors"),
        ({"factors": ["face", "card"]}, "doors.side.factors"),
        ({"hands_free": True}, "doors.side.hands_free"),
        ({"hands_free": True, "impact_assessment": "pia-face-b"}, "impact_assessment"),
        ({"hands_free": True, "impact_assessment": "pia-recording-a"}, "impact_assessment"),
        ({"camera_id": "nothing"}, "camera_id"),
        ({"controller_id": "nothing"}, "controller_id"),
        ({"edge_id": "edge-9"}, "edge_id"),
        ({"factors": []}, "body.factors"),
        ({"unlock_s": 0}, "body.unlock_s"),
        ({"driver": {"x": "y" * 9000}}, "body.driver"),
        ({"driver": {"x": "a\u0000"}}, "body.driver"),
        ({"site_id": "b"}, "body.site_id"),
    ],
)
async def test_a_door_that_does_not_fit_is_refused(
    manager: httpx.AsyncClient, runtime: Runtime, *, change: dict[str, Any], where: str
) -> None:
    assess(runtime, subject="recording")
    assess(runtime, site_id="b")
    answer = await manager.patch(f"{API}/doors/side/settings", json=change)
    assert (answer.status_code, answer.json()["where"]) == (422, where), answer.text


async def test_a_door_is_hands_free_only_with_an_assessment_of_faces_in_force(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    change = {"hands_free": True, "impact_assessment": assess(runtime)}
    answer = await manager.patch(f"{API}/doors/gate/settings", json=change)
    assert (answer.status_code, answer.json()["hands_free"]) == (200, True)


async def test_a_door_stays_while_something_names_it(manager: httpx.AsyncClient) -> None:
    person = await made(manager, "/people", {"name": "Lin"})
    await made(manager, f"/people/{person['id']}/permits", {"doors": ["side"]})
    answer = await manager.delete(f"{API}/doors/side")
    assert (answer.status_code, "a permit" in told(answer)) == (409, True)
    looked = await manager.patch(f"{API}/cameras/cam/settings", json={"door_id": "gate"})
    assert looked.status_code == 200
    answer = await manager.delete(f"{API}/doors/gate")
    assert (answer.status_code, "a camera" in told(answer)) == (409, True)
    answer = await manager.delete(f"{API}/cameras/cam")
    assert (answer.status_code, "a door" in told(answer)) == (409, True)


async def test_what_works_together_stays_on_one_edge(manager: httpx.AsyncClient) -> None:
    for change in ({"camera_id": "cam", "edge_id": "edge-2"}, {"edge_id": "edge-2"}):
        answer = await manager.patch(f"{API}/doors/gate/settings", json=change)
        assert (answer.status_code, answer.json()["where"]) == (422, "camera_id")
    answer = await manager.patch(f"{API}/cameras/cam/settings", json={"edge_id": "edge-2"})
    assert (answer.status_code, answer.json()["where"]) == (422, "edge_id")
    assert (await manager.patch(f"{API}/doors/side/settings", json={"edge_id": "edge-2"})).status_code == 200


async def test_a_controller_drives_at_most_four_doors_of_its_edge(manager: httpx.AsyncClient) -> None:
    board = await made(manager, "/controllers", {"name": "Board", "edge_id": "edge-1", "serial": "1"})
    for number in range(4):
        body = {"id": f"d{number}", "name": "D", "edge_id": "edge-1", "controller_id": board["id"]}
        await made(manager, "/doors", body)
    fifth = await manager.patch(f"{API}/doors/side/settings", json={"controller_id": board["id"]})
    assert (fifth.status_code, fifth.json()["where"]) == (422, "controller_id")
    assert (await manager.patch(f"{API}/doors/d0/settings", json={"unlock_s": 6})).status_code == 200
    apart = await manager.patch(f"{API}/doors/d1/settings", json={"edge_id": "edge-2"})
    assert (apart.status_code, apart.json()["where"]) == (422, "controller_id")
    moved = await manager.patch(f"{API}/controllers/{board['id']}", json={"edge_id": "edge-2"})
    assert (moved.status_code, moved.json()["where"]) == (422, "edge_id")
    used = await manager.delete(f"{API}/controllers/{board['id']}")
    assert (used.status_code, "a door" in told(used)) == (409, True)
    replaced = await manager.patch(f"{API}/controllers/{board['id']}", json={"serial": "2"})
    assert (replaced.status_code, replaced.json()["serial"]) == (200, "2")
    assert (await manager.get(f"{API}/doors/d0/settings")).json()["controller_id"] == board["id"]


async def test_readers_travel_with_their_door(manager: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    reader = await made(manager, "/readers", {"id": "r-out", "door_id": "side", "side": "out", "kinds": ["qr", "card"]})
    door = (await manager.get(f"{API}/doors/side/settings")).json()
    assert [(one["id"], one["side"], one["kinds"]) for one in door["readers"]] == [("r-out", "out", ["qr", "card"])]
    assert (await other.get(f"{API}/readers/r-out")).status_code == 404
    assert (await other.post(f"{API}/readers", json={"door_id": "side"})).status_code == 404
    changed = await manager.patch(f"{API}/readers/r-out", json={"name": "Inside"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()) == (200, {**reader, "name": "Inside", "version": 2})
    for number in range(7):
        await made(manager, "/readers", {"id": f"r{number}", "door_id": "side"})
    ninth = await manager.post(f"{API}/readers", json={"door_id": "side"})
    assert (ninth.status_code, ninth.json()["where"]) == (422, "door_id")
    assert (await manager.delete(f"{API}/readers/r-out")).status_code == 204
    door = (await manager.get(f"{API}/doors/side/settings")).json()
    assert [one["id"] for one in door["readers"]] == [f"r{number}" for number in range(7)]
    assert ids(await manager.get(f"{API}/readers", params={"door_id": "side"})) == [f"r{number}" for number in range(7)]


async def test_a_cameras_password_is_taken_and_never_shown(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    body = {
        "id": "new",
        "name": "New",
        "edge_id": "edge-1",
        "url": "rtsp://192.0.2.7/s",
        "user": "u",
        "password": "t0p",
    }
    answers = [await manager.post(f"{API}/cameras", json=body)]
    answers.append(await manager.patch(f"{API}/cameras/new/settings", json={"name": "Newer"}))
    answers.append(await manager.get(f"{API}/cameras/new/settings"))
    answers.append(await manager.get(f"{API}/cameras/new"))
    answers.append(await manager.get(f"{API}/cameras"))
    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200]
    assert [answer.text for answer in answers if "t0p" in answer.text or '"password"' in answer.text] == []
    assert answers[2].json()["has_password"] is True
    assert await runtime.store.read(kept_password, "new") == "t0p", "a change of something else keeps it"
    assert (await manager.patch(f"{API}/cameras/new/settings", json={"password": "n3w"})).status_code == 200
    assert await runtime.store.read(kept_password, "new") == "n3w"
    told_all = msgspec.json.encode(await runtime.store.read(audit_rows)).decode()
    assert "camera.change" in told_all
    assert [word for word in ("t0p", "n3w", "192.0.2.7") if word in told_all] == []
    assert (await manager.delete(f"{API}/cameras/new")).status_code == 204


def kept_password(connection: Any, camera_id: str) -> str:
    from sqlalchemy import select

    from gateway.store.tables import cameras

    return str(connection.execute(select(cameras.c.password).where(cameras.c.id == camera_id)).scalar_one())


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"url": "http://192.0.2.1/"}, "url"),
        ({"url": "rtsp://user:secret@192.0.2.1/"}, "url"),
        ({"url": "rtsp://[::1"}, "url"),
        ({"url": "rtsp://192.0.2.1/\n"}, "url"),
        ({"near_zone": [0.5, 0, 0.5, 1]}, "near_zone"),
        ({"near_zone": [0, 0, 2, 1]}, "body.near_zone.2"),
        ({"door_id": "far"}, "door_id"),
        ({"edge_id": "edge-9"}, "edge_id"),
        ({"register": REGISTER | {"banned_area_checked": False}}, "register.banned_area_checked"),
        ({"register": REGISTER | {"privacy_masks": [[0.2, 0, 0.1, 1]]}}, "register.privacy_masks"),
        ({"register": REGISTER | {"sign_confirmed_on": "9999-12-31"}}, "register.sign_confirmed_on"),
        ({"register": REGISTER | {"purpose": " "}}, "body.register.purpose"),
        ({"register": {"purpose": "x"}}, "body.register.place_class"),
    ],
)
async def test_a_camera_that_does_not_fit_is_refused(
    manager: httpx.AsyncClient, change: dict[str, Any], where: str
) -> None:
    answer = await manager.patch(f"{API}/cameras/cam/settings", json=change)
    assert (answer.status_code, answer.json()["where"]) == (422, where), answer.text
    assert "secret" not in answer.text


async def test_the_register_says_which_camera_stays_off_and_what_is_to_be_filed(
    manager: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    await made(manager, "/cameras", {"id": "off", "name": "Off", "edge_id": "edge-1", "url": "rtsp://192.0.2.8/s"})
    answer = await manager.patch(f"{API}/cameras/cam/settings", json={"register": REGISTER})
    assert answer.json()["register"] == REGISTER | {"privacy_masks": [], "filed_on": None}
    rows = (await manager.get(f"{API}/sites/a/register")).json()["items"]
    assert [(row["camera_id"], row["complete"], row["filing_due_on"]) for row in rows] == [
        ("cam", True, "2026-03-22"), ("off", False, None),
    ]  # fmt: skip
    filed = REGISTER | {"filed_on": "2026-02-25"}
    assert (await manager.patch(f"{API}/cameras/cam/settings", json={"register": filed})).status_code == 200
    rows = (await manager.get(f"{API}/sites/a/register")).json()["items"]
    assert [row["filing_due_on"] for row in rows] == [None, None]
    assert (await manager.patch(f"{API}/cameras/cam/settings", json={"register": None})).json()["register"] is None
    assert (await other.get(f"{API}/sites/a/register")).status_code == 404


async def test_a_change_of_a_door_reaches_its_edge(manager: httpx.AsyncClient, edge: Any) -> None:
    before = (await edge.send("GET", "/edge/v1/policy")).json()
    assert (await manager.patch(f"{API}/doors/side/settings", json={"unlock_s": 12})).status_code == 200
    after = (await edge.send("GET", "/edge/v1/policy")).json()
    assert {door["id"]: door["unlock_s"] for door in after["doors"]}["side"] == 12
    assert (after["epoch"], after["n"]) > (before["epoch"], before["n"])
