"""Where readers are, in one text: `PORT`, or `PORT?baud=RATE`, and behind `#` the address of one of them. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from drivers.osdp.line import BAUD_RATES, check_port
from models.errors import InvalidInput

USUAL_RATE: Final = 9600
"""The rate that readers leave the factory with (OSDP 2.2, clause 5.2)."""
LAST_ADDRESS: Final = 126


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Name a line, and one reader on it if `address` says which."""

    port: str
    baud_rate: int = USUAL_RATE
    address: int | None = None

    def at(self, address: int) -> str:
        """Return where a reader of this line is, as `read_place` takes it."""
        rate = "" if self.baud_rate == USUAL_RATE else f"?baud={self.baud_rate}"
        return f"{self.port}{rate}#{address}"


def read_place(text: str) -> Place:
    """Return where a text says that readers are.

    Raises:
        InvalidInput: it names no port, no rate of OSDP, or no address of a reader.
    """
    line, hash_, address = text.partition("#")
    port, _, rate = line.partition("?baud=")
    if rate and rate not in {str(one) for one in BAUD_RATES}:
        raise InvalidInput("address", f"after ?baud= use one of {', '.join(map(str, BAUD_RATES))}")
    if hash_ and not (address.isascii() and address.isdigit() and len(address) <= 3 and int(address) <= LAST_ADDRESS):
        raise InvalidInput("address", f"after # name a reader's address, 0 to {LAST_ADDRESS}")
    return Place(
        port=check_port(port), baud_rate=int(rate) if rate else USUAL_RATE, address=int(address) if hash_ else None
    )
