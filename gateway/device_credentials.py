"""What becomes of credentials that opened a device: kept for it, and handed to doors and cameras here only on somebody's word."""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.devices_found import (
    Credentials,
    KeptDevice,
    credentials_of,
    device_by_id,
    doors_naming,
    hand_to_cameras,
    set_credentials,
    trust_certificate,
)
from models.device_orders import ProbeDevice
from models.devices import LADDER, Candidate


def keep_credentials(
    connection: Connection, key: str, *, order: ProbeDevice, told: Candidate, site_id: str, at: datetime
) -> None:
    """Keep credentials that opened a device, and the certificate that it was trusted by; what it refused is forgotten.

    A question changes no door and no camera: those that use a device's credentials go on with them until somebody says
    that they take the new ones (`passed_on_by`). A reader has one key: what opens it is what its doors need.
    """
    device = device_by_id(connection, key, site_ids=frozenset({site_id}))
    if told.trouble == "moved" or device.state == "removed":
        return
    if LADDER.index(told.reach) >= LADDER.index("trusted") and order.fingerprint:
        trust_certificate(connection, key, fingerprint=order.fingerprint)
    if LADDER.index(told.reach) < LADDER.index("known") or not (order.user or order.password):
        return
    kept = credentials_of(connection, key, site_id=site_id)
    pending = "" if order.password == kept.pending else kept.pending
    held = Credentials(user=order.user, password=order.password, pending=pending)
    using = doors_naming(connection, device)
    if held != kept and (order.passed_on_by or order.wire == "osdp" or not using):
        set_credentials(connection, key, credentials=held, site_id=site_id)
    if order.passed_on_by:
        _pass_on(connection, device, order, doors=using if held != kept else [], at=at)


def _pass_on(connection: Connection, device: KeptDevice, order: ProbeDevice, *, doors: list[str], at: datetime) -> None:
    """Hand a device's credentials to its cameras and doors, each on record; the site file's cameras keep their own."""
    handed = hand_to_cameras(connection, device, user=order.user, password=order.password)
    entry = AuditEntry(actor=order.passed_on_by, action="", subject="")
    detail = {"site": device.site_id, "device": device.id, "command": order.id, "fields": "password,user"}
    for action, names in (("camera.change", handed), ("door.change", doors)):
        for name in names:
            one = msgspec.structs.replace(entry, action=action, subject=name, detail=detail)
            append_audit(connection, one, at=at)
