"""The files of a rehearsal: random secrets, the settings of `gatehouse up`, and a demo site. Starts nothing.

Folders of data are marked DEMO, which `gatehouse up` refuses without `--demo`.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
from pathlib import Path
from typing import Any

import yaml

CAMERAS = ("gate", "lobby")
DOORS = ("gate", "side")
MARK = "DEMO"


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    return port_or_free(0)


def port_or_free(port: int) -> int:
    """Return a port of loopback if nothing listens there, else a free one."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
        return int(probe.getsockname()[1])


class Layout:
    """Lay a rehearsal's files out in a folder: secrets at once, settings when the simulators' addresses are known."""

    def __init__(self, directory: Path, *, port: int) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.broker_port = free_port()
        self.secrets = {name: secrets.token_urlsafe(24) for name in ("camera", "broker", *DOORS)}
        for name in ("data/gateway", "data/edge"):
            self.path(name).mkdir(parents=True, exist_ok=True)
            (self.path(name) / MARK).write_text("simulated devices and random passwords: never a real site\n")
        for name, value in self.secrets.items():
            self.keep_secret(f"{name}.secret", value)
        self.keep_secret("centre.secret", "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
        users = {door: self.secrets[door] for door in DOORS}
        self.keep_secret("users.yaml", yaml.safe_dump(users))
        simulated = {"edge": {"password": self.secrets["broker"]}, "doors": users}
        self.keep_secret("simulated-doors.json", json.dumps(simulated))

    def path(self, name: str) -> Path:
        """Return the path of a file of the rehearsal."""
        return self.directory / name

    def keep_secret(self, name: str, value: str) -> Path:
        """Write a file that only its owner may read, and return its path."""
        path = self.path(name)
        path.touch(mode=0o600)
        path.write_text(value, "utf-8")
        return path

    def write_settings(self, *, cameras: dict[str, Any], centre_url: str) -> None:
        """Write `gatehouse.yaml` and `site.yaml`.

        Args:
            cameras: RTSP address by camera.
            centre_url: where the simulated centre takes events.
        """
        self._dump("gatehouse.yaml", self._settings(centre_url))
        self._dump("site.yaml", self.site(cameras))

    def _dump(self, name: str, content: object) -> None:
        self.path(name).write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")

    def _settings(self, centre_url: str) -> dict[str, object]:
        return {
            "gateway": {
                "port": self.port,
                "data_dir": str(self.path("data/gateway")),
                "centre": {
                    "url": centre_url,
                    "signing_key_file": str(self.path("centre.secret")),
                    "allow_networks": ["127.0.0.0/8"],
                    "retry_first_s": 0.2,
                    "retry_cap_s": 1.0,
                    "timeout_s": 2.0,
                },
            },
            "edge": {
                "id": "edge-1",
                "data_dir": str(self.path("data/edge")),
                "broker": {"port": self.broker_port, "password_file": str(self.path("broker.secret"))},
                "faces": {"profile": "demo"},
            },
            "broker": {"data_dir": str(self.path("data/broker")), "users_file": str(self.path("users.yaml"))},
        }

    def site(self, cameras: dict[str, Any]) -> dict[str, object]:
        """Return the content of `site.yaml`: areas, two doors, two cameras."""
        return {
            "areas": [
                {"code": "990101", "level": "district", "name": "演示区"},
                {"code": "990101001", "level": "subdistrict", "name": "演示街道", "parent": "990101"},
                {"code": "990101001001", "level": "community", "name": "演示社区", "parent": "990101001"},
            ],
            "site": {"id": "demo", "name": "晨光花园", "community": "990101001001", "address": "演示路 1 号"},
            "doors": [
                {
                    "id": "gate", "name": "东门", "edge": "edge-1", "camera": "gate", "exit_kind": "button",
                    "factors": ["face", "card", "pin"], "held_open_s": 30, "driver": {"kind": "mqtt"},
                },
                {
                    "id": "side", "name": "西侧门", "edge": "edge-1", "exit_kind": "button",
                    "factors": ["card", "pin"], "held_open_s": 30, "driver": {"kind": "mqtt"},
                },
            ],
            "cameras": [
                {
                    "id": camera, "name": name, "edge": "edge-1", "url": cameras[camera], "user": "gatehouse",
                    "password_file": str(self.path("camera.secret")), **extra,
                }
                for camera, name, extra in (
                    ("gate", "东门摄像机", {"door": "gate", "near_zone": [0.2, 0.0, 0.8, 1.0]}),
                    ("lobby", "大堂摄像机", {}),
                )
            ],
        }  # fmt: skip
