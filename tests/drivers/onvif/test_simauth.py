"""Who the simulated device believes, and what its options and services make of nonsense."""

from __future__ import annotations

import argparse
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from drivers.onvif.simauth import NONCES_KEPT, TOKENS_KEPT, Access, Guard
from drivers.onvif.simcall import FAULTS, Call, Fault, Streams
from drivers.onvif.simdevice import Identity, SimulatedDevice
from drivers.onvif.simmedia import PROFILES
from drivers.onvif.simoptions import add_arguments, unit_of
from drivers.onvif.simpull import Subscriptions
from drivers.onvif.simserver import HANDLERS
from drivers.onvif.simsoap import NAMESPACES, SoapFault, Xml, find, parse
from models.errors import InvalidInput
from tests.drivers.contract import now
from tests.drivers.onvif.asking import PASSWORD, USER, asking, soap, username_token, values

AT = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def guard(**changes: Any) -> Guard:
    return Guard(Access(user=USER, password=PASSWORD, **changes), rng=random.Random(1))


def header(token: str) -> etree._Element:
    found = find(parse(soap("<a/>", token)), "s:Header")
    assert found is not None
    return found


def test_a_password_is_never_shown() -> None:
    assert PASSWORD not in repr(guard().access)


def test_nonces_are_forgotten_the_oldest_first() -> None:
    judge = guard()
    first = judge.challenges()[0].split('nonce="')[1][:32]
    for _ in range(NONCES_KEPT):
        judge.challenges()
    told = f'Digest username="{USER}", realm="onvif", nonce="{first}", uri="/", nc=00000001, qop=auth, response="0"'
    assert judge.digest(told, method="POST", target="/") == "stale"


def test_a_hash_that_was_not_offered_is_refused() -> None:
    judge = guard(digest="sha256")
    nonce = judge.challenges()[0].split('nonce="')[1][:32]
    told = f'Digest username="{USER}", realm="onvif", nonce="{nonce}", uri="/", algorithm=MD5, nc=00000001'
    assert judge.digest(told, method="POST", target="/") == "bad"


@given(st.text(max_size=300), st.text(max_size=20))
def test_no_text_is_a_proof(text: str, target: str) -> None:
    judge = guard()
    judge.challenges()
    assert judge.digest(text, method="POST", target=target) != "good"
    assert judge.digest(f"Digest {text}", method="POST", target=target) != "good"


def test_a_token_counts_within_five_minutes_and_a_second_use_within_one_second() -> None:
    judge = guard()
    for minutes, good in ((-6, False), (-4, True), (4, True), (6, False)):
        made = AT + timedelta(minutes=minutes)
        assert judge.token(header(username_token(made)), now=AT) is good
    again = header(username_token(AT))
    assert judge.token(again, now=AT)
    assert judge.token(again, now=AT + timedelta(seconds=1))
    assert not judge.token(again, now=AT + timedelta(seconds=1.1))


def test_tokens_are_forgotten_after_thousands() -> None:
    judge = guard()
    for number in range(TOKENS_KEPT + 10):
        assert judge.token(header(username_token(AT, nonce=str(number).encode())), now=AT)
    assert judge.token(header(username_token(AT, nonce=b"0")), now=AT + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("wsse:Nonce>MDEy", "wsse:Nonce>***"),
        ("2026-03-01T08:00:00.000Z", "yesterday"),
        ("2026-03-01T08:00:00.000Z", "2026-03-01T08:00:00"),
        ("2026-03-01T08:00:00.000Z", "0001-01-01T00:00:00+23:59"),
        ("<wsu:Created>", "<wsu:Elsewhere/><wsu:Created>x"),
        (f"<wsse:Username>{USER}</wsse:Username>", "<wsse:Username>root</wsse:Username>"),
        (f"<wsse:Username>{USER}</wsse:Username>", ""),
    ],
)
def test_a_token_that_is_not_whole_is_none(old: str, new: str) -> None:
    token = username_token(AT)
    assert old in token
    assert not guard().token(header(token.replace(old, new)), now=AT)


