"""A client of no library: SOAP written by hand, asked over a real socket, answers as elements."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from lxml import etree

from drivers.onvif.simauth import Access
from drivers.onvif.simdevice import Identity, SimulatedDevice
from drivers.onvif.simdoor import Timing
from drivers.onvif.simserver import SimulatedOnvif
from drivers.onvif.simsoap import NAMESPACES
from tests.drivers.contract import now

USER, PASSWORD = "edge", 'gate "& <7> ü'
DECLARED = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())


def username_token(made_at: datetime, *, password: str = PASSWORD, nonce: bytes = b"0123456789abcdef") -> str:
    """Return a WS-Security header with a UsernameToken digest."""
    created = made_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    digest = hashlib.sha1(nonce + created.encode() + password.encode()).digest()  # noqa: S324 - the profile's
    return (
        "<wsse:Security><wsse:UsernameToken>"
        f"<wsse:Username>{USER}</wsse:Username><wsse:Password>{base64.b64encode(digest).decode()}</wsse:Password>"
        f"<wsse:Nonce>{base64.b64encode(nonce).decode()}</wsse:Nonce><wsu:Created>{created}</wsu:Created>"
        "</wsse:UsernameToken></wsse:Security>"
    )


def soap(body: str, header: str = "") -> bytes:
    """Return an envelope with the prefixes of simsoap declared."""
    return f"<s:Envelope{DECLARED}><s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>".encode()


def values(root: etree._Element, path: str) -> list[str]:
    """Return the texts at a path of prefixed names."""
    return [element.text or "" for element in root.findall(f".//{path}", NAMESPACES)]


@dataclass
class Client:
    """Ask one device."""

    unit: SimulatedOnvif
    http: httpx.AsyncClient

    async def send(self, content: bytes, *, path: str = "/onvif/device_service", auth: bool = True) -> httpx.Response:
        """Post a request as it is."""
        digest = httpx.DigestAuth(USER, PASSWORD) if auth else httpx.Auth()
        return await self.http.post(f"{self.unit.origin}{path}", content=content, auth=digest)

    async def ask(self, body: str, *, header: str = "", **how: Any) -> etree._Element:
        """Return the root of a good answer."""
        answer = await self.send(soap(body, header), **how)
        assert answer.status_code == 200, answer.text
        return etree.fromstring(answer.content)

    async def fault(self, body: str, *, header: str = "", **how: Any) -> tuple[int, list[str]]:
        """Return status and codes of a fault, outermost first."""
        answer = await self.send(soap(body, header), **how)
        return answer.status_code, values(etree.fromstring(answer.content), "s:Value")


@contextlib.asynccontextmanager
async def asking(*doors: str, unit: SimulatedOnvif | None = None, **changes: Any) -> AsyncIterator[Client]:
    """Run a device and yield a client of it; `changes` are the device's access."""
    if unit is None:
        device = SimulatedDevice(Identity(), doors=doors or ("gate",), timing=Timing(access_s=30, decision_s=5))
        access = Access(user=USER, password=PASSWORD, **changes)
        unit = SimulatedOnvif(device, access=access, now=now, rng=random.Random(3))
    verified: ssl.SSLContext | bool = True
    if unit.certificate is not None:
        verified = ssl.create_default_context(cadata=unit.certificate.pem.decode())
    async with unit.serving(), httpx.AsyncClient(timeout=10, verify=verified, trust_env=False) as http:
        yield Client(unit, http)
