"""`evaluate faces|liveness`: measure the networks. They run in a process of their own: the gateway loads none of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from gateway.rehearsal.processes import module_argv

evaluate = typer.Typer(help="Measure what networks and photos prove, with reports.", no_args_is_help=True)
Html = Annotated[Path | None, typer.Option("--html", help="write the report with plots to this file")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="write the figures to this file; - prints them")]


@evaluate.command("faces")
def faces(
    folder: Annotated[Path, typer.Argument(help="one sub-folder of photos per person")], *, html: Html = None,
    json: JsonFile = None,
    calibration: Annotated[Path | None, typer.Option(help="write the evidence for `calibration add` to this file")] = None,
    threads: Annotated[int, typer.Option(min=1, max=16, help="threads of the networks")] = 1,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="gatehouse.yaml, for networks of your own")] = None,
    pictures: Annotated[bool, typer.Option(help="show small pictures of failures in the report")] = True,
) -> None:  # fmt: skip
    """Measure errors of faces on labelled photos, with 95 % intervals over people, and what radius they carry."""
    argv = ["faces", str(folder), "--threads", str(threads)]
    argv += _files(html=html, json=json, calibration=calibration, config=config)
    _run([*argv, *([] if pictures else ["--no-pictures"])])


@evaluate.command("liveness")
def liveness(
    *, photo: Annotated[list[Path] | None, typer.Option(help="portrait; may be given several times")] = None,
    takes: Annotated[int | None, typer.Option(min=1, max=1000, help="takes of each act (default: 59)")] = None,
    seed: Annotated[int, typer.Option(help="first seed of the takes")] = 101, html: Html = None, json: JsonFile = None,
) -> None:  # fmt: skip
    """Measure the built-in liveness on drawn scenes: heads, prints and screens. No certified test."""
    argv = ["liveness", "--seed", str(seed), *_files(html=html, json=json)]
    argv += [] if takes is None else ["--takes", str(takes)]
    _run([*argv, *(word for file in photo or () for word in ("--photo", str(file)))])


def _files(**named: Path | None) -> list[str]:
    return [word for name, file in named.items() if file is not None for word in (f"--{name}", str(file))]


def _run(argv: list[str]) -> None:
    """Run an evaluation on this terminal, and end as it ends."""
    done = subprocess.run(module_argv("edge", "evaluate", *argv), stdin=subprocess.DEVNULL, check=False)
    raise typer.Exit(0 if done.returncode == 0 else 1)
