"""Intake: what no column takes is set aside, and what was set aside goes when its time is over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from models.events import AccessDenied, AccessGranted, fact_id
from tests.gateway.support import BEGINNING, EDGE, SigningEdge, forced


@pytest.mark.parametrize("change", [{"person_id": "p" * 65}, {"pass_id": "v" * 65}, {"person_id": ""}])
async def test_a_passage_of_an_id_that_no_column_takes_is_set_aside_and_holds_back_no_other(
    edge: SigningEdge, change: dict[str, Any]
) -> None:
    said: dict[str, Any] = {"at": BEGINNING, "door_id": "gate", "attempt": "n", "method": "card"}
    granted = AccessGranted(id=fact_id(EDGE, "gate", "1", "access_granted"), unlocked=True, **said)
    denied = AccessDenied(id=fact_id(EDGE, "gate", "2", "access_denied"), reason="no_permit", **said)
    bad = [msgspec.structs.replace(fact, **change) for fact in (granted, denied)]
    answer = await edge.report(*bad, forced())
    assert answer.status_code == 200, answer.text
    assert answer.json()["rejected"] == [fact.id for fact in bad]
    assert answer.json()["committed"] == [forced().id]
