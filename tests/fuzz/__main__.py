"""Run the fuzz targets with atheris (coverage-guided): `python -m tests.fuzz --seconds 60 [TARGET …]`.

Each target runs in a process of its own and keeps what it learnt, and what it found, in build/fuzz/TARGET.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.targets import TARGETS, guarded

FOLDER: Final = Path(__file__).resolve().parents[2] / "build" / "fuzz"
FUZZED: Final = ["drivers", "models", "config", "msgspec", "jmespath", "yaml", "PIL"]
SLOWEST_S: Final = 10
MEMORY_MB: Final = 2048
_EDGES: Final = re.compile(rb"cov: (\d+) ft: (\d+)")
_RUNS: Final = re.compile(rb"Done (\d+) runs in (\d+) second")


def fuzz(name: str, *, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    target = TARGETS[name]
    with atheris.instrument_imports(include=FUZZED):
        take = guarded(target)
    corpus = FOLDER / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    bounds = [f"-max_len={target.bytes_most}", f"-timeout={SLOWEST_S}", f"-rss_limit_mb={MEMORY_MB}"]
    where = [f"-artifact_prefix={FOLDER / name}/", str(corpus)]
    atheris.Setup([name, f"-max_total_time={seconds}", *bounds, *where], take)
    atheris.Fuzz()


def run(name: str, *, seconds: int) -> bool:
    """Fuzz one target in a process of its own and say how that went; return whether it found nothing."""
    argv = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(seconds), name]
    ended = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = FOLDER / name / "log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(ended.stdout)
    edges, runs = _EDGES.findall(ended.stdout), _RUNS.search(ended.stdout)
    if ended.returncode or runs is None or not edges:
        sys.stdout.write(f"{name:16} FOUND something: {log}\n")
        sys.stdout.buffer.write(b"\n".join(ended.stdout.splitlines()[-25:]) + b"\n")
    else:
        figures = f"{int(runs[1]):>9,} executions in {int(runs[2])} s, {int(edges[-1][0]):>6,} edges"
        sys.stdout.write(f"{name:16} {figures}, {len(list((FOLDER / name / 'corpus').iterdir())):>5,} inputs kept\n")
    sys.stdout.flush()
    return not ended.returncode


def main() -> int:
    """Run the targets that are named, or all; return 1 if one found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=main.__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="how long each runs (default: %(default)s)")
    parser.add_argument("--here", action="store_true", help="run one target in this process")
    given = parser.parse_args()
    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"no target is called {min(unknown)}: use {', '.join(TARGETS)}")
    if given.here:
        fuzz(given.targets[0], seconds=given.seconds)
        return 0
    clean = [run(name, seconds=given.seconds) for name in given.targets or TARGETS]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
