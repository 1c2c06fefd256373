"""HTTP to one device: digest, TLS by pin or authority, sizes and times bounded. One request, one answer, no repetition.

Nothing is followed, decompressed or fetched for anybody else: no redirects, no proxies, no cookies of others.
"""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Final, Self

import httpx
import msgspec

from drivers.onvif.endpoint import Endpoint, tls_context
from drivers.onvif.security import prefer_sha256
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput

CONNECTIONS: Final = 4
"""One holds a pull of events open; the others carry orders and questions."""
AGENT: Final = "gatehouse"
UNREADABLE: Final = (
    httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, LookupError, NotImplementedError,
)  # fmt: skip
"""What httpx raises for an answer, or a digest challenge, that is none or that it does not know."""


class Unanswered(DeviceUnreachable):
    """Report a request that was sent, or may have been, and got no whole answer: the device may have obeyed."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an answer within bounds."""

    status: int
    body: bytes


class Transport:
    """Carry requests to one device; entered for its connections, left to close them.

    Args:
        endpoint: the device.
        digest: answer HTTP digest challenges with its credentials.
    """

    def __init__(self, endpoint: Endpoint, *, digest: bool = True) -> None:
        self._endpoint = endpoint
        context = tls_context(endpoint)
        answers = digest and endpoint.user and endpoint.auth != "wss"
        self._auth = httpx.DigestAuth(endpoint.user, endpoint.password) if answers else None
        self._client = httpx.AsyncClient(
            verify=False if context is None else context,  # without TLS there is nothing to verify, nor to read for it
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
            event_hooks={"response": [prefer_sha256]},
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def post(self, url: str, content: bytes, *, content_type: str, limit_s: float, max_bytes: int) -> Answer:
        """Return the answer to one POST.

        Args:
            url: on the device's own host (`same_device`).
            content: what to send.
            content_type: what it is.
            limit_s: the most that everything may take, the connection included.
            max_bytes: the most that the answer may have.

        Raises:
            DeviceUnreachable: no connection, so nothing was sent.
            Unanswered: sent, and no whole answer within the limit.
            DeviceRefused: the certificate is not the expected one, or is out of date.
            InvalidInput: the answer is larger than allowed, compressed, or no HTTP.
        """
        where = self._endpoint.address
        request = self._client.build_request("POST", url, content=content, headers={"Content-Type": content_type})
        request.extensions["timeout"] = httpx.Timeout(limit_s, connect=min(limit_s, self._endpoint.timeout_s)).as_dict()
        try:
            async with asyncio.timeout(limit_s):
                return await self._read(request, max_bytes=max_bytes)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _not_connected(where, error) from None
        except (httpx.TimeoutException, TimeoutError):
            raise Unanswered(where, "no answer in time").because("no_answer") from None
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise Unanswered(where, f"the connection ended: {str(error)[:120] or type(error).__name__}").because(
                "cut_off"
            ) from None
        except UNREADABLE as error:
            raise InvalidInput(where, f"it answered something that is no HTTP: {str(error)[:120]}").because(
                "no_http"
            ) from None

    async def _read(self, request: httpx.Request, *, max_bytes: int) -> Answer:
        response = await self._client.send(request, stream=True, auth=self._auth)
        try:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise InvalidInput(self._endpoint.address, "its answer is compressed, which was not asked for").because(
                    "no_http"
                )
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > max_bytes:
                    raise InvalidInput(self._endpoint.address, f"its answer has more than {max_bytes} bytes").because(
                        "no_http"
                    )
        finally:
            await response.aclose()
        return Answer(status=response.status_code, body=bytes(body))


def _not_connected(where: str, error: Exception) -> DeviceUnreachable | DeviceRefused:
    """Return why no connection came about; a wrong certificate is a refusal, which trying again does not mend."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = cause.verify_message if getattr(cause, "verify_message", "") else str(cause)
            mend = "give its fingerprint or ca_file, or adopt it anew if it was renewed"
            return DeviceRefused(where, f"its certificate is refused: {said[:160]}; {mend}").because("bad_certificate")
        cause = cause.__cause__ or cause.__context__
    return DeviceUnreachable(where, f"no connection: {str(error)[:120] or type(error).__name__}").because(
        "no_connection"
    )
