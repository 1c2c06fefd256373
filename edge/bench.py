"""`python -m edge bench faces|match|decision|cameras|doors`: what only an edge may load, measured; JSON rows on standard output."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from models.benchmarks import Benchmark
from models.errors import GatehouseError


def main(argv: list[str]) -> int:
    """Run one group of benchmarks and print its rows."""
    parser = argparse.ArgumentParser(prog="python -m edge bench")
    parser.add_argument("topic", choices=("faces", "match", "decision", "cameras", "doors"))
    parser.add_argument("--json", action="store_true", help="rows as JSON; the only form here")
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "gatehouse")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1, help="of `match`; BLAS must have as many")
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many templates `match` searches")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long `cameras` measures each part for")
    args = parser.parse_args(argv)
    if args.topic == "cameras":
        rows = _cameras(args.seconds)
    else:
        rows = _run(args.topic, args.cache.expanduser(), threads=args.threads, rows=args.rows)
    sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
    return 0


def _run(topic: str, cache_dir: Path, *, threads: int, rows: int) -> list[Benchmark]:
    if topic == "decision":
        from edge.bench_decision import run as run_decision

        return run_decision()
    if topic == "doors":
        from edge.bench_doors import run as run_mqtt

        return run_mqtt(lambda line: sys.stderr.write(f"{line}\n"))
    from config.portraits import portraits

    if topic == "match":
        return _match(portraits(), cache_dir, threads=threads, rows=rows)
    from edge.bench_faces import run as run_doors
    from models.faces.bench import run as run_faces

    folder = next(iter(portraits().values())).parent
    return [*run_faces(folder, cache_dir), *run_doors(folder, cache_dir)]


def _cameras(seconds: float) -> list[Benchmark]:
    from edge.bench_cameras import run

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    return run(seconds=seconds, tell=tell)


def _match(portraits: dict[str, Path], cache_dir: Path, *, threads: int, rows: int) -> list[Benchmark]:
    """Measure matching behind a progress bar on standard error.

    Raises:
        GatehouseError: BLAS was not started with as many threads, so that nothing could be compared.
    """
    if os.environ.get("OPENBLAS_NUM_THREADS") != str(threads):
        raise GatehouseError(f"set OPENBLAS_NUM_THREADS={threads}, or run `gatehouse bench match`, which does")
    from rich.console import Console
    from rich.progress import Progress

    from edge.bench_match import STEPS, run

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("bench match", total=STEPS if threads == 1 else 2)

        def tell(line: str) -> None:
            progress.update(task, description=line)
            progress.advance(task)

        return run(portraits, cache_dir, threads=threads, rows=rows, tell=tell)
