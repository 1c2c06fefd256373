"""What goes wrong around the doors of a running system: hostile and broken devices, a sick camera, a full disk.

After each story a card still opens; that is the last line of most of them. Each acts through simulators or real tools
(mosquitto_pub, mosquitto_sub, ffprobe, curl) and reads the outcome where people would.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
import time
import uuid
from typing import Any

import pytest

from gateway.rehearsal.actors import until
from tests.stories.acting import HAND, LOST_AFTER_S, StoryStage, now_text, topic

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.needs("mosquitto", "mosquitto-clients"),
    pytest.mark.timeout(180),
    pytest.mark.slow,
]
JUNK = (
    b"\xff\xfe\x00",
    b"{",
    b"[" * 5000,
    b'{"id":1}',
    b"null",
    b'{"id":"a","type":"opened","seq":-1}',
    os.urandom(64),
)
OVERSIZED = b'{"id":"big","type":"forced","seq":900001,"detail":"' + b"x" * 200_000 + b'"}'


async def card_opens(stage: StoryStage, door: str = "gate") -> None:
    """Everything else goes on: the resident's card opens a door."""
    answer = await stage.present_card_eventually(door, stage.card)
    assert answer["outcome"] == "unlocked"


async def counted(stage: StoryStage, name: str, *, above: int) -> None:
    async def grown() -> bool:
        return await stage.edge_counter(name) > above

    await until(grown, what=f"{name} above {above}", within_s=30)


async def answered(heard: list[tuple[str, bytes]], kind: str, **wanted: object) -> dict[str, Any]:
    """Return the first message of a kind that has these fields."""

    async def found() -> dict[str, Any] | None:
        told = [json.loads(body) for name, body in heard if name.endswith(f"/{kind}")]
        return next((one for one in told if wanted.items() <= one.items()), None)

    result: dict[str, Any] = await until(found, what=f"{kind} {wanted}", within_s=10, every_s=0.05)
    return result


async def test_two_command_line_tools_are_a_door(stage: StoryStage) -> None:
    await stage.publish(topic(HAND, "online"), b'"online"', "-r", user=HAND)
    await stage.publish(topic(HAND, "hello"), {"model": "hands", "capabilities": ["ack"]}, "-r", user=HAND)
    card = await stage.person("hand-1", doors=[HAND])
    shut = {"contact": "closed", "lock": "locked", "event_seq": 0, "at": now_text()}
    await stage.publish(topic(HAND, "state"), shut, "-r", user=HAND)
    mine = (topic(HAND, "command"), topic(HAND, "ack"))
    async with stage.hearing(*mine, user=HAND) as heard:
        mark = stage.ear.mark()
        state = {"contact": "open", "lock": "locked", "event_seq": 1, "at": now_text()}
        event = {"id": uuid.uuid4().hex, "seq": 1, "at": now_text(), "type": "forced"}
        await stage.publish(topic(HAND, "event"), event, user=HAND)
        await stage.publish(topic(HAND, "state"), state, user=HAND)
        _, alert = await stage.ear.hear(
            "alert", lambda a: a["kind"] == "door_forced" and a["place"]["door_id"] == HAND, since=mark
        )
        assert alert["severity"] == "urgent"
        assert (await answered(heard, "ack", seq=1)) == {"seq": 1}

        key = await stage.request(HAND, card)
        unlock = await answered(heard, "command", action="unlock", attempt=key)
        await stage.publish(topic(HAND, "result"), {"id": unlock["id"], "ok": True}, user=HAND)
        granted = await stage.fact(HAND, "access_granted", attempt=key)
        assert (granted["person_id"], granted["unlocked"]) == ("hand-1", True)


async def test_what_cannot_be_read_is_counted_and_costs_nobody_anything(stage: StoryStage) -> None:
    before = await stage.edge_counter("wires_unreadable")
    alerts = len((await stage._checked(stage.manager.get("/api/v1/alerts?status=all&limit=200")))["items"])
    for kind in ("event", "request", "result", "state"):
        for payload in (*JUNK, OVERSIZED):
            await stage.publish(topic("gate", kind), payload, user="gate")
    await card_opens(stage)
    await counted(stage, "wires_unreadable", above=before + 4 * len(JUNK) - 1)
    after = (await stage._checked(stage.manager.get("/api/v1/alerts?status=all&limit=200")))["items"]
    assert len(after) == alerts, "rubbish raised an alert"


