"""The `gatehouse` command: puts the commands together; an error is one line and exit status 1, misuse is 2."""

from __future__ import annotations

import sys

import typer

from gateway.commands import (
    access,
    backup,
    bulk,
    calibration,
    cards,
    conformance,
    devices,
    doors,
    edges,
    enrol,
    evaluate,
    household,
    person,
    running,
    simulate,
    site,
)
from gateway.rehearsal.commands import register as rehearse
from models.errors import GatehouseError

app = typer.Typer(
    name="gatehouse", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
    help="The gateway of a residential community: cameras, smart doors, alerts, and the people who answer for them.",
)  # fmt: skip
app.command("up")(running.up)
app.command("gateway")(running.gateway)
app.command("serve", hidden=True)(running.gateway)
app.add_typer(edges.edge, name="edge")
app.add_typer(simulate.simulate, name="simulate")
app.command("check")(site.check)
app.command("apply")(site.apply)
app.command("verify-audit")(site.verify_audit)
app.command("backup")(backup.backup)
app.command("verify-backup")(backup.verify_backup)
app.command("restore")(backup.restore)
app.add_typer(simulate.traffic, name="traffic")
app.command("conformance")(conformance.conformance)
app.command("verify-receipt")(bulk.verify_receipt)
app.add_typer(calibration.calibration, name="calibration")
app.add_typer(evaluate.evaluate, name="evaluate")
app.add_typer(doors.door, name="door")
app.command("discover")(devices.discover)
app.add_typer(devices.device, name="device")
app.add_typer(cards.card, name="card")
person.person.command("enrol")(enrol.enrol)
app.add_typer(person.person, name="person")
app.add_typer(household.visitor, name="visitor")
app.add_typer(access.user, name="user")
app.add_typer(access.token, name="token")
rehearse(app)


def main() -> int:
    """Run the command line and return the exit status."""
    try:
        app()
    except GatehouseError as error:
        sys.stderr.write(f"gatehouse: {error}\n")
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
