"""Driver sections are judged before they are kept: by the API, in a process that may fail and then says so."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx
import pytest

from gateway.driver_checks import NotJudged, judged
from gateway.runtime import Runtime
from gateway.store.places import door_by_id
from models.driver_checks import Section
from tests.gateway.placing import API, made
from tests.gateway.support import EDGE

KEY = "5ec4e75ec4e75ec4e75ec4e75ec4e75e"
LINE: dict[str, Any] = {"kind": "osdp", "port": "/dev/ttyUSB0", "address": 1, "key": KEY}
GATE = Section(id="gate", part="driver", edge="edge-1", settings={"kind": "onvif"})


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def test_only_sections_that_something_is_to_be_said_of_have_a_verdict() -> None:
    right = Section(id="right", part="driver", edge="edge-1", settings={"kind": "mqtt"})
    (verdict,) = judged([right, GATE])
    assert (verdict.id, [error.what for error in verdict.errors]) == ("gate", ["'url' is missing: add it"])
    assert judged([]) == []


@pytest.mark.parametrize(("argv", "why"), [
    (python("import time; time.sleep(60)"), "no answer within 1 s"),
    (("/nowhere/python",), "No such file"),
    (python("print('{')"), "cannot be read"),
    (python("pass"), "before it had judged all"),
    (python("import sys; sys.exit(3)"), "status 3"),
])  # fmt: skip
def test_a_check_that_cannot_run_says_so(argv: tuple[str, ...], why: str) -> None:
    with pytest.raises(NotJudged, match=why) as caught:
        judged([GATE], argv=argv, limit_s=1.0)
    assert "nothing was stored" in caught.value.told


def test_many_sections_may_take_longer_than_one() -> None:
    slow = 'import sys, time; lines = sys.stdin.readlines(); time.sleep(1.2); print(\'{"id":"gate","part":"driver"}\')'
    with pytest.raises(NotJudged, match="no answer within 0 s"):
        judged([GATE], argv=python(slow), limit_s=0.2)
    assert judged([GATE] * 2000, argv=python(slow), limit_s=0.2) == []


async def test_a_repeated_request_for_a_door_is_answered_as_the_first_was_also_when_nothing_can_be_judged(
    manager: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"id": "new", "name": "New", "edge_id": EDGE, "driver": LINE}
    device = {"kind": "onvif", "url": "http://192.0.2.9/onvif/device_service"}
    eye = {"id": "eye", "name": "Eye", "edge_id": EDGE, "url": "rtsp://192.0.2.9/s", "device": device}
    sent = {"/doors": body, "/cameras": eye}
    for path, wanted in sent.items():
        first = await manager.post(f"{API}{path}", json=wanted, headers={"Idempotency-Key": f"once{path}"})
        assert first.status_code == 201, first.text
    monkeypatch.setattr(asyncio, "to_thread", _away)
    for path, wanted in sent.items():
        again = await manager.post(f"{API}{path}", json=wanted, headers={"Idempotency-Key": f"once{path}"})
        assert (again.status_code, again.headers.get("Idempotent-Replayed")) == (201, "true")


async def _away(*_given: object) -> None:
    raise NotJudged("no answer within 20 s")


async def test_a_door_whose_driver_no_edge_could_use_is_not_made(manager: httpx.AsyncClient, runtime: Runtime) -> None:
    body = {"id": "new", "name": "New", "edge_id": EDGE, "driver": LINE | {"address": 300}}
    answer = await manager.post(f"{API}/doors", json=body)
    assert (answer.status_code, answer.json()["where"]) == (422, "driver.address")
    assert KEY not in answer.text
    assert (await manager.get(f"{API}/doors/new")).status_code == 404
    await made(manager, "/doors", body | {"driver": {"kind": "acme-boards"}})
    assert (await runtime.store.read(door_by_id, "new")).driver == {"kind": "acme-boards"}, "it may be at its edge"


async def test_a_door_is_changed_with_the_key_that_is_kept_and_not_to_what_is_wrong(manager: httpx.AsyncClient) -> None:
    await made(manager, "/doors", {"id": "new", "name": "New", "edge_id": EDGE, "driver": LINE})
    target, bare = f"{API}/doors/new/settings", {name: value for name, value in LINE.items() if name != "key"}
    assert (await manager.patch(target, json={"driver": bare | {"strike": 0}})).status_code == 200
    answer = await manager.patch(target, json={"driver": bare | {"strike": 0, "key": None}})
    assert (answer.status_code, answer.json()["where"]) == (422, "driver.readers.key")
    answer = await manager.patch(target, json={"driver": {"kind": "mqqt"}})
    assert (answer.status_code, answer.json()["where"]) == (422, "driver.kind")
    assert (await manager.get(target)).json()["driver"]["strike"] == 0


async def test_a_camera_whose_device_no_edge_could_use_is_not_made(manager: httpx.AsyncClient) -> None:
    device = {"kind": "onvif", "url": "http://192.0.2.9/onvif/device_service"}
    body = {"id": "new", "name": "New", "edge_id": EDGE, "url": "rtsp://192.0.2.9/s", "device": device | {"prest": "1"}}
    answer = await manager.post(f"{API}/cameras", json=body)
    assert (answer.status_code, answer.json()["where"]) == (422, "device.prest")
    await made(manager, "/cameras", body | {"device": device})
    answer = await manager.patch(f"{API}/cameras/new/settings", json={"device": {"kind": "rtsp"}})
    assert (answer.status_code, answer.json()["where"]) == (422, "device.kind")
