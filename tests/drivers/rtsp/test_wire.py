"""RTSP as values: what clients send is cut and bounded, and proofs of a password are checked as the RFCs say."""

from __future__ import annotations

import base64
import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.rtsp import wire
from models.errors import InvalidInput

DESCRIBE = b"DESCRIBE rtsp://h/gate RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n"
SET = b"SET_PARAMETER rtsp://h/gate RTSP/1.0\r\nCSeq: 3\r\nContent-Length: 5\r\n\r\na: b\n"
PACKET = wire.interleave(1, b"\x81\xc9\x00\x01")


@given(st.lists(st.integers(1, len(DESCRIBE + SET + PACKET) - 1), max_size=6))
def test_a_stream_is_cut_alike_however_it_arrives(cuts: list[int]) -> None:
    stream = DESCRIBE + PACKET + SET + PACKET + DESCRIBE
    reader = wire.Reader()
    items: list[object] = []
    edges = sorted({0, len(stream), *cuts})
    for start, end in pairwise(edges):
        items += reader.feed(stream[start:end])
    assert [type(item).__name__ for item in items] == ["Request", "Interleaved", "Request", "Interleaved", "Request"]
    assert items[2] == wire.Request(
        method="SET_PARAMETER",
        uri="rtsp://h/gate",
        headers={"cseq": "3", "content-length": "5"},
        body=b"a: b\n",
    )


@given(st.binary(max_size=300))
def test_any_bytes_are_cut_or_refused_but_never_crash(junk: bytes) -> None:
    reader = wire.Reader()
    with contextlib.suppress(InvalidInput):
        for item in reader.feed(junk):
            assert isinstance(item, wire.Interleaved) or item.method.isupper()


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"describe rtsp://h RTSP/1.0\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\n: empty\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nContent-Length: 99999\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nContent-Length: 1e3\r\n\r\n",
        b"OPTIONS \xff RTSP/1.0\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\n" + b"a: b\r\n" * 65 + b"\r\n",
        b"O" * 9000,
        b"OPTIONS * RTSP/1.0\r\na: " + b"b" * 9000 + b"\r\n\r\n",
    ],
)
def test_what_breaks_the_protocol_or_a_bound_is_refused(stream: bytes) -> None:
    with pytest.raises(InvalidInput):
        wire.Reader().feed(stream)


@pytest.mark.parametrize(
    ("header", "transport"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=2-3", wire.Transport(interleaved=(2, 3))),
        ("RTP/AVP/TCP;unicast", wire.Transport(interleaved=(0, 1))),
        ("RTP/AVP;unicast;client_port=5000-5001", wire.Transport(client_port=(5000, 5001))),
        ("RTP/AVP/UDP;unicast;client_port=5000", wire.Transport(client_port=(5000, 5001))),
        ("RTP/AVP;multicast,RTP/AVP/TCP;interleaved=0-1", wire.Transport(interleaved=(0, 1))),
        ("RTP/AVP;unicast;client_port=22-23", None),
        ("RTP/AVP;unicast;client_port=70000-70001", None),
        ("RTP/AVP/TCP;interleaved=300-301", None),
        ("RTP/SAVP;unicast;client_port=5000-5001", None),
        ("", None),
    ],
)
def test_a_transport_is_chosen_from_what_the_client_offers(header: str, transport: wire.Transport | None) -> None:
    assert wire.parse_transport(header) == transport


def test_the_digest_is_that_of_the_rfc() -> None:
    # RFC 7616 section 3.9.1, whose example is HTTP's; the computation is the same.
    given_ = {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "nc": "00000001",
        "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        "qop": "auth",
    }
    proof = wire.digest_response(given_, password="Circle of Life", method="GET", algorithm="MD5")
    assert proof == "8ca523f5e9506fed4657c9700eebdbec"
    proof = wire.digest_response(given_, password="Circle of Life", method="GET", algorithm="SHA-256")
    assert proof == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"


def _digest(password: str, *, nonce: str = "n", algorithm: str = "MD5", user: str = 'a"b') -> wire.Request:
    fields = {"username": user, "realm": "camera", "nonce": nonce, "uri": "rtsp://h/gate"}
    proof = wire.digest_response(fields, password=password, method="DESCRIBE", algorithm=algorithm)
    quoted = user.replace('"', '\\"')
    text = f'Digest username="{quoted}", realm="camera", nonce="{nonce}", uri="rtsp://h/gate", response="{proof}"'
    headers = {"authorization": f"{text}, algorithm={algorithm}"}
    return wire.Request(method="DESCRIBE", uri="rtsp://h/gate", headers=headers)


@pytest.mark.parametrize(
    ("request_", "kind", "ok"),
    [
        (_digest("secret"), "digest", True),
        (_digest("secret"), "both", True),
        (_digest("secret", algorithm="SHA-256"), "both", True),
        (_digest("secret", algorithm="SHA-256"), "sha256", True),
        (_digest("secret", algorithm="SHA-256"), "digest", False),
        (_digest("wrong"), "digest", False),
        (_digest("secret", nonce="old"), "digest", False),
        (_digest("secret", user="other"), "digest", False),
        (_digest("secret"), "basic", False),
        (wire.Request(method="DESCRIBE", uri="x", headers={}), "digest", False),
        (
            wire.Request(
                method="PLAY",
                uri="x",
                headers={"authorization": "Basic " + base64.b64encode(b'a"b:secret').decode()},
            ),
            "basic",
            True,
        ),
        (wire.Request(method="PLAY", uri="x", headers={"authorization": "Basic !!"}), "basic", False),
    ],
)
def test_only_who_knows_the_password_is_let_in(request_: wire.Request, kind: str, ok: bool) -> None:
    assert wire.authorised(request_, kind=kind, user='a"b', password="secret", nonce="n") is ok


def test_two_challenges_are_two_headers() -> None:
    text = wire.answer(401, "2", headers=wire.challenge(kind="both", realm="camera", nonce="n")).decode()
    assert text.startswith("RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\n")
    assert text.count("WWW-Authenticate: Digest") == 2
