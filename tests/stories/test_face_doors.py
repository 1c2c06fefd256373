"""A door and its faces with real processes: camera, eye, face process, worker, broker, door; the gateway is a double.

One edge lives through it all: a head that turns before the camera becomes templates and a picture held up becomes none,
then what its policy makes of the door: card and face, evidence without liveness, both, and a face process that dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from edge.keystore import KeyStore
from gateway.rehearsal.processes import descendants
from models.calibration import ImpostorEvidence
from models.link import EnrolAtDoor, FaceStatus, Result
from models.places import Camera
from models.policy import Policy
from tests.edge.doubles import card, consent, door, now, permit, person, pin, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.rig import Rig, open_rig
from tests.edge.test_faces_story import camera, enrol, photos, tell
from tests.models.faces.networks import constant, saved
from tests.models.test_calibration import counted

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(240)]
__all__ = ["photos"]

CARD, PIN = "7186A61E", "480213"
RESIDENT, RESIDENT_AT_DOOR, STRANGER_AT_DOOR = "obama.jpg", "obama2.jpg", "biden.jpg"
WALK = {"approach_s": 1.0, "stay_s": 7.0, "leave_s": 1.0}
STAYS = {"approach_s": 1.0, "stay_s": 9.0, "leave_s": 1.0, "near_px": 150.0}
HELD_UP = STAYS | {"stay_s": 6.0}
ALIVE = {"liveness": "model", "liveness_covers": ("print", "screen"), "liveness_basis": "report 7"}


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
    alive = saved(constant({"y": np.array([[5.0]], np.float32)}, takes=(1, 3, 80, 80)), folder, kind="liveness")
    network = {name: getattr(alive, name) for name in ("file", "sha256", "id", "kind", "licence")}
    faces = {"enabled": True, "profile": "calibrated", "models": {"liveness": network}}
    async with open_rig(folder, gateway, edge={"faces": faces}) as rig:
        await until(lambda: any("face networks ready" in line for line in rig.worker.lines), limit_s=60)
        await until(lambda: any(s.cameras and s.cameras[0].state == "live" for s in gateway.statuses), limit_s=30)
        yield rig


async def told(gateway: GatewayDouble, n: int) -> FaceStatus:
    """Return how the edge says that the door uses faces, once it lives by the policy `n`."""
    await until(lambda: gateway.statuses[-1].policy == (1, n), limit_s=10, what=f"policy {n} in force")
    face = gateway.statuses[-1].doors[0].face
    assert face is not None
    return face


@dataclass
class Street:
    """Hold one edge with a camera, before which portraits walk up to the door."""

    rig: Rig
    gateway: GatewayDouble
    url: str
    control: int
    photos: dict[str, Path]

    async def shows(self, scene: str, *, portrait: str, script: dict[str, float]) -> None:
        await tell(self.control, camera="gate", scene=scene, portrait=str(self.photos[portrait]), script=script)

    async def enrols(self, command_id: str, *, for_s: float) -> Result:
        """Order an enrolment at the door and return how it ended."""
        deadline = now() + timedelta(seconds=for_s)
        order = EnrolAtDoor(
            id=command_id, person_id="p1", consent_id="consent-p1", door_id="d1", pictures=3, deadline=deadline
        )
        await until(lambda: self.gateway.listeners > 0)
        self.gateway.send(order)

        def ended() -> list[Result]:
            return [result for result in self.gateway.results if result.command_id == command_id]

        await until(lambda: bool(ended()), limit_s=for_s + 5, what="the end of the enrolment")
        return ended()[0]

    async def asks(self, kind: str, value: str | None = None, *, portrait: str = "", timeout_s: float = 14) -> Any:
        """Let somebody walk up and act at the door; return how it answered."""
        if portrait:
            await self.shows("approach", portrait=portrait, script=WALK)
        return await self.rig.doors["d1"].request(kind, value, reader="in", timeout_s=timeout_s)

    async def granted(self, count: int) -> dict[str, Any]:
        """Return the newest of so many openings."""
        await until(lambda: len(self.gateway.of("access_granted")) == count)
        fact: dict[str, Any] = self.gateway.of("access_granted")[-1]
        return fact


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def street(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Path]) -> AsyncIterator[Street]:
    folder = tmp_path_factory.mktemp("doors")
    async with camera() as (_, url, control):
        first = gate(url, 1, factors=("face", "card"), liveness="parallax")
        async with GatewayDouble(first) as gateway, edge(folder, gateway) as rig:
            yield Street(rig, gateway, url, control, photos)


async def test_a_turning_head_is_enrolled_with_hints_and_a_picture_of_one_is_not(street: Street) -> None:
    await street.shows("print_moved", portrait=RESIDENT, script=HELD_UP)
    result = await street.enrols("held-up", for_s=6.0)
    assert (result.state, result.reason in {"not_live", "liveness_unclear"}) == ("refused", True), result

    await street.shows("head", portrait=RESIDENT, script=STAYS)
    result = await street.enrols("head", for_s=12.0)
    assert result.state == "confirmed", (result, street.gateway.progress)
    told = [one for one in street.gateway.progress if one.command_id == "head"]
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert {one.hint for one in told} >= {"taken"}
    keys = KeyStore(street.rig.folder / "edge")
    held = keys.open_all()
    assert [one.id for one in keys.sealed()] == [receipt.id for receipt in result.receipts]
    apart = [float(np.linalg.norm(one.embedding - held[0].embedding)) for one in held[1:]]
    assert all(0.0 < distance < 0.55 for distance in apart), apart
    files = [path for path in street.rig.folder.rglob("*") if path.is_file()]
    for template in held:
        for form in (template.embedding.tobytes(), template.embedding.astype(np.float16).tobytes()):
            assert not [path for path in files if form[:32] in path.read_bytes()]
    assert not [path for path in files if path.read_bytes().startswith((b"\xff\xd8\xff", b"\x89PNG"))]


async def test_card_and_face_then_the_face_alone_and_a_pin_when_the_face_process_dies(street: Street) -> None:
    street.gateway.publish(gate(street.url, 2))
    assert (await told(street.gateway, 2)).use.why_not != ()
    result = await enrol(street.gateway, street.photos[RESIDENT].read_bytes())
    assert result.receipt is not None, result
    await opens_with_the_holders_face_only(street)
    await opens_alone_once_evidence_and_liveness_carry(street, contract=result.receipt.contract)
    await opens_by_pin_while_the_face_process_is_dead(street)


async def opens_with_the_holders_face_only(street: Street) -> None:
    assert (await street.asks("button", portrait=RESIDENT_AT_DOOR)).feedback == "face_not_alone"
    opened = await street.asks("card", CARD)
    assert opened.unlocked, (opened, street.rig.worker.lines[-20:])
    fact = await street.granted(1)
    assert (fact["method"], fact["person_id"]) == ("face+card", "p1")
    assert (fact["evidence"]["mode"], fact["evidence"]["radius"]) == ("verified", 0.4)
    assert (await street.asks("card", CARD, portrait=STRANGER_AT_DOOR)).feedback == "face_differs"


async def opens_alone_once_evidence_and_liveness_carry(street: Street, *, contract: str) -> None:
    evidence = counted(610, contract=contract)
    street.gateway.publish(gate(street.url, 3, evidence, factors=("face", "card")))
    assert (await told(street.gateway, 3)).use.why_not == ("no_liveness",)
    street.gateway.publish(gate(street.url, 4, evidence, factors=("face", "pin"), **ALIVE))
    use = (await told(street.gateway, 4)).use
    assert (use.alone, use.people, use.radius) == (True, 1, 0.45)
    opened = await street.asks("button", portrait=RESIDENT_AT_DOOR)
    assert opened.unlocked, (opened, street.rig.worker.lines[-20:])
    evidence_told = (await street.granted(2))["evidence"]
    assert (evidence_told["mode"], evidence_told["liveness"]["provider"]) == ("identified", "model")


async def opens_by_pin_while_the_face_process_is_dead(street: Street) -> None:
    assert street.rig.worker.child is not None
    worker = street.rig.worker.child.pid
    (faces,) = (pid for pid, words in descendants(worker).items() if "edge faces" in words)
    os.kill(faces, signal.SIGKILL)
    began = time.monotonic()
    assert (await street.asks("pin", PIN, timeout_s=5)).unlocked
    assert time.monotonic() - began < 1.5
