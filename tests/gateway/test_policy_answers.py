"""Answers to an edge that asks for its policy: signed, whole or as a delta, packed where large, with the newest checkpoint."""

from __future__ import annotations

import base64
from datetime import datetime

import httpx
import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import insert, select, update

from gateway.runtime import Runtime
from gateway.store import Connection, Store
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.checkpoints import make_checkpoint
from gateway.store.consents import add_consent, withdraw_consent
from gateway.store.people import add_person, note_activity
from gateway.store.places import put_site
from gateway.store.policy_writes import PolicyWrites
from gateway.store.rights import add_permit
from gateway.store.tables_people import people, tombstones
from models.link import Checkpoint, policy_statement
from models.people import Consent, Permit, Person
from models.places import Site
from models.policy import Policy, PolicyDelta, apply_delta
from tests.gateway.support import BEGINNING, Clock, Ear, SigningEdge, listening

AT = BEGINNING


async def test_a_policy_is_signed_by_the_gateway_for_one_edge_and_carries_the_checkpoint(
    edge: SigningEdge, runtime: Runtime, clock: Clock
) -> None:
    point = runtime.store.write_now(make_checkpoint, runtime.gateway_key, at=clock())
    answer = await edge.send("GET", "/edge/v1/policy")
    assert answer.headers["Gatehouse-Policy"] == "full"
    assert msgspec.json.decode(answer.headers["Gatehouse-Checkpoint"], type=Checkpoint) == point
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(runtime.gateway_key.public_key))
    signature = base64.b64decode(answer.headers["Gatehouse-Policy-Signature"])
    key.verify(signature, policy_statement(edge.id, answer.content))
    for other in (policy_statement("edge-2", answer.content), policy_statement(edge.id, answer.content[:-1] + b" ")):
        with pytest.raises(InvalidSignature):
            key.verify(signature, other)


async def test_an_edge_is_sent_a_delta_from_what_it_holds_and_the_whole_if_that_is_unknown(
    edge: SigningEdge, runtime: Runtime
) -> None:
    first = msgspec.json.decode((await edge.send("GET", "/edge/v1/policy")).content, type=Policy)
    held = f"/edge/v1/policy?since={first.epoch}.{first.n}"
    same = await edge.send("GET", held)
    assert (same.status_code, same.content) == (304, b"")
    runtime.store.write_now(add_person, Person(id="p1", site_id="a", name="Lin Yue"), at=AT)
    runtime.store.write_now(add_permit, Permit(id="pt", person_id="p1", doors=("gate",)), at=AT)
    changed = await edge.send("GET", held)
    assert changed.headers["Gatehouse-Policy"] == "delta"
    after = apply_delta(first, msgspec.json.decode(changed.content, type=PolicyDelta))
    assert [permit.id for permit in after.permits] == ["pt"]
    for unknown in ("?since=1.99", "?since=9.1", ""):
        whole = await edge.send("GET", f"/edge/v1/policy{unknown}")
        assert whole.headers["Gatehouse-Policy"] == "full"
        assert msgspec.json.decode(whole.content, type=Policy) == after
    assert (await edge.send("GET", "/edge/v1/policy?since=one")).status_code == 422


async def test_a_large_policy_comes_packed_to_whom_takes_that_and_its_signature_is_over_the_body(
    edge: SigningEdge, runtime: Runtime
) -> None:
    rows = [{"person_id": f"p-{number:032}", "site_id": "a", "erased_at": AT} for number in range(2000)]
    runtime.store.write_now(lambda c: c.execute(insert(tombstones), rows))
    packed = await edge.send("GET", "/edge/v1/policy")
    plain = await edge.send("GET", "/edge/v1/policy", **{"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 4
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(runtime.gateway_key.public_key))
    key.verify(
        base64.b64decode(packed.headers["Gatehouse-Policy-Signature"]), policy_statement(edge.id, packed.content)
    )


async def test_a_withdrawal_reaches_an_open_edge_within_a_second_whoever_wrote_it_down(
    edge: SigningEdge, manager: httpx.AsyncClient, *, runtime: Runtime, store: Store, clock: Clock
) -> None:
    for person_id in ("p1", "p2"):
        runtime.store.write_now(add_person, Person(id=person_id, site_id="a", name="Lin Yue"), at=AT)
        consent = Consent(
            id=f"c-{person_id}", person_id=person_id, doors=("gate",), text_version="1", text_sha256="ab", given_at=AT,
            channel="office", evidence="folder",
        )  # fmt: skip
        runtime.store.write_now(add_consent, consent)
    held = msgspec.json.decode((await edge.send("GET", "/edge/v1/policy")).content, type=Policy)
    target = "/edge/v1/commands"

    async def told(policy: Policy, ear: Ear) -> Policy:
        while (await ear.next(within_s=2)).name != "policy":
            continue
        answer = await edge.send("GET", f"/edge/v1/policy?since={policy.epoch}.{policy.n}")
        assert answer.headers["Gatehouse-Policy"] == "delta"
        return apply_delta(policy, msgspec.json.decode(answer.content, type=PolicyDelta))

    async with listening(str(edge.client.base_url), target, headers=edge.headers("GET", target)) as ear:
        await ear.next()
        answer = await manager.delete("/api/v1/people/p1/consents/c-p1")
        assert answer.status_code in {200, 204}, answer.text
        held = await told(held, ear)
        assert [one.live(clock()) for one in held.consents] == [False, True]
        elsewhere = Store(store.engine.url.render_as_string(hide_password=False))
        try:
            elsewhere.write_now(_withdraw, "c-p2", person_id="p2", at=clock())
        finally:
            elsewhere.close()
        held = await told(held, ear)
        assert [one.live(clock()) for one in held.consents] == [False, False]


def _withdraw(connection: Connection, consent_id: str, *, person_id: str, at: datetime) -> None:
    withdraw_consent(connection, consent_id, person_id=person_id, at=at)
    append_audit(connection, AuditEntry(actor="system", action="consent.withdraw", subject=person_id), at=at)


def test_a_passage_makes_no_policy_be_read_anew_but_a_change_of_the_person_does(store: Store) -> None:
    person = Person(id="p1", site_id="a", name="Lin Yue")
    store.write_now(put_site, Site(id="a", name="Site a", community="310104005012"))
    store.write_now(add_person, person, at=AT)
    writes = PolicyWrites(store.engine)
    before = writes.stamp({"people"})
    store.write_now(note_activity, "p1", site_id="a", at=AT)
    assert store.read_now(lambda c: c.execute(select(people.c.active_at)).scalar()) == AT
    assert writes.stamp({"people"}) == before
    store.write_now(lambda c: c.execute(update(people).values(under_14=True)))
    assert writes.stamp({"people"}) != before
