"""What changes in the galleries, and what stays as it is: a withdrawal at once, many new templates beside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.galleries import AT_ONCE, Galleries
from edge.templates import Plain
from models.link import PICTURES_MOST
from models.policy import Policy
from tests.edge.doubles import consent, now, until
from tests.edge.porch import MODEL, Porch, face, homes, porch


@pytest.fixture
async def at_door(tmp_path: Path) -> AsyncIterator[Porch]:
    async with porch(tmp_path) as opened:
        yield opened


def template(person_id: str, *doors: str, made: str = "") -> Plain:
    return Plain(
        person_id=person_id, doors=doors, contract=MODEL, consent_id="c", quality=1.0, at=now(),
        embedding=face(made or person_id).astype("<f4").tobytes(),
    )  # fmt: skip


def two_doors(n: int, *people: tuple[str, tuple[str, ...]], over: tuple[str, ...] = ()) -> Policy:
    """Return a policy with doors d1 and d2, and people with the doors of their consents; some withdrew."""
    given = tuple(consent(who, *doors, withdrawn_at=now() if who in over else None) for who, doors in people)
    one = homes(n, ids=tuple(who for who, _ in people), consents=given)
    return msgspec.structs.replace(one, doors=(*one.doors, msgspec.structs.replace(one.doors[0], id="d2")))


def bytes_of(galleries: Galleries) -> bytes:
    """Return the bytes of every array and template that the galleries of doors hold."""
    found = b""
    for one in galleries.doors.values():
        found += b"".join(template.embedding.tobytes() for template in one.templates)
        found += b"".join(part.tobytes() for part in vars(one.people).values() if isinstance(part, np.ndarray))
    return found + b"".join(one.embedding.tobytes() for one in galleries._opened.values())


FOUR = (("p1", ("d1",)), ("p2", ("d1",)), ("p3", ("d2",)), ("p4", ("d2",)))


async def test_a_withdrawal_changes_only_the_galleries_of_its_doors_and_leaves_no_byte(at_door: Porch) -> None:
    galleries = at_door.attention.galleries
    await at_door.apply(two_doors(2, *FOUR))
    at_door.keys.put_all([template(who, *doors) for who, doors in FOUR])
    at_door.attention.refresh()
    before = dict(galleries.doors)
    assert face("p1").tobytes() in bytes_of(galleries)
    await at_door.apply(two_doors(3, *FOUR, over=("p1",)))
    assert galleries.doors["d2"] is before["d2"]
    assert galleries.doors["d1"].people.people == ("p2",)
    assert face("p1").tobytes() not in bytes_of(galleries)
    at_door.attention.refresh()
    assert galleries.doors["d2"] is before["d2"]


async def test_doors_of_the_same_people_share_one_gallery(at_door: Porch) -> None:
    await at_door.apply(two_doors(2, ("p1", ("d1", "d2")), ("p2", ("d1", "d2"))))
    at_door.keys.put_all([template("p1", "d1", "d2"), template("p2", "d1", "d2")])
    at_door.attention.refresh()
    doors = at_door.attention.galleries.doors
    assert doors["d1"] is doors["d2"]


async def test_a_replaced_template_is_never_matched_again(at_door: Porch) -> None:
    galleries = at_door.attention.galleries
    await at_door.apply(two_doors(2, *FOUR))
    at_door.keys.put_all([template(who, *doors) for who, doors in FOUR])
    at_door.attention.refresh()
    at_door.keys.put_all([template("p1", "d1", made="new face")])
    at_door.attention.refresh()
    people = galleries.doors["d1"].people
    assert people.closest(face("p1"), radius=0.6) is None
    assert people.closest(face("new face"), radius=0.1) is not None
    assert face("p1").tobytes() not in bytes_of(galleries)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "add", "erase", "consent", "end"]), st.integers(0, 5), st.integers(0, 3)),
    max_size=12,
)


@settings(max_examples=12, deadline=None)
@given(changes=CHANGES)
def test_galleries_that_changed_step_by_step_equal_galleries_built_anew(
    changes: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(step_by_step(changes, tmp_path_factory.mktemp("edge")))


async def step_by_step(changes: list[tuple[str, int, int]], folder: Path) -> None:
    names = {number: ("d1",) if number % 2 else ("d1", "d2") for number in range(6)}
    over: set[str] = set()
    async with porch(folder) as at_door:
        for n, (kind, number, made) in enumerate(changes, 2):
            who, one = f"q{number}", template(f"q{number}", *names[number], made=f"{number} {made}")
            held = sum(sealed.person_id == who for sealed in at_door.keys.sealed())
            if kind == "put":
                at_door.keys.put_all([one, template(who, *names[number])])
            elif kind == "add" and held < PICTURES_MOST:
                at_door.keys.add(one)
            elif kind == "erase":
                at_door.keys.erase(who, at=now())
            elif kind == "end":
                over.add(who)
            else:
                over.discard(who)
            people = tuple((f"q{number}", doors) for number, doors in names.items())
            await at_door.apply(two_doors(n, *people, over=tuple(over)))
            anew = Galleries(
                clock=at_door.house.clock, keys=at_door.keys, policies=at_door.policies, profile="demo",
                tasks=at_door.house.tasks,
            )  # fmt: skip
            anew.refresh()
            assert contents(at_door.attention.galleries) == contents(anew)


def contents(galleries: Galleries) -> dict[str, tuple[int, list[tuple[str, bytes]]]]:
    """Return who is in each door's gallery with which templates, as a search of each finds them."""
    for one in galleries.doors.values():
        for template in one.templates:
            near = one.people.within(template.embedding, 0.0)
            assert template.person_id in {found.person_id for found in near}
    return {
        door: (len(one.people), sorted((held.person_id, held.embedding.tobytes()) for held in one.templates))
        for door, one in galleries.doors.items()
    }


