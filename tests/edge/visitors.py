"""What the tests of passes, tickets and decisions stand on: a site's ticket key, visitors, and a compound's front gate."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from drivers.door import GiveFeedback, UnlockDoor
from models.access import Request
from models.people import Credential, VisitorPass, credential_digest
from models.policy import Policy, TicketKey
from models.tickets import new_ticket, ticket_text
from tests.edge.conftest import House
from tests.edge.doubles import CREDENTIAL_KEY, card, door, now, online, permit, person, pin, policy, until

CARD = "7186A61E"
PIN = "480213"
VISITOR_PIN = "91827364"
SITE_KEY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
TAKES = ("card", "pin", "flat_pin", "qr")


def ticket_key(key: Ed25519PrivateKey = SITE_KEY, key_id: str = "k1") -> TicketKey:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return TicketKey(id=key_id, public_key=base64.b64encode(raw).decode())


def ticket(
    record_id: str,
    about: Literal["credential", "pass"] = "pass",
    *,
    key: Ed25519PrivateKey = SITE_KEY,
    key_id: str = "k1",
    since: datetime | None = None,
    until: datetime | None = None,
) -> str:
    """Return what a QR shows, valid from a minute ago for an hour unless told."""
    begin = since or now() - timedelta(minutes=1)
    made = new_ticket(about, record_id, key_id=key_id, since=begin, until=until or begin + timedelta(hours=1))
    return ticket_text(made, sign=key.sign)


def visitor(pass_id: str = "v1", **more: Any) -> VisitorPass:
    """Return a pass for one use at d1 and d2 within two hours, with a QR and a PIN, of the host p1."""
    fields: dict[str, Any] = {
        "id": pass_id, "host_id": "p1", "doors": ("d1", "d2"), "valid_from": now() - timedelta(hours=1),
        "valid_until": now() + timedelta(hours=1), "uses": 1,
        "pin_digest": credential_digest("pin", VISITOR_PIN, bytes.fromhex(CREDENTIAL_KEY)),
    }  # fmt: skip
    return VisitorPass(**fields | more)


def compound(*passes: VisitorPass, n: int = 1, **more: Any) -> Policy:
    """Return a policy of two doors that take everything but faces, one resident in flat 1-101, and some passes."""
    more.setdefault("permits", (permit("p1", "d1", "d2"),))
    more.setdefault("people", (person("p1", flats=("1-101",)), person("p2", flats=("1-102",))))
    qr = Credential(id="qr-p1", person_id="p1", kind="qr")
    more.setdefault("credentials", (card("p1", CARD), pin("p1", PIN), qr))
    more.setdefault("ticket_keys", (ticket_key(),))
    doors = more.pop("doors", (door("d1", factors=TAKES), door("d2", factors=TAKES)))
    return policy(*doors, n=n, passes=passes, **more)


async def move_in(house: House, given_policy: Policy) -> None:
    """Put a policy in force at doors that are there."""
    house.keeper.apply(given_policy.doors, given_policy.modes)
    house.admission.apply(given_policy)
    for one in given_policy.doors:
        house.wire.say(one.id, online())
    wanted = {one.id for one in given_policy.doors}
    await until(lambda: {door_id for door_id, _ in house.wire.acknowledged} >= wanted)


def asked(n: object, kind: str, value: str | None, door_id: str = "d1", **more: Any) -> Request:
    """Return a request at a reader."""
    return Request(id=f"r{n}", door_id=door_id, kind=kind, value=value, **more)  # type: ignore[arg-type]


async def answer(house: House, request: Request) -> str:
    """Let somebody ask; return how it was answered at the reader."""
    await house.admission.consider(request)
    last = [order for order in house.wire.orders if isinstance(order, UnlockDoor | GiveFeedback)][-1]
    assert last.attempt == request.id
    return last.reason if isinstance(last, GiveFeedback) else "unlocked"
