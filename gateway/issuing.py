"""Give persons what opens doors: cards, PINs long enough for who shares the keypads, QR tickets, visitor passes.

Values are digested at once. A PIN that Gatehouse makes up is returned once and kept nowhere.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from gateway.auth.roles import Caller
from gateway.on_record import note
from gateway.person_views import CredentialView, TicketView, VisitorView
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.card_formats import format_named
from gateway.store.dialect import hold_feed
from gateway.store.people import occupancies_of
from gateway.store.places import credential_key, doors_named, doors_of_site
from gateway.store.rights import (
    add_credential,
    credential_of,
    credential_views,
    permits_held,
    pin_holders,
    pin_is_taken,
    set_credential_state,
)
from gateway.store.schedules import groups_of
from gateway.store.ticket_keys import signing_key
from gateway.store.visitors import add_pass, forget_passes, pass_by_id, passes_of
from models.cards import AS_IT_COMES, canonical_reading
from models.errors import Conflict, InvalidInput
from models.people import (
    Credential,
    Person,
    VisitorPass,
    credential_digest,
)
from models.pins import ROOM, check_pin, pin_digits
from models.tickets import MAX_VALIDITY, new_ticket, ticket_text

CLOCKS_APART = timedelta(minutes=1)
"""How much earlier than now a ticket begins, for readers whose clock is behind."""
TICKET_LONGEST = MAX_VALIDITY - CLOCKS_APART
PASS_LONGEST = timedelta(days=31)
PASSES_PER_HOST = 50
PASSES_KEPT = timedelta(days=30)
"""How long a pass that is over can still be looked at."""
TRIES = 50


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for a card or a PIN: its value (None: make up a PIN), a label, a validity, and what it stands in for."""

    kind: str
    value: str | None = None
    label: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    replaces: str | None = None
    format: str | None = None
    """Id of the card format in which the number was read, at a desk; None for the canonical form."""
    duress: bool = False
    """Whether this PIN raises a silent alarm wherever it is used."""


def holders_with(connection: Connection, *, site_id: str, flat_ids: list[str]) -> int:
    """Return how many PINs open the keypads of a new one, with it: of the site where a door takes the PIN alone, else the flat.

    Where no door asks for a PIN by itself, 0.

    Args:
        connection: a transaction.
        site_id: the site whose keypads the PIN opens.
        flat_ids: the flats of its holder; empty for a visitor.
    """
    factors = {
        factor for door in doors_named(connection, doors_of_site(connection, site_id)) for factor in door.factors
    }
    if "pin" in factors:
        return pin_holders(connection, site_id=site_id) + 1
    if "flat_pin" in factors and flat_ids:
        return pin_holders(connection, site_id=site_id, flat_ids=flat_ids) + 1
    return 0


def make_up_pin(*, holders: int, taken: Callable[[str], bool]) -> str:
    """Return a random PIN that nobody has.

    Raises:
        Conflict: chance gave taken ones only.
    """
    for _ in range(TRIES):
        pin = "".join(secrets.choice("0123456789") for _ in range(pin_digits(ROOM * holders)))
        try:
            check_pin(pin, holders=holders)
        except InvalidInput:
            continue
        if not taken(pin):
            return pin
    raise Conflict("no free PIN was found: try again")


