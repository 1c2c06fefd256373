"""Decoding by hardware where this machine has it; by the processor where not, with the reason."""

from __future__ import annotations

from typing import Final

import av
from av.codec.hwaccel import HWAccel

from models.places import Hardware

PREFERRED: Final[tuple[Hardware, ...]] = ("cuda", "qsv", "vaapi", "videotoolbox", "d3d11va")


def accelerator(wanted: Hardware) -> tuple[HWAccel | None, str]:
    """Open the hardware that decodes; return it and its name, or None and why the processor decodes.

    Args:
        wanted: a kind of hardware, `auto` for the first that works, or `none`.
    """
    if wanted == "none":
        return None, "software"
    # Not what FFmpeg was built with: its own decoders must be able to use it (Quick Sync has decoders of its own).
    built = {config.device_type.name for config in av.Codec("h264", "r").hardware_configs or ()}
    for kind in PREFERRED if wanted == "auto" else (wanted,):
        if kind in built and _works(kind):
            return HWAccel(device_type=kind), kind
    name = "no hardware that decodes" if wanted == "auto" else wanted
    reason = "this FFmpeg cannot use it" if wanted != "auto" and wanted not in built else "this machine has none"
    return None, f"software: {name}: {reason}"


def _works(kind: Hardware) -> bool:
    try:
        av.CodecContext.create("h264", "r", hwaccel=HWAccel(device_type=kind, allow_software_fallback=False))
    except (av.FFmpegError, OSError, RuntimeError, NotImplementedError):
        return False
    return True
