"""RabbitMQ with its MQTT plugin, as Debian has it: a process of the test's own, with the same users and rights as our broker."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drivers.mqtt.wire import FROM_DOOR, TO_DOOR
from tests.drivers.mqtt.conftest import DOORS, EDGE_PASSWORD, RunningBroker, free_port, password_of

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Debian's wrapper of it changes the user; the server itself runs as anybody."""
READY_S = 90.0


@dataclass
class RabbitBroker(RunningBroker):
    """A RabbitMQ node that listens for MQTT 3.1.1 only."""

    epmd_port: int = 0

    def start(self) -> None:
        self.epmd_port = free_port()
        (self.directory / "definitions.json").write_text(json.dumps(definitions()))
        (self.directory / "enabled").write_text("[rabbitmq_mqtt].\n")
        settings = {
            "listeners.tcp": "none",
            "mqtt.listeners.tcp.default": f"127.0.0.1:{self.port}",
            "mqtt.allow_anonymous": "false",
            "mqtt.prefetch": "256",
            "load_definitions": str(self.directory / "definitions.json"),
        }
        (self.directory / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        with (self.directory / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [SERVER], env=self.environment(), stdout=output, stderr=output, start_new_session=True, text=True
            )
        limit = time.monotonic() + READY_S
        while not connects(self):
            told = (self.directory / "output").read_text(errors="replace")[-2000:]
            assert self.process.poll() is None, told
            assert time.monotonic() < limit, told

    def environment(self) -> dict[str, str]:
        own = {
            "HOME": self.directory,
            "RABBITMQ_MNESIA_BASE": self.directory / "mnesia",
            "RABBITMQ_LOG_BASE": self.directory / "log",
            "RABBITMQ_CONFIG_FILE": self.directory / "rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": self.directory / "none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.directory / "enabled",
            "RABBITMQ_NODENAME": f"gatehouse-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": self.epmd_port,
        }
        return {**os.environ, **{name: str(value) for name, value in own.items()}}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(20)
            self.process = None
            subprocess.run(
                ["epmd", "-port", str(self.epmd_port), "-kill"], capture_output=True, check=False, timeout=10
            )


def connects(broker: RunningBroker) -> bool:
    command = broker.client("pub", "-t", "gatehouse/v1/x", "-m", "x", "-q", "1")
    return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0


def definitions() -> dict[str, object]:
    """Return users with their rights: in RabbitMQ a topic's slashes are dots, and subscriptions are queues of one's own."""
    passwords = {"edge": EDGE_PASSWORD, **{door: password_of(door) for door in DOORS}}
    queues = {
        name: "^mqtt-subscription-.*$" if name == "edge" else f"^mqtt-subscription-.*{name}qos[01]$"
        for name in passwords
    }
    reads, writes = {"edge": "^gatehouse\\.v1\\..*$"}, {"edge": "^gatehouse\\.v1\\..*$"}
    for door in DOORS:
        reads[door] = f"^gatehouse\\.v1\\.doors\\.{door}\\.({'|'.join(TO_DOOR)})$"
        writes[door] = f"^gatehouse\\.v1\\.doors\\.{door}\\.({'|'.join(FROM_DOOR)})$"
    return {
        "users": [
            {"name": name, "password_hash": hashed(word), "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""}
            for name, word in passwords.items()
        ],
        "vhosts": [{"name": "/"}],
        "permissions": [
            {"user": name, "vhost": "/", "configure": queue, "write": f"{queue}|^amq\\.topic$", "read": f"{queue}|^amq\\.topic$"}
            for name, queue in queues.items()
        ],
        "topic_permissions": [
            {"user": name, "vhost": "/", "exchange": "amq.topic", "write": writes[name], "read": reads[name]}
            for name in passwords
        ],
    }  # fmt: skip


def hashed(password: str) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


@contextlib.contextmanager
def running_rabbit() -> Iterator[RabbitBroker]:
    directory = Path(tempfile.mkdtemp(prefix="gatehouse-rabbit-"))
    broker = RabbitBroker(kind="rabbitmq", directory=directory, port=free_port())
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(directory, ignore_errors=True)
