"""The restore drill: a gateway is lost, its backup comes back elsewhere, edges go on, and erased people stay erased."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from gateway.backup.sealing import Identity
from gateway.rehearsal.district.postgres import temporary_postgres
from models.events import DoorForced
from models.link import EdgeStatus
from models.policy import Policy
from tests.gateway.support import SigningEdge
from tests.stories.served import PASSWORD, Seed, Served, gatehouse, seeded, until

GONE, STAYS = "p-gone", "p-stays"
NAMES = {GONE: "Zhuge Liangxin", STAYS: "Sima Yizhong"}
OWNER = Identity.generate()


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """Return a gateway's data with a site and a manager."""
    folder = tmp_path_factory.mktemp("seed")
    found = seeded(folder)
    config, password = folder / "gatehouse.yaml", str(folder / "password")
    gatehouse("user", "add", "wang", "--role", "manager", "--password-file", password, config=config)
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the address of the database of the new machine; empty is SQLite in its folder."""
    if request.param == "sqlite":
        yield ""
        return
    with temporary_postgres() as url:
        if url is None:
            pytest.skip("PostgreSQL is not installed: run `make setup` as root")
        yield url


@pytest.fixture
async def old(tmp_path: Path, seed: Seed) -> AsyncIterator[Served]:
    """Yield the gateway that will be lost."""
    (tmp_path / "old").mkdir()
    served = Served(tmp_path / "old", seed)
    await served.start()
    yield served
    await served.kill()


@contextlib.asynccontextmanager
async def manager(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Log in as the manager for the length of the block."""
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        answer = await client.post("/api/v1/session", json={"username": "wang", "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        yield client


def clock() -> datetime:
    return datetime.now(UTC)


async def policy_of(edge: SigningEdge) -> Policy:
    answer = await edge.send("GET", "/edge/v1/policy")
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Policy)


async def at_work(old: Served) -> SigningEdge:
    """Let two people move in and an edge report an alarm; return the edge."""
    async with manager(old.url) as client:
        for person_id, name in NAMES.items():
            body = {"id": person_id, "name": name, "phone": "13912345678"}
            answer = await client.post("/api/v1/people", json=body)
            assert answer.status_code == 201, answer.text
            permit = await client.post(f"/api/v1/people/{person_id}/permits", json={"doors": ["east"]})
            assert permit.status_code == 201, permit.text
    edge = SigningEdge(old.url, clock)  # type: ignore[arg-type]
    body = {"token": old.edge_token, "edge_id": edge.id, "name": "box", "public_key": edge.public_key}
    answer = await edge.client.post("/edge/v1/enrol", json=body)
    assert answer.status_code == 201, answer.text
    (await edge.report(DoorForced(id=str(uuid.uuid4()), at=clock(), door_id="east"))).raise_for_status()
    return edge


def write_backup(served: Served, file: Path) -> dict[str, Any]:
    told = gatehouse("backup", str(file), "--to", str(OWNER.to_public()), "--json", config=served.config)
    record: dict[str, Any] = json.loads(told)
    return record


def new_machine(folder: Path, old: Served, *, database: str) -> Served:
    """Return a gateway that has the old one's address and nothing of its data."""
    (folder / "nothing").mkdir(parents=True)
    made = Served(folder, Seed(data=folder / "nothing", edge_token=""))
    settings = yaml.safe_load(old.config.read_text("utf-8"))
    settings["gateway"] |= {"data_dir": str(folder / "data"), "database": database}
    made.config.write_text(yaml.safe_dump(settings), "utf-8")
    made.url = old.url
    return made


def bring_back(served: Served, file: Path, identity: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(
        gatehouse("restore", str(file), "--identity", str(identity), "--json", config=served.config)
    )
    return record


def owners_key(folder: Path) -> Path:
    (folder / "owner.key").write_text(f"# created for a drill\n{OWNER}\n")
    return folder / "owner.key"


async def test_a_lost_gateway_comes_back_and_whom_it_had_erased_stays_erased(
    old: Served, elsewhere: str, tmp_path: Path
) -> None:
    edge = await at_work(old)
    made = write_backup(old, tmp_path / "backup.age")
    assert made["keys"] == ["master.key", "identity.key"]
    verified = subprocess.run(
        [sys.executable, "-m", "gateway", "verify-backup", str(tmp_path / "backup.age"), "-i", str(owners_key(tmp_path))],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    assert "unbroken" in verified.stdout
    async with manager(old.url) as client:
        assert (await client.delete(f"/api/v1/people/{GONE}")).status_code == 200
    before = await policy_of(edge)
    assert GONE in before.tombstones
    await old.kill()  # the machine is lost; the log of the erased was kept elsewhere

    served = new_machine(tmp_path / "new", old, database=elsewhere)
    (tmp_path / "new" / "data").mkdir(exist_ok=True)
    shutil.copy(tmp_path / "old" / "data" / "tombstones.log", tmp_path / "new" / "data" / "tombstones.log")
    done = bring_back(served, tmp_path / "backup.age", tmp_path / "owner.key")
    assert done["erased_again"] == 1
    await served.start()
    try:
        async with manager(served.url) as client:
            assert (await client.get(f"/api/v1/people/{GONE}")).status_code == 404
            found = await client.get(f"/api/v1/people/{STAYS}")
            assert (found.status_code, found.json()["name"]) == (200, NAMES[STAYS])
            alerts = (await client.get("/api/v1/alerts")).json()["items"]
            assert [alert["kind"] for alert in alerts] == ["door_forced"]
        after = await policy_of(edge)  # the same key: nobody enrols again
        assert after.epoch == done["epoch"] > before.epoch
        assert {member.id for member in after.people} == {STAYS}
        assert GONE in after.tombstones
        assert "unbroken" in gatehouse("verify-audit", config=served.config)
    finally:
        await served.kill()
        await edge.client.aclose()


async def test_an_edge_remembers_whom_a_new_machine_forgot(old: Served, tmp_path: Path) -> None:
    edge = await at_work(old)
    write_backup(old, tmp_path / "backup.age")
    async with manager(old.url) as client:
        assert (await client.delete(f"/api/v1/people/{GONE}")).status_code == 200
    await old.kill()

    served = new_machine(tmp_path / "new", old, database="")
    assert bring_back(served, tmp_path / "backup.age", owners_key(tmp_path))["erased_again"] == 0
    await served.start()
    try:
        async with manager(served.url) as client:
            assert (await client.get(f"/api/v1/people/{GONE}")).status_code == 200, "nobody here knows better yet"
            status = EdgeStatus(
                edge_id=edge.id, at=clock(), backlog=0, doors=(), cameras=(), counters={}, policy=(1, 1),
                tombstones=(GONE,),
            )  # fmt: skip
            (await edge.send("POST", "/edge/v1/status", status)).raise_for_status()

            async def forgotten() -> bool:
                return (await client.get(f"/api/v1/people/{GONE}")).status_code == 404

            await until(forgotten, what="the edge's word counts", within_s=10)
        assert GONE in (await policy_of(edge)).tombstones
    finally:
        await served.kill()
        await edge.client.aclose()


async def test_a_restore_that_fails_can_be_done_again(old: Served, tmp_path: Path) -> None:
    edge = await at_work(old)
    await edge.client.aclose()
    write_backup(old, tmp_path / "backup.age")
    await old.kill()
    served = new_machine(tmp_path / "new", old, database="")
    content = (tmp_path / "backup.age").read_bytes()
    (tmp_path / "cut.age").write_bytes(content[: len(content) // 2])
    command = [sys.executable, "-m", "gateway", "restore", str(tmp_path / "cut.age"), "-i", str(owners_key(tmp_path))]
    failed = subprocess.run(
        [*command, "--config", str(served.config)], capture_output=True, text=True, timeout=60, check=False
    )
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "new" / "data" / "master.key").exists()
    assert bring_back(served, tmp_path / "backup.age", tmp_path / "owner.key")["rows"] > 10
    twice = subprocess.run(
        [*command[:4], str(tmp_path / "backup.age"), *command[5:], "--config", str(served.config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (twice.returncode, "in use" in twice.stderr) == (1, True)
