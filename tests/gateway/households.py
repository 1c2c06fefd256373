"""What tests about households share: flats and a group at site a, and short calls of the API."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.places import put_door, put_flat
from gateway.store.policy import current_policy
from gateway.store.schedules import put_group
from models.people import Group
from models.places import Door, Flat
from models.policy import Policy
from models.rights import Rights
from tests.gateway.support import EDGE


def add_flats(runtime: Runtime) -> None:
    """Write two flats of site a whose people may pass its doors, one of site b, and a door of another edge of site a."""

    def write(connection: Connection) -> None:
        put_group(connection, Group(id="homes", site_id="a", name="Homes", doors=("gate", "side")))
        for number in ("101", "102"):
            put_flat(
                connection,
                Flat(
                    id=f"f{number}", site_id="a", building="1", unit="1", room=number, keypad=number, groups=("homes",)
                ),
            )
        put_flat(connection, Flat(id="far-flat", site_id="b", building="1", unit="1", room="1"))
        put_door(connection, Door(id="pool", site_id="a", name="Pool", edge_id="edge-2", factors=("card", "qr")))

    runtime.store.write_now(write)


def policy_of(runtime: Runtime, edge_id: str = EDGE) -> Policy:
    """Return the policy that an edge of site a would be given now."""
    return runtime.store.write_now(current_policy, edge_id, site_id="a", at=runtime.clock())


def refusal(runtime: Runtime, person_id: str, *, door_id: str = "gate", edge_id: str = EDGE) -> str | None:
    """Return why an edge would refuse a person now, or None: read from the policy's bytes, as the edge does."""
    policy = msgspec.json.decode(msgspec.json.encode(policy_of(runtime, edge_id)), type=Policy)
    return Rights.of(policy).person_refusal(person_id, door_id, at=runtime.clock(), clock_trusted=True)


async def call(client: httpx.AsyncClient, method: str, path: str, status: int = 200, **what: Any) -> Any:
    """Call the API, insist on a status and return the answer's JSON (or the answer, if it has none)."""
    answer = await client.request(method, f"/api/v1/{path}", **what)
    assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else answer
