"""The ONVIF side of a camera: its tamper events, and the stored position that it returns to. Its stream is drivers.rtsp.

A camera that is tampered with when we connect is not told as if it had just happened: `Initialized` raises nothing, it
only ends what was told before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Final, Self

import msgspec

from drivers.onvif import soap
from drivers.onvif.client import OnvifClient
from drivers.onvif.endpoint import Endpoint, endpoint_of
from drivers.onvif.events import PullPoint
from drivers.onvif.media import Media
from drivers.onvif.refusals import REFUSALS, Refusals
from drivers.onvif.wire import Notification
from models.errors import DeviceRefused, InvalidInput

TOPICS: Final = (
    "VideoSource/SignalLoss",
    "VideoSource/GlobalSceneChange",
    "VideoSource/ImageTooDark",
    "VideoSource/ImageTooBlurry",
    "VideoSource/ImpairedVisibility",
    "RuleEngine/TamperDetector",
)
"""What a camera calls tampering, by the beginnings of its topics (ONVIF Imaging, 6; Analytics, annex A)."""
SOURCES: Final = ("Source", "VideoSource", "VideoSourceToken")
STATES: Final = ("State", "IsTamper", "LogicalState")
TRUE: Final = frozenset({"true", "1"})
LOSSES_MOST: Final = 4
GARBAGE_MOST: Final = 4


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """Say which camera of a device it is; `preset` is the stored position to return to."""

    source: Annotated[str, msgspec.Meta(max_length=64)] = ""
    profile: Annotated[str, msgspec.Meta(max_length=64)] = ""
    preset: Annotated[str, msgspec.Meta(max_length=64)] = ""
    picture_url: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class OnvifCamera:
    """Listen to one camera of a device; a `CameraDevice`.

    Args:
        endpoint: the device.
        side: which of its cameras.
        now: the caller's clock.
        refusals: devices that are left alone because they refused their credentials.
    """

    def __init__(
        self, endpoint: Endpoint, *, side: Side, now: Callable[[], datetime], refusals: Refusals = REFUSALS
    ) -> None:
        self._endpoint = endpoint
        self._side = side
        self._now = now
        self._refusals = refusals
        self._client = OnvifClient(endpoint, now=now)
        self._subscription = PullPoint(self._client, pull_s=endpoint.pull_s)
        self._stack = AsyncExitStack()
        self._on: dict[tuple[str, str], bool] = {}
        self._told: bool | None = None

    async def __aenter__(self) -> Self:
        """Connect and subscribe; raises what `OnvifClient` raises."""
        self._refusals.check(self._endpoint, at=self._now())
        try:
            async with AsyncExitStack() as opening:
                await opening.enter_async_context(self._client)
                await self._subscribe()
                self._stack = opening.pop_all()
        except soap.Fault as fault:
            if fault.unauthorised:
                self._refusals.note(self._endpoint, at=self._now())
            raise
        self._refusals.forget(self._endpoint)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def clock_off_s(self) -> float | None:
        """Return by how much the device's clock is ahead of ours, in s, measured now; None where it does not tell the time."""
        off = await self._client.measure_clock()
        return None if off is None else off.total_seconds()

    async def go_home(self) -> None:
        """Turn to the stored position; one that the device does not have is refused with those that it has.

        Raises:
            DeviceRefused: it has no such position, or does not turn.
        """
        if not self._side.preset:
            return
        media = Media(self._client)
        known = await media.presets(self._side.profile)
        wanted = next((token for token, name in known.items() if self._side.preset in (token, name)), None)
        if wanted is None:
            names = ", ".join(sorted(name or token for token, name in known.items()))[:120] or "none"
            raise DeviceRefused(self._endpoint.address, f"it has no stored position {self._side.preset}, but {names}")
        await media.go_to(self._side.profile, wanted)

    async def tampers(self) -> AsyncGenerator[bool, None]:
        """Yield whether it is tampered with; a lost subscription is made anew. Raises why the connection ended."""
        losses = garbled = 0
        try:
            while True:
                try:
                    batch = await self._subscription.pull()
                except soap.Fault as fault:
                    losses += 1
                    if fault.unauthorised or losses > LOSSES_MOST:
                        raise
                    await self._subscribe()
                    continue
                except InvalidInput:
                    garbled += 1
                    if garbled > GARBAGE_MOST:
                        raise
                    continue
                losses = garbled = 0
                for told in batch.notifications:
                    self._take(told)
                tampered = any(self._on.values())
                if self._on and tampered != self._told:
                    self._told = tampered
                    yield tampered
        finally:
            await self._subscription.close()

    async def _subscribe(self) -> None:
        await self._subscription.open()
        await self._subscription.synchronise()

    def _take(self, told: Notification) -> None:
        source = told.token(*SOURCES)
        ours = not source or not self._side.source or source == self._side.source
        if not ours or not told.topic.startswith(TOPICS):
            return
        on = told.value(*STATES).lower() in TRUE
        if not on or told.operation == "Changed":
            self._on[told.topic, source] = on


def camera_of(settings: Mapping[str, object], *, now: Callable[[], datetime]) -> OnvifCamera:
    """Return the ONVIF side of a camera, not yet connected.

    Raises:
        InvalidInput: a setting is unknown or cannot be used.
    """
    beside = {key: value for key, value in settings.items() if key in Side.__struct_fields__}
    try:
        side = msgspec.convert(beside, Side)
    except msgspec.ValidationError as error:
        raise InvalidInput("device", str(error)) from None
    endpoint = endpoint_of({key: value for key, value in settings.items() if key not in beside})
    return OnvifCamera(endpoint, side=side, now=now)
