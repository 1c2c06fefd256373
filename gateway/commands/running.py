"""`up`, `gateway` and `edge`: run one box, or one part of an installation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.common import Config, load, settings_file


def up(
    config: Config = None,
    *,
    demo: Annotated[bool, typer.Option("--demo", help="run on data folders that are marked DEMO")] = False,
) -> None:
    """Run one box: broker, gateway and edge, supervised, until Ctrl-C."""
    from config.process import run, set_up_logging
    from gateway.up import run_up

    settings = load(config)
    set_up_logging("up", level=settings.logging.level, style=settings.logging.format)

    def tell(line: str) -> None:
        sys.stderr.write(f"gatehouse {line}\n")

    raise typer.Exit(run(lambda: run_up(settings, demo=demo, tell=tell)))


def gateway(
    config: Config = None,
    *,
    edge_token_file: Annotated[
        Path | None, typer.Option(help="leave an enrolment token for the edge of this box here", hidden=True)
    ] = None,
) -> None:
    """Run the gateway alone: store, alerts, forwarding, API and console."""
    from config.process import run, set_up_logging
    from gateway.app import serve

    settings = load(config)
    set_up_logging("gateway", level=settings.logging.level, style=settings.logging.format)
    raise typer.Exit(run(lambda: serve(settings, edge_token_file=edge_token_file)))


edge = typer.Typer(help="Run an edge, or enrol and revoke edges.", invoke_without_command=True)


@edge.callback()
def run_edge(context: typer.Context, config: Config = None) -> None:
    """Run the edge worker alone: doors, cameras, decisions. With a command: enrol and revoke edges at the gateway."""
    if context.invoked_subcommand is None:
        file = settings_file(config)
        os.execv(sys.executable, [sys.executable, "-m", "edge", "worker", "--config", str(file)])


@edge.command("backup")
def backup_edge(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the backup to write")],
    *,
    to: Annotated[str, typer.Option("--to", help="the owner's public age key, age1…")],
    config: Config = None,
) -> None:
    """Back an edge up: its keys and templates, encrypted to the owner's key."""
    _edge("backup", str(file), "--to", to, config=config)


@edge.command("restore")
def restore_edge(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the backup to read")],
    *,
    identity: Annotated[Path, typer.Option("--identity", help="file with the owner's AGE-SECRET-KEY-1…")],
    tombstones: Annotated[
        Path | None, typer.Option("--tombstones", help="the gateway's tombstones.log: who must not come back")
    ] = None,
    config: Config = None,
) -> None:
    """Restore an edge into an empty data folder; no face is matched before a later policy has judged what came back."""
    named = [] if tombstones is None else ["--tombstones", str(tombstones)]
    _edge("restore", str(file), "--identity", str(identity), *named, config=config)


def _edge(command: str, *arguments: str, config: Path | None) -> None:
    sys.stdout.flush()
    file = settings_file(config)
    os.execv(sys.executable, [sys.executable, "-m", "edge", command, "--config", str(file), *arguments])
