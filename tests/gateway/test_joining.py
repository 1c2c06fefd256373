"""A joining edge gets the templates that its doors were consented to, from a sibling; nobody gets more by lying."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.joining import Joining
from gateway.relay import EXCHANGES
from gateway.runtime import Runtime
from gateway.store.consents import add_consent, face_receipts_of, keep_face_receipts
from gateway.store.edges import revoke_edge, waiting_commands
from gateway.store.joining import AGAIN_AFTER, TRIES_AN_HOUR
from gateway.store.people import add_person
from gateway.store.places import put_door
from models.link import AdoptTemplates, Command, EdgeStatus, EraseFace, FaceReceipt, Result, ShareTemplates
from models.people import Consent, Person
from models.places import Door
from models.policy import Policy
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge

SEAL = "c2VhbHNlYWxzZWFsc2VhbHNlYWxzZWFsc2VhbHNlYWw="
NEW = "edge-2"


@pytest.fixture
def runtime(runtime: Runtime) -> Runtime:
    """Return a gateway whose site has a door of a second edge."""
    runtime.store.write_now(put_door, Door(id="back", site_id="a", name="Back door", edge_id=NEW))
    return runtime


@pytest.fixture
async def edge(url: str, runtime: Runtime, clock: Clock) -> AsyncIterator[SigningEdge]:
    """Yield the edge that holds templates."""
    made = SigningEdge(url, clock)
    await made.enrol(runtime.store, seal_key=SEAL)
    yield made
    await made.client.aclose()


@pytest.fixture
async def joining(url: str, runtime: Runtime, clock: Clock) -> AsyncIterator[SigningEdge]:
    """Yield the edge that joins."""
    made = SigningEdge(url, clock, edge_id=NEW)
    await made.enrol(runtime.store, seal_key=SEAL, protection="tpm")
    yield made
    await made.client.aclose()


def receipt(edge_id: str, person_id: str = "p1") -> FaceReceipt:
    return FaceReceipt(
        id=f"r-{edge_id}-{person_id}", person_id=person_id, edge_id=edge_id, contract="dlib", quality=0.9, digest="ab",
        at=BEGINNING,
    )  # fmt: skip


def enrolled(runtime: Runtime, person_id: str = "p1", *, doors: tuple[str, ...], at: str = EDGE, **more: Any) -> None:
    """Record a resident with a consent and a template at an edge."""
    person = Person(id=person_id, site_id="a", name="Lin Yue", under_14=more.pop("under_14", False))
    runtime.store.write_now(add_person, person, at=BEGINNING)
    consent = Consent(
        id=f"c-{person_id}", person_id=person_id, doors=doors, text_version="1", text_sha256="ab", given_at=BEGINNING,
        channel="office", evidence="folder", **more,
    )  # fmt: skip
    runtime.store.write_now(add_consent, consent)
    runtime.store.write_now(keep_face_receipts, [receipt(at, person_id)], consent_id=consent.id)


async def follow(edge: SigningEdge, *, policy: tuple[int, int] | None = None) -> Policy:
    """Have an edge fetch its policy and say that it follows it (or another one)."""
    found = msgspec.json.decode((await edge.send("GET", "/edge/v1/policy")).content, type=Policy)
    status = EdgeStatus(
        edge_id=edge.id, at=edge.clock(), backlog=0, doors=(), cameras=(), counters={},
        policy=policy or (found.epoch, found.n),
    )  # fmt: skip
    assert (await edge.send("POST", "/edge/v1/status", status)).status_code == 204
    return found


def waiting(runtime: Runtime, edge: SigningEdge) -> list[Command]:
    return runtime.store.read_now(waiting_commands, edge.id, at=runtime.clock())


async def test_a_joining_edge_and_a_sibling_get_the_two_ends_of_one_exchange(
    edge: SigningEdge, joining: SigningEdge, runtime: Runtime
) -> None:
    enrolled(runtime, doors=("gate", "back"))
    told = await follow(edge)
    assert [(one.edge_id, one.seal_key, one.doors) for one in told.siblings] == [(NEW, SEAL, ("back",))]
    assert await Joining(runtime).look() == 0, "the joining edge does not follow its policy yet"
    await follow(joining)
    assert await Joining(runtime).look() == 1
    (share,), (adopt,) = waiting(runtime, edge), waiting(runtime, joining)
    assert isinstance(share, ShareTemplates)
    assert isinstance(adopt, AdoptTemplates)
    assert (share.to_edge, adopt.from_edge, share.relay_ticket) == (NEW, EDGE, adopt.relay_ticket)
    async with edge.relay(share.relay_ticket) as socket:
        await socket.send(b"sealed")
        await socket.send(b"")
        assert await joining.fetch(adopt.relay_ticket) == b"sealed"
    result = Result(command_id=adopt.id, state="confirmed", at=BEGINNING, receipts=(receipt(NEW),))
    assert (await joining.send("POST", "/edge/v1/results", result)).status_code == 204
    kept = runtime.store.read_now(face_receipts_of, "p1")
    assert [(one.edge_id, one.erased_at) for one in kept] == [(EDGE, None), (NEW, None)]
    assert await Joining(runtime).look() == 0, "nothing is lacking any more"


@pytest.mark.parametrize(
    ("doors", "more"),
    [
        (("gate",), {}),
        (("gate", "back"), {"withdrawn_at": BEGINNING}),
        (("gate", "back"), {"superseded_at": BEGINNING}),
        (("gate", "back"), {"under_14": True}),
        (("back",), {"at": NEW}),
    ],
)
async def test_nothing_is_shared_that_no_live_consent_allows_there_or_that_is_there(
    edge: SigningEdge, joining: SigningEdge, *, runtime: Runtime, doors: tuple[str, ...], more: dict[str, Any]
) -> None:
    enrolled(runtime, doors=doors, **more)
    for one in (edge, joining):
        await follow(one)
    assert await Joining(runtime).look() == 0


async def test_an_edge_that_lags_is_away_or_is_revoked_takes_no_part(
    edge: SigningEdge, joining: SigningEdge, *, runtime: Runtime, clock: Clock
) -> None:
    enrolled(runtime, doors=("gate", "back"))
    await follow(edge)
    await follow(joining, policy=(1, 0))
    assert await Joining(runtime).look() == 0
    await follow(joining)
    clock.turn(minutes=2)
    assert await Joining(runtime).look() == 0, "neither was heard of"
    runtime.store.write_now(revoke_edge, NEW, at=clock())
    await follow(edge)
    assert await Joining(runtime).look() == 0


async def test_an_exchange_that_brings_nothing_is_not_repeated_without_end(
    edge: SigningEdge, joining: SigningEdge, *, runtime: Runtime, clock: Clock
) -> None:
    enrolled(runtime, doors=("gate", "back"))
    begun = 0
    for _ in range(3 * TRIES_AN_HOUR):
        await follow(edge)
        await follow(joining)
        begun += await Joining(runtime).look()
        assert await Joining(runtime).look() == 0, "one at a time"
        clock.turn(seconds=AGAIN_AFTER.total_seconds())
    assert begun == TRIES_AN_HOUR


async def test_an_exchange_waits_while_there_is_no_room_for_it(
    edge: SigningEdge, joining: SigningEdge, runtime: Runtime
) -> None:
    enrolled(runtime, doors=("gate", "back"))
    for one in (edge, joining):
        await follow(one)
    tickets = [runtime.relay.leave(b"photo", edge_id=EDGE) for _ in range(EXCHANGES)]
    assert await Joining(runtime).look() == 0
    assert waiting(runtime, edge) == []
    runtime.relay.forget(str(tickets[0]))
    assert await Joining(runtime).look() == 1


async def test_a_receipt_that_no_consent_allows_is_ordered_away_and_never_counts(
    edge: SigningEdge, joining: SigningEdge, runtime: Runtime
) -> None:
    enrolled(runtime, doors=("gate", "back"))
    enrolled(runtime, "p2", doors=("gate",))
    for one in (edge, joining):
        await follow(one)
    await Joining(runtime).look()
    (adopt,) = waiting(runtime, joining)
    result = Result(command_id=adopt.id, state="confirmed", at=BEGINNING, receipts=(receipt(NEW), receipt(NEW, "p2")))
    assert (await joining.send("POST", "/edge/v1/results", result)).status_code == 204
    assert [one.edge_id for one in runtime.store.read_now(face_receipts_of, "p2")] == [EDGE]
    (order,) = waiting(runtime, joining)
    assert isinstance(order, EraseFace)
    assert order.person_id == "p2"


@pytest.mark.parametrize(
    "change",
    [{"edge_id": EDGE}, {"id": "r/1"}, {"person_id": ""}, {"contract": "x" * 300}, {"quality": 7.0},
     {"at": BEGINNING.replace(tzinfo=None)}, {"at": BEGINNING.replace(year=1)}],
)  # fmt: skip
async def test_a_receipt_that_cannot_be_is_refused(
    edge: SigningEdge, joining: SigningEdge, *, runtime: Runtime, change: dict[str, Any]
) -> None:
    enrolled(runtime, doors=("gate", "back"))
    for one in (edge, joining):
        await follow(one)
    await Joining(runtime).look()
    (adopt,) = waiting(runtime, joining)
    result = Result(
        command_id=adopt.id,
        state="confirmed",
        at=BEGINNING,
        receipts=(msgspec.structs.replace(receipt(NEW), **change),),
    )
    assert (await joining.send("POST", "/edge/v1/results", result)).status_code == 422
    assert [one.edge_id for one in runtime.store.read_now(face_receipts_of, "p1")] == [EDGE]
