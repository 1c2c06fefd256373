"""One device asked what it is: its certificate, its clock, who made it, its cameras, doors and relays. Changes nothing.

Credentials go to no certificate that is neither verified nor pinned. However far it gets, the answer is a candidate: the
rung of the ladder that was reached, and in one word why no further.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec

from drivers.onvif import soap
from drivers.onvif.client import OnvifClient
from drivers.onvif.endpoint import Endpoint, endpoint_of
from drivers.onvif.media import Media
from drivers.onvif.parts import find_parts
from models.devices import PARTS_MOST, Candidate, Part, Setting
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput

SERVICE: Final = "/onvif/device_service"
ASK_S: Final = 5.0
WHOLE_S: Final = 30.0
WORD_CHARS: Final = 128


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say whom to ask, and as whom. `address` is a URL, or a host with or without a port."""

    address: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    user: Annotated[str, msgspec.Meta(max_length=128)] = ""
    password: Annotated[str, msgspec.Meta(max_length=256)] = ""
    fingerprint: Annotated[str, msgspec.Meta(max_length=128)] = ""

    def __repr__(self) -> str:
        """Show whom, without the password."""
        return f"Asked({self.address!r} as {self.user!r})"


async def probe(settings: Mapping[str, object], *, now: Callable[[], datetime]) -> Candidate:
    """Return a device as far as it can be reached, with its parts where the credentials open them.

    Raises:
        InvalidInput: the address cannot be one.
    """
    try:
        asked = msgspec.convert(settings, Asked)
    except msgspec.ValidationError as error:
        raise InvalidInput("address", str(error)) from None
    candidate = None
    for url in _urls(asked.address):
        found = await _probe_url(asked, url, now=now)
        if found.trouble not in ("unreachable", "unsupported"):
            return found
        candidate = candidate or found
    if candidate is None:
        raise InvalidInput("address", "must be an address")
    return candidate


async def _probe_url(asked: Asked, url: str, *, now: Callable[[], datetime]) -> Candidate:
    endpoint_of({"url": url})
    candidate = Candidate(id=f"onvif-{urlsplit(url).netloc}", wire="onvif", address=url, seen_at=now())
    settings: dict[str, object] = {"url": url, "user": asked.user, "password": asked.password, "timeout_s": ASK_S}
    if url.startswith("https://"):
        try:
            shown, verified = await _certificate(url)
        except DeviceUnreachable as error:
            return _stuck(candidate, "unreachable", error)
        candidate = msgspec.structs.replace(candidate, reach="answers", fingerprint=shown)
        pinned = asked.fingerprint.replace(":", "").lower()
        if pinned != shown and (pinned or not verified):
            why = "it shows another certificate" if pinned else "its certificate is vouched for by nobody known here"
            shut = DeviceRefused(url, why).because("other_certificate" if pinned else "unvouched")
            return _stuck(candidate, "certificate", shut)
        settings["fingerprint"] = shown
    try:
        async with asyncio.timeout(WHOLE_S):
            return await _ask(endpoint_of(settings), candidate, now=now)
    except TimeoutError:
        late = DeviceUnreachable(url, f"it had not told everything after {WHOLE_S:.0f} s").because("too_slow")
        return _stuck(candidate, "unreachable", late)


async def _ask(endpoint: Endpoint, candidate: Candidate, *, now: Callable[[], datetime]) -> Candidate:
    try:
        async with OnvifClient(endpoint, now=now) as client:
            off_s = round(client.offset.total_seconds(), 1)
            candidate = msgspec.structs.replace(candidate, reach="trusted", clock_off_s=off_s)
            if identity := await client.identity():
                candidate = msgspec.structs.replace(candidate, id=f"onvif-{identity}")
            candidate = _introduced(candidate, await client.ask("device", "GetDeviceInformation"))
            parts = await _parts(client, fingerprint=candidate.fingerprint)
            return msgspec.structs.replace(candidate, reach="known", parts=parts[:PARTS_MOST])
    except soap.Fault as fault:
        if fault.unauthorised:
            answers = msgspec.structs.replace(candidate, reach="trusted")
            return _stuck(answers, "credentials", fault)
        return _stuck(candidate, "unsupported", fault)
    except DeviceUnreachable as error:
        return _stuck(candidate, "unreachable", error)
    except DeviceRefused as error:
        return _stuck(candidate, "certificate", error)
    except InvalidInput as error:
        return _stuck(candidate, "unsupported", error)


def _introduced(candidate: Candidate, told: Any) -> Candidate:
    said: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    words = {
        name: str(said.get(item) or "").strip()[:WORD_CHARS]
        for name, item in (
            ("maker", "Manufacturer"),
            ("model", "Model"),
            ("serial", "SerialNumber"),
            ("firmware", "FirmwareVersion"),
        )
    }
    return msgspec.structs.replace(candidate, **words)


async def _parts(client: OnvifClient, *, fingerprint: str) -> tuple[Part, ...]:
    common: dict[str, Setting] = {"kind": "onvif", "url": client.endpoint.url}
    if fingerprint:
        common["fingerprint"] = fingerprint
    parts = [
        Part(
            id=camera.source or camera.sub.token,
            kind="camera",
            name=camera.name,
            url=camera.url,
            main_url=camera.main_url,
            codec=camera.sub.codec,
            width_px=camera.sub.width_px,
            height_px=camera.sub.height_px,
            capabilities=("presets",) if camera.sub.turns else (),
            settings={
                **common,
                "source": camera.source,
                "profile": camera.sub.token,
                "picture_url": camera.picture_url,
            },
        )
        for camera in await Media(client).cameras()
    ]
    found = await find_parts(client)
    for door in found.doors:
        can = tuple(sorted(door.capabilities))
        named = door.name or door.token
        parts.append(
            Part(id=door.token, kind="door", name=named, capabilities=can, settings={**common, "door": door.token})
        )
    relays = (
        Part(id=relay.token, kind="relay", capabilities=("relay",), settings={**common, "relay": relay.token})
        for relay in found.relays
    )
    return (*parts, *relays)


async def _certificate(url: str) -> tuple[str, bool]:
    """Return the SHA-256 of the certificate that a device shows, and whether an authority vouches for it.

    Raises:
        DeviceUnreachable: no TLS there.
    """
    shown = await _handshake(url, _any_certificate())
    if shown is None:
        raise DeviceUnreachable(urlsplit(url).netloc, "no TLS there").because("no_tls")
    return hashlib.sha256(shown).hexdigest(), await _handshake(url, ssl.create_default_context()) is not None


async def _handshake(url: str, context: ssl.SSLContext) -> bytes | None:
    """Return the certificate of a handshake, or None if there was none within the limit; nothing else is said."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(ASK_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context)
    except (OSError, TimeoutError, ssl.SSLError):
        return None
    try:
        inside = writer.get_extra_info("ssl_object")
        return bytes(inside.getpeercert(binary_form=True) or b"") or None
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(1.0):
                await writer.wait_closed()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to look at it: nothing is sent over this connection
    return context


def _urls(address: str) -> tuple[str, ...]:
    """Return the device services that an address may mean: the one that it names, else with TLS and without."""
    if "://" in address:
        return (address if urlsplit(address).path.strip("/") else address.rstrip("/") + SERVICE,)
    return f"https://{address}{SERVICE}", f"http://{address}{SERVICE}"


def _stuck(candidate: Candidate, trouble: str, error: DeviceUnreachable | DeviceRefused | InvalidInput) -> Candidate:
    return msgspec.structs.replace(candidate, trouble=trouble, detail=error.what[:200], code=error.reason)
