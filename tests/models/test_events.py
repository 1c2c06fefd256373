"""Facts: ids that follow from what happened, JSON in and out, and nothing in them that names a person."""

from __future__ import annotations

import itertools
import uuid
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events import (
    AnyFact,
    CameraBack,
    CameraLost,
    CameraSettled,
    CameraTroubled,
    ClockDoubted,
    ClockTrusted,
    DoorFact,
    DoorForced,
    Fact,
    PowerCut,
    PowerRestored,
    fact_id,
    kind_of,
    source_of,
)

KINDS: tuple[type[Fact], ...] = get_args(AnyFact)
facts = st.one_of([st.from_type(kind) for kind in KINDS])


@given(facts)
def test_every_fact_survives_json(fact: AnyFact) -> None:
    wire = msgspec.json.encode(fact)
    again = msgspec.json.decode(wire, type=AnyFact)
    assert msgspec.json.encode(again) == wire
    assert type(again) is type(fact)


def test_kinds_are_unique_and_in_the_past_tense_of_the_class_name() -> None:
    tags = [str(kind.__struct_config__.tag) for kind in KINDS]
    assert len(set(tags)) == len(KINDS)
    for kind, tag in zip(KINDS, tags, strict=True):
        assert tag == "".join(f"_{char.lower()}" if char.isupper() else char for char in kind.__name__).strip("_")


@given(facts)
def test_a_fact_names_its_kind_and_its_source(fact: AnyFact) -> None:
    assert kind_of(fact) == fact.__struct_config__.tag
    about = {
        "camera": CameraLost | CameraBack | CameraTroubled | CameraSettled,
        "edge": ClockDoubted | ClockTrusted | PowerCut | PowerRestored,
    }
    named = next((name for name, kinds in about.items() if isinstance(fact, kinds)), "door")
    assert source_of(fact) == getattr(fact, f"{named}_id")


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_can_hold_no_name_card_pin_or_picture(kind: type[Fact]) -> None:
    fields = set(kind.__struct_fields__)
    assert fields.isdisjoint({"name", "value", "card", "pin", "image", "jpeg", "embedding", "template"})
    assert issubclass(kind, DoorFact) or not fields.isdisjoint({"camera_id", "edge_id"})


@pytest.mark.parametrize(
    "broken", [b"", b"{}", b'{"type":"door_exploded"}', b'{"type":"door_forced","id":"x"}', b"[1]"]
)
def test_what_is_no_fact_is_refused(broken: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(broken, type=AnyFact)


def test_a_fact_of_a_newer_version_is_read_without_what_is_unknown() -> None:
    text = b'{"type":"door_forced","id":"x","at":"2026-05-01T12:00:00Z","door_id":"d","mood":"grim"}'
    assert isinstance(msgspec.json.decode(text, type=AnyFact), DoorForced)


def test_the_same_occurrence_always_has_the_same_id() -> None:
    assert fact_id("e", "d", "7", "door_forced") == "c5c40e5a-6e88-581a-928b-67fbeefca64c"
    assert uuid.UUID(fact_id("e", "d", "7", "door_forced")).version == 5


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\x1f"), max_size=4)] * 4),
        unique=True,
        max_size=8,
    )
)
def test_different_occurrences_have_different_ids(occurrences: list[tuple[str, str, str, str]]) -> None:
    for one, other in itertools.combinations(occurrences, 2):
        assert fact_id(*one) != fact_id(*other)
