"""How edges and their devices stand: what they say, and what follows when one falls silent. Facts have their own way in."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from gateway.calibrating import CONTRACT_CHARS
from gateway.centre.events import Route
from gateway.erasing import erase_person
from gateway.intake import check_time, clear_and_tell, raise_and_tell
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.alerts import calling_doors, is_active
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.dialect import hold_feed
from gateway.store.edges import EdgeIdentity, edge_views, keep_edge_status
from gateway.store.erasures import record_tombstone
from gateway.store.feed import announce
from gateway.store.people import added_at, person_by_id, person_exists
from gateway.store.places import camera_views, door_views, mark_edge_devices_unseen, note_status
from gateway.store.policy import epoch_raised_at, renew_policy
from gateway.store.unlocks import confirm_by_lock
from models.alerts import SEVERITIES, Clear, Raise, alert_id
from models.errors import InvalidInput, NotFound
from models.link import EdgeStatus
from models.places import check_id

log = logging.getLogger(__name__)

EDGE_LOST_AFTER = timedelta(seconds=60)
HEED_FOR = timedelta(days=90)
"""How long after a restore an edge's word that somebody was erased is taken."""
TOMBSTONES_AT_ONCE = 400
MOST_ROWS = 2**62


def take_status(connection: Connection, told: EdgeStatus, *, edge: EdgeIdentity, runtime: Runtime) -> bool:
    """Keep what an edge says and announce the devices that changed; return whether anything was announced.

    Raises:
        InvalidInput: the edge speaks for another edge, or a time cannot be.
    """
    if told.edge_id != edge.id:
        raise InvalidInput("edge_id", f"edge {edge.id!r} cannot report for {told.edge_id!r}")
    for said in (told, *told.doors, *told.cameras, *((told.checkpoint,) if told.checkpoint else ())):
        check_time(said.at, where="at")
    if len(told.contract) > CONTRACT_CHARS:
        raise InvalidInput("contract", f"it has at most {CONTRACT_CHARS} characters")
    if told.restored_at is not None:
        check_time(told.restored_at, where="restored_at")
    if told.checkpoint is not None and not 0 <= told.checkpoint.seq < MOST_ROWS:
        raise InvalidInput("checkpoint.seq", "no audit log has so many rows")
    hold_feed(connection)
    at = runtime.clock()
    keep_edge_status(connection, told)
    doors = [device.door_id for device in told.doors if note_status(connection, device, edge=edge)]
    cameras = [device.camera_id for device in told.cameras if note_status(connection, device, edge=edge)]
    unlocked = [device.door_id for device in told.doors if device.lock == "unlocked"]
    if unlocked:
        confirm_by_lock(connection, unlocked, edge_id=edge.id, at=at)
    announce_devices(connection, doors=doors, cameras=cameras, at=at)
    clear_and_tell(connection, Clear(kinds=("edge_lost",), source_id=edge.id, at=at), at=at, routes=runtime.routes)
    _heed_tombstones(connection, told.tombstones, edge=edge, runtime=runtime)
    if told.restored_at is not None and told.restored_at <= at:
        renew_policy(connection, edge.id, since=told.restored_at)
    return bool(doors or cameras)


def _heed_tombstones(
    connection: Connection, person_ids: tuple[str, ...], *, edge: EdgeIdentity, runtime: Runtime
) -> None:
    """Erase again whom an edge knows as erased and a restored gateway does not; at other times an edge's word is not enough.

    Nor is it for somebody who was added after the restore: no old backup brought them back.
    """
    at = runtime.clock()
    restored_at = epoch_raised_at(connection)
    if not person_ids or restored_at is None or at - restored_at > HEED_FOR:
        return
    for person_id in person_ids[:TOMBSTONES_AT_ONCE]:
        check_id(person_id, "tombstones")
        try:
            person = person_by_id(connection, person_id, site_ids=frozenset({edge.site_id}))
        except NotFound:
            if not person_exists(connection, person_id):  # else it is somebody of another site
                _note_tombstone(connection, person_id, edge=edge, at=at)
            continue
        if added_at(connection, person_id) > restored_at:
            log.warning(
                "edge %s says that %s was erased, who was added after the restore: not heeded", edge.id, person_id
            )
            continue
        why = "an edge knows this person as erased; an old backup came back"
        erase_person(connection, person, actor=edge.id, reason=why, at=at, folder=runtime.data_dir)


def _note_tombstone(connection: Connection, person_id: str, *, edge: EdgeIdentity, at: datetime) -> None:
    if record_tombstone(connection, person_id, site_id=edge.site_id, at=at):
        entry = AuditEntry(
            actor=edge.id, action="person.tombstone", subject=person_id, reason="an edge knows it as erased"
        )
        append_audit(connection, entry, at=at)


def announce_devices(connection: Connection, *, doors: Iterable[str], cameras: Iterable[str], at: datetime) -> None:
    """Put doors and cameras as they stand now on the live feed."""
    door_ids, camera_ids = list(doors), list(cameras)
    for door in door_views(connection, door_ids, site_ids=None) if door_ids else ():
        announce(connection, "door", site_id=door.site_id, body=door, at=at)
    for camera in camera_views(connection, camera_ids, site_ids=None) if camera_ids else ():
        announce(connection, "camera", site_id=camera.site_id, body=camera, at=at)


def notice_silent_edges(connection: Connection, *, at: datetime, since: datetime, routes: tuple[Route, ...]) -> bool:
    """Raise an alert for each enrolled edge that fell silent, and show its devices as out of reach.

    Calls at its doors are over, and so are those of an edge that was revoked: no ring lasts that long, and nobody could answer.
    Silence counts from `since` at the earliest, when this gateway began to listen.
    """
    hold_feed(connection)
    noticed = False
    for edge in edge_views(connection, site_ids=None, at=at):
        heard_at = max(edge.seen_at or edge.enrolled_at, since)
        if edge.revoked_at is None and at - heard_at <= EDGE_LOST_AFTER:
            continue
        noticed |= _end_calls(connection, edge.id, at=at, routes=routes)
        if edge.revoked_at is not None:
            continue
        changed = mark_edge_devices_unseen(connection, edge.id, at=at)
        if not changed and not _newly_lost(connection, edge.id):
            continue
        doors = [key for kind, key in changed if kind == "door"]
        announce_devices(connection, doors=doors, cameras=[key for kind, key in changed if kind == "camera"], at=at)
        if _newly_lost(connection, edge.id):
            wanted = Raise(
                alert_id=alert_id(str(uuid.uuid4()), "edge_lost"), kind="edge_lost", severity=SEVERITIES["edge_lost"],
                source_id=edge.id, at=at, late=False, exercise=False,
            )  # fmt: skip
            raise_and_tell(connection, wanted, edge_site=edge.site_id, fact_id=None, at=at, routes=routes)
        noticed = True
    return noticed


def _end_calls(connection: Connection, edge_id: str, *, at: datetime, routes: tuple[Route, ...]) -> bool:
    calling = calling_doors(connection, edge_id)
    for door_id in calling:
        clear_and_tell(connection, Clear(kinds=("door_call",), source_id=door_id, at=at), at=at, routes=routes)
    return bool(calling)


def _newly_lost(connection: Connection, edge_id: str) -> bool:
    return not is_active(connection, "edge_lost", source_id=edge_id)
