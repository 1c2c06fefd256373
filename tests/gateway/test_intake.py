"""Intake: what no column takes is set aside, and what was set aside goes when its time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from gateway.housekeeping import clean_up
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.edges import add_edge_token
from gateway.store.facts import set_aside
from gateway.store.tables import edge_tokens
from gateway.store.tables_events import quarantine
from models.events import AccessDenied, AccessGranted, PowerCut, fact_id
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge, forced


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


def test_what_was_set_aside_and_tokens_that_are_over_go_in_time(runtime: Runtime, clock: Clock) -> None:
    store, keep = runtime.store, timedelta(days=180)

    def held(connection: Connection) -> tuple[int, int]:
        counts = (
            connection.execute(select(func.count()).select_from(one)).scalar_one() for one in (quarantine, edge_tokens)
        )
        aside, tokens = counts
        return aside, tokens

    store.write_now(set_aside, b"{", key="k", edge_id=EDGE, fact_id=None, error="unreadable", at=clock())
    store.write_now(add_edge_token, "t", site_id="a", at=clock(), life=timedelta(hours=1))
    clock.turn(hours=25)
    store.write_now(clean_up, keep_facts=keep, at=clock())
    assert store.read_now(held) == (1, 1)
    clock.turn(seconds=1)
    store.write_now(clean_up, keep_facts=keep, at=clock())
    assert store.read_now(held) == (1, 0)
    clock.turn(days=180)
    store.write_now(clean_up, keep_facts=keep, at=clock())
    assert store.read_now(held) == (0, 0)


async def test_a_power_cut_is_told_by_the_edge_whose_doors_it_is_about(edge: SigningEdge) -> None:
    cut = PowerCut(id=fact_id(EDGE, EDGE, "1", "power_cut"), at=BEGINNING, edge_id=EDGE, doors=("gate",))
    foreign = PowerCut(id=fact_id("e9", "e9", "1", "power_cut"), at=BEGINNING, edge_id="e9", doors=("gate",))
    answer = await edge.report(cut, foreign)
    assert answer.json() == {"committed": [cut.id], "rejected": [foreign.id]}
