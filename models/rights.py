"""Who may pass where and when: a policy's permits, groups, schedules, calendars and passes, indexed for lookups. Pure.

A right never depends on a consent to faces (R3): whoever refuses the face has the same doors at the same hours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from models.events import DenialReason
from models.people import Group, Permit, VisitorPass
from models.policy import Policy
from models.schedules import Calendar, Schedule


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
    ) -> None:
        self._permits: dict[str, list[Permit]] = defaultdict(list)
        for permit in permits:
            self._permits[permit.person_id].append(permit)
        self._groups = {group.id: group for group in groups}
        self._doors = {group.id: frozenset(group.doors) for group in self._groups.values()}
        self._schedules = {schedule.id: schedule for schedule in schedules}
        self._calendars = {calendar.id: calendar for calendar in calendars}
        self._passes = {one.id: one for one in passes}

    @staticmethod
    def of(policy: Policy) -> Rights:
        """Index the rights of a policy."""
        return Rights(
            permits=policy.permits, groups=policy.groups, schedules=policy.schedules, calendars=policy.calendars,
            passes=policy.passes,
        )  # fmt: skip

    def person_refusal(self, person_id: str, door_id: str, at: datetime, *, clock_trusted: bool) -> DenialReason | None:
        """Return why a person may not pass a door at a time, or None if they may.

        While the clock is not trusted, what is limited in time does not count: it fails closed.
        """
        own = [permit for permit in self._permits.get(person_id, ()) if door_id in self._doors_of(permit)]
        if not own:
            return "no_permit"
        usable = own if clock_trusted else [permit for permit in own if self._timeless(permit)]
        if any(self._holds(permit, at) for permit in usable):
            return None
        return "expired" if all(permit.expired(at) for permit in own) else "not_permitted_now"

    def pass_refusal(
        self, pass_id: str, door_id: str, at: datetime, *, used: int, clock_trusted: bool
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
        return "used_up" if found.uses and used >= found.uses else None

    def passes(self) -> tuple[VisitorPass, ...]:
        """Return every pass."""
        return tuple(self._passes.values())

    def doors_of(self, person_id: str) -> frozenset[str]:
        """Return every door that some permit of a person names, whenever it holds."""
        return frozenset(door for permit in self._permits.get(person_id, ()) for door in self._doors_of(permit))

    def _doors_of(self, permit: Permit) -> frozenset[str]:
        shared = self._doors.get(permit.group_id or "", frozenset())
        return shared | frozenset(permit.doors) if permit.doors else shared

    def _schedules_of(self, permit: Permit) -> tuple[str, ...]:
        group = self._groups.get(permit.group_id or "")
        return tuple(key for key in (permit.schedule_id, group and group.schedule_id) if key)

    def _timeless(self, permit: Permit) -> bool:
        return permit.timeless and not self._schedules_of(permit)

    def _holds(self, permit: Permit, at: datetime) -> bool:
        if not permit.begun(at) or permit.expired(at):
            return False
        # A schedule that the policy does not hold covers nothing: it fails closed.
        schedules = [self._schedules.get(key) for key in self._schedules_of(permit)]
        return all(schedule is not None and schedule.covers(at, self._calendars) for schedule in schedules)
