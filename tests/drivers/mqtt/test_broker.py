"""The broker as the product starts it: who may connect, see and say what, and users that change while it runs."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers.mqtt.broker import Listener, Users, acl_text, may, password_text, read_users, write_mosquitto_files
from drivers.mqtt.simdoor import SimulatedDoor
from drivers.mqtt.store import EventStore
from drivers.mqtt.wire import FROM_DOOR, ROOT, TO_DOOR
from models.errors import DeviceUnreachable, InvalidInput
from tests.drivers.contract import next_event, now
from tests.drivers.mqtt.conftest import RunningBroker, connected, free_port, running_broker

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


def certificate(directory: Path, name: str, *, issuer: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """Write name.pem and name.key: an authority, or what it issued for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing_key = issuer or (None, key)
    builder = x509.CertificateBuilder(
        issuer_name=subject if signer is None else signer.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now() - timedelta(days=1),
        not_valid_after=now() + timedelta(days=1),
    ).add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False).sign(
        signing_key, hashes.SHA256()
    )
    (directory / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made, key


async def test_tls_with_client_certificates_carries_doors(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "ca")
    certificate(tmp_path, "server", issuer=authority)
    certificate(tmp_path, "edge", issuer=authority)
    certificate(tmp_path, "stranger")
    listener = ["--cert-file", "server.pem", "--key-file", "server.key", "--ca-file", "ca.pem"]
    files = [str(tmp_path / word) if word.endswith((".pem", ".key")) else word for word in listener]
    with running_broker("mosquitto", more=files) as broker:
        tls: dict[str, Any] = {"tls": True, "ca_file": str(tmp_path / "ca.pem")}
        own = {"cert_file": str(tmp_path / "edge.pem"), "key_file": str(tmp_path / "edge.key")}
        with EventStore() as store:
            endpoint = broker.endpoint("door-1", client_id="door-1", **tls, **own)
            door = SimulatedDoor("door-1", endpoint=endpoint, store=store, now=now, rng=random.Random())
            async with broker.driver("door-1", client_id="e", **tls, **own) as driver, connected(door):
                for _ in range(50):
                    door.force()
                    door.close()
                reports = driver.reports()
                seen = [(await next_event(reports))[0].seq for _ in range(100)]
                assert seen == list(range(1, 101))
        wrong = {"cert_file": str(tmp_path / "stranger.pem"), "key_file": str(tmp_path / "stranger.key")}
        for changes in ({**tls, **wrong}, tls, {"tls": True, **own}):
            with pytest.raises(DeviceUnreachable):
                async with broker.driver("door-1", client_id="e", **changes):
                    pass
