"""Query parameters that no operation knows are refused by name: a filter that is not there must not look as if it held."""

from __future__ import annotations

import re
from typing import Any

import httpx

from gateway.api.application import application
from gateway.runtime import Runtime

LENIENT = {"/api/v1/live"}


async def test_an_unknown_filter_is_refused_with_the_known_ones(manager: httpx.AsyncClient) -> None:
    answer = await manager.get("/api/v1/facts", params={"door": "gate", "type": "door_opened", "when": "now"})
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, told["code"], told["where"]) == (422, "invalid_input", "query.door")
    assert [fault["where"] for fault in told["errors"]] == ["query.door", "query.when"]
    assert "cursor, limit, source_id, type" in told["detail"]
    assert (await manager.get("/api/v1/facts", params={"source_id": "gate"})).status_code == 200


async def test_every_operation_refuses_what_it_does_not_know(url: str, runtime: Runtime) -> None:
    document = application(runtime).openapi()["paths"]
    lenient = set()
    async with httpx.AsyncClient(base_url=url, trust_env=False) as nobody:
        for path, item in document.items():
            for method in item:
                answer = await nobody.request(method, re.sub(r"{\w+}", "x", path), params={"nobody_knows": "1"})
                if (answer.status_code, answer.json().get("where")) != (422, "query.nobody_knows"):
                    lenient.add(path)
    assert lenient == LENIENT


async def test_names_from_outside_are_cut_and_counted(manager: httpx.AsyncClient) -> None:
    many = {f"{'x' * 300}{number}": "1" for number in range(100)}
    told = (await manager.get("/api/v1/doors", params=many)).json()
    assert len(told["errors"]) == 20
    assert max(len(fault["where"]) for fault in told["errors"]) == len("query.") + 64
    assert "no query parameters" in told["detail"]


async def test_pages_probes_and_edges_take_what_they_do_not_know(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as nobody:
        for path in ("/", "/healthz", "/edge/v1/policy"):
            asked = await nobody.get(path, params={"nobody_knows": "1"})
            assert asked.status_code == (await nobody.get(path)).status_code != 422, path
