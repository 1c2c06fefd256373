"""Enrolment at a door with real processes: camera, eye, face process and worker; the gateway is a double.

A head that turns becomes templates, with hints on the way; a picture of one that is held up becomes none; and nothing
of either is found in any file afterwards.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.keystore import KeyStore
from models.link import EnrolAtDoor, Result
from models.places import Camera
from models.policy import Policy
from tests.edge.doubles import consent, door, now, person, policy, until
from tests.edge.gateway_double import GatewayDouble
from tests.edge.test_faces_story import camera, face_rig, photos, tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
__all__ = ["photos"]

STAYS = {"approach_s": 1.0, "stay_s": 9.0, "leave_s": 1.0, "near_px": 150.0}


def gate(url: str) -> Policy:
    seen_by = Camera(id="gate", site_id="s1", name="gate", edge_id="edge-1", url=url, door_id="d1")
    return policy(
        door(factors=("face", "card"), camera_id="gate", liveness="parallax"), cameras=(seen_by,),
        people=(person("p1"),), consents=(consent("p1"),),
    )  # fmt: skip


async def enrolled(gateway: GatewayDouble, command_id: str, *, for_s: float) -> Result:
    """Order an enrolment at the door and return how it ended."""
    deadline = now() + timedelta(seconds=for_s)
    order = EnrolAtDoor(
        id=command_id, person_id="p1", consent_id="consent-p1", door_id="d1", pictures=3, deadline=deadline
    )
    await until(lambda: gateway.listeners > 0)
    gateway.send(order)

    def ended() -> list[Result]:
        return [result for result in gateway.results if result.command_id == command_id]

    await until(lambda: bool(ended()), limit_s=for_s + 5, what="the end of the enrolment")
    return ended()[0]


async def test_a_turning_head_is_enrolled_with_hints_and_a_picture_of_one_is_not(
    tmp_path: Path, photos: dict[str, Path]
) -> None:
    async with camera() as (_, url, control), GatewayDouble(gate(url)) as gateway, face_rig(tmp_path, gateway):
        about: dict[str, Any] = {"camera": "gate", "portrait": str(photos["obama.jpg"]), "script": STAYS}
        await tell(control, scene="print_moved", **about)
        result = await enrolled(gateway, "held-up", for_s=9.0)
        assert (result.state, result.reason in {"not_live", "liveness_unclear"}) == ("refused", True), result

        await tell(control, scene="head", **about)
        result = await enrolled(gateway, "head", for_s=12.0)
        assert result.state == "confirmed", (result, gateway.progress)
        told = [one for one in gateway.progress if one.command_id == "head"]
        assert [one.done for one in told] == sorted(one.done for one in told)
        assert {one.hint for one in told} >= {"taken"}
        keys = KeyStore(tmp_path / "edge")
        held = keys.open_all()
        assert [one.id for one in keys.sealed()] == [receipt.id for receipt in result.receipts]
        apart = [float(np.linalg.norm(one.embedding - held[0].embedding)) for one in held[1:]]
        assert all(0.0 < distance < 0.55 for distance in apart), apart
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        for template in held:
            for form in (template.embedding.tobytes(), template.embedding.astype(np.float16).tobytes()):
                assert not [path for path in files if form[:32] in path.read_bytes()]
        assert not [path for path in files if path.read_bytes().startswith((b"\xff\xd8\xff", b"\x89PNG"))]
