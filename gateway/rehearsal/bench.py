"""`gatehouse bench latency|faults`: figures of the running system, taken on a stage with simulators.

`bench faces`, `bench match` and `bench cameras` run at the edge (`python -m edge bench …`), whose networks, galleries and
eyes the gateway does not import.
Timings never decide a test: a row says whether it met its target, and the command succeeds either way.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.rehearsal.actors import until
from gateway.rehearsal.layout import Layout
from gateway.rehearsal.processes import cost_of, descendants, module_argv
from gateway.rehearsal.selftest import timing_of
from gateway.rehearsal.stage import Stage
from gateway.rehearsal.steps import forced_at
from models.benchmarks import Benchmark
from models.errors import GatehouseError

FACE_VISITS = 15
WAYS = 5
"""Ways of turning a head, each on several visits."""
FACE_MS = 1000.0
LIVE_FACE_MS = 3000.0
FORCINGS = 40
IDLE_S = 20.0
KILLS = ("edge worker", "gateway serve", "broker", "edge eye", "edge faces")
Tell = Callable[[str], None]


class _PlainLayout(Layout):
    liveness = "none"


class _Unguarded(Stage):
    """A stage whose gate asks nobody for life: what the face pipeline takes by itself."""

    layout_type = _PlainLayout


async def latency(directory: Path, *, tell: Tell) -> list[Benchmark]:
    """Measure start, idle cost, memory, face to unlock, and alert to console and centre on one stage.

    The first stage converts the networks if they are not cached yet, and its gate asks for no liveness; `cold_start` is
    taken on the second.
    """
    async with _Unguarded(directory / "first", tell=tell) as stage:
        unguarded = await _face_to_unlock(stage, "face_to_unlock", target=FACE_MS, tell=tell)
        tell("networks are converted and cached; starting again for the cold start")
    async with Stage(directory / "second", tell=tell) as stage:
        rows = [
            _row(
                "cold_start",
                "ms",
                [stage.up_ready_s * 1000],
                target=5000.0,
                detail="gatehouse up, process start to ready",
            )
        ]
        rows += await _idle(stage, tell=tell)
        rows += [unguarded, await _face_to_unlock(stage, "face_to_unlock_live", target=LIVE_FACE_MS, tell=tell)]
        rows += await _alerts(stage, tell=tell)
        return rows


async def _idle(stage: Stage, *, tell: Tell) -> list[Benchmark]:
    tell(f"idle cost: two quiet cameras for {IDLE_S:.0f} s")
    await stage.quiet()
    pids = [stage.up_pid, *descendants(stage.up_pid)]
    before_s, _ = cost_of(pids)
    began = time.monotonic()
    await asyncio.sleep(IDLE_S)
    after_s, memory_mb = cost_of(pids)
    percent = (after_s - before_s) / (time.monotonic() - began) * 100
    detail = f"{len(pids)} processes; simulators not counted"
    return [
        _row("idle_cost", "% of a core", [percent], target=15.0, detail=detail),
        _row("total_memory", "MB", [memory_mb], target=900.0, detail=f"proportional set size; {detail}"),
    ]


async def _face_to_unlock(stage: Stage, name: str, *, target: float, tell: Tell) -> Benchmark:
    samples = []
    for index in range(FACE_VISITS):
        tell(f"{name}: visit {index + 1} of {FACE_VISITS}")
        outcome = await stage.visit("resident", seed=1 + index % WAYS)
        if outcome["outcome"] != "unlocked":
            continue
        granted = await stage.fact("gate", "access_granted", attempt=str(outcome["attempt"]))
        samples.append(float(granted["unlock_ms"]))
    if not samples:
        raise GatehouseError(f"{name}: not one of {FACE_VISITS} visits opened the door")
    liveness = stage.files.liveness
    detail = (
        f"first usable frame in the near zone to the door's confirmation; 10 frames/s, k = 2 of 3, liveness {liveness}"
    )
    if missed := FACE_VISITS - len(samples):
        detail += f"; {missed} of {FACE_VISITS} visits were refused"
    return _row(name, "ms", samples, target=target, detail=detail)


async def _alerts(stage: Stage, *, tell: Tell) -> list[Benchmark]:
    console, centre = [], []
    for index in range(FORCINGS):
        if index % 10 == 0:
            tell(f"alert to console and centre: {index} of {FORCINGS}")
        mark, began = stage.ear.mark(), time.monotonic()
        await stage.act("side", "force")
        heard_at, alert = await stage.ear.hear("alert", forced_at("side"), since=mark)
        console.append((heard_at - began) * 1000)
        event = await stage.centre_event(alert["id"], "raised")
        centre.append((event["received_mono"] - began) * 1000)
        await stage.calm("side", alert["id"])
    return [
        _row("alert_to_console", "ms", console, target=300.0, detail="door forced to the console's live feed"),
        _row(
            "alert_to_centre",
            "ms",
            centre,
            target=None,
            detail="door forced to the simulated centre; no target in the design",
        ),
    ]


def _row(name: str, unit: str, samples: list[float], *, target: float | None, detail: str) -> Benchmark:
    timing = timing_of(samples)
    ours = timing.p95 or 0.0
    shown = f"{detail}; p50 {timing.p50}, p95 {timing.p95}, n {timing.n}"
    met = target is None or ours <= target
    return Benchmark(name=name, unit=unit, ours=ours, target=target, met=met, samples=tuple(samples), detail=shown)


def faces(*, tell: Tell) -> list[Benchmark]:
    """Run the benchmarks of the face networks in the process that may load them, and return their rows.

    Raises:
        GatehouseError: it ended with an error; its own words are on standard error.
    """
    tell("the networks against dlib, one thread; about a minute")
    return _of_edge("faces")


def match(*, tell: Tell, rows: int) -> list[Benchmark]:
    """Run the benchmarks of matching among `rows` templates, on one thread and then on two, and return their rows.

    Raises:
        GatehouseError: it ended with an error; its own words are on standard error.
    """
    tell("matching against FAISS and BLAS; some minutes and about 4 GB of memory for a million templates")
    return [row for threads in (1, 2) for row in _of_edge("match", "--rows", str(rows), threads=threads)]


def cameras(*, tell: Tell, seconds: float) -> list[Benchmark]:
    """Run the benchmarks of eyes beside FFmpeg, `seconds` for each part, and return their rows.

    Raises:
        GatehouseError: it ended with an error; its own words are on standard error.
    """
    tell(f"eyes beside FFmpeg, then more and more cameras; about {seconds * 4.5 / 60:.0f} minutes")
    return _of_edge("cameras", "--seconds", str(seconds))


def doors(*, tell: Tell) -> list[Benchmark]:
    """Run the benchmarks of MQTT doors, their commands and their events, and return their rows.

    Raises:
        GatehouseError: it ended with an error; its own words are on standard error.
    """
    tell("500 simulated MQTT doors on one edge; about a minute")
    return _of_edge("doors")


def _of_edge(topic: str, *arguments: str, threads: int = 1) -> list[Benchmark]:
    """Run a benchmark in a process of the edge, whose BLAS has so many threads from its start."""
    own = ["--threads", str(threads)] if topic == "match" else []
    limits = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    done = subprocess.run(
        module_argv("edge", "bench", topic, "--json", *arguments, *own),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, **limits},
        check=False,
        timeout=1800,
    )
    if done.returncode != 0:
        raise GatehouseError(f"python -m edge bench {topic} ended with {done.returncode}")
    return msgspec.json.decode(done.stdout, type=list[Benchmark])


async def faults(directory: Path, *, tell: Tell, rounds: int = 10, seed: int = 1) -> list[Benchmark]:
    """Kill processes at random moments of a stream of events, and count what was lost, doubled or reordered."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible schedule, not a secret
    async with Stage(directory, tell=tell) as stage:
        sent = 0
        forced_ids: list[str] = []
        for index in range(rounds):
            victim = KILLS[index % len(KILLS)]
            tell(f"faults: round {index + 1} of {rounds}, kill -9 of {victim}")
            sent += await _round(stage, victim, chance=chance)
            mark = stage.ear.mark()
            await stage.act("gate", "force")  # the side door's exit button would explain an opening there
            _, alert = await stage.ear.hear("alert", forced_at("gate"), since=mark, within_s=60)
            forced_ids.append(alert["id"])
            await stage.calm("gate", alert["id"])
        return await _count(stage, sent=sent, forced_ids=forced_ids, rounds=rounds)


