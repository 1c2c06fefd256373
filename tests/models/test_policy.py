"""Policies and deltas: what an edge puts together is what the gateway meant, or it asks for the whole."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import ImpostorEvidence
from models.cards import CardFormat
from models.errors import InvalidInput
from models.people import Consent, Credential, Group, Member, Permit, VisitorPass
from models.places import Camera, Door
from models.policy import (
    COLLECTIONS,
    SCALARS,
    DesiredMode,
    Policy,
    PolicyDelta,
    Sibling,
    TicketKey,
    apply_delta,
    delta_between,
    policy_digest,
)
from models.schedules import Calendar, Schedule, SpecialDay, Window

T0 = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ids = st.sampled_from(["a", "b", "ö", "B"])
few = st.lists(ids, max_size=2, unique=True).map(tuple)
moments = st.integers(0, 10**6).map(lambda seconds: T0 + timedelta(seconds=seconds, milliseconds=5))

RECORDS: dict[str, st.SearchStrategy[Any]] = {
    "doors": st.builds(
        Door, id=ids, site_id=st.just("s"), name=st.text(max_size=3), edge_id=st.just("e"),
        driver=st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=2), max_size=2),
    ),
    "cameras": st.builds(Camera, id=ids, site_id=st.just("s"), name=st.just(""), edge_id=st.just("e"), url=st.text()),
    "people": st.builds(Member, id=ids, flats=few, under_14=st.booleans()),
    "groups": st.builds(Group, id=ids, site_id=st.just("s"), doors=few, schedule_id=st.none() | ids),
    "schedules": st.builds(
        Schedule, id=ids, windows=st.builds(Window, from_time=st.sampled_from([time(8), time(22)])).map(lambda w: (w,))
    ),
    "calendars": st.builds(
        Calendar, id=ids, days=st.builds(SpecialDay, first=st.dates(), last=st.dates()).map(lambda day: (day,))
    ),
    "permits": st.builds(Permit, id=ids, person_id=ids, doors=few, valid_until=st.none() | moments),
    "passes": st.builds(VisitorPass, id=ids, host_id=ids, doors=few, valid_from=moments, valid_until=moments),
    "credentials": st.builds(Credential, id=ids, person_id=ids, kind=st.just("card"), digest=ids),
    "ticket_keys": st.builds(TicketKey, id=ids, public_key=ids),
    "consents": st.builds(
        Consent, id=ids, person_id=ids, doors=few, text_version=ids, text_sha256=ids, given_at=moments,
        channel=st.just("office"), evidence=st.just(""), withdrawn_at=st.none() | moments,
    ),
    "card_formats": st.builds(CardFormat, id=ids, reverse=st.booleans(), frame=st.sampled_from([0, 26])),
    "modes": st.builds(DesiredMode, door_id=ids, version=st.integers(0, 9), mode=st.just("normal")),
    "siblings": st.builds(Sibling, edge_id=ids, seal_key=ids, doors=few),
    "calibrations": st.builds(
        ImpostorEvidence, id=ids, contract=ids, source=st.sampled_from(["labelled", "site"]), persons=st.integers(2, 9),
        pairs=st.integers(1, 36), matched=st.lists(st.integers(0, 9), max_size=2).map(tuple),
        upper=st.lists(st.floats(0, 1), max_size=2).map(tuple), at=moments, edge_id=ids,
    ),
}  # fmt: skip


@st.composite
def policies(draw: st.DrawFn, n: int) -> Policy:
    parts = {
        name: tuple(draw(st.lists(records, max_size=4, unique_by=lambda r, key=COLLECTIONS[name]: getattr(r, key))))  # type: ignore[misc]
        for name, records in RECORDS.items()
    }
    return Policy(
        edge_id="e", site_id="s", epoch=1, n=n, issued_at=draw(moments), valid_until=draw(moments),
        credential_key=draw(ids), tombstones=draw(few), assessed=draw(st.sampled_from([(), ("face",)])), **parts,
    )  # fmt: skip


def test_every_collection_and_value_of_a_policy_is_carried_by_a_delta() -> None:
    assert set(COLLECTIONS) == set(RECORDS)
    assert set(COLLECTIONS) | set(SCALARS) | {"edge_id", "site_id"} == set(Policy.__struct_fields__)


@given(policies(1), policies(2), st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_delta_leads_from_one_policy_to_the_other_over_the_wire_too(old: Policy, new: Policy, wired: bool) -> None:
    delta = delta_between(old, new)
    if wired:
        delta = msgspec.json.decode(msgspec.json.encode(delta), type=PolicyDelta)
        old = msgspec.json.decode(msgspec.json.encode(old), type=Policy)
    after = apply_delta(old, delta)
    assert policy_digest(after) == policy_digest(new)
    for name in (*SCALARS, "edge_id", "site_id"):
        assert getattr(after, name) == getattr(new, name)
    for name, key in COLLECTIONS.items():
        assert {getattr(r, key): r for r in getattr(after, name)} == {getattr(r, key): r for r in getattr(new, name)}
        assert all(
            type(one) is type(other) for one, other in zip(getattr(after, name), getattr(new, name), strict=True)
        )


@given(policies(1), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=20)
def test_the_order_in_which_a_database_gives_records_does_not_matter(policy: Policy, chance: Any) -> None:
    parts: dict[str, Any] = {name: list(getattr(policy, name)) for name in COLLECTIONS}
    for records in parts.values():
        chance.shuffle(records)
    shuffled = msgspec.structs.replace(policy, **{name: tuple(records) for name, records in parts.items()})
    assert policy_digest(shuffled) == policy_digest(policy)


def policy(n: int = 1, **more: Any) -> Policy:
    permits = (Permit(id="a", person_id="p", doors=("d",)), Permit(id="b", person_id="q", doors=("d",)))
    fields: dict[str, Any] = {
        "edge_id": "e", "site_id": "s", "epoch": 1, "n": n, "issued_at": T0, "valid_until": T0, "doors": (),
        "cameras": (), "permits": permits,
    }  # fmt: skip
    return Policy(**fields | more)


def test_a_delta_holds_what_changed_and_what_went_and_nothing_else() -> None:
    changed = Permit(id="b", person_id="q", doors=("x",))
    delta = delta_between(policy(), policy(2, permits=(changed,)))
    assert (delta.base, delta.values) == ((1, 1), {"n": 2})
    assert (delta.changed, delta.removed) == ({"permits": [changed]}, {"permits": ["a"]})


def test_records_that_did_not_change_are_not_read_again() -> None:
    old = policy()
    after = apply_delta(old, delta_between(old, policy(2, permits=(*old.permits[:1],))))
    assert after.permits[0] is old.permits[0]


DELTA = delta_between(policy(), policy(2, permits=(Permit(id="c", person_id="p", doors=("d",)),)))


@pytest.mark.parametrize(
    ("start", "changes", "why"),
    [
        pytest.param(policy(3), {}, "starts from another policy", id="another base"),
        pytest.param(policy(edge_id="f"), {}, "starts from another policy", id="another edge's"),
        pytest.param(policy(), {"digest": "0" * 64}, "leads to another policy", id="another end"),
        pytest.param(policy(), {"changed": {}}, "leads to another policy", id="a part is missing"),
        pytest.param(policy(valid_until=T0 + timedelta(1)), {}, "leads to another policy", id="a base that differs"),
        pytest.param(policy(), {"changed": {"moods": []}}, "no policy has 'moods'", id="an unknown collection"),
        pytest.param(policy(), {"removed": {"moods": []}}, "no policy has 'moods'", id="one to remove from"),
        pytest.param(policy(), {"values": {"mood": 1}}, "no policy has 'mood'", id="an unknown value"),
        pytest.param(
            policy(), {"values": {"edge_id": "f"}}, "no policy has 'edge_id'", id="a value that never changes"
        ),
        pytest.param(policy(), {"values": {"n": "two"}}, "Expected `int`", id="a value of another kind"),
        pytest.param(policy(), {"changed": {"permits": [1]}}, "Expected `object`", id="a record that is none"),
        pytest.param(policy(), {"changed": {"permits": [{"id": "z"}]}}, "missing required field", id="half a record"),
    ],
)
def test_a_delta_that_does_not_fit_is_refused(start: Policy, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        apply_delta(start, msgspec.structs.replace(DELTA, **changes))


def test_there_is_no_delta_between_policies_of_two_edges() -> None:
    with pytest.raises(InvalidInput, match="of the same edge and site"):
        delta_between(policy(), policy(edge_id="f"))


@pytest.mark.parametrize(
    ("until", "seconds", "mode", "version"),
    [(None, 0, "held_open", 4), (T0, -1, "held_open", 4), (T0, 0, "normal", 5), (T0, 9, "normal", 5)],
)
def test_a_mode_ends_by_itself(until: datetime | None, seconds: float, mode: str, version: int) -> None:
    held = DesiredMode(door_id="d", version=4, mode="held_open", until=until)
    assert held.now(T0 + timedelta(seconds=seconds)).mode == mode
    assert held.now(T0 + timedelta(seconds=seconds)).version == version
