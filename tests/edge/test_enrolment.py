"""Enrolment: consent first, one good face, a receipt that reveals nothing; erasure leaves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge import wire
from edge.clock import SteadyClock
from edge.enrolment import Enrolment
from edge.keystore import KeyStore
from edge.policies import Policies
from edge.spool import Spool
from models.calibration import DEMO_MODEL, FaceUse
from models.errors import DeviceUnreachable, NotFound
from models.link import EnrolFace
from models.recognition import ADVICE, FaceQuality
from tests.edge.doubles import EDGE, consent, door, now, person, policy

GOOD = FaceQuality(
    face_px=160, eye_px=80.0, blur=100.0, brightness=120.0, contrast=40.0, yaw=0.0, roll_deg=0.0, inside=1.0
)


CONTRACT = f"{DEMO_MODEL}128/euclidean/sha256:0"


def answer(at: float = 0.0, *, contract: str = CONTRACT) -> wire.PhotoFace:
    """A face `at` away from the one at 0."""
    embedding = np.zeros(128, "<f4")
    embedding[0] = at
    return wire.PhotoFace(request_id="", ok=True, embedding=embedding.tobytes(), contract=contract, quality=GOOD)


GOOD_ANSWER = answer()


@dataclass
class Photographer:
    """A face process that answers every photo alike."""

    answer: wire.PhotoFace = GOOD_ANSWER
    fails: Exception | None = None
    seen: list[bytes] = field(default_factory=list)

    async def photo(self, image: bytes, *, request_id: str) -> wire.PhotoFace:
        self.seen.append(image)
        if self.fails is not None:
            raise self.fails
        return self.answer


@dataclass
class Office:
    enrolment: Enrolment
    keys: KeyStore
    link: Photographer
    policies: Policies
    changes: list[int]


@contextlib.asynccontextmanager
async def office(
    folder: Path, *, relay_fails: Exception | None = None, uses: dict[str, FaceUse] | None = None, **more: Any
) -> AsyncIterator[Office]:
    async def relay(ticket: str) -> bytes:
        if relay_fails is not None:
            raise relay_fails
        return f"photo of {ticket}".encode()

    async with Spool(folder / "s.db") as spool:
        keys, link, changes = KeyStore(folder), Photographer(), list[int]()
        policies = Policies(edge_id=EDGE, spool=spool, keys=keys)
        more = {"people": (person("p1"),), "consents": (consent("p1"),)} | more
        await policies.take(policy(door(), **more))
        enrolment = Enrolment(
            edge_id=EDGE, clock=SteadyClock(), keys=keys, link=link,  # type: ignore[arg-type]
            relay=relay, policies=policies, on_change=lambda: changes.append(1), policy_wait_s=0.2,
            uses=lambda: uses or {},
        )  # fmt: skip
        yield Office(enrolment, keys, link, policies, changes)


def command(person_id: str = "p1", *, add: bool = False, consent_id: str = "", anew: bool = False) -> EnrolFace:
    return EnrolFace(
        id=f"e-{person_id}", person_id=person_id, consent_id=consent_id or f"consent-{person_id}", relay_ticket="t",
        deadline=now() + timedelta(seconds=20), add=add, anew=anew,
    )  # fmt: skip


async def test_a_good_photo_becomes_a_sealed_template_and_a_receipt(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        result = await at.enrolment.enrol(command())
        assert result.state == "confirmed"
        assert result.receipt is not None
        (sealed,) = at.keys.sealed()
        assert (result.receipt.id, result.receipt.digest) == (sealed.id, sealed.digest)
        assert sealed.doors == ("d1",)
        assert at.changes == [1]
        assert b"photo" not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


@pytest.mark.parametrize(
    "consents",
    [
        (),
        (msgspec.structs.replace(consent("p1"), withdrawn_at=now() - timedelta(minutes=1)),),
        (msgspec.structs.replace(consent("p1"), expires_at=now() - timedelta(minutes=1)),),
        (msgspec.structs.replace(consent("p1"), id="another"),),
        (consent("p2"),),
    ],
)
async def test_without_its_live_consent_no_photo_is_even_fetched(tmp_path: Path, consents: Any) -> None:
    async with office(tmp_path, consents=consents) as at:
        result = await at.enrolment.enrol(command())
        assert (result.state, result.reason) == ("refused", "no_consent")
        assert at.link.seen == []


@pytest.mark.parametrize("assessed", [(), ("recording",)])
async def test_without_an_assessment_of_faces_no_photo_is_even_fetched(tmp_path: Path, assessed: Any) -> None:
    async with office(tmp_path, assessed=assessed) as at:
        result = await at.enrolment.enrol(command())
        assert (result.state, result.reason) == ("refused", "not_assessed")
        assert at.link.seen == []


async def test_an_assessment_reopened_while_the_photo_is_looked_at_leaves_nothing(tmp_path: Path) -> None:
    async with office(tmp_path) as at:

        async def slow(image: bytes, *, request_id: str) -> wire.PhotoFace:
            about: dict[str, Any] = {"people": (person("p1"),), "consents": (consent("p1"),)}
            await at.policies.take(policy(door(), n=2, assessed=(), **about))
            return at.link.answer

        at.link.photo = slow  # type: ignore[method-assign]
        assert (await at.enrolment.enrol(command())).state == "refused"
        assert at.keys.sealed() == ()


async def test_a_child_needs_a_guardians_consent(tmp_path: Path) -> None:
    async with office(tmp_path, people=(person("p1", under_14=True),)) as at:
        assert (await at.enrolment.enrol(command())).reason == "no_consent"
    with_guardian = (consent("p1", guardian="p9"),)
    async with office(tmp_path / "2", people=(person("p1", under_14=True),), consents=with_guardian) as at:
        assert (await at.enrolment.enrol(command())).state == "confirmed"


@pytest.mark.parametrize("reason", ["no_face", "two_faces", "too_small", "too_large", "unreadable"])
async def test_a_photo_without_one_usable_face_is_refused_with_its_reason(tmp_path: Path, reason: str) -> None:
    async with office(tmp_path) as at:
        at.link.answer = wire.PhotoFace(request_id="", ok=False, reason=reason)
        result = await at.enrolment.enrol(command())
        assert (result.state, result.reason, result.detail) == ("refused", reason, ADVICE[reason])
        assert at.keys.sealed() == ()


async def test_a_poor_photo_is_refused(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        poor = msgspec.structs.replace(GOOD, blur=1.0)
        at.link.answer = msgspec.structs.replace(at.link.answer, quality=poor)
        assert (await at.enrolment.enrol(command())).reason == "blurred"


@pytest.mark.parametrize(
    ("relay_fails", "link_fails", "expected"),
    [
        (NotFound("ticket", "t"), None, ("refused", "no_photo")),
        (DeviceUnreachable("gateway", "away"), None, ("failed", "not_ready")),
        (None, DeviceUnreachable("face process", "away"), ("failed", "not_ready")),
    ],
)
async def test_what_fails_on_the_way_is_said(
    tmp_path: Path, relay_fails: Exception | None, link_fails: Exception | None, expected: tuple[str, str]
) -> None:
    async with office(tmp_path, relay_fails=relay_fails) as at:
        at.link.fails = link_fails
        result = await at.enrolment.enrol(command())
        assert (result.state, result.reason) == expected


async def test_a_consent_withdrawn_while_the_photo_is_looked_at_leaves_nothing(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())

        async def slow(image: bytes, *, request_id: str) -> wire.PhotoFace:
            await at.policies.take(policy(door(), n=2, people=(person("p1"),), consents=(withdrawn,)))
            return at.link.answer

        at.link.photo = slow  # type: ignore[method-assign]
        assert (await at.enrolment.enrol(command())).reason == "no_consent"
        assert at.keys.sealed() == ()


BOTH: dict[str, Any] = {"people": (person("p1"), person("p2")), "consents": (consent("p1"), consent("p2"))}


async def test_somebody_who_looks_like_another_is_named_to_who_enrols(tmp_path: Path) -> None:
    async with office(tmp_path, **BOTH) as at:
        assert (await at.enrolment.enrol(command("p1"))).reason is None
        again = await at.enrolment.enrol(command("p1"))
        assert (again.reason, again.similar_to) == (None, None), "oneself is nobody else"
        at.link.answer = answer(0.44)
        second = await at.enrolment.enrol(command("p2"))
        assert (second.state, second.reason, second.similar_to) == ("confirmed", "similar_person", "p1")
        at.link.answer = answer(0.46)
        assert (await at.enrolment.enrol(command("p2"))).similar_to is None


async def test_how_alike_two_may_be_follows_from_the_radius_of_the_doors(tmp_path: Path) -> None:
    strict = {
        "d1": FaceUse(people=200, alone=True, radius=0.30, verify_radius=0.32),
        "d2": FaceUse(people=2, alone=True, radius=0.9),
    }
    async with office(tmp_path, uses=strict, **BOTH) as at:
        await at.enrolment.enrol(command("p1"))
        at.link.answer = answer(0.38)
        assert (await at.enrolment.enrol(command("p2"))).similar_to is None
        at.link.answer = answer(0.36)
        assert (await at.enrolment.enrol(command("p2"))).similar_to == "p1"


async def test_of_a_network_nothing_is_known_about_nobody_is_called_alike(tmp_path: Path) -> None:
    async with office(tmp_path, **BOTH) as at:
        at.link.answer = answer(contract="own/128/euclidean/sha256:1")
        await at.enrolment.enrol(command("p1"))
        assert (await at.enrolment.enrol(command("p2"))).similar_to is None


async def test_further_photos_join_the_first_and_each_has_its_receipt(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        receipts = []
        for n in range(5):
            at.link.answer = answer(0.1 * n)
            result = await at.enrolment.enrol(command(add=n > 0))
            assert result.state == "confirmed", result.detail
            receipts.append(result.receipt)
        assert [one.id for one in at.keys.sealed()] == [one.id for one in receipts if one]
        sixth = await at.enrolment.enrol(command(add=True))
        assert (sixth.state, sixth.reason) == ("refused", "too_many")
        assert (await at.enrolment.enrol(command())).state == "confirmed"
        assert len(at.keys.sealed()) == 1, "a photo that is not added replaces all"


async def test_a_photo_of_somebody_else_does_not_join(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.enrolment.enrol(command())
        at.link.answer = answer(0.56)
        refused = await at.enrolment.enrol(command(add=True))
        assert (refused.state, refused.reason) == ("refused", "differs")
        at.link.answer = answer(0.54)
        assert (await at.enrolment.enrol(command(add=True))).state == "confirmed"
        at.link.answer = answer(9.0, contract="own/128/euclidean/sha256:1")
        assert (await at.enrolment.enrol(command(add=True))).state == "confirmed", "another network: nothing to compare"
        assert len(at.keys.sealed()) == 1


async def test_a_photo_of_somebody_else_replaces_nothing_unless_the_command_says_so(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        await at.enrolment.enrol(command())
        before = at.keys.sealed()
        at.link.answer = answer(0.56)
        refused = await at.enrolment.enrol(command())
        assert (refused.state, refused.reason) == ("refused", "differs")
        assert "anew" in refused.detail
        assert at.keys.sealed() == before
        assert (await at.enrolment.enrol(command(anew=True))).state == "confirmed"
        assert len(at.keys.sealed()) == 1
        at.link.answer = answer(9.0, contract="own/128/euclidean/sha256:1")
        assert (await at.enrolment.enrol(command())).state == "confirmed", "another network: nothing to compare"


async def test_a_template_of_another_consent_gives_way_to_the_one_that_is_named_now(tmp_path: Path) -> None:
    both = (consent("p1"), msgspec.structs.replace(consent("p1", "d1", "d2"), id="newer"))
    async with office(tmp_path, consents=both) as at:
        await at.enrolment.enrol(command())
        assert (await at.enrolment.enrol(command(add=True, consent_id="newer"))).state == "confirmed"
        assert [one.consent_id for one in at.keys.sealed()] == ["newer"]
