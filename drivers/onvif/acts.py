"""Orders carried to an ONVIF device: unlock, answer a request, set a mode, pulse a relay. Each is sent once.

A fault is a certain refusal; no whole answer in time is not certain, because the device may have obeyed. Only letting go
of a relay is tried until it is answered: nobody ordered a door to stay open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from drivers.door import Executed, GiveFeedback, Order, SetMode, UnlockDoor
from drivers.onvif import soap
from drivers.onvif.client import OnvifClient
from drivers.onvif.contracts import Service
from drivers.onvif.doors import Asked
from drivers.onvif.endpoint import DoorPart
from drivers.onvif.parts import RelayFound, standing_of
from drivers.onvif.transport import Unanswered
from models.errors import CommandExpired, DeviceRefused, DeviceUnreachable, InvalidInput

log = logging.getLogger("gatehouse.drivers.onvif")

MODE_S: Final = 5.0
ASKED_MOST: Final = 64
LET_GO_S: Final = 1.0
LET_GO_AGAIN_S: Final = 0.25
LET_GO_PAUSE_MOST_S: Final = 15.0
UNSUPPORTED: Final = Executed(ok=False, error="unsupported")
LATE: Final = Executed(ok=False, certain=False, error="the device did not answer in time")
STANDING_OPEN: Final = frozenset({"held_open", "evacuating"})
"""Our modes in which a door lets everybody through; a device that is in LockedOpen for them refuses to open."""
LEAVING: Final[Mapping[str, str]] = {"LockedDown": "LockDownReleaseDoor", "LockedOpen": "LockOpenReleaseDoor"}
"""A mode that accepts nothing but its own release (Door Control, 5.3)."""
ENTERING: Final[Mapping[str, tuple[str, str, str]]] = {
    "locked_down": ("LockedDown", "LockDownDoor", "BlockDoor"),
    "held_open": ("LockedOpen", "LockOpenDoor", "UnlockDoor"),
    "evacuating": ("LockedOpen", "LockOpenDoor", "UnlockDoor"),
}
"""The device's mode for one of ours, the command for it, and the one for doors that lack that."""


