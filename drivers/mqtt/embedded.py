"""The embedded broker (amqtt), for machines without Mosquitto: MQTT 3.1.1 on loopback, with the same users and rules.

It forgets its sessions when it ends and gives up on an unacknowledged event after 5 s; the doors' own end-to-end
acknowledgement covers both. Not for anything but a small box or a trial.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext
from amqtt.errors import BrokerError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from drivers.mqtt.broker import Account, Listener, Users, may, read_users
from models.errors import DeviceUnreachable, InvalidInput

NOBODY: Final = Users(edge=Account(password=secrets.token_hex()), doors={})


class Roster:
    """Hold the users in force; replaced as a whole."""

    def __init__(self, users: Users) -> None:
        self.users = users

    def password_of(self, name: str) -> str | None:
        """Return a user's password, or None if there is no such user."""
        return self.users.passwords().get(name)


class UserPasswords(BaseAuthPlugin):  # type: ignore[misc]
    """Let in who knows a user's password."""

    async def authenticate(self, *, session: Session) -> bool:
        """Return whether the session's user name and password are right."""
        wanted = self.config.roster.password_of(session.username or "")
        given = session.password or ""
        return wanted is not None and hmac.compare_digest(str(given).encode(), wanted.encode())

    @dataclass
    class Config:
        """Hold the roster."""

        roster: Any = field(default_factory=lambda: Roster(NOBODY))


class OwnTopics(BaseTopicPlugin):  # type: ignore[misc]
    """Let users publish, subscribe and receive only what is theirs."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._roster: Roster = self.config.roster

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Return whether a session may do this with a topic."""
        name = (session.username if session is not None else None) or ""
        return may(self._roster.users, name, topic=topic or "", write=action == Action.PUBLISH)

    @dataclass
    class Config:
        """Hold the roster."""

        roster: Any = field(default_factory=lambda: Roster(NOBODY))


class Subscriptions(dict[str, list[tuple[Session, int]]]):
    """Hold who subscribed to what; whoever goes through it is not disturbed by those who come and go."""

    def items(self) -> Any:
        """Return the pairs as they are now."""
        return tuple(super().items())


class OwnRetained(Broker):  # type: ignore[misc]
    """Hand retained messages only to sessions that subscribed to them and may have them, and wait for nobody.

    amqtt 0.12 gives a connecting client the retained messages of all subscriptions, and serves nothing else on a
    connection until they are acknowledged, which here is after a commit. A message of which it is just finding the
    subscribers it drops if one of them comes or goes meanwhile. A client that is back before the end of its earlier
    connection was noticed counts as gone once that is noticed, and hears nothing any more.
    """

    def __init__(self, config: dict[str, Any], roster: Roster) -> None:
        super().__init__(config)
        self._roster = roster
        self._subscriptions = Subscriptions()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        topic_filter, _ = subscription
        own = [qos for held, qos in self._subscriptions.get(topic_filter, ()) if held.client_id == session.client_id]
        handler = self._get_handler(session)
        if not own or handler is None:
            return
        users = self._roster.users
        for topic, kept in tuple(self._retained_messages.items()):
            if self._matches(topic, topic_filter) and may(users, session.username, topic=topic, write=False):
                self._send_soon(handler.mqtt_publish(topic, kept.data, min(own[0], kept.qos or 0), retain=True))

    async def _client_message_loop(self, client_session: Session, handler: BrokerProtocolHandler) -> None:
        await self._keep_connected(client_session)
        await super()._client_message_loop(client_session, handler)

    async def _handle_disconnect(
        self, client_session: Session, handler: BrokerProtocolHandler, disconnect_waiter: asyncio.Future[Any]
    ) -> None:
        await super()._handle_disconnect(client_session, handler, disconnect_waiter)
        if self._get_handler(client_session) not in (None, handler):
            await self._keep_connected(client_session)

    async def _keep_connected(self, session: Session) -> None:
        """Undo that an earlier connection's end ended the session, and hand out what was kept back meanwhile."""
        if not session.transitions.is_connected():
            session.transitions.connect()
            await self._publish_session_retained_messages(session)

    async def _publish_session_retained_messages(self, session: Session) -> None:
        handler = self._get_handler(session)
        while handler is not None and not session.retained_messages.empty():
            kept = session.retained_messages.get_nowait()
            self._send_soon(handler.mqtt_publish(kept.topic, kept.data, kept.qos, retain=True))

    def _send_soon(self, sending: Coroutine[Any, Any, Any]) -> None:
        self._tasks_queue.append(asyncio.ensure_future(sending))


async def run_embedded(
    directory: Path, *, listener: Listener, stop: asyncio.Event, again: asyncio.Event, ready: Callable[[], None]
) -> int:
    """Run the embedded broker until `stop`; take the users anew on `again`.

    Raises:
        InvalidInput: the users cannot be read, or the listener is not plain loopback.
        DeviceUnreachable: the port cannot be had.
    """
    if not ipaddress.ip_address(listener.host).is_loopback or listener.cert_file:
        raise InvalidInput("broker", "the embedded broker serves loopback without TLS only: install mosquitto")
    roster = Roster(read_users(directory / "users.json"))
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it logs tracebacks for what clients do
    logging.getLogger("transitions").setLevel(logging.ERROR)
    broker = OwnRetained(_config(listener, roster), roster)
    try:
        await broker.start()
    except (BrokerError, OSError) as error:
        raise DeviceUnreachable(f"{listener.host}:{listener.port}", f"no broker could start here: {error}") from None
    try:
        ready()
        while not stop.is_set():
            waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(again.wait())]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for signalled in waiting:
                signalled.cancel()
            if again.is_set():
                again.clear()
                _reload(roster, directory)
    finally:
        await broker.shutdown()
    return 0


def _reload(roster: Roster, directory: Path) -> None:
    try:
        roster.users = read_users(directory / "users.json")
    except InvalidInput as error:
        sys.stderr.write(f"broker: the users stay as they were: {error}\n")


def _config(listener: Listener, roster: Roster) -> dict[str, Any]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{listener.host}:{listener.port}", "max_connections": 1000}},
        "plugins": {
            "drivers.mqtt.embedded.UserPasswords": {"roster": roster},
            "drivers.mqtt.embedded.OwnTopics": {"roster": roster},
        },
    }
