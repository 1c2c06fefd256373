"""Delivery to a centre that fails in every way: nothing lost, nothing under two ids, order per alert."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from gateway.centre.forwarder import Forwarder, Pace
from gateway.centre.post import Outcome, Sender, asked_wait_s, judge
from gateway.centre.pulse import Pulse
from gateway.centre.receipts import pull_receipts
from gateway.centre.simulator import Centre, Control, ReceiptOrder, serve
from gateway.intake import take_in
from gateway.runtime import Runtime
from gateway.store.alerts import alerts_of
from gateway.store.edges import EdgeIdentity
from gateway.store.outbox import deliveries, lease_messages, replay_dead, sequence_of
from gateway.views import AlertView
from tests.gateway.conftest import CENTRE_KEY
from tests.gateway.support import EDGE, Clock, closed, forced

SITE = frozenset({"a"})
EDGE_A = EdgeIdentity(id=EDGE, site_id="a", public_key="")
LOOPBACK = (ip_network("127.0.0.0/8"),)
PACE = Pace(first_s=1.0, cap_s=300.0)


@pytest.fixture
def centre() -> Iterator[tuple[str, Centre]]:
    """Run the simulated centre: yields its address and the centre itself."""
    server, made = serve(CENTRE_KEY, port=0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", made
    server.shutdown()
    server.server_close()
    thread.join(10)


@contextlib.asynccontextmanager
async def sender_to(url: str, *, timeout_s: float = 2.0, key: str = CENTRE_KEY) -> AsyncIterator[Sender]:
    sender = Sender(url, keys=(key,), allowed=LOOPBACK, timeout_s=timeout_s)
    try:
        yield sender
    finally:
        await sender.close()


@pytest.fixture
async def forwarder(runtime: Runtime, centre: tuple[str, Centre]) -> AsyncIterator[Forwarder]:
    """Yield a forwarder to the simulated centre; the simulated centre's clock is the wall's, so ours follows it."""
    async with sender_to(f"{centre[0]}/events", timeout_s=1.0) as sender:
        made = Forwarder(runtime, "centre", sender=sender, pace=PACE, draw=lambda: 0.0)
        await made.start()
        yield made


@pytest.fixture
def clock() -> Clock:
    """Return a clock at the present time: the centre refuses signatures of another time."""
    return Clock(datetime.now(UTC))


def report(runtime: Runtime, *facts: Any) -> None:
    raw = [msgspec.Raw(msgspec.json.encode(fact)) for fact in facts]
    runtime.store.write_now(take_in, raw, edge=EDGE_A, at=runtime.clock(), routes=runtime.routes)


def storm(runtime: Runtime, count: int) -> None:
    """Force and close two doors in turn: two messages for each of `count` alerts."""
    for n in range(count):
        door = ("gate", "side")[n % 2]
        report(runtime, forced(door, 10 * n, at=runtime.clock()), closed(door, 10 * n + 1, at=runtime.clock()))


async def drain(forwarder: Forwarder, clock: Clock, *, hours: float) -> float:
    """Turn the clock as the forwarder asks for until it has nothing to do for a while or the hours are over."""
    turned = 0.0
    while turned < hours * 3600:
        wait_s = await forwarder.step()
        if wait_s > 0:
            clock.turn(seconds=wait_s)
            turned += wait_s
            (row,) = forwarder._runtime.store.read_now(deliveries)
            if row.waiting == 0:
                break
    return turned


def alert_list(runtime: Runtime) -> list[AlertView]:
    return runtime.store.read_now(alerts_of, site_ids=SITE, open_only=False, before=None, limit=100)


def check_once_and_in_order(centre: Centre, *, alerts: int) -> None:
    rows = centre.received()["items"]
    ids = [row["event"]["id"] for row in rows]
    assert len(ids) == len(set(ids)) == 2 * alerts
    assert all(row["webhook_id"] == row["event"]["id"] for row in rows)
    for subject in {row["event"]["subject"] for row in rows}:
        kinds = [row["event"]["type"].split(".")[3] for row in rows if row["event"]["subject"] == subject]
        assert kinds == ["raised", "cleared"]
    assert sorted(int(row["event"]["sequence"]) for row in rows) == list(range(1, 2 * alerts + 1))


async def test_alerts_arrive_once_signed_and_in_order(
    forwarder: Forwarder, runtime: Runtime, *, centre: tuple[str, Centre], clock: Clock
) -> None:
    storm(runtime, 6)
    await drain(forwarder, clock, hours=0.1)
    check_once_and_in_order(centre[1], alerts=6)
    assert {alert.delivery for alert in alert_list(runtime)} == {"delivered"}
    events = [item["event"] for item in centre[1].received()["items"]]  # in order per alert, not across alerts
    event = next(event for event in events if event["data"]["place"]["name"] == "East gate")
    assert (event["specversion"], event["source"]) == ("1.0", "urn:gatehouse:site:a")
    assert event["data"]["place"]["coordinates"] == {"lat": 31.2, "lon": 121.4, "datum": "WGS-84"}
    assert event["data"]["summary"] == "East gate：强行开门"


@pytest.mark.parametrize("fault", ["down", "500", "429", "302", "half", "503", "slow"])
async def test_a_centre_that_fails_gets_everything_later_under_the_same_ids(
    forwarder: Forwarder, runtime: Runtime, *, centre: tuple[str, Centre], clock: Clock, fault: str
) -> None:
    centre[1].control(Control(fault=fault))
    storm(runtime, 2)
    for _ in range(3):
        clock.turn(seconds=await forwarder.step())
    assert {alert.delivery for alert in alert_list(runtime)} == {"pending"}
    centre[1].control(Control(fault=None))
    clock.at = datetime.now(UTC)
    forwarder._hold_until = None
    runtime.store.write_now(_due_now, at=clock())
    await drain(forwarder, clock, hours=1)
    check_once_and_in_order(centre[1], alerts=2)


def _due_now(connection: Any, *, at: datetime) -> None:
    from sqlalchemy import update

    from gateway.store.tables_events import outbox

    connection.execute(update(outbox).values(next_at=at, leased_until=None))


async def test_a_day_of_outage_costs_few_knocks_and_loses_nothing(
    runtime: Runtime, centre: tuple[str, Centre], clock: Clock
) -> None:
    centre[1].control(Control(fault="500"))
    async with sender_to(f"{centre[0]}/events") as sender:
        forwarder = Forwarder(runtime, "centre", sender=sender, pace=PACE, draw=lambda: 0.0)
        await forwarder.start()
        storm(runtime, 5)
        turned = await drain(forwarder, clock, hours=24)
        assert turned >= 24 * 3600
        assert 280 <= runtime.counters["centre_retry"] <= 310, "about one knock in five minutes"
        centre[1].control(Control(fault=None))
        clock.at = datetime.now(UTC)
        runtime.store.write_now(_due_now, at=clock())
        restarted = Forwarder(runtime, "centre", sender=sender, pace=PACE, draw=lambda: 0.0)
        await restarted.start()
        await drain(restarted, clock, hours=1)
    check_once_and_in_order(centre[1], alerts=5)


async def test_a_crash_between_post_and_mark_sends_the_same_id_again(
    forwarder: Forwarder, runtime: Runtime, *, centre: tuple[str, Centre], clock: Clock
) -> None:
    centre[1].control(Control(fault="half"))
    storm(runtime, 1)
    await forwarder.step()
    assert len(centre[1].received()["items"]) == 1, "the centre has it, and we do not know"
    centre[1].control(Control(fault=None))
    clock.turn(seconds=5)
    await drain(forwarder, clock, hours=0.1)
    check_once_and_in_order(centre[1], alerts=1)
    assert centre[1].received()["repeats"] == 1


@pytest.mark.parametrize("status", ["401", "403", "404", "410"])
async def test_a_refused_key_pauses_the_delivery_with_an_alert_and_keeps_trying_slowly(
    forwarder: Forwarder, runtime: Runtime, *, centre: tuple[str, Centre], clock: Clock, status: str
) -> None:
    centre[1].control(Control(fault=status))
    report(runtime, forced("gate", at=clock()))
    await forwarder.step()
    (paused,) = [alert for alert in alert_list(runtime) if alert.kind == "delivery_paused"]
    assert (paused.condition, paused.severity) == ("active", "major")
    (row,) = runtime.store.read_now(deliveries)
    assert row.pause_reason == f"the centre answered {status}"
    posts = runtime.counters["centre_pause"]
    clock.turn(seconds=299)
    assert await forwarder.step() > 0
    assert runtime.counters["centre_pause"] == posts, "not before its time"
    centre[1].control(Control(fault=None))
    clock.turn(seconds=1)
    assert await forwarder.step() == 0
    (row,) = runtime.store.read_now(deliveries)
    assert row.paused_at is None
    (paused,) = [alert for alert in alert_list(runtime) if alert.kind == "delivery_paused"]
    assert paused.condition == "cleared"


async def test_a_refused_message_is_a_dead_letter_and_holds_back_its_alert_only(
    forwarder: Forwarder, runtime: Runtime, *, centre: tuple[str, Centre], clock: Clock
) -> None:
    centre[1].control(Control(fault="422"))
    report(runtime, forced("gate", 1, at=clock()))
    await forwarder.step()
    centre[1].control(Control(fault=None))
    report(runtime, closed("gate", 2, at=clock()), forced("side", 3, at=clock()))
    await drain(forwarder, clock, hours=0.1)
    rows = centre[1].received()["items"]
    assert [row["event"]["data"]["place"]["door_id"] for row in rows] == ["side"]
    (held,) = [alert for alert in alert_list(runtime) if alert.place.door_id == "gate"]
    assert held.delivery == "dead"
    clock.at = datetime.now(UTC)
    assert runtime.store.write_now(replay_dead, "centre", at=clock()) == 1
    await drain(forwarder, clock, hours=0.1)
    kinds = [row["event"]["type"].split(".")[3] for row in centre[1].received()["items"]]
    assert kinds == ["raised", "raised", "cleared"]


class Picky(Sender):
    """A centre that fails on every message about one door, and takes all others."""

    def __init__(self) -> None:
        super().__init__("https://centre.example", keys=(CENTRE_KEY,), allowed=(), timeout_s=1.0)
        self.taken: list[str] = []
        self.tries = 0

    async def post(self, message_id: str, body: bytes, *, at: datetime) -> Outcome:
        door = msgspec.json.decode(body)["data"]["place"]["door_id"]
        if door == "gate":
            self.tries += 1
            return Outcome(state="retry", status=500)
        self.taken.append(door)
        return Outcome(state="delivered", status=200)


async def test_a_message_that_the_centre_always_fails_on_delays_no_other_alert(runtime: Runtime, clock: Clock) -> None:
    sender = Picky()
    forwarder = Forwarder(runtime, "centre", sender=sender, pace=PACE, draw=lambda: 0.0)
    await forwarder.start()
    report(runtime, forced("gate", 1, at=clock()))
    assert await forwarder.step() == 0
    report(runtime, forced("side", 2, at=clock()))
    await drain(forwarder, clock, hours=0.2)
    await sender.close()
    assert sender.taken == ["side"]
    assert 2 < sender.tries < 100


async def test_a_message_on_its_way_is_nobody_elses_however_patient_we_are(runtime: Runtime, clock: Clock) -> None:
    class Slow(Sender):
        async def post(self, message_id: str, body: bytes, *, at: datetime) -> Outcome:
            clock.turn(seconds=110)  # within the time-out of 120 s, while another replica looks for work
            other = runtime.store.write_now(lease_messages, "centre", at=clock(), limit=8)
            assert other == []
            return Outcome(state="delivered", status=200)

    sender = Slow("https://centre.example", keys=(CENTRE_KEY,), allowed=(), timeout_s=120.0)
    forwarder = Forwarder(runtime, "centre", sender=sender, pace=PACE)
    await forwarder.start()
    report(runtime, forced("gate", 1, at=clock()))
    await forwarder.step()
    await sender.close()
    assert alert_list(runtime)[0].delivery == "delivered"


async def test_what_a_centre_did_not_ask_for_is_not_sent(runtime: Runtime, clock: Clock) -> None:
    from models.events import DoorHeldOpen

    report(runtime, DoorHeldOpen(id="h", at=clock(), door_id="gate", open_s=40))
    (alert,) = alert_list(runtime)
    assert alert.delivery == "none"
    assert runtime.store.read_now(sequence_of, "centre", site_id="a") == 0


async def test_heartbeat_and_inventory_are_sent(runtime: Runtime, centre: tuple[str, Centre], clock: Clock) -> None:
    async with sender_to(f"{centre[0]}/events") as sender:
        pulse = Pulse(runtime, "centre", sender=sender)
        assert await pulse.beat() == 4, "heartbeat and inventory of two sites"
        assert await pulse.beat() == 2, "the inventory has not changed"
    types = [row["event"]["type"] for row in centre[1].received()["items"]]
    assert types.count("cn.gatehouse.site.heartbeat.v1") == 4
    assert "rtsp" not in str(centre[1].received()["items"])


async def test_receipts_are_pulled_once(runtime: Runtime, centre: tuple[str, Centre], clock: Clock) -> None:
    report(runtime, forced("gate", at=clock()))
    (alert,) = alert_list(runtime)
    for state in ("received", "accepted"):
        centre[1].receipt(ReceiptOrder(alert_id=alert.id, state=state, reference="R-1"))
    centre[1].receipt(ReceiptOrder(alert_id="unknown", state="closed"))
    async with sender_to(f"{centre[0]}/receipts") as sender:
        runtime.store.write_now(_centre_row)
        assert await pull_receipts(runtime, "centre", sender=sender) == 2
        assert await pull_receipts(runtime, "centre", sender=sender) == 0
    assert [receipt.state for receipt in alert_list(runtime)[0].receipts] == ["received", "accepted"]


def _centre_row(connection: Any) -> None:
    from gateway.store.outbox import add_centre

    add_centre(connection, "centre")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "https://127.0.0.1/x", "https://169.254.169.254/", "http://192.0.2.1/"]
)
async def test_an_address_that_is_not_named_is_never_connected_to(url: str) -> None:
    sender = Sender(url, keys=(CENTRE_KEY,), allowed=(), timeout_s=2)
    outcome = await sender.post("m", b"{}", at=datetime.now(UTC))
    await sender.close()
    assert outcome.state == "retry"
    assert "allow_networks" in outcome.answer


def test_statuses_mean_what_the_contract_says() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    expected = {
        200: "delivered", 202: "delivered", 204: "delivered", 301: "retry", 302: "retry", 304: "retry", 400: "dead",
        401: "pause", 403: "pause", 404: "pause", 409: "dead", 410: "pause", 422: "dead", 429: "retry", 500: "retry",
    }  # fmt: skip
    assert {status: judge(status, "", retry_after=None, at=at).state for status in expected} == expected
    assert judge(503, "", retry_after="7", at=at).wait_s == 7


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None), ("5", 5.0), ("99999999", 3600.0), ("soon", None), ("Sun, 01 Mar 2026 00:01:00 GMT", 60.0),
        ("\u00b2", None), ("Sun, 01 Mar 99999999999999999999 00:01:00 GMT", None),
        ("Sun, 01 Mar 2026 00:01:00 +99999999999999", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(text: str | None, seconds: float | None) -> None:
    assert asked_wait_s(text, at=datetime(2026, 3, 1, tzinfo=UTC)) == seconds
