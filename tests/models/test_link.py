"""The records of the edge link: JSON in and out, and a signature that covers the whole request."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.link import Command, Committed, EdgeStatus, EnrolFace, EraseFace, Result, Unlock, signing_input
from models.policy import Policy


@given(st.one_of(st.from_type(Unlock), st.from_type(EnrolFace), st.from_type(EraseFace)))
def test_every_command_survives_json(command: Command) -> None:
    wire = msgspec.json.encode(command)
    again = msgspec.json.decode(wire, type=Command)
    assert type(again) is type(command)
    assert msgspec.json.encode(again) == wire


@given(st.one_of(st.from_type(Result), st.from_type(EdgeStatus), st.from_type(Committed)))
def test_every_answer_survives_json(answer: msgspec.Struct) -> None:
    wire = msgspec.json.encode(answer)
    assert msgspec.json.encode(msgspec.json.decode(wire, type=type(answer))) == wire


def test_a_policy_survives_json_with_all_that_it_holds() -> None:
    text = {
        "edge_id": "e",
        "site_id": "s",
        "epoch": 1,
        "n": 2,
        "issued_at": "2026-05-01T12:00:00Z",
        "valid_until": "2026-05-08T12:00:00Z",
        "doors": [{"id": "d", "site_id": "s", "name": "Gate", "edge_id": "e", "driver": {"kind": "mqtt"}}],
        "cameras": [{"id": "c", "site_id": "s", "name": "Gate", "edge_id": "e", "url": "rtsp://c"}],
        "permits": [{"id": "m", "person_id": "p", "doors": ["d"], "schedule_id": "nights"}],
        "schedules": [{"id": "nights", "windows": [{"from_time": "22:00:00", "until_time": "06:00:00"}]}],
        "modes": [{"door_id": "d", "version": 3, "mode": "locked_down"}],
    }
    policy = msgspec.convert(text, Policy)
    assert msgspec.json.decode(msgspec.json.encode(policy), type=Policy) == policy
    assert policy.schedules[0].windows[0].from_time.hour == 22


@pytest.mark.parametrize("broken", [b'{"type":"detonate","id":"x"}', b'{"type":"unlock","id":"x"}', b"null"])
def test_what_is_no_command_is_refused(broken: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(broken, type=Command)


def test_the_signed_bytes_are_the_documented_lines() -> None:
    signed = signing_input("post", "/edge/v1/facts?x=1", body=b"[]", time_s="1777636800", nonce="00ff")
    digest = hashlib.sha256(b"[]").hexdigest()
    assert signed == f"POST\n/edge/v1/facts?x=1\n{digest}\n1777636800\n00ff".encode()


@given(st.data())
def test_nothing_of_a_request_can_change_under_its_signature(data: st.DataObject) -> None:
    fields: dict[str, Any] = {
        "method": data.draw(st.sampled_from(["GET", "POST"])),
        "target": "/" + data.draw(st.text("abc?=/", max_size=6)),
        "body": data.draw(st.binary(max_size=6)),
        "time_s": data.draw(st.text("0123456789", min_size=1, max_size=5)),
        "nonce": data.draw(st.text("0123456789abcdef", max_size=5)),
    }
    changed = data.draw(st.sampled_from(sorted(fields)))
    other = fields | {changed: fields[changed] + (b"x" if changed == "body" else "x")}
    assert _signed(**fields) != _signed(**other)


def _signed(*, method: str, target: str, **rest: Any) -> bytes:
    return signing_input(method, target, **rest)
