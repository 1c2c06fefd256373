"""Programs of this machine that tests use.

`@pytest.mark.needs("mosquitto")` skips a test where one is missing, with the reason; with CI=true it fails instead.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

EXTRA_FOLDERS = (
    "/usr/sbin",
    "/usr/local/sbin",
    *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
)
PROGRAMS = {
    "chromium": ("chromium",),
    "curl": ("curl",),
    "ffmpeg": ("ffmpeg", "ffprobe"),
    "gstreamer": ("gst-launch-1.0",),
    "mosquitto": ("mosquitto",),
    "mosquitto-clients": ("mosquitto_pub", "mosquitto_sub"),
    "onvif-tools": ("onvif-util",),
    "postgresql": ("initdb", "postgres"),
    "rabbitmq": ("rabbitmq-server", "epmd"),
    "swtpm": ("swtpm", "tpm2_unseal"),
}


def program(name: str) -> str | None:
    """Return the path of a program, looked for where servers live too; None if it is not installed."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *EXTRA_FOLDERS]))


def missing(server: str) -> list[str]:
    """Return which programs of a server (a key of PROGRAMS, or a program's name) are not installed."""
    return [name for name in PROGRAMS.get(server, (server,)) if program(name) is None]
