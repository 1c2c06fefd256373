"""A PostgreSQL server for the length of a benchmark, with the durability of a real one. None where it is not installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import GatehouseError

INSTALLED = "/usr/lib/postgresql"
START_S = 60


def programs() -> Path | None:
    """Return the folder of PostgreSQL's newest programs, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path(INSTALLED).glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def temporary_postgres() -> Iterator[str | None]:
    """Yield the address of an empty database on a server of its own; None if PostgreSQL is not installed.

    Raises:
        GatehouseError: the server did not start.
    """
    folder = programs()
    if folder is None:
        yield None
        return
    home = Path(tempfile.mkdtemp(prefix="gatehouse-pg-"))
    account = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    name = account or pwd.getpwuid(os.geteuid()).pw_name
    if account:
        shutil.chown(home, account, account)
    port = _free_port()
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c shared_buffers=256MB"
    data = home / "data"
    try:
        _run([folder / "initdb", "-A", "trust", "-D", data], account, home)
        _run([folder / "pg_ctl", "-D", data, "-w", "-l", home / "log", "-o", options, "start"], account, home)
        try:
            yield f"postgresql://{name}@127.0.0.1:{port}/postgres"
        finally:
            _run([folder / "pg_ctl", "-D", data, "-m", "immediate", "stop"], account, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(argv: list[str | Path], account: str | None, folder: Path) -> None:
    try:
        subprocess.run(
            argv, user=account, cwd=folder, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            timeout=START_S,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        raise GatehouseError(f"PostgreSQL for the benchmark did not obey: {error}") from error
