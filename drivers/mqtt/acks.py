"""End-to-end acknowledgements: each door's latest committed sequence number, retained on the broker. Latest value only.

One publication per door is under way; a newer value waits for its PUBACK and replaces what waited before it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from drivers.mqtt import wire
from drivers.mqtt.link import Link
from models.errors import DeviceUnreachable

AGAIN_S: Final = 5.0
"""How long after a broker's refusal the value is offered again."""


class Acks:
    """Publish acknowledgements over one connection; what it had not delivered ends with it.

    After a reconnection the doors send their events again, which leads to a fresh acknowledgement.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._wanted: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self._busy: set[str] = set()

    def put(self, door_id: str, seq: int) -> None:
        """Say that a door's events up to `seq` are committed; a lower number follows a counter's restart."""
        self._wanted[door_id] = seq
        if door_id not in self._busy and self._sent.get(door_id) != seq:
            self._send(door_id)

    def _send(self, door_id: str) -> None:
        seq = self._wanted[door_id]
        try:
            taken = self._link.publish(wire.topic_of(door_id, "ack"), wire.ack_payload(seq), qos=1, retain=True)
        except DeviceUnreachable:
            return
        self._busy.add(door_id)
        taken.add_done_callback(partial(self._answered, door_id, seq))

    def _answered(self, door_id: str, seq: int, taken: asyncio.Future[bool]) -> None:
        self._busy.discard(door_id)
        if taken.cancelled():
            return
        if not taken.result():
            self._busy.add(door_id)
            asyncio.get_running_loop().call_later(AGAIN_S, self._again, door_id)
            return
        self._sent[door_id] = seq
        if self._wanted[door_id] != seq:
            self._send(door_id)

    def _again(self, door_id: str) -> None:
        self._busy.discard(door_id)
        self._send(door_id)
