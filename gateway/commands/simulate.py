"""`gatehouse simulate` and `traffic`: simulators that speak the real wire, scenarios of them, and recordings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands.common import say

ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

simulate = typer.Typer(help="Run a simulator that speaks the real wire, or a scenario of them.", no_args_is_help=True)


@simulate.command("door", context_settings=ANY_ARGUMENTS)
def simulate_door(context: typer.Context) -> None:
    """Simulate MQTT doors (options: see --help of this command)."""
    _drivers("door", context.args)


@simulate.command("camera", context_settings=ANY_ARGUMENTS)
def simulate_camera(context: typer.Context) -> None:
    """Simulate RTSP cameras (options: see --help of this command)."""
    _drivers("camera", context.args)


@simulate.command("onvif", context_settings=ANY_ARGUMENTS)
def simulate_onvif(context: typer.Context) -> None:
    """Simulate an ONVIF device with doors and a camera (options: see --help of this command)."""
    _drivers("onvif", context.args)


@simulate.command("osdp", context_settings=ANY_ARGUMENTS)
def simulate_osdp(context: typer.Context) -> None:
    """Simulate OSDP readers on a line (options: see --help of this command)."""
    _drivers("osdp", context.args)


@simulate.command("scenario")
def simulate_scenario(
    file: Annotated[Path, typer.Argument(help="SCENARIO.yaml: simulators, and what is done to them when")],
    *,
    for_s: Annotated[float | None, typer.Option("--for", min=1, help="seconds to play for")] = None,
    log_dir: Annotated[Path | None, typer.Option("--logs", help="keep the simulators' logs in this folder")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object per line")] = False,
) -> None:
    """Play a scenario: start its simulators, do what its time line says, and end them. Exit status 1: an order failed."""
    import asyncio
    import json
    import tempfile

    import msgspec

    from config.scenario import read_scenario
    from gateway.rehearsal.scenario import Told, play, simulator_words

    scenario = read_scenario(file, environment=os.environ, words=simulator_words())

    def ready(device: str, card: dict[str, Any]) -> None:
        told = {name: value for name, value in card.items() if name not in {"ready", "pid"}}
        say(json.dumps({"ready": device, **told}) if as_json else f"{device} is ready: {json.dumps(told)}")

    def tell(told: Told) -> None:
        line = f"{told.at_s:8.1f} s  {told.device}: {json.dumps(told.order)} -> {json.dumps(told.answer)}"
        say(msgspec.json.encode(told).decode() if as_json else line)

    logs = None if log_dir is None else log_dir.resolve()
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder:
        os.chdir(file.resolve().parent)
        try:
            failed = asyncio.run(play(scenario, log_dir=logs or Path(folder), tell=tell, ready=ready, for_s=for_s))
        except KeyboardInterrupt:
            failed = 0
    raise typer.Exit(1 if failed else 0)


traffic = typer.Typer(help="Record what doors say on a broker, and play it again.", no_args_is_help=True)


@traffic.command("record", context_settings=ANY_ARGUMENTS)
def record(context: typer.Context) -> None:
    """Record what doors and edge say on a broker, credentials blanked (options: see --help of this command)."""
    _drivers("record", context.args, group="mqtt")


@traffic.command("replay", context_settings=ANY_ARGUMENTS)
def replay(context: typer.Context) -> None:
    """Say again what a door said (options: see --help of this command)."""
    _drivers("replay", context.args, group="mqtt")


def _drivers(kind: str, arguments: list[str], *, group: str = "simulate") -> None:
    sys.stdout.flush()
    called = f"gatehouse {'simulate' if group == 'simulate' else 'traffic'} {kind}"
    os.execv(sys.executable, [sys.executable, "-m", "drivers", "--called", called, group, kind, *arguments])


@simulate.command("centre")
def simulate_centre(
    key_file: Annotated[Path, typer.Option(help="file that holds the Standard Webhooks secret (whsec_…)")],
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port on loopback; 0 takes a free one")] = 0,
    fault: Annotated[str | None, typer.Option(help="begin with a fault: down, 500, 429, 302, 401, half, slow")] = None,
) -> None:
    """Simulate a coordination centre on loopback: verifies, keeps what it accepts, sends receipts, misbehaves on demand."""
    import json

    from gateway.centre.simulator import Control, serve
    from models.errors import InvalidInput

    try:
        key = key_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "--key-file", f"{key_file} cannot be read: name a file that holds a whsec_… secret"
        ) from error
    server, centre = serve(key, port=port)
    centre.control(Control(fault=fault))
    address = f"http://127.0.0.1:{server.server_address[1]}"
    say(json.dumps({"ready": True, "part": "centre", "url": f"{address}/events", "pid": os.getpid()}))
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        server.server_close()
