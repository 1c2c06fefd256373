"""What must go goes, with a receipt that verifies: withdrawals, expiry by the clock, erased persons, doors that left (R7, R8)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.clock import SteadyClock
from edge.erasing import DOORS_LEFT, Erasing
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from edge.spool import Spool
from models.errors import InvalidInput, StorageUnavailable
from models.link import EraseFace, ErasureReceipt, erasure_statement
from models.people import SUPERSEDED_FOR
from models.policy import Policy
from tests.edge.doubles import EDGE, consent, door, now, person, policy

FACE = np.linspace(-1, 1, 128, dtype=np.float32)
KEY = Ed25519PrivateKey.generate()


@dataclass
class Times:
    """The clocks of a machine, by hand."""

    wall: float = field(default_factory=lambda: now().timestamp())
    boot: float = 100.0

    def passes(self, for_: timedelta) -> None:
        self.wall += for_.total_seconds()
        self.boot += for_.total_seconds()

    def at(self) -> datetime:
        return datetime.fromtimestamp(self.wall, tz=now().tzinfo)


@dataclass
class Room:
    """An edge's key store with what decides over it."""

    times: Times
    clock: SteadyClock
    keys: KeyStore
    policies: Policies
    erasing: Erasing
    changes: list[int]

    def enrol(self, *people: str) -> None:
        for person_id in people:
            template = Opened(person_id=person_id, doors=("d1",), contract="m", embedding=FACE)
            self.keys.put(template, consent_id=f"consent-{person_id}", quality=1.0, at=self.clock.now())

    async def apply(self, new: Policy) -> None:
        await self.policies.take(new)
        await self.erasing.apply(new)

    def held(self) -> list[str]:
        return sorted(template.person_id for template in self.keys.sealed())


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    times = Times()
    clock = SteadyClock(wall=lambda: times.wall, steady=lambda: times.boot)
    async with Spool(tmp_path / "s.db") as spool:
        keys, changes = KeyStore(tmp_path), list[int]()
        policies = Policies(edge_id=EDGE, spool=spool, keys=keys)
        erasing = Erasing(
            edge_id=EDGE, clock=clock, keys=keys, policies=policies, on_change=lambda: changes.append(1),
            sign=lambda content: base64.b64encode(KEY.sign(content)).decode(),
        )  # fmt: skip
        yield Room(times, clock, keys, policies, erasing, changes)


def homes(*consents: object, n: int = 1, **more: object) -> Policy:
    return policy(door(), n=n, people=(person("p1"), person("p2")), consents=consents, **more)


def verify(receipt: ErasureReceipt | None) -> ErasureReceipt:
    assert receipt is not None
    KEY.public_key().verify(base64.b64decode(receipt.signature), erasure_statement(receipt))
    return receipt


async def test_a_withdrawal_destroys_what_was_made_under_it_and_nothing_else(room: Room) -> None:
    room.enrol("p1", "p2")
    await room.apply(homes(consent("p1"), consent("p2")))
    assert room.held() == ["p1", "p2"]
    withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())
    await room.apply(homes(withdrawn, consent("p2"), n=2))
    assert room.held() == ["p2"]
    assert room.changes
    assert room.erasing.counters == {"templates_destroyed": 1}


async def test_a_withdrawal_holds_on_an_edge_whose_clock_is_behind(room: Room) -> None:
    room.enrol("p1")
    room.times.passes(-timedelta(minutes=4))
    withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())
    await room.apply(homes(withdrawn, n=2))
    assert room.held() == []


async def test_a_consent_that_ends_by_the_clock_ends_the_template_without_a_policy(room: Room) -> None:
    room.enrol("p1", "p2")
    ends = now() + timedelta(days=2)
    await room.apply(homes(consent("p1", expires_at=ends), consent("p2")))
    room.times.passes(timedelta(days=1, hours=23))
    await room.erasing.look_around()
    assert room.held() == ["p1", "p2"]
    room.times.passes(timedelta(hours=2))
    await room.erasing.look_around()
    assert room.held() == ["p2"]


