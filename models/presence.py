"""Whether a door's device is there: its word in, states and facts out. Pure: no clock, no I/O.

The state follows at once. That a device is lost is a fact only once it was away for a hold-off: after a restart a wire
often tells first what it kept from before, and devices come back within seconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from models.events import AnyFact, DeviceBack, DeviceLost, fact_id
from models.openings import SETTLE_S, DoorState
from models.reports import Presence


def follow_presence(state: DoorState, report: Presence) -> tuple[DoorState, tuple[AnyFact, ...]]:
    """Return the state after a word that a device is there or away; the fact is that one is back which was lost."""
    state = msgspec.structs.replace(state, heard=state.heard or report.online)
    if state.online == report.online:
        return state, ()
    if not report.online:
        since = None if state.lost else state.away_since or report.at
        return _away(msgspec.structs.replace(state, away_since=since), at=report.at), ()
    state = msgspec.structs.replace(state, online=True, back_at=report.at, away_since=None)
    if not state.lost:
        return state, ()
    key = fact_id(state.edge_id, state.door_id, f"{state.lost_count}:{report.at.isoformat()}", "device_back")
    back = DeviceBack(id=key, at=report.at, door_id=state.door_id)
    return msgspec.structs.replace(state, lost=False), (back,)


def is_away_for(state: DoorState, hold_off_s: float, *, at: datetime) -> bool:
    """Return whether a device said so long ago that it is away, and nobody was told yet."""
    return state.away_since is not None and (at - state.away_since).total_seconds() >= hold_off_s


def lose(state: DoorState, *, at: datetime) -> tuple[DoorState, tuple[AnyFact, ...]]:
    """Return the state of a device that is given up as lost, and the fact if it was not lost already."""
    if state.online is not False:
        state = _away(state, at=at)
    state = msgspec.structs.replace(state, away_since=None)
    if state.lost:
        return state, ()
    state = msgspec.structs.replace(state, lost=True, lost_count=state.lost_count + 1)
    key = fact_id(state.edge_id, state.door_id, f"{state.lost_count}:{at.isoformat()}", "device_lost")
    return state, (DeviceLost(id=key, at=at, door_id=state.door_id),)


def _away(state: DoorState, *, at: datetime) -> DoorState:
    """Return the state in which pending openings wait longer: an exit request may be stuck at the device."""
    until = at + timedelta(seconds=SETTLE_S)
    pending = tuple(msgspec.structs.replace(p, until=until, doubted=True) for p in state.pending)
    return msgspec.structs.replace(state, online=False, pending=pending, heard=False)