def options(*given_options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(given_options)


def test_options_make_the_device_that_they_say(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a b\nmore\n")
    given_options = ["--door", "a", "--door", "b", "--user", "u", "--password-file", str(tmp_path / "password")]
    given_options += ["--plain", "--credentials", "--access-s", "2", "--too-long-s", "9", "--misbehave", "silent"]
    given_options += ["--rtsp", "rtsp://h/sub", "--serial", "S7", "--tls"]
    unit = unit_of(options(*given_options), now=now)
    assert list(unit.device.doors) == ["a", "b"]
    assert unit.device.doors["a"].plain
    assert (unit.device.timing.access_s, unit.device.timing.open_too_long_s) == (2, 9)
    assert unit.device.credentials
    assert unit.streams == Streams(main="rtsp://h/sub", sub="rtsp://h/sub")
    assert unit.faults == {"silent"}
    assert unit.certificate is not None
    assert unit.device.identity.serial == "S7"
    other = unit_of(options("--serial", "S8"), now=now)
    assert other.device.identity.uuid != unit.device.identity.uuid


@pytest.mark.parametrize(
    ("given_options", "where"),
    [
        (["--host", "0.0.0.0"], "--host"),
        (["--user", "u"], "--user"),
        (["--password-file", "/nowhere"], "--user"),
        (["--user", "u", "--password-file", "/nowhere"], "--password-file"),
        (["--door", "no door"], "--door"),
    ],
)
def test_options_that_fit_no_device_are_refused(given_options: list[str], where: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        unit_of(options(*given_options), now=now)
    assert refused.value.where == where


async def test_media2_tells_the_profiles_and_addresses_of_media() -> None:
    async with asking() as client:
        profiles = await client.ask("<tr2:GetProfiles/>")
        found = profiles.findall(".//tr2:Profiles", NAMESPACES)
        assert [profile.get("token") for profile in found] == list(PROFILES)
        assert values(profiles, "tr2:VideoEncoder/tt:Resolution/tt:Width") == ["1920", "640"]
        encoders = await client.ask("<tr2:GetVideoEncoderConfigurations/>")
        assert values(encoders, "tr2:Configurations/tt:Encoding") == ["H264", "H264"]
        token = "<tr2:ProfileToken>sub</tr2:ProfileToken>"
        for name in ("Stream", "Snapshot"):
            second = await client.ask(f"<tr2:Get{name}Uri>{token}</tr2:Get{name}Uri>")
            first = await client.ask(f"<trt:Get{name}Uri>{token.replace('tr2', 'trt')}</trt:Get{name}Uri>")
            assert values(second, "tr2:Uri") == values(first, "tt:Uri")
        assert await client.fault("<tr2:GetStreamUri><tr2:ProfileToken>x</tr2:ProfileToken></tr2:GetStreamUri>") == (
            400,
            ["s:Sender", "ter:InvalidArgVal", "ter:NotFound"],
        )
        assert values(
            await client.ask("<trt:GetProfile><trt:ProfileToken>sub</trt:ProfileToken></trt:GetProfile>"), "tt:Name"
        )
        assert (await client.ask("<tr2:GetServiceCapabilities/>")) is not None


ITEMS = [
    "Token", "AccessTime", "OpenTooLongTime", "UseExtendedTime", "Limit", "StartReference", "AccessPointToken", "Decision",
    "Reason", "ProfileToken", "PresetToken", "InitialTerminationTime", "TerminationTime", "UtcTime", "Reverse", "Filter",
    "RelayOutputToken", "LogicalState", "Category",
]  # fmt: skip
TEXTS = st.sampled_from(
    [
        "gate",
        "gate-in",
        "gate-relay",
        "main",
        "active",
        "Granted",
        "PT5S",
        "P9999DT999999H",
        "PT",
        "0",
        "1",
        "-1",
        "٣",
        "true",
    ]
) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=300)
TIMES = st.datetimes().map(lambda at: f"{at.isoformat()}+23:59")


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
@given(
    st.sampled_from(sorted(HANDLERS)),
    st.lists(st.tuples(st.sampled_from(ITEMS), TEXTS | TIMES), max_size=4),
    st.sets(st.sampled_from(FAULTS)),
)
def test_every_operation_answers_or_refuses_whatever_it_is_given(
    name: str, items: list[tuple[str, str]], faults: set[Fault]
) -> None:
    device = SimulatedDevice(Identity())
    prefix, _, local = name.partition(":")
    body = etree.Element(f"{{{NAMESPACES[prefix]}}}{local}")
    for item, text in items:
        etree.SubElement(body, f"{{{NAMESPACES[prefix]}}}{item}").text = text.replace("\ufffe", "").replace(
            "\uffff", ""
        )
    subscriptions = Subscriptions(device, faults)
    subscriptions.create(topics=(), life_s=60, now=AT)
    call = Call(
        device=device,
        subscriptions=subscriptions,
        body=body,
        path="/onvif/subscription/1",
        now=AT,
        origin="http://127.0.0.1:80",
        streams=Streams(),
        faults=faults,
    )
    answer: Xml | None = None
    refused = ""
    try:
        answer = HANDLERS[name](call)
    except SoapFault as fault:
        refused = fault.reason
    assert (answer is None) == bool(refused)
    if answer is not None:
        assert answer.startswith(f"<{name}Response")
