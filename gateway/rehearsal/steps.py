"""The steps of the selftest: each acts through simulators and observes through the same doors as people do.

A step returns a sentence about what it saw, or raises. It trusts no component's word about itself: openings are read at
the simulated door, alerts from the console's feed and from what the simulated centre received.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.rehearsal.actors import until
from gateway.rehearsal.stage import Stage
from models.errors import GatehouseError

Step = Callable[[Stage], Awaitable[str]]
STORM = 30
OUTAGE_ALERTS = 5


def _require(condition: object, what: str) -> None:
    if not condition:
        raise GatehouseError(what)


async def resident_face_opens_door(stage: Stage) -> str:
    """Show a resident, enrolled here and from other photos, who walks up otherwise, presses the bell and turns the head."""
    outcomes = []
    for way in (1, 2, 3):
        outcome = await stage.visit("resident", seed=way)
        _require(outcome["outcome"] == "unlocked", f"the door answered {outcome} instead of opening")
        granted = await stage.fact("gate", "access_granted", attempt=str(outcome["attempt"]))
        _require(granted["method"] == "face" and granted["person_id"] == stage.resident_id, f"granted as {granted}")
        _require(granted["unlocked"], "the lock did not confirm")
        stage.timings["unlock_ms"].append(float(granted["unlock_ms"]))
        evidence = granted["evidence"]
        outcomes.append(f"{evidence['agreeing']} of {evidence['frames']} frames at {evidence['distance']:.3f}")
        _require(evidence["liveness"]["verdict"] == "live", f"opened with the reading {evidence['liveness']}")
    return f"opened {len(outcomes)} times, alive: {'; '.join(outcomes)} (radius {evidence['radius']})"


async def stranger_is_refused(stage: Stage) -> str:
    """Show somebody who never enrolled: the door stays shut and the reader says so."""
    outcome = await stage.visit("stranger")
    _require(outcome["outcome"] != "unlocked", "the door opened for a stranger")
    denied = await stage.fact("gate", "access_denied", attempt=str(outcome["attempt"]))
    _require(denied["method"] == "face" and denied["person_id"] is None, f"denied as {denied}")
    _require(denied["reason"] == "not_recognised", f"refused because {denied['reason']}: no face was looked at")
    return f"refused as {denied['reason']}; the reader showed {outcome['reason']}"


async def photo_attack_is_refused(stage: Stage) -> str:
    """Move a print of the photo that enrolled the resident before the camera: it matches, and nobody lives there."""
    outcome = await stage.visit("photo")
    _require(outcome["outcome"] != "unlocked", "the door opened for a photo")
    denied = await stage.fact("gate", "access_denied", attempt=str(outcome["attempt"]))
    _require(
        denied["reason"] in ("not_live", "liveness_unclear"), f"refused because {denied['reason']}, not as a photo"
    )
    return f"refused as {denied['reason']}; the reader showed {outcome['reason']}"


async def card_opens_door(stage: Stage) -> str:
    """Present the resident's card: the door opens."""
    began = time.monotonic()
    outcome = await stage.present_card("gate", stage.card)
    took_ms = (time.monotonic() - began) * 1000
    _require(outcome["outcome"] == "unlocked", f"the door answered {outcome} instead of opening")
    granted = await stage.fact("gate", "access_granted", attempt=str(outcome["attempt"]))
    _require(granted["method"] == "card" and granted["person_id"] == stage.resident_id, f"granted as {granted}")
    wrong = await stage.present_card("gate", "0BADCA4D")
    _require(wrong["outcome"] == "denied", f"an unknown card was answered with {wrong}")
    return f"opened {took_ms:.0f} ms after the card; an unknown card was refused ({wrong['reason']})"


async def forced_door_reaches_console(stage: Stage) -> str:
    """Force a door: the alert is on the console's live feed."""
    for _ in range(5):
        mark, began = stage.ear.mark(), time.monotonic()
        await stage.act("side", "force")
        heard_at, alert = await stage.ear.hear("alert", forced_at("side"), since=mark)
        stage.timings["alert_to_console_ms"].append((heard_at - began) * 1000)
        await stage.calm("side", alert["id"])
    return f"kind {alert['kind']}, severity {alert['severity']}, cleared when the door closed"


