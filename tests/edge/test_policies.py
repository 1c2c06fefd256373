"""Policies: newer only, for this edge only, kept sealed, and wrong doors left out."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.responses import Response

from edge.keystore import KeyStore
from edge.policies import KEY, Policies, PolicyAnswer
from edge.spool import Spool
from models.errors import DeviceRefused, InvalidInput, StorageUnavailable
from models.link import policy_statement
from models.policy import Policy, delta_between
from tests.edge.doubles import EDGE, card, door, now, permit, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.linked import linked


async def test_a_policy_survives_a_restart_sealed(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    async with Spool(tmp_path / "s.db") as spool:
        policies = Policies(edge_id=EDGE, spool=spool, keys=keys)
        assert await policies.load() is None
        assert await policies.take(policy(door("a-door-with-a-long-name"), n=3)) is not None
        stored = await spool.recall(KEY)
        assert stored is not None
        assert b"a-door-with" not in stored
    async with Spool(tmp_path / "s.db") as spool:
        again = Policies(edge_id=EDGE, spool=spool, keys=KeyStore(tmp_path))
        loaded = await again.load()
        assert loaded is not None
        assert loaded.n == 3


async def test_lower_versions_and_other_edges_policies_are_refused(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        policies = Policies(edge_id=EDGE, spool=spool, keys=KeyStore(tmp_path))
        await policies.take(policy(n=5))
        assert await policies.take(policy(n=4)) is None
        assert await policies.take(msgspec.structs.replace(policy(n=9), edge_id="else")) is None
        assert await policies.take(msgspec.structs.replace(policy(n=1), epoch=2)) is not None
        assert policies.current is not None
        assert (policies.current.epoch, policies.current.n) == (2, 1)


async def test_a_stored_policy_that_does_not_open_is_left(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        policies = Policies(edge_id=EDGE, spool=spool, keys=KeyStore(tmp_path))
        await spool.remember(KEY, b"changed by somebody")
        assert await policies.load() is None
        assert policies.usable_doors() == ()
        assert not policies.carries_faces(now())


async def test_a_door_whose_rules_are_not_allowed_is_not_served(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        policies = Policies(edge_id=EDGE, spool=spool, keys=KeyStore(tmp_path))
        await policies.take(policy(door("good"), door("bad", factors=("face",), camera_id="c")))
        assert [d.id for d in policies.usable_doors()] == ["good"]
        assert policies.carries_faces(now())
        assert not policies.carries_faces(now() + timedelta(days=8))


def test_a_sealed_policy_opens_only_as_one(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    sealed = keys.seal_file(b"x", about="policy")
    with pytest.raises(InvalidInput):
        keys.unseal_file(sealed, about="template")


GATEWAY = Ed25519PrivateKey.generate()
PINNED = base64.b64encode(GATEWAY.public_key().public_bytes_raw()).decode()


def answer(body: bytes, *, kind: Literal["full", "delta"] = "full", signed_for: str = EDGE) -> PolicyAnswer:
    signature = base64.b64encode(GATEWAY.sign(policy_statement(signed_for, body))).decode()
    return PolicyAnswer(kind=kind, body=body, signature=signature)


@contextlib.asynccontextmanager
async def opened(folder: Path, *, pinned: str = PINNED) -> AsyncIterator[Policies]:
    async with Spool(folder / "s.db") as spool:
        yield Policies(edge_id=EDGE, spool=spool, keys=KeyStore(folder), gateway_key=lambda: pinned)


async def test_a_policy_counts_only_under_the_pinned_key_for_this_edge_and_unchanged(tmp_path: Path) -> None:
    good = answer(msgspec.json.encode(policy(n=1)))
    wrong = [
        msgspec.structs.replace(good, body=good.body.replace(b'"n":1', b'"n":9')),
        msgspec.structs.replace(good, signature=base64.b64encode(bytes(64)).decode()),
        msgspec.structs.replace(good, signature="no base64!"),
        msgspec.structs.replace(good, signature=""),
        answer(good.body, signed_for="edge-2"),
    ]
    async with opened(tmp_path) as policies:
        for one in wrong:
            with pytest.raises(DeviceRefused, match="pinned"):
                await policies.receive(one)
        assert policies.current is None
        assert await policies.receive(good) is not None
    async with opened(tmp_path / "unpinned", pinned="") as policies:
        with pytest.raises(DeviceRefused):
            await policies.receive(good)


async def test_a_replayed_policy_of_before_is_refused_though_it_was_signed(tmp_path: Path) -> None:
    old, new = (answer(msgspec.json.encode(policy(n=n))) for n in (1, 2))
    async with opened(tmp_path) as policies:
        await policies.receive(new)
        assert await policies.receive(old) is None
        assert policies.current is not None
        assert policies.current.n == 2


async def test_a_difference_leads_to_the_policy_that_it_says(tmp_path: Path) -> None:
    old = policy(door(), n=1, permits=(permit("p1"), permit("p2")))
    new = policy(door(), n=2, permits=(permit("p2"), permit("p3")), credentials=(card("p3", "AB"),))
    delta = msgspec.json.encode(delta_between(old, new))
    async with opened(tmp_path) as policies:
        with pytest.raises(InvalidInput, match="whole"):
            await policies.receive(answer(delta, kind="delta"))
        await policies.receive(answer(msgspec.json.encode(old)))
        accepted = await policies.receive(answer(delta, kind="delta"))
        assert msgspec.json.encode(accepted) == msgspec.json.encode(new)
        with pytest.raises(InvalidInput, match="another policy"):
            await policies.receive(answer(delta, kind="delta"))


async def test_a_difference_that_leads_elsewhere_changes_nothing(tmp_path: Path) -> None:
    old, new = policy(n=1), policy(n=2, permits=(permit("p1"),))
    delta = delta_between(old, new)
    async with opened(tmp_path) as policies:
        await policies.receive(answer(msgspec.json.encode(old)))
        for broken in (msgspec.structs.replace(delta, digest="00"), msgspec.structs.replace(delta, changed={})):
            with pytest.raises(InvalidInput, match="whole"):
                await policies.receive(answer(msgspec.json.encode(broken), kind="delta"))
        with pytest.raises(InvalidInput, match="read"):
            await policies.receive(answer(b"{", kind="delta"))
        assert policies.current is not None
        assert policies.current.n == 1


async def test_consents_are_judged_by_the_gateways_time_where_ours_is_behind(tmp_path: Path) -> None:
    async with opened(tmp_path) as policies:
        assert policies.time(now()) <= now()
        ahead = msgspec.structs.replace(policy(), issued_at=now() + timedelta(minutes=4))
        await policies.take(ahead)
        assert policies.time(now()) == ahead.issued_at
        assert policies.time(now() + timedelta(hours=1)) > ahead.issued_at


async def test_changes_come_as_differences_and_the_whole_comes_where_one_does_not_fit(tmp_path: Path) -> None:
    def spoil(whole: Response) -> Response:
        if whole.headers.get("Gatehouse-Policy") == "delta" and gateway.policy.n == 3:
            elsewhere = msgspec.json.encode(delta_between(gateway.policy, policy(n=99)))
            signature = gateway.key.sign(policy_statement(EDGE, elsewhere))
            headers = {**whole.headers, "gatehouse-policy-signature": base64.b64encode(signature).decode()}
            del headers["content-length"]
            return Response(elsewhere, headers=headers)
        return whole

    gateway = GatewayDouble(policy(door()), policy_answer=spoil)
    async with gateway, linked(tmp_path, gateway) as side:
        await until(lambda: len(side.policies) == 1 and gateway.listeners == 1)
        for n in (2, 3):
            gateway.publish(policy(door(), n=n, permits=tuple(permit(f"p{i}") for i in range(n))))
            await until(lambda: side.held.current == gateway.policy)
        assert gateway.kinds_sent == ["full", "delta", "delta", "full"]
        assert side.uplink.counters["policies_misfit"] == 1


async def test_a_forged_answer_is_counted_and_the_policy_of_before_goes_on(tmp_path: Path) -> None:
    def forge(whole: Response) -> Response:
        if gateway.policy.n > 1:
            whole.headers["Gatehouse-Policy-Signature"] = base64.b64encode(bytes(64)).decode()
        return whole

    gateway = GatewayDouble(policy(door()), policy_answer=forge)
    async with gateway, linked(tmp_path, gateway) as side:
        await until(lambda: len(side.policies) == 1 and gateway.listeners == 1)
        gateway.publish(policy(n=2))
        await until(lambda: side.uplink.counters.get("policies_forged", 0) >= 1)
        assert side.held.current is not None
        assert side.held.current.n == 1


async def test_after_a_restart_the_edge_asks_for_what_changed_since(tmp_path: Path) -> None:
    async with GatewayDouble(policy(door())) as gateway:
        async with linked(tmp_path, gateway) as side:
            await until(lambda: len(side.policies) == 1)
        gateway.publish(policy(door(), n=2))
        async with linked(tmp_path, gateway) as side:
            await until(lambda: side.held.current == gateway.policy)
        assert gateway.kinds_sent == ["full", "delta"]


async def test_a_policy_that_could_not_be_stored_is_in_force_and_asked_for_again_as_a_whole(tmp_path: Path) -> None:
    full = [True]

    async with GatewayDouble(policy(door())) as gateway, linked(tmp_path, gateway, start=False) as side:
        receive = side.held.receive

        async def on_a_full_disk(answer: PolicyAnswer) -> Policy | None:
            taken = await receive(answer)
            if full:
                full.clear()
                raise StorageUnavailable("the disk is full")
            return taken

        side.held.receive = on_a_full_disk  # type: ignore[method-assign]
        with pytest.raises(StorageUnavailable):
            await side.uplink._fetch_policy()
        assert side.held.current == gateway.policy
        await side.uplink._fetch_policy()
        await side.uplink._fetch_policy()
        assert gateway.kinds_sent == ["full", "full"]
        assert gateway.answered == 3


async def test_whom_the_gateway_forgot_to_have_erased_is_told(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    keys.erase_all([], at=now(), tombstones=("p1", "p2"))
    async with Spool(tmp_path / "s.db") as spool:
        policies = Policies(edge_id=EDGE, spool=spool, keys=keys)
        assert policies.forgotten() == ()
        await policies.take(policy(tombstones=("p2",)))
        assert policies.forgotten() == ("p1",)