async def test_a_clock_that_is_not_trusted_destroys_nobodys_template(room: Room) -> None:
    room.enrol("p1")
    await room.apply(homes(consent("p1", expires_at=now() + timedelta(days=2))))
    room.times.passes(timedelta(days=365))
    room.clock.compare(-365 * 86_400.0)
    assert not room.clock.trusted()
    await room.erasing.look_around()
    assert room.held() == ["p1"]


async def test_a_consent_that_a_new_notice_overtook_keeps_the_template_for_a_month(room: Room) -> None:
    room.enrol("p1")
    overtaken = consent("p1", superseded_at=now())
    await room.apply(homes(overtaken))
    room.times.passes(SUPERSEDED_FOR - timedelta(hours=1))
    await room.erasing.look_around()
    assert room.held() == ["p1"]
    await room.apply(homes(overtaken, msgspec.structs.replace(consent("p1"), id="again"), n=2))
    room.times.passes(timedelta(hours=2))
    await room.erasing.look_around()
    assert room.held() == ["p1"], "the consent was renewed"
    await room.apply(homes(overtaken, n=3))
    assert room.held() == []


async def test_erased_persons_go_and_do_not_come_back(room: Room, tmp_path: Path) -> None:
    room.enrol("p1", "p2")
    await room.apply(homes(consent("p1"), consent("p2"), tombstones=("p1", "stranger")))
    assert room.held() == ["p2"]
    with pytest.raises(InvalidInput, match="erased"):
        room.enrol("p1")
    assert KeyStore(tmp_path).tombstones == {"p1", "stranger"}
    await room.apply(homes(consent("p2"), n=2))
    assert room.keys.tombstones == {"p1", "stranger"}, "a gateway that forgets does not make us forget"


async def test_templates_whose_doors_are_another_edges_now_wait_for_it_and_go_within_a_day(room: Room) -> None:
    room.enrol("p1")
    elsewhere = consent("p1", "d9")
    await room.apply(homes(elsewhere))
    since = room.keys.leaving["p1"]
    room.times.passes(DOORS_LEFT - timedelta(minutes=1))
    await room.erasing.look_around()
    assert room.held() == ["p1"]
    assert room.keys.leaving["p1"] == since
    await room.apply(homes(consent("p1"), n=2))
    assert room.keys.leaving == {}
    await room.apply(homes(n=3))
    room.times.passes(DOORS_LEFT)
    await room.erasing.look_around()
    assert room.held() == []


async def test_the_receipt_verifies_names_the_protection_and_is_the_same_when_asked_again(room: Room) -> None:
    room.enrol("p1")
    command = EraseFace(id="x", person_id="p1", deadline=now() + timedelta(days=30))
    result = await room.erasing.erase(command)
    receipt = verify(result.erasure)
    assert (result.state, receipt.templates, receipt.protection, receipt.edge_id) == ("confirmed", 1, "file", EDGE)
    again = await room.erasing.erase(msgspec.structs.replace(command, id="y"))
    assert again.detail == "there was no template"
    assert again.erasure == receipt
    with pytest.raises(InvalidSignature):
        verify(msgspec.structs.replace(receipt, templates=0))


async def test_an_erasure_by_policy_is_proved_when_the_command_comes_later(room: Room) -> None:
    room.enrol("p1")
    await room.apply(homes(tombstones=("p1",)))
    receipt = verify((await room.erasing.erase(EraseFace(id="x", person_id="p1", deadline=now()))).erasure)
    assert receipt.templates == 1
    nobody = verify((await room.erasing.erase(EraseFace(id="z", person_id="p7", deadline=now()))).erasure)
    assert nobody.templates == 0


async def test_on_a_full_disk_nothing_is_confirmed_and_it_is_tried_again(room: Room, tmp_path: Path) -> None:
    room.enrol("p1")
    await room.apply(homes(consent("p1", expires_at=now() + timedelta(minutes=1))))
    room.times.passes(timedelta(minutes=2))
    (tmp_path / "keystore.bin.new").mkdir()
    await room.erasing.look_around()
    with pytest.raises(StorageUnavailable):
        await room.erasing.erase(EraseFace(id="x", person_id="p1", deadline=now()))
    (tmp_path / "keystore.bin.new").rmdir()
    await room.erasing.look_around()
    assert room.held() == []
