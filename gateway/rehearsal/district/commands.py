"""`gatehouse bench district|events`: what a compound and a district cost, put together from the parts beside this."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.rehearsal.district.importing import bench_import
from gateway.rehearsal.district.policies import bench_policies
from gateway.rehearsal.processes import module_argv
from models.benchmarks import Benchmark
from models.errors import GatehouseError

DECISION_S = 900
Tell = Callable[[str], None]


def district(directory: Path, *, tell: Tell) -> list[Benchmark]:
    """Measure an import of ten thousand residents, policies of a compound, and decisions at an edge."""
    tell("import: ten thousand residents from a workbook, and back")
    rows = bench_import()
    rows += bench_policies(directory, tell=tell)
    tell("decision: at the edge, from the policy alone")
    return rows + _decision()


def _decision() -> list[Benchmark]:
    """Return the rows of the process that may decide: the gateway imports no edge.

    Raises:
        GatehouseError: it ended with an error; its own words are on standard error.
    """
    argv = module_argv("edge", "bench", "decision", "--json")
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False, timeout=DECISION_S)
    if done.returncode != 0:
        raise GatehouseError(f"python -m edge bench decision ended with {done.returncode}")
    return msgspec.json.decode(done.stdout, type=list[Benchmark])
