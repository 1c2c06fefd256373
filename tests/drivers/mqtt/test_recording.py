"""What is said on a broker can be recorded without anybody's credential, and a door's part played again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt.recording import BLANKED, Said, blanked, read_recording, record, replay, said
from drivers.mqtt.store import EventStore
from drivers.mqtt.wire import topic_of
from models.errors import DeviceRefused, InvalidInput
from models.reports import Event
from tests.drivers.contract import next_event, soon
from tests.drivers.mqtt.conftest import RunningBroker, connected

CARD = "7186A61E"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "PIN", "a"]), inner, max_size=3),
)


@given(JSON)
def test_no_credential_is_left_wherever_it_stands(value: Any) -> None:
    def secrets(one: Any) -> list[Any]:
        if isinstance(one, dict):
            own = [inner for name, inner in one.items() if name == "PIN" and inner is not None]
            return own + [found for inner in one.values() for found in secrets(inner)]
        return [found for inner in one for found in secrets(inner)] if isinstance(one, list) else []

    left = blanked(value, ours=True)
    assert all(one == BLANKED for one in secrets(left))
    assert (left == value) == (not secrets(value))


def test_a_request_that_is_no_json_is_not_kept() -> None:
    told = said(topic_of("gate", "request"), CARD.encode() + b"{", at_s=1.0, qos=0, retained=False)
    assert CARD.encode() not in msgspec.json.encode(told)
    assert CARD.encode() not in told.content()
    number = said(topic_of("gate", "request"), b"482913", at_s=1.0, qos=0, retained=False)
    assert number.content() == b'"(blanked)"'
    for words in (b"offline", b'"offline"'):
        assert said(topic_of("gate", "online"), words, at_s=1.0, qos=1, retained=True).content() == b'"offline"'
    assert said(topic_of("gate", "mode"), b"", at_s=1.0, qos=1, retained=True).content() == b""


PRESENTED: list[tuple[str, object, object]] = [
    ("esp1/sensor/card/state", CARD, None),
    ("esp1/sensor/pin/state", "482913", BLANKED),
    ("esp1/sensor/pin/state", '"482913"', BLANKED),
    (
        "zigbee2mqtt/keypad",
        {"action": "disarm", "action_code": "482913", "action_zone": 0, "tamper": False, "voltage": None},
        {"action": BLANKED, "action_code": BLANKED, "action_zone": BLANKED, "tamper": False, "voltage": None},
    ),
    ("tele/plug/SENSOR", {"PN532": {"UID": CARD}, "Switch1": "ON"}, {"PN532": {"UID": BLANKED}, "Switch1": BLANKED}),
    ("lock/users", {"482913": True, CARD: [482913, True]}, {BLANKED: [BLANKED, True]}),
    ("lock/users", [CARD, {"userPin": {"slot": 1}}], [BLANKED, {"userPin": BLANKED}]),
    (f"x/{topic_of('gate', 'event')}", {"id": "482913"}, {"id": BLANKED}),
    (topic_of("gate", "event") + "/more", {"id": "482913"}, {"id": BLANKED}),
]


@pytest.mark.parametrize(("topic", "presented", "left"), PRESENTED, ids=[one[0] for one in PRESENTED])
def test_of_what_other_makers_say_only_the_form_is_kept(topic: str, presented: object, left: object) -> None:
    raw = presented.encode() if isinstance(presented, str) else msgspec.json.encode(presented)
    told = said(topic, raw, at_s=1.0, qos=1, retained=False)
    written = msgspec.json.encode(told) + told.content()
    assert not [secret for secret in (CARD, "482913") if secret.encode() in written]
    assert told.payload == left
    assert left is not None or told.content() == BLANKED.encode()


def test_keys_of_a_door_are_matched_by_their_parts() -> None:
    event = {"id": "e1", "seq": 7, "type": "opened", "userPin": 482913, "card_2": CARD, "PINCode": "1", "opinion": "b"}
    told = said(topic_of("gate", "event"), msgspec.json.encode(event), at_s=1.0, qos=1, retained=False)
    assert told.payload == {**event, "userPin": BLANKED, "card_2": BLANKED, "PINCode": BLANKED}


async def test_a_recording_over_an_open_file_is_its_owners_alone(mosquitto: RunningBroker, tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text("from before\n", "utf-8")
    file.chmod(0o644)
    argv = ["--broker", f"127.0.0.1:{mosquitto.port}", "--file", str(file), "--door", "gate"]
    command = [sys.executable, "-m", "drivers", "mqtt", "record", *argv]
    careful = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
    _, told = await soon(careful.communicate())
    assert (careful.returncode, b"say --force" in told) == (1, True)
    assert file.read_text("utf-8") == "from before\n"
    recording = await asyncio.create_subprocess_exec(*command, "--force")
    await soon(recording.wait())  # nobody logs in without a password
    assert (file.stat().st_mode & 0o777, file.read_text("utf-8")) == (0o600, "")


@pytest.mark.parametrize(
    "line",
    [b"{", b'{"topic":"a"}', b'{"at_s":-1,"topic":"a"}', b'{"at_s":1,"topic":"a","more":1}', b'{"topic":"\xc3("}'],
)
def test_a_line_that_is_no_message_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "said.jsonl"
    file.write_bytes(b'{"at_s":0,"topic":"a","payload":1}\n' + line + b"\n")
    with pytest.raises(InvalidInput, match=r"said\.jsonl:2"):
        list(read_recording(file))


async def test_what_a_door_said_is_heard_again_with_its_ids(mosquitto: RunningBroker, tmp_path: Path) -> None:
    door_id = next(mosquitto.fresh)
    over, file = asyncio.Event(), tmp_path / "said.jsonl"
    door = mosquitto.door(door_id, store=EventStore(None))
    topics = [topic_of(door_id, kind) for kind in ("hello", "state", "event", "request", "command", "online")]
    async with connected(door):
        with file.open("w", encoding="utf-8") as out:
            recorder = mosquitto.endpoint("edge", client_id="recorder", session_expiry_s=0)
            recording = asyncio.ensure_future(record(recorder, topics, out=out, most=1000, over=over))
            await soon(_until_written(file, '"online"'))
            door.force()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(door.request("card", CARD), 0.2)
            await soon(_until_written(file, '"card"'))
            over.set()
            count = await soon(recording)
    messages = list(read_recording(file))
    assert len(messages) == count
    assert CARD not in file.read_text("utf-8")
    wanted = next(one.payload["id"] for one in messages if one.topic.endswith("/event"))
    async with mosquitto.driver(door_id, client_id="listener") as driver:
        as_door = mosquitto.endpoint(door_id, client_id=f"door-{door_id}", session_expiry_s=0)
        again = await soon(replay(as_door, messages, doors=frozenset({door_id}), speed=100.0))
        assert again == sum(not one.topic.endswith("/command") for one in messages)
        reports, heard = driver.reports(), None
        while not isinstance(heard, Event) or heard.id != wanted:
            heard, _ = await next_event(reports)
    assert heard.type == "forced"


async def _until_written(file: Path, words: str) -> None:
    while words not in file.read_text("utf-8"):  # noqa: ASYNC110 - a file announces nothing
        await asyncio.sleep(0.02)


async def test_no_door_s_part_is_played_with_another_s_name(mosquitto: RunningBroker) -> None:
    own, other = next(mosquitto.fresh), next(mosquitto.fresh)
    event = {"id": "e", "seq": 1, "type": "forced"}
    messages = [Said(at_s=0, topic=topic_of(other, "event"), payload=event)]
    endpoint = mosquitto.endpoint(own, client_id=f"door-{own}", session_expiry_s=0)
    async with mosquitto.driver(other, client_id="listener-2") as driver:
        await soon(replay(endpoint, messages, doors=frozenset({other}), speed=1.0))
        assert driver.counters["events"] == 0
    wrong = msgspec.structs.replace(endpoint, password=f"{random.random()}")
    with pytest.raises(DeviceRefused):
        await replay(wrong, messages, doors=frozenset({other}), speed=1.0)


def test_the_programs_say_what_is_missing(mosquitto: RunningBroker, tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        argv = [sys.executable, "-m", "drivers", "mqtt", *words, "--broker", f"127.0.0.1:{mosquitto.port}"]
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        return ran.returncode, ran.stderr

    file = tmp_path / "said.jsonl"
    assert run("record", "--file", str(file)) == (
        1,
        "recording: --door: name the doors to record, or another maker's --topic\n",
    )
    file.write_text(json.dumps({"at_s": 0}) + "\n", "utf-8")
    status, words = run("replay", "--file", str(file), "--door", "gate")
    assert (status, "said.jsonl:1" in words) == (1, True)
    said_by_gate = Said(at_s=0, topic=topic_of("gate", "event"), payload={"id": "e", "seq": 1, "type": "forced"})
    file.write_bytes(msgspec.json.encode(said_by_gate) + b"\n")
    status, words = run("replay", "--file", str(file), "--door", "gate", "--door", "side")
    assert status == 1
    assert f"nothing that 'side' said was recorded; doors in {file}: gate" in words
