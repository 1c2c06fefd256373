"""Roles and their rights, and the caller that every query about an object is asked for. Duties are separate on purpose.

Operators handle alerts and cannot list residents; managers keep their own site's people; administrators administer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from models.errors import Forbidden, InvalidInput

Role = Literal[
    "operator",
    "manager",
    "guard",
    "integrator",
    "system_administrator",
    "security_administrator",
    "audit_administrator",
]
Right = Literal[
    "alerts:read", "alerts:act", "doors:read", "doors:unlock", "cameras:read", "media:read", "facts:read",
    "places:read", "places:write", "devices:write", "access:read", "access:write",
    "people:read", "people:write", "people:import", "people:export", "people:erase",
    "notices:read", "notices:write", "assessments:read", "assessments:write", "assessments:approve",
    "system:read", "system:write", "edges:read", "edges:write", "backups:write",
    "users:read", "users:write", "audit:read",
]  # fmt: skip
"""What a role may include. `places` are areas, companies and sites; `devices` are flats, controllers, doors, readers and
cameras; `access` are groups, schedules and calendars; permits, credentials and passes belong to `people`."""

_SEES: frozenset[Right] = frozenset({"doors:read", "cameras:read", "places:read", "system:read", "edges:read"})
_GUARDS: frozenset[Right] = frozenset({"alerts:read", "alerts:act", "doors:unlock", "media:read"})
RIGHTS: dict[Role, frozenset[Right]] = {
    "operator": _SEES | _GUARDS,
    "manager": _SEES | _GUARDS | frozenset(
        {"people:read", "people:write", "people:import", "people:export", "people:erase", "facts:read", "access:read",
         "access:write", "devices:write", "notices:read", "notices:write", "assessments:read", "assessments:write"}
    ),
    # A guard sees what is assigned to them; until alerts can be assigned that is nothing.
    "guard": frozenset(),
    "integrator": _SEES,  # devices are found, adopted and commanded on a test box, whose system administrator one is
    "system_administrator": _SEES | frozenset(
        {"system:write", "places:write", "devices:write", "edges:write", "backups:write"}
    ),
    "security_administrator": frozenset(
        {"users:read", "users:write", "system:read", "notices:read", "assessments:read", "assessments:approve"}
    ),
    "audit_administrator": frozenset({"audit:read", "notices:read", "assessments:read"}),
}  # fmt: skip
PERSONAL: frozenset[Right] = frozenset(
    {"people:read", "people:export", "people:erase", "facts:read", "media:read", "users:read", "audit:read"}
)
"""Rights to look at what people are and did: every use is on record, with a reason where reasons are required."""
SELF_EXPLAINING: frozenset[Right] = frozenset({"alerts:read", "alerts:act", "doors:unlock"})
"""Rights whose acts carry their reason in the body, or are the answer to an alert."""


def roles_with(right: Right) -> tuple[Role, ...]:
    """Return the roles that include a right."""
    return tuple(role for role, rights in RIGHTS.items() if right in rights)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Name who asks: a user (or a machine's token) with one role and the sites in its scope right now."""

    id: str
    username: str
    role: Role
    sites: frozenset[str]
    machine: bool = False
    everywhere: bool = False
    """True if every site is in scope, those to come included."""
    areas: frozenset[str] = frozenset()
    """Codes of the areas in scope: `sites` holds the sites that they have now."""
    reason: str = ""
    """Why this request is made, in the caller's words; it goes on record."""

    def may(self, right: Right) -> bool:
        """Return whether the role includes a right."""
        return right in RIGHTS[self.role]

    def covers(self, sites: Iterable[str], areas: Iterable[str]) -> bool:
        """Return whether a scope of sites and areas lies within the caller's own, the sites to come included."""
        if self.everywhere:
            return True
        within = all(any(code.startswith(own) for own in self.areas) for code in areas)
        return within and self.sites.issuperset(sites)

    def require(self, right: Right) -> None:
        """Pass if the role includes a right.

        Raises:
            Forbidden: it does not.
        """
        if not self.may(right):
            which = ", ".join(roles_with(right))
            raise Forbidden(f"your role ({self.role}) does not include {right}; these roles do: {which}")


def check_role(text: str) -> Role:
    """Return a role by its name.

    Raises:
        InvalidInput: there is no such role.
    """
    for role in get_args(Role):
        if text == role:
            return role  # type: ignore[no-any-return]
    raise InvalidInput("role", f"use one of {', '.join(get_args(Role))}, not {text!r}")
