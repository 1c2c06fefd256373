"""Copies between edges: only to siblings of the signed policy, only what a live consent names there, and nobody else can read."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge.clock import SteadyClock
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from edge.sharing import Envelope, Sharing
from edge.spool import Spool
from edge.templates import Plain
from models.errors import DeviceUnreachable, InvalidInput, NotFound
from models.link import AdoptTemplates, ShareTemplates
from models.policy import Policy, Sibling
from models.sealing import new_seal_key, public_seal_key, seal_to, unseal_from
from tests.edge.doubles import consent, door, now, person, policy

FACE = np.linspace(-1, 1, 128, dtype=np.float32)


@dataclass
class Post:
    """A relay in memory; what went through it is kept."""

    carried: dict[str, bytes] = field(default_factory=dict)
    changed: Callable[[bytes], bytes] = lambda content: content
    fails: Exception | None = None

    async def fetch(self, ticket: str, *, limit_bytes: int) -> bytes:
        if ticket not in self.carried:
            raise NotFound("relay ticket", "(404)")
        return self.changed(self.carried[ticket])

    async def send(self, ticket: str, content: bytes) -> None:
        if self.fails is not None:
            raise self.fails
        self.carried[ticket] = content


@dataclass
class Edge:
    """One edge of the site, as far as copies go."""

    id: str
    keys: KeyStore
    policies: Policies
    sharing: Sharing
    seal_key: bytes
    changes: list[int]

    def enrol(self, person_id: str, *doors: str) -> None:
        template = Opened(person_id=person_id, doors=doors, contract="m", embedding=FACE)
        self.keys.put(template, consent_id=f"consent-{person_id}", quality=0.9, at=now())

    @property
    def public(self) -> str:
        return public_seal_key(self.seal_key)


@dataclass
class Site:
    """Two edges of one site: `old` has door d1, `new` has d2 and d3."""

    old: Edge
    new: Edge
    post: Post

    def sibling(self, edge: Edge, *doors: str) -> Sibling:
        return Sibling(edge_id=edge.id, seal_key=edge.public, doors=doors)

    async def tell(self, *consents: Any, n: int = 1, siblings: Any = None, **more: Any) -> None:
        """Give both edges their policies."""
        people = tuple(person(f"p{i}", under_14=i == 9) for i in (1, 2, 3, 9))
        named = (self.sibling(self.new, "d2", "d3"),) if siblings is None else siblings
        common: dict[str, Any] = {"people": people, "consents": consents, "n": n, **more}
        await self.old.policies.take(_for(self.old, policy(door("d1"), siblings=named, **common)))
        back = (self.sibling(self.old, "d1"),)
        await self.new.policies.take(_for(self.new, policy(door("d2"), door("d3"), siblings=back, **common)))

    async def copy(self, ticket: str = "t") -> tuple[Any, Any]:
        deadline = now() + timedelta(seconds=30)
        share = ShareTemplates(id="s1", to_edge=self.new.id, relay_ticket=ticket, deadline=deadline)
        adopt = AdoptTemplates(id="a1", from_edge=self.old.id, relay_ticket=ticket, deadline=deadline)
        return await self.old.sharing.share(share), await self.new.sharing.adopt(adopt)


def _for(edge: Edge, whole: Policy) -> Policy:
    return msgspec.structs.replace(whole, edge_id=edge.id)


def make(edge_id: str, folder: Path, *, spool: Spool, post: Post) -> Edge:
    keys, seal_key, changes = KeyStore(folder / edge_id), new_seal_key(), list[int]()
    policies = Policies(edge_id=edge_id, spool=spool, keys=keys)
    sharing = Sharing(
        edge_id=edge_id, clock=SteadyClock(), keys=keys, policies=policies, relay=post, seal_key=seal_key,
        on_change=lambda: changes.append(1), policy_wait_s=0.1,
    )  # fmt: skip
    return Edge(edge_id, keys, policies, sharing, seal_key, changes)


@pytest.fixture
async def site(tmp_path: Path) -> Any:
    post = Post()
    async with Spool(tmp_path / "old.db") as old, Spool(tmp_path / "new.db") as new:
        yield Site(make("edge-1", tmp_path, spool=old, post=post), make("edge-2", tmp_path, spool=new, post=post), post)


async def test_a_joining_edge_gets_what_its_doors_were_consented_to_and_proves_it(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    site.old.enrol("p2", "d1")
    site.old.enrol("p3", "d1", "d2", "d3")
    await site.tell(consent("p1", "d1", "d2"), consent("p2", "d1"), consent("p3", "d3"))
    shared, adopted = await site.copy()
    assert (shared.state, adopted.state) == ("confirmed", "confirmed")
    kept = {one.person_id: one for one in site.new.keys.sealed()}
    assert {person_id: one.doors for person_id, one in kept.items()} == {"p1": ("d2",), "p3": ("d3",)}
    assert {r.person_id: (r.edge_id, r.digest) for r in adopted.receipts} == {
        person_id: ("edge-2", one.digest) for person_id, one in kept.items()
    }
    assert np.array_equal(site.new.keys.open(kept["p1"]).embedding, FACE)
    assert site.new.changes == [1]


async def test_all_templates_of_a_person_travel_and_each_is_proved(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    (first,) = site.old.keys.sealed()
    site.old.keys.add(msgspec.structs.replace(site.old.keys.plain(first), embedding=(-FACE).tobytes()))
    await site.tell(consent("p1", "d1", "d2"))
    _, adopted = await site.copy()
    assert sorted(float(one.embedding[0]) for one in site.new.keys.open_all()) == [-1.0, 1.0]
    assert len({receipt.id for receipt in adopted.receipts}) == 2


async def test_what_passes_the_gateway_shows_nothing_and_opens_for_nobody_else(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    await site.tell(consent("p1", "d1", "d2"))
    await site.copy()
    carried = site.post.carried["t"]
    for form in (FACE.tobytes(), FACE.astype(np.float16).tobytes(), b"p1"):
        assert form[:16] not in carried
    about = b"\x1f".join((b"templates", b"s1", b"edge-1", b"edge-2"))
    assert unseal_from(carried, sender=site.old.public, to=site.new.seal_key, about=about)
    thief = new_seal_key()
    with pytest.raises(InvalidInput):
        unseal_from(carried, sender=site.old.public, to=thief, about=about)
    with pytest.raises(InvalidInput):
        unseal_from(carried, sender=public_seal_key(thief), to=site.new.seal_key, about=about)
    with pytest.raises(InvalidInput):
        unseal_from(carried, sender=site.old.public, to=site.new.seal_key, about=b"templates")


async def test_an_edge_that_lies_about_its_doors_gets_nothing_for_them(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    await site.tell(consent("p1", "d1", "d2"), siblings=(site.sibling(site.new, "d7"),))
    shared, adopted = await site.copy()
    assert (shared.state, shared.detail) == ("confirmed", "0 templates")
    assert adopted.receipts == ()
    assert site.new.keys.sealed() == ()


async def test_a_stranger_whom_a_command_names_is_no_sibling(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    for siblings in ((), (Sibling(edge_id="edge-2", seal_key="", doors=("d2",)),)):
        await site.tell(consent("p1", "d1", "d2"), siblings=siblings, n=2)
        shared, adopted = await site.copy()
        assert (shared.state, shared.reason) == ("refused", "no_sibling")
        assert site.post.carried == {}
        assert (adopted.state, adopted.reason) == ("refused", "no_relay")
    for key in ("no key", "AAAA"):
        await site.tell(siblings=(Sibling(edge_id="edge-2", seal_key=key, doors=("d2",)),), n=3)
        assert (await site.copy())[0].reason == "no_sibling"


@pytest.mark.parametrize(
    "ended",
    [
        {"withdrawn_at": now() - timedelta(minutes=1)}, {"expires_at": now() - timedelta(minutes=1)},
        {"superseded_at": now() - timedelta(minutes=1)}, {"purpose": "enrolment_photo"},
    ],
)  # fmt: skip
async def test_without_a_live_consent_nothing_is_given(site: Site, ended: dict[str, Any]) -> None:
    site.old.enrol("p1", "d1", "d2")
    await site.tell(msgspec.structs.replace(consent("p1", "d1", "d2"), **ended))
    assert (await site.copy())[0].detail == "0 templates"


async def test_a_child_is_copied_under_a_guardians_consent_only(site: Site) -> None:
    site.old.enrol("p9", "d1", "d2")
    await site.tell(consent("p9", "d1", "d2"))
    assert (await site.copy())[0].detail == "0 templates"
    await site.tell(consent("p9", "d1", "d2", guardian="yes"), n=2)
    assert (await site.copy("t2"))[0].detail == "1 templates"


async def test_who_was_erased_meanwhile_is_not_adopted(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    site.old.enrol("p2", "d1", "d2")
    await site.tell(consent("p1", "d1", "d2"), consent("p2", "d1", "d2"))
    site.new.keys.erase_all([], at=now(), tombstones=("p1",))
    _, adopted = await site.copy()
    assert [receipt.person_id for receipt in adopted.receipts] == ["p2"]
    await site.tell(consent("p1", "d1", "d2"), consent("p2", "d1", "d2"), n=2, tombstones=("p1", "p2"))
    assert (await site.copy("t2"))[0].detail == "0 templates"


async def test_what_is_held_already_is_not_replaced(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    site.new.enrol("p1", "d2")
    await site.tell(consent("p1", "d1", "d2"))
    before = site.new.keys.sealed()
    _, adopted = await site.copy()
    assert (adopted.state, adopted.receipts) == ("confirmed", ())
    assert site.new.keys.sealed() == before


async def test_what_was_changed_or_sealed_by_another_is_refused(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    await site.tell(consent("p1", "d1", "d2"))
    forged = Plain(
        person_id="p1", doors=("d2",), contract="m", consent_id="c", quality=1.0, at=now(), embedding=FACE.tobytes()
    )
    content = msgspec.msgpack.encode(Envelope(templates=(forged,)))
    about = b"\x1f".join((b"templates", b"s1", b"edge-1", b"edge-2"))
    by_gateway = seal_to(content, to=site.new.public, sender=new_seal_key(), about=about, nonce=secrets.token_bytes(12))
    for spoil in (lambda c: c[:-1] + bytes([c[-1] ^ 1]), lambda c: c[:20], lambda _: b"", lambda _: by_gateway):
        site.post.changed = spoil
        _, adopted = await site.copy()
        assert (adopted.state, adopted.reason) == ("refused", "forged")
    assert site.new.keys.sealed() == ()


async def test_an_envelope_gives_no_more_than_the_adopting_edges_own_policy_allows(site: Site) -> None:
    await site.tell(consent("p1", "d1", "d2"))
    wide = [
        Plain(
            person_id=who, doors=doors, contract="m", consent_id="c", quality=1.0, at=now(), embedding=embedding
        )
        for who, doors, embedding in (
            ("p1", ("d1", "d2", "d3"), FACE.tobytes()), ("p2", ("d2",), FACE.tobytes()),
            ("nobody", ("d2",), FACE.tobytes()), ("p3", ("d2",), b"short"),
        )
    ]  # fmt: skip
    about = b"\x1f".join((b"templates", b"s1", b"edge-1", b"edge-2"))
    content = msgspec.msgpack.encode(Envelope(templates=tuple(wide)))
    site.post.carried["t"] = seal_to(
        content, to=site.new.public, sender=site.old.seal_key, about=about, nonce=secrets.token_bytes(12)
    )
    adopt = AdoptTemplates(id="a", from_edge="edge-1", relay_ticket="t", deadline=now() + timedelta(seconds=30))
    result = await site.new.sharing.adopt(adopt)
    assert [(one.person_id, one.doors) for one in site.new.keys.sealed()] == [("p1", ("d2",))]
    assert result.detail == "1 of 4 templates"


async def test_a_relay_that_breaks_is_said(site: Site) -> None:
    await site.tell()
    site.post.fails = DeviceUnreachable("gateway", "relay: cut off")
    shared, _ = await site.copy()
    assert (shared.state, shared.reason) == ("failed", "not_ready")


async def test_a_restored_edge_gives_nothing_before_a_policy_judged_it(site: Site) -> None:
    site.old.enrol("p1", "d1", "d2")
    plain = site.old.keys.plain(site.old.keys.sealed()[0])
    site.old.keys.erase("p1", at=now())
    site.old.keys.restore([plain], tombstones=(), at=now() + timedelta(hours=1))
    await site.tell(consent("p1", "d1", "d2"))
    assert (await site.copy())[0].detail == "0 templates"
