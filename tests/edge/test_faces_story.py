"""Path 1 with real processes: RTSP camera, eye, face process, worker, broker, door; enrolled from another photo."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.portraits import portraits
from edge.keystore import Content
from models.errors import GatehouseError
from models.link import EnrolFace
from models.places import Camera
from models.policy import Policy
from tests.edge.doubles import consent, door, now, permit, person, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.rig import Process, Rig, open_rig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos() -> dict[str, Path]:
    try:
        return portraits()
    except GatehouseError as error:
        pytest.skip(str(error))


@contextlib.asynccontextmanager
async def camera(**orders: Any) -> AsyncIterator[tuple[Process, str, int]]:
    """Run a simulated camera; yield its process, its URL and its control port."""
    process = Process(["drivers", "simulate", "camera", "--port", "0", "--path", "gate"])
    await process.start(limit_s=60)
    ready = json.loads(next(line for line in process.lines if '"ready"' in line))
    try:
        yield process, ready["urls"]["gate"] if "urls" in ready else ready["cameras"]["gate"], _port(ready["control"])
    finally:
        await process.stop()


def _port(control: str) -> int:
    return int(control.rsplit(":", 1)[1])


async def tell(port: int, **order: Any) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(json.dumps(order).encode() + b"\n")
    answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    assert answer["ok"], answer
    begun = max(answer.get("starts_at") or 0.0, answer.get("near_at") or 0.0)
    await until(lambda: time.time() > begun + 0.7, limit_s=20, what="the scene at the door")
    return answer


def face_policy(url: str, *, n: int = 1, **more: Any) -> Policy:
    gate = Camera(id="gate", site_id="s1", name="gate", edge_id="edge-1", url=url, door_id="d1", min_eye_px=20.0)
    return policy(
        door(factors=("face", "card"), camera_id="gate"),
        n=n,
        cameras=(gate,),
        people=(person("p1"),),
        permits=(permit("p1"),),
        consents=more.pop("consents", (consent("p1"),)),
        **more,
    )


@contextlib.asynccontextmanager
async def face_rig(folder: Path, gateway: GatewayDouble) -> AsyncIterator[Rig]:
    (folder / "edge").mkdir()
    (folder / "edge" / "DEMO").write_text("")
    faces = {"faces": {"enabled": True, "profile": "demo"}}
    async with open_rig(folder, gateway, edge=faces) as rig:
        await until(
            lambda: any(s.cameras and s.cameras[0].state == "live" for s in gateway.statuses),
            limit_s=30,
            what="the camera live",
        )
        await until(lambda: any("face networks ready" in line for line in rig.worker.lines), limit_s=60)
        await until(lambda: any(s.doors and s.doors[0].online for s in gateway.statuses))
        yield rig


async def enrol(gateway: GatewayDouble, photo: bytes, *, command_id: str = "e1", consent_id: str = "consent-p1") -> Any:
    gateway.photos[command_id] = photo
    deadline = now() + timedelta(seconds=20)
    await until(lambda: gateway.listeners > 0)
    gateway.send(
        EnrolFace(id=command_id, person_id="p1", consent_id=consent_id, relay_ticket=command_id, deadline=deadline)
    )
    await until(lambda: any(r.command_id == command_id for r in gateway.results), limit_s=25, what="the result")
    return next(r for r in gateway.results if r.command_id == command_id)


async def test_a_resident_is_let_in_by_face_a_stranger_is_not_and_withdrawal_stops_it(
    tmp_path: Path, photos: dict[str, Path]
) -> None:
    async with (
        camera() as (_, url, control),
        GatewayDouble(face_policy(url)) as gateway,
        face_rig(tmp_path, gateway) as rig,
    ):
        result = await enrol(gateway, photos["obama.jpg"].read_bytes())
        assert result.state == "confirmed", result
        assert result.receipt is not None
        await tell(control, camera="gate", scene="approach", portrait=str(photos["obama2.jpg"]))
        opened = await rig.doors["d1"].request("button", None, reader="in", timeout_s=14)
        assert opened.unlocked, (opened, rig.worker.lines[-20:])
        await until(lambda: len(gateway.of("access_granted")) == 1)
        granted = gateway.of("access_granted")[0]
        assert (granted["method"], granted["person_id"]) == ("face", "p1")
        assert granted["evidence"]["distance"] <= 0.40

        await tell(control, camera="gate", scene="approach", portrait=str(photos["biden.jpg"]))
        refused = await rig.doors["d1"].request("button", None, reader="in", timeout_s=14)
        assert refused.feedback == "not_recognised"

        withdrawn = msgspec.structs.replace(consent("p1"), withdrawn_at=now())
        gateway.publish(face_policy(url, n=2, consents=(withdrawn,)))
        await until(lambda: any(s.policy == (1, 2) for s in gateway.statuses), limit_s=5)
        await tell(control, camera="gate", scene="approach", portrait=str(photos["obama2.jpg"]))
        after = await rig.doors["d1"].request("button", None, reader="in", timeout_s=14)
        assert not after.unlocked
        stored = msgspec.msgpack.decode((tmp_path / "edge" / "keystore.bin").read_bytes(), type=Content)
        assert (stored.templates, stored.keys) == ((), {})
        assert [(one.person_id, one.templates) for one in stored.erased] == [("p1", 1)]
