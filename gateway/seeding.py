"""Write a site file into the database: applying it again changes nothing, what it does not name stays."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

from config.site import Seed
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.consents import seed_consent
from gateway.store.devices import check_edge, check_sluice
from gateway.store.dialect import hold_feed
from gateway.store.people import put_occupancy, put_person
from gateway.store.places import (
    check_keypads,
    credential_key,
    put_area,
    put_camera,
    put_card_format,
    put_company,
    put_controller,
    put_door,
    put_flat,
    put_site,
)
from gateway.store.registers import SEEDED, release, seed_assessment, seed_notice
from gateway.store.rights import credentials_of, put_credential, remove_credential, seed_permit
from gateway.store.schedules import put_calendar, put_group, put_schedule
from models.events import NAMESPACE
from models.people import Credential, credential_digest

COUNTED = (
    "areas", "companies", "flats", "controllers", "card_formats", "doors", "cameras", "calendars", "schedules", "groups",
    "notices", "assessments", "people", "permits",
)  # fmt: skip


def plant(connection: Connection, seed: Seed, *, at: datetime) -> dict[str, int]:
    """Write the records of a site file, marked as seeded; return how many of each it holds.

    What an earlier file described and this one does not name stays, and can be changed through the API from then on.

    Raises:
        Conflict: an id belongs to another site, a card to somebody else, or a notice or an assessment to other words.
        InvalidInput: an edge is another site's, or a sluice would have doors on two edges.
    """
    hold_feed(connection)
    _plant_places(connection, seed)
    _plant_rules(connection, seed, at=at)
    for person in seed.people:
        put_person(connection, person, at=at, seeded=True)
    for consent in seed.consents:
        seed_consent(connection, consent)
    for occupancy in seed.occupancies:
        put_occupancy(connection, occupancy, at=at, seeded=True)
    for permit in seed.permits:
        seed_permit(connection, permit, at=at)
    _plant_credentials(connection, seed, at=at)
    for kind in SEEDED:
        release(connection, kind, site_id=seed.site.id, named=(one.id for one in getattr(seed, kind)))
    detail = {"site": seed.site.id, "doors": str(len(seed.doors)), "cameras": str(len(seed.cameras))}
    append_audit(
        connection, AuditEntry(actor="system", action="site.apply", subject=seed.site.id, detail=detail), at=at
    )
    return {name: len(getattr(seed, name)) for name in COUNTED}


def _plant_places(connection: Connection, seed: Seed) -> None:
    for area in seed.areas:
        put_area(connection, area, seeded=True)
    for company in seed.companies:
        put_company(connection, company, seeded=True)
    put_site(connection, seed.site, seeded=True)
    for flat in seed.flats:
        put_flat(connection, flat, seeded=True)
    check_keypads(connection, seed.site.id)
    for controller in seed.controllers:
        put_controller(connection, controller, seeded=True)
    for card_format in seed.card_formats:
        put_card_format(connection, card_format, seeded=True)
    for door in seed.doors:
        check_edge(connection, door.edge_id, site_id=door.site_id)
        put_door(connection, door, seeded=True)
    for door in seed.doors:
        if door.interlock:
            check_sluice(connection, door)
    for camera in seed.cameras:
        check_edge(connection, camera.edge_id, site_id=camera.site_id)
        put_camera(connection, camera, seeded=True)


def _plant_rules(connection: Connection, seed: Seed, *, at: datetime) -> None:
    for calendar in seed.calendars:
        put_calendar(connection, calendar, seeded=True)
    for schedule in seed.schedules:
        put_schedule(connection, schedule, seeded=True)
    for group in seed.groups:
        put_group(connection, group, seeded=True)
    for notice in seed.notices:
        seed_notice(connection, notice, at=at)
    for assessment in seed.assessments:
        seed_assessment(connection, assessment)


def _plant_credentials(connection: Connection, seed: Seed, *, at: datetime) -> None:
    key = bytes.fromhex(credential_key(connection, seed.site.id))
    wanted: dict[str, Credential] = {}
    for kind, pairs in (("card", seed.cards), ("pin", seed.pins), ("duress", seed.duress_pins)):
        for person_id, value in pairs:
            made: Literal["card", "pin"] = "card" if kind == "card" else "pin"
            digest = credential_digest(made, value, key)
            credential_id = f"seed-{uuid.uuid5(NAMESPACE, f'{person_id}{kind}{digest}')}"
            wanted[credential_id] = Credential(
                id=credential_id, person_id=person_id, kind=made, digest=digest, duress=kind == "duress"
            )
    for person in seed.people:
        for held in credentials_of(connection, person.id):
            if held.startswith("seed-") and held not in wanted:
                remove_credential(connection, held, person_id=person.id)
    for credential in wanted.values():
        put_credential(connection, credential, site_id=seed.site.id, at=at)
