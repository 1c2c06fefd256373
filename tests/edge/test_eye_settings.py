"""What an eye is told is one line of JSON, checked whole, and never shows its password."""

from __future__ import annotations

import pytest

from edge.eye_settings import read_settings
from models.errors import InvalidInput


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"not json", "malformed"),
        (b'{"url":"\xc3("}', "utf-8"),
        (b"{}", "missing required field `url`"),
        (b'{"url":"rtsp://h/x"}', "camera_id is missing"),
        (b'{"url":"rtsp://h/x","camera_id":"g","pasword":"x"}', "pasword"),
        (b'{"url":"rtsp://h/x","camera_id":"g","transport":"sctp"}', "sctp"),
        (b'{"url":"rtsp://h/x","camera_id":"g","faces_socket":"relative"}', "absolute"),
        (b'{"url":"rtsp://h/x","camera_id":"g","worker_socket":"/' + b"x" * 120 + b'"}', "100 bytes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(line: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_settings(line)


def test_settings_do_not_show_their_password() -> None:
    settings = read_settings(b'{"url":"rtsp://h/x","camera_id":"g","password":"hush"}')
    assert "hush" not in f"{settings!r} {settings.camera()!r}"


@pytest.mark.parametrize(
    ("told", "rate"),
    [("", "glance"), (',"faces_socket":"/run/f"', "full"), (',"rate":"key"', "key"), (',"rate":"full"', "full")],
)
def test_all_is_decoded_only_where_somebody_needs_it(told: str, rate: str) -> None:
    settings = read_settings(b'{"url":"rtsp://h/x","camera_id":"g"%s}' % told.encode())
    assert settings.camera().rate == rate
