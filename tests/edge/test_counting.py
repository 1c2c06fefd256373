"""An edge counts false matches within its own consented gallery; counts leave it, and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from edge.counting import Counting
from edge.keystore import Opened
from models.calibration import STEPS
from models.link import CountImpostors, Result
from tests.edge.doubles import EDGE, consent, now, person
from tests.edge.porch import MODEL, Porch, face, homes, porch


@pytest.fixture
async def at_door(tmp_path: Path) -> AsyncIterator[Porch]:
    async with porch(tmp_path) as opened:
        yield opened


async def count(at_door: Porch) -> Result:
    counting = Counting(
        edge_id=EDGE, clock=at_door.house.clock, keys=at_door.keys, galleries=at_door.attention.galleries,
        new_id=lambda: "cal-1",
    )  # fmt: skip
    return await counting.count(CountImpostors(id="c1", deadline=now() + timedelta(seconds=20)))


async def test_the_people_who_consented_are_counted_in_pairs(at_door: Porch) -> None:
    ids = ("p1", "p2", "p3")
    await at_door.apply(homes(2, ids=ids))
    for one in ids:
        at_door.enrol(one)
    found = (await count(at_door)).evidence
    assert found is not None
    assert (found.id, found.edge_id, found.source, found.contract) == ("cal-1", EDGE, "site", MODEL)
    assert (found.persons, found.pairs, found.matched) == (3, 3, (0,) * STEPS)


async def test_what_leaves_holds_no_embedding_and_no_name(at_door: Porch) -> None:
    at_door.enrol("p1")
    at_door.enrol("p2")
    sent = msgspec.json.encode(await count(at_door))
    assert b"p1" not in sent
    assert not any(str(round(float(value), 4)).encode() in sent for value in face("p1"))
    assert len(sent) < 4000


async def test_look_alikes_are_counted_where_they_are(at_door: Porch) -> None:
    at_door.enrol("p1")
    near = face("p1").copy()
    near[0] += 0.345
    at_door.keys.put(
        Opened(person_id="p2", doors=("d1",), contract=MODEL, embedding=near), consent_id="c", quality=1.0, at=now()
    )
    found = (await count(at_door)).evidence
    assert found is not None
    assert found.matched == (0,) * 34 + (1,) * 26


async def test_who_withdrew_or_is_a_child_without_a_guardian_is_not_counted(at_door: Porch) -> None:
    for one in ("p1", "p2"):
        at_door.enrol(one)
    withdrawn = msgspec.structs.replace(consent("p2"), withdrawn_at=now())
    policy = homes(2, consents=(consent("p1"), withdrawn))
    at_door.policies.current = policy
    assert (await count(at_door)).reason == "too_few_people"
    at_door.policies.current = msgspec.structs.replace(homes(3), people=(person("p1"), person("p2", under_14=True)))
    assert (await count(at_door)).reason == "too_few_people"


async def test_templates_of_an_older_model_are_not_compared_with_newer_ones(at_door: Porch) -> None:
    at_door.enrol("p1")
    at_door.keys.put(
        Opened(person_id="p2", doors=("d1",), contract="n", embedding=face("p2")),
        consent_id="c", quality=1.0, at=now(),
    )  # fmt: skip
    assert (await count(at_door)).reason == "too_few_people"


async def test_without_an_assessment_nobody_is_counted(at_door: Porch) -> None:
    at_door.enrol("p1")
    at_door.enrol("p2")
    await at_door.apply(homes(2, assessed=()))
    refused = await count(at_door)
    assert (refused.state, refused.reason, refused.evidence) == ("refused", "not_assessed", None)
