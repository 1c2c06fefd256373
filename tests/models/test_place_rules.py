"""Rules about places: areas and what replaced them, sites, keypad codes, camera addresses and register entries."""

from __future__ import annotations

import itertools
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidInput
from models.places import (
    Area,
    Camera,
    CameraRegister,
    Site,
    check_area,
    check_area_code,
    check_camera,
    check_camera_url,
    check_keypad,
    check_register,
    check_site,
    check_timezone,
    followed,
    lineage,
)


def area(**more: Any) -> Area:
    return Area(**{"code": "310104005", "name": "Tianping", "level": "subdistrict"} | more)


def site(**more: Any) -> Site:
    return Site(**{"id": "s", "name": "S", "community": "310104005012"} | more)


def register(**more: Any) -> CameraRegister:
    fields = {"purpose": "P", "place_class": "private_common", "sign_confirmed_on": date(2026, 1, 1)}
    return CameraRegister(**fields | {"banned_area_checked": True} | more)  # type: ignore[arg-type]


def camera(**more: Any) -> Camera:
    return Camera(**{"id": "c", "site_id": "s", "name": "C", "edge_id": "e", "url": "rtsp://192.0.2.1/s"} | more)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"parent": "310104"},
        {"successor": "310104006"},
        {"valid_from": date(2020, 1, 1)},
        {"valid_until": date(2020, 1, 1)},
        {"valid_from": date(2020, 1, 1), "valid_until": date(2020, 1, 2)},
    ],
)
def test_an_area_fits(changes: dict[str, Any]) -> None:
    assert check_area(area(**changes)) == area(**changes)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"code": "310104"}, "code"),
        ({"level": "county"}, "level"),
        ({"code": "310104", "level": "district", "parent": "31"}, "parent"),
        ({"parent": "310105"}, "parent"),
        ({"successor": "310104005"}, "successor"),
        ({"successor": "310104"}, "successor"),
        ({"valid_from": date(2020, 1, 2), "valid_until": date(2020, 1, 2)}, "valid_until"),
    ],
)
def test_an_area_that_does_not_fit_is_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_area(area(**changes))
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("codes", "replaced", "under"),
    [
        (["310104005012"], {}, {"310104", "310104005", "310104005012"}),
        (["310104005012", "310104005012003"], {}, {"310104", "310104005", "310104005012", "310104005012003"}),
        (["310104"], {"310104": "310199"}, {"310104", "310199"}),
        (["310104005"], {"310104": "310199"}, {"310104", "310104005", "310199"}),
        (["310104005"], {"310104005": "310105001"}, {"310104", "310104005", "310105", "310105001"}),
        (["310104"], {"310104": "310198", "310198": "310199"}, {"310104", "310198", "310199"}),
        (["310104"], {"310104": "310198", "310198": "310104"}, {"310104", "310198"}),
        (["3101"], {}, set()),
    ],
)
def test_a_place_lies_under_its_codes_and_what_replaced_them(
    codes: list[str], replaced: dict[str, str], under: set[str]
) -> None:
    assert lineage(codes, replaced) == under


CODES = st.sampled_from(["110101", "110102", "110103", "110104", "110105"])


@given(st.dictionaries(CODES, CODES), CODES)
def test_following_successors_ends_and_names_each_code_once(replaced: dict[str, str], code: str) -> None:
    chain = followed(code, replaced)
    assert chain[0] == code
    assert len(set(chain)) == len(chain)
    assert all(replaced[older] == newer for older, newer in itertools.pairwise(chain))
    assert replaced.get(chain[-1]) in {None, *chain}
    assert set(chain) <= lineage([code], replaced)


@given(st.dictionaries(CODES, CODES), CODES)
def test_who_lies_under_a_code_lies_under_its_successor(replaced: dict[str, str], code: str) -> None:
    under = lineage([code + "001001"], replaced)
    assert {newer for older, newer in replaced.items() if older in under} <= under


def test_a_site_fits() -> None:
    assert check_site(site()) == site()
    full = site(grid="310104005012003", lat=31.0, lon=121.0, timezone="Asia/Urumqi")
    assert check_site(full) == full


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"community": "310104"}, "community"),
        ({"grid": "310104005012"}, "grid"),
        ({"grid": "310104005013001"}, "grid"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"lat": 31.0}, "lat"),
        ({"lon": 121.0}, "lat"),
    ],
)
def test_a_site_that_does_not_fit_is_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_site(site(**changes))
    assert caught.value.where == where


@pytest.mark.parametrize("name", ["", "../etc/passwd", "/etc/localtime", "Asia", "Asia/Nowhere", "a\0b", "x" * 300])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="Asia/Shanghai"):
        check_timezone(name)


@pytest.mark.parametrize("code", ["", "1", "1-1-101", "A101", "1234567890123456"])
def test_a_keypad_code_can_be_typed(code: str) -> None:
    assert check_keypad(code) == code


@pytest.mark.parametrize("code", ["12345678901234567", "1#1", "1 1", "１", "甲"])
def test_a_keypad_code_that_cannot_be_typed_is_refused(code: str) -> None:
    with pytest.raises(InvalidInput):
        check_keypad(code)


@pytest.mark.parametrize("url", ["rtsp://192.0.2.1/s", "rtsps://camera.example:322/live?x=1", "rtsp://[2001:db8::1]/s"])
def test_a_camera_address_is_accepted(url: str) -> None:
    assert check_camera_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "http://192.0.2.1/", "file:///etc/passwd", "rtsp:///s", "rtsp://[::1", "rtsp://h:99999/", "rtsp://h:0/",
        "rtsp://h/\n", "rtsp://h/a b", "rtsp://u:p@h/", "rtsp://u@h/", "rtsp://@h/",
    ],
)  # fmt: skip
def test_a_camera_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_camera_url(url)
    assert caught.value.where == "url"
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("changes", [{}, {"register": register()}, {"near_zone": (0.1, 0.1, 0.2, 0.2)}])
def test_a_camera_fits(changes: dict[str, Any]) -> None:
    assert check_camera(camera(**changes)) == camera(**changes)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"url": "x"}, "url"),
        ({"near_zone": (0.5, 0.0, 0.5, 1.0)}, "near_zone"),
        ({"near_zone": (0.0, 0.6, 1.0, 0.5)}, "near_zone"),
        ({"near_zone": (0.0, 0.0, 1.1, 1.0)}, "near_zone"),
        ({"near_zone": (0.0, float("nan"), 1.0, 1.0)}, "near_zone"),
        ({"register": register(purpose=" ")}, "register.purpose"),
        ({"register": register(banned_area_checked=False)}, "register.banned_area_checked"),
        ({"register": register(sign_confirmed_on=date(1900, 1, 1))}, "register.sign_confirmed_on"),
        ({"register": register(sign_confirmed_on=date(9999, 12, 31))}, "register.sign_confirmed_on"),
        ({"register": register(privacy_masks=((0.0, 0.0, 0.0, 1.0),))}, "register.privacy_masks"),
        ({"register": register(privacy_masks=((0.0, 0.0, 1.0, 1.5),))}, "register.privacy_masks"),
    ],
)
def test_a_camera_that_does_not_fit_is_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_camera(camera(**changes))
    assert caught.value.where == where


def test_a_register_entry_fits() -> None:
    entry = register(privacy_masks=((0.0, 0.0, 1.0, 1.0),))
    assert check_register(entry, "register") == entry


def test_a_code_says_which_field_it_stands_in() -> None:
    assert check_area_code("310104", "district", where="x") == "310104"
    with pytest.raises(InvalidInput, match=r"^x: "):
        check_area_code("1", "district", where="x")
