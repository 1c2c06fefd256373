"""Take the centre's receipts, pushed to us or pulled by us: each is kept once, shown on its alert, and announced."""

from __future__ import annotations

import hashlib
import logging
import uuid
from datetime import datetime
from typing import Literal
from urllib.parse import urlencode

import msgspec

from gateway.centre.post import Sender
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.alerts import add_receipt, alert_by_id
from gateway.store.dialect import hold_feed
from gateway.store.feed import announce
from gateway.store.outbox import keep_receipts_cursor, receipts_cursor
from gateway.views import ReceiptView
from models.errors import DeviceUnreachable, InvalidInput, NotFound

log = logging.getLogger("gatehouse.gateway.receipts")
REFERENCE_LIMIT = 128
NOTE_LIMIT = 1000


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a centre answers about an alert."""

    alert_id: str
    state: Literal["received", "accepted", "returned", "dispatched", "on_scene", "closed"]
    at: datetime
    reference: str | None = None
    note: str | None = None


class ReceiptPage(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a centre gives when it is asked for receipts: some of them, and where to go on."""

    items: tuple[Receipt, ...]
    next: str | None = None


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    alert_id: str
    receipt: ReceiptView


def read_receipts(body: bytes) -> tuple[Receipt, ...]:
    """Return one receipt or an array of at most 100.

    Raises:
        InvalidInput: the body is neither, or a time has no zone.
    """
    try:
        many = body.lstrip().startswith(b"[")
        read = (
            msgspec.json.decode(body, type=tuple[Receipt, ...]) if many else (msgspec.json.decode(body, type=Receipt),)
        )
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("body", str(error)) from error
    if len(read) > 100:
        raise InvalidInput("body", "send at most 100 receipts at once")
    for receipt in read:
        _check(receipt)
    return read


def _check(receipt: Receipt) -> None:
    if receipt.at.tzinfo is None:
        raise InvalidInput("at", "a time needs its zone, for example Z")
    if len(receipt.reference or "") > REFERENCE_LIMIT or len(receipt.note or "") > NOTE_LIMIT:
        raise InvalidInput("note", f"at most {REFERENCE_LIMIT} characters of reference and {NOTE_LIMIT} of note")


def take_receipt(connection: Connection, receipt: Receipt, *, centre_id: str, at: datetime) -> bool:
    """Keep a receipt and announce it; return False if it is kept already.

    Raises:
        NotFound: there is no such alert.
    """
    hold_feed(connection)
    alert = alert_by_id(connection, receipt.alert_id, site_ids=None)
    seed = [centre_id, receipt.alert_id, receipt.state, receipt.at.timestamp(), receipt.reference]
    key = hashlib.sha256(msgspec.json.encode(seed)).hexdigest()
    view = ReceiptView(state=receipt.state, at=receipt.at, reference=receipt.reference, note=receipt.note)
    if not add_receipt(connection, view, key=key, centre_id=centre_id, alert_id=receipt.alert_id, at=at):
        return False
    told = _Told(alert_id=receipt.alert_id, receipt=view)
    announce(connection, "receipt", site_id=alert.place.site_id, body=told, at=at)
    return True


async def pull_receipts(runtime: Runtime, centre_id: str, *, sender: Sender) -> int:
    """Ask a centre for receipts after the ones that we have; return how many were new.

    Raises:
        DeviceUnreachable: no readable answer.
    """
    cursor = await runtime.store.read(receipts_cursor, centre_id)
    query = urlencode({"after": cursor or ""})
    status, body = await sender.get(query=query, message_id=str(uuid.uuid4()), at=runtime.clock())
    if status != 200:
        raise DeviceUnreachable("centre", f"receipts: it answered {status}")
    try:
        page = msgspec.json.decode(body, type=ReceiptPage)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DeviceUnreachable("centre", f"receipts: unreadable answer ({error})") from error
    new = await runtime.store.write(_keep_page, page, centre_id=centre_id, at=runtime.clock())
    if new:
        runtime.bells.feed.ring()
    return new


def _keep_page(connection: Connection, page: ReceiptPage, *, centre_id: str, at: datetime) -> int:
    new = 0
    for receipt in page.items:
        try:
            _check(receipt)
            new += take_receipt(connection, receipt, centre_id=centre_id, at=at)
        except (NotFound, InvalidInput) as error:
            log.warning("centre %s: a receipt was left out: %s", centre_id, error)
    if page.next is not None:
        keep_receipts_cursor(connection, centre_id, cursor=page.next)
    return new
