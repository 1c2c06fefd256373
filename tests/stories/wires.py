"""A stage whose doors hang on three wires: MQTT, ONVIF and OSDP on one edge, simulated over the real wires."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.rehearsal.actors import Remote, until
from gateway.rehearsal.processes import module_argv
from tests.stories.acting import StoryLayout, StoryStage

HELD_S = 2.0
OSDP_INPUTS = {"open": 0, "exit": 1, "emergency": 2, "mains_lost": 3, "battery_low": 4}
EXITS = {"side": "button", "panel": "sensor", "annex": "none", "kiosk": "button", "cellar": "mechanical"}
"""The doors and how people leave by them: two wires have a door where forced cannot be told."""
TELLS_FORCED = ("side", "panel", "kiosk")


Staged = TypeVar("Staged", bound="WireStage")


class WireLayout(StoryLayout):
    """Lay out a site whose doors hang on three wires."""

    def __init__(self, directory: Path, *, port: int) -> None:
        super().__init__(directory, port=port)
        self.secrets["panel"] = "".join(reversed(self.secrets["side"]))
        self.keep_secret("panel.secret", self.secrets["panel"] + "\n")
        self.keep_secret("reader.key", os.urandom(16).hex())
        self.panel = self.bus = ""

    def site(self, cameras: dict[str, Any]) -> dict[str, object]:
        """Return the site with two doors of an ONVIF device and two readers on an OSDP line."""
        site: Any = super().site(cameras)
        panel = {"kind": "onvif", "url": self.panel, "user": "edge", "password": self.secrets["panel"], "pull_s": 2}
        key_file = str(self.path("reader.key"))
        readers = [
            {"door": door, "address": number, "key_file": key_file, "strike": 0, "inputs": OSDP_INPUTS}
            for number, door in enumerate(("kiosk", "cellar"))
        ]
        drivers = {
            **{door: {**panel, "door": door} for door in ("panel", "annex")},
            **{door: {"kind": "osdp", "port": self.bus, "readers": readers} for door in ("kiosk", "cellar")},
        }
        for door, driver in drivers.items():
            site["doors"].append({"id": door, "name": door, "edge": "edge-1", "driver": driver})
        for door in site["doors"]:
            if door["id"] in EXITS:
                door |= {"exit_kind": EXITS[door["id"]], "held_open_s": HELD_S, "factors": ["card", "pin"]}
                door.pop("camera", None)
            if door["id"] == "annex":
                door["readers"] = [{"kinds": ["card"]}, {"kinds": ["card"], "format": "backwards"}]
        site["card_formats"] = [{"id": "backwards", "reverse": True}]
        return dict(site)


class WireStage(StoryStage):
    """Run the whole system with simulators on three wires."""

    layout_type = WireLayout
    files: WireLayout

    async def _start_cameras(self) -> dict[str, object]:
        """Start what the site file must name: the cameras, and the devices of the other wires."""
        password = ("--user", "edge", "--password-file", str(self.files.path("panel.secret")))
        doors = ("--door", "panel", "--door", "annex", "--plain")
        store = ("--store", str(self.files.path("panel.json")))
        panel = await self._start_child("panel", module_argv("drivers", "simulate", "onvif", *doors, *password, *store))
        line = ("--door", "kiosk", "--door", "cellar", "--key-file", str(self.files.path("reader.key")))
        readers = await self._start_child("readers", module_argv("drivers", "simulate", "osdp", *line))
        self.files.panel, self.files.bus = str(panel["address"]), str(readers["port"])
        self._remotes = {
            **dict.fromkeys(("panel", "annex"), Remote("panel", str(panel["control"]))),
            **dict.fromkeys(("kiosk", "cellar"), Remote("readers", str(readers["control"]))),
        }
        return await super()._start_cameras()

    def at(self, door: str) -> Remote:
        """Return the remote control of the device that a door hangs on."""
        return self._remotes.get(door, self.doors)

    async def act(self, door: str, act: str) -> dict[str, Any]:
        """Do something at a door, whichever its wire."""
        return await self.at(door).ask(door=door, act=act)

    async def present(self, door: str, value: str, *, kind: str = "card") -> dict[str, Any]:
        """Present something at a reader, whichever its wire; return what the person there saw."""
        return await self.at(door).send({"door": door, "act": kind, "value": value, "timeout_s": 5.0}, within_s=10)

    async def online(self) -> None:
        """Wait until the console shows every door as online."""

        async def there() -> bool:
            doors = (await self._checked(self.manager.get("/api/v1/doors")))["items"]
            return {door["id"] for door in doors if door["online"]} >= set(EXITS)

        await until(there, what="every door online on the console", within_s=60)

    async def alert_at(self, door: str, kind: str, *, since: int, condition: str = "active") -> dict[str, Any]:
        """Return the alert of a kind at a door as the live feed tells it."""

        def wanted(alert: dict[str, Any]) -> bool:
            return (alert["kind"], alert["place"]["door_id"], alert["condition"]) == (kind, door, condition)

        return (await self.ear.hear("alert", wanted, since=since, within_s=20))[1]


@contextlib.asynccontextmanager
async def running(stage_type: type[Staged], *, prefix: str) -> AsyncIterator[Staged]:
    """Run a stage with temporary folders of its own; they are short, because sockets live in them."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    (directory / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(directory / "tmp"))
        try:
            async with stage_type(directory / "stage", tell=print) as stage:
                await stage.online()
                yield stage
        finally:
            shutil.rmtree(directory, ignore_errors=True)
