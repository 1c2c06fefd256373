"""Which driver serves which door: a door's driver settings, laid over the edge's broker, opened by the catalogue.

All doors of one wire share one connection, with a client id that never changes, so that the broker knows the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from itertools import count
from typing import Final, cast

from config.settings import BrokerLink, secret
from drivers.catalog import LINES, PART_KEYS, open_door
from drivers.door import DoorDriver, HoldsLine
from edge.partly import LineDriver, Partly
from edge.served import told
from models.devices import Wire
from models.errors import DeviceUnreachable, InvalidInput
from models.places import Door

log = logging.getLogger("gatehouse.edge.wires")

LENT: Final = "an order of the gateway uses the line for the moment"


class Wires:
    """Open the drivers of one edge."""

    def __init__(self, broker: BrokerLink, *, edge_id: str, now: Callable[[], datetime]) -> None:
        self._broker = broker
        self._edge_id = edge_id
        self._now = now
        self._drivers: dict[str, DoorDriver] = {}
        self._ended: Counter[str] = Counter()
        self._trials = count(1)
        self._lines: dict[str, str] = {}
        self._left: Counter[str] = Counter()
        self._given_back = asyncio.Event()

    @property
    def counters(self) -> dict[str, int]:
        """Return what the drivers counted since the start, those that ended included."""
        return dict(sum((Counter(driver.counters) for driver in self._drivers.values()), self._ended.copy()))

    def key(self, door: Door) -> str:
        """Return the name of a door's wire: doors with equal driver settings share it, whatever parts of a device they are."""
        kind = str(door.driver.get("kind", "mqtt"))
        own = {name: value for name, value in _settings(door)[0].items() if name != "kind"}
        if not own:
            return kind
        digest = hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode()).hexdigest()
        return f"{kind}-{digest[:12]}"

    def open(self, doors: tuple[Door, ...]) -> DoorDriver:
        """Return the driver of doors that share a wire, not yet entered.

        On a line, doors whose settings are refused, alone or beside those before them, are left out (edge.partly).

        Raises:
            DeviceUnreachable: an order of the gateway has the line for the moment.
            InvalidInput: settings that the driver refuses, on a line those of every door.
            SettingsError: the broker's password file cannot be read.
        """
        line = line_of(doors[0])
        if self._left[line]:
            raise DeviceUnreachable(line, LENT)
        try:
            driver = self._made(doors)
        except InvalidInput:
            driver = self._made_without_some(doors)
        key = self.key(doors[0])
        if key in self._drivers:
            self._ended.update(self._drivers[key].counters)
        self._drivers[key], self._lines[key] = driver, line
        return driver

    def _made_without_some(self, doors: tuple[Door, ...]) -> DoorDriver:
        """Return the driver of those doors of a line that can be served. Raises `InvalidInput` if that is none of them."""
        fits: tuple[Door, ...] = ()
        left_out: dict[str, str] = {}
        for door in doors:
            try:
                driver = self._made((*fits, door))
            except InvalidInput as error:
                left_out[door.id], why = told(error, settings=[door.driver]), error
            else:
                fits, serving = (*fits, door), driver
        if not left_out:
            return serving  # what was wrong has just been mended
        if not fits or not isinstance(serving, HoldsLine):
            raise why
        log.warning(
            "the line %s is served without %s", line_of(doors[0]), "; ".join(f"{i}: {w}" for i, w in left_out.items())
        )
        return Partly(cast("LineDriver", serving), left_out=left_out, check=partial(self._made, doors), now=self._now)

    def _made(self, doors: tuple[Door, ...]) -> DoorDriver:
        own, part = _settings(doors[0])
        if part:
            own["doors"] = {door.id: _settings(door)[1] for door in doors}
        settings = {**self._from_broker(), **own} if own.get("kind", "mqtt") == "mqtt" else own
        key = self.key(doors[0])
        return open_door(
            {"kind": "mqtt", **settings},
            doors=tuple(door.id for door in doors),
            client_id=f"gatehouse-{self._edge_id}-{key}",
            now=self._now,
        )

    @contextlib.asynccontextmanager
    async def left(self, names: Collection[str]) -> AsyncIterator[None]:
        """Have a line to oneself, under all its names: its driver leaves it, and cannot be opened again within the block."""
        self._left.update(names)
        try:
            for key in [key for key, its in self._lines.items() if its in names]:
                driver = self._drivers[key]
                if isinstance(driver, HoldsLine):
                    await driver.leave_line()
            yield
        finally:
            self._left.subtract(names)
            self._given_back.set()

    async def free(self, doors: tuple[Door, ...], *, lent: Callable[[str], None]) -> None:
        """Wait until no order of the gateway has the line of these doors; call `lent` with why, if one has it."""
        while self._left[line_of(doors[0])]:
            lent(LENT)
            self._given_back.clear()
            await self._given_back.wait()

    def reached(self, wire: Wire) -> dict[str, object]:
        """Return how a wire is reached as a whole, no device named: the edge's broker; nothing for the others.

        Raises:
            SettingsError: the broker's password file cannot be read.
        """
        return self._from_broker() if wire == "mqtt" else {}

    def open_trial(self, wire: Wire, settings: Mapping[str, object], *, part: str) -> DoorDriver:
        """Return a driver for one part of a device that is not adopted, not yet entered; no broker keeps its session.

        Each has a client id of its own, else a broker would end one trial when the next begins.

        Raises:
            InvalidInput: settings that the driver refuses.
            SettingsError: the broker's password file cannot be read.
        """
        kept: dict[str, object] = {"session_expiry_s": 0} if wire == "mqtt" else {}
        return open_door(
            {**self.reached(wire), **settings, **kept, "kind": wire},
            doors=(part,),
            client_id=f"gatehouse-{self._edge_id}-trial-{next(self._trials)}",
            now=self._now,
        )

    def _from_broker(self) -> dict[str, object]:
        broker = self._broker
        password = secret(broker.password, broker.password_file, key="edge.broker.password_file")
        settings: dict[str, object] = {"host": broker.host, "port": broker.port}
        if password is not None:
            settings |= {"username": broker.user, "password": password}
        if broker.tls is not None:
            files = {name: getattr(broker.tls, name) for name in ("ca_file", "cert_file", "key_file")}
            settings |= {"tls": True} | {name: str(path) for name, path in files.items() if path is not None}
        return settings


def line_of(door: Door) -> str:
    """Return the line that a door's driver has for itself; empty for a wire that many may use at a time."""
    name = LINES.get(str(door.driver.get("kind")))
    return "" if name is None else str(door.driver.get(name, ""))


def _settings(door: Door) -> tuple[dict[str, object], dict[str, object]]:
    """Return a door's driver settings: those of its wire, and those that name its part of a device."""
    names = PART_KEYS.get(str(door.driver.get("kind", "mqtt")), frozenset())
    shared = {name: value for name, value in door.driver.items() if name not in names}
    return shared, {name: value for name, value in door.driver.items() if name in names}
