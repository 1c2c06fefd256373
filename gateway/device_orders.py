"""Orders about devices that are not adopted: search, ask one, try a part; and what follows from how they end.

An order about a device that is known has the device's id before the dot of its own. Nothing that a device says of itself
is believed to be short, or to be text.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.auth.roles import Caller
from gateway.device_credentials import keep_credentials
from gateway.device_views import DeviceOrderView, OrderKind
from gateway.media import file_of, folder_of
from gateway.on_record import note
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.device_orders import device_order
from gateway.store.devices_found import (
    Asked,
    Credentials,
    KeptDevice,
    credentials_of,
    device_by_id,
    in_use,
    keep_candidate,
    known_as,
    mark_reached,
)
from gateway.store.edges import EdgeIdentity, add_command, edge_view
from gateway.store.media import Medium
from models.device_orders import Discover, InstallKey, ProbeDevice, TryPart
from models.devices import CANDIDATES_MOST, PARTS_MOST, Candidate, Note, Part, Setting, Wire, lent
from models.errors import Conflict, InvalidInput, NotFound
from models.link import Result

PROBE_TIME: Final = timedelta(seconds=35)
TRY_TIME: Final = timedelta(seconds=30)
TEXT_CHARS: Final = 200
URL_CHARS: Final = 1024
NOTES_MOST: Final = 8
SETTINGS_MOST: Final = 32
"""Settings of one part: more than any wire has."""
DeviceOrder = Discover | ProbeDevice | TryPart | InstallKey
_KINDS: Final[dict[type[DeviceOrder], OrderKind]] = {
    Discover: "discover", ProbeDevice: "probe_device", TryPart: "try_part", InstallKey: "install_key",
}  # fmt: skip


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Say which device to ask, and as whom; of a known one what is empty stays as it is."""

    wire: Wire
    address: str
    credentials: Credentials | None = None
    fingerprint: str = ""
    pause: bool = False


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a known device is asked again: as whom, if not as before; and whether its certificate is trusted from now on.

    `pass_on` has its doors and cameras here take the credentials over, if they open it.
    """

    credentials: Credentials | None = None
    trust: bool = False
    pause: bool = False
    pass_on: bool = False


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Say what is tried: which part, how, and of a reader by which output, if it is not the one that it named."""

    part: str
    act: Literal["still", "unlock", "signal"]
    strike: int | None = None
    pause: bool = False


async def search(
    runtime: Runtime, edge_id: str, *, wires: tuple[Wire, ...], networks: tuple[str, ...], for_s: float, caller: Caller
) -> DeviceOrderView:
    """Have an edge search its wires and return the order.

    Raises:
        NotFound: there is no such edge in the caller's scope.
    """
    order = Discover(
        id=uuid.uuid4().hex, wires=wires, networks=networks, deadline=runtime.clock() + timedelta(seconds=for_s)
    )
    entry = entry_of(
        caller, "device.search", subject=edge_id, wires=",".join(wires) or "all", networks=str(len(networks))
    )
    view = await runtime.store.write(give, order, edge_id=edge_id, caller=caller, runtime=runtime, entry=entry)
    runtime.bells.edge(edge_id).ring()
    return view


async def ask(runtime: Runtime, edge_id: str, *, question: Question, caller: Caller) -> DeviceOrderView:
    """Have an edge ask a device at an address what it is, and return the order.

    Raises:
        NotFound: there is no such edge in the caller's scope.
    """
    told = question.credentials or Credentials()
    order = ProbeDevice(
        id=uuid.uuid4().hex, wire=question.wire, address=question.address, user=told.user, password=told.password,
        fingerprint=question.fingerprint, pause=question.pause, deadline=runtime.clock() + PROBE_TIME,
    )  # fmt: skip
    where = {"wire": question.wire, "address": _bare(question.address)}
    entry = entry_of(caller, "device.probe", subject=edge_id, **where, pause=_yes(question.pause))
    view = await runtime.store.write(give, order, edge_id=edge_id, caller=caller, runtime=runtime, entry=entry)
    runtime.bells.edge(edge_id).ring()
    return view


