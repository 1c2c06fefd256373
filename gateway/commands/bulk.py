"""`person import|undo|export|erase` and `verify-receipt`: many residents at once, and what one may ask for about themselves."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from gateway.commands.common import Json, say, show
from gateway.commands.person import person
from gateway.commands.remote import LOCAL, Reason, Token, Url, ask
from models.errors import InvalidInput

Output = Annotated[Path | None, typer.Option("--output", "-o", help="file to write (default: standard output)")]
FAULTS_PRINTED = 50
LOOK_S = 0.5
UNDO_PATIENCE_S = 600.0


@person.command("import")
def import_people(
    file: Path, *, site: Annotated[str | None, typer.Option(help="id of the site (default: the token's)")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would happen")] = False,
    reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Import residents from a CSV or XLSX file, or from a ZIP archive with their photos; print what was rejected, and why."""
    about = {"url": url, "token": token, "reason": reason}
    params = {"dry_run": "true" if dry_run else "false"} | ({"site_id": site} if site else {})
    if file.suffix.lower() == ".zip":
        _import_with_photos(file, params, site=site, about=about, as_json=as_json)
        return
    told = _imported(_read(file), params, about=about, quiet=as_json)
    show(told, _summary(told), as_json=as_json)
    _check_ended(file, told)


def _imported(content: bytes, params: dict[str, str], *, about: dict[str, str], quiet: bool) -> dict[str, Any]:
    """Have residents imported and return the import when it has ended."""
    headers = {"Content-Type": "application/octet-stream"}
    told: dict[str, Any] = ask("POST", "imports", params=params, content=content, headers=headers, **about)
    while told["state"] == "running":
        if not quiet:
            say(f"{told['done']} of {told['total']} rows")
        time.sleep(LOOK_S)
        told = ask("GET", f"imports/{told['id']}", **about)
    return told


def _check_ended(file: Path, told: dict[str, Any]) -> None:
    if told["state"] == "failed":
        raise InvalidInput(str(file), told["report"]["problem"])


def _import_with_photos(
    file: Path, params: dict[str, str], *, site: str | None, about: dict[str, str], as_json: bool
) -> None:
    """Import the workbook of an archive, then enrol from its photos whoever has a live consent."""
    from gateway.bulk.apart import read_apart
    from gateway.bulk.photos import PhotoArchive, split
    from gateway.commands.photos import enrol_rows, photo_lines

    with PhotoArchive(file) as archive:
        parts = split(asyncio.run(read_apart(archive.sheet())))
        told = _imported(parts.residents, params, about=about, quiet=as_json)
        faults = [{"line": one.line, "column": one.column, "what": one.what} for one in parts.faults]
        told["report"]["faults"] += faults
        told["report"]["rejected"] += len({one.line for one in parts.faults})
        rejected = {one["line"] for one in told["report"]["faults"]}
        rows = tuple(row for row in parts.rows if row.line not in rejected)
        done = told["state"] == "done"
        results = enrol_rows(archive, rows, site=site, about=about, quiet=as_json) if done else []
    told["photos"] = [msgspec.to_builtins(one) for one in results]
    show(told, "\n".join([_summary(told), *photo_lines(results)]), as_json=as_json)
    _check_ended(file, told)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(str(file), f"cannot be read: {error.strerror}") from error


def _summary(told: dict[str, Any]) -> str:
    report = told["report"]
    lines = [f"line {one['line']}, {one['column']}: {one['what']}" for one in report["faults"][:FAULTS_PRINTED]]
    left = len(report["faults"]) + report["more_faults"] - len(lines)
    if left:
        lines.append(f"and {left} faults more: --json has the first thousand")
    if told.get("repeated"):
        lines.append("this file was imported before: nothing was done again")
    counts = ", ".join(f"{report[name]} {name}" for name in ("added", "changed", "unchanged", "rejected"))
    return "\n".join([*lines, f"import {told['id'] or '(dry run)'} {told['state']}: {counts}"])


@person.command("undo")
def undo_import(
    import_id: str, *, reason: Reason = "", url: Url = LOCAL, token: Token = "", as_json: Json = False
) -> None:  # fmt: skip
    """Take an import back; what somebody changed since stays, and is named."""
    path = f"imports/{import_id}/undo"
    told = ask("POST", path, url=url, token=token, reason=reason, patience_s=UNDO_PATIENCE_S)
    left = [f"{one['kind']} {one['object_id']} stays: {one['why']}" for one in told["report"]["conflicts"]]
    show(told, "\n".join([*left, f"undone: {told['report']['undone']} changes"]), as_json=as_json)


@person.command("export")
def export_person(
    person_id: str, *, output: Output = None, reason: Reason = "", url: Url = LOCAL, token: Token = ""
) -> None:  # fmt: skip
    """Write everything that is kept about a person, and who looked at it, as JSON."""
    made = ask("GET", f"people/{person_id}/export", url=url, token=token, reason=reason)
    _write(made, output)


def _write(record: Any, output: Path | None) -> None:
    text = json.dumps(record, ensure_ascii=False, indent=1)
    if output is None:
        say(text)
        return
    from gateway.files import write_private

    try:
        write_private(output, text + "\n")
    except OSError as error:
        raise InvalidInput(str(output), f"cannot be written: {error.strerror}") from error
    say(f"written to {output}")


@person.command("erase")
def erase_person(
    person_id: str, *, output: Output = None, reason: Reason = "", url: Url = LOCAL, token: Token = ""
) -> None:  # fmt: skip
    """Erase a person for good and write the proof: which edges confirmed it. Run it again later for those that were away."""
    _write(ask("DELETE", f"people/{person_id}", url=url, token=token, reason=reason), output)


def verify_receipt(
    file: Path, *, gateway_key: Annotated[
        str | None, typer.Option("--gateway-key", help="public key of the gateway (base64), known from elsewhere")
    ] = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Check the proof of an erasure offline: every signature; exits 1 if one does not fit."""
    from gateway.proofs import faults_of_proof, fingerprint, read_proof

    proof = read_proof(_read(file))
    faults = faults_of_proof(proof, gateway_key=gateway_key)
    lines = [f"fault: {fault}" for fault in faults]
    for edge in proof.edges:
        kinds = sorted({f"{receipt.templates} templates, key in {receipt.protection}" for receipt in edge.receipts})
        lines.append(f"edge {edge.edge_id}: {edge.state} {'; '.join(kinds)}".rstrip())
    lines.append(
        f"person {proof.person_id}: rows erased {proof.erased_at.isoformat() if proof.erased_at else 'not yet'}"
    )
    lines.append(f"signed by the gateway with key {fingerprint(proof.gateway_key)}")
    if gateway_key is None:
        lines.append("compare that key with the one of your gateway, or give --gateway-key")
    told = {"ok": not faults, "complete": proof.complete, "faults": faults, "key": fingerprint(proof.gateway_key)}
    show(told, "\n".join(lines), as_json=as_json)
    if faults:
        raise typer.Exit(1)
