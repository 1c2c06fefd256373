"""How an edge comes to belong to a gateway: a one-time token introduces it, and the gateway's key is pinned from then on.

Only a new token changes the pinned key. It signs nothing else and fetches no policy (edge.uplink).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import msgspec

from edge.channel import introduce
from edge.identity import write_private
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from models.link import Introduction

log = logging.getLogger("gatehouse.edge.membership")

MARKER: Final = "enrolled.json"
UNWELCOME_S: Final = 5.0


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """Hold where this edge belongs, and the key (base64 Ed25519) that signs its policies."""

    gateway: str
    edge_id: str
    site_id: str = ""
    gateway_key: str = ""


class Admittance:
    """Introduce this edge to its gateway, and again if the gateway has forgotten it."""

    def __init__(
        self,
        *,
        folder: Path,
        gateway: str,
        client: httpx.AsyncClient,
        token_file: Path | None,
        about: Callable[[str], Introduction],
    ) -> None:
        """Take up what the last run left.

        Args:
            folder: where the membership is kept.
            gateway: address of the gateway, for people.
            client: speaks to it.
            token_file: holds the one-time token.
            about: says who this edge is, given the token.
        """
        self._path = folder / MARKER
        self._gateway = gateway
        self._client = client
        self._token_file = token_file
        self._about = about
        self._spent = ""
        self.membership = self._read()

    @property
    def gateway_key(self) -> str:
        """The pinned key of the gateway; empty before the introduction."""
        return "" if self.membership is None else self.membership.gateway_key

    def _read(self) -> Membership | None:
        if not self._path.exists():
            return None
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=Membership)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s cannot be read (%s): this edge needs a new token", MARKER, error)
            return None
        if not kept.gateway_key:
            log.warning("%s names no gateway key: this edge needs a new token (`gatehouse edge token`)", MARKER)
            return None
        return kept

    async def enter(self) -> None:
        """Introduce this edge, unless it belongs to the gateway already.

        Raises:
            InvalidInput: there is no token file in the settings.
            DeviceRefused: the token is wrong, spent or too old, or another gateway answered.
            DeviceUnreachable: the gateway is away, or the token is not there yet.
        """
        if self.membership is None:
            await self._introduce(await self._token())

    async def stay(self, estranged: Callable[[], bool]) -> None:
        """Introduce this edge again with a new token, for as long as it runs, whenever it and the gateway are strangers."""
        while True:
            await asyncio.sleep(UNWELCOME_S)
            if not estranged() or self._token_file is None:
                continue
            try:
                token = await self._token()
                if token != self._spent:
                    await self._introduce(token)
            except (DeviceRefused, DeviceUnreachable) as error:
                log.warning("the gateway and this edge do not know each other, and the token did not help: %s", error)

    async def _token(self) -> str:
        if self._token_file is None:
            raise InvalidInput("edge.token_file", "this edge is not enrolled: name the file with its one-time token")
        token = await asyncio.to_thread(_text, self._token_file)
        if not token:
            raise DeviceUnreachable("gateway", f"waiting for the enrolment token in {self._token_file}")
        return token

    async def _introduce(self, token: str) -> None:
        about = self._about(token)
        welcome = await introduce(self._client, about)
        self._spent = token
        before = self.gateway_key
        self.membership = Membership(
            gateway=self._gateway, edge_id=about.edge_id, site_id=welcome.site_id, gateway_key=welcome.gateway_key
        )
        write_private(self._path, msgspec.json.encode(self.membership))
        if before not in ("", welcome.gateway_key):
            log.warning("the gateway has another key than before; the token vouched for it")
        log.info("enrolled at %s as %s", self._gateway, about.edge_id)


def _text(file: Path) -> str:
    return file.read_text("utf-8").strip() if file.exists() else ""