async def ask_again(runtime: Runtime, key: str, *, again: Again, caller: Caller) -> DeviceOrderView:
    """Have a device that is known asked again, with other credentials or with its certificate trusted from now on.

    Raises:
        NotFound: there is no such device in the caller's scope.
    """
    view = await runtime.store.write(_ask_again, key, again=again, caller=caller, runtime=runtime)
    runtime.bells.edge(view.edge_id).ring()
    return view


def _ask_again(connection: Connection, key: str, *, again: Again, caller: Caller, runtime: Runtime) -> DeviceOrderView:
    device = device_by_id(connection, key, site_ids=caller.sites)
    told, trust = device.candidate, again.trust
    if trust and not told.fingerprint:
        what = "it has shown no certificate yet: ask it what it is, compare the fingerprint, then trust it"
        raise Conflict(what).because("no_certificate")
    held = again.credentials or credentials_of(connection, key, site_id=device.site_id)
    order = ProbeDevice(
        id=f"{key}.{uuid.uuid4().hex}", wire=told.wire, address=told.address, user=held.user,
        password=held.password or held.pending, fingerprint=told.fingerprint if trust else device.trusted,
        pause=again.pause, passed_on_by=caller.id if again.pass_on else "", deadline=runtime.clock() + PROBE_TIME,
    )  # fmt: skip
    asked = {"trust": _yes(trust), "address": _bare(told.address), "pause": _yes(again.pause)}
    asked |= {"pass_on": _yes(again.pass_on)}
    entry = entry_of(caller, "device.probe", subject=key, **asked)
    return give(connection, order, edge_id=device.edge_id, caller=caller, runtime=runtime, entry=entry)


def _bare(address: str) -> str:
    """Return an address as it is put on record: what stands behind a `?` may be a password."""
    return address.partition("?")[0][:TEXT_CHARS]


def _yes(said: bool) -> Literal["yes", "no"]:
    return "yes" if said else "no"


async def attempt(runtime: Runtime, key: str, *, trial: Trial, caller: Caller) -> DeviceOrderView:
    """Have a part of a device tried once, for the caller's reason, and return the order.

    Raises:
        NotFound: there is no such device in the caller's scope, or it has no such part.
        Conflict: it was removed, or the part is a door here: that is unlocked as every door, by its rules.
        Forbidden: the caller may not unlock doors.
        InvalidInput: a camera does not unlock, and a door gives no still; or the part is at another host than its device.
    """
    view = await runtime.store.write(_attempt, key, trial=trial, caller=caller, runtime=runtime)
    runtime.bells.edge(view.edge_id).ring()
    return view


def _attempt(connection: Connection, key: str, *, trial: Trial, caller: Caller, runtime: Runtime) -> DeviceOrderView:
    device = device_by_id(connection, key, site_ids=caller.sites)
    if device.state == "removed":
        raise Conflict("this device was removed: offer it again first").because("device_removed")
    part = next((one for one in device.candidate.parts if one.id == trial.part), None)
    if part is None:
        raise NotFound("part", trial.part)
    _check_act(part, trial.act)
    if trial.act != "still":
        caller.require("doors:unlock")
        if (ours := _door_here(connection, device, part)) is not None:
            raise Conflict(f"it is door {ours!r} here: unlock that").because("is_door")
    order = TryPart(
        id=f"{key}.{uuid.uuid4().hex}", wire=device.candidate.wire, part=part.id, act=trial.act, reason=caller.reason,
        settings=_tried_with(connection, device, part, trial=trial), requested_by=caller.id, pause=trial.pause,
        deadline=runtime.clock() + TRY_TIME,
    )  # fmt: skip
    entry = entry_of(caller, "device.try", subject=key, part=part.id, act=trial.act)
    return give(connection, order, edge_id=device.edge_id, caller=caller, runtime=runtime, entry=entry)


def _check_act(part: Part, act: str) -> None:
    """Pass if a part can be tried so. Raises `InvalidInput` if it cannot."""
    if (part.kind == "camera") != (act == "still"):
        raise InvalidInput("act", "a camera gives a still, a door or a relay unlocks")
    if act == "signal" and "feedback" not in part.capabilities:
        raise InvalidInput("act", "it has no light, sound or text of its own")