def issue_credential(
    connection: Connection, person: Person, *, wanted: Issue, caller: Caller, at: datetime
) -> CredentialView:
    """Give a person a card or a PIN and put it on record; a made-up PIN is in the view, this once.

    Raises:
        InvalidInput: the value is no card number or PIN, the PIN is too short or too easy, or a card is for duress.
        Conflict: somebody has it.
    """
    if wanted.duress and wanted.kind != "pin":
        raise InvalidInput("duress", "only a PIN can raise a silent alarm: a card shows nobody under threat")
    if wanted.valid_from and wanted.valid_until and wanted.valid_from >= wanted.valid_until:
        raise InvalidInput("valid_until", "it must be after valid_from")
    key = bytes.fromhex(credential_key(connection, person.site_id))
    made_up, digits = None, None
    if wanted.kind == "card":
        by = AS_IT_COMES
        if wanted.format is not None:
            by = format_named(connection, wanted.format, site_id=person.site_id, where="format")
        canonical = canonical_reading(wanted.value or "", by)
    else:
        flats = [held.flat_id for held in occupancies_of(connection, person.id) if held.holds(at)]
        holders = holders_with(connection, site_id=person.site_id, flat_ids=flats)
        if wanted.value is None:
            canonical = made_up = make_up_pin(
                holders=holders, taken=_taken(connection, key, site_id=person.site_id, at=at)
            )
        else:
            canonical = check_pin(wanted.value, holders=holders)
        digits = len(canonical)
    credential = Credential(
        id=f"cr-{uuid.uuid4().hex}", person_id=person.id, kind="card" if wanted.kind == "card" else "pin",
        digest=credential_digest(wanted.kind, canonical, key), valid_from=wanted.valid_from,
        valid_until=wanted.valid_until, duress=wanted.duress,
    )  # fmt: skip
    add_credential(
        connection, credential, site_id=person.site_id, at=at, label=wanted.label, digits=digits,
        replaces=wanted.replaces,
    )  # fmt: skip
    note(connection, caller, action="credential.give", subject=person.id, at=at, credential=credential.id,
         kind=wanted.kind)  # fmt: skip
    made = credential_of(connection, credential.id, person_id=person.id)
    return msgspec.structs.replace(made, pin=made_up)


def _taken(connection: Connection, key: bytes, *, site_id: str, at: datetime) -> Callable[[str], bool]:
    return lambda pin: pin_is_taken(connection, credential_digest("pin", pin, key), site_id=site_id, at=at)


def mint_for_person(
    connection: Connection, person: Person, *, valid_for: timedelta, renew: bool, caller: Caller, at: datetime
) -> TicketView:
    """Return a ticket that opens what the person may, for at most a day; their QR credential is made with the first.

    Args:
        connection: a writing transaction.
        person: who will show it.
        valid_for: how long it may be shown.
        renew: give the person another QR credential, so that all earlier tickets are worth nothing.
        caller: who asks.
        at: aware time of the minting.

    Raises:
        Conflict: the person's QR was reported lost or blocked.
    """
    hold_feed(connection)  # two at once: one credential, one key
    held = [view for view in credential_views(connection, person.id) if view.kind == "qr" and view.state != "replaced"]
    if renew and held:
        set_credential_state(connection, held[0], state="replaced", at=at)
    elif held and held[0].state != "active":
        raise Conflict(f"the person's QR is {held[0].state}: set it active again, or renew it")
    old = held[0].id if held else None
    if old is not None and not renew:
        credential_id = old
    else:
        credential_id = f"cr-{uuid.uuid4().hex}"
        made = Credential(id=credential_id, person_id=person.id, kind="qr")
        add_credential(connection, made, site_id=person.site_id, at=at, replaces=old)
    until = at + min(valid_for, TICKET_LONGEST)
    text = _signed(connection, person.site_id, about="credential", record_id=credential_id, span=(at, until), at=at)
    note(connection, caller, action="qr.mint", subject=person.id, at=at, credential=credential_id)
    return TicketView(ticket=text, credential_id=credential_id, valid_from=at, valid_until=until)


def mint_for_pass(connection: Connection, held: VisitorView, *, caller: Caller, at: datetime) -> TicketView:
    """Return a ticket for a visitor's pass: for its validity, or for a day of it where that is longer.

    Raises:
        Conflict: the pass was revoked, used up or is over.
    """
    hold_feed(connection)
    if held.revoked_at is not None or held.valid_until <= at or (held.uses and held.used >= held.uses):
        raise Conflict("this pass is over: make another")
    since = max(at, held.valid_from)
    until = min(held.valid_until, since + TICKET_LONGEST)
    text = _signed(connection, held.site_id, about="pass", record_id=held.id, span=(since, until), at=at)
    note(connection, caller, action="qr.mint", subject=held.id, at=at)
    return TicketView(ticket=text, pass_id=held.id, valid_from=since, valid_until=until)


def _signed(
    connection: Connection, site_id: str, *, about: str, record_id: str, span: tuple[datetime, datetime], at: datetime
) -> str:
    key_id, key = signing_key(connection, site_id, fresh_id=f"tk-{uuid.uuid4().hex}", at=at)
    ticket = new_ticket(
        "pass" if about == "pass" else "credential", record_id, key_id=key_id, since=span[0] - CLOCKS_APART,
        until=span[1],
    )  # fmt: skip
    return ticket_text(ticket, sign=key.sign)


