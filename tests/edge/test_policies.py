"""Policies: newer only, for this edge only, kept sealed, and wrong doors left out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from edge.keystore import KeyStore
from edge.policies import KEY, Policies
from edge.spool import Spool
from models.errors import InvalidInput
from tests.edge.doubles import EDGE, door, now, policy


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
