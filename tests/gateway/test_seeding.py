"""Applying a site file, on both databases: everything arrives, a second time changes nothing, and nobody else's is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from config.site import read_site, seed
from gateway.rehearsal.layout import CAMERAS, Layout
from gateway.seeding import plant
from gateway.store import Store
from gateway.store.audit import audit_rows
from gateway.store.consents import consents_of
from gateway.store.registers import SEEDED
from gateway.store.tables import (
    areas,
    assessments,
    calendars,
    cameras,
    companies,
    controllers,
    doors,
    flats,
    notices,
    permission_groups,
    readers,
    schedules,
    sites,
)
from models.errors import Conflict, InvalidInput
from tests.gateway.support import BEGINNING, furnish

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.yaml"
SECRETS = {"EAST_GATE_CAMERA_PASSWORD": "pw"}
VERSIONED = (
    areas, companies, sites, flats, controllers, doors, readers, cameras, calendars, schedules, permission_groups, notices,
    assessments,
)  # fmt: skip
Content = dict[str, Any]


def example() -> Content:
    return dict(yaml.safe_load(EXAMPLE.read_text("utf-8")))


def apply(store: Store, content: Content, folder: Path) -> dict[str, int]:
    file = folder / "site.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    return store.write_now(plant, seed(read_site(file, environment=SECRETS)), at=BEGINNING)


def rows(store: Store) -> dict[str, dict[str, tuple[int, bool]]]:
    def read(connection: Any) -> dict[str, dict[str, tuple[int, bool]]]:
        return {
            table.name: {str(row[0]): (row.version, row.seeded) for row in connection.execute(select(table))}
            for table in VERSIONED
        }

    return store.read_now(read)


def test_everything_that_the_example_names_arrives(store: Store, tmp_path: Path) -> None:
    counts = apply(store, example(), tmp_path)
    assert counts == {
        "areas": 3, "companies": 1, "flats": 1, "controllers": 1, "doors": 2, "cameras": 1, "calendars": 1,
        "schedules": 2, "groups": 2, "notices": 1, "assessments": 2, "people": 1, "permits": 3, "card_formats": 1,
    }  # fmt: skip
    found = rows(store)
    assert {name: sorted(keys) for name, keys in found.items() if name in {"companies", "controllers", "readers"}} == {
        "companies": ["wukang-property"],
        "controllers": ["board-east"],
        "readers": ["bicycle-cellar-1", "east-gate-in"],
    }
    assert {standing for table in found.values() for standing in table.values()} == {(1, True)}


def test_applying_it_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    apply(store, example(), tmp_path)
    before = rows(store)
    apply(store, example(), tmp_path)
    assert rows(store) == before
    assert [row.action for row in store.read_now(audit_rows)] == ["site.apply", "site.apply"]


def test_only_what_changed_gets_a_new_version(store: Store, tmp_path: Path) -> None:
    apply(store, example(), tmp_path)
    content = example()
    content["doors"][0]["unlock_s"] = 9
    content["cameras"][0]["register_entry"]["filed_on"] = "2026-03-01"
    apply(store, content, tmp_path)
    changed = {key for table in rows(store).values() for key, (version, _) in table.items() if version == 2}
    assert changed == {"east-gate", "east-gate-camera"}


def test_what_the_file_names_no_longer_stays_and_is_released(store: Store, tmp_path: Path) -> None:
    apply(store, example(), tmp_path)
    content = example()
    content["doors"] = content["doors"][:1]
    content["groups"] = content["groups"][:1]
    content["permits"] = content["permits"][:1]
    apply(store, content, tmp_path)
    found = rows(store)
    assert found["doors"] == {"east-gate": (1, True), "bicycle-cellar": (2, False)}
    assert found["readers"] == {"east-gate-in": (1, True), "bicycle-cellar-1": (1, False)}
    assert found["permission_groups"] == {"residents": (1, True), "cellar": (2, False)}
    apply(store, example(), tmp_path)
    assert rows(store)["doors"] == {"east-gate": (1, True), "bicycle-cellar": (3, True)}


def test_a_reader_that_left_its_door_is_gone(store: Store, tmp_path: Path) -> None:
    apply(store, example(), tmp_path)
    content = example()
    content["doors"][0]["readers"] = [{"id": "other", "side": "out"}]
    apply(store, content, tmp_path)
    assert sorted(rows(store)["readers"]) == ["bicycle-cellar-1", "other"]


@pytest.mark.parametrize(
    ("part", "change"),
    [("doors", {"id": "far"}), ("doors", {"readers": [{"id": "theirs"}]}), ("flats", {"id": "theirs"})],
)
def test_a_file_takes_nothing_from_another_site(
    store: Store, tmp_path: Path, *, part: str, change: dict[str, Any]
) -> None:
    furnish(store)
    other = example()
    other["site"]["id"] = "b"
    content = {key: other[key] for key in ("areas", "companies", "site")}
    content["doors"] = [{"id": "far-2", "name": "D", "edge": "edge-9", "readers": [{"id": "theirs"}]}]
    content["flats"] = [{"id": "theirs", "building": "1", "room": "1"}]
    apply(store, content, tmp_path)
    before = rows(store)
    mine = {key: example()[key] for key in ("areas", "companies", "site")}
    mine["doors"] = [{"id": "mine", "name": "D", "edge": "edge-2"}]
    mine["flats"] = [{"id": "mine", "building": "1", "room": "1"}]
    mine[part][0] |= change
    with pytest.raises(Conflict):
        apply(store, mine, tmp_path)
    assert rows(store) == before, "all or nothing"


def test_a_file_puts_no_door_on_another_sites_edge(store: Store, tmp_path: Path) -> None:
    furnish(store)
    content = example()
    content["doors"][1]["edge"] = "edge-9"
    for entry in (*content["doors"][:1], *content["cameras"], *content["controllers"]):
        entry["edge"] = "edge-2"
    with pytest.raises(InvalidInput, match="has no edge 'edge-9'"):
        apply(store, content, tmp_path)


def test_a_file_gives_no_keypad_code_that_another_flat_has(store: Store, tmp_path: Path) -> None:
    apply(store, example(), tmp_path)
    content = example()
    content["flats"][0] |= {"id": "flat-2"}
    content["people"][0]["flat"] = "flat-2"
    with pytest.raises(Conflict, match="'flat-1-1-101' and 'flat-2' have the same keypad code '1101'"):
        apply(store, content, tmp_path)


def test_what_was_published_or_approved_is_not_rewritten(store: Store, tmp_path: Path) -> None:
    apply(store, example(), tmp_path)
    content = example()
    content["notices"][0]["en"]["purpose"] = "Something else."
    with pytest.raises(Conflict, match="other words"):
        apply(store, content, tmp_path)
    content = example()
    content["assessments"][0]["topics"]["impact_and_risk"] = "Somebody thought again about this."
    with pytest.raises(Conflict, match="new id"):
        apply(store, content, tmp_path)
    content["assessments"][0]["id"] = "face-2027"
    apply(store, content, tmp_path)

    def states(connection: Any) -> dict[str, str]:
        return {row.id: row.state for row in connection.execute(select(assessments))}

    assert store.read_now(states) == {"face-2026": "replaced", "face-2027": "approved", "recording-2026": "approved"}
    apply(store, content, tmp_path)
    assert store.read_now(states)["face-2026"] == "replaced"


def test_a_notice_that_renews_ends_earlier_consents(store: Store, tmp_path: Path) -> None:
    content = example()
    content["people"][0]["consents"] = [
        {
            "id": "c-1", "doors": ["east-gate"], "text_version": "2026-1", "text_sha256": "0" * 64,
            "given_at": "2026-02-21T09:00:00+08:00", "channel": "paper", "evidence": "folder 1",
        }
    ]  # fmt: skip
    apply(store, content, tmp_path)
    assert [one.live(BEGINNING) for one in store.read_now(consents_of, "p-1")] == [True]
    newer = {**content["notices"][0], "id": "door-face-2", "version": "2026-2", "renews": True}
    content["notices"].append(newer)
    apply(store, content, tmp_path)
    assert [one.live(BEGINNING) for one in store.read_now(consents_of, "p-1")] == [False]


def test_every_part_of_a_site_that_is_seeded_can_be_released(store: Store, tmp_path: Path) -> None:
    apply(store, example(), tmp_path)
    content = {key: example()[key] for key in ("areas", "companies", "site")}
    apply(store, content, tmp_path)

    def still(connection: Any) -> dict[str, int]:
        return {
            name: len(connection.execute(select(table).where(table.c.seeded)).all()) for name, table in SEEDED.items()
        }

    assert store.read_now(still) == dict.fromkeys(SEEDED, 0)


def test_the_demo_carries_register_entries_and_assessments(store: Store, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "demo", port=0)
    layout.write_settings(
        cameras={camera: f"rtsp://127.0.0.1:554/{camera}" for camera in CAMERAS}, centre_url="http://127.0.0.1:1"
    )
    records = seed(read_site(layout.path("site.yaml"), environment={}))
    store.write_now(plant, records, at=BEGINNING)
    assert [camera.register is not None for camera in records.cameras] == [True] * len(CAMERAS)
    assert {one.subject for one in records.assessments if one.in_force(BEGINNING)} == {"face", "recording"}


def test_a_sluice_across_two_edges_is_not_applied_even_if_its_other_door_is_not_in_the_file(
    store: Store, tmp_path: Path
) -> None:
    content = example()
    content["doors"][1]["interlock"] = "lock"
    apply(store, content, tmp_path)
    content["doors"][1]["id"], content["doors"][1]["edge"] = "elsewhere", "edge-7"
    for entry in (*content.get("groups", []), *content.get("permits", [])):
        if isinstance(entry.get("doors"), list):
            entry["doors"] = ["elsewhere" if door == "bicycle-cellar" else door for door in entry["doors"]]
    with pytest.raises(InvalidInput, match="of this sluice"):
        apply(store, content, tmp_path)
