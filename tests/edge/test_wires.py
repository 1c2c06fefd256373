"""Wires and the worker's start: doors share a wire by their settings, and what cannot run says why and ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config.sections import TlsSettings
from config.settings import BrokerLink, read_settings
from drivers.catalog import PART_KEYS
from drivers.mqtt.driver import MqttDoors
from drivers.onvif.driver import OnvifDoors
from drivers.onvif.endpoint import DoorPart
from edge.__main__ import main as edge_main
from edge.wires import Wires
from edge.worker import Worker, main
from models.errors import InvalidInput
from tests.edge.doubles import EDGE, door


def wires(**broker: Any) -> Wires:
    return Wires(BrokerLink(**broker), edge_id=EDGE, now=lambda: datetime.now(UTC))


def test_doors_with_equal_settings_share_a_wire() -> None:
    some = wires()
    assert some.key(door("a")) == some.key(door("b", held_open_s=5.0)) == "mqtt"
    other = door("c", driver={"kind": "mqtt", "host": "10.0.0.9"})
    assert some.key(other) != "mqtt"
    assert some.key(other) == some.key(door("d", driver={"host": "10.0.0.9", "kind": "mqtt"}))


def test_the_parts_of_a_device_share_its_connection() -> None:
    some = wires()
    url = "http://192.0.2.10/onvif/device_service"
    doors = tuple(door(name, driver={"kind": "onvif", "url": url, "door": f"D-{name}"}) for name in ("a", "b"))
    assert some.key(doors[0]) == some.key(doors[1])
    driver = some.open(doors)
    assert isinstance(driver, OnvifDoors)
    assert {name: part.door for name, part in driver._endpoint.doors.items()} == {"a": "D-a", "b": "D-b"}
    elsewhere = door("c", driver={"kind": "onvif", "url": f"{url}2", "door": "D-c"})
    assert some.key(elsewhere) != some.key(doors[0])
    assert PART_KEYS["onvif"] == set(DoorPart.__struct_fields__)


def test_the_broker_of_the_edge_is_laid_under_the_doors_own_settings(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret\n")
    some = wires(host="127.0.0.1", port=1999, user="edge", password_file=tmp_path / "pw")
    driver = some.open((door("a"), door("b")))
    assert isinstance(driver, MqttDoors)
    endpoint = driver._endpoint
    assert (endpoint.port, endpoint.username, endpoint.password) == (1999, "edge", "secret")
    assert endpoint.client_id == "gatehouse-edge-1-mqtt"
    own = some.open((door("c", driver={"kind": "mqtt", "port": 2000}),))
    assert isinstance(own, MqttDoors)
    assert (own._endpoint.port, own._endpoint.host) == (2000, "127.0.0.1")
    assert some.counters == {}


def test_counters_outlive_a_driver() -> None:
    some = wires()
    some.open((door("a"),)).counters["events"] = 3
    some.open((door("a"),)).counters["events"] = 4
    assert some.counters["events"] == 7


def test_a_broker_with_tls_is_asked_with_its_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        wires(tls=TlsSettings(ca_file=tmp_path / "missing.pem")).open((door("a"),))


@pytest.mark.parametrize("driver", [{"kind": "pigeon"}, {"kind": "mqtt", "hots": "x"}, {"kind": "mqtt", "port": "x"}])
def test_a_driver_that_cannot_be_opened_is_refused(driver: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        wires().open((door("a", driver=driver),))


def test_wrong_settings_end_the_worker_with_every_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text("edge:\n  idd: x\n")
    assert main(["--config", str(path)]) == 2
    assert "edge.idd" in capsys.readouterr().err
    assert edge_main(["worker", "--config", str(path)]) == 2
    assert edge_main([]) == 2


@pytest.mark.parametrize(
    ("marked", "profile", "enabled", "runs"),
    [
        (True, "demo", True, "demo"),
        (True, "off", True, "off"),
        (False, "off", True, "off"),
        (False, "calibrated", True, "calibrated"),
        (False, "calibrated", False, "off"),
    ],
)
def test_faces_are_matched_under_the_profile_of_the_settings(
    tmp_path: Path, marked: bool, profile: str, enabled: bool, runs: str
) -> None:
    worker = worker_in(tmp_path, profile=profile, marked=marked, enabled=enabled)
    assert worker._faces_allowed().profile == runs


def test_the_demo_profile_is_refused_outside_a_demo(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="marked DEMO"):
        worker_in(tmp_path, profile="demo", marked=False)._faces_allowed()


def worker_in(folder: Path, *, profile: str, marked: bool, enabled: bool = True) -> Worker:
    if marked:
        (folder / "DEMO").write_text("")
    given = {"edge": {"data_dir": str(folder), "faces": {"profile": profile, "enabled": enabled}}}
    (folder / "settings.yaml").write_text(json.dumps(given))
    return Worker(read_settings(folder / "settings.yaml", environment={}))


def test_an_edge_that_cannot_use_its_gateway_ends_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(json.dumps({"edge": {"gateway": "http://192.0.2.1", "data_dir": str(tmp_path / "edge")}}))
    assert main(["--config", str(path)]) == 1
