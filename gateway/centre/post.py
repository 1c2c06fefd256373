"""Send one signed message to a centre and judge the answer. Keeps nothing and retries nothing."""

from __future__ import annotations

import asyncio
import email.utils
from datetime import UTC, datetime
from typing import Literal

import httpx
import msgspec

from gateway.centre.address import Network, resolve
from gateway.centre.events import CONTENT_TYPE
from gateway.centre.signing import signature_headers
from models.errors import DeviceRefused, DeviceUnreachable

ANSWER_BYTES = 64 * 1024
RETRY_AFTER_MOST_S = 3600.0
PAUSING = frozenset({401, 403, 404, 410})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Say what became of an attempt. `wait_s` is what the centre asked for, if it did."""

    state: Literal["delivered", "retry", "pause", "dead"]
    status: int | None = None
    answer: str = ""
    wait_s: float | None = None


def judge(status: int, answer: str, *, retry_after: str | None, at: datetime) -> Outcome:
    """Return what a status means: 2xx delivered, 401/403/404/410 pause, 429/5xx/3xx retry, other 4xx dead."""
    if 200 <= status < 300:
        return Outcome(state="delivered", status=status)
    if status in PAUSING:
        return Outcome(state="pause", status=status, answer=answer)
    if status == 429 or status >= 500 or status < 400 or status == 408:
        return Outcome(state="retry", status=status, answer=answer, wait_s=asked_wait_s(retry_after, at=at))
    return Outcome(state="dead", status=status, answer=answer)


def asked_wait_s(retry_after: str | None, *, at: datetime) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3), at most an hour; None if absent or unreadable."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.strip().isdigit():
        return min(float(retry_after), RETRY_AFTER_MOST_S)
    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # a hostile date has years and zones of any size
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(0.0, (until - at).total_seconds()), RETRY_AFTER_MOST_S)


class Sender:
    """Post signed messages to one address; a redirect is an answer like any other, never followed."""

    def __init__(self, url: str, *, keys: tuple[str, ...], allowed: tuple[Network, ...], timeout_s: float) -> None:
        self._url = url
        self._keys = keys
        self._allowed = allowed
        self.timeout_s = timeout_s
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=30)
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False, limits=limits)

    async def close(self) -> None:
        """Close kept connections."""
        await self._client.aclose()

    async def post(self, message_id: str, body: bytes, *, at: datetime) -> Outcome:
        """Post a message once; whatever happens is an outcome."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._post(message_id, body, at=at)
        except TimeoutError:
            return Outcome(state="retry", answer=f"no answer within {self.timeout_s:.0f} s")
        except (httpx.HTTPError, httpx.InvalidURL, DeviceUnreachable, DeviceRefused) as error:
            return Outcome(state="retry", answer=f"{type(error).__name__}: {error}"[:500])

    async def _post(self, message_id: str, body: bytes, *, at: datetime) -> Outcome:
        address = await resolve(self._url, allowed=self._allowed)
        headers = signature_headers(message_id, timestamp_s=int(at.timestamp()), body=body, keys=self._keys)
        headers |= {"Host": address.host, "Content-Type": CONTENT_TYPE, "User-Agent": "gatehouse"}
        tls = {"sni_hostname": address.server_name}
        async with self._client.stream("POST", address.url, content=body, headers=headers, extensions=tls) as answer:
            text = await _bounded(answer)
            return judge(answer.status_code, text, retry_after=answer.headers.get("retry-after"), at=at)

    async def get(self, *, query: str, message_id: str, at: datetime) -> tuple[int, bytes]:
        """Fetch the address with a query, signed over an empty body; return status and at most 1 MiB of the answer.

        Raises:
            DeviceUnreachable: no whole answer in time.
        """
        try:
            async with asyncio.timeout(self.timeout_s):
                address = await resolve(self._url, allowed=self._allowed)
                headers = signature_headers(message_id, timestamp_s=int(at.timestamp()), body=b"", keys=self._keys)
                headers |= {"Host": address.host}
                tls = {"sni_hostname": address.server_name}
                target = address.url + ("&" if "?" in address.url else "?") + query
                async with self._client.stream("GET", target, headers=headers, extensions=tls) as answer:
                    return answer.status_code, (await _bounded(answer, most=1024 * 1024)).encode()
        except (TimeoutError, httpx.HTTPError, DeviceRefused) as error:
            raise DeviceUnreachable("centre", f"receipts: {type(error).__name__}: {error}") from error


async def _bounded(answer: httpx.Response, *, most: int = ANSWER_BYTES) -> str:
    kept = bytearray()
    async for chunk in answer.aiter_raw():
        kept += chunk
        if len(kept) >= most:
            break
    return bytes(kept[:most]).decode("utf-8", "replace").replace("\x00", "")