class Acts:
    """Carry out orders at the doors of one device.

    Args:
        client: the device, entered.
        parts: our doors with their parts of it.
        relays: the relays that it has.
        timed: the doors that take the time of an access with it.
    """

    def __init__(
        self,
        client: OnvifClient,
        *,
        parts: Mapping[str, DoorPart],
        relays: tuple[RelayFound, ...],
        timed: frozenset[str],
        on_mode: Callable[[str], None],
    ) -> None:
        self.ordered: dict[str, str] = {}
        """The mode that we asked for last, by door."""
        self._client = client
        self._parts = dict(parts)
        self._monostable = {relay.token: relay.monostable for relay in relays}
        self._timed = timed
        self._on_mode = on_mode
        self._asked: dict[str, Asked] = {}
        self._setting: dict[str, asyncio.Lock] = {door: asyncio.Lock() for door in parts}
        self._versions: dict[str, int] = {}
        self._releasing: dict[str, asyncio.Task[None]] = {}
        self._held: set[str] = set()
        """Bistable relays that may be on by an order of ours."""
        self._closed = False

    def expect(self, asked: Asked) -> bool:
        """Remember a request that awaits its answer; return False if it is known already."""
        if asked.request.id in self._asked:
            return False
        while len(self._asked) >= ASKED_MOST:
            del self._asked[next(iter(self._asked))]
        self._asked[asked.request.id] = asked
        return True

    def give_up(self, access_point: str) -> None:
        """Forget the requests of an access point, which the device has answered by itself."""
        for name in [name for name, asked in self._asked.items() if asked.access_point == access_point]:
            del self._asked[name]

    async def execute(self, order: Order) -> Executed:
        """Carry out one order; see `DoorDriver.execute`."""
        if isinstance(order, SetMode):
            return await self._within(MODE_S, self._set_mode(order))
        if order.valid_ms <= 0:
            raise CommandExpired(order.id, -order.valid_ms)
        limit_s = order.valid_ms / 1000
        if isinstance(order, UnlockDoor):
            return await self._within(limit_s, self._unlock(order, limit_s=limit_s))
        if isinstance(order, GiveFeedback):
            return await self._within(limit_s, self._refuse(order, limit_s=limit_s))
        return UNSUPPORTED

    async def close(self) -> None:
        """Let go of relays that we hold, all at once and within a second; the next start does it for one that is away."""
        self._closed = True
        releasing = list(self._releasing.values())
        self._releasing.clear()
        for task in releasing:
            task.cancel()
        await asyncio.gather(*releasing, return_exceptions=True)
        await asyncio.gather(*(self._switched_off(relay) for relay in sorted(self._held)))

    async def release_relays(self) -> None:
        """Let go of bistable relays: one may have been left on by a process that died."""
        for part in self._parts.values():
            if part.relay is not None and not self._monostable.get(part.relay, False):
                await self._switch(part.relay, on=False, limit_s=self._client.endpoint.timeout_s)

    async def _within(self, limit_s: float, act: Any) -> Executed:
        try:
            async with asyncio.timeout(limit_s):
                done: Executed = await act
                return done
        except (Unanswered, TimeoutError):
            return LATE
        except DeviceUnreachable:
            raise
        except DeviceRefused as error:
            return Executed(ok=False, error=error.what)
        except InvalidInput as error:
            return Executed(ok=False, certain=False, error=error.what)

    # ---- people -----------------------------------------------------------------------------------------------------

    async def _unlock(self, order: UnlockDoor, *, limit_s: float) -> Executed:
        asked = None if order.attempt is None else self._asked.get(order.attempt)
        if asked is not None and asked.access_point:
            try:
                return await self._answer(asked, granted=True, reason="", limit_s=limit_s)
            except DeviceRefused:
                if not await self._stands_open(order.door_id):
                    raise
                self._asked.pop(asked.request.id, None)
                return Executed(ok=True)
        part = self._parts[order.door_id]
        if part.relay is not None:
            return await self._pulse(part.relay, hold_s=order.hold_s, limit_s=limit_s)
        if await self._stands_open(order.door_id):
            return Executed(ok=True)
        arguments: dict[str, Any] = {"Token": part.door}
        if part.door in self._timed:
            arguments["AccessTime"] = timedelta(seconds=order.hold_s)
        await self._client.ask("door", "AccessDoor", arguments=arguments, limit_s=limit_s)
        return Executed(ok=True)

    async def _stands_open(self, door_id: str) -> bool:
        """Return whether a door stands open by our order: it lets people through and refuses `AccessDoor` (5.3)."""
        token = self._parts[door_id].door
        if token is None or self.ordered.get(door_id) not in STANDING_OPEN:
            return False
        try:
            return (await standing_of(self._client, token)).mode == "LockedOpen"
        except (DeviceRefused, InvalidInput):
            return False

    async def _refuse(self, order: GiveFeedback, *, limit_s: float) -> Executed:
        asked = self._asked.get(order.attempt)
        if asked is None or not asked.access_point or order.ok:
            return UNSUPPORTED
        return await self._answer(asked, granted=False, reason=order.reason, limit_s=limit_s)

    async def _answer(self, asked: Asked, *, granted: bool, reason: str, limit_s: float) -> Executed:
        """Answer a request that the device waits for (Access Control, ExternalAuthorization)."""
        arguments: dict[str, Any] = {"AccessPointToken": asked.access_point}
        if asked.credential is not None:
            arguments["CredentialToken"] = asked.credential
        if reason:
            arguments["Reason"] = reason
        arguments["Decision"] = "Granted" if granted else "Denied"
        await self._client.ask("access", "ExternalAuthorization", arguments=arguments, limit_s=limit_s)
        self._asked.pop(asked.request.id, None)
        return Executed(ok=True)

    # ---- relays -----------------------------------------------------------------------------------------------------

    async def _pulse(self, relay: str, *, hold_s: float, limit_s: float) -> Executed:
        """Switch a relay on; a monostable one falls back by itself, any other one we let go of, whatever it answered."""
        if self._monostable.get(relay, False):
            await self._switch(relay, on=True, limit_s=limit_s)
            return Executed(ok=True)
        self._held.add(relay)
        self._keep_on(relay)
        try:
            await self._switch(relay, on=True, limit_s=limit_s)
        finally:
            self._keep_on(relay)
            if not self._closed:
                self._releasing[relay] = asyncio.create_task(self._let_go(relay, after_s=hold_s), name=f"relay {relay}")
        return Executed(ok=True)

    def _keep_on(self, relay: str) -> None:
        """Call off the release of an earlier pulse: a later one makes its own."""
        releasing = self._releasing.pop(relay, None)
        if releasing is not None:
            releasing.cancel()

    async def _let_go(self, relay: str, *, after_s: float) -> None:
        await asyncio.sleep(after_s)
        pause_s = LET_GO_AGAIN_S
        while not await self._switched_off(relay):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LET_GO_PAUSE_MOST_S)

    async def _switched_off(self, relay: str) -> bool:
        """Let go of a relay; return whether the device has done so."""
        try:
            async with asyncio.timeout(LET_GO_S):
                await self._switch(relay, on=False, limit_s=LET_GO_S)
        except (DeviceUnreachable, DeviceRefused, InvalidInput, TimeoutError) as error:
            log.warning("%s: relay %s may still be on: %s", self._client.endpoint.address, relay, error)
            return False
        self._held.discard(relay)
        return True

    async def _switch(self, relay: str, *, on: bool, limit_s: float) -> None:
        arguments = {"RelayOutputToken": relay, "LogicalState": "active" if on else "inactive"}
        await self._client.ask("device", "SetRelayOutputState", arguments=arguments, limit_s=limit_s)

    # ---- modes ------------------------------------------------------------------------------------------------------

    async def _set_mode(self, order: SetMode) -> Executed:
        token = self._parts[order.door_id].door
        if token is None:
            return UNSUPPORTED
        async with self._setting[order.door_id]:
            if order.version < self._versions.get(order.door_id, order.version):
                return Executed(ok=False, error="a newer mode is in force")
            self._versions[order.door_id] = order.version
            await self._move(token, order.mode)
            self.ordered[order.door_id] = order.mode
        self._on_mode(order.door_id)
        return Executed(ok=True)

    async def _move(self, token: str, mode: str) -> None:
        """Bring a door into a mode, first out of one that accepts nothing but its release."""
        stands = (await standing_of(self._client, token)).mode
        wanted, command, instead = ENTERING.get(mode, ("", "LockDoor", "LockDoor"))
        if stands == wanted:
            return
        if stands in LEAVING:
            await self._command(LEAVING[stands], token)
        if not wanted and stands not in ("Blocked", "Unlocked"):
            return
        try:
            await self._command(command, token)
        except soap.Fault as fault:
            if not fault.unknown or instead == command:
                raise
            await self._command(instead, token)

    async def _command(self, operation: str, token: str) -> None:
        service: Service = "door"
        await self._client.ask(service, operation, arguments={"Token": token})
