"""A card or PIN first, then the face of its holder: one person is compared, and nobody else's face opens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.admission import Admission
from edge.guesses import PACES
from models.access import Request
from models.events import AccessDenied, AccessGranted
from models.people import VisitorPass, credential_digest
from models.policy import Policy
from tests.edge.doubles import CREDENTIAL_KEY, card, consent, now, permit, person, pin, until
from tests.edge.porch import Porch, face, homes, porch

CARD, OTHER_CARD, PIN = "7186A61E", "11223344", "480213"
BOTH = ("face+card", "face+pin", "qr")


def gate(n: int = 2, **more: Any) -> Policy:
    """Return a policy whose door takes cards and PINs only with the face of their holder."""
    held = (card("p1", CARD), card("p2", OTHER_CARD), pin("p1", PIN))
    return homes(n, **{"factors": BOTH, "credentials": held} | more)


@pytest.fixture
async def at_door(tmp_path: Path) -> AsyncIterator[Porch]:
    async with porch(tmp_path) as opened:
        await opened.apply(gate())
        for one in ("p1", "p2"):
            opened.enrol(one)
        yield opened


async def present(at_door: Porch, kind: str = "card", value: str = CARD, *, n: object = 1, **more: Any) -> None:
    before = len(at_door.link.attended)
    at_door.house.wire.ask(Request(id=f"r{n}", door_id="d1", kind=kind, value=value, **more))  # type: ignore[arg-type]
    await until(lambda: len(at_door.link.attended) > before)


async def facts(at_door: Porch) -> list[Any]:
    await at_door.house.keeper.recorded("d1")
    return [one for one in await at_door.house.facts() if isinstance(one, AccessGranted | AccessDenied)]


@pytest.mark.parametrize(
    ("kind", "value", "method"),
    [("card", CARD, "face+card"), ("pin", PIN, "face+pin"), ("flat_pin", f"1-101#{PIN}", "face+pin")],
)
async def test_a_card_or_pin_and_the_face_of_its_holder_open_together(
    at_door: Porch, kind: str, value: str, method: str
) -> None:
    await at_door.apply(msgspec.structs.replace(gate(3), people=(person("p1", flats=("1-101",)), person("p2"))))
    await present(at_door, kind, value)
    assert at_door.house.wire.orders == [], "the card alone opens nothing"
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert await at_door.answer() == "unlocked"
    await until(lambda: at_door.house.keeper.counters.get("access_granted") == 1)
    (fact,) = await facts(at_door)
    assert (fact.method, fact.person_id, fact.attempt) == (method, "p1", "r1")
    assert fact.evidence is not None
    assert (fact.evidence.mode, fact.evidence.gallery_size, fact.evidence.margin) == ("verified", 1, None)


async def test_somebody_elses_face_does_not_open_for_a_card_and_the_card_is_on_record(at_door: Porch) -> None:
    await present(at_door)
    for _ in range(3):
        at_door.link.see(face("p2"))
    assert await at_door.end() == "face_differs"
    (fact,) = await facts(at_door)
    assert (fact.reason, fact.method, fact.person_id) == ("face_differs", "face+card", "p1")


async def test_whoever_stands_beside_the_holder_changes_nothing(at_door: Porch) -> None:
    await present(at_door)
    for _ in range(2):
        at_door.link.see(face("p2"), track="beside")
        at_door.link.see(face("p1"), track="holder")
    assert await at_door.answer() == "unlocked"


async def test_a_card_that_is_wrong_or_not_permitted_is_answered_before_anybody_is_looked_at(at_door: Porch) -> None:
    await at_door.apply(gate(3, permits=(permit("p2"),)))
    at_door.house.wire.ask(Request(id="r1", door_id="d1", kind="card", value=CARD))
    assert await at_door.answer() == "no_permit"
    at_door.house.wire.ask(Request(id="r2", door_id="d1", kind="card", value="DEADBEEF"))
    await until(lambda: at_door.house.admission.counters.get("denied_unknown_credential") == 1)
    assert at_door.link.attended == []


async def test_who_has_no_face_here_is_told_at_once_and_the_other_ways_in_stay(at_door: Porch) -> None:
    await at_door.apply(gate(3, consents=(consent("p2"),), factors=("face+card", "pin")))
    at_door.house.wire.ask(Request(id="r1", door_id="d1", kind="card", value=CARD))
    assert await at_door.answer() == "unsupported"
    assert at_door.link.attended == []
    at_door.house.wire.ask(Request(id="r2", door_id="d1", kind="pin", value=PIN))
    await until(lambda: len(at_door.house.wire.unlocks()) == 1)


async def test_a_button_at_a_door_that_wants_a_card_too_is_told_so(at_door: Porch) -> None:
    at_door.house.wire.ask(Request(id="r1", door_id="d1", kind="button"))
    assert await at_door.answer() == "face_not_alone"
    at_door.house.wire.ask(Request(id="r2", door_id="d1", kind="call"))
    await until(lambda: at_door.house.admission.counters.get("denied_unsupported") == 1)
    assert at_door.link.attended == []


async def test_a_consent_that_is_withdrawn_while_the_holder_is_looked_for_opens_nothing(at_door: Porch) -> None:
    await present(at_door)
    at_door.link.see(face("p1"))
    withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())
    await at_door.apply(gate(3, consents=(withdrawn, consent("p2"))))
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert await at_door.end() == "consent_withdrawn"
    assert not at_door.house.wire.unlocks()


async def test_a_card_that_is_revoked_while_its_holder_is_looked_for_opens_nothing(at_door: Porch) -> None:
    await present(at_door)
    at_door.link.see(face("p1"))
    at_door.house.admission.apply(gate(3, credentials=(card("p2", OTHER_CARD),)))
    at_door.link.see(face("p1"))
    assert await at_door.answer() == "unknown_credential"


async def test_a_flatmates_pin_opens_nothing_for_a_face_whose_own_pin_was_taken_away(at_door: Porch) -> None:
    at_home = (person("p1", flats=("1-101",)), person("p2", flats=("1-101",)))
    both = (pin("p1", PIN), pin("p2", PIN))
    await at_door.apply(msgspec.structs.replace(gate(3, credentials=both), people=at_home))
    await present(at_door, "flat_pin", f"1-101#{PIN}")
    at_door.link.see(face("p1"))
    await at_door.apply(msgspec.structs.replace(gate(4, credentials=(pin("p2", PIN),)), people=at_home))
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert await at_door.answer() == "face_differs"
    assert not at_door.house.wire.unlocks()


@pytest.mark.parametrize(("seen", "reason"), [("p2", "face_differs"), ("", "pressed_again")])
async def test_presenting_again_ends_a_wrong_attempt_as_one(at_door: Porch, seen: str, reason: str) -> None:
    tried = PACES["pin"].free + 2
    for n in range(tried):
        await present(at_door, "pin", PIN, n=n)
        for _ in range(3 if seen else 0):
            at_door.link.see(face(seen), track=f"t{n}")
    counted = at_door.house.admission.counters
    await until(lambda: counted.get(f"denied_{reason}") == tried - 1)
    at_door.house.wire.ask(Request(id="last", door_id="d1", kind="pin", value=PIN))
    last = "locked_out" if seen else "pressed_again"
    await until(lambda: counted.get(f"denied_{last}") == (1 if seen else tried))


async def test_a_second_card_takes_the_window_over_and_the_first_is_answered(at_door: Porch) -> None:
    await present(at_door)
    at_door.link.see(face("p1"))
    await present(at_door, value=OTHER_CARD, n=2)
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert at_door.shows() is None, "the first holder's face says nothing about the second card"
    for _ in range(3):
        at_door.link.see(face("p2"), track="t2")
    await until(lambda: [order.attempt for order in at_door.house.wire.unlocks()] == ["r2"])
    assert at_door.house.admission.counters["denied_pressed_again"] == 1


async def test_two_who_chose_one_pin_are_told_apart_by_their_faces(at_door: Porch) -> None:
    await at_door.apply(gate(3, credentials=(pin("p1", PIN), pin("p2", PIN))))
    await present(at_door, "pin", PIN)
    at_door.link.see(face("p2"))
    at_door.link.see(face("p2"))
    assert await at_door.answer() == "unlocked"
    await until(lambda: at_door.house.keeper.counters.get("access_granted") == 1)
    (fact,) = await facts(at_door)
    assert (fact.person_id, fact.evidence.gallery_size) == ("p2", 2)


async def test_a_right_pin_forgives_a_flats_wrong_ones_only_with_its_holders_face(at_door: Porch) -> None:
    await at_door.apply(msgspec.structs.replace(gate(3), people=(person("p1", flats=("1-101",)), person("p2"))))
    for n in range(4):
        at_door.house.wire.ask(Request(id=f"w{n}", door_id="d1", kind="flat_pin", value="1-101#000000"))
    await until(lambda: at_door.house.admission.counters.get("denied_unknown_credential") == 4)
    await present(at_door, "flat_pin", f"1-101#{PIN}")
    for _ in range(3):
        at_door.link.see(face("p2"))
    await at_door.end()
    await until(
        lambda: at_door.house.admission.counters.get("denied_face_differs") == 1, what="the fifth wrong attempt"
    )
    at_door.house.wire.ask(Request(id="r9", door_id="d1", kind="flat_pin", value=f"1-101#{PIN}"))
    await until(lambda: at_door.house.admission.counters.get("denied_locked_out") == 1)


async def test_a_visitors_pin_is_no_face_and_keeps_its_use(at_door: Porch) -> None:
    digest = credential_digest("pin", "777777", bytes.fromhex(CREDENTIAL_KEY))
    visitor = VisitorPass(
        id="v1", host_id="p1", doors=("d1",), valid_from=now(), valid_until=now().replace(year=2099), uses=1,
        pin_digest=digest,
    )  # fmt: skip
    await at_door.apply(gate(3, passes=(visitor,)))
    at_door.house.wire.ask(Request(id="r1", door_id="d1", kind="pin", value="777777"))
    assert await at_door.answer() == "unsupported"
    await at_door.apply(gate(4, passes=(visitor,), factors=(*BOTH, "pin")))
    at_door.house.wire.ask(Request(id="r2", door_id="d1", kind="pin", value="777777"))
    await until(lambda: len(at_door.house.wire.unlocks()) == 1)


async def test_the_way_out_wants_no_face_beside_a_card(at_door: Porch) -> None:
    at_door.house.wire.ask(Request(id="r1", door_id="d1", kind="card", value=CARD, reader="out"))
    assert await at_door.answer() == "unlocked"
    assert at_door.link.attended == []


async def test_a_door_that_takes_the_card_alone_asks_for_no_face(at_door: Porch) -> None:
    await at_door.apply(gate(3, factors=(*BOTH, "card")))
    at_door.house.wire.ask(Request(id="r1", door_id="d1", kind="card", value=CARD))
    assert await at_door.answer() == "unlocked"
    assert at_door.link.attended == []


async def test_without_anybody_to_look_a_card_that_needs_a_face_opens_nothing(at_door: Porch) -> None:
    alone = Admission(
        edge_id="edge-1", keeper=at_door.house.keeper, clock=at_door.house.clock, spool=at_door.house.spool
    )
    alone.apply(gate(3))
    await alone.consider(Request(id="r1", door_id="d1", kind="card", value=CARD))
    assert alone.counters == {"denied_unsupported": 1}


async def test_high_security_takes_the_face_with_a_card(at_door: Porch) -> None:
    await at_door.apply(gate(3, of_door={"high_security": True}))
    await present(at_door)
    at_door.link.see(face("p1"))
    at_door.link.see(face("p1"))
    assert await at_door.answer() == "unlocked"
