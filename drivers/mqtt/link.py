"""One MQTT connection inside asyncio: it opens, carries messages, and ends once with a reason. It never reconnects.

Wraps paho without its threads: the socket is watched by the event loop, so nothing here needs a lock. What a message
means is drivers/mqtt/wire.py; whether and when to connect again is the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers.mqtt.endpoint import Endpoint, tls_context
from models.errors import DeviceRefused, DeviceUnreachable

log = logging.getLogger("gatehouse.drivers.mqtt")

MAX_PACKET_BYTES: Final = 1024 * 1024
AHEAD_BYTES: Final = 64 * 1024
NOBODYS: Final = "gatehouse/nobodys"
"""A topic that nobody ever subscribes to."""
AT_ONCE: Final = 64
"""Messages that are read before others in the loop have their turn."""
REFUSALS: Final = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})
"""MQTT 5 reason codes that a repetition does not cure: version, client id, credentials, authorisation, ban, method."""


class EagerClient(Client):
    """Take from the socket what has come, in one go.

    paho asks the system for each byte of a header apart, which costs more than what it then does with a message.
    """

    _ahead = b""
    _at = 0

    @property
    def ahead(self) -> bool:
        """Return whether bytes were taken from the socket that are not read yet."""
        return self._at < len(self._ahead)

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.ahead:
            self._ahead, self._at = super()._sock_recv(max(bufsize, AHEAD_BYTES)), 0
        first, self._at = self._at, min(self._at + bufsize, len(self._ahead))
        return self._ahead[first : self._at]


class Will(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker publishes, retained with QoS 1, when the connection ends without a goodbye."""

    topic: str
    payload: bytes


