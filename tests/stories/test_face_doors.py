"""A door and its faces with real processes: camera, eye, face process, worker, broker, door; the gateway is a double.

One edge lives through what its policy makes of a door: card and face, then evidence without liveness, then both, and
at last a face process that dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.rehearsal.processes import descendants
from models.calibration import ImpostorEvidence
from models.link import FaceStatus
from models.places import Camera
from models.policy import Policy
from tests.edge.doubles import card, consent, door, permit, person, pin, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.rig import Rig, open_rig
from tests.edge.test_faces_story import camera, enrol, photos, tell
from tests.models.test_calibration import counted

pytestmark = pytest.mark.slow
__all__ = ["photos"]

CARD, PIN = "7186A61E", "480213"
RESIDENT, RESIDENT_AT_DOOR, STRANGER_AT_DOOR = "obama.jpg", "obama2.jpg", "biden.jpg"
ALIVE = {"liveness": "device", "liveness_covers": ("print", "screen"), "liveness_basis": "report 7"}


def gate(url: str, n: int, *evidence: ImpostorEvidence, **of_door: Any) -> Policy:
    of_door.setdefault("factors", ("face+card", "pin"))
    return policy(
        door(camera_id="gate", **of_door),
        n=n,
        cameras=(
            Camera(id="gate", site_id="s1", name="gate", edge_id="edge-1", url=url, door_id="d1", min_eye_px=20.0),
        ),
        people=(person("p1"),),
        permits=(permit("p1"),),
        consents=(consent("p1"),),
        credentials=(card("p1", CARD), pin("p1", PIN)),
        calibrations=evidence,
    )


@contextlib.asynccontextmanager
async def edge(folder: Path, gateway: GatewayDouble) -> AsyncIterator[Rig]:
    async with open_rig(folder, gateway, edge={"faces": {"enabled": True, "profile": "calibrated"}}) as rig:
        await until(lambda: any("face networks ready" in line for line in rig.worker.lines), limit_s=60)
        await until(lambda: any(s.cameras and s.cameras[0].state == "live" for s in gateway.statuses), limit_s=30)
        yield rig


async def told(gateway: GatewayDouble, n: int) -> FaceStatus:
    """Return how the edge says that the door uses faces, once it lives by the policy `n`."""
    await until(lambda: gateway.statuses[-1].policy == (1, n), limit_s=10, what=f"policy {n} in force")
    face = gateway.statuses[-1].doors[0].face
    assert face is not None
    return face


async def test_card_and_face_then_the_face_alone_and_a_pin_when_the_face_process_dies(
    tmp_path: Path, photos: dict[str, Path]
) -> None:
    async with (
        camera() as (_, url, control),
        GatewayDouble(gate(url, 1)) as gateway,
        edge(tmp_path, gateway) as rig,
    ):
        gate_door = rig.doors["d1"]
        result = await enrol(gateway, photos[RESIDENT].read_bytes())
        assert result.receipt is not None, result

        # The card of the resident opens with the resident's face, and with nobody else's.
        await tell(control, camera="gate", scene="approach", portrait=str(photos[RESIDENT_AT_DOOR]))
        assert (await gate_door.request("button", None, reader="in", timeout_s=14)).feedback == "face_not_alone"
        opened = await gate_door.request("card", CARD, reader="in", timeout_s=14)
        assert opened.unlocked, (opened, rig.worker.lines[-20:])
        await until(lambda: len(gateway.of("access_granted")) == 1)
        fact = gateway.of("access_granted")[0]
        assert (fact["method"], fact["person_id"]) == ("face+card", "p1")
        assert (fact["evidence"]["mode"], fact["evidence"]["radius"]) == ("verified", 0.4)
        await tell(control, camera="gate", scene="approach", portrait=str(photos[STRANGER_AT_DOOR]))
        stolen = await gate_door.request("card", CARD, reader="in", timeout_s=14)
        assert stolen.feedback == "face_differs"

        # Evidence carries the gallery, and without liveness a face alone opens nothing all the same.
        evidence = counted(610, contract=result.receipt.contract)
        gateway.publish(gate(url, 2, evidence, factors=("face", "card")))
        assert (await told(gateway, 2)).use.why_not == ("no_liveness",)
        gateway.publish(gate(url, 3, evidence, factors=("face", "pin"), **ALIVE))
        use = (await told(gateway, 3)).use
        assert (use.alone, use.people, use.radius) == (True, 1, 0.45)
        await tell(control, camera="gate", scene="approach", portrait=str(photos[RESIDENT_AT_DOOR]))
        alone = await gate_door.request("button", None, reader="in", timeout_s=14)
        assert alone.unlocked, (alone, rig.worker.lines[-20:])
        await until(lambda: len(gateway.of("access_granted")) == 2)
        assert gateway.of("access_granted")[1]["evidence"]["mode"] == "identified"

        # Nobody waits for a face process that is gone.
        assert rig.worker.child is not None
        (faces,) = (pid for pid, words in descendants(rig.worker.child.pid).items() if "edge faces" in words)
        os.kill(faces, signal.SIGKILL)
        began = time.monotonic()
        without = await gate_door.request("pin", PIN, reader="in", timeout_s=5)
        assert (without.unlocked, time.monotonic() - began < 1.5) == (True, True)
