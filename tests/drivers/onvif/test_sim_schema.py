"""Every answer of the simulated device is valid by ONVIF's own XML schemas (Media2's are not in the package)."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from lxml import etree

from drivers.onvif.simserver import HANDLERS
from drivers.onvif.simsoap import NAMESPACES
from tests.drivers.onvif.asking import asking
from tests.drivers.onvif.test_simpull import pulling, subscribed

WSDL = Path(str(files("onvif"))) / "wsdl"
FILES = {
    "tds": "devicemgmt.wsdl",
    "trt": "media.wsdl",
    "tptz": "ptz.wsdl",
    "tdc": "doorcontrol.wsdl",
    "tac": "accesscontrol.wsdl",
    "tev": "events.wsdl",
    "tmd": "deviceio.wsdl",
}
GIVEN = {
    "tdc": "<tdc:Token>gate</tdc:Token>",
    "tac": "<tac:Token>gate-in</tac:Token>",
    "trt": "<trt:ProfileToken>main</trt:ProfileToken>",
    "tptz": "<tptz:ProfileToken>main</tptz:ProfileToken><tptz:PresetToken>gate</tptz:PresetToken>",
    "tds": "<tds:RelayOutputToken>gate-relay</tds:RelayOutputToken><tds:LogicalState>active</tds:LogicalState>",
    "tev": "<tev:UtcTime>2026-01-01T00:00:00Z</tev:UtcTime>",
}
"""What an operation is given, by service: each takes what it needs."""
BEFORE = {
    "tdc:LockDownReleaseDoor": "LockDownDoor",
    "tdc:LockOpenReleaseDoor": "LockOpenDoor",
}
DECISION = "<tac:AccessPointToken>gate-in</tac:AccessPointToken><tac:Decision>Denied</tac:Decision>"


class Schemas:
    """The schemas inside the WSDL files, each read once."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(WSDL, folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
        self._folder = folder
        self._read: dict[str, etree.XMLSchema] = {}

    def faults(self, prefix: str, element: etree._Element) -> str:
        """Return what is wrong with an element of a service."""
        if prefix not in self._read:
            found = etree.parse(self._folder / FILES[prefix]).find(".//{http://www.w3.org/2001/XMLSchema}schema")
            assert found is not None
            own = self._folder / f"{prefix}.xsd"
            own.write_bytes(etree.tostring(found))
            self._read[prefix] = etree.XMLSchema(etree.parse(own))
        schema = self._read[prefix]
        return "" if schema.validate(element) else str(schema.error_log)


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    return Schemas(tmp_path_factory.mktemp("schemas") / "wsdl")


@pytest.mark.parametrize("name", [name for name in HANDLERS if name.partition(":")[0] in FILES])
async def test_each_answer_is_valid(name: str, schemas: Schemas) -> None:
    prefix, _, local = name.partition(":")
    async with asking() as client:
        unit = client.unit
        path = await subscribed(client)
        if name in BEFORE:
            unit.device.command("gate", BEFORE[name], now=unit.clock())
        given = GIVEN.get(prefix, "")
        if local == "ExternalAuthorization":
            unit.device.ask(unit.device.points["gate-in"], "card", value="17", now=unit.clock())
            given = DECISION
        elif "Area" in local:
            given = "<tac:Token>inside</tac:Token>"
        root = await client.ask(f"<{name}>{given}</{name}>", path=path)
    content = root.find("s:Body/*", NAMESPACES)
    assert content is not None
    assert etree.QName(content).localname == f"{local}Response"
    assert schemas.faults(prefix, content) == ""


async def test_messages_of_every_kind_are_valid(schemas: Schemas) -> None:
    async with asking() as client:
        device, now = client.unit.device, client.unit.clock()
        path = await subscribed(client)
        for granted in (True, False):
            device.ask(device.points["gate-in"], "card", value="17", now=now)
            device.decide("gate-in", granted=granted, reason="x & <y>", now=now)
        device.doors["gate"].fault = "motor & lock"
        device.press_exit("gate", now)
        device.duress(device.points["gate-in"], now)
        root = await client.ask(pulling(), path=path)
        content = root.find("s:Body/*", NAMESPACES)
        assert content is not None
        assert len(content) > 20
        assert schemas.faults("tev", content) == ""
        content[2].remove(content[2][0])
        content.remove(content[0])
        assert schemas.faults("tev", content) != "", "the schema sees what is missing"
