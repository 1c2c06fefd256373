"""Reports of benchmarks: JSON for scripts, a table with small plots for terminals, one HTML page with plots for people.

The page is self-contained (inline SVG, no script, nothing fetched), so it can be mailed and archived.
"""

from __future__ import annotations

import html
import importlib.metadata
import math
import os
import platform
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from models.benchmarks import Benchmark

BARS = "▁▂▃▄▅▆▇█"
PACKAGES = (
    "numpy",
    "onnxruntime",
    "dlib-bin",
    "faiss-cpu",
    "av",
    "opencv-python-headless",
    "paho-mqtt",
    "fastapi",
    "uvicorn",
    "sqlalchemy",
)
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{padding:.4rem .6rem;border-bottom:1px solid #d8dee4;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.yes{color:#116329}.no{color:#a40e26;font-weight:600}"
    "figure{margin:1.5rem 0}figcaption{color:#57606a}"
)


def document(benchmarks: list[Benchmark]) -> dict[str, Any]:
    """Return what `gatehouse bench --json` prints: machine, versions and one entry per benchmark."""
    return {
        "machine": machine(),
        "versions": _versions() | {"python": platform.python_version()},
        "benchmarks": [msgspec.to_builtins(row) for row in benchmarks],
    }


def _versions() -> dict[str, str]:
    """Return the versions of packages that are installed: a peer may be missing."""
    found = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
    return {name: found[name] for name in PACKAGES if name in found}


def machine() -> dict[str, Any]:
    """Return the machine's processor, cores, memory in GB and system, without its name."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.exists() else []
    model = next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), platform.machine())
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory_gb, 1),
        "system": platform.platform(terse=True),
    }


def show(benchmarks: list[Benchmark], console: Console) -> None:
    """Print a table with one small plot of the samples per row."""
    table = Table(title=f"{machine()['cpu']}, {os.cpu_count()} cores")
    for title in ("benchmark", "ours", "peer", "ratio", "target", "met", "samples"):
        table.add_column(title, justify="right" if title in ("ours", "ratio", "target") else "left", overflow="fold")
    for row in benchmarks:
        peer = f"{row.peer} {number(row.theirs)}" if row.peer else ""
        ours = f"{number(row.ours)} {row.unit}"
        ratio = f"{row.ratio:.1f}×" if row.ratio is not None else ""
        met = "[green]yes[/]" if row.met else "[red]no[/]"
        table.add_row(row.name, ours, peer, ratio, number(row.target), met, sparkline(row.samples))
    console.print(table)
    for row in benchmarks:
        console.print(f"[dim]{row.name}: {row.detail}[/]", highlight=False)


def sparkline(samples: tuple[float, ...], width: int = 24) -> str:
    """Return a histogram of samples in one line of block characters; empty for fewer than two."""
    if len(samples) < 2:
        return ""
    counts = _histogram(samples, width)
    top = max(counts)
    return "".join(" " if not count else BARS[min(7, count * 8 // (top + 1))] for count in counts)


def page(benchmarks: list[Benchmark]) -> str:
    """Return the HTML report."""
    machine_row = " · ".join(f"{key}: {value}" for key, value in machine().items())
    rows = "".join(_html_row(row) for row in benchmarks)
    figures = "".join(_figure(row) for row in benchmarks if len(row.samples) > 1)
    figures += "".join(_curve(row) for row in benchmarks if len(row.curve) > 1)
    heads = "".join(f"<th>{title}</th>" for title in ("benchmark", "ours", "peer", "ratio", "target", "met", "detail"))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Gatehouse benchmarks</title><style>{STYLE}</style>"
        f"<h1>Gatehouse benchmarks</h1><p>{html.escape(machine_row)}</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{figures}</html>"
    )


def _html_row(row: Benchmark) -> str:
    peer = f"{html.escape(row.peer)}: {number(row.theirs)}" if row.peer else ""
    ratio = f"{row.ratio:.1f}×" if row.ratio is not None else ""
    met = '<td class="yes">yes</td>' if row.met else '<td class="no">no</td>'
    cells = (f"{number(row.ours)} {html.escape(row.unit)}", peer, ratio, number(row.target))
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    return f"<tr><td>{html.escape(row.name)}</td>{numbers}{met}<td>{html.escape(row.detail)}</td></tr>"


def _figure(row: Benchmark) -> str:
    """Draw the samples as a histogram, with the target as a dashed line where it is one of time and not of a ratio."""
    counts = _histogram(row.samples, 40)
    low, high = min(row.samples), max(row.samples)
    top = max(counts)
    bars = "".join(
        f'<rect x="{10 + index * 14}" y="{110 - height:.1f}" width="12" height="{height:.1f}" fill="#0969da"/>'
        for index, height in enumerate(100 * count / top for count in counts)
    )
    mark = ""
    if row.target is not None and not row.peer and low <= row.target <= high and high > low:
        x = 10 + (row.target - low) / (high - low) * 560
        mark = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="5" y2="110" stroke="#a40e26" stroke-dasharray="4"/>'
    scale = f'<text x="10" y="128">{number(low)}</text>'
    scale += f'<text x="570" y="128" text-anchor="end">{number(high)} {row.unit}</text>'
    caption = f"<figcaption>{html.escape(row.name)}: {len(row.samples)} samples</figcaption>"
    drawing = f'<svg viewBox="0 0 580 134" width="580" role="img" font-size="12">{bars}{mark}{scale}</svg>'
    return f"<figure>{drawing}{caption}</figure>"


def _curve(row: Benchmark) -> str:
    """Draw growth: both axes logarithmic, the dashed line through the first point is linear growth."""
    left, right = math.log(row.curve[0][0]), math.log(row.curve[-1][0])
    lows = [math.log(y) for _, y in row.curve]
    low, high = min(lows), max(*lows, lows[0] + right - left)

    def at(x: float, y: float) -> str:
        return f"{70 + (x - left) / ((right - left) or 1) * 480:.1f},{190 - (y - low) / ((high - low) or 1) * 170:.1f}"

    points = [at(math.log(x), y) for (x, _), y in zip(row.curve, lows, strict=True)]
    dots = "".join(f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="4" fill="#0969da"/>' for p in points)
    labels = "".join(
        f'<text x="{p.split(",")[0]}" y="212" text-anchor="middle">{int(x):,}</text>'
        f'<text x="{p.split(",")[0]}" y="{float(p.split(",")[1]) - 9:.1f}" text-anchor="middle">{number(y)} ms</text>'
        for p, (x, y) in zip(points, row.curve, strict=True)
    )
    linear = f"{points[0]} {at(right, lows[0] + right - left)}"
    return (
        '<figure><svg viewBox="0 0 620 220" width="620" role="img" font-size="12">'
        f'<polyline points="{linear}" fill="none" stroke="#a40e26" stroke-dasharray="4"/>'
        f'<polyline points="{" ".join(points)}" fill="none" stroke="#0969da" stroke-width="2"/>{dots}{labels}</svg>'
        f"<figcaption>{html.escape(row.name)}: time by size, both logarithmic; dashed: linear growth</figcaption></figure>"
    )


def _histogram(samples: tuple[float, ...], bins: int) -> list[int]:
    low, high = min(samples), max(samples)
    step = (high - low) / bins or 1.0
    counts = [0] * bins
    for sample in samples:
        counts[min(bins - 1, int((sample - low) / step))] += 1
    return counts


def number(value: float | None) -> str:
    """Return a figure in three digits, or nothing for none."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