async def test_a_door_cannot_speak_for_another(stage: StoryStage) -> None:
    openings, forced = (await stage.standing("gate"))["unlocks"], await stage.facts("gate", "door_forced")
    event = {"id": uuid.uuid4().hex, "seq": 500_000, "at": now_text(), "type": "forced"}
    request = {"id": uuid.uuid4().hex, "at": now_text(), "kind": "card", "value": stage.card}
    assert "ot authorized" in await stage.publish(topic("gate", "event"), event, user="side")
    assert "ot authorized" in await stage.publish(topic("gate", "request"), request, user="side")
    unreadable = await stage.edge_counter("wires_unreadable")
    await stage.publish(topic("side", "event"), event | {"door_id": "gate"}, user="side")
    async with stage.hearing(f"{topic('gate', 'command')}", topic("side", "command"), user="side") as heard:
        await card_opens(stage)
        await card_opens(stage, "side")
        await answered(heard, "command", action="unlock")
    assert all(name.startswith(topic("side", "")) for name, _ in heard), "a door heard another door's commands"
    assert (await stage.standing("gate"))["unlocks"] == openings + 1
    assert await stage.facts("gate", "door_forced") == forced
    assert not [f for f in await stage.facts("gate", "access_granted") if f["attempt"] == request["id"]]
    await counted(stage, "wires_unreadable", above=unreadable)


async def test_requests_that_are_not_about_now_open_nothing(stage: StoryStage) -> None:
    await stage.doors.ask(door="gate", act="misbehave", fault="stale_request", on=True)
    for _ in range(2):
        stale = await stage.present_card("gate", stage.card)
        assert (stale["outcome"], stale["reason"]) == ("denied", "stale"), "old requests passed for a slow clock"
    stale = await stage.present_card("gate", stage.card)
    await stage.doors.ask(door="gate", act="misbehave", fault="stale_request", on=False)
    assert (stale["outcome"], stale["reason"]) == ("denied", "stale")
    assert await stage.denied("gate", str(stale["attempt"])) == "stale"

    before = (await stage.standing("gate"))["unlocks"]
    old = await stage.request("gate", stage.card, ago_s=60)
    assert await stage.denied("gate", old) == "stale"
    key = await stage.request("gate", stage.card)
    assert (await stage.fact("gate", "access_granted", attempt=key))["unlocked"]
    await stage.request("gate", stage.card, key=key)
    assert await stage.denied("gate", key) == "replayed"
    newer, older = await stage.request("gate", stage.card), await stage.request("gate", stage.card, ago_s=4.0)
    assert (await stage.fact("gate", "access_granted", attempt=newer))["unlocked"]
    assert await stage.denied("gate", older) == "stale"
    assert (await stage.standing("gate"))["unlocks"] == before + 2
    await card_opens(stage)


async def test_a_retained_request_opens_nothing_now_or_after_a_restart_of_the_edge(stage: StoryStage) -> None:
    before = (await stage.standing("gate"))["unlocks"]
    key = await stage.request("gate", stage.card, "-r")
    assert await stage.denied("gate", key) == "stale"
    stage.kill("edge", "worker")
    await card_opens(stage)
    assert (await stage.standing("gate"))["unlocks"] == before + 1
    assert key not in [fact["attempt"] for fact in await stage.facts("gate", "access_granted")]
    await stage.publish(topic("gate", "request"), b"", "-r", user="gate")


async def test_a_door_refuses_a_command_of_forty_minutes_ago(stage: StoryStage) -> None:
    await card_opens(stage)
    await stage.doors.ask(door="gate", act="wait", until="locked", timeout_s=20, within_s=25)
    before = await stage.standing("gate")
    await stage.doors.ask(door="gate", act="misbehave", fault="replay_command", on=True)

    async def refused() -> bool:
        return len((await stage.standing("gate"))["refused"]) > len(before["refused"])

    await until(refused, what="the old command refused", within_s=20)
    await stage.doors.ask(door="gate", act="misbehave", fault="replay_command", on=False)
    after = await stage.standing("gate")
    assert after["refused"][-1][1] == "expired"
    assert (after["unlocks"], after["lock"]) == (before["unlocks"], "locked")
    await card_opens(stage)


@pytest.mark.parametrize(("fault", "state"), [("garbage", "lost"), ("wrong_credentials", "refused")])
async def test_a_sick_camera_is_shown_and_comes_back(stage: StoryStage, fault: str, state: str) -> None:
    await stage.becomes("gate", "live")
    mark, began = stage.ear.mark(), time.monotonic()
    await stage.cameras.ask(camera="gate", fault=fault)
    if fault == "wrong_credentials":
        stage.kill("edge", "eye", "gate")  # a camera asks for the password when somebody connects
    about = {"kind": "camera_lost", "change": "raised"}
    await stage.ear.hear(
        "alert", lambda a: about.items() <= a.items() and a["place"]["camera_id"] == "gate", since=mark, within_s=40
    )
    assert time.monotonic() - began >= LOST_AFTER_S
    await stage.becomes("gate", state)
    await card_opens(stage)
    await stage.cameras.ask(camera="gate", fault=None)
    await stage.becomes("gate", "live", within_s=60)
    await stage.ear.hear(
        "alert", lambda a: a["kind"] == "camera_lost" and a["condition"] == "cleared", since=mark, within_s=20
    )


