"""The command line as people use it: exit statuses, messages that say what to do, and one box that starts and stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import text

from config.settings import read_settings
from gateway.checkpoints import FILE, append_checkpoint
from gateway.opening import open_gateway_key
from gateway.store import Store
from gateway.store.checkpoints import make_checkpoint
from gateway.up import check_marks, effective
from models.errors import InvalidInput
from tests.gateway.support import PASSWORD, until

SITE: dict[str, Any] = {
    "areas": [{"code": "310104", "name": "Xuhui", "level": "district"}],
    "site": {"id": "s", "name": "Site", "community": "310104005012"},
    "doors": [{"id": "gate", "name": "Gate", "factors": ["card"]}],
    "people": [{"id": "p1", "name": "Lin", "cards": ["7186A61E"]}],
    "permits": [{"id": "pt", "person": "p1", "doors": "all"}],
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with settings, a site file and a password."""
    settings = {
        "gateway": {"port": 0, "data_dir": "data/gateway"},
        "edge": {"data_dir": "data/edge", "broker": {"port": 0}, "faces": {"enabled": False}},
        "broker": {"data_dir": "data/broker"},
    }
    (tmp_path / "gatehouse.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE))
    (tmp_path / "password").write_text(PASSWORD)
    return tmp_path


def gatehouse(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "GATEHOUSE_CONFIG": str(home / "gatehouse.yaml"), **environment}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_site_is_applied_idempotently_and_users_are_added(home: Path) -> None:
    first = gatehouse(home, "apply", str(home / "site.yaml"), "--json")
    assert first.returncode == 0, first.stderr
    again = gatehouse(home, "apply", str(home / "site.yaml"), "--json")
    assert json.loads(first.stdout) == json.loads(again.stdout)
    added = gatehouse(home, "user", "add", "op", "--role", "operator", "--password-file", str(home / "password"))
    assert added.returncode == 0, added.stderr
    twice = gatehouse(home, "user", "add", "op", "--role", "operator", "--password-file", str(home / "password"))
    assert twice.returncode == 1
    assert "exists already" in twice.stderr
    listed = json.loads(gatehouse(home, "user", "list", "--json").stdout)
    assert [(user["username"], user["sites"]) for user in listed] == [("op", ["s"])]
    audit = json.loads(gatehouse(home, "verify-audit", "--json").stdout)
    assert (audit["ok"], audit["rows"]) == (True, 3)


def test_a_forged_audit_log_is_told_by_the_checkpoints_beside_it(home: Path) -> None:
    assert gatehouse(home, "apply", str(home / "site.yaml")).returncode == 0
    data = home / "data" / "gateway"
    store = Store(f"sqlite:///{data / 'gateway.db'}")
    key = open_gateway_key(read_settings(home / "gatehouse.yaml", environment={}).gateway)
    made = store.write_now(make_checkpoint, key, at=datetime(2026, 3, 1, tzinfo=UTC))
    assert made is not None
    append_checkpoint(data / FILE, made)
    append_checkpoint(home / "elsewhere.log", made)
    clean = gatehouse(home, "verify-audit", "--checkpoints", str(home / "elsewhere.log"), "--json")
    told = json.loads(clean.stdout)
    assert (told["ok"], told["witnesses"]) == (True, 3)
    store.write_now(lambda c: [c.execute(text(act)) for act in ("DELETE FROM audit", "DELETE FROM audit_checkpoints")])
    store.write_now(lambda c: c.execute(text("UPDATE counters SET value = 0 WHERE name = 'audit'")))
    store.close()
    forged = gatehouse(home, "verify-audit", "--checkpoints", str(home / "elsewhere.log"))
    assert forged.returncode == 1
    assert "elsewhere.log:1: row 1 is missing" in forged.stdout
    assert "checkpoints.log:1: row 1 is missing" in forged.stdout


def test_mistakes_are_told_with_file_line_key_and_suggestion(home: Path) -> None:
    (home / "gatehouse.yaml").write_text("gateway:\n  prot: 8440\nedge:\n  faces: {threads: 99}\n")
    checked = gatehouse(home, "check", str(home / "gatehouse.yaml"))
    assert checked.returncode == 1
    assert "gatehouse.yaml:2: gateway.prot" in checked.stdout
    assert "port" in checked.stdout
    assert "edge.faces.threads" in checked.stdout
    as_json = json.loads(gatehouse(home, "check", str(home / "gatehouse.yaml"), "--json").stdout)
    assert as_json["ok"] is False
    assert as_json["faults"][0]["line"] == 2
    assert checked.stdout.endswith("2 mistakes\n")
    assert gatehouse(home, "gateway").returncode == 1
    assert gatehouse(home, "check", str(home / "site.yaml")).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["simulate", "centre", "--key-file", "nowhere"], 1, "cannot be read"),
        (["simulate", "centre", "--key-file", __file__, "--fault", "bogus"], 1, "down, half, slow"),
        (["nonsense"], 2, "No such command"),
        (["user", "add", "x", "--role", "king", "--site", "s"], 1, "operator"),
        (["person", "add", "x"], 1, "token add"),
        (["person", "credential", "x", "card"], 1, "--value"),
        (["check", "/nowhere.yaml"], 1, "cannot be read"),
        (["up", "--demo"], 1, "DEMO"),
        (["up", "--config", "/nowhere.yaml"], 1, "no file"),
    ],
)
def test_errors_say_what_to_do(home: Path, arguments: list[str], status: int, words: str) -> None:
    done = gatehouse(home, *arguments, GATEHOUSE_TOKEN="")
    assert done.returncode == status, done.stderr
    assert words in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_folders_of_a_demo_and_of_a_real_site_are_not_mixed(home: Path) -> None:
    settings = read_settings(home / "gatehouse.yaml", environment={})
    check_marks(settings, demo=False)
    with pytest.raises(InvalidInput, match="DEMO"):
        check_marks(settings, demo=True)
    settings.edge.data_dir.mkdir(parents=True)
    (settings.edge.data_dir / "DEMO").touch()
    with pytest.raises(InvalidInput, match="demo's simulated devices"):
        check_marks(settings, demo=False)


