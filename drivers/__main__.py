"""`python -m drivers …`: the simulators, the broker and the check of settings as processes. Each loads only what it runs."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from typing import Final

PROGRAMS: Final[dict[tuple[str, ...], str]] = {
    ("simulate", "door"): "drivers.mqtt.simulator",
    ("simulate", "camera"): "drivers.rtsp.simulator",
    ("simulate", "onvif"): "drivers.onvif.simulator",
    ("simulate", "osdp"): "drivers.osdp.simulator",
    ("mqtt", "broker"): "drivers.mqtt.broker",
    ("mqtt", "record"): "drivers.mqtt.recording",
    ("mqtt", "replay"): "drivers.mqtt.recording",
    ("conformance", "run"): "drivers.conformance.program",
    ("osdp", "install"): "drivers.osdp.install",
    ("osdp", "probe"): "drivers.osdp.probe",
    ("check",): "drivers.checking",
    ("words",): "drivers.words",
}
"""Modules with `add_arguments(parser)` and `async main(args) -> exit status`."""


CALLED: Final = "--called"
"""Before the program: the words that somebody typed to run it, for its help."""


def main(arguments: list[str]) -> int:
    """Run one of the programs and return its exit status."""
    typed = ""
    if arguments[:1] == [CALLED]:
        typed, *arguments = arguments[1:]
    words = next((words for words in PROGRAMS if words == tuple(arguments[: len(words)])), None)
    if words is None:
        known = "\n".join(f"  python -m drivers {' '.join(words)} --help" for words in PROGRAMS)
        sys.stderr.write(f"use one of:\n{known}\n")
        return 0 if arguments in ([], ["--help"]) else 2
    program = importlib.import_module(PROGRAMS[words])
    parser = argparse.ArgumentParser(prog=typed or f"python -m drivers {' '.join(words)}")
    program.add_arguments(parser)
    args = parser.parse_args(arguments[len(words) :])
    try:
        return int(asyncio.run(program.main(args)) or 0)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
