"""What a gateway orders an edge to do with devices that are not adopted yet. Records only."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from models.devices import Setting, Wire


class Discover(msgspec.Struct, frozen=True, kw_only=True, tag="discover"):
    """Ask an edge which cameras and doors it can find on its wires; `networks` are asked address by address."""

    id: str
    wires: tuple[Wire, ...] = ()
    """Empty: every wire that can be searched."""
    networks: tuple[str, ...] = ()
    deadline: datetime


class ProbeDevice(msgspec.Struct, frozen=True, kw_only=True, tag="probe_device"):
    """Ask an edge what one device is and can do, with credentials if it wants some."""

    id: str
    wire: Wire
    address: str
    user: str = ""
    password: str = ""
    fingerprint: str = ""
    """Hex SHA-256 of the only certificate to trust; empty trusts none that cannot be verified, and reports it."""
    pause: bool = False
    """Whether the doors of a line that only one may use are left alone meanwhile."""
    passed_on_by: str = ""
    """Who said that doors and cameras here take over credentials that open it; empty for nobody. No matter to an edge."""
    deadline: datetime

    def __repr__(self) -> str:
        return f"ProbeDevice(id={self.id!r}, wire={self.wire!r}, address={self.address!r})"


class TryPart(msgspec.Struct, frozen=True, kw_only=True, tag="try_part"):
    """Ask an edge to try a part of a device that is not adopted yet: one still of a camera, one unlock of a door.

    `signal` harms nobody: light, sound and text at a reader, and its door stays shut.
    """

    id: str
    wire: Wire
    settings: dict[str, Setting]
    """As `Door.driver`, or the fields of a `Camera` that say how to reach it."""
    part: str
    act: Literal["still", "unlock", "signal"]
    reason: str
    requested_by: str
    pause: bool = False
    deadline: datetime

    def __repr__(self) -> str:
        return f"TryPart(id={self.id!r}, wire={self.wire!r}, part={self.part!r}, act={self.act!r})"


class InstallKey(msgspec.Struct, frozen=True, kw_only=True, tag="install_key"):
    """Ask an edge to give a reader a key of its own, because somebody at the reader has put it in install mode."""

    id: str
    wire: Wire
    address: str
    key: str
    """Hexadecimal; whoever listens on the line meanwhile learns it."""
    reason: str
    requested_by: str
    pause: bool = False
    deadline: datetime

    def __repr__(self) -> str:
        return f"InstallKey(id={self.id!r}, wire={self.wire!r}, address={self.address!r})"
