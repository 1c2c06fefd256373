"""The benchmark of decisions measures decisions: of a policy in which residents get in, and strangers do not."""

from __future__ import annotations

from edge.bench_decision import AT, card_of, compound, flat_of, pin_of, run
from edge.credentials import Book
from models.access import Request
from models.policy import delta_between


def test_a_row_says_what_was_measured() -> None:
    (row,) = run(residents=40, each=20)
    assert (row.name, row.unit, row.target) == ("decision", "ms", 1.0)
    assert len(row.samples) == 20 * 6
    assert row.met is (row.ours <= 1.0)
    assert 0.0 < row.ours <= max(row.samples)


def test_its_compound_knows_its_residents_by_all_that_they_present() -> None:
    book = Book.of(compound(40))
    for kind, value in (("card", card_of(7)), ("pin", pin_of(7)), ("flat_pin", f"{flat_of(7)}#{pin_of(7)}")):
        request = Request(id="r", door_id="door-00", kind=kind, value=value)  # type: ignore[arg-type]
        assert [one.person_id for one in book.find(request, at=AT, clock_trusted=True)] == ["person-7"]
    assert book.rights.person_refusal("person-7", "door-00", at=AT, clock_trusted=True) is None
    assert book.rights.person_refusal("person-7", "door-45", at=AT, clock_trusted=True) == "no_permit"


def test_its_compound_is_the_same_each_time() -> None:
    delta = delta_between(compound(40), compound(40))
    assert (delta.changed, delta.removed, delta.values) == ({}, {}, {})
