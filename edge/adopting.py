"""Devices that are not adopted yet: searched for, asked what they are, and tried once, as the gateway orders and never else.

Nothing found here is used or kept: the gateway holds what a search told, and a policy brings what was adopted. A picture
of such a camera leaves this edge only with the faces in it made unrecognisable, as a still for a near zone does (R12).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec

from drivers.camera import CameraSettings, check_settings
from drivers.catalog import DISCOVERERS, PROBERS, SURVEYS
from drivers.discovery import Discover, Probe
from drivers.door import DoorDriver, GiveFeedback, Order, UnlockDoor
from edge.channel import Channel, Upload
from edge.clock import SteadyClock
from edge.facelink import FaceLink
from edge.lines import Lines
from edge.stills import MOST_BYTES, send_still
from edge.trial_eyes import TrialEyes
from models.device_orders import Discover as Search
from models.device_orders import ProbeDevice, TryPart
from models.devices import CANDIDATES_MOST, LADDER, Candidate, Note, Part, Setting, Wire, drives
from models.errors import Conflict, DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput
from models.link import MAX_BODY_BYTES, Result
from models.places import Door

log = logging.getLogger("gatehouse.edge.adopting")

MARGIN_S: Final = 1.5
"""What is kept of an order's time for its answer to arrive."""
NOTE_CHARS: Final = 200
TRIALS_AT_ONCE: Final = 2
HOLD_S: Final = 3.0
DEED_MS: Final = 3000
State = Literal["confirmed", "failed", "refused"]


class OpenTrial(Protocol):
    """Make the driver that tries one part of a device."""

    def __call__(self, wire: Wire, settings: Mapping[str, Setting], /, *, part: str) -> DoorDriver:
        """Return a driver that is not yet entered; raises `InvalidInput` for settings that cannot be used."""