def _tried_with(connection: Connection, device: KeptDevice, part: Part, *, trial: Trial) -> dict[str, Setting]:
    """Return the settings that a part is tried with, its device's credentials among them."""
    held = credentials_of(connection, device.id, site_id=device.site_id)
    own: dict[str, Setting] = {"url": part.url} if trial.act == "still" else {**part.settings}
    if trial.strike is not None and device.candidate.wire == "osdp":
        own["strike"] = trial.strike
    if held != Credentials():
        _check_own_host(device.candidate, own.get("url"))
    return own | lent(device.candidate.wire, user=held.user, password=held.password)


def _door_here(connection: Connection, device: KeptDevice, part: Part) -> str | None:
    """Return the door that a part is here: adopted, or described by hand since it was found."""
    adopted = device.adopted.get(part.id)
    return adopted if adopted is not None else in_use(connection, device.site_id).of(device.candidate).get(part.id)


def _check_own_host(candidate: Candidate, url: Setting) -> None:
    """Pass unless the credentials of a device would be sent to another host.

    Raises:
        InvalidInput: they would.
    """
    if not isinstance(url, str):
        return
    try:
        same = urlsplit(url).hostname == urlsplit(candidate.address).hostname
    except ValueError:
        same = False
    if not same:
        what = "it is at another host than its device, and gets no password: ask the device again"
        raise InvalidInput("part", what).because("other_host")


def entry_of(caller: Caller, action: str, *, subject: str, **detail: str) -> AuditEntry:
    """Return what is put on record of an order that was sent."""
    return AuditEntry(
        actor=caller.id, reason=caller.reason, action=action, subject=subject, result="sent", detail=detail
    )


def give(
    connection: Connection, order: DeviceOrder, *, edge_id: str, caller: Caller, runtime: Runtime, entry: AuditEntry
) -> DeviceOrderView:
    """Keep an order for an edge and put it on record."""
    at = runtime.clock()
    edge = edge_view(connection, edge_id, site_ids=caller.sites, at=at)
    if edge.revoked_at is not None:
        raise NotFound("edge", edge_id)
    add_command(connection, order, edge_id=edge_id, at=at)
    detail = {**entry.detail, "site": edge.site_id, "edge": edge_id, "command": order.id}
    append_audit(connection, msgspec.structs.replace(entry, detail=detail), at=at)
    kind: OrderKind = _KINDS[type(order)]
    return DeviceOrderView(id=order.id, kind=kind, edge_id=edge_id, state="waiting", asked_at=at)


# ---- how an order ends ------------------------------------------------------------------------------------------------


def take_devices(
    connection: Connection, order: Discover | ProbeDevice | TryPart, *, result: Result, edge: EdgeIdentity, at: datetime
) -> None:
    """Keep what a search or a question told; note how a trial ended, on record as its order is."""
    key = _about(order)
    ended = "ok" if result.state == "confirmed" else (result.reason or result.state)[:64]
    detail = {"command": order.id, "site": edge.site_id}
    if isinstance(order, TryPart):
        if result.state == "confirmed" and key is not None:
            mark_reached(connection, key, reach="ready")
        entry = AuditEntry(
            actor=edge.id, action="device.try", subject=key or "", result=ended,
            detail=detail | {"part": order.part, "act": order.act},
        )  # fmt: skip
        append_audit(connection, entry, at=at)
        return
    here = in_use(connection, edge.site_id)
    asked = _asked(connection, order, key=key, site_id=edge.site_id)
    for told in sound(result.candidates):
        kept, candidate = keep_candidate(
            connection, told, here=here, site_id=edge.site_id, edge_id=edge.id, at=at, asked=asked
        )
        if isinstance(order, ProbeDevice):
            keep_credentials(connection, kept, order=order, told=candidate, site_id=edge.site_id, at=at)
            entry = AuditEntry(
                actor=edge.id, action="device.probe", subject=kept, result=candidate.trouble[:64] or "ok", detail=detail
            )
            append_audit(connection, entry, at=at)


