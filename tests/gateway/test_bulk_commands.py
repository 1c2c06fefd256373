"""`person import|undo|export|erase` and `verify-receipt`, as a shell runs them against a served gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from gateway.bulk.importing import run_imports
from gateway.cli import app
from gateway.runtime import Runtime
from gateway.store.tables_access import audit
from gateway.store.tables_people import people
from models.errors import DeviceUnreachable, GatehouseError, InvalidInput
from tests.gateway.support import Clock, machine_token

Shell = Callable[..., Any]
ROWS = "external_id,name,card\nA-1,Lin Yue,04AB\nA-2,=Wei,\nA-3,Wei,\n"


@pytest.fixture
async def shell(url: str, runtime: Runtime, clock: Clock) -> AsyncIterator[Shell]:
    """Yield a function that runs a command on a thread and returns (exit status, what it printed); imports run."""
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock)}

    async def run(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=environment)
        if isinstance(done.exception, GatehouseError):
            raise done.exception
        return done.exit_code, done.stdout

    task = asyncio.create_task(run_imports(runtime, lambda: None))
    yield run
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def ids(runtime: Runtime) -> dict[str, str]:
    query = select(people.c.external_id, people.c.id)
    return {row.external_id: row.id for row in runtime.store.read_now(lambda c: c.execute(query).all())}


async def test_a_file_is_tried_imported_and_taken_back_from_the_shell(
    shell: Shell, runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "residents.csv"
    file.write_text(ROWS, "utf-8")
    code, printed = await shell("person", "import", str(file), "--dry-run")
    assert code == 0
    assert "line 3, name: it begins like a formula" in printed
    assert "2 added, 0 changed, 0 unchanged, 1 rejected" in printed
    assert ids(runtime) == {}
    code, printed = await shell("person", "import", str(file), "--json", "--reason", "新楼交付")
    told = json.loads(printed)
    assert (code, told["state"], told["report"]["added"]) == (0, "done", 2)
    assert set(ids(runtime)) == {"A-1", "A-3"}
    assert "imported before" in (await shell("person", "import", str(file)))[1]
    code, printed = await shell("person", "undo", told["id"])
    assert (code, printed.strip()) == (0, "undone: 3 changes")
    assert ids(runtime) == {}
    query = select(audit.c.detail).where(audit.c.action == "import.begin")
    assert "新楼交付" in runtime.store.read_now(lambda c: c.execute(query).scalar_one())


async def test_a_person_is_exported_and_erased_and_the_proof_checked_from_the_shell(
    shell: Shell, runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "residents.csv"
    file.write_text(ROWS, "utf-8")
    await shell("person", "import", str(file))
    person_id = ids(runtime)["A-1"]
    code, printed = await shell("person", "export", person_id)
    assert (code, json.loads(printed)["kept"]["people"][0]["name"]) == (0, "Lin Yue")
    kept = tmp_path / "export.json"
    await shell("person", "export", person_id, "-o", str(kept))
    assert kept.stat().st_mode & 0o077 == 0
    proof = tmp_path / "proof.json"
    await shell("person", "erase", person_id, "-o", str(proof), "--reason", "asked for it")
    code, printed = await shell("verify-receipt", str(proof), "--json")
    assert (code, json.loads(printed)["ok"], json.loads(printed)["complete"]) == (0, True, True)
    code, printed = await shell("verify-receipt", str(proof), "--gateway-key", "AAAA")
    assert code == 1
    assert "another gateway" in printed
    proof.write_text(proof.read_text().replace(person_id, "p-other"))
    assert (await shell("verify-receipt", str(proof)))[0] == 1


async def test_what_cannot_be_done_is_said_in_a_sentence(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        await shell("person", "import", str(tmp_path / "none.csv"))
    with pytest.raises(InvalidInput, match="no proof"):
        (tmp_path / "x.json").write_text("{}")
        await shell("verify-receipt", str(tmp_path / "x.json"))
    with pytest.raises(InvalidInput, match="not_found"):
        await shell("person", "erase", "nobody")
    with pytest.raises(InvalidInput, match="cannot be written"):
        await shell("person", "export", await added(shell), "-o", str(tmp_path / "x.json" / "y"))
    with pytest.raises(DeviceUnreachable):
        await shell("person", "export", "p", "--url", "http://127.0.0.1:1")


async def added(shell: Shell) -> str:
    return str((await shell("person", "add", "Wei"))[1].strip())