class Adopting:
    """Obey the orders about devices that are not adopted.

    Args:
        clock: the edge's.
        channel: takes pictures to the gateway.
        link: the face process, which hides faces.
        eyes: opens a camera for one look.
        open_trial: makes the driver that tries a door.
        reached: how a wire is reached, by its name: the broker, for one.
        doors: the doors that this edge serves, which are never tried: they open by their rules.
        discoverers: the wires that can be searched.
        probers: the wires of which one device can be asked what it is; cameras by RTSP are looked at with an eye.
        lines: the lines of readers, which only one may use at a time; None where there are none.
    """

    def __init__(
        self,
        *,
        clock: SteadyClock,
        channel: Channel,
        link: FaceLink,
        eyes: TrialEyes,
        open_trial: OpenTrial,
        reached: Callable[[Wire], Mapping[str, object]],
        doors: Callable[[], Iterable[Door]],
        discoverers: Mapping[Wire, Callable[[], Discover]] = DISCOVERERS,
        probers: Mapping[Wire, Callable[[], Probe]] = PROBERS,
        lines: Lines | None = None,
    ) -> None:
        self._clock = clock
        self._channel = channel
        self._link = link
        self._eyes = eyes
        self._open_trial = open_trial
        self._reached = reached
        self._doors = doors
        self._discoverers = discoverers
        self._probers = probers
        self._lines = lines
        self._trials = asyncio.Semaphore(TRIALS_AT_ONCE)

    # ---- search -----------------------------------------------------------------------------------------------------

    async def discover(self, order: Search) -> Result:
        """Search wires at the same time; one that is away takes nothing from the others and is named in the result."""
        wires = order.wires or tuple(self._discoverers)
        found: dict[str, Candidate] = {}
        told = await asyncio.gather(*(self._search(wire, order, found=found) for wire in wires))
        notes = tuple(note for note in told if note is not None)
        said = "; ".join(f"{note.wire}: {note.detail}" for note in notes)
        if not found and said:
            ended = self._ended(order.id, "failed", reason="unsearchable", detail=said)
            return msgspec.structs.replace(ended, notes=notes)
        candidates = fitting(found.values())
        if len(candidates) < len(found):
            said = f"{len(found) - len(candidates)} more were found: search fewer addresses at once. {said}"
        log.info("a search of %s found %d devices", ", ".join(wires) or "no wire", len(found))
        ended = self._ended(order.id, "confirmed", detail=said, candidates=candidates)
        return msgspec.structs.replace(ended, notes=notes)

    async def _search(self, wire: Wire, order: Search, *, found: dict[str, Candidate]) -> Note | None:
        """Add what a wire finds; return why it found no more, if it did not search to its end."""
        load = self._discoverers.get(wire)
        if load is None:
            return Note(wire=wire, detail="cannot be searched, ask a device by its address", code="unsearchable")
        limit_s = self._left_s(order.deadline)
        try:
            async with asyncio.timeout(limit_s + MARGIN_S / 2):
                searching = load()(
                    self._reached(wire), networks=order.networks, now=self._clock.now, limit_s=max(0.1, limit_s)
                )
                async for candidate in searching:
                    known = found.get(candidate.id)
                    if known is not None or len(found) < CANDIDATES_MOST:
                        found[candidate.id] = candidate if known is None else better(known, candidate)
        except TimeoutError:
            return Note(wire=wire, detail="not searched to its end", code="not_to_end")
        except GatehouseError as error:
            return Note(wire=wire, detail=str(error)[:NOTE_CHARS], code=error.reason)
        return None

    # ---- one device -------------------------------------------------------------------------------------------------

    async def probe(self, order: ProbeDevice) -> Result:
        """Ask one device what it is; one that cannot be reached is told with its trouble."""
        if order.wire == "rtsp":
            return self._ended(order.id, "confirmed", candidates=(await self._look(order),))
        if order.wire in SURVEYS and self._lines is not None:
            return await self._lines.survey(order)
        load = self._probers.get(order.wire)
        if load is None:
            detail = f"a device by {order.wire} cannot be asked what it is: search for it"
            return self._ended(order.id, "refused", reason="unsupported", detail=detail)
        given = {"address": order.address, "user": order.user, "password": order.password}
        settings = {**given, "fingerprint": order.fingerprint}
        candidate = await load()({name: value for name, value in settings.items() if value}, now=self._clock.now)
        return self._ended(order.id, "confirmed", candidates=(candidate,))

    async def _look(self, order: ProbeDevice) -> Candidate:
        """Return a camera that is known by the address of its stream only, by its first picture."""
        camera = CameraSettings(camera_id=order.id, url=order.address, user=order.user, password=order.password)
        check_settings(camera, schemes=("rtsp", "rtsps"))
        key = hashlib.sha256(order.address.encode()).hexdigest()[:24]
        stream = Part(id="stream", kind="camera", url=order.address)
        one = Candidate(
            id=f"rtsp-{key}", wire="rtsp", address=order.address, parts=(stream,), seen_at=self._clock.now()
        )
        try:
            async with self._trials, self._eyes.open(camera, limit_s=self._left_s(order.deadline)) as health:
                seen = msgspec.structs.replace(stream, width_px=health.width_px, height_px=health.height_px)
                return msgspec.structs.replace(one, reach="ready", parts=(seen,))
        except DeviceRefused as error:
            trouble = "unsupported" if error.reason == "wrong_path" else "credentials"
            told = {"detail": error.what[:200], "code": error.reason}
            return msgspec.structs.replace(one, reach="answers", trouble=trouble, **told)
        except InvalidInput as error:
            told = {"detail": error.what[:200], "code": error.reason}
            return msgspec.structs.replace(one, reach="answers", trouble="unsupported", **told)
        except DeviceUnreachable as error:
            return msgspec.structs.replace(one, trouble="unreachable", detail=error.what[:200], code=error.reason)

    # ---- one part ---------------------------------------------------------------------------------------------------

    async def attempt(self, order: TryPart) -> Result:
        """Try a part of a device once: unlock a door, or take a still of a camera."""
        log.info("order %s of %s tries part %r: %s", order.id, order.requested_by, order.part, order.act)
        async with self._trials:
            return await (self._still(order) if order.act == "still" else self._at_door(order))

    async def _at_door(self, order: TryPart) -> Result:
        ours = await self._served_as(order)
        if ours is not None:
            return self._ended(order.id, "refused", reason="refused", detail=f"it is door {ours!r} here: unlock that")
        try:
            async with self._line_of(order), self._open_trial(order.wire, order.settings, part=order.part) as driver:
                ended = await driver.execute(self._deed(order))
        except Conflict as error:
            return self._ended(order.id, "refused", reason=error.reason or "in_use", detail=str(error))
        except DeviceRefused as error:
            return self._ended(order.id, "refused", reason="refused", detail=error.what)
        except DeviceUnreachable as error:
            return self._ended(order.id, "failed", reason=error.reason or "unreachable", detail=error.what)
        if ended.ok:
            return self._ended(order.id, "confirmed")
        reason = "refused" if ended.certain else "no_answer"
        return self._ended(order.id, "refused" if ended.certain else "failed", reason=reason, detail=ended.error or "")

    async def _served_as(self, order: TryPart) -> str | None:
        """Return the door here whose part of a device is to be tried, whatever name its line goes by."""
        tried = [order.settings]
        if order.wire in SURVEYS and self._lines is not None:
            names = await self._lines.names(str(order.settings.get("port", "")))
            tried = [{**order.settings, "port": name} for name in sorted(names)]
        return next((door.id for door in self._doors() for one in tried if _is_tried(door, order, settings=one)), None)

    def _line_of(self, order: TryPart) -> contextlib.AbstractAsyncContextManager[None]:
        """Return the block in which a trial has the line of its device to itself, if it needs one."""
        if order.wire not in SURVEYS or self._lines is None:
            return contextlib.nullcontext()
        return self._lines.had(str(order.settings.get("port", "")), pause=order.pause)

    def _deed(self, order: TryPart) -> Order:
        valid_ms = min(DEED_MS, int(self._left_s(order.deadline) * 1000))
        if order.act == "signal":
            return GiveFeedback(
                id=order.id, door_id=order.part, attempt=order.id, ok=True, reason="test", valid_ms=valid_ms
            )
        return UnlockDoor(id=order.id, door_id=order.part, attempt=None, hold_s=HOLD_S, valid_ms=valid_ms)

    async def _still(self, order: TryPart) -> Result:
        known = {name: value for name, value in order.settings.items() if name in CameraSettings.__struct_fields__}
        camera = msgspec.convert({**known, "camera_id": order.id}, CameraSettings)
        check_settings(camera, schemes=("rtsp", "rtsps"))
        try:
            async with self._eyes.open(camera, limit_s=self._left_s(order.deadline)):
                return await self._picture(order)
        except DeviceRefused as error:
            reason = "wrong_path" if error.reason == "wrong_path" else "credentials"
            return self._ended(order.id, "refused", reason=reason, detail=error.what)
        except DeviceUnreachable as error:
            return self._ended(order.id, "failed", reason="unreachable", detail=error.what)
        except InvalidInput as error:
            return self._ended(order.id, "failed", reason="no_video", detail=error.what)

    async def _picture(self, order: TryPart) -> Result:
        """Have a picture of the camera that an eye holds open sent without a recognisable face, or send none."""
        try:
            picture = await self._link.picture(order.id, masks=(), request_id=order.id)
        except DeviceUnreachable as error:
            return self._ended(order.id, "failed", reason=error.reason or "not_ready", detail=error.what)
        if not picture.ok or not 0 < len(picture.jpeg) <= MOST_BYTES:
            return self._ended(order.id, "failed", reason=picture.reason or "unusable", detail="it gave no picture")
        media = Upload(id=order.id, camera_id=order.id, at=self._clock.now(), kind="image/jpeg", blurred=True)
        try:
            await send_still(self._channel, media, jpeg=picture.jpeg)
        except (DeviceRefused, DeviceUnreachable) as error:
            return self._ended(order.id, "failed", reason="not_sent", detail=str(error))
        return self._ended(order.id, "confirmed", media_id=order.id)

    def _left_s(self, deadline: datetime) -> float:
        return (deadline - self._clock.now()).total_seconds() - MARGIN_S

    def _ended(
        self, order_id: str, state: State, *, reason: str | None = None, detail: str = "",
        candidates: tuple[Candidate, ...] = (), media_id: str | None = None,
    ) -> Result:  # fmt: skip
        return Result(
            command_id=order_id, state=state, reason=reason, detail=detail[:500], at=self._clock.now(),
            candidates=candidates, media_id=media_id,
        )  # fmt: skip


def _is_tried(door: Door, order: TryPart, *, settings: Mapping[str, Setting]) -> bool:
    return drives(door.driver, door.id, part=order.part, wire=order.wire, settings=settings)


def better(known: Candidate, other: Candidate) -> Candidate:
    """Return what two searches tell of one device: the one that came further, the later one if both came as far."""
    return known if LADDER.index(known.reach) > LADDER.index(other.reach) else other


def fitting(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return as many candidates, in order, as one result may carry."""
    kept, left_bytes = [], MAX_BODY_BYTES - 8192
    for candidate in candidates:
        left_bytes -= len(msgspec.json.encode(candidate)) + 1
        if left_bytes < 0:
            break
        kept.append(candidate)
    return tuple(kept)
