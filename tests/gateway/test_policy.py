"""The policy of an edge: what follows from flats, groups, passes and consents, and how it is numbered and remembered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, insert, update

from gateway.auth.keys import fresh_key
from gateway.policies import Policies
from gateway.rehearsal.district.policies import bench_policies
from gateway.runtime import Runtime
from gateway.store import Store
from gateway.store.audit import AuditEntry, append_audit, append_entries
from gateway.store.consents import add_consent
from gateway.store.edges import EdgeIdentity
from gateway.store.people import add_person, put_occupancy
from gateway.store.places import put_camera, put_door, put_flat
from gateway.store.policy import EPOCH_MARK, KEEP_ENDED, current_policy
from gateway.store.registers import seed_assessment
from gateway.store.rights import add_credential, add_permit
from gateway.store.schedules import put_calendar, put_group, put_schedule
from gateway.store.tables import assessments, edges, marks
from gateway.store.tables_people import consents, credentials, occupancies, tombstones, visitor_passes
from gateway.store.ticket_keys import renew_ticket_key
from gateway.store.visitors import add_pass
from models.assessments import Assessment, Topics
from models.errors import StorageUnavailable
from models.people import Consent, Credential, Group, Occupancy, Permit, Person, VisitorPass
from models.places import Camera, Door, Flat
from models.policy import Policy, PolicyDelta, apply_delta
from models.rights import Rights
from models.schedules import Calendar, Schedule, SpecialDay
from tests.gateway.support import BEGINNING, EDGE, REGISTER

AT = BEGINNING
IDENTITY = EdgeIdentity(id=EDGE, site_id="a", public_key="")
SAID = "this is said at some length, for the record"
Write = Callable[..., Any]


@pytest.fixture
def write(runtime: Runtime) -> Write:
    """Return what writes one thing to the store."""

    def act(query: Any, *args: Any, **more: Any) -> Any:
        return runtime.store.write_now(query, *args, **more)

    return act


def policy_of(runtime: Runtime, edge_id: str = EDGE, *, at: datetime = AT) -> Policy:
    return runtime.store.write_now(current_policy, edge_id, site_id="a", at=at)


def resident(write: Write, person_id: str = "p1", **more: Any) -> None:
    write(add_person, Person(id=person_id, site_id="a", name="Lin Yue", **more), at=AT)


def settled(write: Write, **stay: Any) -> None:
    """Move a resident into a flat whose group opens the gate, on edge-1."""
    resident(write)
    write(put_group, Group(id="g1", site_id="a", name="Gates", doors=("gate",), schedule_id="hours"))
    write(put_schedule, Schedule(id="hours", site_id="a", calendars=("feast",)))
    write(
        put_calendar,
        Calendar(id="feast", site_id="a", days=(SpecialDay(first=date(2026, 5, 1), last=date(2026, 5, 5)),)),
    )
    write(
        put_flat, Flat(id="f1", site_id="a", building="1", unit="1", room="101", keypad="0101", groups=("g1", "gone"))
    )
    write(put_occupancy, Occupancy(id="o1", person_id="p1", flat_id="f1", **stay), at=AT)


def agreed(write: Write, *doors: str, person_id: str = "p1", **more: Any) -> None:
    consent = Consent(
        id=f"c-{person_id}", person_id=person_id, doors=doors, text_version="face-door-1", text_sha256="ab", given_at=AT,
        channel="office", evidence="folder 7", **more,
    )  # fmt: skip
    write(add_consent, consent)


def test_whoever_lives_in_a_flat_has_the_rights_of_its_groups(runtime: Runtime, write: Write) -> None:
    ends = AT + timedelta(days=300)
    settled(write, valid_from=AT - timedelta(days=3), valid_until=ends)
    policy = policy_of(runtime)
    assert [(permit.id, permit.group_id, permit.valid_until) for permit in policy.permits] == [("of-o1-g1", "g1", ends)]
    assert [group.name for group in policy.groups] == [""], "an edge needs no names"
    assert [schedule.id for schedule in policy.schedules] == ["hours"]
    assert [calendar.id for calendar in policy.calendars] == ["feast"]
    assert [(member.id, member.flats) for member in policy.people] == [("p1", ("0101",))]
    rights = Rights.of(policy)
    assert rights.person_refusal("p1", "gate", at=AT, clock_trusted=True) is None
    assert rights.person_refusal("p1", "gate", at=ends, clock_trusted=True) == "expired"
    assert rights.person_refusal("p1", "side", at=AT, clock_trusted=True) == "no_permit"
    write(lambda c: c.execute(delete(occupancies)))
    assert policy_of(runtime).permits == ()
    assert policy_of(runtime).people == ()


def test_a_stay_that_begins_later_gives_no_keypad_code_yet_and_one_that_is_long_over_nothing(
    runtime: Runtime, write: Write
) -> None:
    begins = AT + timedelta(days=2)
    settled(write, valid_from=begins, valid_until=begins + timedelta(days=10))
    assert policy_of(runtime).permits[0].valid_from == begins
    assert policy_of(runtime).people[0].flats == ()
    assert policy_of(runtime, at=begins).people[0].flats == ("0101",)
    assert policy_of(runtime, at=begins).permits[0].valid_from is None, "what has begun needs no clock for it"
    assert policy_of(runtime, at=begins + timedelta(days=16)).permits, "an edge can still say that it expired"
    assert policy_of(runtime, at=begins + timedelta(days=18)).permits == ()


def test_a_permit_that_names_a_group_keeps_its_schedule_where_the_group_has_no_door(
    runtime: Runtime, write: Write
) -> None:
    settled(write)
    write(put_door, Door(id="other", site_id="a", name="Other", edge_id="edge-2"))
    write(put_group, Group(id="g2", site_id="a", doors=("other",), schedule_id="hours"))
    write(add_permit, Permit(id="pt", person_id="p1", group_id="g2", doors=("side", "other")), at=AT)
    policy = policy_of(runtime)
    assert [(permit.id, permit.doors) for permit in policy.permits] == [("of-o1-g1", ()), ("pt", ("side",))]
    assert [(group.id, group.doors, group.schedule_id) for group in policy.groups] == [
        ("g1", ("gate",), "hours"), ("g2", (), "hours"),
    ]  # fmt: skip
    assert [permit.id for permit in policy_of(runtime, "edge-2").permits] == ["pt"]


def test_only_credentials_that_are_active_and_belong_to_somebody_known_here_are_told(
    runtime: Runtime, write: Write
) -> None:
    settled(write)
    resident(write, "p2")
    for number, person_id in enumerate(("p1", "p1", "p1", "p2")):
        card = Credential(id=f"cr{number}", person_id=person_id, kind="card", digest=f"{number:064}")
        write(add_credential, card, site_id="a", at=AT)
    for key, state in (("cr1", "lost"), ("cr2", "replaced")):
        write(lambda c, key=key, state=state: c.execute(
            update(credentials).where(credentials.c.id == key).values(state=state)
        ))  # fmt: skip
    assert [credential.id for credential in policy_of(runtime).credentials] == ["cr0"]


def test_a_pass_is_told_until_it_is_revoked_or_long_over(runtime: Runtime, write: Write) -> None:
    until = AT + timedelta(hours=4)
    made = VisitorPass(
        id="v1", host_id=None, doors=("gate", "far"), valid_from=AT, valid_until=until, uses=2, pin_digest="ab"
    )
    write(add_pass, made, site_id="a", at=AT)
    assert [(one.id, one.doors, one.uses, one.pin_digest) for one in policy_of(runtime).passes] == [
        ("v1", ("gate",), 2, "ab")
    ]
    assert policy_of(runtime, at=until + timedelta(days=1)).passes, "an edge can still say that it expired"
    assert policy_of(runtime, at=until + timedelta(days=8)).passes == ()
    write(lambda c: c.execute(update(visitor_passes).values(revoked_at=AT)))
    assert policy_of(runtime).passes == ()


def test_ticket_keys_come_without_their_private_halves(runtime: Runtime, write: Write) -> None:
    write(renew_ticket_key, "a", fresh_id="k1", at=AT)
    policy = policy_of(runtime)
    assert [key.id for key in policy.ticket_keys] == ["k1"]
    assert b"private" not in msgspec.json.encode(policy)


@pytest.mark.parametrize(
    ("born_on", "declared", "on", "young"),
    [
        (
            date(2012, 3, 2),
            False,
            datetime(2026, 3, 1, 15, 59, tzinfo=UTC),
            True,
        ),  # 13 years and 364 days, by the site's zone
        (
            date(2012, 3, 2),
            True,
            datetime(2026, 3, 1, 16, 0, tzinfo=UTC),
            False,
        ),  # 14 in Shanghai, whatever was declared
        (None, True, AT, True),
        (None, False, AT, False),
    ],
)
def test_who_is_under_14_follows_the_date_of_birth_in_the_zone_of_the_site(
    runtime: Runtime, write: Write, born_on: date | None, declared: bool, on: datetime, young: bool
) -> None:  # fmt: skip
    resident(write, born_on=born_on, under_14=declared)
    write(add_permit, Permit(id="pt", person_id="p1", doors=("gate",)), at=AT)
    assert [member.under_14 for member in policy_of(runtime, at=on).people] == [young]


def test_a_consent_is_told_with_every_door_of_the_site_and_without_its_evidence(runtime: Runtime, write: Write) -> None:
    write(put_door, Door(id="other", site_id="a", name="Other", edge_id="edge-2"))
    resident(write)
    agreed(write, "gate", "other", guardian="Lin the elder")
    resident(write, "p2")
    agreed(write, "other", person_id="p2")
    policy = policy_of(runtime)
    assert [(one.person_id, one.doors, one.guardian) for one in policy.consents] == [("p1", ("gate", "other"), "yes")]
    body = msgspec.json.encode(policy)
    assert all(word not in body for word in (b"folder", b"elder", b"face-door"))
    assert [one.person_id for one in policy_of(runtime, "edge-2").consents] == ["p1", "p2"]


def test_an_ended_consent_is_told_as_ended_for_long_enough_to_reach_every_edge(runtime: Runtime, write: Write) -> None:
    resident(write)
    agreed(write, "gate")
    write(lambda c: c.execute(update(consents).values(withdrawn_at=AT)))
    (told,) = policy_of(runtime).consents
    assert (told.withdrawn_at, told.live(AT)) == (AT, False)
    assert policy_of(runtime, at=AT + KEEP_ENDED - timedelta(days=1)).consents
    assert policy_of(runtime, at=AT + KEEP_ENDED + timedelta(days=1)).consents == ()


def test_tombstones_are_told_for_400_days(runtime: Runtime, write: Write) -> None:
    for person_id, site_id in (("p9", "a"), ("p8", "b")):
        write(lambda c, p=person_id, s=site_id: c.execute(
            insert(tombstones).values(person_id=p, site_id=s, erased_at=AT)
        ))  # fmt: skip
    assert policy_of(runtime).tombstones == ("p9",)
    assert policy_of(runtime, at=AT + timedelta(days=399)).tombstones == ("p9",)
    assert policy_of(runtime, at=AT + timedelta(days=401)).tombstones == ()


def test_a_camera_without_a_complete_register_entry_stays_off(runtime: Runtime, write: Write) -> None:
    def camera(**change: Any) -> list[str]:
        entry = None if not change else msgspec.structs.replace(REGISTER, **change)
        made = Camera(id="cam", site_id="a", name="Camera", edge_id=EDGE, url="rtsp://192.0.2.1/s", register=entry)
        write(put_camera, made)
        return [one.id for one in policy_of(runtime).cameras]

    assert camera() == []
    assert camera(banned_area_checked=False) == []
    assert camera(purpose=" ") == []
    assert camera(purpose="to see who is there") == ["cam"]


def test_faces_are_assessed_only_by_an_approved_assessment_in_force(runtime: Runtime, write: Write) -> None:
    topics = Topics(lawful_and_necessary=SAID, impact_and_risk=SAID, measures_fit=SAID, leak_and_misuse=SAID)
    ends = AT + timedelta(days=30)
    held = Assessment(
        id="as1", site_id="a", subject="face", topics=topics, state="approved", drafted_by="u1", drafted_at=AT,
        approved_by="u2", approved_at=AT, valid_until=ends,
    )  # fmt: skip
    assert policy_of(runtime).assessed == ()
    write(seed_assessment, held)
    assert policy_of(runtime).assessed == ("face",)
    assert policy_of(runtime, at=ends).assessed == ()
    for state in ("draft", "reopened", "replaced"):
        write(lambda c, state=state: c.execute(update(assessments).values(state=state)))
        assert policy_of(runtime).assessed == ()


def test_siblings_are_the_other_edges_that_can_be_sealed_to_and_are_not_revoked(runtime: Runtime, write: Write) -> None:
    for edge_id, site_id, key in (("edge-2", "a", "a2V5"), ("edge-3", "a", ""), ("edge-9", "b", "a2V5")):
        write(put_door, Door(id=f"of-{edge_id}", site_id=site_id, name="Door", edge_id=edge_id))
        write(lambda c, e=edge_id, s=site_id, k=key: c.execute(
            insert(edges).values(id=e, site_id=s, name=e, public_key="k", enrolled_at=AT, seal_key=k)
        ))  # fmt: skip
    assert [(one.edge_id, one.doors) for one in policy_of(runtime).siblings] == [("edge-2", ("of-edge-2",))]
    write(lambda c: c.execute(update(edges).values(revoked_at=AT)))
    assert policy_of(runtime).siblings == ()


def test_an_edge_is_told_nothing_of_a_door_at_another_site(runtime: Runtime, write: Write) -> None:
    write(put_door, Door(id="stray", site_id="b", name="Stray", edge_id=EDGE))
    assert [door.id for door in policy_of(runtime).doors] == ["gate", "side"]


def test_a_raised_epoch_begins_the_numbers_again(runtime: Runtime, write: Write) -> None:
    first = policy_of(runtime)
    assert (first.epoch, first.n) == (1, 1)
    write(lambda c: c.execute(insert(marks).values(name=EPOCH_MARK, value="7", at=AT)))
    after = policy_of(runtime)
    assert ((after.epoch, after.n), after.doors) == ((7, 1), first.doors)


async def test_a_delta_leads_to_what_a_fresh_policy_says_whoever_wrote(
    runtime: Runtime, store: Store, write: Write
) -> None:
    settled(write)
    key, policies = fresh_key(), runtime.policies
    held = await policies.current(IDENTITY, at=AT)
    steps: list[Callable[[], object]] = [
        lambda: write(
            add_credential, Credential(id="cr", person_id="p1", kind="card", digest="0" * 64), site_id="a", at=AT
        ),
        lambda: write(put_group, Group(id="g1", site_id="a", doors=("gate", "side"))),
        lambda: write(put_door, Door(id="side", site_id="a", name="Side door", edge_id=EDGE, held_open_s=60)),
        lambda: write(lambda c: c.execute(delete(occupancies))),
    ]
    for step in steps:
        step()
        version = (held.epoch, held.n)
        answer = await policies.answer(IDENTITY, held=version, base=version, key=key, at=AT)
        assert answer is not None
        assert answer.kind == "delta"
        held = apply_delta(held, msgspec.json.decode(answer.body, type=PolicyDelta))
        other = Policies(store)  # a process that remembers nothing
        assert held == await other.current(IDENTITY, at=AT)
    assert await policies.answer(IDENTITY, held=(held.epoch, held.n), base=None, key=key, at=AT) is None


async def test_what_another_process_wrote_is_seen_by_its_audit_row(
    runtime: Runtime, store: Store, write: Write
) -> None:
    before = await runtime.policies.current(IDENTITY, at=AT)
    seen = runtime.store.read_now(runtime.policies.foreign_writes)
    elsewhere = Store(store.engine.url.render_as_string(hide_password=False))
    try:
        door = Door(id="side", site_id="a", name="Side door", edge_id=EDGE, unlock_s=9)
        elsewhere.write_now(put_door, door)
        elsewhere.write_now(append_audit, AuditEntry(actor="system", action="door.change", subject="side"), at=AT)
    finally:
        elsewhere.close()
    assert runtime.store.read_now(runtime.policies.foreign_writes) != seen
    after = await runtime.policies.current(IDENTITY, at=AT)
    assert (after.n, after.doors[1].unlock_s) == (before.n + 1, 9)


async def test_looks_of_others_and_own_acts_are_no_changes_of_others(
    runtime: Runtime, store: Store, write: Write
) -> None:
    policies = runtime.policies
    seen = runtime.store.read_now(policies.foreign_writes)
    write(append_audit, AuditEntry(actor="u1", action="person.add", subject="p1"), at=AT)
    write(append_entries, [AuditEntry(actor="u1", action="person.add", subject=f"p{n}") for n in range(3)], at=AT)
    elsewhere = Store(store.engine.url.render_as_string(hide_password=False))
    try:
        elsewhere.write_now(append_audit, AuditEntry(actor="u2", action="person.look_up", subject="p1"), at=AT)
        assert runtime.store.read_now(policies.foreign_writes) == seen
        elsewhere.write_now(append_audit, AuditEntry(actor="u2", action="consent.withdraw", subject="p1"), at=AT)
        assert runtime.store.read_now(policies.foreign_writes) == seen + 1
    finally:
        elsewhere.close()


async def test_a_write_that_was_rolled_back_changes_no_number(runtime: Runtime, write: Write) -> None:
    before = await runtime.policies.current(IDENTITY, at=AT)

    def fail(connection: Any) -> None:
        put_door(connection, Door(id="third", site_id="a", name="Third", edge_id=EDGE))
        raise InterruptedError

    with pytest.raises(StorageUnavailable):
        write(fail)
    assert await runtime.policies.current(IDENTITY, at=AT) == before


async def test_what_depends_on_the_time_is_looked_at_again_within_a_minute(runtime: Runtime, write: Write) -> None:
    ends = AT + timedelta(seconds=90)
    settled(write, valid_until=ends)
    assert (await runtime.policies.current(IDENTITY, at=AT)).people[0].flats == ("0101",)
    assert (await runtime.policies.current(IDENTITY, at=ends)).people[0].flats == ()


def test_the_benchmark_gives_its_three_rows(tmp_path: Any) -> None:
    told: list[str] = []
    rows = bench_policies(tmp_path, tell=told.append)
    assert [row.name for row in rows] == ["policy_build", "policy_delta", "policy_size"]
    assert told
    assert rows[2].met, rows[2].detail
