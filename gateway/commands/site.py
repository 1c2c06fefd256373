"""`check`, `apply` and `verify-audit`: what is true of files and of the database."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from gateway.commands.common import Config, Json, load, opened, say, show
from models.errors import InvalidInput, SettingsError, SettingsFault

if TYPE_CHECKING:
    from config.reading import Key
    from config.settings import Settings
    from config.site import SiteFile
    from config.site_faces import DoorFaces

ASSUMED: Final = "calibrated"
"""The profile of faces that a site file is checked under where no settings are given."""


def check(
    files: Annotated[list[Path], typer.Argument(help="gatehouse.yaml or site.yaml")], *, as_json: Json = False
) -> None:
    """Check settings and site files; print every mistake with file, line, key and suggestion, and how doors may use faces."""
    from config.settings import read_settings
    from config.site import doubts, read_site
    from config.site_faces import door_faces

    faults, warnings = list[SettingsFault](), list[SettingsFault]()
    sites: dict[Path, SiteFile] = {}
    box: Settings | None = None
    for file in files:
        try:
            if _is_site(file):
                wrong, perhaps = _judged(file)
                try:
                    perhaps += doubts(file, environment=os.environ)
                    sites[file] = read_site(file, environment=os.environ)
                except SettingsError as error:
                    wrong = _beside(error.faults, wrong)
                faults += wrong
                warnings += sorted(perhaps, key=lambda fault: fault.line)
            else:
                box = read_settings(file, environment=os.environ)
        except SettingsError as error:
            faults += error.faults
    try:
        warnings += _without_account(box, sites)
    except SettingsError as error:
        faults += error.faults
    profile = ASSUMED if box is None else box.edge.faces.profile
    liveness_model = box is None or box.edge.faces.models.liveness.file is not None
    faces = [
        told for site in sites.values() for told in door_faces(site, profile=profile, liveness_model=liveness_model)
    ]
    if as_json:
        record = {"ok": not faults, "faults": [vars(fault) for fault in faults], "faces": msgspec.to_builtins(faces)}
        show(record | {"warnings": [vars(warning) for warning in warnings]}, "", as_json=True)
    else:
        _tell(faults, warnings=warnings, faces=faces, assumed=box is None)
    raise typer.Exit(1 if faults else 0)


def _without_account(box: Settings | None, sites: dict[Path, SiteFile]) -> list[SettingsFault]:
    """Return which doors of site files have no account at the broker of a box; none where its settings were not given."""
    from config.broker import without_account
    from config.site import placed

    if box is None:
        return []
    return [
        told
        for file, site in sites.items()
        for told in placed(file, without_account(box, site), environment=os.environ)
    ]


def _beside(faults: Iterable[SettingsFault], more: list[SettingsFault]) -> list[SettingsFault]:
    """Return the faults of a file with those of its driver sections that do not only follow from them."""
    blamed = {fault.path for fault in faults}
    return sorted(
        [*faults, *(one for one in more if one.path not in blamed)], key=lambda fault: (fault.line, fault.path)
    )


def _judged(path: Path) -> tuple[list[SettingsFault], list[SettingsFault]]:
    """Return what is wrong, and what is perhaps, in the driver sections of a site file, be the rest of it right or wrong."""
    from config.site import Mistake, devices_told, placed
    from gateway.driver_checks import NotJudged, judged
    from models.driver_checks import Section

    keys: dict[tuple[str, str], Key] = {}
    sections = []
    for told in devices_told(path, environment=os.environ):
        *entry, part = told.key
        section = msgspec.convert({"id": told.id, "part": part, "edge": told.edge, "settings": told.settings}, Section)
        keys[section.part, told.id] = tuple(entry)
        sections.append(section)
    wrong: list[Mistake] = []
    perhaps: list[Mistake] = []
    try:
        for verdict in judged(sections):
            at = keys[verdict.part, verdict.id]
            wrong += [Mistake(key=(*at, *_steps(error.where)), message=error.what) for error in verdict.errors]
            perhaps += [Mistake(key=(*at, *_steps(one.where)), message=one.what) for one in verdict.warnings]
    except NotJudged as error:
        perhaps = [Mistake(key=("doors",), message=str(error))]
    return placed(path, wrong, environment=os.environ), placed(path, perhaps, environment=os.environ)


def _steps(where: str) -> Key:
    return tuple(int(step) if step.isdigit() else step for step in where.split("."))


def _tell(faults: list[SettingsFault], *, warnings: list[SettingsFault], faces: list[DoorFaces], assumed: bool) -> None:
    for fault in faults:
        say(str(fault))
    for warning in warnings:
        say(f"warning: {warning}")
    if faces and assumed:
        say(
            f"faces, with people as in the file, under edge.faces.profile {ASSUMED} (name your gatehouse.yaml too for yours):"
        )
    elif faces:
        say("faces, with people as in the file:")
    for told in faces:
        say(told.told())
    say(f"{len(faults)} mistake{'s' if len(faults) > 1 else ''}" if faults else "no mistakes found")


def _is_site(file: Path) -> bool:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise InvalidInput(str(file), f"cannot be read: {error.strerror}") from error
    return any(line.startswith("site:") for line in lines)


def apply(
    site: Annotated[Path, typer.Argument(help="site.yaml")], config: Config = None, *, as_json: Json = False
) -> None:
    """Seed the database with a site, its doors, cameras and people. Applying the same file again changes nothing."""
    from config.site import read_site, seed
    from gateway.runtime import now
    from gateway.seeding import plant

    file = read_site(site, environment=os.environ)
    wrong, perhaps = _judged(site)
    if wrong:
        raise SettingsError(wrong)
    for warning in perhaps:
        typer.echo(f"warning: {warning}", err=True)
    records = seed(file)
    with opened(config) as store:
        counts = store.write_now(plant, records, at=now())
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    show({"site": records.site.id, **counts}, f"site {records.site.id}: {text}", as_json=as_json)


def verify_audit(
    config: Config = None,
    *,
    checkpoints: Annotated[
        list[Path] | None, typer.Option(help="file of checkpoints kept elsewhere; may be given several times")
    ] = None,
    as_json: Json = False,
) -> None:
    """Walk the audit chain and report every changed, missing or moved row; exits 1 if there is one.

    Compares it with the signed checkpoints of the database, of `checkpoints.log` and of the edges as well.
    """
    from gateway.checkpoints import FILE, checkpoints_in
    from gateway.opening import open_gateway_key
    from gateway.store.audit import verify_audit as walk
    from gateway.store.checkpoints import contradictions, witnesses

    settings = load(config).gateway
    public_key = open_gateway_key(settings).public_key
    files = [settings.data_dir / FILE, *(checkpoints or ())]
    with opened(config) as store:
        rows, digest, faults = store.read_now(walk)
        kept = [*store.read_now(witnesses), *(each for file in files for each in checkpoints_in(file))]
        faults += store.read_now(contradictions, kept, public_key=public_key)
    record = {"ok": not faults, "rows": rows, "digest": digest, "witnesses": len(kept), "faults": faults}
    agreed = f"{rows} rows, unbroken, {len(kept)} checkpoints agree; digest of the last: {digest}"
    show(record, "\n".join(faults) if faults else agreed, as_json=as_json)
    raise typer.Exit(1 if faults else 0)
