"""One ONVIF device as a client sees it: its clock measured first, its services found, questions asked one by one.

Credentials go by HTTP digest; a device that wants WS-Security gets that instead, stamped by its own clock. A question is
asked again only when the device has just refused the credentials, never when it may have obeyed. Capabilities are not
believed: a service that is not listed is looked for at the device service, one that answers "unknown" is absent.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from lxml import etree

from drivers.onvif import contracts, soap
from drivers.onvif.contracts import Service
from drivers.onvif.endpoint import Endpoint, same_device
from drivers.onvif.markup import MAX_XML_BYTES, local, text_of
from drivers.onvif.security import username_token
from drivers.onvif.transport import Answer, Transport
from models.errors import DeviceRefused, InvalidInput

SMALL_BYTES: Final = 64 << 10
"""Answers above this are read in a thread: the loop is never blocked."""
CLOCK_MOVED: Final = timedelta(seconds=2)
MAX_SERVICES: Final = 64


class OnvifClient:
    """Ask one device; entered to connect, left to close. Belongs to one event loop.

    Args:
        endpoint: the device.
        now: the caller's clock.
    """

    def __init__(self, endpoint: Endpoint, *, now: Callable[[], datetime]) -> None:
        self.endpoint = endpoint
        self.offset = timedelta(0)
        """What to add to our clock to get the device's."""
        self.told_time = False
        """Whether it told its time: then it is an ONVIF device, whatever it refuses."""
        self.services: dict[str, str] = {}
        """The address of each service by its namespace, as the device tells it, on the host where we reach it."""
        self._now = now
        self._wss = endpoint.auth == "wss"
        self._transport = Transport(endpoint)

    async def __aenter__(self) -> Self:
        """Measure the device's clock and find its services.

        Raises:
            DeviceUnreachable: nobody answers.
            DeviceRefused: the certificate or the credentials are wrong.
            InvalidInput: what answers is no ONVIF device.
        """
        await self._transport.__aenter__()
        try:
            await self.measure_clock()
            self.services = await self._find_services()
        except BaseException:
            await self._transport.__aexit__()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    # ---- questions --------------------------------------------------------------------------------------------------

    async def ask(
        self,
        service: Service,
        operation: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        limit_s: float | None = None,
    ) -> Any:
        """Return a device's answer to one operation, as plain values.

        Args:
            service: whose operation it is.
            operation: its name in the WSDL.
            arguments: by their names in the WSDL.
            limit_s: the most it may take; the endpoint's `timeout_s` if None.

        Raises:
            DeviceUnreachable: nothing was sent; `Unanswered`: the device may have obeyed.
            DeviceRefused: it said no (`Fault` with its codes), or does not take the credentials.
            InvalidInput: the answer is none.
        """
        await contracts.load(service)
        envelope, _ = contracts.request(service, operation, **(arguments or {}))
        url = self.services.get(contracts.namespace(service), self.endpoint.url)
        reply = await self.exchange(envelope, url=url, limit_s=limit_s)
        if len(reply) > SMALL_BYTES:
            return await asyncio.to_thread(self._read, service, operation, reply)
        return self._read(service, operation, reply)

    async def exchange(
        self,
        envelope: etree._Element,
        *,
        url: str,
        headers: Iterable[etree._Element] = (),
        limit_s: float | None = None,
    ) -> bytes:
        """Return the answer to an envelope as bytes; faults and refused credentials are raised as in `ask`."""
        limit_s = self.endpoint.timeout_s if limit_s is None else limit_s
        async with asyncio.timeout(limit_s + self.endpoint.timeout_s):
            headers, shown = tuple(headers), (self._wss, self.offset)
            try:
                return await self._post(envelope, url=url, headers=self._proven(headers), limit_s=limit_s)
            except soap.Fault as fault:
                if not fault.unauthorised or not await self._other_way(*shown):
                    raise
            return await self._post(envelope, url=url, headers=self._proven(headers), limit_s=limit_s)

    async def ask_by_hand(self, name: str, arguments: Mapping[str, str], *, service: str) -> etree._Element:
        """Return the answer to an operation of a service that has no WSDL here; raises what `ask` raises.

        Args:
            name: the operation.
            arguments: its items in their order.
            service: its namespace.
        """
        request = etree.Element(etree.QName(service, name), nsmap={"q": service})
        for item, value in arguments.items():
            etree.SubElement(request, etree.QName(service, item)).text = value
        reply = await self.exchange(soap.wrap(request), url=self.services.get(service, self.endpoint.url))
        where = self.endpoint.address
        envelope = await asyncio.to_thread(soap.unpack, reply, where=where)
        return soap.body_of(envelope, where=where)

    def _read(self, service: Service, operation: str, reply: bytes) -> Any:
        where = self.endpoint.address
        return contracts.answer(service, operation, envelope=soap.unpack(reply, where=where), where=where)

    async def _post(
        self, envelope: etree._Element, *, url: str, headers: tuple[etree._Element, ...], limit_s: float
    ) -> bytes:
        answer = await self._transport.post(
            url,
            soap.pack(deepcopy(envelope), (deepcopy(header) for header in headers)),
            content_type=soap.CONTENT_TYPE,
            limit_s=limit_s,
            max_bytes=MAX_XML_BYTES,
        )
        if answer.status >= 300:
            self._refused(answer)
        return answer.body

    def _proven(self, headers: tuple[etree._Element, ...]) -> tuple[etree._Element, ...]:
        """Return headers with a fresh token of WS-Security where the device wants one."""
        endpoint = self.endpoint
        if not self._wss or not endpoint.user:
            return headers
        created = self._now() + self.offset
        return (*headers, username_token(endpoint.user, endpoint.password, created=created))

    def _refused(self, answer: Answer) -> None:
        """Raise what an answer that is not 2xx means: a fault if it brings one, else its number."""
        where = self.endpoint.address
        with contextlib.suppress(InvalidInput):
            soap.unpack(answer.body, where=where)
        if answer.status in (401, 403):
            what = "it does not take the user name or the password" if self.endpoint.user else "it wants credentials"
            why = "wrong_login" if self.endpoint.user else "wants_login"
            raise soap.Fault(where, what, codes=("NotAuthorized",)).because(why)
        codes = ("ActionNotSupported",) if answer.status in (404, 405, 501) else ()
        raise soap.Fault(where, f"it answered HTTP {answer.status}", codes=codes).because("http_error")

    async def _other_way(self, wss: bool, offset: timedelta) -> bool:
        """Return whether the credentials may be shown in another way than they were.

        That is by WS-Security, or stamped by the device's clock as it is now; another question may have found out.
        """
        if not self.endpoint.user or self.endpoint.auth == "digest":
            return False
        if not wss:
            self._wss = True
            return True
        if abs(self.offset - offset) <= CLOCK_MOVED:
            await self.measure_clock()
        return abs(self.offset - offset) > CLOCK_MOVED

    # ---- what it is -------------------------------------------------------------------------------------------------

    async def measure_clock(self) -> timedelta | None:
        """Read the device's clock without credentials and return how far it is ahead of ours; None if it did not tell.

        WS-Security tokens are stamped by it, not by ours.
        """
        await contracts.load("device")
        envelope, _ = contracts.request("device", "GetSystemDateAndTime")
        asked = self._now()
        try:
            reply = await self._post(envelope, url=self.endpoint.url, headers=(), limit_s=self.endpoint.timeout_s)
        except soap.Fault:
            return None  # an old device that wants credentials first: its clock is taken for right
        at = asked + (self._now() - asked) / 2
        told = _utc(self._read("device", "GetSystemDateAndTime", reply))
        if told is None:
            return None
        self.offset, self.told_time = told - at, True
        return self.offset

    async def _find_services(self) -> dict[str, str]:
        try:
            told = await self.ask("device", "GetServices", arguments={"IncludeCapability": False})
            listed = [(service.get("Namespace"), service.get("XAddr")) for service in (told or [])[:MAX_SERVICES]]
        except soap.Fault as fault:
            if fault.unauthorised:
                raise
            listed = await self._find_services_of_old()
        except (InvalidInput, AttributeError, TypeError):
            listed = await self._find_services_of_old()
        found = {}
        for name, address in listed:
            if isinstance(name, str) and isinstance(address, str):
                with contextlib.suppress(InvalidInput):
                    found[name.strip().rstrip("/")] = same_device(address, base=self.endpoint.url)
        return found

    async def _find_services_of_old(self) -> list[tuple[str, str]]:
        """Return the services of a device from before GetServices: by its capabilities."""
        await contracts.load("device")
        envelope, _ = contracts.request("device", "GetCapabilities", Category="All")
        reply = await self.exchange(envelope, url=self.endpoint.url)
        names = {
            "Events": contracts.namespace("events"),
            "Media": contracts.namespace("media"),
            "PTZ": contracts.namespace("ptz"),
        }
        root = soap.unpack(reply, where=self.endpoint.address)
        found = []
        for element in root.iter():
            parent = element.getparent()
            if local(element) == "XAddr" and parent is not None and local(parent) in names:
                found.append((names[local(parent)], text_of(element)))
        return found

    async def identity(self) -> str:
        """Return the device's own lasting name, the one that discovery tells; empty where it has none."""
        try:
            told = await self.ask_by_hand("GetEndpointReference", {}, service=contracts.namespace("device"))
        except (DeviceRefused, InvalidInput):
            return ""
        guid = next((text_of(e) for e in told.iter() if local(e) == "GUID"), "")
        return guid.removeprefix("urn:uuid:")[:100]

    def device_time(self, at: datetime) -> datetime:
        """Return what the device's clock shows at a moment of ours."""
        return at + self.offset


def new_message_id() -> str:
    """Return a fresh WS-Addressing message id."""
    return str(uuid.uuid4())


def _utc(answer: Any) -> datetime | None:
    try:
        told = answer["UTCDateTime"]
        date, time = told["Date"], told["Time"]
        parts = (date["Year"], date["Month"], date["Day"], time["Hour"], time["Minute"], min(int(time["Second"]), 59))
        return datetime(*(int(part) for part in parts), tzinfo=UTC)  # type: ignore[arg-type,misc]
    except (TypeError, KeyError, ValueError):
        return None
