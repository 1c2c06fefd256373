"""What the parts of one gateway process share: the store, the clock, the bells and the routes to the centres. Decides nothing."""

from __future__ import annotations

from asyncio import Queue, Semaphore
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.auth.keys import GatewayKey, fresh_key
from gateway.auth.vault import Vault
from gateway.bells import Bells
from gateway.centre.events import Route
from gateway.policies import Policies
from gateway.readings import Readings
from gateway.relay import Relay
from gateway.store import Store
from gateway.store.users import SessionRules
from models.link import CLOCK_WINDOW_S

if TYPE_CHECKING:
    from gateway.bulk.importing import ImportJob

IMPORTS_WAITING = 4
"""Imports that wait in memory for the one that runs."""
HASHES_AT_ONCE = 2
"""Passwords that are checked at the same time: each takes 64 MiB."""
CONSOLE = Path(__file__).with_name("console") / "dist"
Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the time of this machine's clock in UTC; composition roots hand it over as the clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Name a centre whose receipts we take: its id and the secrets that may sign them (two during rotation)."""

    centre_id: str
    secrets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Hold what one gateway process shares."""

    store: Store
    clock: Clock = now
    routes: tuple[Route, ...] = ()
    receivers: tuple[Receiver, ...] = ()
    origins: frozenset[str] = frozenset()
    """Origins besides the request's own host from which a browser may send changes (a reverse proxy's)."""
    secure_cookies: bool = False
    sessions: SessionRules = SessionRules()
    clock_window_s: float = CLOCK_WINDOW_S
    console: Path = CONSOLE
    version: str = "0.1.0"
    bells: Bells = field(default_factory=Bells)
    relay: Relay = field(default_factory=Relay)
    readings: Readings = field(default_factory=Readings)
    hashing: Semaphore = field(default_factory=lambda: Semaphore(HASHES_AT_ONCE))
    reading: Semaphore = field(default_factory=lambda: Semaphore(1))
    """One spreadsheet is read at a time: each takes a processor and much memory."""
    judging: Semaphore = field(default_factory=lambda: Semaphore(2))
    """Driver settings are judged in processes of their own, few at a time."""
    counters: dict[str, int] = field(default_factory=dict)
    gateway_key: GatewayKey = field(default_factory=fresh_key)
    """Signs policies and checkpoints."""
    require_reasons: bool = False
    """Whether every look at and change of personal data or configuration must say why (R31)."""
    data_dir: Path | None = None
    """Folder of what is kept beside the database: tombstones.log, media. None keeps neither (tests)."""
    imports: Queue[ImportJob] = field(default_factory=lambda: Queue(IMPORTS_WAITING))

    @cached_property
    def policies(self) -> Policies:
        """Return what builds and remembers the policies of the edges."""
        return Policies(self.store)

    @property
    def vault(self) -> Vault | None:
        """Return what wraps the database's secrets; the store uses it by itself (gateway.store.sealed)."""
        return self.store.vault

    def count(self, name: str, by: int = 1) -> None:
        """Count something for /metrics."""
        self.counters[name] = self.counters.get(name, 0) + by
