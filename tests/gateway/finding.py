"""What tests of found devices share: a device with a camera and a door, and a manager's desk with an edge that answers."""

from __future__ import annotations

from typing import Any

import httpx

from gateway.runtime import Runtime
from gateway.store.edges import waiting_commands
from gateway.store.policy import current_policy
from models.device_orders import Discover, InstallKey, ProbeDevice, TryPart
from models.devices import Candidate, Part
from models.link import Result
from models.policy import Policy
from tests.gateway.support import EDGE, SigningEdge

WHY = {"Gatehouse-Reason": "adoption"}
SECRET = "s3cret-of-the-device"
URL = "http://192.0.2.9/onvif/device_service"
PIN = "ab" * 32
EYE = Part(id="eye", kind="camera", name="Gate", url="rtsp://192.0.2.9/sub", main_url="rtsp://192.0.2.9/main",
           settings={"kind": "onvif", "url": URL, "source": "s0"})  # fmt: skip
FRONT = Part(id="front", kind="door", name="Front", settings={"kind": "onvif", "url": URL, "door": "front"})
DEVICE = Candidate(
    id="onvif-7", wire="onvif", address=URL, reach="known", maker="M", model="X1", serial="7", parts=(EYE, FRONT)
)


class Desk:
    """A manager and an edge: orders go out, results come in."""

    def __init__(self, client: httpx.AsyncClient, edge: SigningEdge, runtime: Runtime) -> None:
        self.client, self.edge, self.runtime = client, edge, runtime

    async def call(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = await self.client.request(method, f"/api/v1/devices{path}", headers=WHY, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def order(self) -> Discover | ProbeDevice | TryPart | InstallKey:
        order = self.runtime.store.read_now(waiting_commands, EDGE, at=self.runtime.clock())[-1]
        assert isinstance(order, Discover | ProbeDevice | TryPart | InstallKey)
        return order

    async def ends(self, state: str = "confirmed", **more: Any) -> dict[str, Any]:
        """Let the newest order end and return how it stands."""
        order = self.order()
        result = Result(command_id=order.id, state=state, at=self.edge.clock(), **more)  # type: ignore[arg-type]
        assert (await self.edge.send("POST", "/edge/v1/results", result)).status_code == 204
        shown: dict[str, Any] = await self.call("GET", f"/orders/{order.id}")
        return shown

    async def found(self, *candidates: Candidate) -> str:
        """Let a search find devices; return the id of the first."""
        await self.call("POST", "/discover", 202, json={"edge_id": EDGE})
        return str((await self.ends(candidates=candidates))["devices"][0])

    async def known(self, candidate: Candidate = DEVICE) -> str:
        """Let a device be asked with credentials that open it; return its id."""
        body = {"edge_id": EDGE, "wire": "onvif", "address": URL, "user": "admin", "password": SECRET}
        await self.call("POST", "/probe", 202, json=body)
        return str((await self.ends(candidates=(candidate,)))["devices"][0])

    def policy(self) -> Policy:
        return self.runtime.store.write_now(current_policy, EDGE, site_id="a", at=self.runtime.clock())
