"""Tell a centre each minute that a site lives, and daily or on change what it has. Missed ones are not made up for."""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime, timedelta

import msgspec

from gateway.centre.events import CloudEvent, HeartbeatData, InventoryData, site_event
from gateway.centre.post import Sender
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.edges import edge_views
from gateway.store.outbox import pause_of, sequence_of
from gateway.store.places import camera_views, door_views
from gateway.store.scopes import sites_in

INVENTORY_EVERY = timedelta(days=1)


class Pulse:
    """Send heartbeats and inventories to one centre."""

    def __init__(self, runtime: Runtime, centre_id: str, *, sender: Sender) -> None:
        self._runtime = runtime
        self._centre_id = centre_id
        self._sender = sender
        self._told: dict[str, tuple[str, datetime]] = {}

    async def beat(self) -> int:
        """Send what is due now; return how many messages the centre took."""
        at = self._runtime.clock()
        if await self._runtime.store.read(pause_of, self._centre_id) is not None:
            return 0
        events = await self._runtime.store.read(self._due, at=at)
        taken = 0
        for event in events:
            outcome = await self._sender.post(event.id, msgspec.json.encode(event), at=at)
            taken += outcome.state == "delivered"
            if outcome.state != "delivered":
                self._told.pop(event.data.site, None)
        return taken

    def _due(self, connection: Connection, *, at: datetime) -> list[CloudEvent]:
        sites = sites_in(connection, site_ids=("*",), area_codes=())
        events = []
        for site_id in sorted(sites):
            number = sequence_of(connection, self._centre_id, site_id=site_id)
            edges = edge_views(connection, site_ids=frozenset({site_id}), at=at)
            alive = [edge for edge in edges if edge.revoked_at is None]
            beat = HeartbeatData(
                site=site_id, edges=len(alive), edges_online=sum(edge.online for edge in alive), last_sequence=number
            )
            events.append(site_event("heartbeat", beat, event_id=str(uuid.uuid4()), sequence=number, at=at))
            inventory = _inventory(connection, site_id)
            digest = hashlib.sha256(msgspec.json.encode(inventory)).hexdigest()
            told = self._told.get(site_id)
            if told is None or told[0] != digest or at - told[1] >= INVENTORY_EVERY:
                self._told[site_id] = (digest, at)
                events.append(site_event("inventory", inventory, event_id=str(uuid.uuid4()), sequence=number, at=at))
        return events


def _inventory(connection: Connection, site_id: str) -> InventoryData:
    sites = frozenset({site_id})
    return InventoryData(
        site=site_id,
        doors=tuple({"id": door.id, "name": door.name} for door in door_views(connection, site_ids=sites)),
        cameras=tuple({"id": camera.id, "name": camera.name} for camera in camera_views(connection, site_ids=sites)),
    )
