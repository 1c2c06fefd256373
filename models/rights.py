"""Who may pass where and when: a policy's permits, groups, schedules, calendars and passes, indexed for lookups. Pure.

A right never depends on a consent to faces (R3): whoever refuses the face has the same doors at the same hours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from models.errors import InvalidInput
from models.events import DenialReason
from models.people import Credential, Group, Permit, VisitorPass
from models.policy import Policy
from models.schedules import Calendar, Schedule, check_schedule


class Rights:
    """Hold the rights of a policy; a verdict takes lookups only."""

    def __init__(
        self,
        *,
        permits: Iterable[Permit] = (),
        groups: Iterable[Group] = (),
        schedules: Iterable[Schedule] = (),
        calendars: Iterable[Calendar] = (),
        passes: Iterable[VisitorPass] = (),
        passes_until: datetime | None = None,
    ) -> None:
        self._permits: dict[str, list[Permit]] = defaultdict(list)
        for permit in permits:
            self._permits[permit.person_id].append(permit)
        self._groups = {group.id: group for group in groups}
        self._doors = {group.id: frozenset(group.doors) for group in self._groups.values()}
        self._schedules = {schedule.id: schedule for schedule in schedules if _usable(schedule)}
        self._calendars = {calendar.id: calendar for calendar in calendars}
        self._passes = {one.id: one for one in passes}
        self._passes_until = passes_until

    @staticmethod
    def of(policy: Policy) -> Rights:
        """Index the rights of a policy; what it says of erased persons does not count."""
        erased = frozenset(policy.tombstones)
        return Rights(
            permits=(permit for permit in policy.permits if permit.person_id not in erased),
            groups=policy.groups, schedules=policy.schedules, calendars=policy.calendars,
            passes=policy.passes, passes_until=policy.valid_until,
        )  # fmt: skip

    def person_refusal(self, person_id: str, door_id: str, *, at: datetime, clock_trusted: bool) -> DenialReason | None:
        """Return why a person may not pass a door at a time, or None if they may.

        While the clock is not trusted, what is limited in time does not count: it fails closed.
        """
        own = [permit for permit in self._permits.get(person_id, ()) if self._names(permit, door_id)]
        if not own:
            return "no_permit"
        if not clock_trusted:
            return None if any(self._timeless(permit) for permit in own) else "not_permitted_now"
        covered: dict[str, bool] = {}
        if any(self._holds(permit, at, covered=covered) for permit in own):
            return None
        return "expired" if all(permit.expired(at) for permit in own) else "not_permitted_now"

    def pass_refusal(
        self, pass_id: str, door_id: str, *, at: datetime, used: int, clock_trusted: bool
    ) -> DenialReason | None:
        """Return why a visitor's pass does not open a door at a time, or None if it does.

        Args:
            pass_id: the pass; one that was revoked is not in the policy.
            door_id: the door.
            at: aware time of the decision.
            used: how often it has been used, as counted by the edge that owns its doors.
            clock_trusted: whether the clock may be believed; passes need it.
        """
        found = self._passes.get(pass_id)
        if found is None:
            return "unknown_credential"
        if door_id not in found.doors:
            return "no_permit"
        if not clock_trusted or at < found.valid_from:
            return "not_permitted_now"
        if at >= found.valid_until:
            return "expired"
        if self._passes_until is not None and at >= self._passes_until:
            return "policy_expired"  # it may have been revoked meanwhile
        return "used_up" if found.uses and used >= found.uses else None

    def passes(self) -> tuple[VisitorPass, ...]:
        """Return every pass."""
        return tuple(self._passes.values())

    def visitor_pass(self, pass_id: str) -> VisitorPass | None:
        """Return one pass."""
        return self._passes.get(pass_id)

    def covers(self, schedule_id: str, at: datetime) -> bool:
        """Return whether a schedule covers a time; one that the policy does not hold covers none."""
        return self._covers(schedule_id, at, covered={})

    def doors_of(self, person_id: str) -> frozenset[str]:
        """Return every door that some permit of a person names, whenever it holds."""
        own = self._permits.get(person_id, ())
        named = {door for permit in own for door in (*permit.doors, *self._doors.get(permit.group_id or "", ()))}
        return frozenset(door for door in named if any(self._names(permit, door) for permit in own))

    def _names(self, permit: Permit, door_id: str) -> bool:
        if permit.group_id is None:
            return door_id in permit.doors
        group = self._doors.get(permit.group_id)
        # Without its group nobody knows on which schedule the permit holds: it fails closed.
        return group is not None and (door_id in group or door_id in permit.doors)

    def _schedules_of(self, permit: Permit) -> tuple[str, ...]:
        group = self._groups.get(permit.group_id or "")
        return tuple(key for key in (permit.schedule_id, group and group.schedule_id) if key)

    def _timeless(self, permit: Permit) -> bool:
        return permit.timeless and not self._schedules_of(permit)

    def _holds(self, permit: Permit, at: datetime, *, covered: dict[str, bool]) -> bool:
        """Return whether a permit holds at a time; `covered` remembers the schedules that were asked already."""
        if not permit.begun(at) or permit.expired(at):
            return False
        return all(self._covers(key, at, covered=covered) for key in self._schedules_of(permit))

    def _covers(self, schedule_id: str, at: datetime, *, covered: dict[str, bool]) -> bool:
        if schedule_id not in covered:
            schedule = self._schedules.get(schedule_id)
            # A schedule that the policy does not hold, or that cannot be read, covers nothing: it fails closed.
            covered[schedule_id] = schedule is not None and schedule.covers(at, self._calendars)
        return covered[schedule_id]


def credential_refusal(credential: Credential, at: datetime, *, clock_trusted: bool) -> DenialReason | None:
    """Return why a credential does not count at a time, or None if it does; one limited in time needs a clock."""
    limited = credential.valid_from is not None or credential.valid_until is not None
    if (limited and not clock_trusted) or (credential.valid_from is not None and at < credential.valid_from):
        return "not_permitted_now"
    return "expired" if credential.valid_until is not None and at >= credential.valid_until else None


def _usable(schedule: Schedule) -> bool:
    try:
        check_schedule(schedule)
    except InvalidInput:
        return False
    return True
