"""The simulated ONVIF device on the wire: SOAP and pictures over HTTP, who may ask, and misbehaviours by name.

Everything happens in one event loop; it decides nothing about people.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final

from lxml import etree
from PIL import Image, ImageDraw

from drivers.onvif import simcore, simmedia, simpacs, simpull
from drivers.onvif.simauth import Access, Guard
from drivers.onvif.simcall import Call, Fault, Handler, Streams, elsewhere
from drivers.onvif.simcertificate import Certificate
from drivers.onvif.simdevice import SimulatedDevice
from drivers.onvif.simhttp import HttpServer, Request, Response
from drivers.onvif.simsoap import (
    MAX_REQUEST_BYTES,
    SoapFault,
    Xml,
    content_of,
    envelope,
    fault_body,
    find,
    name_of,
    parse,
    text,
)

SLOW_S: Final = 1.5
REBOOT_S: Final = 2.0
IDLE_S: Final = 3600.0
HUGE_BYTES: Final = 64 * 1024 * 1024
HANDLERS: Final[dict[str, Handler]] = {
    **simcore.HANDLERS,
    **simmedia.HANDLERS,
    **simpull.HANDLERS,
    **simpacs.HANDLERS,
}
BOMB: Final = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, (b"&a%d;" % (n - 1) if n else b"&a;") * 10) for n in range(9))
    + b']><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>&a8;</s:Body></s:Envelope>'
)
"""Ten thousand million letters in a few hundred bytes (the "billion laughs")."""
EXTERNAL: Final = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>&a;</s:Body></s:Envelope>'
)


class SimulatedOnvif:
    """Serve a device until its block ends.

    Args:
        device: what it is.
        access: who may ask.
        streams: where its camera's streams are played.
        now: the true time; the device's own is `clock`.
        rng: nonces and garbage.
    """

    def __init__(
        self,
        device: SimulatedDevice,
        *,
        access: Access,
        now: Callable[[], datetime],
        rng: random.Random,
        streams: Streams | None = None,
    ) -> None:
        self.device = device
        self.streams = streams or Streams()
        self.faults: set[Fault] = set()
        self.subscriptions = simpull.Subscriptions(device, self.faults)
        self.requests = 0
        self.refused = 0
        self.certificate: Certificate | None = None
        """With one it speaks TLS."""
        self.address = ("", 0)
        self.on_return: Callable[[], None] = lambda: None
        """Called when it is back after a reboot."""
        self._return: asyncio.TimerHandle | None = None
        self._guard = Guard(access, rng=rng)
        self._now = now
        self._rng = rng
        self._http = HttpServer(self._answer, max_body=MAX_REQUEST_BYTES)
        self._change = asyncio.Event()

    def clock(self) -> datetime:
        """Return the device's own time."""
        return self._now() + timedelta(hours=1 if "clock_hour_off" in self.faults else 0)

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return f"http{'s' if self.certificate else ''}://{self.address[0]}:{self.address[1]}"

    def spelled(self, url: str) -> str:
        """Return an address as the device tells it: with `wrong_host`, one that nobody can reach."""
        return elsewhere(url) if "wrong_host" in self.faults else url

    @property
    def away(self) -> bool:
        """Return whether it is rebooting."""
        return self._return is not None

    @contextlib.asynccontextmanager
    async def serving(self, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[SimulatedOnvif]:
        """Be there until the block ends.

        Raises:
            OSError: the port cannot be had.
        """
        tls = self.certificate.context if self.certificate is not None else None
        async with self._http.serving(host, port, tls=tls) as self.address:
            ticking = asyncio.create_task(self._tick())
            try:
                yield self
            finally:
                ticking.cancel()
                await asyncio.wait((ticking,))
                if self._return is not None:
                    self._return.cancel()

    def changed(self) -> None:
        """Wake whoever waits for a condition on this device, and its own timers."""
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait until a condition on this device holds; the caller sets the limit."""
        while not wanted():
            await self._change.wait()

    def cut(self) -> None:
        """Drop every connection without a goodbye, as a cut cable would."""
        self._http.cut()

    def reboot(self, for_s: float = REBOOT_S) -> None:
        """Be away for a while and come back without a subscription."""
        if self._return is not None:
            self._return.cancel()
        self._return = asyncio.get_running_loop().call_later(for_s, self._come_back)
        self.subscriptions.forget()
        self.cut()

    def misbehave(self, fault: Fault, *, on: bool) -> None:
        """Begin or end a misbehaviour; a reboot and a lost subscription happen at once, the others while they last."""
        if fault == "reboot":
            self.reboot(REBOOT_S if on else 0.0)
        elif on:
            self.faults.add(fault)
        else:
            self.faults.discard(fault)
        if fault == "lost_subscription" and on:
            self.subscriptions.forget()
        if fault == "expired_certificate" and self.certificate is not None:
            self.certificate.show(expired=on)
        self.changed()

    def _come_back(self) -> None:
        self._return = None
        self.on_return()
        self.changed()

    async def _tick(self) -> None:
        while True:
            change = self._change
            self.device.advance(self.clock())
            due = self.device.due()
            self.changed() if change is self._change else None
            wait_s = IDLE_S if due is None else max(0.0, (due - self.clock()).total_seconds())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._change.wait()

    async def _answer(self, request: Request) -> Response:
        self.requests += 1
        self.changed()
        if self.away:
            raise ConnectionResetError
        if "silent" in self.faults:
            await self.until(lambda: "silent" not in self.faults)
        if "slow" in self.faults:
            await asyncio.sleep(SLOW_S)
        path = request.target.partition("?")[0]
        if path == simmedia.SNAPSHOT and request.method == "GET":
            return self._picture(request)
        if not path.startswith("/onvif/"):
            return Response(status=404)
        if request.method != "POST":
            return Response(status=405, headers=(("Allow", "POST"),))
        return self._spoiled() or await self._soap(request, path)

    def _spoiled(self) -> Response | None:
        """Return what a broken device answers instead."""
        xml = (("Content-Type", "application/soap+xml; charset=utf-8"),)
        if "garbage" in self.faults:
            return Response(headers=xml, body=b"<s:Envelope><s:Bo" + self._rng.randbytes(256))
        if "huge" in self.faults:
            piece = b"<!-- " + b"x" * (64 * 1024 - 9) + b" -->"
            return Response(headers=xml, body=piece, repeat=HUGE_BYTES // len(piece))
        if "bomb" in self.faults:
            return Response(headers=xml, body=BOMB)
        return Response(headers=xml, body=EXTERNAL) if "external_entity" in self.faults else None

    async def _soap(self, request: Request, path: str) -> Response:
        addressing: tuple[str | None, str | None] = (None, None)
        try:
            root = parse(request.body)
            content, header = content_of(root), find(root, "s:Header")
            addressing = _addressing(header)
            name = name_of(content)
            if name not in simcore.PRE_AUTH:
                refusal = self._refusal(request, header)
                if refusal is not None:
                    return refusal
            answer = await self._call(name, content, path)
        except SoapFault as fault:
            self.refused += 1
            return _message(400 if fault.sender else 500, envelope(fault_body(fault)))
        finally:
            self.changed()
        action, message_id = addressing
        return _message(200, envelope(answer, action=action, relates_to=message_id))

    async def _call(self, name: str, body: etree._Element, path: str) -> Xml:
        call = Call(
            device=self.device,
            subscriptions=self.subscriptions,
            body=body,
            path=path,
            now=self.clock(),
            origin=self.origin,
            streams=self.streams,
            faults=self.faults,
        )
        if name == "tev:PullMessages":
            return await simpull.pull(call, self.clock)
        handler = HANDLERS.get(name)
        if handler is None or (self.device.relays_only and name.partition(":")[0] in simcore.PACS):
            raise SoapFault(f"{name[:80]} is not known here", "ter:ActionNotSupported", sender=False)
        return handler(call)

    def _refusal(self, request: Request, header: etree._Element | None) -> Response | None:
        """Return the answer to somebody without a good proof, None for one with."""
        if not self._guard.access.user:
            return None
        given = request.headers.get("authorization", "")
        if given and "wss_only" not in self.faults:
            verdict = self._guard.digest(given, method=request.method, target=request.target)
            return None if verdict == "good" else self._challenge(stale=verdict == "stale")
        if "digest_only" not in self.faults and self._guard.token(header, now=self.clock()):
            return None
        if "wss_only" not in self.faults and (header is None or find(header, "wsse:Security") is None):
            return self._challenge()
        if "digest_only" in self.faults:
            return self._challenge()
        fault = SoapFault("The sender is not authorized", "ter:NotAuthorized")
        self.refused += 1
        return _message(400, envelope(fault_body(fault)))

    def _challenge(self, *, stale: bool = False) -> Response:
        self.refused += 1
        told = tuple(("WWW-Authenticate", value) for value in self._guard.challenges(stale=stale))
        return Response(status=401, headers=told)

    def _picture(self, request: Request) -> Response:
        if self._guard.access.user:
            given = request.headers.get("authorization", "")
            verdict = self._guard.digest(given, method="GET", target=request.target) if given else "bad"
            if verdict != "good":
                return self._challenge(stale=verdict == "stale")
        return Response(headers=(("Content-Type", "image/jpeg"),), body=picture(self.device, self.clock()))


def picture(device: SimulatedDevice, now: datetime) -> bytes:
    """Return what the camera sees as a JPEG: a drawn gate, black while it is covered."""
    profile = simmedia.PROFILES["sub"]
    image = Image.new("RGB", (profile.width, profile.height), "black" if device.senses["cover"] else "#8aa0b0")
    if not device.senses["cover"]:
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, 240, profile.width, profile.height), fill="#6a6a60")
        for left in range(180, 460, 40):
            draw.rectangle((left, 120, left + 8, 300), fill="#303030")
        draw.text((12, 12), now.isoformat(timespec="seconds"), fill="white")
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=80)
    return kept.getvalue()


def _addressing(header: etree._Element | None) -> tuple[str | None, str | None]:
    """Return action and message id for the answer where the request had WS-Addressing."""
    action = text(header, "wsa:Action") if header is not None else None
    message_id = text(header, "wsa:MessageID") if header is not None else None
    return (f"{action.removesuffix('Request')}Response" if action else None), message_id


def _message(status: int, content: bytes) -> Response:
    return Response(status=status, headers=(("Content-Type", "application/soap+xml; charset=utf-8"),), body=content)
