"""Signed requests to the gateway: one edge, one key, one client; what an answer means for the link is judged here.

It keeps no queue and tries nothing again (edge.uplink does), but for a request that was refused over the time alone.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode

import httpx
import msgspec

from edge.clock import SteadyClock
from edge.identity import Signer
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from models.link import (
    HEADER_DIGEST,
    HEADER_TIME,
    MAX_PHOTO_BYTES,
    MAX_VIDEO_BYTES,
    Heard,
    Introduction,
    Progress,
    Welcome,
)

log = logging.getLogger("gatehouse.edge.channel")

TIMEOUT: Final = httpx.Timeout(10.0, connect=5.0)
UPLOAD_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
CHUNK_BYTES: Final = 64 * 1024
MediaType = Literal["image/jpeg", "image/png", "video/mp4"]


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """Name a file that the gateway shall keep: which camera made it, when, for which fact, and whether faces are blurred."""

    id: str
    camera_id: str
    at: datetime
    kind: MediaType
    blurred: bool
    fact_id: str | None = None

    @property
    def target(self) -> str:
        """Return the path and query that the upload is posted to."""
        about = {
            "id": self.id,
            "camera": self.camera_id,
            "at": self.at.isoformat(),
            "blurred": "yes" if self.blurred else "no",
        }
        return f"/edge/v1/media?{urlencode(about | ({'fact': self.fact_id} if self.fact_id else {}))}"

    @property
    def limit_bytes(self) -> int:
        """Return how long the file may be."""
        return MAX_VIDEO_BYTES if self.kind == "video/mp4" else MAX_PHOTO_BYTES


class Channel:
    """Ask the gateway as one edge."""

    def __init__(self, *, client: httpx.AsyncClient, signer: Signer, clock: SteadyClock) -> None:
        self.client = client
        self.signer = signer
        self._clock = clock
        self.unwelcome = False
        """True while the gateway refuses our signature: it does not know this edge, or has revoked it."""
        self.last_heard: float | None = None
        """Steady Unix time of the gateway's last answer."""

    def gateway_now(self) -> datetime:
        """Return the gateway's time as far as it is known: deadlines are in its clock."""
        return self._clock.now() + timedelta(seconds=self.signer.offset_s)

    async def request(
        self,
        method: str,
        target: str,
        *,
        content: bytes = b"",
        headers: dict[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """Send one signed request; once more if only our idea of the gateway's clock was wrong.

        A status in `accept` is the caller's to judge.

        Raises:
            DeviceUnreachable: the gateway is away, or busy.
            DeviceRefused: it says no.
        """
        for last in (False, True):
            signed = {**(headers or {}), **self.signer.headers(method, target, body=content)}
            if content:
                signed.setdefault("Content-Type", "application/json")
            try:
                answer = await self.client.request(method, target, content=content, headers=signed)
            except httpx.HTTPError as error:
                raise DeviceUnreachable("gateway", f"{method} {target}: {say(error)}") from error
            if not last and self.clock_refused(answer):
                continue
            return answer if answer.status_code in accept else self.judge(answer)
        raise DeviceUnreachable("gateway", f"{method} {target}: refused twice")

    async def upload(self, media: Upload, file: Path) -> bool:
        """Send a file, streamed and never held in memory; return whether the gateway has it now for the first time.

        Raises:
            InvalidInput: the file is empty or too long.
            DeviceRefused: the gateway does not take it; sending it again is of no use.
            DeviceUnreachable: the gateway is away; send it again.
            OSError: the file cannot be read.
        """
        size, digest = await asyncio.to_thread(_measured, file, media.limit_bytes)
        for last in (False, True):
            headers = {
                **self.signer.headers_for(digest, method="POST", target=media.target),
                HEADER_DIGEST: digest, "Content-Type": media.kind, "Content-Length": str(size),
            }  # fmt: skip
            try:
                answer = await self.client.post(
                    media.target, content=_chunks(file), headers=headers, timeout=UPLOAD_TIMEOUT
                )
            except httpx.HTTPError as error:
                raise DeviceUnreachable("gateway", f"media: {say(error)}") from error
            if last or not self.clock_refused(answer):
                return self.judge(answer).status_code == httpx.codes.CREATED
        raise DeviceUnreachable("gateway", "media: refused twice")

    async def progress(self, told: Progress) -> bool:
        """Say how far a command is; return whether anybody still wants it.

        Raises:
            DeviceUnreachable: the gateway is away, busy, or its answer cannot be read.
            DeviceRefused: it says no.
        """
        answer = await self.request("POST", "/edge/v1/progress", content=msgspec.json.encode(told))
        try:
            return msgspec.json.decode(answer.content, type=Heard).wanted
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DeviceUnreachable("gateway", f"the answer to progress cannot be read: {error}") from error

    def clock_refused(self, answer: httpx.Response) -> bool:
        """Return whether a refusal taught another time, so that the request deserves a second try."""
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return False
        return self.signer.learn_offset(answer.headers.get(HEADER_TIME))

    def judge(self, answer: httpx.Response) -> httpx.Response:
        """Return an answer that is a yes.

        Raises:
            DeviceUnreachable: the gateway cannot answer now.
            DeviceRefused: it says no.
        """
        code = answer.status_code
        self.unwelcome = code == httpx.codes.UNAUTHORIZED
        if code >= 500 or code in (408, 425, 429):
            raise DeviceUnreachable("gateway", f"it answered {code}")
        if code >= 400:
            raise DeviceRefused("gateway", f"it answered {code}: {answer.text[:200]}")
        if 300 <= code < 400 and code != httpx.codes.NOT_MODIFIED:
            raise DeviceUnreachable("gateway", f"it answered with a redirect ({code}), which is not followed")
        self.heard()
        return answer

    def heard(self) -> None:
        """Note that the gateway accepted a signature a moment ago, and with it our time but for a known offset."""
        self._clock.compare(self.signer.offset_s)  # first: it may be what sets our time right
        self.last_heard = self._clock.unix()


def say(error: Exception) -> str:
    """Return what an error says, or its name where it says nothing."""
    return str(error) or type(error).__name__


def _measured(file: Path, limit_bytes: int) -> tuple[int, str]:
    """Return the length of a file and its hex SHA-256."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if not 0 < size <= limit_bytes:
            raise InvalidInput(file.name, f"has {size} bytes: 1 to {limit_bytes} are taken")
        return size, hashlib.file_digest(stream, "sha256").hexdigest()


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


async def introduce(client: httpx.AsyncClient, introduction: Introduction) -> Welcome:
    """Introduce this edge with its one-time token; return the gateway's welcome, whose key the token vouches for.

    Raises:
        DeviceRefused: the token is wrong, spent or too old, or the gateway is not the one that made it.
        DeviceUnreachable: the gateway is away.
    """
    content = msgspec.json.encode(introduction)
    try:
        answer = await client.post("/edge/v1/enrol", content=content, headers={"Content-Type": "application/json"})
    except httpx.HTTPError as error:
        raise DeviceUnreachable("gateway", f"enrol: {say(error)}") from error
    if answer.status_code >= 500 or answer.status_code == 429:
        raise DeviceUnreachable("gateway", f"enrol: the gateway answered {answer.status_code}")
    if answer.status_code not in (200, 201):
        raise DeviceRefused("gateway", f"it answered {answer.status_code}: {answer.text[:200]}")
    try:
        welcome = msgspec.json.decode(answer.content, type=Welcome)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DeviceUnreachable("gateway", f"enrol: unreadable answer: {error}") from error
    if not vouches(introduction.token, welcome.gateway_key):
        raise DeviceRefused("gateway", "its key is not the one that the token was made for: this is another gateway")
    return welcome


def vouches(token: str, gateway_key: str) -> bool:
    """Return whether a token (`secret.pin`) names this gateway key by its SHA-256, base64url without padding."""
    try:
        raw = base64.b64decode(gateway_key, validate=True)
    except (ValueError, binascii.Error):
        return False
    pin = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")
    return len(raw) == 32 and hmac.compare_digest(token.rpartition(".")[2].encode(), pin.encode())