class Link:
    """Carry messages over one connection; everything happens in the loop that calls `open`.

    Args:
        endpoint: the broker.
        on_message: called for each message; QoS 1 messages wait for `acknowledge`. Must not raise.
        will: the last will, if any.
    """

    def __init__(
        self, endpoint: Endpoint, *, on_message: Callable[[MQTTMessage], None], will: Will | None = None
    ) -> None:
        self.endpoint = endpoint
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._client = _client_for(endpoint, will)
        self._opened: asyncio.Future[tuple[bool, int, str]] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._published: dict[int, asyncio.Future[bool]] = {}
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False

    # ---- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> bool:
        """Connect; return whether the broker had kept the session.

        Raises:
            DeviceUnreachable: nobody answered in time, or TLS failed.
            DeviceRefused: the broker answered no: credentials, client id or protocol version.
        """
        connecting = self._loop.run_in_executor(None, self._connect)
        try:
            await asyncio.shield(connecting)
            self._watch()
            async with asyncio.timeout(self.endpoint.timeout_s):
                present, code, reason = await self._opened
        except (OSError, ValueError) as error:
            self.abort("the connection was not made")
            raise DeviceUnreachable(self.endpoint.address, f"no connection to the broker: {error}").because(
                "broker_away"
            ) from None
        except asyncio.CancelledError:
            connecting.add_done_callback(lambda _: self.abort("given up"))
            raise
        if code != 0:
            self.abort(reason)
            if code in REFUSALS:
                raise DeviceRefused(
                    self.endpoint.address, f"the broker refused {self.endpoint.username!r}: {reason}"
                ).because("broker_refused")
            raise DeviceUnreachable(self.endpoint.address, f"the broker is not ready: {reason}").because("broker_away")
        return present

    async def close(self) -> None:
        """Say goodbye (the will is not published) and end."""
        if not self.ended.done() and self._sock is not None:
            with contextlib.suppress(ValueError):
                self._client.disconnect()
                self._client.loop_write()
        self.abort("closed")

    def abort(self, reason: str) -> None:
        """Drop the connection without a goodbye."""
        self._unwatch()
        held = self._client.socket()
        if held is not None:
            held.close()
        self._end(reason)

    @property
    def congested(self) -> bool:
        """Return whether earlier messages still wait to leave: what is only for now must not queue behind them."""
        if self._sock is None or not self._client.want_write():
            return self._sock is None
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT)
        return not poll.poll(0)

    # ---- messages ---------------------------------------------------------------------------------------------------

    async def subscribe(self, topics: Sequence[tuple[str, int]], *, limit_s: float, as_published: bool = True) -> None:
        """Subscribe with each topic's QoS.

        Args:
            topics: topics and QoS.
            limit_s: how long the broker may take for an answer.
            as_published: QoS 0 messages keep their retained flag, where the protocol can say so.

        Raises:
            DeviceUnreachable: the connection ended, or no answer came in time.
            DeviceRefused: the broker refused a topic.
        """
        for first in range(0, len(topics), 100):
            chunk = topics[first : first + 100]
            wanted: Any = list(chunk)
            if self.endpoint.protocol == "5":
                wanted = [(t, SubscribeOptions(qos=q, retainAsPublished=as_published and q == 0)) for t, q in chunk]
            code, mid = self._client.subscribe(wanted)
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
                raise DeviceUnreachable(self.endpoint.address, "the connection ended")
            answer = self._subscribed[mid] = self._loop.create_future()
            codes = await self._answer(answer, limit_s)
            refused = [t for (t, _), c in zip(chunk, codes, strict=False) if c.is_failure]
            if refused:
                raise DeviceRefused(self.endpoint.address, f"the broker refused a subscription to {refused[0]}")

    async def ask(self, *, limit_s: float) -> None:
        """Wait for a sign that the broker works now: its answer to a request that changes nothing.

        Raises:
            DeviceUnreachable: it gave none in time.
        """
        code, mid = self._client.unsubscribe(NOBODYS)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise DeviceUnreachable(self.endpoint.address, "the connection ended")
        answer = self._asked[mid] = self._loop.create_future()
        done, _ = await asyncio.wait({answer}, timeout=limit_s)
        self._asked.pop(mid, None)
        if not done or answer.cancelled():
            raise DeviceUnreachable(self.endpoint.address, "the broker does not answer now")

    def publish(
        self, topic: str, payload: bytes, *, qos: int, retain: bool = False, expiry_s: int | None = None
    ) -> asyncio.Future[bool]:
        """Publish; the future tells whether it was taken: at once for QoS 0, at its PUBACK for QoS 1.

        Raises:
            DeviceUnreachable: the connection has ended.
        """
        properties = None
        if expiry_s is not None and self.endpoint.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = expiry_s
        sent = self._loop.create_future()
        if self.ended.done():
            raise DeviceUnreachable(self.endpoint.address, "the connection ended")
        info = self._client.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise DeviceUnreachable(self.endpoint.address, "the message could not be sent")
        if qos == 0:
            sent.set_result(True)
        else:
            self._published[info.mid] = sent
        return sent

    def acknowledge(self, mid: int) -> None:
        """Send the PUBACK of a message of this connection; nothing happens if it has ended."""
        if not self.ended.done():
            self._client.ack(mid, 1)

    def pause(self) -> None:
        """Stop reading: the broker feels it through TCP."""
        if self._sock is not None and self._reading:
            self._loop.remove_reader(self._sock)
            self._reading = False

    def resume(self) -> None:
        """Read again after `pause`."""
        if self._sock is not None and not self._reading:
            self._loop.add_reader(self._sock, self._readable)
            self._reading = True
            if self._client.ahead:
                self._loop.call_soon(self._readable)

    # ---- paho inside the loop ---------------------------------------------------------------------------------------

    def _connect(self) -> None:
        properties = None
        endpoint = self.endpoint
        if endpoint.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = endpoint.session_expiry_s
            properties.ReceiveMaximum = endpoint.window
            properties.MaximumPacketSize = MAX_PACKET_BYTES
            clean = endpoint.session_expiry_s == 0
            self._client.connect(
                endpoint.host, endpoint.port, endpoint.keepalive_s, clean_start=clean, properties=properties
            )
        else:
            self._client.connect(endpoint.host, endpoint.port, endpoint.keepalive_s)

    def _watch(self) -> None:
        sock = self._client.socket()
        if self.ended.done() or not isinstance(sock, socket.socket) or sock.fileno() < 0:
            raise OSError("the connection was closed at once")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a second small message waits 40 ms
        self._sock = sock
        client = self._client
        client.on_connect = self._handle_connect
        client.on_disconnect = self._handle_disconnect
        client.on_message = self._handle_message
        client.on_subscribe = self._handle_subscribe
        client.on_publish = self._handle_publish
        client.on_unsubscribe = self._handle_answer
        client.on_socket_close = lambda *_: self._unwatch()
        client.on_socket_register_write = lambda *_: self._want_write()
        client.on_socket_unregister_write = lambda *_: self._stop_writing(sock)
        self.resume()
        if client.want_write():
            self._want_write()
        self._timer = self._loop.call_later(self._tick_s, self._tick)

    @property
    def _tick_s(self) -> float:
        return self.endpoint.keepalive_s / 4

    def _want_write(self) -> None:
        if self._sock is not None:
            self._loop.add_writer(self._sock, self._writable_now)

    def _stop_writing(self, sock: socket.socket) -> None:
        self._loop.remove_writer(sock)

    def _writable_now(self) -> None:
        self._guard(self._client.loop_write)

    def _readable(self) -> None:
        for _ in range(AT_ONCE):
            if not self._reading:
                return
            self._guard(self._client.loop_read)
            if not (self._client.ahead or (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending())):
                return
        self._loop.call_soon(self._readable)  # the system will not say again what it has handed out

    def _tick(self) -> None:
        self._guard(self._client.loop_misc)
        if not self.ended.done():
            self._timer = self._loop.call_later(self._tick_s, self._tick)

    def _guard(self, act: Callable[[], MQTTErrorCode]) -> None:
        """Run a step of paho; whatever a hostile broker provokes in it ends this connection and nothing else."""
        try:
            code = act()
        except Exception as error:  # noqa: BLE001 - paho parses foreign bytes and raises what it likes
            self.abort(f"the broker sent what cannot be read ({type(error).__name__}: {error})")
            return
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.abort(f"the connection ended: {code.name.removeprefix('MQTT_ERR_').lower()}")

    def _unwatch(self) -> None:
        sock, self._sock = self._sock, None
        self._reading = False
        if sock is not None and sock.fileno() >= 0:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_result((False, 0x88, reason))
        if not self.ended.done():
            self.ended.set_result(reason)
        for published in self._published.values():
            published.cancel()
        for subscribed in self._subscribed.values():
            subscribed.cancel()
        for asked in self._asked.values():
            asked.cancel()
        self._published.clear()
        self._asked.clear()
        self._subscribed.clear()

    async def _answer(self, waiting: asyncio.Future[list[ReasonCode]], limit_s: float) -> list[ReasonCode]:
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.wait({waiting})
        except TimeoutError:
            raise DeviceUnreachable(self.endpoint.address, "the broker did not answer a subscription") from None
        if waiting.cancelled():
            raise DeviceUnreachable(self.endpoint.address, self.ended.result())
        return waiting.result()

    def _handle_connect(
        self, _client: Client, _data: object, flags: ConnectFlags, code: ReasonCode, _properties: object
    ) -> None:
        if not self._opened.done():
            self._opened.set_result((flags.session_present, code.value if code.is_failure else 0, str(code)))

    def _handle_disconnect(
        self, _client: Client, _data: object, _flags: object, code: ReasonCode, _properties: object
    ) -> None:
        self._unwatch()
        self._end(f"the connection ended: {code}")

    def _handle_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            self._on_message(message)
        except Exception:
            log.exception("broker %s: a message could not be handled", self.endpoint.address)

    def _handle_subscribe(
        self, _client: Client, _data: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        waiting = self._subscribed.pop(mid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(codes)

    def _handle_answer(self, _client: Client, _data: object, mid: int, _codes: object, _properties: object) -> None:
        waiting = self._asked.get(mid)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _handle_publish(self, _client: Client, _data: object, mid: int, code: ReasonCode, _properties: object) -> None:
        waiting = self._published.pop(mid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(not code.is_failure)


def _client_for(endpoint: Endpoint, will: Will | None) -> EagerClient:
    five = endpoint.protocol == "5"
    client = EagerClient(
        CallbackAPIVersion.VERSION2,
        client_id=endpoint.client_id,
        clean_session=None if five else endpoint.session_expiry_s == 0,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.connect_timeout = endpoint.timeout_s
    if endpoint.username is not None:
        client.username_pw_set(endpoint.username, endpoint.password)
    if endpoint.tls:
        client.tls_set_context(tls_context(endpoint))
    if will is not None:
        client.will_set(will.topic, will.payload, qos=1, retain=True)
    return client
