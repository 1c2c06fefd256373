"""One subscription to a device's events by pull point (ONVIF Core, 9.2): opened, sought back, pulled, kept alive, closed.

A pull keeps the subscription alive by itself; only a device whose own answer says that the end is near is asked to
renew. It is unsubscribed on a clean end only: some devices drop everybody's subscription then.
"""

from __future__ import annotations

import asyncio
import contextlib
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Final

from lxml import etree

from drivers.onvif import contracts, soap
from drivers.onvif.client import SMALL_BYTES, OnvifClient, new_message_id
from drivers.onvif.contracts import Service
from drivers.onvif.endpoint import same_device
from drivers.onvif.markup import local, text_of
from drivers.onvif.wire import Batch, moment, read_batch
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput

LIVES_S: Final = 60
MESSAGES: Final = 100
RENEW_BEFORE: Final = timedelta(seconds=5)
CLOSING_S: Final = 1.0
QUICK_S: Final = 0.2
PAUSE_S: Final = 0.25
MAX_REFERENCES: Final = 8


class PullPoint:
    """Pull the events of one device. `opened_at` is the device's time when it was opened.

    Args:
        client: the device, entered.
        pull_s: how long the device may hold a pull open.
    """

    def __init__(self, client: OnvifClient, *, pull_s: int) -> None:
        self.opened_at: datetime | None = None
        self.renewals = 0
        self._client = client
        self._pull_s = pull_s
        self._url = ""
        self._references: tuple[etree._Element, ...] = ()

    async def open(self) -> None:
        """Make the subscription; raises what `OnvifClient.ask` raises."""
        await contracts.load("events")
        lives = f"PT{max(LIVES_S, 2 * self._pull_s)}S"
        envelope, _ = contracts.request("events", "CreatePullPointSubscription", InitialTerminationTime=lives)
        client = self._client
        url = client.services.get(contracts.namespace("events"), client.endpoint.url)
        answer = self._body(await client.exchange(envelope, url=url))
        address = next((text_of(e) for e in answer.iter() if local(e) == "Address"), "")
        self._url = same_device(address, base=client.endpoint.url)
        held = next((e for e in answer.iter() if local(e) == "ReferenceParameters"), None)
        self._references = () if held is None else tuple(deepcopy(e) for e in list(held)[:MAX_REFERENCES])
        told = {local(e): moment(text_of(e)) for e in answer}
        self.opened_at = told.get("CurrentTime")

    async def pull(self) -> Batch:
        """Return the next notifications; waits up to `pull_s` for one, and a moment even where the device does not.

        The device then forgets them.

        Raises:
            DeviceUnreachable: the connection ended, so what it sent may be lost.
            DeviceRefused: it does not know the subscription any more.
            InvalidInput: what it sent cannot be read, and is lost.
        """
        arguments = {"Timeout": f"PT{self._pull_s}S", "MessageLimit": MESSAGES}
        limit_s = self._pull_s + self._client.endpoint.timeout_s
        clock = asyncio.get_running_loop().time
        began = clock()
        raw = await self._send("pullpoint", "PullMessages", arguments, limit_s=limit_s)
        if len(raw) > SMALL_BYTES:
            batch = await asyncio.to_thread(lambda: read_batch(self._body(raw)))
        else:
            batch = read_batch(self._body(raw))
        await self._renew_if_it_ends(batch)
        if not batch.notifications and clock() - began < QUICK_S:
            await asyncio.sleep(PAUSE_S)
        return batch

    async def seek(self, since: datetime) -> bool:
        """Ask for what the device stored since a time of its own; return whether it stores events."""
        try:
            await self._send("pullpoint", "Seek", {"UtcTime": since, "Reverse": False})
        except (DeviceRefused, InvalidInput):
            return False
        return True

    async def synchronise(self) -> None:
        """Ask for every property once more, as `Initialized`; a device that cannot has sent them at the beginning."""
        with contextlib.suppress(DeviceRefused, InvalidInput):
            await self._send("pullpoint", "SetSynchronizationPoint", {})

    async def close(self) -> None:
        """End the subscription, within a second; that it could not be ended matters to nobody."""
        with contextlib.suppress(DeviceUnreachable, DeviceRefused, InvalidInput, TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self._send("subscription", "Unsubscribe", {})

    async def _renew_if_it_ends(self, batch: Batch) -> None:
        if batch.ends is None or batch.now is None:
            return
        if batch.ends - batch.now > timedelta(seconds=self._pull_s) + RENEW_BEFORE:
            return
        self.renewals += 1
        with contextlib.suppress(DeviceRefused, InvalidInput):
            lives = f"PT{max(LIVES_S, 2 * self._pull_s)}S"
            await self._send("subscription", "Renew", {"TerminationTime": lives})

    async def _send(
        self, service: Service, operation: str, arguments: dict[str, Any], *, limit_s: float | None = None
    ) -> bytes:
        envelope, action = contracts.request(service, operation, **arguments)
        references = tuple(deepcopy(e) for e in self._references)
        headers = soap.addressed(action, to=self._url, message_id=new_message_id(), references=references)
        return await self._client.exchange(envelope, url=self._url, headers=headers, limit_s=limit_s)

    def _body(self, raw: bytes) -> etree._Element:
        where = self._client.endpoint.address
        return soap.body_of(soap.unpack(raw, where=where), where=where)