async def forced_door_reaches_centre(stage: Stage) -> str:
    """Force a door: the coordination centre receives one signed event for it, and its receipt comes back."""
    for _ in range(3):
        mark, began = stage.ear.mark(), time.monotonic()
        await stage.act("side", "force")
        _, alert = await stage.ear.hear("alert", forced_at("side"), since=mark)
        event = await stage.centre_event(alert["id"], "raised")
        stage.timings["alert_to_centre_ms"].append((event["received_mono"] - began) * 1000)
        await stage.calm("side", alert["id"])
        _require(event["verified"], "the centre could not verify the signature")
    await stage.send_receipt(alert["id"], "accepted")
    shown = await until(lambda: stage.receipts(alert["id"]), what="the receipt on the alert", within_s=10)
    return f"verified, sequence {event['event']['sequence']}; receipt {shown[-1]['state']} shown on the alert"


async def centre_outage_loses_nothing(stage: Stage) -> str:
    """Take the centre away, force a door several times, bring it back: every alert arrives once and in order."""
    expected = []
    for fault in ("down", "500", "429", "302", "half"):
        await stage.centre_fault(fault)
        for _ in range(OUTAGE_ALERTS // 5):
            mark = stage.ear.mark()
            await stage.act("side", "force")
            _, alert = await stage.ear.hear("alert", forced_at("side"), since=mark)
            expected.append(alert["id"])
            await stage.calm("side", alert["id"])
        await asyncio.sleep(0.3)
    await stage.centre_fault(None)
    for alert_id in expected:
        await stage.centre_event(alert_id, "raised", within_s=60)
        await stage.centre_event(alert_id, "cleared", within_s=60)
    _check_delivery(await stage.centre_received(), expected)
    return f"{len(expected)} alerts through five kinds of outage: none lost, none under two ids, order kept"


async def kill_edge_loses_nothing(stage: Stage) -> str:
    """Kill the edge in the middle of a storm of events: every event becomes exactly one fact."""
    return await _storm(stage, "edge", "worker")


async def kill_gateway_loses_nothing(stage: Stage) -> str:
    """Kill the gateway in the middle of a storm of events: every event becomes exactly one fact."""
    return await _storm(stage, "gateway", "serve")


async def kill_broker_loses_nothing(stage: Stage) -> str:
    """Kill the broker in the middle of a storm of events: every event becomes exactly one fact."""
    return await _storm(stage, *stage.broker_words)


async def kill_vision_recovers(stage: Stage) -> str:
    """Kill the camera's eye and the face process: cards go on at once, faces come back by themselves."""
    stage.kill("edge", "eye", "gate")
    stage.kill("edge", "faces")
    card = await stage.present_card("gate", stage.card)
    _require(card["outcome"] == "unlocked", f"without a camera the card was answered with {card}")
    await stage.vision_ready()
    outcome = await stage.visit("resident")
    _require(outcome["outcome"] == "unlocked", f"after the restart the door answered {outcome}")
    return "a card opened meanwhile; the face opened after the restart"


async def own_opening_is_never_forced(stage: Stage) -> str:
    """Kill edge, broker and gateway between a resident's unlock and her opening of the door: no alarm is raised."""
    victims = (("edge", "worker"), stage.broker_words, ("gateway", "serve"))
    for victim in victims:
        card = await stage.present_card_eventually("gate", stage.card)
        stage.kill(*victim)
        await stage.act("gate", "open")
        await stage.act("gate", "close")
        await stage.settled("gate")
        _require(card["outcome"] == "unlocked", f"a card was answered with {card}")

    async def on_record() -> list[dict[str, Any]] | None:
        found = await stage.facts("gate", "door_closed")
        return found if len(found) >= len(victims) else None

    await until(on_record, what=f"{len(victims)} visits on record", within_s=60)
    openings = await stage.facts("gate", "door_opened")
    forced = await stage.facts("gate", "door_forced")
    _require(not forced, f"{len(forced)} openings by a resident were reported as forced")
    _require(len(openings) == len(victims), f"{len(openings)} openings on record after {len(victims)} visits")
    causes = ", ".join(sorted(str(fact["cause"]) for fact in openings))
    return f"{len(victims)} visits around a kill -9 each: none forced (causes: {causes})"


async def withdrawn_consent_stops_matching(stage: Stage) -> str:
    """Withdraw the consent: within five seconds the same face opens nothing, and the card still does."""
    began = time.monotonic()
    await stage.withdraw_consent()
    await until(stage.template_erased, what="the erasure of the template", within_s=5, every_s=0.05)
    took_s = time.monotonic() - began
    outcome = await stage.visit("resident")
    _require(outcome["outcome"] != "unlocked", "the door opened for a withdrawn face")
    card = await stage.present_card("gate", stage.card)
    _require(card["outcome"] == "unlocked", f"the card was answered with {card} after the withdrawal")
    return f"erased {took_s:.1f} s after the withdrawal; the face was refused, the card opens"


STEPS: tuple[Step, ...] = (
    resident_face_opens_door,
    stranger_is_refused,
    photo_attack_is_refused,
    card_opens_door,
    forced_door_reaches_console,
    forced_door_reaches_centre,
    centre_outage_loses_nothing,
    kill_edge_loses_nothing,
    kill_gateway_loses_nothing,
    kill_broker_loses_nothing,
    kill_vision_recovers,
    own_opening_is_never_forced,
    withdrawn_consent_stops_matching,
)


def forced_at(door_id: str) -> Callable[[dict[str, Any]], bool]:
    """Return what recognises, on the live feed, that a forced door was raised as an alert."""
    return lambda a: a["kind"] == "door_forced" and a["place"]["door_id"] == door_id and a["change"] == "raised"


async def _storm(stage: Stage, *victim: str) -> str:
    """Send exit-button presses, kill a process among them, and compare the door's count with the gateway's facts."""
    before = await stage.facts("side", "exit_requested")
    for index in range(STORM):
        if index == STORM // 3:
            stage.kill(*victim)
        await stage.act("side", "exit")
    wanted = len({fact["id"] for fact in before}) + STORM

    async def arrived() -> list[dict[str, Any]] | None:
        facts = await stage.facts("side", "exit_requested")
        return facts if len(facts) >= wanted else None

    facts = await until(arrived, what=f"{wanted} facts of the storm", within_s=60)
    _require(len(facts) == wanted, f"{len(facts)} facts for {wanted} events: some were doubled")
    gaps = await stage.facts("side", "device_gap")
    _require(not gaps, f"{len(gaps)} gaps in the door's sequence")
    card = await stage.present_card_eventually("gate", stage.card)
    _require(card["outcome"] == "unlocked", f"after the kill a card was answered with {card}")
    return f"{STORM} events around a kill -9 of {' '.join(victim)}: {STORM} facts, none lost, none doubled"


def _check_delivery(received: list[dict[str, Any]], expected: list[str]) -> None:
    """Check that each expected alert came under one id per change and in order: raised before cleared."""
    about_alerts = [r["event"] for r in received if "subject" in r["event"]]
    ids = Counter((event["subject"], event["type"], event["id"]) for event in about_alerts)
    per_change = Counter((subject, kind) for subject, kind, _ in ids if subject in expected and "updated" not in kind)
    doubled = {key: count for key, count in per_change.items() if count > 1}
    _require(not doubled, f"changes that reached the centre under two ids: {doubled}")
    for alert_id in expected:
        order = [r["event"]["type"].split(".")[-2] for r in received if r["event"].get("subject") == alert_id]
        _require("raised" in order, f"alert {alert_id} never reached the centre")
        _require(order.index("raised") < order.index("cleared"), f"alert {alert_id} arrived as {order}")