def test_the_effective_settings_hold_no_secret_and_read_back(home: Path) -> None:
    text = "gateway:\n  centre: {url: 'https://c.example/e', signing_key: '${KEY}'}\nedge:\n  data_dir: data/edge\n"
    (home / "gatehouse.yaml").write_text(text)
    settings = read_settings(home / "gatehouse.yaml", environment={"KEY": "whsec_abc"})
    environment: dict[str, str] = {}
    plain = effective(settings, environment=environment)
    assert "whsec_abc" not in str(plain)
    copy = home / "up.yaml"
    copy.write_text(yaml.safe_dump(plain))
    again = read_settings(copy, environment=environment)
    assert again.gateway.centre.signing_key is not None
    assert again.gateway.centre.signing_key.get_secret_value() == "whsec_abc"
    assert again.edge.data_dir == settings.edge.data_dir.absolute()
    assert again.edge.token_file is not None


async def ready_line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            if line.startswith(b'{"ready"'):
                return dict(json.loads(line))
    raise AssertionError("it ended without being ready")


@pytest.mark.slow
async def test_one_box_starts_enrols_its_edge_and_leaves_nothing_running(home: Path) -> None:
    assert gatehouse(home, "apply", str(home / "site.yaml")).returncode == 0
    made = gatehouse(home, "token", "add", "robot", "--role", "manager", "--json")
    token = {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}
    log = (home / "log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "up", "--config", str(home / "gatehouse.yaml"),
        stdout=asyncio.subprocess.PIPE, stderr=log,
    )  # fmt: skip
    try:
        ready = await ready_line(process)
        async with httpx.AsyncClient(base_url=ready["url"], headers=token, timeout=10, trust_env=False) as client:

            async def enrolled() -> bool:
                return any(edge["online"] for edge in (await client.get("/api/v1/system")).json()["edges"])

            await until(enrolled, within_s=30)
            added = gatehouse(home, "person", "add", "Wang", "--json", GATEHOUSE_URL=ready["url"],
                              GATEHOUSE_TOKEN=token["Authorization"].removeprefix("Bearer "))  # fmt: skip
            assert added.returncode == 0, added.stderr
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 3
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)
        log.close()
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    async with httpx.AsyncClient(base_url=ready["url"], trust_env=False, timeout=2) as client:
        with pytest.raises(httpx.HTTPError):
            await client.get("/healthz")


@pytest.mark.parametrize("words", [("simulate", "door"), ("traffic", "replay")])
def test_the_help_of_a_program_names_the_command_that_was_typed(home: Path, words: tuple[str, str]) -> None:
    ran = gatehouse(home, *words, "--help")
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"usage: gatehouse {' '.join(words)} ")


def test_a_scenario_s_mistakes_are_told_before_anything_starts(home: Path) -> None:
    file = home / "scenario.yaml"
    file.write_text(
        "devices:\n  - {id: eye, kind: camera, options: {port: 0}}\n  - {id: panel, kind: onvif, options: {prot: 0}}\n"
        "timeline:\n  - {at_s: 0, device: panl, order: {act: force}}\n  - {at_s: 0, device: panel, order: {act: forse}}\n",
    )
    ran = gatehouse(home, "simulate", "scenario", str(file))
    assert (ran.returncode, ran.stdout) == (1, "")
    for words in (":3:", "did you mean 'port'?", ":5:", "no device 'panl'", ":6:", "did you mean 'force'?"):
        assert words in ran.stderr
