"""The broker's log-ins: read strictly, and written as the broker's process reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.broker import broker_users, write_users
from config.settings import BrokerSettings
from drivers.mqtt.broker import read_users
from models.errors import SettingsError

EVERY = "".join(chr(code) for code in range(33, 127))


@pytest.mark.parametrize(
    "text", ["[a]", "a: [1]", "a: ''", "a/b: c", "{", "\x00", "a: {password: b}", "a: {password: b, topics: []}"]
)
def test_a_users_file_that_is_no_list_of_log_ins_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "users.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        broker_users(BrokerSettings(users_file=tmp_path / "users.yaml"))
    assert caught.value.faults[0].path == "broker.users_file"


def test_log_ins_are_read_as_text_and_may_be_none(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("d1: 0012\nd2: 'yes'\n")
    assert broker_users(BrokerSettings(users_file=tmp_path / "users.yaml")) == ({"d1": "0012", "d2": "yes"}, {})
    (tmp_path / "users.yaml").write_text("")
    assert broker_users(BrokerSettings(users_file=tmp_path / "users.yaml")) == ({}, {})
    assert broker_users(BrokerSettings()) == ({}, {})
    with pytest.raises(SettingsError):
        broker_users(BrokerSettings(users_file=tmp_path / "none.yaml"))


def test_the_brokers_process_reads_what_we_write_and_nobody_else_can(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text("d1: '12'\nplug-1: {password: 34, topics: [plug-1/#]}\n")
    settings = BrokerSettings(users_file=tmp_path / "users.yaml", data_dir=tmp_path / "broker")
    for password in ("first", EVERY):
        path = write_users(settings, edge_password=password)
        assert path.stat().st_mode & 0o777 == 0o600
        users = read_users(path)
        assert (users.edge.password, users.doors) == (password, {"d1": "12"})
        assert (users.devices["plug-1"].password, users.devices["plug-1"].topics) == ("34", ("plug-1/#",))
