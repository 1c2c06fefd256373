#!/usr/bin/env python
"""Fill the volumes of docker-compose.yml once: random secrets, and the files that Mosquitto starts with.

A script, not a module: the `first-run` service runs it as root before anything else, and running it again changes
nothing. It prints no secret.
"""

import base64
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

GATEHOUSE, MOSQUITTO = 10001, 1883
SECRETS, LINK = Path("/run/gatehouse"), Path("/run/link")
BROKER, DATA = Path("/mosquitto/data"), Path("/var/lib/gatehouse")
DOORS = ("gate", "side")
BROKER_FILES = """
import sys, msgspec
from pathlib import Path
from drivers.mqtt.broker import Listener, Users, write_mosquitto_files
users = msgspec.json.decode(sys.stdin.buffer.read(), type=Users)
write_mosquitto_files(Path("/mosquitto/data"), users=users, listener=Listener(host="0.0.0.0"), program="mosquitto")
"""


def keep(name: str, value: str, *, owner: int = GATEHOUSE) -> str:
    """Write a secret unless it is there already, and return what the file holds."""
    path = SECRETS / name
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as stream:
            stream.write(value)
        os.chown(path, owner, owner)
    return path.read_text()


def main() -> None:
    """Fill the volumes; what is there already stays."""
    SECRETS.chmod(0o711)
    keep("database", secrets.token_urlsafe(24))
    keep("centre", "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    keep("camera", secrets.token_urlsafe(24))
    edge = {"password": keep("broker", secrets.token_urlsafe(24))}
    users = keep("users.json", json.dumps({"edge": edge, "doors": {door: secrets.token_urlsafe(24) for door in DOORS}}))
    for folder in (LINK, DATA / "gateway", DATA / "edge"):
        os.chown(folder, GATEHOUSE, GATEHOUSE)
        folder.chmod(0o700)
    if os.environ.get("GATEHOUSE_DEMO"):
        for name in ("gateway", "edge"):
            (DATA / name / "DEMO").touch()
    os.chown(BROKER, MOSQUITTO, MOSQUITTO)
    subprocess.run(
        [sys.executable, "-c", BROKER_FILES],
        check=True,
        user=MOSQUITTO,
        group=MOSQUITTO,
        extra_groups=[],
        cwd="/",
        input=users.encode(),
    )
    sys.stdout.write("first run: secrets and broker files are in place\n")


main()