def doors_open_to(connection: Connection, person: Person, *, at: datetime) -> frozenset[str]:
    """Return every door that a person has a permit for that is not over, whatever its schedule."""
    groups = {
        group.id: group.doors for group in groups_of(connection, site_ids=frozenset({person.site_id}), limit=10_000)
    }
    held = [permit for permit in permits_held(connection, person.id) if not permit.expired(at)]
    return frozenset(door for permit in held for door in (*permit.doors, *groups.get(permit.group_id or "", ())))


def check_pass(connection: Connection, wanted: VisitorPass, *, site_id: str, at: datetime) -> None:
    """Pass if a visitor's pass may be made: in time and number, and its uses are counted at one edge.

    Raises:
        InvalidInput: what is wrong and what to do about it.
    """
    if not wanted.valid_from < wanted.valid_until or wanted.valid_until <= at:
        raise InvalidInput("valid_until", "a pass ends after it begins, and later than now")
    if wanted.valid_until - wanted.valid_from > PASS_LONGEST:
        raise InvalidInput("valid_until", f"a pass is for at most {PASS_LONGEST.days} days: enrol who comes for longer")
    doors = doors_named(connection, wanted.doors)
    unknown = set(wanted.doors) - {door.id for door in doors if door.site_id == site_id}
    if unknown or not doors:
        raise InvalidInput("doors", f"there is no door {min(unknown, default='')[:64]!r} at this site")
    if wanted.uses and len({door.edge_id for door in doors}) > 1:
        raise InvalidInput("doors", "counted uses need doors of one edge: name fewer doors, or set uses to 0")


def issue_pass(
    connection: Connection, wanted: VisitorPass, *, host: Person | None, site_id: str, visitor: str, with_pin: bool,
    caller: Caller, at: datetime,
) -> VisitorView:  # fmt: skip
    """Make a visitor's pass and put it on record; a made-up PIN is in the view, this once.

    Raises:
        InvalidInput: the pass is not possible, the host may not pass its doors, or a door takes no PIN.
        Conflict: the host has many live passes already.
    """
    check_pass(connection, wanted, site_id=site_id, at=at)
    if host is not None:
        foreign = set(wanted.doors) - doors_open_to(connection, host, at=at)
        if foreign:
            raise InvalidInput("doors", f"the host may not pass {min(foreign)!r}: only their own doors")
        live = [
            one
            for one in passes_of(connection, site_ids=frozenset({site_id}), host_id=host.id, limit=1000)
            if one.revoked_at is None and one.valid_until > at
        ]
        if len(live) >= PASSES_PER_HOST:
            raise Conflict(f"this host has {len(live)} live passes: revoke some first")
    pin = _pin_for_pass(connection, wanted, site_id=site_id, at=at) if with_pin else None
    if pin is not None:
        key = bytes.fromhex(credential_key(connection, site_id))
        wanted = msgspec.structs.replace(wanted, pin_digest=credential_digest("pin", pin, key))
    add_pass(connection, wanted, site_id=site_id, at=at, visitor=visitor)
    detail = {"uses": str(wanted.uses), "doors": str(len(wanted.doors))} | ({"host": host.id} if host else {})
    note(connection, caller, action="pass.make", subject=wanted.id, at=at, **detail)
    return msgspec.structs.replace(pass_by_id(connection, wanted.id, site_ids=frozenset({site_id})), pin=pin)


def forget_visitors(connection: Connection, *, at: datetime) -> int:
    """Delete the passes, with the names on them, that were over a month ago; return how many."""
    gone = forget_passes(connection, before=at - PASSES_KEPT)
    if gone:
        entry = AuditEntry(actor="system", action="pass.forget", detail={"count": str(gone)})
        append_audit(connection, entry, at=at)
    return gone


def _pin_for_pass(connection: Connection, wanted: VisitorPass, *, site_id: str, at: datetime) -> str:
    without = [door.id for door in doors_named(connection, wanted.doors) if "pin" not in door.factors]
    if without:
        raise InvalidInput("with_pin", f"door {min(without)!r} takes no PIN by itself: use a QR, or leave the door out")
    key = bytes.fromhex(credential_key(connection, site_id))
    holders = holders_with(connection, site_id=site_id, flat_ids=[])
    return make_up_pin(holders=holders, taken=_taken(connection, key, site_id=site_id, at=at))
