"""`python -m drivers check`: what a section says wrong is told with its place, and neither files nor secrets come into it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from drivers import catalog
from drivers.checking import judge
from models.driver_checks import LINE_BYTES, Section, Verdict
from models.errors import InvalidInput

URL = "http://192.0.2.9/onvif/device_service"
KEY = "5ec4e75ec4e75ec4e75ec4e75ec4e75e"
Settings = dict[str, Any]


def section(settings: Settings, *, name: str = "gate", part: str = "driver") -> Section:
    return msgspec.convert({"id": name, "part": part, "edge": "edge-1", "settings": settings}, Section)


def judged(settings: Settings, *, part: str = "driver") -> Verdict:
    (verdict,) = judge([section(settings, part=part)])
    return verdict


@pytest.mark.parametrize("settings", [
    {"kind": "mqtt"},
    {"host": "broker", "tls": True, "ca_file": "/nowhere/ca.pem", "cert_file": "/nowhere/c.pem", "key_file": "/nowhere/k"},
    {"kind": "mqtt", "map": "shelly", "names": {"device": "shelly-1"}},
    {"kind": "onvif", "url": URL, "door": "D1", "user": "u", "password": "p"},
    {"kind": "onvif", "url": URL, "device": "dv-1", "relay": "R1"},
    {"kind": "onvif", "url": URL.replace("http:", "https:"), "ca_file": "/nowhere/ca.pem"},
    {"kind": "osdp", "port": "/dev/ttyUSB7", "address": 3, "key": KEY},
    {"kind": "osdp", "port": "/dev/ttyUSB7", "readers": [{"door": "gate", "address": 3, "key_file": "/nowhere/key"}]},
])  # fmt: skip
def test_right_settings_pass_though_their_files_and_devices_are_elsewhere(settings: Settings) -> None:
    verdict = judged(settings)
    assert (verdict.errors, verdict.warnings) == ((), ())


@pytest.mark.parametrize(("settings", "where", "what"), [
    ({"kind": "mqqt"}, "driver.kind", "did you mean 'mqtt'?"),
    ({"kind": ["mqtt"]}, "driver.kind", "use one of mqtt, onvif, osdp"),
    ({"kind": "mqtt", "map": "shelley"}, "driver.map", "use esphome, relay, shelly"),
    ({"kind": "mqtt", "map": "shelly", "names": {"gen": "2"}}, "driver.names", "not gen"),
    ({"kind": "mqtt", "pasword": KEY}, "driver.pasword", "did you mean 'password'?"),
    ({"kind": "mqtt", "colour": KEY}, "driver.colour", "leave it out"),
    ({"kind": "onvif", "url": URL, "door": "D1", "usr": "u"}, "driver.usr", "did you mean 'user'?"),
    ({"kind": "onvif", "url": URL, "dor": "D1"}, "driver.dor", "did you mean 'door'?"),
    ({"kind": "osdp", "port": "/dev/ttyUSB7", "adress": 1, "key": KEY}, "driver.adress", "did you mean 'address'?"),
    ({"kind": "mqtt", "port": KEY}, "driver.port", "Expected `int`, got `str`"),
    ({"kind": "mqtt", "tls": True, "ca_file": 5}, "driver.ca_file", "path of a file on the edge's machine"),
    ({"kind": "onvif", "door": "D1"}, "driver", "'url' is missing: add it"),
    ({"kind": "onvif", "url": "rtsp://192.0.2.9/x"}, "driver.url", "must be http(s)://"),
    ({"kind": "onvif", "url": URL, "door": "D", "relay": "R"}, "driver", "needs either `door` or `relay`"),
    ({"kind": "osdp", "port": "/dev/ttyUSB7", "address": 300, "key": KEY}, "driver.address", "<= 126"),
    ({"kind": "osdp", "port": "/dev/ttyUSB7", "address": 1}, "driver.readers.key", "32 hexadecimal digits"),
    ({"kind": "osdp", "port": "/dev/ttyUSB7", "plain": True, "key_file": "/k"}, "driver.readers.plain", "not both"),
    ({"kind": "osdp", "port": "/dev/ttyUSB7", "readers": [{"door": "gate", "address": 1, "key": KEY, "led": 1}]},
     "driver.readers.0.led", "no such setting"),
])  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_what_to_do(settings: Settings, where: str, what: str) -> None:
    verdict = judged(settings)
    (error,) = verdict.errors
    assert (error.where, verdict.warnings) == (where, ())
    assert what in error.what
    assert KEY not in error.what


def test_the_device_around_a_camera_is_judged_too() -> None:
    assert judged({"kind": "onvif", "url": URL, "preset": "1"}, part="device").errors == ()
    (error,) = judged({"kind": "onvif", "url": "ftp://192.0.2.9/x"}, part="device").errors
    assert error.where == "device.url"
    (error,) = judged({"url": URL}, part="device").errors
    assert error.where == "device.kind"


def test_a_driver_that_is_not_installed_here_may_be_at_its_edge() -> None:
    verdict = judged({"kind": "acme-boards"})
    assert verdict.errors == ()
    assert "it must be at its edge" in verdict.warnings[0].what


def test_doors_that_share_a_wire_are_judged_together() -> None:
    line = {"kind": "osdp", "port": "/dev/ttyUSB7", "readers": [
        {"door": name, "address": 1, "key": KEY} for name in ("east", "west")
    ]}  # fmt: skip
    errors = [
        error.what for one in judge([section(line, name=name) for name in ("east", "west")]) for error in one.errors
    ]
    assert len(errors) >= 1
    assert all("an address of its own" in error for error in errors)
    device = {"kind": "onvif", "url": URL}
    parts = [section(device | {"door": "D1"}, name="a"), section(device, name="b")]
    (told,) = [error for verdict in judge(parts) for error in verdict.errors]
    assert told.what == "beside a: needs either `door` or `relay`"


def test_doors_of_one_port_agree_on_all_else_since_one_driver_has_it() -> None:
    lines = [
        section(
            {"kind": "osdp", "port": "/dev/ttyUSB7", "baud_rate": rate, "address": rate % 100, "key": KEY}, name=name
        )
        for name, rate in (("east", 9600), ("west", 115_200))
    ]
    (told,) = [(verdict.id, error.what) for verdict in judge(lines) for error in verdict.errors]
    assert (told[0], told[1].startswith("beside east: a port has one driver")) == ("west", True)
    elsewhere = msgspec.structs.replace(lines[1], edge="edge-2")
    assert not [error for verdict in judge([lines[0], elsewhere]) for error in verdict.errors]


def test_a_third_partys_driver_is_judged_by_its_own_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.catalog.entry_points", lambda *, group: ENTRIES if group == catalog.GROUP else [])
    (error,) = judged({"kind": "strict", "password": KEY}).errors
    assert (error.where, error.what) == ("driver.port", "must be a number, not …")
    verdict = judged({"kind": "broken"})
    assert (verdict.errors, "were not checked" in verdict.warnings[0].what) == ((), True)


def test_a_third_partys_driver_that_fails_for_two_doors_is_told_as_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.catalog.entry_points", lambda *, group: ENTRIES if group == catalog.GROUP else [])
    told = list(judge([section({"kind": "lone"}, name=name) for name in ("gate", "back")]))
    assert [(one.id, one.errors, len(one.warnings)) for one in told] == [
        ("gate", (), 0),
        ("back", (), 0),
        ("back", (), 1),
    ]
    assert "were not checked" in told[-1].warnings[0].what


def lone(_settings: Settings, *, doors: tuple[str, ...], **_more: object) -> None:
    (_only,) = doors


def strict(settings: Settings, **_more: object) -> NoReturn:
    raise InvalidInput("driver.port", f"must be a number, not {settings['password']}")


def broken(_settings: Settings, **_more: object) -> NoReturn:
    raise KeyError("port")


ENTRIES = [
    EntryPoint(name=name, value=f"{__name__}:{name}", group=catalog.GROUP) for name in ("lone", "strict", "broken")
]


def run(told: bytes) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "drivers", "check"]
    return subprocess.run(argv, input=told, capture_output=True, timeout=30, check=False, cwd=Path(__file__).parents[2])


def test_the_program_reads_sections_and_writes_verdicts_line_by_line() -> None:
    lines = [msgspec.json.encode(section({"kind": kind}, name=kind)) for kind in ("mqtt", "onvif")]
    ran = run(b"\n".join(lines))
    told = msgspec.json.Decoder(Verdict).decode_lines(ran.stdout)
    assert (ran.returncode, [(one.id, len(one.errors)) for one in told]) == (0, [("mqtt", 0), ("onvif", 1)])


@pytest.mark.parametrize(
    "told", [b"{", b'{"id": "\xff"}\n', b'{"id": "x"}\n', b'"' + b"x" * LINE_BYTES + b'"\n', b"[" * 40_000 + b"\n"]
)
def test_what_is_no_section_is_refused_without_being_repeated(told: bytes) -> None:
    ran = run(told)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.startswith(b"line 1: ")
    assert len(ran.stderr) < 200
