"""Households: moving in and out in one act, rights that follow the flat, a lost card and the one in its place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from gateway.moves import end_residence
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from models.people import credential_digest
from tests.gateway.households import add_flats, call, policy_of, refusal
from tests.gateway.support import Clock

FAMILY: dict[str, Any] = {
    "people": [
        {"id": "lin", "name": "Lin Yue", "relation": "owner", "credentials": [{"kind": "card", "value": "7186A61E"}]},
        {"id": "bao", "name": "Lin Bao", "born_on": "2020-05-01", "guardians": ["lin"]},
    ]
}


@pytest.fixture(autouse=True)
def flats(runtime: Runtime) -> None:
    """Give site a its flats."""
    add_flats(runtime)


async def test_a_family_moves_in_with_cards_guardian_and_the_rights_of_the_flat(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    done = await call(manager, "POST", "flats/f101/move-in", 201, json=FAMILY)
    assert [one["person_id"] for one in done["people"]] == ["lin", "bao"]
    assert refusal(runtime, "lin") is None
    assert refusal(runtime, "bao", door_id="side") is None
    policy = policy_of(runtime)
    key = bytes.fromhex(policy.credential_key)
    assert [one.digest for one in policy.credentials] == [credential_digest("card", "7186A61E", key)]
    assert {member.id: (member.flats, member.under_14) for member in policy.people} == {
        "bao": (("101",), True), "lin": (("101",), False),
    }  # fmt: skip
    lin = await call(manager, "GET", "people/lin")
    assert [permit["id"].startswith("of-o-") for permit in lin["permits_by_flat"]] == [True]
    assert (await call(manager, "GET", "people/bao"))["guardians"] == ["lin"]
    assert [one["id"] for one in (await call(manager, "GET", "people", params={"flat": "f101"}))["items"]] == [
        "bao",
        "lin",
    ]
    actions = [row.action for row in runtime.store.read_now(audit_rows)]
    assert actions.count("person.move_in") == 2
    assert "guardian.link" in actions
    assert "credential.give" in actions


async def test_moving_in_is_all_or_nothing(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    wrong: list[dict[str, Any]] = [
        {"people": [*FAMILY["people"], {"id": "wang", "name": "Wang", "guardians": ["bao"], "under_14": True}]},
        {"people": [*FAMILY["people"], {"name": "Wang", "credentials": [{"kind": "pin", "value": "1111111"}]}]},
        {"people": [*FAMILY["people"], {"name": "Wang", "credentials": [{"kind": "card"}]}]},
        {"people": [*FAMILY["people"], {"person_id": "lin", "name": "Wang"}]},
        FAMILY | {"valid_from": "2026-03-02T00:00:00Z", "valid_until": "2026-03-01T00:00:00Z"},
    ]
    for body in wrong:
        await call(manager, "POST", "flats/f101/move-in", 422, json=body)
    twice = {"people": [*FAMILY["people"], {"name": "Wang", "credentials": [{"kind": "card", "value": "71:86:A6:1E"}]}]}
    await call(manager, "POST", "flats/f101/move-in", 409, json=twice)
    assert (await call(manager, "GET", "people"))["items"] == []
    assert policy_of(runtime).people == ()


async def test_moving_out_ends_everything_at_once_and_the_next_family_is_not_touched(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    await call(manager, "POST", "flats/f101/move-in", 201, json=FAMILY)
    await call(manager, "POST", "flats/f101/move-in", 201, json={"people": [{"id": "next", "name": "Zhao"}]})
    await call(manager, "POST", "people/lin/permits", 201, json={"doors": ["gate"]})
    told = {"text_version": "face-door-1", "channel": "office", "evidence": "f", "doors": ["gate"]}
    await call(manager, "POST", "people/lin/consents", 201, json=told)
    guest = {"host": "lin", "doors": ["gate"], "valid_until": "2026-03-02T00:00:00Z"}
    made = await call(manager, "POST", "visitors", 201, json=guest)
    out = await call(manager, "POST", "flats/f101/move-out", json={"people": ["lin", "bao"]})
    counts = {"left": True, "credentials": 1, "permits": 1, "consents": 1, "passes": 1}
    ended = {one["person_id"]: one for one in out["people"]}
    assert {key: ended["lin"][key] for key in counts} == counts
    assert ended["bao"]["left"]
    assert refusal(runtime, "lin") in {"expired", "no_permit"}
    assert refusal(runtime, "next") is None
    policy = policy_of(runtime)
    assert policy.credentials == ()
    assert policy.passes == ()
    assert [consent.live(runtime.clock()) for consent in policy.consents] == [False]
    lin = await call(manager, "GET", "people/lin")
    assert [one["state"] for one in lin["credentials"]] == ["blocked"]
    assert (await call(manager, "GET", f"visitors/{made['id']}"))["revoked_at"] is not None
    again = await call(manager, "POST", "flats/f101/move-out", 422, json={"people": ["lin"]})
    assert "does not belong" in again["detail"]
    assert runtime.store.write_now(end_residence, "next", actor="system", at=runtime.clock()) is None


async def test_who_has_another_flat_keeps_card_and_consents(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    await call(manager, "POST", "flats/f101/move-in", 201, json=FAMILY)
    await call(manager, "POST", "flats/f102/move-in", 201, json={"people": [{"person_id": "lin", "relation": "owner"}]})
    await call(manager, "POST", "flats/f102/move-in", 409, json={"people": [{"person_id": "lin"}]})
    out = await call(manager, "POST", "flats/f101/move-out", json={})
    assert {one["person_id"]: one["left"] for one in out["people"]} == {"lin": False, "bao": True}
    assert refusal(runtime, "lin") is None
    assert len(policy_of(runtime).credentials) == 1


async def test_a_move_that_is_due_later_ends_rights_by_itself_and_the_rest_when_it_is_due(
    manager: httpx.AsyncClient, runtime: Runtime, *, clock: Clock
) -> None:
    await call(manager, "POST", "flats/f101/move-in", 201, json=FAMILY)
    when = (clock() + timedelta(minutes=10)).isoformat()
    out = await call(manager, "POST", "flats/f101/move-out", json={"at": when})
    assert [one["left"] for one in out["people"]] == [False, False]
    assert refusal(runtime, "lin") is None
    clock.turn(minutes=10)
    assert refusal(runtime, "lin") == "expired"
    ended = runtime.store.write_now(end_residence, "lin", actor="system", at=clock())
    assert ended is not None
    assert (ended.left, ended.credentials) == (True, 1)
    again = runtime.store.write_now(end_residence, "lin", actor="system", at=clock())
    assert again is not None
    assert again.credentials == 0, "doing it again changes nothing"


async def test_moving_in_later_begins_later(manager: httpx.AsyncClient, runtime: Runtime, *, clock: Clock) -> None:
    since = (clock() + timedelta(minutes=10)).isoformat()
    await call(manager, "POST", "flats/f101/move-in", 201, json=FAMILY | {"valid_from": since})
    assert refusal(runtime, "lin") == "not_permitted_now"
    clock.turn(minutes=10)
    assert refusal(runtime, "lin") is None


async def test_a_lost_card_is_replaced_in_one_act(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    await call(manager, "POST", "flats/f101/move-in", 201, json=FAMILY)
    (card,) = (await call(manager, "GET", "people/lin"))["credentials"]
    path = f"people/lin/credentials/{card['id']}/replace"
    wrong = {"why": "lost", "new": {"kind": "pin"}}
    await call(manager, "POST", path, 422, json=wrong)
    taken = {"why": "lost", "new": {"kind": "card", "value": "7186A61E"}}
    await call(manager, "POST", path, 409, json=taken)
    done = await call(manager, "POST", path, json={"why": "lost", "new": {"kind": "card", "value": "AA01"}})
    assert (done["old"]["state"], done["new"]["state"]) == ("replaced", "active")
    assert done["new"]["replaces"] == card["id"]
    key = bytes.fromhex(policy_of(runtime).credential_key)
    assert [one.digest for one in policy_of(runtime).credentials] == [credential_digest("card", "AA01", key)]
    await call(manager, "POST", path, 409, json={"why": "lost"})
    back = await call(manager, "PATCH", f"people/lin/credentials/{card['id']}", 409, json={"state": "active"})
    assert "replaced" in back["detail"]
    stolen = {"kind": "card", "value": "7186A61E"}
    refused = await call(manager, "POST", "people/bao/credentials", 409, json=stolen)
    assert "delete it there" in refused["detail"]


async def test_households_of_another_site_do_not_exist(manager: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    await call(manager, "POST", "flats/f101/move-in", 201, json=FAMILY)
    await call(other, "POST", "flats/f101/move-in", 404, json={"people": [{"name": "X"}]})
    await call(other, "POST", "flats/f101/move-out", 404, json={})
    await call(other, "POST", "flats/far-flat/move-in", 404, json={"people": [{"person_id": "lin"}]})
    await call(other, "PUT", "people/bao/guardians/lin", 404)
    await call(manager, "POST", "flats/far-flat/move-in", 404, json={"people": [{"person_id": "lin"}]})


async def test_occupancies_begin_and_end_one_by_one(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    await call(manager, "POST", "people", 201, json={"id": "p1", "name": "Lin", "flat": "f101"})
    made = await call(manager, "POST", "people/p1/occupancies", 201, json={"flat": "f102", "relation": "tenant"})
    await call(manager, "POST", "people/p1/occupancies", 422, json={"flat": "far-flat"})
    assert made["flat_id"] == "f102"
    held = (await call(manager, "GET", "people/p1"))["flats"]
    assert {one["flat_id"] for one in held} == {"f101", "f102"}
    for one in held:
        await call(manager, "DELETE", f"people/p1/occupancies/{one['id']}", 204)
    await call(manager, "DELETE", "people/p1/occupancies/nothing", 404)
    assert refusal(runtime, "p1") in {"expired", "no_permit"}


async def test_deleting_an_old_occupancy_takes_nothing_from_who_got_new_rights_since(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    await call(manager, "POST", "people", 201, json={"id": "p1", "name": "Lin", "flat": "f101"})
    (old,) = (await call(manager, "GET", "people/p1"))["flats"]
    first = await call(manager, "POST", "people/p1/credentials", 201, json={"kind": "card", "value": "04AB11"})
    await call(manager, "DELETE", f"people/p1/occupancies/{old['id']}", 204)
    caretaker = await call(manager, "POST", "people/p1/credentials", 201, json={"kind": "card", "value": "04AB12"})
    await call(manager, "POST", "people/p1/permits", 201, json={"doors": ["gate"]})
    await call(manager, "DELETE", f"people/p1/occupancies/{old['id']}", 204)
    held = await call(manager, "GET", "people/p1")
    states = {one["id"]: one["state"] for one in held["credentials"]}
    assert (states[first["id"]], states[caretaker["id"]]) == ("blocked", "active")
    assert refusal(runtime, "p1") is None


@pytest.mark.parametrize(
    ("child", "guardian", "what"),
    [
        ({"born_on": "2012-02-28"}, {"born_on": "1990-01-01"}, "14 or older"),
        ({"born_on": "2015-01-01"}, {"born_on": "2008-03-02"}, "adult"),
        ({"under_14": True}, {"under_14": True}, "adult"),
    ],
)
async def test_a_guardian_is_an_adult_and_a_child_is_under_14(
    manager: httpx.AsyncClient, child: dict[str, Any], *, guardian: dict[str, Any], what: str
) -> None:
    await call(manager, "POST", "people", 201, json={"id": "c", "name": "C"} | child)
    await call(manager, "POST", "people", 201, json={"id": "g", "name": "G"} | guardian)
    refused = await call(manager, "PUT", "people/c/guardians/g", 422)
    assert what in refused["detail"]
    await call(manager, "PUT", "people/c/guardians/c", 422)
    await call(manager, "DELETE", "people/c/guardians/g", 404)


async def test_an_adult_of_18_years_to_the_day_is_a_guardian(manager: httpx.AsyncClient) -> None:
    await call(manager, "POST", "people", 201, json={"id": "c", "name": "C", "born_on": "2012-03-02"})
    await call(manager, "POST", "people", 201, json={"id": "g", "name": "G", "born_on": "2008-03-01"})
    await call(manager, "PUT", "people/c/guardians/g", 204)
    await call(manager, "DELETE", "people/c/guardians/g", 204)
    assert (await call(manager, "GET", "people/c"))["guardians"] == []
