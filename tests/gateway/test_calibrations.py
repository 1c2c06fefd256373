"""Counted evidence of false matches: from labelled photos and from edges, kept, shown, and put into policies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from gateway.store.calibrations import CONTRACTS_MOST, KEPT_EACH, calibrations_of, evidence_of, keep_calibration
from gateway.store.policy import current_policy
from models.calibration import STEPS, ImpostorEvidence, rule_of_three
from models.errors import GatehouseError
from models.link import CountImpostors, EdgeStatus, Result
from models.policy import Policy
from tests.gateway.support import BEGINNING, EDGE, Clock, SigningEdge, listening, machine_token

PATH = "/api/v1/sites/a/calibrations"
on_one_database = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
CONTRACT = "dlib-resnet-v1/128/euclidean/sha256:0123"


def evidence(evidence_id: str = "cal-1", *, persons: int = 610, **more: Any) -> ImpostorEvidence:
    pairs = persons * (persons - 1) // 2
    known: dict[str, Any] = {"contract": CONTRACT, "source": "labelled", "at": BEGINNING} | more
    return ImpostorEvidence(
        id=evidence_id, persons=persons, pairs=pairs, matched=(0,) * STEPS, upper=(rule_of_three(pairs),) * STEPS,
        **known,
    )  # fmt: skip


def body(evidence_id: str = "cal-1", **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(evidence(evidence_id))
    return told | more


async def policy_of(edge: SigningEdge) -> Policy:
    return msgspec.json.decode((await edge.send("GET", "/edge/v1/policy")).content, type=Policy)


async def ordered(edge: SigningEdge, url: str) -> CountImpostors:
    async with listening(url, "/edge/v1/commands", headers=edge.headers("GET", "/edge/v1/commands")) as ear:
        while (heard := await ear.next()).name != "command":
            pass
    return msgspec.json.decode(heard.data, type=CountImpostors)


async def test_what_labelled_photos_prove_reaches_every_edge_of_the_site(
    manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime
) -> None:
    answer = await manager.post(PATH, json=body())
    assert answer.status_code == 201, answer.text
    kept = answer.json()
    radii = {one["people"]: one["radius"] for one in kept["carries"]}
    assert radii == {12: 0.45, 60: 0.45, 200: 0.0, 1000: 0.0, 5000: 0.0}
    (told,) = (await policy_of(edge)).calibrations
    assert (told.id, told.contract, told.pairs, told.edge_id) == (kept["id"], CONTRACT, 610 * 609 // 2, "")
    other = runtime.store.write_now(current_policy, "edge-9", site_id="b", at=BEGINNING)
    assert other.calibrations == (), "another site knows nothing of it"
    (row,) = [row for row in await runtime.store.read(audit_rows) if row.action == "calibration.add"]
    assert (row.subject, row.detail["persons"], row.detail["pairs"]) == (kept["id"], "610", "185745")


@on_one_database
async def test_the_same_file_is_added_to_a_site_once_and_to_another_site_too(
    manager: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    assert (await manager.post(PATH, json=body())).status_code == 201
    again = await manager.post(PATH, json=body())
    assert (again.status_code, "here already" in again.json()["detail"]) == (409, True)
    assert (await other.post("/api/v1/sites/b/calibrations", json=body())).status_code == 201
    assert (await other.get(PATH)).status_code == 404
    assert (await other.post(PATH, json=body())).status_code == 404


@on_one_database
async def test_evidence_that_cannot_be_true_is_refused(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    tomorrow = (BEGINNING + timedelta(days=1)).isoformat()
    changes: tuple[dict[str, Any], ...] = (
        {"pairs": 10**9}, {"persons": 1}, {"matched": [0] * 59}, {"matched": [1] + [0] * 59}, {"upper": [1e-9] * STEPS},
        {"source": "site"}, {"edge_id": EDGE}, {"contract": "a\u0007b"}, {"contract": "x" * 161}, {"id": "../x"},
        {"at": tomorrow}, {"more": 1},
    )  # fmt: skip
    sent = [msgspec.json.encode(body(**change)) for change in changes]
    sent.append(sent[0].replace(b'"upper":[', b'"upper":[NaN,'))
    for content in sent:
        answer = await manager.post(PATH, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, content
    assert runtime.store.read_now(evidence_of, "a") == ()


async def test_an_edge_is_sent_the_evidence_of_the_contract_that_it_compares_under(
    edge: SigningEdge, manager: httpx.AsyncClient, clock: Clock
) -> None:
    for key, contract in (("old", "old-network"), ("new", "new-network")):
        assert (await manager.post(PATH, json=body(key, contract=contract))).status_code == 201

    async def sent(**more: Any) -> list[str]:
        status = EdgeStatus(
            edge_id=EDGE, at=clock(), backlog=0, doors=(), cameras=(), counters={}, policy=(0, 0), **more
        )
        assert (await edge.send("POST", "/edge/v1/status", status)).status_code == 204
        return sorted(one.contract for one in (await policy_of(edge)).calibrations)

    assert await sent() == ["new-network", "old-network"], "an older edge does not say"
    assert await sent(contract="old-network") == ["old-network"]
    assert await sent(contract="new-network") == ["new-network"]
    assert await sent(contract="another") == []
    long = EdgeStatus(
        edge_id=EDGE, at=clock(), backlog=0, doors=(), cameras=(), counters={}, policy=(0, 0), contract="x" * 161
    )
    assert (await edge.send("POST", "/edge/v1/status", long)).status_code == 422


async def test_an_edge_is_asked_to_count_and_its_counts_come_into_its_policy_only(
    manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime, url: str
) -> None:
    asked = await manager.post(f"{PATH}/count")
    assert asked.status_code == 202, asked.text
    assert [(one["edge_id"], one["state"]) for one in asked.json()["items"]] == [(EDGE, "waiting")]
    command = await ordered(edge, url)
    counted = evidence("cal-site", persons=40, source="site", edge_id=EDGE)
    result = Result(command_id=command.id, state="confirmed", at=BEGINNING, evidence=counted)
    assert (await edge.send("POST", "/edge/v1/results", result)).status_code == 204
    (done,) = (await manager.get(f"{PATH}/count")).json()["items"]
    assert (done["state"], done["calibration_id"]) == ("confirmed", "cal-site")
    assert [one.id for one in (await policy_of(edge)).calibrations] == ["cal-site"]
    assert runtime.store.write_now(current_policy, "edge-2", site_id="a", at=BEGINNING).calibrations == ()
    rows = {row.action: row for row in await runtime.store.read(audit_rows)}
    assert (rows["calibration.count"].actor, rows["calibration.count"].subject) == ("u-manager", "a")
    assert rows["calibration.counted"].actor == EDGE


@on_one_database
async def test_a_second_order_waits_for_the_first_and_one_that_nobody_takes_up_ends(
    manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime, clock: Clock
) -> None:
    for _ in range(2):
        await manager.post(f"{PATH}/count")
    rows = [row for row in await runtime.store.read(audit_rows) if row.action == "calibration.count"]
    assert [row.detail["ordered"] for row in rows] == ["0", "1"]
    clock.turn(minutes=6)
    (ended,) = (await manager.get(f"{PATH}/count")).json()["items"]
    assert ended["state"] == "no_answer"


@on_one_database
async def test_an_edges_refusal_says_why(manager: httpx.AsyncClient, edge: SigningEdge, url: str) -> None:
    await manager.post(f"{PATH}/count")
    command = await ordered(edge, url)
    refusal = Result(command_id=command.id, state="refused", reason="too_few_people", detail="1 enrolled", at=BEGINNING)
    await edge.send("POST", "/edge/v1/results", refusal)
    (ended,) = (await manager.get(f"{PATH}/count")).json()["items"]
    assert (ended["state"], ended["reason"], ended["calibration_id"]) == ("refused", "too_few_people", None)
    assert (await manager.get(PATH)).json()["items"] == []


@on_one_database
async def test_counts_that_an_edge_cannot_have_made_are_refused(
    manager: httpx.AsyncClient, edge: SigningEdge, url: str, runtime: Runtime
) -> None:
    await manager.post(f"{PATH}/count")
    command = await ordered(edge, url)
    changes: tuple[dict[str, Any], ...] = (
        {"edge_id": "edge-2"}, {"source": "labelled"}, {"id": ".."}, {"contract": ""}, {"pairs": 10**6}
    )  # fmt: skip
    for change in changes:
        forged = msgspec.structs.replace(evidence("cal-x", persons=40, source="site", edge_id=EDGE), **change)
        result = Result(command_id=command.id, state="confirmed", at=BEGINNING, evidence=forged)
        assert (await edge.send("POST", "/edge/v1/results", result)).status_code == 422
    assert runtime.store.read_now(evidence_of, "a") == ()


@on_one_database
async def test_nobody_counts_where_no_edge_is(other: httpx.AsyncClient) -> None:
    answer = await other.post("/api/v1/sites/b/calibrations/count")
    assert (answer.status_code, "enrol one" in answer.json()["detail"]) == (409, True)


async def test_the_newest_count_holds_and_the_one_before_it_after_its_removal(
    manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime
) -> None:
    first = (await manager.post(PATH, json=body("one"))).json()
    newer = (BEGINNING + timedelta(minutes=1)).isoformat()
    second = (await manager.post(PATH, json=body("two", at=newer))).json()
    listed = {one["id"]: one["in_force"] for one in (await manager.get(PATH)).json()["items"]}
    assert listed == {first["id"]: False, second["id"]: True}
    assert [one.id for one in (await policy_of(edge)).calibrations] == [second["id"]]
    assert (await manager.delete(f"{PATH}/{second['id']}")).status_code == 204
    assert [one.id for one in (await policy_of(edge)).calibrations] == [first["id"]]
    assert (await manager.delete(f"{PATH}/{second['id']}")).status_code == 404
    assert "calibration.remove" in {row.action for row in await runtime.store.read(audit_rows)}


@on_one_database
async def test_operators_see_calibrations_and_change_none(operator: httpx.AsyncClient) -> None:
    assert (await operator.get(PATH)).status_code == 200
    for answer in (
        await operator.post(PATH, json=body()),
        await operator.post(f"{PATH}/count"),
        await operator.delete(f"{PATH}/cal-1"),
    ):
        assert answer.status_code == 403


@on_one_database
async def test_a_site_holds_labelled_evidence_of_so_many_contracts_only(
    manager: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime
) -> None:
    for n in range(CONTRACTS_MOST):
        runtime.store.write_now(keep_calibration, evidence(f"cal-{n}", contract=f"contract-{n}"), site_id="a")
    runtime.store.write_now(keep_calibration, evidence("site", contract="x", source="site", edge_id=EDGE), site_id="a")
    refused = await manager.post(PATH, json=body("more", contract="one-more"))
    assert (refused.status_code, "remove that of one" in refused.json()["detail"]) == (409, True)
    assert (await manager.post(PATH, json=body("again", contract="contract-3"))).status_code == 201
    assert (await manager.delete(f"{PATH}/cal-7")).status_code == 204
    assert (await manager.post(PATH, json=body("more", contract="one-more"))).status_code == 201
    assert len((await policy_of(edge)).calibrations) == CONTRACTS_MOST + 1


def test_old_counts_go_and_a_page_ends_where_it_says(runtime: Runtime) -> None:
    for n in range(KEPT_EACH + 3):
        at = BEGINNING + timedelta(minutes=n)
        runtime.store.write_now(keep_calibration, evidence(f"cal-{n:02}", at=at), site_id="a")
    runtime.store.write_now(keep_calibration, evidence("other", contract="another"), site_id="a")
    found = runtime.store.read_now(calibrations_of, "a", after="cal-05", limit=100)
    assert [one.id for one in found][:1] == ["cal-06"]
    kept = runtime.store.read_now(calibrations_of, "a", after="", limit=100)
    assert [one.id for one in kept][:1] == ["cal-03"]
    assert sorted(one.id for one in kept if one.in_force) == [f"cal-{KEPT_EACH + 2}", "other"]


@pytest.fixture
def shell(url: str, runtime: Runtime, clock: Clock) -> Callable[..., Any]:
    """Return a function that runs `gatehouse calibration …` on a thread and returns its exit status and output."""
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock)}

    async def run(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["calibration", *arguments], env=environment)
        if isinstance(done.exception, GatehouseError):
            raise done.exception
        return done.exit_code, done.stdout.strip()

    return run


@on_one_database
async def test_evidence_is_added_listed_counted_and_removed_from_the_shell(
    shell: Callable[..., Any], edge: SigningEdge, clock: Clock, *, tmp_path: Path, url: str
) -> None:
    assert await shell("list", "a") == (0, "nothing was counted yet")
    file = tmp_path / "evidence.json"
    file.write_bytes(msgspec.json.encode(evidence()))
    status, told = await shell("add", "a", str(file))
    assert status == 0
    assert "labelled photos, 610 persons, 185,745 pairs, in force; radius by people: 12: 0.45; 60: 0.45" in told
    assert "5000: none, 14,992,501 pairs are needed" in told
    assert await shell("remove", "a", told.split()[0]) == (0, "removed")
    counting = asyncio.create_task(shell("count", "a"))
    command = await ordered(edge, url)
    counted = evidence("cal-site", persons=40, source="site", edge_id=EDGE)
    result = Result(command_id=command.id, state="confirmed", at=BEGINNING, evidence=counted)
    assert (await edge.send("POST", "/edge/v1/results", result)).status_code == 204
    assert await counting == (0, f"{EDGE}: counted, cal-site")
    assert (await shell("list", "a"))[1].startswith(f"cal-site  {EDGE}, 40 persons, 780 pairs, in force")
    clock.turn(seconds=1)
    assert await shell("count", "a", "--for", "0") == (1, f"{EDGE}: has not answered yet")


@on_one_database
async def test_files_that_hold_no_evidence_are_refused(shell: Callable[..., Any], tmp_path: Path) -> None:
    broken, large = tmp_path / "broken.json", tmp_path / "large.json"
    broken.write_text("{")
    large.write_text(" " * 70_000)
    for file, what in ((broken, "evaluate faces"), (large, "more than"), (tmp_path / "none.json", "cannot be read")):
        with pytest.raises(GatehouseError, match=what):
            await shell("add", "a", str(file))
