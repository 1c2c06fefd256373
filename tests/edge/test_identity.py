"""Who an edge is: keys made once and private, signatures, the gateway it believes, and how it comes to belong to it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edge.channel import introduce, vouches
from edge.identity import Signer, is_loopback, key_of, new_key, public_key, trust
from edge.keystore import KeyStore
from edge.membership import MARKER, Admittance
from edge.protection import ExternalGuard
from models.errors import DeviceRefused, DeviceUnreachable, InvalidInput
from models.link import Introduction
from models.sealing import public_seal_key
from tests.edge.doubles import EDGE, policy
from tests.edge.gateway_double import GatewayDouble


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1", True), ("http://localhost", True), ("http://[::1]:8", True),
        ("http://10.0.0.1", False), ("http://127.0.0.1.example.com", False), ("http://", False),
    ],
)  # fmt: skip
def test_plain_http_is_for_this_machine_only(url: str, here: bool) -> None:
    assert is_loopback(url) is here
    if here:
        assert trust(url, ca_file=None, allow_plain=False) is False
    else:
        with pytest.raises(InvalidInput):
            trust(url, ca_file=None, allow_plain=False)
        assert trust(url, ca_file=None, allow_plain=True) is False


def test_a_certificate_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    assert trust("https://gateway", ca_file=None, allow_plain=False) is not False
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(InvalidInput):
            trust("https://gateway", ca_file=tmp_path / name, allow_plain=False)


def test_a_gateway_without_a_time_teaches_nothing(tmp_path: Path) -> None:
    signer = Signer(key_of(new_key()), edge_id=EDGE, unix=time.time, nonce=lambda: "n")
    assert not signer.learn_offset(None)
    assert not signer.learn_offset("yesterday")
    assert signer.offset_s == 0.0
    headers: dict[str, Any] = signer.headers("GET", "/x", body=b"")
    assert set(headers) == {"Gatehouse-Edge", "Gatehouse-Time", "Gatehouse-Nonce", "Gatehouse-Signature"}
    assert msgspec.json.encode(headers)


@pytest.mark.parametrize("name", ["edge.key", "seal.key"])
def test_a_key_is_made_once_and_private(tmp_path: Path, name: str) -> None:
    first = KeyStore(tmp_path).secret(tmp_path / name, make=new_key)
    assert KeyStore(tmp_path).secret(tmp_path / name, make=new_key) == first
    assert public_key(key_of(first)) == public_key(key_of(first))
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    (tmp_path / name).chmod(0o640)
    with pytest.raises(InvalidInput, match="chmod"):
        KeyStore(tmp_path).secret(tmp_path / name, make=new_key)
    (tmp_path / name).chmod(0o600)
    (tmp_path / name).write_bytes(b"short")
    with pytest.raises(InvalidInput):
        KeyStore(tmp_path).secret(tmp_path / name, make=new_key)


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(InvalidInput, match="32 bytes"):
        key_of(b"short")


def test_under_an_outer_key_a_stolen_disk_is_not_this_edge(tmp_path: Path) -> None:
    plain = KeyStore(tmp_path).secret(tmp_path / "edge.key", make=new_key)
    guarded = KeyStore(tmp_path, guard=ExternalGuard(tmp_path, outer=lambda: b"o" * 32))
    assert guarded.secret(tmp_path / "edge.key", make=new_key) == plain, "a plain key is taken over"
    made = guarded.secret(tmp_path / "seal.key", make=new_key)
    for name, key in (("edge.key", plain), ("seal.key", made)):
        assert key not in (tmp_path / name).read_bytes()
        assert guarded.secret(tmp_path / name, make=new_key) == key
    (tmp_path / "seal.key").write_bytes((tmp_path / "edge.key").read_bytes())
    with pytest.raises(InvalidInput):
        guarded.secret(tmp_path / "seal.key", make=new_key)


def about(token: str, folder: Path) -> Introduction:
    keys = KeyStore(folder)
    public = public_key(key_of(keys.secret(folder / "edge.key", make=new_key)))
    seal_key = public_seal_key(keys.secret(folder / "seal.key", make=new_key))
    return Introduction(token=token, edge_id=EDGE, name="Gate", public_key=public, seal_key=seal_key)


def admittance(folder: Path, client: httpx.AsyncClient, *, url: str) -> Admittance:
    return Admittance(
        folder=folder, gateway=url, client=client, token_file=folder / "token", about=lambda token: about(token, folder)
    )


async def test_enrolment_says_whether_the_token_or_the_gateway_is_at_fault(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            with pytest.raises(DeviceRefused):
                await introduce(client, about("wrong", tmp_path))
        port = gateway.port
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        with pytest.raises(DeviceUnreachable):
            await introduce(client, about("t", tmp_path))


async def test_a_false_gateway_is_told_by_the_token_and_nothing_is_pinned(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as ours, GatewayDouble(policy()) as false:
        (tmp_path / "token").write_text(ours.token)
        false.secret = ours.token.partition(".")[0]
        async with httpx.AsyncClient(base_url=false.url) as client:
            entering = admittance(tmp_path, client, url=false.url)
            false.any_token = True
            with pytest.raises(DeviceRefused, match="another gateway"):
                await entering.enter()
            assert entering.gateway_key == ""
        assert not (tmp_path / MARKER).exists()


async def test_the_gateways_key_is_pinned_and_kept_and_only_a_token_changes_it(tmp_path: Path) -> None:
    async with GatewayDouble(policy()) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        entering = admittance(tmp_path, client, url=gateway.url)
        with pytest.raises(DeviceUnreachable, match="waiting"):
            await entering.enter()
        (tmp_path / "token").write_text(gateway.token)
        await entering.enter()
        assert entering.gateway_key == gateway.gateway_key
        (tmp_path / "token").unlink()
        again = admittance(tmp_path, client, url=gateway.url)
        await again.enter()
        assert again.gateway_key == gateway.gateway_key
        assert (tmp_path / MARKER).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"{", b'{"gateway":"g","edge_id":"e"}'])
async def test_a_membership_without_a_pinned_key_asks_for_a_token(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARKER).write_bytes(content)
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as client:
        entering = Admittance(
            folder=tmp_path, gateway="g", client=client, token_file=None, about=lambda token: about(token, tmp_path)
        )
        with pytest.raises(InvalidInput, match="token"):
            await entering.enter()


def test_a_token_vouches_for_one_key_only() -> None:
    double = GatewayDouble(policy())
    other = GatewayDouble(policy())
    assert vouches(double.token, double.gateway_key)
    assert not vouches(double.token, other.gateway_key)
    assert not vouches("token", double.gateway_key)
    assert not vouches(double.token, "no base64!")
    assert not vouches(double.token, "")
