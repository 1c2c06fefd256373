"""QR at the door: the site's signature, a validity, and what the policy says of the id that it names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.credentials import Book
from models.events import AccessDenied
from models.people import Credential
from models.policy import TicketKey
from models.tickets import Ticket, ticket_text
from tests.edge.conftest import House
from tests.edge.doubles import card, now, permit
from tests.edge.visitors import CARD, SITE_KEY, answer, asked, compound, move_in, ticket, ticket_key, visitor

OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
TOMORROW = now() + timedelta(days=1)


def long_ticket() -> str:
    """Return a ticket of the site's own key that holds for years: no gateway of ours signs one."""
    lasting = Ticket(key_id="k1", about="credential", id="qr-p1", not_before=0, not_after=2**40)
    return ticket_text(lasting, sign=SITE_KEY.sign)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(ticket("qr-p1", "credential"), "unlocked", id="a resident's"),
        pytest.param(ticket("qr-p1", "credential", key=OTHER_KEY), "forged", id="signed by somebody else"),
        pytest.param(ticket("qr-p1", "credential", key_id="k2"), "forged", id="by a key that the site does not have"),
        pytest.param(ticket("qr-p1", "credential")[:-4] + "AAAA", "forged", id="with a changed signature"),
        pytest.param(ticket("qr-p1", "credential", since=now() - timedelta(hours=2)), "expired", id="of this morning"),
        pytest.param(ticket("qr-p1", "credential", since=TOMORROW), "not_permitted_now", id="of tomorrow"),
        pytest.param(long_ticket(), "expired", id="for longer than a day"),
        pytest.param(ticket("qr-p9", "credential"), "unknown_credential", id="of a credential that was revoked"),
        pytest.param(ticket("card-p1", "credential"), "unknown_credential", id="that names a card"),
        pytest.param(ticket("qr-p1"), "unknown_credential", id="that names a credential as a pass"),
        pytest.param(ticket("v1"), "unknown_credential", id="of a pass that was revoked"),
        pytest.param("https://example.org/", "unknown_credential", id="no ticket of ours"),
        pytest.param("GH1." + "A" * 500, "unknown_credential", id="too long"),
        pytest.param("", "unknown_credential", id="empty"),
        pytest.param(None, "unknown_credential", id="nothing"),
    ],
)
async def test_a_qr_is_answered(house: House, value: str | None, expected: str) -> None:
    await move_in(house, compound())
    assert await answer(house, asked(1, "qr", value)) == expected
    assert bool(house.wire.unlocks()) is (expected == "unlocked")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"permits": ()}, "no_permit"),
        ({"permits": (permit("p1", valid_until=now()),)}, "expired"),
        ({"credentials": (Credential(id="qr-p1", person_id="p1", kind="qr", valid_until=now()),)}, "expired"),
        ({"ticket_keys": ()}, "forged"),
        ({"ticket_keys": (TicketKey(id="k1", public_key="not base64"), TicketKey(id="k2", public_key=""))}, "forged"),
    ],
)
async def test_a_ticket_gives_no_right_by_itself(house: House, changes: dict[str, Any], expected: str) -> None:
    await move_in(house, compound(**changes))
    assert await answer(house, asked(1, "qr", ticket("qr-p1", "credential"))) == expected


async def test_tickets_of_the_old_key_hold_while_the_policy_names_it(house: House) -> None:
    await move_in(house, compound(ticket_keys=(ticket_key(), ticket_key(OTHER_KEY, "k2"))))
    assert await answer(house, asked(1, "qr", ticket("qr-p1", "credential"))) == "unlocked"
    assert await answer(house, asked(2, "qr", ticket("qr-p1", "credential", key=OTHER_KEY, key_id="k2"))) == "unlocked"
    house.admission.apply(compound(n=2, ticket_keys=(ticket_key(OTHER_KEY, "k2"),)))
    assert await answer(house, asked(3, "qr", ticket("qr-p1", "credential"))) == "forged"


async def test_tickets_need_a_clock_and_cards_do_not(house: House) -> None:
    await move_in(house, compound(visitor()))
    house.clock.not_before(now() + timedelta(hours=1))
    assert await answer(house, asked(1, "qr", ticket("qr-p1", "credential"))) == "not_permitted_now"
    assert await answer(house, asked(2, "qr", ticket("v1"))) == "not_permitted_now"
    assert await answer(house, asked(3, "card", CARD)) == "unlocked"


async def test_a_door_without_a_qr_reader_takes_no_ticket(house: House) -> None:
    plain = compound()
    await move_in(
        house, msgspec.structs.replace(plain, doors=(msgspec.structs.replace(plain.doors[0], factors=("card",)),))
    )
    assert await answer(house, asked(1, "qr", ticket("qr-p1", "credential"))) == "unsupported"


async def test_a_forged_ticket_names_nobody(house: House) -> None:
    await move_in(house, compound())
    await answer(house, asked(1, "qr", ticket("qr-p1", "credential", key=OTHER_KEY)))
    await house.keeper.recorded("d1")
    (fact,) = [f for f in await house.facts() if isinstance(f, AccessDenied)]
    assert (fact.reason, fact.person_id, fact.pass_id) == ("forged", None, None)


def test_a_ticket_is_not_taken_where_the_policy_has_no_credential_key() -> None:
    bare = Book.of(msgspec.structs.replace(compound(), credential_key="", credentials=(card("p1", CARD),)))
    found = bare.find(asked(1, "card", CARD), at=now(), clock_trusted=True)
    assert [one.somebody for one in found] == [False]
