"""What people hold and may: PINs as long as the keypads ask, the life of credentials, QR tickets, groups and permits."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select, update

from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import audit_rows
from gateway.store.rights import add_credential, derived_permits, permits_held
from gateway.store.schedules import put_group
from gateway.store.tables import doors, permission_groups, sites
from models.errors import Conflict, InvalidInput
from models.people import Credential, Group, credential_digest
from models.places import Door
from models.policy import Policy
from models.tickets import Ticket, read_ticket
from tests.gateway.households import add_flats, call, policy_of, refusal
from tests.gateway.support import Clock


@pytest.fixture(autouse=True)
async def lin(runtime: Runtime, manager: httpx.AsyncClient) -> None:
    """Give site a its flats, and a person to flat 101."""
    add_flats(runtime)
    await call(manager, "POST", "people", 201, json={"id": "lin", "name": "Lin Yue", "flat": "f101"})


def make_holders(runtime: Runtime, count: int, *, person_id: str = "lin") -> None:
    """Write active PINs that nobody typed."""

    def write(connection: Connection) -> None:
        for number in range(count):
            made = Credential(id=f"x{number}", person_id=person_id, kind="pin", digest=f"{number:064d}")
            add_credential(connection, made, site_id="a", at=runtime.clock(), digits=6)

    runtime.store.write_now(write)


def only_flat_pins(runtime: Runtime) -> None:
    """Let every door of site a ask for flat and PIN."""

    def write(connection: Connection) -> None:
        for row in connection.execute(select(doors).where(doors.c.site_id == "a")).all():
            door = msgspec.structs.replace(msgspec.json.decode(row.record, type=Door), factors=("card", "flat_pin"))
            record = msgspec.json.encode(door).decode()
            connection.execute(update(doors).where(doors.c.id == row.id).values(record=record))

    runtime.store.write_now(write)


@pytest.mark.parametrize(("holders", "digits"), [(0, 5), (2, 6), (25, 7)])
async def test_a_pin_is_as_long_as_four_times_its_holders_ask(
    manager: httpx.AsyncClient, runtime: Runtime, *, holders: int, digits: int
) -> None:
    make_holders(runtime, holders)
    short = {"kind": "pin", "value": "73914605281"[: digits - 1]}
    refused = await call(manager, "POST", "people/lin/credentials", 422, json=short)
    assert f"{digits} digits" in refused["detail"]
    assert short["value"] not in str(refused)
    long_enough = {"kind": "pin", "value": "73914605281"[:digits]}
    made = await call(manager, "POST", "people/lin/credentials", 201, json=long_enough)
    assert (made["digits"], made["pin"]) == (digits, None)


async def test_where_flat_and_pin_are_asked_only_the_flat_counts(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    await call(manager, "POST", "people", 201, json={"id": "wang", "name": "Wang", "flat": "f102"})
    make_holders(runtime, 30, person_id="wang")
    only_flat_pins(runtime)
    await call(manager, "POST", "people/lin/credentials", 422, json={"kind": "pin", "value": "7391"})
    made = await call(manager, "POST", "people/lin/credentials", 201, json={"kind": "pin", "value": "73914"})
    assert made["digits"] == 5
    await call(manager, "POST", "people/wang/credentials", 422, json={"kind": "pin", "value": "739146"})


@pytest.mark.parametrize("easy", ["11111", "12345", "98765", "000000"])
async def test_easy_pins_are_refused(manager: httpx.AsyncClient, easy: str) -> None:
    refused = await call(manager, "POST", "people/lin/credentials", 422, json={"kind": "pin", "value": easy})
    assert easy not in str(refused)


async def test_a_made_up_pin_is_shown_once_and_opens_as_its_digest(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    key = {"Idempotency-Key": "pin"}
    made = await call(manager, "POST", "people/lin/credentials", 201, json={"kind": "pin"}, headers=key)
    again = await call(manager, "POST", "people/lin/credentials", 201, json={"kind": "pin"}, headers=key)
    assert len(made["pin"]) == made["digits"] == 5
    assert (again["id"], again["pin"]) == (made["id"], None)
    policy = policy_of(runtime)
    site_key = bytes.fromhex(policy.credential_key)
    assert [one.digest for one in policy.credentials] == [credential_digest("pin", made["pin"], site_key)]
    assert made["pin"] not in str(await call(manager, "GET", "people/lin"))
    twice = {"kind": "pin", "value": made["pin"] + "0"}
    await call(manager, "POST", "people/lin/credentials", 201, json=twice)
    await call(manager, "POST", "people", 201, json={"id": "wang", "name": "Wang"})
    await call(manager, "POST", "people/wang/credentials", 409, json=twice)


async def test_what_is_not_there_cannot_be_taken_away(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    await call(manager, "DELETE", "people/lin/credentials/nothing", 404)
    await call(manager, "DELETE", "people/lin/permits/nothing", 404)
    guest = {"doors": ["gate"], "valid_until": "2026-03-02T00:00:00Z", "with_pin": True}
    made = await call(manager, "POST", "visitors", 201, json=guest)
    digest = credential_digest("pin", made["pin"], bytes.fromhex(policy_of(runtime).credential_key))
    same = Credential(id="x", person_id="lin", kind="pin", digest=digest)
    with pytest.raises(Conflict, match="in use"):  # the PIN of a guest is nobody else's
        runtime.store.write_now(add_credential, same, site_id="a", at=runtime.clock())
    await call(manager, "DELETE", f"visitors/{made['id']}", 204)
    runtime.store.write_now(add_credential, same, site_id="a", at=runtime.clock())
    lost = await call(manager, "PATCH", "people/lin/credentials/x", json={"state": "lost"})
    again = await call(manager, "PATCH", "people/lin/credentials/x", json={"state": "lost"})
    assert again["version"] == lost["version"] == 2, "the same state again is no change"


async def test_only_what_is_active_reaches_the_edge(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    card = await call(
        manager, "POST", "people/lin/credentials", 201, json={"kind": "card", "value": "1", "label": "grey"}
    )
    path = f"people/lin/credentials/{card['id']}"
    assert [one.id for one in policy_of(runtime).credentials] == [card["id"]]
    lost = await manager.patch(f"/api/v1/{path}", json={"state": "lost"}, headers={"If-Match": '"1"'})
    assert (lost.json()["state"], lost.headers["etag"]) == ("lost", '"2"')
    assert policy_of(runtime).credentials == ()
    await call(manager, "PATCH", path, 409, json={"state": "blocked"}, headers={"If-Match": '"1"'})
    found = await call(manager, "PATCH", path, json={"state": "active"})
    assert (found["state"], found["ended_at"]) == ("active", None)
    assert [one.id for one in policy_of(runtime).credentials] == [card["id"]]
    await call(manager, "PATCH", path, 422, json={"state": "replaced"})
    await call(manager, "DELETE", path, 204)
    await call(manager, "PATCH", path, 404, json={"state": "active"})


async def test_a_credential_may_be_for_a_while(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    span = {"valid_from": "2026-03-01T00:00:00+08:00", "valid_until": "2026-04-01T00:00:00+08:00"}
    made = await call(manager, "POST", "people/lin/credentials", 201, json={"kind": "card", "value": "1"} | span)
    (known,) = policy_of(runtime).credentials
    assert known.id == made["id"]
    assert known.valid_until is not None
    assert known.valid_until.isoformat() == "2026-03-31T16:00:00+00:00"
    back = {"valid_from": span["valid_until"], "valid_until": span["valid_from"]}
    await call(manager, "POST", "people/lin/credentials", 422, json={"kind": "card", "value": "2"} | back)
    never = {"valid_until": "9999-12-31T23:59:59Z"}
    await call(manager, "POST", "people/lin/credentials", 422, json={"kind": "card", "value": "2"} | never)


def opened(policy: Policy, text: str) -> Ticket:
    """Read a ticket as an edge does: with the public keys of its policy only."""

    def verify(key_id: str, signature: bytes, signed: bytes) -> bool:
        for key in policy.ticket_keys:
            if key.id == key_id:
                try:
                    Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public_key)).verify(signature, signed)
                except InvalidSignature:
                    return False
                return True
        return False

    return read_ticket(text, verify=verify)


async def test_a_qr_is_a_ticket_that_an_edge_checks_with_its_policy_alone(
    manager: httpx.AsyncClient, runtime: Runtime, *, clock: Clock
) -> None:
    shown = await manager.post("/api/v1/people/lin/qr", json={"valid_minutes": 10})
    assert shown.headers["cache-control"] == "no-store"
    policy = policy_of(runtime)
    ticket = opened(policy, shown.json()["ticket"])
    (credential,) = policy.credentials
    assert (ticket.about, ticket.id, credential.kind, credential.digest) == ("credential", credential.id, "qr", "")
    assert ticket.covers(clock())
    assert not ticket.covers(clock() + timedelta(minutes=10))
    again = await call(manager, "POST", "people/lin/qr", 201, json={})
    assert opened(policy_of(runtime), again["ticket"]).id == ticket.id, "one credential, many tickets"
    await call(manager, "POST", "people/lin/qr", 422, json={"valid_minutes": 24 * 60 + 1})
    assert "qr.mint" in {row.action for row in runtime.store.read_now(audit_rows)}


async def test_a_lost_phone_makes_its_tickets_worth_nothing(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    first = await call(manager, "POST", "people/lin/qr", 201, json={})
    await call(manager, "PATCH", f"people/lin/credentials/{first['credential_id']}", json={"state": "lost"})
    assert policy_of(runtime).credentials == ()
    await call(manager, "POST", "people/lin/qr", 409, json={})
    renewed = await call(manager, "POST", "people/lin/qr", 201, json={"renew": True})
    assert [one.id for one in policy_of(runtime).credentials] == [renewed["credential_id"]]
    assert renewed["credential_id"] != first["credential_id"]


async def test_a_renewed_key_ends_every_ticket_of_the_site(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    old = (await call(manager, "POST", "people/lin/qr", 201, json={}))["ticket"]
    opened(policy_of(runtime), old)
    fresh = await call(manager, "POST", "sites/a/ticket-keys", 201)
    assert [key.id for key in policy_of(runtime).ticket_keys] == [fresh["key_id"]]
    listed = await call(manager, "GET", "sites/a/ticket-keys")
    assert [key["id"] for key in listed["items"]] == [fresh["key_id"]]
    assert "private" not in str(listed)
    await call(manager, "POST", "sites/b/ticket-keys", 404)
    await call(manager, "GET", "sites/b/ticket-keys", 404)
    with pytest.raises(InvalidInput, match="not signed"):
        opened(policy_of(runtime), old)
    opened(policy_of(runtime), (await call(manager, "POST", "people/lin/qr", 201, json={}))["ticket"])
    kept = runtime.store.read_now(lambda c: c.execute(select(sites.c.ticket_keys).where(sites.c.id == "b")).scalar())
    assert kept == "[]", "a site that never signed has no key"


async def test_a_permit_names_a_group_or_doors_and_a_schedule(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    await call(manager, "POST", "people", 201, json={"id": "wang", "name": "Wang"})
    nights = {"id": "nights", "name": "Nights", "windows": [{"from_time": "22:00", "until_time": "06:00"}]}
    await call(manager, "POST", "schedules", 201, json=nights)
    made = await call(manager, "POST", "people/wang/permits", 201, json={"group": "homes", "schedule_id": "nights"})
    assert (made["group_id"], made["schedule_id"], made["doors"]) == ("homes", "nights", [])
    assert refusal(runtime, "wang") == "not_permitted_now", "it is 16 o'clock in Shanghai"
    for wrong in (
        {}, {"group": "homes", "doors": ["gate"]}, {"doors": ["gate"], "schedule_id": "x", "schedule": {}},
        {"doors": ["gate"], "schedule": {"weekdays": []}}, {"doors": ["gate"], "schedule": {"from_time": "08:00Z"}},
    ):  # fmt: skip
        await call(manager, "POST", "people/wang/permits", 422, json=wrong)
    await call(manager, "POST", "people/wang/permits", 404, json={"group": "nothing"})
    await call(manager, "POST", "people/wang/permits", 404, json={"doors": ["gate"], "schedule_id": "nothing"})
    day = {"schedule": {"weekdays": [6], "from_time": "08:00", "until_time": "18:00"}}
    first = await call(manager, "POST", "people/wang/permits", 201, json={"doors": ["gate"]} | day)
    second = await call(manager, "POST", "people/lin/permits", 201, json={"doors": "all"} | day)
    assert first["schedule_id"] == second["schedule_id"], "the same hours are kept once"
    assert refusal(runtime, "wang") is None, "a Sunday afternoon"


async def test_groups_are_edited_with_etags_and_kept_while_used(
    manager: httpx.AsyncClient, other: httpx.AsyncClient, *, runtime: Runtime, operator: httpx.AsyncClient
) -> None:
    body: dict[str, Any] = {"id": "staff", "name": "Staff", "doors": "all"}
    made = await manager.post("/api/v1/groups", json=body)
    assert (made.status_code, made.json()["doors"]) == (201, ["gate", "pool", "side"])
    await call(manager, "POST", "groups", 409, json=body)
    await call(other, "POST", "groups", 409, json=body | {"doors": ["far"]})
    changed = await manager.put(
        "/api/v1/groups/staff", json={"name": "Staff", "doors": ["gate"]}, headers={"If-Match": '"1"'}
    )
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    await call(manager, "PUT", "groups/staff", 409, json={"name": "S", "doors": ["gate"]}, headers={"If-Match": '"1"'})
    await call(manager, "PUT", "groups/staff", 422, json={"name": "S", "doors": ["far"]})
    await call(manager, "PUT", "groups/staff", 404, json={"name": "S", "doors": ["gate"], "schedule_id": "none"})
    for method, what in (("GET", {}), ("PUT", {"json": {"name": "S", "doors": ["far"]}}), ("DELETE", {})):
        await call(other, method, "groups/staff", 404, **what)
    await call(operator, "GET", "groups", 403)
    listed = await call(manager, "GET", "groups", params={"limit": 1})
    assert ([one["id"] for one in listed["items"]], listed["next"]) == (["homes"], "homes")
    in_use = await call(manager, "DELETE", "groups/homes", 409)
    assert "flat" in in_use["detail"]
    await call(manager, "POST", "people/lin/permits", 201, json={"group": "staff"})
    await call(manager, "DELETE", "groups/staff", 409)
    (permit,) = (await call(manager, "GET", "people/lin"))["permits"]
    await call(manager, "DELETE", f"people/lin/permits/{permit['id']}", 204)
    await call(manager, "DELETE", "groups/staff", 204, headers={"If-Match": '"2"'})
    await call(manager, "GET", "groups/staff", 404)


async def test_a_group_of_the_site_file_is_read_only(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    seeded = Group(id="fixed", site_id="a", name="Fixed", doors=("gate",))
    runtime.store.write_now(put_group, seeded, seeded=True)
    refused = await call(manager, "PUT", "groups/fixed", 409, json={"name": "X", "doors": ["gate"]})
    assert "site file" in refused["detail"]
    await call(manager, "DELETE", "groups/fixed", 409)
    runtime.store.write_now(put_group, seeded, seeded=True)
    version = runtime.store.read_now(
        lambda c: c.execute(select(permission_groups.c.version).where(permission_groups.c.id == "fixed")).scalar()
    )
    assert version == 1, "the same again is no change"


async def test_changing_a_group_changes_the_rights_of_every_flat_that_names_it(
    manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    assert refusal(runtime, "lin", door_id="side") is None
    await call(manager, "PUT", "groups/homes", json={"name": "Homes", "doors": ["gate", "pool"]})
    assert refusal(runtime, "lin", door_id="side") == "no_permit"
    assert refusal(runtime, "lin", door_id="gate") is None
    assert refusal(runtime, "lin", door_id="pool", edge_id="edge-2") is None


def test_permits_of_flats_are_named_by_occupancy_and_group(runtime: Runtime) -> None:
    held = runtime.store.read_now(permits_held, "lin")
    assert runtime.store.read_now(derived_permits, "lin") == held
    assert [(permit.id, permit.group_id) for permit in policy_of(runtime).permits] == [(held[0].id, "homes")]
    assert [permit.group_id for permit in held] == ["homes"]
    assert held[0].id.startswith("of-o-")
    assert held[0].id.endswith("-homes")
    assert runtime.store.read_now(permits_held, "nobody") == []


async def test_first_tickets_at_once_make_one_key(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    answers = await asyncio.gather(*(manager.post("/api/v1/people/lin/qr", json={}) for _ in range(4)))
    policy = policy_of(runtime)
    assert (len(policy.ticket_keys), len(policy.credentials)) == (1, 1)
    assert {opened(policy, answer.json()["ticket"]).key_id for answer in answers} == {policy.ticket_keys[0].id}


async def test_of_two_changes_of_a_group_at_once_one_is_told_to_read_again(manager: httpx.AsyncClient) -> None:
    tag = {"If-Match": '"1"'}
    told = [{"name": f"Homes {number}", "doors": ["gate"]} for number in range(4)]
    answers = await asyncio.gather(*(manager.put("/api/v1/groups/homes", json=one, headers=tag) for one in told))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