async def test_many_new_templates_are_made_ready_beside_and_a_withdrawal_meanwhile_counts(at_door: Porch) -> None:
    galleries = at_door.attention.galleries
    many = tuple((f"q{number}", ("d1",)) for number in range(AT_ONCE + 2))
    at_door.keys.put_all([template("p1", "d1"), template("p2", "d1")])
    await at_door.apply(two_doors(2, *FOUR))
    assert set(galleries.doors["d1"].people.people) == {"p1", "p2"}
    at_door.keys.put_all([template(who, *doors) for who, doors in many])
    at_door.policies.current = two_doors(3, *FOUR, *many)
    at_door.attention.refresh()
    assert set(galleries.doors["d1"].people.people) == {"p1", "p2"}, "the new ones are not ready yet"
    at_door.policies.current = two_doors(4, *FOUR, *many, over=("p1", "q7"))
    at_door.attention.refresh()
    assert galleries.doors["d1"].people.people == ("p2",)
    await until(lambda: len(galleries.doors["d1"].people.people) == len(many), what="the gallery")
    assert {"p1", "q7"}.isdisjoint(galleries.doors["d1"].people.people)
    assert face("q7").tobytes() not in bytes_of(galleries)
    assert galleries.uses["d1"].people == len(many)


async def test_a_template_that_does_not_open_is_said_once_and_matches_nobody(
    at_door: Porch, caplog: pytest.LogCaptureFixture
) -> None:
    at_door.enrol("p1")
    at_door.keys.put_all([template("p2", "d1")])
    content = at_door.keys._content
    spoilt = msgspec.structs.replace(content.templates[1], doors=("d1", "d2"))
    at_door.keys._content = msgspec.structs.replace(content, templates=(content.templates[0], spoilt))
    at_door.attention.refresh()
    at_door.attention.refresh()
    assert at_door.attention.galleries.doors["d1"].people.people == ("p1",)
    assert caplog.text.count("cannot be used") == 1
