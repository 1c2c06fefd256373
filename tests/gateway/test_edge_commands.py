"""`gatehouse edge …` at the gateway: a token that pins the gateway's key, the list, another name, and revoking."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from config.settings import read_settings
from gateway.cli import app
from gateway.opening import open_gateway_key, open_store
from gateway.store import Store
from gateway.store.audit import audit_rows
from gateway.store.edges import enrol_edge
from gateway.store.places import put_site
from models.errors import Forbidden, InvalidInput, NotFound
from models.link import Introduction
from models.places import Site


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a settings file whose database has one site."""
    file = tmp_path / "gatehouse.yaml"
    file.write_text(yaml.safe_dump({"gateway": {"data_dir": "data"}}))
    with_store(file, lambda store: store.write_now(put_site, Site(id="s", name="Site", community="310104005012")))
    return file


def with_store(config: Path, act: object) -> object:
    store = open_store(read_settings(config, environment={}).gateway)
    try:
        return act(store)  # type: ignore[operator]
    finally:
        store.close()


def edge(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["edge", *arguments, "--config", str(config)])


def enrolled(config: Path, token: str) -> None:
    told = Introduction(token=token, edge_id="edge-7", name="Box", public_key="AAAA", protection="tpm")
    with_store(config, lambda store: store.write_now(enrol_edge, told, at=datetime.now(UTC)))


def test_a_token_pins_the_gateways_key_and_enrols_once(config: Path) -> None:
    made = json.loads(edge(config, "token", "--json").output)
    key = open_gateway_key(read_settings(config, environment={}).gateway).public_key
    pin = base64.urlsafe_b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode().rstrip("=")
    assert made["token"].endswith(f".{pin}")
    enrolled(config, made["token"])
    with pytest.raises(Forbidden):
        told = Introduction(token=made["token"], edge_id="edge-8", name="Box", public_key="BBBB")
        with_store(config, lambda store: store.write_now(enrol_edge, told, at=datetime.now(UTC)))
    assert isinstance(edge(config, "token", "--site", "nowhere").exception, NotFound)


def test_edges_are_listed_renamed_and_revoked_on_record(config: Path) -> None:
    assert edge(config, "list").output == "no edges\n"
    enrolled(config, json.loads(edge(config, "token", "--json").output)["token"])
    assert edge(config, "rename", "edge-7", "Gate house").output == "edge edge-7 is called Gate house\n"
    assert isinstance(edge(config, "rename", "edge-7", " ").exception, InvalidInput)
    assert isinstance(edge(config, "rename", "edge-9", "Box").exception, NotFound)
    (view,) = json.loads(edge(config, "list", "--json").output)
    assert (view["name"], view["protection"], view["revoked_at"]) == ("Gate house", "tpm", None)
    assert edge(config, "revoke", "edge-7", "--reason", "stolen").exit_code == 0
    assert "revoked" in edge(config, "list").output
    assert isinstance(edge(config, "revoke", "edge-9").exception, NotFound)

    def recorded(store: Store) -> list[tuple[str, str]]:
        return [(row.action, row.subject) for row in store.read_now(audit_rows)]

    assert with_store(config, recorded) == [("edge.revoke", "edge-7"), ("edge.rename", "edge-7"), ("edge.token", "s")]
