"""The settings of a line: what is refused, and that no key is ever quoted."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.osdp.line import check_serial
from drivers.osdp.place import Place, read_place
from drivers.osdp.settings import WELL_KNOWN_KEY, BusSettings, key_of, read_settings, write_key
from models.errors import InvalidInput
from tests.drivers.osdp.conftest import KEY, reader_settings


def settings(*readers: dict[str, Any], **changes: Any) -> BusSettings:
    told = {"port": "/dev/ttyUSB0", "readers": list(readers) or [reader_settings("gate")]}
    return read_settings({**told, **changes}, doors=("gate",))


def test_a_line_serves_the_readers_of_its_doors_and_leaves_others_alone() -> None:
    bus = settings(reader_settings("gate"), reader_settings("not-here", address=2, key="none of ours"))
    assert [reader.door for reader in bus.readers] == ["gate"]
    assert (bus.baud_rate, bus.readers[0].side, bus.readers[0].keypad) == (9600, "in", "pin")
    assert key_of(bus.readers[0]) == KEY


def test_a_line_with_one_reader_needs_no_list() -> None:
    bus = read_settings({"port": "tcp://192.0.2.7:4001", "address": 3, "plain": True, "strike": 1}, doors=("gate",))
    assert (bus.readers[0].door, bus.readers[0].address, bus.readers[0].strike) == ("gate", 3, 1)


@pytest.mark.parametrize(
    ("readers", "changes", "told"),
    [
        ([], {"port": "COM3"}, "use a path such as /dev/ttyUSB0"),
        ([], {"port": "tcp://somewhere"}, "tcp://HOST:PORT"),
        ([], {"port": "tcp://somewhere:99999"}, "tcp://HOST:PORT"),
        ([], {"baud_rate": 300}, "use one of 9600"),
        ([], {"speed": 1}, "speed"),
        ([reader_settings("gate", address=127)], {}, "126"),
        ([reader_settings("gate"), reader_settings("gate")], {}, "an address of its own"),
        ([reader_settings("back")], {}, "no reader is at door 'gate'"),
        ([reader_settings("gate"), reader_settings("gate", address=2)], {}, "two strikes"),
        ([reader_settings("gate", plain=True)], {}, "not both"),
        ([{"door": "gate"}], {}, "32 hexadecimal digits"),
        ([{"door": "gate", "key": "topsecret"}], {}, "32 hexadecimal digits"),
        ([reader_settings("gate", key=WELL_KNOWN_KEY.hex())], {}, "keeps nobody out"),
        ([reader_settings("gate", inputs={"open": 1, "exit": 1})], {}, "one input cannot say two things"),
        ([reader_settings("gate", inputs={"window": 1})], {}, "window"),
        ([{"door": "gate", "key_file": "/nowhere/at/all"}], {}, "cannot be read"),
        ([reader_settings("gate", address=n % 127) for n in range(40)], {}, "32"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_with_what_to_write(
    readers: list[dict[str, Any]], changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told) as refused:
        settings(*readers, **changes)
    assert KEY.hex() not in str(refused.value)
    assert "topsecret" not in str(refused.value)


def test_a_key_file_is_written_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "gate"
    write_key(file, KEY)
    assert file.stat().st_mode & 0o077 == 0
    (reader,) = settings({"door": "gate", "key_file": str(file)}).readers
    assert key_of(reader) == KEY
    file.write_bytes(b"\xff" * 40)
    with pytest.raises(InvalidInput, match="not ASCII"):
        key_of(reader)


def test_a_key_shows_in_no_text() -> None:
    assert KEY.hex() not in repr(settings())


def test_doors_of_one_line_may_list_their_own_readers_each() -> None:
    shared = [{"door": "gate", "address": 0, "plain": True}, {"door": "back", "address": 1, "plain": True}]
    own: dict[str, object] = {
        "gate": {"readers": shared},
        "yard": {"readers": [{"address": 2, "plain": True}, {"address": 3, "side": "out", "plain": True}]},
        "shed": {"address": 4, "plain": True},
    }
    bus = read_settings({"port": "/dev/ttyS0", "doors": own}, doors=("gate", "yard", "shed"))
    assert [(one.door, one.address, one.side) for one in bus.readers] == [
        ("gate", 0, "in"), ("yard", 2, "in"), ("yard", 3, "out"), ("shed", 4, "in"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"gate": {"readers": [{"address": 1, "plain": True}], "key": "00"}}, "nothing beside it"),
        ({"gate": {"readers": 7}}, "driver"),
        ({"gate": {"readers": [7]}}, "driver"),
        ({"gate": 7}, "no reader is at door 'gate'"),
        ({"gate": {"readers": [{"door": "back", "plain": True}]}}, "no reader is at door 'gate'"),
    ],
)
def test_a_doors_own_readers_that_cannot_be_used_are_refused_with_what_to_write(
    own: dict[str, object], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        read_settings({"port": "/dev/ttyS0", "doors": own}, doors=("gate",))


@given(st.text(max_size=60))
def test_any_text_is_the_place_of_a_reader_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        place = read_place(text)
        assert place.address is None or read_place(place.at(place.address)) == place


@pytest.mark.parametrize("address", [0, 126])
def test_a_readers_place_is_read_as_it_is_written(address: int) -> None:
    for place in (Place(port="/dev/ttyS0"), Place(port="tcp://192.0.2.7:4001", baud_rate=115200)):
        assert read_place(place.at(address)) == msgspec.structs.replace(place, address=address)


@pytest.mark.parametrize("port", ["/etc/passwd", "/dev/watchdog", "/dev/../etc/passwd", "/dev/null"])
def test_an_order_opens_serial_ports_and_nothing_else(port: str, tmp_path: Path) -> None:
    link = tmp_path / "ttyUSB0"
    link.symlink_to(port)
    for name in (port, str(link)):
        with pytest.raises(InvalidInput, match="serial port"):
            check_serial(name)
    for good in ("/dev/ttyUSB0", "/dev/pts/5", "tcp://192.0.2.7:4001"):
        check_serial(good)
