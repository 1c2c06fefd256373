"""`backup`, `verify-backup` and `restore`: the gateway's memory in one file that only the site's owner can open."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import Config, Json, load, opened, show

if TYPE_CHECKING:
    from config.settings import GatewaySettings
    from gateway.backup.contents import Manifest

File = Annotated[Path, typer.Argument(help="the backup file")]
IdentityFile = Annotated[
    Path, typer.Option("--identity", "-i", help="the owner's age identity file, as age-keygen writes it")
]
WithoutKeys = Annotated[
    bool, typer.Option("--without-keys", help="leave master.key and identity.key out: you keep them elsewhere")
]


def backup(
    file: File,
    config: Config = None,
    *,
    to: Annotated[list[str] | None, typer.Option("--to", help="age1… of who can open it; several times for several")]
    = None,
    media: Annotated[bool, typer.Option("--media", help="take the pictures along")] = False,
    without_keys: WithoutKeys = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write a backup of the gateway, which may go on running; only the holders of the age keys can open it."""
    from gateway.backup.dump import write_backup
    from gateway.backup.sealing import recipients_of
    from gateway.runtime import now

    recipients = recipients_of(to or [])
    own = load(config).gateway
    with opened(config) as store:
        manifest = write_backup(
            file, store, recipients=recipients, beside=_beside(own, without_keys=without_keys),
            media=own.data_dir / "media" if media else None, version=version("gatehouse"), at=now(), tell=_tell,
        )  # fmt: skip
    show(_record(manifest), f"{file}: {_summary(manifest)}", as_json=as_json)


def verify_backup(file: File, *, identity: IdentityFile, as_json: Json = False) -> None:
    """Open a backup, read it to its end and check all of it; nothing is restored, nothing clear is written to a disk."""
    from gateway.backup.sealing import identities_in
    from gateway.backup.verify import verify_backup as verify

    found = verify(file, identities=identities_in(identity))
    record = _record(found.manifest) | {"ok": True, "audit_rows": found.audit_rows, "audit_digest": found.audit_digest}
    text = f"whole: {_summary(found.manifest)}; {found.audit_rows} audit rows, unbroken"
    show(record, text, as_json=as_json)


def restore(
    file: File, config: Config = None, *, identity: IdentityFile, without_keys: WithoutKeys = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Restore a backup into an empty database, on SQLite or PostgreSQL: all of it, checked, or nothing."""
    from config.settings import secret
    from gateway.backup.restore import Place
    from gateway.backup.restore import restore as run
    from gateway.backup.sealing import identities_in
    from gateway.opening import open_vault
    from gateway.runtime import now
    from gateway.store import Store

    identities = identities_in(identity)
    own = load(config).gateway
    own.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = _beside(own, without_keys=without_keys)
    place = Place(folder=own.data_dir, beside=beside, media=own.data_dir / "media")
    password = secret(own.database_password, own.database_password_file, key="gateway.database_password_file")
    store = Store(own.database_url(), password=password)
    try:
        done = run(file, store, identities=identities, place=place, vault=lambda: open_vault(own), at=now(), tell=_tell)
    finally:
        store.close()
    record = _record(done.manifest) | {"erased_again": done.erased, "epoch": done.epoch, "audit_rows": done.audit_rows}
    text = f"restored {_summary(done.manifest)}; {done.erased} erased again; policies begin epoch {done.epoch}"
    show(record, text, as_json=as_json)


def _beside(own: GatewaySettings, *, without_keys: bool) -> dict[str, Path]:
    """Return where the files of a backup are on this machine."""
    from gateway.tombstones import NAME

    found = {NAME: own.data_dir / NAME}
    if not without_keys:
        if own.keys.master is None:
            found["master.key"] = own.keys.master_file or own.data_dir / "master.key"
        found["identity.key"] = own.keys.identity_file or own.data_dir / "identity.key"
    return found


def _record(manifest: Manifest) -> dict[str, object]:
    return {
        "at": manifest.header.at.isoformat(), "version": manifest.header.version, "rows": manifest.rows(),
        "tables": {table.name: table.rows for table in manifest.tables},
        "keys": [one.name for one in manifest.beside], "pictures": len(manifest.media),
    }  # fmt: skip


def _summary(manifest: Manifest) -> str:
    pictures = f", {len(manifest.media)} pictures" if manifest.media else ""
    files = ", ".join(one.name for one in manifest.beside) or "no keys"
    return f"{manifest.rows()} rows of {len(manifest.tables)} tables{pictures}, {files}, as of {manifest.header.at:%F %T} UTC"


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