async def test_a_camera_that_is_covered_is_an_alert_until_the_view_is_free(stage: StoryStage) -> None:
    await stage.becomes("gate", "live")
    mark = stage.ear.mark()
    await stage.cameras.ask(camera="gate", scene="covered")
    _, alert = await stage.ear.hear("alert", lambda a: a["kind"] == "camera_covered", since=mark, within_s=60)
    assert (alert["severity"], alert["place"]["camera_id"]) == ("major", "gate")
    assert await stage.camera_state("gate") == "live", "it is not lost: pictures come"
    await card_opens(stage)
    await stage.cameras.ask(camera="gate", scene="quiet")
    await stage.ear.hear(
        "alert", lambda a: a["id"] == alert["id"] and a["condition"] == "cleared", since=mark, within_s=40
    )


@pytest.mark.needs("ffmpeg")
async def test_ffprobe_sees_the_stream_that_an_eye_watches(stage: StoryStage) -> None:
    site = await stage._checked(stage.manager.get("/api/v1/cameras"))
    assert "rtsp" not in json.dumps(site), "the console shows no address of a camera"
    url = str(stage.stream_url("gate"))
    probe = ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-timeout", "10000000", "-show_streams", "-of", "json"]
    ended = await asyncio.to_thread(subprocess.run, [*probe, url], capture_output=True, timeout=40)
    video = json.loads(ended.stdout)["streams"][0]
    assert (video["codec_name"], video["width"], video["height"]) == ("h264", 640, 360)
    assert await stage.camera_state("gate") == "live"


@pytest.mark.needs("curl")
async def test_curl_is_a_centre_whose_receipts_count_only_if_signed(stage: StoryStage) -> None:
    mark = stage.ear.mark()
    await stage.act("side", "force")
    _, alert = await stage.ear.hear("alert", lambda a: a["kind"] == "door_forced", since=mark)
    receipt = {"alert_id": alert["id"], "state": "dispatched", "at": now_text(), "reference": "CURL-1"}
    body = json.dumps(receipt)
    assert await curl(stage, body, key=base64.b64encode(os.urandom(32)).decode()) == "401"
    assert await stage.receipts(alert["id"]) == []
    key = (stage.directory / "centre.secret").read_text().removeprefix("whsec_")
    assert await curl(stage, body, key=key) == "200"
    assert await curl(stage, body, key=key) == "200"
    shown = await stage.receipts(alert["id"])
    assert [(one["state"], one["reference"]) for one in shown] == [("dispatched", "CURL-1")]
    await stage.calm("side", alert["id"])


async def curl(stage: StoryStage, body: str, *, key: str) -> str:
    """Sign as Standard Webhooks says, without a line of ours, and post with curl; return the status."""
    message, at = f"msg_{uuid.uuid4().hex}", str(int(time.time()))
    digest = hmac.new(base64.b64decode(key), f"{message}.{at}.{body}".encode(), hashlib.sha256).digest()
    headers = {
        "Content-Type": "application/json", "webhook-id": message, "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }  # fmt: skip
    words = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["curl", "-sS", "-m", "10", "-o", os.devnull, "-w", "%{http_code}", *words, "--data-binary", body]
    ended = await asyncio.to_thread(
        subprocess.run, [*command, f"{stage.url}/api/v1/centre/receipts"], capture_output=True, text=True, timeout=20
    )
    return ended.stdout


async def test_a_full_disk_locks_nobody_out_and_loses_nothing(stage: StoryStage) -> None:
    await stage.settled("side")
    before = len(await stage.facts("side", "exit_requested"))
    async with stage.full_disk():
        for _ in range(5):
            await stage.act("side", "exit")
        await card_opens(stage)
        if stage.on_own_disk:
            stage.kill("edge", "worker")
        await card_opens(stage)
        card = await stage.present_card_eventually("side", stage.card)
        standing = await stage.standing("side")
        assert standing["acked"] < standing["seq"], "an event was acknowledged that is on no disk"
    await stage.settled("side")

    async def arrived() -> bool:
        return len(await stage.facts("side", "exit_requested")) >= before + 5

    await until(arrived, what="the facts of the full disk", within_s=60)
    facts = await stage.facts("side", "exit_requested")
    assert len(facts) == len({fact["id"] for fact in facts}) == before + 5
    assert await stage.facts("side", "device_gap") == []
    assert (await stage.fact("side", "access_granted", attempt=str(card["attempt"])))["unlocked"]
    await card_opens(stage)
