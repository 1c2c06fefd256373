"""Places: ids that are safe everywhere, area codes, and doors whose policy is allowed."""

from __future__ import annotations

import contextlib
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidInput
from models.places import Area, Camera, Door, Flat, Reader, Site, check_area_code, check_door, check_id


def door(**more: Any) -> Door:
    return Door(**{"id": "d", "site_id": "s", "name": "Gate", "edge_id": "e"} | more)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="card and PIN"),
        pytest.param({"factors": ("face", "card"), "camera_id": "c"}, id="face beside card"),
        pytest.param({"factors": ("face+card", "pin"), "camera_id": "c", "high_security": True}, id="face with card"),
        pytest.param({"hands_free": True, "impact_assessment": "ia-1"}, id="hands-free with an assessment"),
        pytest.param({"held_open_s": 1.0, "unlock_s": 60.0}, id="limits at their bounds"),
        pytest.param({"held_open_s": 3600.0, "unlock_s": 1.0}, id="limits at their other bounds"),
    ],
)
def test_a_door_is_allowed(changes: dict[str, Any]) -> None:
    assert check_door(door(**changes)) == door(**changes)


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        pytest.param({"factors": ("face",), "camera_id": "c"}, "factors", "never the only way in", id="only a face"),
        pytest.param({"factors": ("face", "face+pin")}, "factors", "never the only way in", id="a face in each way"),
        pytest.param({"factors": ()}, "factors", "never the only way in", id="no way at all"),
        pytest.param(
            {"factors": ("face", "card"), "camera_id": "c", "high_security": True},
            "factors",
            "face\\+card",
            id="secure",
        ),
        pytest.param({"hands_free": True}, "hands_free", "impact_assessment", id="hands-free without an assessment"),
        pytest.param(
            {"hands_free": True, "impact_assessment": ""}, "hands_free", "impact_assessment", id="an empty one"
        ),
        pytest.param({"factors": ("face", "card")}, "factors", "camera_id", id="a face without a camera"),
        pytest.param({"held_open_s": 0.9}, "held_open_s", "1 to 3600", id="held at once"),
        pytest.param({"held_open_s": 3601.0}, "held_open_s", "1 to 3600", id="held never"),
        pytest.param({"held_open_s": float("nan")}, "held_open_s", "1 to 3600", id="held for no number"),
        pytest.param({"unlock_s": 0.0}, "unlock_s", "1 to 60", id="unlocked for no time"),
        pytest.param({"unlock_s": 61.0}, "unlock_s", "1 to 60", id="unlocked for too long"),
    ],
)
def test_a_door_is_refused_with_what_to_do(changes: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(InvalidInput, match=what) as refused:
        check_door(door(**changes))
    assert refused.value.where == f"doors.d.{where}"


@pytest.mark.parametrize("value", ["a", "A-b_c.9", "x" * 64])
def test_an_id_is_safe(value: str) -> None:
    assert check_id(value, "id") == value


@pytest.mark.parametrize("value", ["", "x" * 65, ".hidden", "..", "a/b", "a+b", "#", "a b", "a\n", "é", "１", "a\x00"])
def test_an_id_that_would_be_unsafe_somewhere_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="doors: an id has 1 to 64"):
        check_id(value, "doors")


@given(st.text(max_size=70))
def test_no_id_reaches_beyond_its_topic_or_folder(value: str) -> None:
    with contextlib.suppress(InvalidInput):
        safe = check_id(value, "id")
        assert safe.isascii()
        assert not set(safe) & set("/\\+#$ \t\r\n\x00\"'")
        assert safe not in {".", ".."}


@pytest.mark.parametrize(
    ("code", "level"),
    [("310115", "district"), ("310115006", "subdistrict"), ("310115006012", "community"), ("310115006012034", "grid")],
)
def test_an_area_code_fits_its_level(code: str, level: str) -> None:
    assert check_area_code(code, level) == code


@pytest.mark.parametrize("code", ["", "31011", "3101150", "31011a", "３１０１１５"])
def test_an_area_code_that_does_not_fit_is_refused(code: str) -> None:
    with pytest.raises(InvalidInput, match="a district code has 6 digits"):
        check_area_code(code, "district")


def test_an_unknown_area_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="district, subdistrict, community, grid"):
        check_area_code("310115", "province")


def test_records_survive_json() -> None:
    records: list[msgspec.Struct] = [
        Area(code="310115", name="Pudong", level="district", valid_from=date(2020, 1, 1)),
        Site(id="s", name="Garden", community="310115006012", lat=31.2, lon=121.5),
        Flat(id="f", site_id="s", building="3", unit="1", room="502"),
        door(readers=(Reader(side="out", kinds=("button",)),), driver={"kind": "mqtt", "topic": ["a", {"b": None}]}),
        Camera(id="c", site_id="s", name="Gate", edge_id="e", url="rtsp://camera/1", near_zone=(0.1, 0.2, 0.9, 1.0)),
    ]
    for record in records:
        assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