async def _round(stage: Stage, victim: str, *, chance: random.Random) -> int:
    events = 20
    fatal = chance.randrange(events)
    for number in range(events):
        if number == fatal:
            stage.kill(*(stage.broker_words if victim == "broker" else victim.split()))
        await stage.act("side", "exit")
        await asyncio.sleep(chance.random() * 0.02)
    return events


async def _count(stage: Stage, *, sent: int, forced_ids: list[str], rounds: int) -> list[Benchmark]:
    async def complete() -> list[dict[str, Any]] | None:
        facts = await stage.facts("side", "exit_requested")
        return facts if len(facts) >= sent else None

    await until(complete, what=f"{sent} facts", within_s=90)
    facts = await stage.facts("side", "exit_requested")
    for alert_id in forced_ids:
        await stage.centre_event(alert_id, "cleared", within_s=60)
    received = await stage.centre_received()
    raised = Counter(r["event"].get("subject") for r in received if ".raised." in r["event"]["type"])
    lost = max(0, sent - len(facts)) + sum(1 for a in forced_ids if a not in raised)
    doubled = max(0, len(facts) - sent) + sum(count - 1 for count in raised.values())
    reordered = sum(1 for alert_id in forced_ids if not _in_order(alert_id, received))
    detail = f"{rounds} kills, {sent} door events, {len(forced_ids)} alerts to the centre"
    return [
        Benchmark(name="kills", unit="count", ours=float(rounds), target=None, met=True, samples=(), detail=detail),
        Benchmark(name="lost", unit="count", ours=float(lost), target=0.0, met=lost == 0, samples=(), detail=detail),
        Benchmark(
            name="doubled", unit="count", ours=float(doubled), target=0.0, met=doubled == 0, samples=(), detail=detail
        ),
        Benchmark(
            name="reordered",
            unit="count",
            ours=float(reordered),
            target=0.0,
            met=reordered == 0,
            samples=(),
            detail=detail,
        ),
    ]


def _in_order(alert_id: str, received: list[dict[str, Any]]) -> bool:
    kinds = [r["event"]["type"].split(".")[-2] for r in received if r["event"].get("subject") == alert_id]
    return "raised" in kinds and "cleared" in kinds and kinds.index("raised") < kinds.index("cleared")
