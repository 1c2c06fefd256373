"""`python -m edge bench faces|decision`: the benchmarks of what only an edge may load, as JSON rows on standard output."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec


def main(argv: list[str]) -> int:
    """Run one group of benchmarks and print its rows."""
    parser = argparse.ArgumentParser(prog="python -m edge bench")
    parser.add_argument("topic", choices=("faces", "decision"))
    parser.add_argument("--json", action="store_true", help="rows as JSON; the only form here")
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "gatehouse")
    args = parser.parse_args(argv)
    if args.topic == "decision":
        from edge.bench_decision import run as run_decision

        rows = run_decision()
    else:
        from config.portraits import portraits
        from models.faces.bench import run as run_faces

        rows = run_faces(next(iter(portraits().values())).parent, args.cache.expanduser())
    sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
    return 0
