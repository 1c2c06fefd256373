"""Secrets in driver settings: out of the section and in again, whatever the section looks like."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.driver_secrets import Secret, check_same_host, joined, split, still_meant
from models.errors import InvalidInput

LINE = {
    "kind": "osdp", "port": "/dev/ttyUSB0",
    "readers": [
        {"door": "a", "address": 1, "key": "one"}, {"door": "b", "key": "none"}, {"door": "c", "address": 2, "plain": True},
    ],
}  # fmt: skip
NAMES = st.sampled_from(["password", "key", "readers", "address", "url", "x"])
LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=4)
DRIVERS = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=12)
)


def held(driver: dict[str, Any]) -> tuple[Secret, ...]:
    return split(driver)[1]


def places(secrets: Any) -> list[str]:
    return [".".join(one.path) for one in secrets]


@given(driver=DRIVERS)
def test_what_was_taken_out_goes_in_again_in_its_place(driver: dict[str, Any]) -> None:
    public, secrets = split(driver)
    assert joined(public, secrets) == driver
    assert held(public) == ()


def test_settings_that_nest_as_deep_as_json_can_are_read() -> None:
    deep = msgspec.json.decode(b'{"a":' * 500 + b'{"key":"deep"}' + b"}" * 500)
    assert [one.value for one in held(deep)] == ["deep"]


def test_every_reader_keeps_the_key_of_its_address_when_the_line_is_sorted_anew() -> None:
    public, secrets = split(LINE)
    assert places(secrets) == ["readers.@0.key", "readers.@1.key"]
    turned = {**public, "readers": public["readers"][::-1]}
    assert still_meant(secrets, before=public, after=turned) == list(secrets)
    assert [reader.get("key") for reader in joined(turned, secrets)["readers"]] == [None, "none", "one"]


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ({"kind": "onvif", "url": "http://192.0.2.1/other"}, ["password"]),
        ({"kind": "onvif", "url": "http://192.0.2.1/", "password": "new"}, []),
        ({"kind": "onvif", "url": "http://192.0.2.1/", "password": None}, []),
        ({"kind": "onvif", "url": "http://192.0.2.1/", "password_file": "/run/pw"}, []),
        ({"kind": "onvif", "url": "http://192.0.2.1/", "device": "dv-1"}, []),
        ({"kind": "osdp", "url": "http://192.0.2.1/"}, []),
    ],
)
def test_a_secret_is_kept_while_it_is_meant(after: dict[str, Any], kept: list[str]) -> None:
    before, secrets = split({"kind": "onvif", "url": "http://192.0.2.1/", "password": "s3cret"})
    assert places(still_meant(secrets, before=before, after=after)) == kept


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"url": "http://192.0.2.1/"}, {"url": "http://198.51.100.9/"}),
        ({"url": "http://192.0.2.1/"}, {"url": "http://[bad"}),
        ({"host": "a", "port": 1883}, {"host": "b", "port": 1883}),
        ({"host": "a", "port": 1883}, {"host": "a", "port": 1884}),
    ],
)
def test_a_secret_goes_to_no_other_host(before: dict[str, Any], after: dict[str, Any]) -> None:
    secrets = held({"password": "s3cret"})
    check_same_host(secrets, before=before, after=before)
    check_same_host((), before=before, after=after)
    with pytest.raises(InvalidInput, match=r"driver\.password") as told:
        check_same_host(secrets, before=before, after=after)
    assert "s3cret" not in str(told.value)


def test_a_secret_shows_its_place_alone() -> None:
    assert repr(held(LINE)[0]) == "Secret(readers.@0.key)"
