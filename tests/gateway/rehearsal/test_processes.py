"""Child processes of a rehearsal: readiness, failure with the log's end, the tree, killing, costs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.rehearsal.processes import Child, cost_of, descendants, kill_descendant
from models.errors import GatehouseError, InvalidInput

SLEEPER = (
    "import json, time; print('hello'); print(json.dumps({'ready': True, 'url': 'u'}), flush=True); time.sleep(60)"
)
PARENT = (
    "import json, subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(61)']);"
    "print(json.dumps({'ready': True}), flush=True); time.sleep(60)"
)


async def test_a_child_is_ready_when_it_says_so_and_its_output_is_kept(tmp_path: Path) -> None:
    child = Child("sleeper", [sys.executable, "-c", SLEEPER], log_dir=tmp_path)
    assert await child.start(within_s=20) == {"ready": True, "url": "u"}
    await child.stop()
    assert "hello" in child.tail()


async def test_a_child_that_ends_is_an_error_that_quotes_its_log(tmp_path: Path) -> None:
    child = Child("broken", [sys.executable, "-c", "raise SystemExit('no such broker')"], log_dir=tmp_path)
    with pytest.raises(GatehouseError, match="no such broker"):
        await child.start(within_s=20)


async def test_a_child_that_stays_silent_is_ended(tmp_path: Path) -> None:
    child = Child("silent", [sys.executable, "-c", "import time; time.sleep(60)"], log_dir=tmp_path)
    with pytest.raises(GatehouseError, match="did not become ready"):
        await child.start(within_s=0.3)
    assert child.pid not in descendants(1)


async def test_the_tree_below_a_process_is_found_killed_and_costed(tmp_path: Path) -> None:
    child = Child("parent", [sys.executable, "-c", PARENT], log_dir=tmp_path)
    await child.start(within_s=20)
    try:
        cpu_s, memory_mb = cost_of([child.pid])
        assert cpu_s > 0
        assert 1 < memory_mb < 500
        victim = kill_descendant(child.pid, "sleep(61)")
        assert victim != child.pid
        with pytest.raises(GatehouseError, match="no process with"):
            kill_descendant(child.pid, "no-such-words")
    finally:
        await child.stop()


def test_a_child_that_was_not_started_has_no_id(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        _ = Child("idle", ["true"], log_dir=tmp_path).pid
