"""Bytes through the gateway: the edge dials a WebSocket behind a one-time ticket and sends or takes what belongs to it.

Messages are short, what comes is bounded by its reader, and only an empty message says that all has come. The handshake
is signed as every other request. It knows not what the bytes are.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from edge.identity import Signer
from models.errors import DeviceUnreachable, InvalidInput, NotFound
from models.link import HEADER_TIME, RELAY_MESSAGE_BYTES

DIAL_S: Final = 5.0
EXCHANGE_S: Final = 30.0
"""A ticket's life: whoever is not done by then has lost it."""
MAX_TICKET: Final = 200
QUEUE_MESSAGES: Final = 8
SPENT: Final = frozenset({403, 404, 409, 410})


class Relay:
    """Send and take bytes behind tickets of one gateway."""

    def __init__(self, *, base_url: str, signer: Signer, tls: ssl.SSLContext | bool) -> None:
        parts = urlsplit(base_url)
        self._base = urlunsplit(
            ("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/"), "", "")
        )
        self._tls = tls if isinstance(tls, ssl.SSLContext) else None
        self._signer = signer

    async def fetch(self, ticket: str, *, limit_bytes: int) -> bytes:
        """Return the bytes behind a one-time ticket.

        Raises:
            InvalidInput: the ticket could lead elsewhere, or there are more bytes.
            NotFound: the ticket is spent or too old.
            DeviceUnreachable: the gateway or the other end went away before all had come.
        """
        content = bytearray()

        async def take(socket: ClientConnection) -> None:
            while True:
                message = await socket.recv()
                if not isinstance(message, bytes):
                    raise InvalidInput("relay", "a text came where bytes belong")
                if not message:
                    return
                content.extend(message)
                if len(content) > limit_bytes:
                    raise InvalidInput("relay", f"more than {limit_bytes} bytes")

        await self._exchange(ticket, take)
        return bytes(content)

    async def send(self, ticket: str, content: bytes) -> None:
        """Send bytes through a one-time ticket.

        Raises:
            InvalidInput: the ticket could lead elsewhere.
            NotFound: the ticket is spent or too old.
            DeviceUnreachable: the gateway or the other end went away before all was taken.
        """

        async def give(socket: ClientConnection) -> None:
            for start in range(0, len(content), RELAY_MESSAGE_BYTES):
                await socket.send(content[start : start + RELAY_MESSAGE_BYTES])
            await socket.send(b"")
            await socket.wait_closed()  # the gateway says by its code whether the other end has all
            if socket.close_code != 1000:
                raise DeviceUnreachable("gateway", f"relay: the other end did not take all ({socket.close_code})")

        await self._exchange(ticket, give)

    async def _exchange(self, ticket: str, work: Callable[[ClientConnection], Awaitable[None]]) -> None:
        if not 1 <= len(ticket) <= MAX_TICKET or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in ticket):
            raise InvalidInput("relay_ticket", "a ticket has letters, digits, '-', '_' and '.' only")
        try:
            async with asyncio.timeout(EXCHANGE_S):
                socket = await self._dial(f"/edge/v1/relay/{ticket}")
                async with socket:
                    await work(socket)
        except ConnectionClosed as error:
            raise DeviceUnreachable("gateway", f"relay: it ended before all had come ({error})") from error
        except (WebSocketException, OSError) as error:
            raise DeviceUnreachable("gateway", f"relay: {error}") from error
        except TimeoutError as error:
            raise DeviceUnreachable("gateway", f"relay: not done within {EXCHANGE_S:.0f} s") from error

    async def _dial(self, target: str) -> ClientConnection:
        """Open the socket; once more if only our idea of the gateway's clock was wrong."""
        try:
            return await self._connect(target)
        except InvalidStatus as error:
            told = error.response.headers.get(HEADER_TIME)
            again = error.response.status_code == 401 and self._signer.learn_offset(told)
            if not again:
                raise _refusal(error) from error
        try:
            return await self._connect(target)
        except InvalidStatus as error:
            raise _refusal(error) from error

    async def _connect(self, target: str) -> ClientConnection:
        return await connect(
            f"{self._base}{target}",
            additional_headers=self._signer.headers("GET", target, body=b""),
            ssl=self._tls,
            proxy=None,
            compression=None,
            max_size=RELAY_MESSAGE_BYTES,
            max_queue=QUEUE_MESSAGES,
            open_timeout=DIAL_S,
            close_timeout=DIAL_S,
            ping_interval=None,
        )


def _refusal(error: InvalidStatus) -> NotFound | DeviceUnreachable:
    code = error.response.status_code
    if code in SPENT:
        return NotFound("relay ticket", f"({code})")
    return DeviceUnreachable("gateway", f"relay: it answered {code}")
