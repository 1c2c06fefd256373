"""The files of a rehearsal: random secrets, the settings of `gatehouse up`, and a demo site. Starts nothing.

Folders of data are marked DEMO, which `gatehouse up` refuses without `--demo`.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
from pathlib import Path
from typing import Any, ClassVar

import yaml

from models.liveness import Provider

CAMERAS = ("gate", "lobby")
DOORS = ("gate", "side")
MARK = "DEMO"
SUBJECTS = ("face", "recording")
REGISTER = {
    "purpose": "演示：模拟摄像机，只播放合成画面",
    "place_class": "community_common",
    "sign_confirmed_on": "2025-01-01",
    "banned_area_checked": True,
    "responsible": "演示物业安保主管",
}
ASSESSMENT = {
    "topics": {
        "lawful_and_necessary": "仅供演示：画面与住户均为模拟，不处理真实个人的信息，目的和方式合法、正当、必要。",
        "impact_and_risk": "仅供演示：没有真实个人，对个人权益没有影响；数据只留在本机，演示结束即可删除。",
        "measures_fit": "仅供演示：特征模板在边缘加密保存，网关不持有人脸，保护措施与风险程度相适应。",
        "leak_and_misuse": "仅供演示：泄露、篡改、丢失或滥用只涉及模拟数据，删除演示目录即可消除影响。",
    },
    "drafted_by": "demo-manager",
    "drafted_at": "2025-01-01T08:00:00+08:00",
    "approved_by": "demo-director",
    "approved_at": "2025-01-02T08:00:00+08:00",
}


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

    liveness: ClassVar[Provider] = "parallax"
    """Who tells a live face from a picture at the gate."""

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
                    "liveness": self.liveness,
                },
                {
                    "id": "side", "name": "西侧门", "edge": "edge-1", "exit_kind": "button",
                    "factors": ["card", "pin"], "held_open_s": 30, "driver": {"kind": "mqtt"},
                },
            ],
            "cameras": [
                {
                    "id": camera, "name": name, "edge": "edge-1", "url": cameras[camera], "user": "gatehouse",
                    "password_file": str(self.path("camera.secret")), "register_entry": REGISTER, **extra,
                }
                for camera, name, extra in (
                    ("gate", "东门摄像机", {"door": "gate", "near_zone": [0.2, 0.0, 0.8, 1.0]}),
                    ("lobby", "大堂摄像机", {}),
                )
            ],
            "assessments": [{"id": f"demo-{subject}", "subject": subject, **ASSESSMENT} for subject in SUBJECTS],
        }  # fmt: skip
