"""The simulated coordination centre: a real HTTP server that verifies, keeps what it accepted, and sends receipts.

`gatehouse simulate centre` runs it. It misbehaves on demand: `down`, a status (`500`, `429`, `302`, `401`, …), `half` (it
keeps the event and breaks off its answer), `slow`. Loopback only; it forgets everything when it ends.

    POST /events        what gatehouse is told as `centre.url`
    GET  /received      {"items": [{"event", "webhook_id", "verified", "received_mono"}], "refused": n}
    POST /control       {"fault": "down" | "500" | … | null, "for_s": 5}
    POST /send-receipt  {"alert_id", "state", "reference", "note", "url"}: signs and posts it, answers with the status
    GET  /receipts      ?after=CURSOR: what boxes behind NAT pull
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx
import msgspec

from gateway.centre.signing import signature_headers, verify
from models.errors import Forbidden, InvalidInput

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_KEPT: Final = 100_000
SLOW_S: Final = 5.0
FAULTS: Final = ("down", "half", "slow")
STATES: Final = ("received", "accepted", "returned", "dispatched", "on_scene", "closed")


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Begin a fault, for a time or until it is set to null."""

    fault: str | None
    for_s: float | None = None


class ReceiptOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for a signed receipt about an alert; with `url` it is pushed there, without it waits to be pulled."""

    alert_id: str
    state: str
    reference: str = ""
    note: str = ""
    url: str | None = None


class Centre:
    """Hold what the simulated centre accepted, and how it misbehaves now. Thread-safe."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._lock = threading.Lock()
        self._received: list[dict[str, Any]] = []
        self._seen: set[str] = set()
        self._receipts: list[dict[str, Any]] = []
        self._refused = 0
        self._repeats = 0
        self._fault: str | None = None
        self._fault_until = float("inf")

    def control(self, order: Control) -> None:
        """Begin or end a fault.

        Raises:
            InvalidInput: there is no such fault.
        """
        status = order.fault is not None and order.fault.isdigit() and 300 <= int(order.fault) <= 599
        if order.fault is not None and order.fault not in FAULTS and not status:
            raise InvalidInput(
                "fault", f"use {', '.join(FAULTS)} or a status from 300 to 599, not {order.fault[:32]!r}"
            )
        with self._lock:
            self._fault = order.fault
            self._fault_until = time.monotonic() + order.for_s if order.for_s else float("inf")

    def fault(self) -> str | None:
        """Return the fault in force."""
        with self._lock:
            return self._fault if time.monotonic() < self._fault_until else None

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Verify and keep what was posted; return the status. A repeated webhook-id is answered 200 and kept once."""
        try:
            webhook_id = verify(headers, body, keys=[self.key], now_s=time.time())
            events = json.loads(body)
        except (Forbidden, ValueError):
            with self._lock:
                self._refused += 1
            return 400
        with self._lock:
            if webhook_id in self._seen:
                self._repeats += 1
                return 200
            self._seen.add(webhook_id)
            for event in events if isinstance(events, list) else [events]:
                row = {"event": event, "webhook_id": webhook_id, "verified": True, "received_mono": time.monotonic()}
                if len(self._received) < MAX_KEPT:
                    self._received.append(row)
        return 200

    def received(self) -> dict[str, Any]:
        """Return what was accepted, in order, with counts of refused and repeated messages."""
        with self._lock:
            return {"items": list(self._received), "refused": self._refused, "repeats": self._repeats}

    def receipt(self, order: ReceiptOrder) -> tuple[int, dict[str, Any]]:
        """Keep a receipt for pulling, or push it; return the status to answer with."""
        if order.state not in STATES:
            return 400, {"error": f"state is one of {', '.join(STATES)}"}
        made = {"alert_id": order.alert_id, "state": order.state, "at": datetime.now(UTC).isoformat()}
        receipt = made | {"reference": order.reference, "note": order.note}
        if order.url is None:
            with self._lock:
                self._receipts.append(receipt)
            return 200, {"kept": True}
        body = json.dumps(receipt).encode()
        headers = signature_headers(str(uuid.uuid4()), timestamp_s=int(time.time()), body=body, keys=[self.key])
        try:
            answer = httpx.post(
                order.url, content=body, headers={**headers, "Content-Type": "application/json"}, timeout=10
            )
        except httpx.HTTPError as error:
            return 502, {"error": str(error)}
        return (200 if answer.is_success else 502), {"status": answer.status_code, "answer": answer.text[:2000]}

    def receipts_after(self, cursor: str) -> dict[str, Any]:
        """Return the receipts after a cursor, and the next cursor."""
        start = int(cursor) if cursor.isdigit() else 0
        with self._lock:
            return {"items": self._receipts[start:], "next": str(len(self._receipts))}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    centre: Centre

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Stay silent: what was received is asked for, not logged."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/received":
            self._answer(200, self.centre.received())
        elif path == "/receipts":
            self._answer(200, self.centre.receipts_after(urllib.parse.parse_qs(query).get("after", ["0"])[0]))
        else:
            self._answer(404, {"error": f"nothing at {path}"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413, {"error": "too large"})
            return
        body = self.rfile.read(length)
        if self.path == "/events":
            self._receive(body)
            return
        try:
            if self.path == "/control":
                self.centre.control(msgspec.json.decode(body, type=Control))
                self._answer(200, {"fault": self.centre.fault()})
            elif self.path == "/send-receipt":
                self._answer(*self.centre.receipt(msgspec.json.decode(body, type=ReceiptOrder)))
            else:
                self._answer(404, {"error": f"nothing at {self.path}"})
        except (msgspec.MsgspecError, InvalidInput) as error:
            self._answer(400, {"error": str(error)})

    def _receive(self, body: bytes) -> None:
        fault = self.centre.fault()
        if fault == "down":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault is not None and fault.isdigit():
            extra = {"429": {"Retry-After": "1"}, "302": {"Location": "/elsewhere"}}.get(fault, {})
            self._answer(int(fault), {"fault": fault}, extra)
            return
        status = self.centre.take({name.lower(): value for name, value in self.headers.items()}, body)
        if fault == "half":
            self.close_connection = True
            self.wfile.write(
                b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{"taken":'
            )
            return
        self._answer(status, {"taken": status == 200})

    def _answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def serve(key: str, *, port: int) -> tuple[ThreadingHTTPServer, Centre]:
    """Return a bound server on loopback (call `serve_forever`) and the centre behind it.

    Args:
        key: the Standard Webhooks secret shared with the gateway.
        port: TCP port; 0 takes a free one.
    """
    centre = Centre(key)
    handler = type("Handler", (_Handler,), {"centre": centre})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    return server, centre
