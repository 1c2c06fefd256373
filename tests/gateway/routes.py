"""The route table as tests see it: every route of the API with the rights that it asks for, a body that it takes, and a site
full of objects for its paths. What others add to the API is in the table by itself; a new body may have to be written here.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from gateway.api.application import PARTS
from gateway.api.deps import any_caller
from gateway.auth.roles import RIGHTS, Right, Role
from gateway.notice_texts import shipped_notice
from models.assessments import TOPICS
from models.calibration import STEPS

OPEN = {
    "POST /api/v1/session": "this is how people log in",
    "POST /api/v1/centre/receipts": "signed by the centre",
    "GET /healthz": "for load balancers", "GET /readyz": "for load balancers", "GET /metrics": "to this machine only",
    "GET /{path:path}": "the console's files",
}  # fmt: skip
WHY = {"Gatehouse-Reason": "authorisation%20matrix"}
_ZH, _EN = (
    msgspec.to_builtins(text) for text in shipped_notice("door_face", handler="绿苑物业", contact="021-55500100")
)
_WORDS = {name: f"Enough is said about {name} here." for name in TOPICS}
_GRANT = {"role": "operator", "sites": ["a"]}
_CARD = {"kind": "card", "value": "0A1B2C3D"}
_WINDOW = {"weekdays": [0, 1], "from_time": "08:00", "until_time": "18:00"}
_EVIDENCE = {
    "id": "cal", "contract": "m", "persons": 3, "pairs": 3, "matched": [0] * STEPS, "upper": [1.0] * STEPS,
    "at": "2026-03-01T08:00:00+00:00",
}  # fmt: skip
_UNTIL = "2026-03-01T20:00:00+00:00"
BODIES: dict[str, Any] = {
    "PUT /api/v1/session/password": {"old": "not the old one", "new": "a long new password"},
    "POST /api/v1/users": {**_GRANT, "username": "new", "password": "a long new password"},
    "PATCH /api/v1/users/{user_id}": {"unit": "Room 3"},
    "PUT /api/v1/users/{user_id}/password": {"password": "a long new password"},
    "POST /api/v1/users/{user_id}/roles": _GRANT,
    "POST /api/v1/tokens": {**_GRANT, "name": "machine"},
    "POST /api/v1/notices": {"site_id": "a", "version": "9", "zh": _ZH, "en": _EN},
    "PUT /api/v1/notices/{notice_id}": {"zh": _ZH, "en": _EN},
    "POST /api/v1/assessments": {"site_id": "a", "subject": "face", "topics": _WORDS},
    "PUT /api/v1/assessments/{assessment_id}": {"topics": _WORDS},
    "POST /api/v1/assessments/{assessment_id}/approve": {},
    "POST /api/v1/alerts/{alert_id}/acknowledge": {},
    "POST /api/v1/alerts/{alert_id}/resolve": {"disposition": "handled"},
    "POST /api/v1/areas": {"code": "310104006", "name": "New", "level": "subdistrict"},
    "PATCH /api/v1/areas/{code}": {"name": "Other"},
    "POST /api/v1/companies": {"name": "Company"},
    "PATCH /api/v1/companies/{company_id}": {"contact": "021-5550"},
    "POST /api/v1/sites": {"id": "c", "name": "Site c", "community": "310104005012"},
    "PATCH /api/v1/sites/{site_id}": {"address": "Somewhere 1"},
    "POST /api/v1/sites/{site_id}/modes": {"act": "lock_down", "reason": "a drill"},
    "POST /api/v1/sites/{site_id}/calibrations": _EVIDENCE,
    "POST /api/v1/flats": {"building": "1", "unit": "1", "room": "102", "site_id": "a"},
    "PATCH /api/v1/flats/{flat_id}": {"room": "103"},
    "POST /api/v1/flats/{flat_id}/move-in": {"people": [{"name": "Chen Xi"}]},
    "POST /api/v1/flats/{flat_id}/move-out": {},
    "POST /api/v1/controllers": {"name": "Board", "edge_id": "edge-1", "site_id": "a"},
    "PATCH /api/v1/controllers/{controller_id}": {"model": "M2"},
    "POST /api/v1/devices/discover": {"edge_id": "edge-1"},
    "POST /api/v1/devices/probe": {"edge_id": "edge-1", "wire": "onvif", "address": "192.0.2.9"},
    "POST /api/v1/devices/{device_id}/probe": {"user": "viewer", "password": "secret"},
    "POST /api/v1/devices/{device_id}/try": {"part": "front", "act": "unlock"},
    "POST /api/v1/devices/{device_id}/key": {},
    "POST /api/v1/devices/{device_id}/adopt": {"part": "front"},
    "POST /api/v1/devices/{device_id}/replace": {"by": "dv-new"},
    "POST /api/v1/doors": {"name": "New door", "edge_id": "edge-1", "site_id": "a", "factors": ["card"]},
    "POST /api/v1/doors/{door_id}/unlock": {"reason": "a parcel"},
    "POST /api/v1/doors/{door_id}/refuse-call": {"reason": "a hawker"},
    "PATCH /api/v1/doors/{door_id}/settings": {"address": "Gate 2"},
    "PUT /api/v1/doors/{door_id}/mode": {"mode": "held_open", "until": _UNTIL, "reason": "moving in"},
    "POST /api/v1/doors/{door_id}/bypass": {"kinds": ["door_forced"], "minutes": 5, "reason": "new hinges"},
    "POST /api/v1/readers": {"door_id": "gate", "kinds": ["card"]},
    "PATCH /api/v1/readers/{reader_id}": {"name": "Outside"},
    "POST /api/v1/card-formats": {"name": "Desk", "site_id": "a", "notation": "decimal"},
    "POST /api/v1/card-formats/learn": {
        "cards": [{"reading": "1EA68671", "number": "7186A61E"}, {"reading": "44332211", "number": "11223344"}]
    },
    "PATCH /api/v1/card-formats/{format_id}": {"name": "Other"},
    "POST /api/v1/card-lessons": {"door_id": "gate"},
    "POST /api/v1/card-lessons/{lesson_id}/propose": {
        "cards": [{"presented": 1, "number": "7186A61E"}, {"presented": 2, "credential_id": "cr-1"}]
    },
    "POST /api/v1/card-lessons/{lesson_id}/set": {"name": "Back gate"},
    "POST /api/v1/cameras": {"name": "New", "edge_id": "edge-1", "url": "rtsp://192.0.2.2/s", "site_id": "a"},
    "POST /api/v1/cameras/register": {
        "cameras": ["cam"], "replace": True,
        "register": {
            "purpose": "the gate", "place_class": "community_common", "sign_confirmed_on": "2026-01-01",
            "banned_area_checked": True,
        },
    },
    "PATCH /api/v1/cameras/{camera_id}/settings": {"name": "Other"},
    "POST /api/v1/people": {"name": "Wu Di", "site_id": "a"},
    "PATCH /api/v1/people/{person_id}": {"phone": "021 5550"},
    "POST /api/v1/people/{person_id}/occupancies": {"flat": "flat-1"},
    "POST /api/v1/people/{person_id}/consents": {
        "text_version": "face-door-1", "channel": "office", "evidence": "form 7", "doors": ["gate"]
    },
    "POST /api/v1/people/{person_id}/refusals": {},
    "POST /api/v1/people/{person_id}/face/at-door": {"door_id": "gate"},
    "POST /api/v1/people/{person_id}/credentials": _CARD,
    "PATCH /api/v1/people/{person_id}/credentials/{credential_id}": {"state": "blocked"},
    "POST /api/v1/people/{person_id}/credentials/{credential_id}/replace": {
        "why": "broken", "new": {"kind": "card", "value": "0B0B0B0B"}
    },
    "POST /api/v1/people/{person_id}/qr": {},
    "POST /api/v1/people/{person_id}/permits": {"doors": ["gate"]},
    "POST /api/v1/groups": {"name": "Residents", "doors": ["gate"], "site_id": "a"},
    "PUT /api/v1/groups/{group_id}": {"name": "Residents", "doors": ["gate", "side"]},
    "POST /api/v1/schedules": {"name": "Office hours", "windows": [_WINDOW], "site_id": "a"},
    "PUT /api/v1/schedules/{schedule_id}": {"name": "Office hours", "windows": [_WINDOW]},
    "POST /api/v1/calendars": {"name": "Holidays", "site_id": "a"},
    "PUT /api/v1/calendars/{calendar_id}": {"name": "Holidays"},
    "POST /api/v1/visitors": {"host": "p-1", "doors": ["gate"], "valid_until": _UNTIL},
    "PATCH /api/v1/edges/{edge_id}": {"name": "Other"},
    "POST /api/v1/edges/tokens": {"site_id": "a"},
}  # fmt: skip
RAW: dict[str, tuple[bytes, str]] = {
    "PUT /api/v1/people/{person_id}/face": (b"\xff\xd8\xff\xe0 no real photo", "image/jpeg"),
    "PUT /api/v1/calendars/{calendar_id}/ical": (
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nEND:VCALENDAR\r\n", "text/calendar"
    ),
    "POST /api/v1/imports": ("姓名,编号\n王五,{n}\n".encode(), "text/csv"),
}  # fmt: skip
QUERIES = {"POST /api/v1/imports": {"site_id": "a"}}
MADE_BY: tuple[tuple[str, Role, str], ...] = (
    ("company_id", "system_administrator", "POST /api/v1/companies"),
    ("flat_id", "manager", "POST /api/v1/flats"),
    ("controller_id", "manager", "POST /api/v1/controllers"),
    ("reader_id", "manager", "POST /api/v1/readers"),
    ("format_id", "manager", "POST /api/v1/card-formats"),
    ("person_id", "manager", "POST /api/v1/people"),
    ("guardian_id", "manager", "POST /api/v1/people"),
    ("occupancy_id", "manager", "POST /api/v1/people/{person_id}/occupancies"),
    ("consent_id", "manager", "POST /api/v1/people/{person_id}/consents"),
    ("credential_id", "manager", "POST /api/v1/people/{person_id}/credentials"),
    ("permit_id", "manager", "POST /api/v1/people/{person_id}/permits"),
    ("group_id", "manager", "POST /api/v1/groups"),
    ("schedule_id", "manager", "POST /api/v1/schedules"),
    ("calendar_id", "manager", "POST /api/v1/calendars"),
    ("pass_id", "manager", "POST /api/v1/visitors"),
    ("import_id", "manager", "POST /api/v1/imports"),
    ("notice_id", "manager", "POST /api/v1/notices"),
    ("assessment_id", "manager", "POST /api/v1/assessments"),
    ("calibration_id", "manager", "POST /api/v1/sites/{site_id}/calibrations"),
    ("user_id", "security_administrator", "POST /api/v1/users"),
    ("token_id", "security_administrator", "POST /api/v1/tokens"),
)
"""Which parameter of a path is made by whom with which call, in this order."""
FIXED_IDS = {"guardian_id": "p-2", "person_id": "p-1", "flat_id": "flat-1"}
GIVEN = {"site_id": "a", "door_id": "gate", "camera_id": "cam", "edge_id": "edge-1", "code": "310104"}
"""Objects that are there before; `centre_id` and `handler_id` are no objects of a site."""


_numbers = itertools.count(1)
CHECK = "allowed.<locals>.check"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One route: its method and path, the rights of which one is needed, whether any caller will do."""

    method: str
    path: str
    rights: tuple[Right, ...] = ()
    anyone: bool = False
    endpoint: Any = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def changes(self) -> bool:
        return self.method not in {"GET", "HEAD"}

    def may(self, role: Role) -> bool:
        return any(right in RIGHTS[role] for right in self.rights)

    def params(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


def _calls(dependant: Dependant) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def route_table() -> list[Entry]:
    """Return every HTTP route for people and machines (edges sign their requests: gateway.api.signed)."""
    routes = [route for part in PARTS for route in part.router.routes if isinstance(route, APIRoute)]
    return [
        Entry(
            method=method, path=route.path, rights=_rights(route), endpoint=route.endpoint,
            anyone=any_caller in _calls(route.dependant) and not _rights(route),
        )
        for route in routes if not route.path.startswith("/edge/") for method in sorted(route.methods or ())
    ]  # fmt: skip


def _rights(route: APIRoute) -> tuple[Right, ...]:
    checks = [each for each in _calls(route.dependant) if getattr(each, "__qualname__", "") == CHECK]
    return tuple(right for check in checks for right in inspect.getclosurevars(check).nonlocals["rights"])


async def call(client: httpx.AsyncClient, entry: Entry, ids: dict[str, str]) -> httpx.Response:
    """Call a route with a body that it takes and the objects of site a in its path."""
    path = entry.path
    for name in entry.params():
        path = path.replace(f"{{{name}}}", ids.get(name, f"no-{name}"))
    more: dict[str, Any] = {"params": QUERIES.get(entry.name), "headers": WHY}
    if entry.name in RAW:
        content, kind = RAW[entry.name]
        content = content.replace(b"{n}", str(next(_numbers)).encode())  # no repetition of an import
        more |= {"content": content, "headers": {**WHY, "Content-Type": kind}}
    elif entry.name in BODIES:
        more["json"] = BODIES[entry.name]
    return await client.request(entry.method, path, **more)


async def fill(clients: dict[Role, httpx.AsyncClient]) -> dict[str, str]:
    """Make one object of each kind at site a, through the API, and return their ids by the names of the parameters."""
    table = {entry.name: entry for entry in route_table()}
    ids = dict(GIVEN)
    for name, role, act in MADE_BY:
        entry = table[act]
        kept = BODIES.get(act)
        if name in FIXED_IDS:
            BODIES[act] = {**BODIES[act], "id": FIXED_IDS[name]}
        try:
            answer = await call(clients[role], entry, ids)
        finally:
            if kept is not None:
                BODIES[act] = kept
        assert answer.status_code in {200, 201, 202}, f"{act}: {answer.status_code} {answer.text}"
        ids[name] = _id_in(answer.json())
    changes = (await clients["security_administrator"].get("/api/v1/role-changes")).json()["items"]
    return ids | {"change_id": changes[0]["id"]}


def _id_in(made: dict[str, Any]) -> str:
    for inner in (made, *(value for value in made.values() if isinstance(value, dict))):
        if "id" in inner:
            return str(inner["id"])
    raise AssertionError(f"no id in {made}")