def _asked(connection: Connection, order: Discover | ProbeDevice, *, key: str | None, site_id: str) -> Asked:
    """Return how an order asked; credentials that are kept for the device that it names are not fresh."""
    if not isinstance(order, ProbeDevice):
        return Asked(key=key)
    given = Credentials(user=order.user, password=order.password)
    kept = Credentials() if key is None else credentials_of(connection, key, site_id=site_id)
    return Asked(key=key, fresh=given not in (Credentials(), kept), fingerprint=order.fingerprint)


def _about(order: DeviceOrder) -> str | None:
    key, dot, _ = order.id.partition(".")
    return key if dot else None


def sound(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Yield candidates with every text cut and cleaned, as many as a search may tell of; one without an id is none."""
    for count, told in enumerate(candidates):
        if count >= CANDIDATES_MOST:
            return
        words = {
            name: _clean(getattr(told, name))
            for name in ("id", "trouble", "detail", "code", "maker", "model", "serial", "firmware", "fingerprint")
        }
        off_s = told.clock_off_s if told.clock_off_s is not None and math.isfinite(told.clock_off_s) else None
        parts = tuple(_part(part) for part in told.parts[:PARTS_MOST] if _clean(part.id) == part.id != "")
        if words["id"]:
            yield msgspec.structs.replace(
                told, **words, address=_clean(told.address, URL_CHARS), parts=parts, clock_off_s=off_s
            )


def _part(part: Part) -> Part:
    settings = {
        name: _clean(value, URL_CHARS) if isinstance(value, str) else value
        for name, value in list(part.settings.items())[:SETTINGS_MOST]
        if _clean(name, 64) == name and name not in {"user", "password"}
    }
    return msgspec.structs.replace(
        part, name=_clean(part.name, 128), codec=_clean(part.codec, 32), url=_clean(part.url, URL_CHARS),
        main_url=_clean(part.main_url, URL_CHARS), settings=settings,
        capabilities=tuple(_clean(one, 32) for one in part.capabilities[:SETTINGS_MOST]),
    )  # fmt: skip


def _note(note: Note) -> Note:
    return msgspec.structs.replace(note, detail=_clean(note.detail), code=_clean(note.code, 64))


def _clean(text: str, limit: int = TEXT_CHARS) -> str:
    return "".join(char for char in text if char.isprintable())[:limit]


# ---- how an order stands ----------------------------------------------------------------------------------------------


def order_view(connection: Connection, order_id: str, *, caller: Caller, runtime: Runtime) -> DeviceOrderView:
    """Return how an order about devices stands.

    Raises:
        NotFound: there was none, or none that the caller may see.
    """
    kept = device_order(connection, order_id, site_ids=caller.sites)
    view = DeviceOrderView(id=order_id, kind=kept.kind, edge_id=kept.edge_id, state="waiting", asked_at=kept.asked_at)
    result = kept.result
    if result is None:
        over = runtime.clock() > kept.deadline + timedelta(seconds=2)
        return msgspec.structs.replace(view, state="expired", reason="no_answer") if over else view
    key, dot, _ = order_id.partition(".")
    told = (
        [key]
        if dot
        else [known_as(connection, one, site_id=kept.site_id, edge_id=kept.edge_id) for one in sound(result.candidates)]
    )
    return msgspec.structs.replace(
        view, state=result.state, reason=result.reason or "", detail=_clean(result.detail, 500),
        devices=tuple(dict.fromkeys(told)), notes=tuple(map(_note, result.notes[:NOTES_MOST])),
    )  # fmt: skip


async def picture_file(runtime: Runtime, order_id: str, *, caller: Caller) -> Path:
    """Return the file of a still that a trial took; the look is on record.

    Raises:
        NotFound: there is none (any more), or none that the caller may see.
    """
    medium = await runtime.store.write(_look, order_id, caller=caller, runtime=runtime)
    file = file_of(folder_of(runtime), medium)
    if not file.is_file():
        raise NotFound("still", order_id)
    return file


def _look(connection: Connection, order_id: str, *, caller: Caller, runtime: Runtime) -> Medium:
    medium = device_order(connection, order_id, site_ids=caller.sites).medium
    if medium is None or not medium.blurred:
        raise NotFound("still", order_id)
    note(connection, caller, action="media.look", subject=order_id, at=runtime.clock(), site=medium.site_id)
    return medium
