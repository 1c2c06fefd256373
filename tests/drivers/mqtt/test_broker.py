"""The broker as the product starts it: who may connect, see and say what, and users that change while it runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from drivers.mqtt.broker import Listener, Users, acl_text, may, password_text, read_users, write_mosquitto_files
from drivers.mqtt.wire import FROM_DOOR, ROOT, TO_DOOR
from models.errors import InvalidInput
from tests.drivers.mqtt.conftest import RunningBroker, free_port, running_broker

pytestmark = pytest.mark.needs("mosquitto", "mosquitto-clients")
LIMIT_S = 10.0


@pytest.fixture(scope="module", params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest) -> Iterator[RunningBroker]:
    with running_broker(request.param) as running:
        yield running


def received(broker: RunningBroker, topics: list[str], *, user: str, sender: str, last: str) -> list[str]:
    """Return the topics that a subscriber gets of what a sender publishes; the edge publishes `last` at the end."""
    filters = [word for topic in topics for word in ("-t", topic)]
    command = broker.client("sub", *filters, "-t", last, "-F", "%t", "-W", "8", user=user)
    broker.publish(last, "kept", "-r", "-q", "1")  # its arrival says that the subscription is in effect
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None
        got = _lines_until(last, subscriber.stdout)
        broker.publish(sender, "x", user=user_of(sender))
        broker.publish(last, "x")
        got += _lines_until(last, subscriber.stdout)
        subscriber.terminate()
        got += subscriber.stdout.read().split()
    return got


def _lines_until(last: str, lines: IO[str]) -> list[str]:
    got: list[str] = []
    while last not in got:
        line = lines.readline().strip()
        assert line, f"nothing more came after {got}"
        got.append(line)
    return got


def user_of(topic: str) -> str:
    return topic.split("/")[3]


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"


def connects(broker: RunningBroker, user: str, password: str) -> bool:
    command = broker.client("pub", "-t", "gatehouse/v1/x", "-m", "x", "-q", "1", user=user)
    command[command.index("-P") + 1] = password
    return subprocess.run(command, check=False, capture_output=True, timeout=10).returncode == 0


def test_a_password_may_have_every_printable_character(broker: RunningBroker) -> None:
    good = broker.users()["edge"]["password"]
    assert connects(broker, "edge", good)
    assert not connects(broker, "edge", good[:-1])
    assert not connects(broker, "nobody", good)


def test_nobody_connects_without_a_name(broker: RunningBroker) -> None:
    command = ["mosquitto_pub", "-p", str(broker.port), "-t", "gatehouse/v1/x", "-m", "x", "-q", "1"]
    assert subprocess.run(command, check=False, capture_output=True, timeout=10).returncode != 0


def test_the_edge_hears_doors_under_their_own_ids_only(broker: RunningBroker) -> None:
    own, last = f"{ROOT}/door-1/event", f"{ROOT}/last/event"
    assert own in received(broker, [f"{ROOT}/+/event"], user="edge", sender=own, last=last)
    broker.publish(f"{ROOT}/door-2/event", "forged", "-q", "1", "-r", user="door-1")
    broker.publish(f"{ROOT}/door-1/command", "forged", "-q", "1", "-r", user="door-1")
    got = received(broker, [f"{ROOT}/door-2/#", f"{ROOT}/door-1/command"], user="edge", sender=own, last=last)
    assert set(got) == {last}


def test_a_door_hears_only_what_is_for_it(broker: RunningBroker) -> None:
    broker.publish(f"{ROOT}/door-4/command", "secret", "-q", "1", "-r")
    broker.publish(f"{ROOT}/door-3/state", "secret", "-q", "1", "-r")
    own = f"{ROOT}/door-3/mode"
    filters = ["#", "+/+/#", f"{ROOT}/+/command", f"{ROOT}/door-4/command", f"{ROOT}/door-3/state"]
    got = received(broker, filters, user="door-3", sender=f"{ROOT}/door-4/event", last=own)
    assert set(got) == {own}


OWN = {
    "door-5": {f"{ROOT}/door-5/{kind}" for kind in TO_DOOR},
    "plug-1": {"stat/plug-1/POWER", "cmnd/plug-1/Backlog0"},
    "relay-1": {"yard/relay-1"},
}
EVERYBODYS = sorted({*(topic for own in OWN.values() for topic in own), f"{ROOT}/door-6/command", f"{ROOT}/door-5/event",
                     "shelly-1/rpc", f"{ROOT}/door-6/mode", "gatehouse/door-118/rpc"})  # fmt: skip


@pytest.mark.parametrize("user", OWN)
def test_whatever_a_user_subscribes_to_only_its_own_comes(broker: RunningBroker, user: str) -> None:
    last = min(OWN[user])
    everything = ["#", "+/#", "+/+/+", f"{ROOT}/#", "cmnd/#", "stat/plug-1/#", "yard/+", "yard/#", "$SYS/#"]
    filters = [*everything, *OWN[user]]  # the embedded broker refuses wildcards beyond what is one's own
    words = [word for topic in filters for word in ("-t", topic)]
    command = broker.client("sub", *words, "-F", "%t %p", "-W", "8", user=user)
    broker.publish(last, "first", "-r", "-q", "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None
        _lines_until(f"{last} first", subscriber.stdout)
        for topic in EVERYBODYS:
            broker.publish(topic, "second", "-q", "1")
        broker.publish(last, "third", "-q", "1")
        got = _lines_until(f"{last} third", subscriber.stdout)
        subscriber.terminate()
        got += subscriber.stdout.read().splitlines()
    broker.publish(last, "", "-r", "-q", "1")
    assert {line.partition(" ")[0] for line in got} == OWN[user]


@pytest.mark.parametrize("user", ["plug-1", "door-5"])
def test_whatever_a_user_publishes_only_its_own_is_heard(broker: RunningBroker, user: str) -> None:
    last = "yard/relay-1"
    filters = [f"{ROOT}/#", "stat/plug-1/#", "cmnd/plug-1/#", "shelly-1/#", last]
    words = [word for topic in filters for word in ("-t", topic)]
    command = broker.client("sub", *words, "-F", "%t %p", "-W", "8")
    broker.publish(last, "first", "-r", "-q", "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None
        _lines_until(f"{last} first", subscriber.stdout)
        for topic in (*EVERYBODYS, f"{ROOT}/door-5/ack", f"{ROOT}/door-5/state"):
            spoken = broker.client("pub", "-t", topic, "-m", f"by {user}", "-q", "1", user=user)
            subprocess.run(spoken, check=False, capture_output=True, timeout=10)
        broker.publish(last, "third", "-q", "1")
        got = _lines_until(f"{last} third", subscriber.stdout)
        subscriber.terminate()
    broker.publish(last, "", "-r", "-q", "1")
    may_say = {f"{ROOT}/door-5/{kind}" for kind in ("event", "state")} if user == "door-5" else OWN[user]
    assert {line.partition(" ")[0] for line in got if line.endswith(f"by {user}")} == may_say


@pytest.mark.parametrize("user", ["edge", "door-1", "panel", "nobody"])
def test_the_rules_name_exactly_what_a_user_may_do(user: str) -> None:
    users = read_users_of({"edge": {"password": "a"}, "doors": {"door-1": "b", "door-2": "c"},
                           "controllers": {"panel": {"password": "d", "doors": ["door-3", "door-4"]}}})  # fmt: skip
    own = {"door-1": {"door-1"}, "panel": {"door-3", "door-4"}}.get(user, set())
    for door in ("door-1", "door-2", "door-3", "door-4", "panel"):
        for kind in (*FROM_DOOR, *TO_DOOR):
            topic = f"{ROOT}/{door}/{kind}"
            assert may(users, user, topic=topic, write=True) == (user == "edge" or (door in own and kind in FROM_DOOR))
            assert may(users, user, topic=topic, write=False) == (user == "edge" or (door in own and kind in TO_DOOR))
    assert not may(users, user, topic="#", write=False)
    section = acl_text(users).partition(f"user {user}\n")[2].partition("user ")[0].split()
    assert {word.split("/")[3] for word in section if word.startswith(f"{ROOT}/")} == own


def read_users_of(content: object) -> Users:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"users-{os.getpid()}.json"
    path.write_text(json.dumps(content))
    try:
        return read_users(path)
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "content",
    [
        {}, {"edge": {}}, {"edge": {"password": ""}}, {"edge": {"password": "x"}, "doors": {"a/b": "x"}},
        {"edge": {"password": "x"}, "doors": {"+": "x"}}, {"edge": {"password": "x"}, "doors": {"edge": "x"}},
        {"edge": {"password": "x"}, "typo": 1},
        *({"edge": {"password": "x"}, "devices": {"d": {"password": "x", "topics": [own]}}}
          for own in ("#", "+/x", "a/#/b", "a#", "$SYS/#", "", "/x", "gatehouse/#", f"{ROOT}/gate/event", "gatehouse/v1/#")),
        {"edge": {"password": "x"}, "devices": {"d": {"password": "x", "topics": []}}},
        {"edge": {"password": "x"}, "doors": {"d": "x"}, "devices": {"d": {"password": "x", "topics": ["a/#"]}}},
        {"edge": {"password": "x"}, "controllers": {"p": {"password": "x", "doors": ["#"]}}},
    ],
)  # fmt: skip
def test_users_that_cannot_be_used_are_refused(content: object) -> None:
    with pytest.raises(InvalidInput):
        read_users_of(content)


def test_files_with_secrets_are_private_and_hold_no_password(tmp_path: Path) -> None:
    users = read_users_of({"edge": {"password": "plain#1"}, "doors": {"gate": "plain#2"}})
    command = write_mosquitto_files(tmp_path / "b", users=users, listener=Listener(port=1), program="mosquitto")
    files = list((tmp_path / "b").iterdir())
    assert command == ["mosquitto", "-c", str(tmp_path / "b" / "mosquitto.conf")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "plain#" not in "".join(file.read_text() for file in files)
    assert password_text(users, salt=bytes).count("$7$") == 2


def test_a_new_door_may_connect_after_sighup_and_others_stay_connected() -> None:
    for kind in ("mosquitto", "embedded"):
        with running_broker(kind) as broker:
            assert broker.process is not None
            users = broker.users()
            listener = subprocess.Popen(broker.client("sub", "-t", f"{ROOT}/#", "-F", "%t"), stdout=subprocess.PIPE)
            assert not connects(broker, "new-door", "its password")
            users["doors"]["new-door"] = "its password"
            broker.write_users(users)
            broker.process.send_signal(signal.SIGHUP)
            wait_until(lambda: connects(broker, "new-door", "its password"))
            broker.write_users({"nonsense": 1})
            broker.process.send_signal(signal.SIGHUP)
            assert connects(broker, "new-door", "its password")
            assert listener.poll() is None
            listener.terminate()
            listener.communicate(timeout=5)


def test_mosquitto_ends_with_its_starter_even_if_that_is_killed() -> None:
    with running_broker("mosquitto") as broker:
        child = psutil.Process(broker.pid)
        broker.stop(signal.SIGKILL)
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_port_in_use_is_said_and_ends_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text('{"edge": {"password": "x"}}')
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        for more in ([], ["--embedded"]):
            command = [sys.executable, "-m", "drivers", "mqtt", "broker", "--dir", str(tmp_path), "--port", str(port)]
            ended = subprocess.run([*command, *more], check=False, capture_output=True, text=True, timeout=30)
            assert ended.returncode == 1, ended
            assert ended.stderr


def test_the_embedded_broker_refuses_anything_but_plain_loopback(tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text('{"edge": {"password": "x"}}')
    command = [
        sys.executable,
        "-m",
        "drivers",
        "mqtt",
        "broker",
        "--dir",
        str(tmp_path),
        "--embedded",
        "--host",
        "0.0.0.0",
    ]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert "install mosquitto" in ended.stderr
