"""Roles and their rights, and the caller that every query about an object is asked for. Duties are separate on purpose.

Operators handle alerts and cannot list residents; managers keep their own site's people; administrators administer.
"""

from __future__ import annotations

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
    "alerts:read", "alerts:act", "doors:read", "doors:unlock", "cameras:read", "people:read", "people:write", "facts:read",
    "system:read", "system:write", "users:read", "audit:read",
]  # fmt: skip

RIGHTS: dict[Role, frozenset[Right]] = {
    "operator": frozenset({"alerts:read", "alerts:act", "doors:read", "doors:unlock", "cameras:read", "system:read"}),
    "manager": frozenset(
        {"alerts:read", "alerts:act", "doors:read", "doors:unlock", "cameras:read", "people:read", "people:write",
         "facts:read", "system:read"}
    ),
    # A guard sees what is assigned to them; until alerts can be assigned that is nothing.
    "guard": frozenset(),
    "integrator": frozenset({"doors:read", "cameras:read", "system:read"}),
    "system_administrator": frozenset({"system:read", "system:write", "doors:read", "cameras:read"}),
    "security_administrator": frozenset({"users:read", "system:read"}),
    "audit_administrator": frozenset({"audit:read"}),
}  # fmt: skip


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Name who asks: a user (or a machine's token) with one role and the sites in its scope right now."""

    id: str
    username: str
    role: Role
    sites: frozenset[str]
    machine: bool = False

    def may(self, right: Right) -> bool:
        """Return whether the role includes a right."""
        return right in RIGHTS[self.role]

    def require(self, right: Right) -> None:
        """Pass if the role includes a right.

        Raises:
            Forbidden: it does not.
        """
        if not self.may(right):
            raise Forbidden(f"your role ({self.role}) does not include {right}")


def check_role(text: str) -> Role:
    """Return a role by its name.

    Raises:
        InvalidInput: there is no such role.
    """
    for role in get_args(Role):
        if text == role:
            return role  # type: ignore[no-any-return]
    raise InvalidInput("role", f"use one of {', '.join(get_args(Role))}, not {text!r}")
