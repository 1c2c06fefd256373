"""What a camera offers: its profiles by Media2, else by Media, stream and picture addresses, and stored positions.

Addresses come back on the device's own host and without credentials. Media2 has no WSDL in the package whose files we
use, so its three operations are made and read by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from lxml import etree

from drivers.onvif import soap
from drivers.onvif.client import OnvifClient
from drivers.onvif.endpoint import same_device, same_host
from drivers.onvif.markup import local, text_of
from models.errors import InvalidInput

MEDIA2: Final = "http://www.onvif.org/ver20/media/wsdl"
PROFILES_MOST: Final = 64
PRESETS_MOST: Final = 256
TOKEN_CHARS: Final = 64
CODECS: Final[Mapping[str, str]] = {"H264": "h264", "H265": "h265", "HEVC": "h265", "JPEG": "mjpeg", "MPEG4": "mpeg4"}
SMALLEST_PX: Final = 320
"""A sub-stream has at least this width: below it nobody can be seen."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one media profile; `source` is the video source, which is the camera itself."""

    token: str
    name: str = ""
    source: str = ""
    codec: str = ""
    width_px: int = 0
    height_px: int = 0
    turns: bool = False
    """Whether it can be moved to stored positions."""


class CameraFound(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one camera of a device: the smaller stream to look at, the larger one to record, a picture."""

    source: str
    name: str
    sub: Profile
    main: Profile
    url: str
    main_url: str
    picture_url: str = ""


class Media:
    """Ask a device for its cameras.

    Args:
        client: the device, entered.
    """

    def __init__(self, client: OnvifClient) -> None:
        self._client = client
        self._second = MEDIA2 in client.services

    async def profiles(self) -> tuple[Profile, ...]:
        """Return the profiles; none where the device has no camera. Raises what `OnvifClient.ask` raises."""
        if self._second:
            try:
                told = await self._client.ask_by_hand("GetProfiles", {"Type": "All"}, service=MEDIA2)
                return tuple(_profile_of_two(e) for e in _named(told, "Profiles"))[:PROFILES_MOST]
            except soap.Fault as fault:
                if fault.unauthorised:
                    raise
                self._second = False  # it lists Media2 and does not have it
        try:
            profiles = await self._client.ask("media", "GetProfiles")
        except soap.Fault as fault:
            if fault.unauthorised:
                raise
            return ()
        listed = profiles if isinstance(profiles, list) else []
        return tuple(_profile_of_one(entry) for entry in listed[:PROFILES_MOST] if isinstance(entry, Mapping))

    async def cameras(self) -> tuple[CameraFound, ...]:
        """Return the cameras with their addresses, one for each video source that has a stream we can read."""
        usable = [p for p in await self.profiles() if p.token and p.codec in ("h264", "h265")]
        found = []
        for source in dict.fromkeys(profile.source for profile in usable):
            sub, main = _roles(profile for profile in usable if profile.source == source)
            url = await self.stream_url(sub.token)
            main_url = url if main == sub else await self.stream_url(main.token)
            picture_url = await self._picture_url_if_any(sub.token)
            name = source or main.name or main.token
            found.append(
                CameraFound(
                    source=source, name=name, sub=sub, main=main, url=url, main_url=main_url, picture_url=picture_url
                )
            )
        return tuple(found)

    async def stream_url(self, profile: str) -> str:
        """Return the RTSP address of a profile; raises what `OnvifClient.ask` raises."""
        if self._second:
            items = {"Protocol": "RTSP", "ProfileToken": profile}
            told = _uri(await self._client.ask_by_hand("GetStreamUri", items, service=MEDIA2))
        else:
            setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
            arguments = {"StreamSetup": setup, "ProfileToken": profile}
            told = _media_uri(await self._client.ask("media", "GetStreamUri", arguments=arguments))
        return same_host(told, base=self._client.endpoint.url)

    async def picture_url(self, profile: str) -> str:
        """Return the address of a still picture; raises what `OnvifClient.ask` raises."""
        if self._second:
            told = _uri(await self._client.ask_by_hand("GetSnapshotUri", {"ProfileToken": profile}, service=MEDIA2))
        else:
            told = _media_uri(await self._client.ask("media", "GetSnapshotUri", arguments={"ProfileToken": profile}))
        return same_device(told, base=self._client.endpoint.url)

    async def presets(self, profile: str) -> dict[str, str]:
        """Return the stored positions of a profile, name by token; none where it cannot be moved."""
        try:
            told = await self._client.ask("ptz", "GetPresets", arguments={"ProfileToken": profile})
        except soap.Fault as fault:
            if fault.unauthorised:
                raise
            return {}
        listed = [entry for entry in (told if isinstance(told, list) else []) if isinstance(entry, Mapping)]
        return {_short(entry.get("token")): _short(entry.get("Name")) for entry in listed[:PRESETS_MOST]}

    async def go_to(self, profile: str, preset: str) -> None:
        """Turn the camera to a stored position; raises what `OnvifClient.ask` raises."""
        arguments = {"ProfileToken": profile, "PresetToken": preset}
        await self._client.ask("ptz", "GotoPreset", arguments=arguments)

    async def _picture_url_if_any(self, profile: str) -> str:
        try:
            return await self.picture_url(profile)
        except (soap.Fault, InvalidInput):
            return ""


def _roles(profiles: Iterable[Profile]) -> tuple[Profile, Profile]:
    """Return the profile to look at and the one to record: the smallest that shows anybody, and the largest."""
    by_size = sorted(profiles, key=lambda p: p.width_px * p.height_px)
    large_enough = [profile for profile in by_size if profile.width_px >= SMALLEST_PX]
    return (large_enough or by_size)[0], by_size[-1]


def _profile_of_two(element: etree._Element) -> Profile:
    """Read a profile of Media2 (Media2, 5.2.2)."""
    encoder = next(_named(element, "VideoEncoder"), None)
    source = next(_named(element, "VideoSource"), None)
    size = None if encoder is None else next(_named(encoder, "Resolution"), None)
    return Profile(
        token=_short(element.get("token")),
        name=text_of(next(_named(element, "Name"), None), limit=TOKEN_CHARS),
        source="" if source is None else text_of(next(_named(source, "SourceToken"), None), limit=TOKEN_CHARS),
        codec="" if encoder is None else _codec(text_of(next(_named(encoder, "Encoding"), None))),
        width_px=0 if size is None else _pixels(text_of(next(_named(size, "Width"), None))),
        height_px=0 if size is None else _pixels(text_of(next(_named(size, "Height"), None))),
        turns=next(_named(element, "PTZ"), None) is not None,
    )


def _profile_of_one(told: Mapping[str, Any]) -> Profile:
    """Read a profile of Media (Media, 5.1)."""
    encoder = told.get("VideoEncoderConfiguration") or {}
    size = encoder.get("Resolution") or {}
    return Profile(
        token=_short(told.get("token")),
        name=_short(told.get("Name")),
        source=_short((told.get("VideoSourceConfiguration") or {}).get("SourceToken")),
        codec=_codec(str(encoder.get("Encoding") or "")),
        width_px=_pixels(size.get("Width")),
        height_px=_pixels(size.get("Height")),
        turns=bool(told.get("PTZConfiguration")),
    )


def _named(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Return the nearest elements of a name below another, in their order."""
    return (child for child in element.iterdescendants() if local(child) == name)


def _uri(answer: etree._Element) -> str:
    return text_of(next(_named(answer, "Uri"), None), limit=1001)


def _media_uri(told: Any) -> str:
    return str(told.get("Uri") or "")[:1001] if isinstance(told, Mapping) else ""


def _codec(encoding: str) -> str:
    return CODECS.get(encoding.strip().upper(), encoding.strip().lower()[:16])


def _pixels(value: object) -> int:
    text = str(value or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0


def _short(value: object) -> str:
    return str(value or "").strip()[:TOKEN_CHARS]
