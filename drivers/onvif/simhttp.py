"""The HTTP/1.1 server of the simulated device: requests in within bounds, answers out; it knows nothing of ONVIF.

A client that breaks the protocol is answered 400 and closed; the others never notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 64
MAX_CONNECTIONS: Final = 64
IDLE_S: Final = 60.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one request; header names in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one answer; with `repeat` the body is sent that many times in chunks, and nothing tells how many come."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    repeat: int = 1


class BadRequest(ValueError):  # noqa: N818 - the status line's own words
    """Refuse what is no HTTP, with the status that says so."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


Answer = Callable[[Request], Awaitable[Response]]


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, max_body: int) -> Request | None:
    """Read one request; None if the client has gone.

    Raises:
        BadRequest: it is no HTTP, or beyond the bounds.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise BadRequest(431) from None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or len(lines) > MAX_HEADERS:
        raise BadRequest(400)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise BadRequest(400)
        headers[name.lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _body(reader, headers, max_body)
    return Request(method=words[0], target=words[1], headers=headers, body=body)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str], max_body: int) -> bytes:
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers:
            raise BadRequest(400)
        return await _chunks(reader, max_body)
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 12:
        raise BadRequest(400)
    if int(length) > max_body:
        raise BadRequest(413)
    return await reader.readexactly(int(length))


async def _chunks(reader: asyncio.StreamReader, max_body: int) -> bytes:
    body = b""
    while True:
        size = (await reader.readline()).split(b";")[0].strip()
        try:
            length = int(size, 16) if 0 < len(size) <= 8 else -1
        except ValueError:
            length = -1
        if length < 0:
            raise BadRequest(400)
        if len(body) + length > max_body:
            raise BadRequest(413)
        body += await reader.readexactly(length)
        if (await reader.readline()).strip():
            raise BadRequest(400)
        if length == 0:
            return body


class HttpServer:
    """Serve one address, plain or by TLS; every request goes to `answer`.

    Args:
        answer: makes the answers; a `ConnectionError` that it raises cuts the connection.
        max_body: longest body of a request, in bytes.
    """

    def __init__(self, answer: Answer, *, max_body: int) -> None:
        self._answer = answer
        self._max_body = max_body
        self._writers: set[asyncio.StreamWriter] = set()
        self._talking: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int, *, tls: ssl.SSLContext | None) -> AsyncIterator[tuple[str, int]]:
        """Serve until the block ends; yield the address.

        Raises:
            OSError: the port cannot be had.
        """
        server = await asyncio.start_server(self._accept, host, port, limit=MAX_HEAD_BYTES, ssl=tls)
        try:
            address = server.sockets[0].getsockname()
            yield address[0], address[1]
        finally:
            server.close()
            self.cut()
            for task in tuple(self._talking):
                task.cancel()
            if self._talking:
                await asyncio.wait(self._talking, timeout=1.0)

    def cut(self) -> None:
        """Drop every connection without a word."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._writers) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        if task is None:  # never: a connection is served by its own task
            return
        self._talking.add(task)
        self._writers.add(writer)
        try:
            await self._converse(reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass  # the other side is gone, or says nothing: this conversation is over
        finally:
            self._writers.discard(writer)
            self._talking.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    request = await read_request(reader, writer, max_body=self._max_body)
            except (BadRequest, ValueError) as error:
                status = error.status if isinstance(error, BadRequest) else 400
                await _write(writer, Response(status=status), keep=False)
                return
            if request is None:
                return
            keep = request.headers.get("connection", "").lower() != "close"
            answer = await self._unless_gone(request, reader)
            if answer is None:
                return
            await _write(writer, answer, keep=keep)
            if not keep:
                return

    async def _unless_gone(self, request: Request, reader: asyncio.StreamReader) -> Response | None:
        """Return the answer, or None if the client went away while it was made (a long poll)."""
        making = asyncio.ensure_future(self._answer(request))
        try:
            while not making.done():
                await asyncio.wait((making,), timeout=0.5)
                if reader.at_eof() and not making.done():
                    return None
            return making.result()
        finally:
            making.cancel()


async def _write(writer: asyncio.StreamWriter, answer: Response, *, keep: bool) -> None:
    phrase = HTTPStatus(answer.status).phrase
    chunked = answer.repeat > 1
    length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(answer.body)))
    headers = [*answer.headers, length]
    headers.append(("Connection", "keep-alive" if keep else "close"))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    writer.write(f"HTTP/1.1 {answer.status} {phrase}\r\n{head}\r\n".encode("latin-1"))
    for _ in range(answer.repeat):
        writer.write(b"%x\r\n%b\r\n" % (len(answer.body), answer.body) if chunked else answer.body)
        async with asyncio.timeout(IDLE_S):
            await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
