"""The site file: strict as the settings, and its names, policies and codes fit together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from config.site import doubts, read_site, seed
from models.errors import SettingsError

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.yaml"
SITE = 'site: {id: s, name: S, community: "310104005012"}\n'

ASSESSED = (
    SITE.replace("{", "{{").replace("}", "}}")
    + """assessments:
  - {{id: x, subject: face, drafted_by: a, drafted_at: "2026-01-01T00:00Z",
     approved_by: {by}, approved_at: "{approved}T00:00Z",
     valid_until: "2027-01-01T00:00Z", topics: {{lawful_and_necessary: aaaaaaaaaaaaaaaaaaaa,
     impact_and_risk: aaaaaaaaaaaaaaaaaaaa, measures_fit: aaaaaaaaaaaaaaaaaaaa, leak_and_misuse: aaaaaaaaaaaaaaaaaaaa}}}}
"""
)

TEXT = "{{handler: 某, contact: 某, purpose: '{purpose}', method: 某, retention: 某, necessity: 某, impact: 某, rights_route: 某}}"
NOTICE = (
    SITE.replace("{", "{{").replace("}", "}}")
    + """notices:
  - id: n
    version: "1"
    published_at: "2026-01-01T00:00Z"
    zh: """
    + TEXT
    + "\n    en: "
    + TEXT.replace("{purpose}", "To open")
    + "\n"
)


def told(tmp_path: Path, text: str, **environment: str) -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_site(path, environment=environment)
    return [str(fault).removeprefix(f"{path}:") for fault in caught.value.faults]


def test_the_example_becomes_records() -> None:
    every = "".join(chr(code) for code in range(32, 127))
    records = seed(read_site(EXAMPLE, environment={"EAST_GATE_CAMERA_PASSWORD": every}))
    assert [door.id for door in records.doors] == ["east-gate", "bicycle-cellar"]
    assert records.doors[0].camera_id == "east-gate-camera"
    assert records.cameras[0].password == every
    assert records.cameras[0].door_id == "east-gate"
    assert records.permits[0].doors == ("east-gate", "bicycle-cellar")
    assert [one.windows[0].weekdays for one in records.schedules if one.id == records.permits[1].schedule_id] == [
        (0, 1, 2, 3, 4)
    ]
    assert records.cards == (("p-1", "7186A61E"),)
    assert {door.site_id for door in records.doors} == {records.site.id}


def test_the_example_names_boards_readers_schedules_groups_and_notices() -> None:
    records = seed(read_site(EXAMPLE, environment={"EAST_GATE_CAMERA_PASSWORD": "x"}))
    assert (records.site.company_id, records.companies[0].id) == ("wukang-property", "wukang-property")
    assert records.doors[0].controller_id == records.controllers[0].id
    assert [[reader.id for reader in door.readers] for door in records.doors] == [
        ["east-gate-in"],
        ["bicycle-cellar-1"],
    ]
    assert [one.format for one in records.doors[1].readers] == [one.id for one in records.card_formats] == ["backwards"]
    working = next(one for one in records.schedules if one.id == "working-hours")
    calendars = {one.id: one for one in records.calendars}
    shanghai = ZoneInfo("Asia/Shanghai")
    open_at = [datetime(2026, 10, day, 8, tzinfo=shanghai) for day in range(1, 12)]
    assert [at.day for at in open_at if working.covers(at, calendars)] == [8, 9, 10]
    assert {group.id: (group.doors, group.schedule_id) for group in records.groups} == {
        "residents": (("east-gate",), None),
        "cellar": (("bicycle-cellar",), "working-hours"),
    }
    assert (records.flats[0].keypad, records.flats[0].groups) == ("1101", ("residents",))
    assert (records.permits[2].group_id, records.permits[2].doors) == ("cellar", ())
    assert [notice.zh.handler for notice in records.notices] == ["武康物业服务有限公司"]


def test_what_works_but_is_perhaps_not_meant_is_told(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        SITE
        + """doors:
  - {id: d, name: D, factors: [face, card], camera: c}
  - {id: e, name: E, edge: edge-2}
cameras: [{id: c, name: C, url: 'rtsp://x'}]
groups:
  - {id: near, doors: [d]}
  - {id: spread, doors: all}
"""
    )
    told = [str(fault).removeprefix(f"{path}:") for fault in doubts(path, environment={})]
    assert [line.split(": ")[:3] for line in told] == [
        ["3", "doors[0].factors", "takes faces, and no assessment of this file allows them"],
        ["5", "cameras[0]", "has no register entry"],
        ["8", "groups[1].doors", ("its doors are on several edges (edge-1, edge-2), which count apart (passes with counted "
         "uses, and what doors must know of one another, need doors of one edge)")],
    ]  # fmt: skip
    assert doubts(EXAMPLE, environment={"EAST_GATE_CAMERA_PASSWORD": "x"}) == []


def test_rules_of_doors_that_do_nothing_as_they_stand_are_told(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        SITE
        + """schedules:
  - {id: day, name: Day, windows: [{weekdays: [0], from_time: "08:00", until_time: "18:00"}]}
doors:
  - {id: a, name: A, interlock: alone}
  - {id: b, name: B, passback_reset_min: 60}
  - {id: c, name: C, second_within_s: 20}
  - {id: d, name: D, free_schedule_id: day}
  - {id: e, name: E, interlock: lock, two_person: true, second_within_s: 20}
  - {id: f, name: F, interlock: lock}
  - {id: g, name: G, free_schedule_id: day, first_person: true}
"""
    )
    told = [(fault.line, fault.path) for fault in doubts(path, environment={})]
    assert told == [
        (5, "doors[0].interlock"), (6, "doors[1].passback_reset_min"), (7, "doors[2].second_within_s"),
        (8, "doors[3].free_schedule_id"),
    ]  # fmt: skip


def test_a_sluice_has_its_doors_on_one_edge(tmp_path: Path) -> None:
    text = SITE + "doors:\n  - {id: a, name: A, interlock: s}\n  - {id: b, name: B, interlock: s, edge: edge-2}\n"
    (line,) = told(tmp_path, text)
    assert line.startswith("4: doors[1].interlock: sluice 's' has door 'a' on edge")


def test_the_example_carries_what_lets_cameras_and_faces_go_live() -> None:
    records = seed(read_site(EXAMPLE, environment={"EAST_GATE_CAMERA_PASSWORD": "x"}))
    (entry,) = [camera.register for camera in records.cameras]
    assert entry is not None
    assert (entry.place_class, entry.privacy_masks) == ("community_common", ((0.0, 0.0, 0.2, 0.3),))
    at = datetime(2026, 3, 1, tzinfo=UTC)
    assert {one.subject for one in records.assessments if one.in_force(at)} == {"face", "recording"}


def test_consents_and_pins_reach_the_records(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    (tmp_path / "pin").write_text("246810\n")
    path.write_text(
        SITE
        + f"""doors: [{{id: d, name: D}}]
people:
  - id: p
    name: P
    pin_file: pin
    duress_pin: "${{UNDER_THREAT}}"
    consents:
      - {{id: c, doors: [d], text_version: "1", text_sha256: "{"0" * 64}", given_at: "2026-03-01T08:00:00+08:00",
         channel: office, evidence: folder 7}}
"""
    )
    records = seed(read_site(path, environment={"UNDER_THREAT": "135792"}))
    assert records.pins == (("p", "246810"),)
    assert records.duress_pins == (("p", "135792"),)
    (consent,) = records.consents
    assert (consent.person_id, consent.doors, consent.given_at) == ("p", ("d",), datetime(2026, 3, 1, tzinfo=UTC))
    (tmp_path / "pin").write_text("secret")
    with pytest.raises(SettingsError, match=r"pin_file: .*4 to 12 digits") as caught:
        read_site(path, environment={"UNDER_THREAT": "135792"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("factors", "wrong"),
    [
        ("card, pin", {"people[0].pin", "people[1].pin", "people[1].duress_pin"}),
        ("card, flat_pin", {"people[1].pin", "people[1].duress_pin"}),
        ("card", {"people[1].duress_pin"}),
    ],
)
def test_a_pin_of_the_file_is_as_long_as_the_api_asks(tmp_path: Path, *, factors: str, wrong: set[str]) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        SITE
        + f"""flats: [{{id: a, building: "1", room: "1"}}, {{id: b, building: "1", room: "2"}}]
doors: [{{id: d, name: D, factors: [{factors}]}}]
people:
  - {{id: p, name: P, flat: a, pin: "${{P}}"}}
  - {{id: q, name: Q, flat: b, pin: "${{Q}}", duress_pin: "${{FEARED}}"}}
"""
    )
    with pytest.raises(SettingsError) as caught:
        read_site(path, environment={"P": "73914", "Q": "8402", "FEARED": "9999"})
    assert {fault.path for fault in caught.value.faults} == wrong
    assert not any(pin in str(caught.value) for pin in ("73914", "8402", "9999"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("doors: []\n", "1: site: required, but missing (add site: …)"),
        (SITE + "dors: []\n", "2: dors: unknown key (did you mean 'doors'?)"),
        (
            SITE
            + "doors:\n  - id: d\n    name: D\n    factors: [face]\n    camera: c\ncameras: [{id: c, name: C, url: 'rtsp://x'}]\n",
            "5: doors[0].factors: face is never the only way in: add card, pin, flat_pin or qr",
        ),
        (
            SITE + "doors:\n  - {id: d, name: D, hands_free: true}\n",
            "3: doors[0].hands_free: a hands-free door needs impact_assessment, the id of its assessment",
        ),
        (
            SITE + "doors:\n  - {id: d, name: D}\n  - {id: d, name: E}\n",
            "4: doors[1].id: 'd' is given twice (choose another)",
        ),
        (
            SITE + "doors: [{id: d, name: D, factors: [crad]}]\n",
            "2: doors[0].factors[0]: must be one of face, card, pin, flat_pin, qr, face+card, face+pin, card+pin",
        ),
        (
            SITE + "doors: [{id: east, name: D}]\ncameras:\n  - {id: c, name: C, url: 'rtsp://x', door: eats}\n",
            "4: cameras[0].door: there is no 'eats' in this file (did you mean 'east'?)",
        ),
        (
            SITE + "doors: [{id: d, name: D, free_schedule_id: dya}]\nschedules: [{id: day, name: Day}]\n",
            "2: doors[0].free_schedule_id: there is no 'dya' in this file (did you mean 'day'?)",
        ),
        (
            SITE + "cameras: [{id: c, name: C, url: 'rtsp://u:p%40@x/1'}]\n",
            "2: cameras[0].url: must not carry a user or password: use user and password_file",
        ),
        (
            SITE + "cameras: [{id: c, name: C, url: 'file:///etc/passwd'}]\n",
            "2: cameras[0].url: must be an address that",
        ),
        (
            SITE + "cameras: [{id: c, name: C, url: 'rtsp://x', near_zone: [0.5, 0, 0.5, 1]}]\n",
            "2: cameras[0].near_zone: is empty",
        ),
        (
            SITE + "cameras: [{id: c, name: C, url: 'rtsp://x', near_zone: [0, 0, 2, 1]}]\n",
            "2: cameras[0].near_zone[2]: must be less",
        ),
        (
            SITE + "cameras: [{id: c, name: C, url: 'rtsp://x', password: abc}]\n",
            "2: cameras[0].password: a secret stands",
        ),
        (
            SITE + "cameras: [{id: c, name: C, url: 'rtsp://x', password_file: no}]\n",
            "2: cameras[0].password_file: there is no",
        ),
        (
            SITE
            + "cameras: [{id: c, name: C, url: 'rtsp://x', register_entry: {purpose: P, place_class: private_common, "
            "sign_confirmed_on: '2026-01-01', banned_area_checked: false}}]\n",
            "2: cameras[0].register_entry.banned_area_checked: check first that it sees no banned area",
        ),
        (
            SITE
            + "cameras: [{id: c, name: C, url: 'rtsp://x', register_entry: {purpose: P, place_class: private_common, "
            "sign_confirmed_on: '2026-01-01', banned_area_checked: true, privacy_masks: [[0.5, 0, 0.5, 1]]}}]\n",
            "2: cameras[0].register_entry.privacy_masks: a mask is x0, y0, x1, y1",
        ),
        (
            SITE
            + "flats: [{id: f, building: '1', room: '1', keypad: '1'}, {id: g, building: '1', room: '2', keypad: '1'}]\n",
            "2: flats[1].keypad: flat 'f' has this code already",
        ),
        (SITE + "flats: [{id: f, building: '1', room: '1', keypad: '1#'}]\n", "2: flats[0].keypad: use at most 16"),
        (
            SITE + "flats: [{id: f, building: '1', room: '1', groups: [g]}]\n",
            "2: flats[0].groups: there is no 'g' in this file",
        ),
        (
            SITE + "controllers: [{id: b, name: B, edge: edge-2}]\ndoors: [{id: d, name: D, controller: b}]\n",
            "3: doors[0].edge: is on another edge than its controller",
        ),
        (SITE + "doors: [{id: d, name: D, controller: b}]\n", "2: doors[0].controller: there is no 'b' in this file"),
        (
            SITE
            + "controllers: [{id: b, name: B}]\ndoors:\n"
            + "".join(f"  - {{id: d{number}, name: D, controller: b}}\n" for number in range(5)),
            "8: doors[4].controller: one controller drives at most 4 doors",
        ),
        (
            SITE + "doors: [{id: d, name: D, edge: edge-2}]\ncameras: [{id: c, name: C, url: 'rtsp://x', door: d}]\n",
            "3: cameras[0].edge: is on another edge than its door",
        ),
        (
            SITE + "doors: [{id: d, name: D}]\ngroups: [{id: g, doors: [x], schedule: s}]\n",
            "3: groups[0].doors: there is no 'x' in this file",
        ),
        (SITE + "groups: [{id: g, doors: all, schedule: s}]\n", "2: groups[0].schedule: there is no 's' in this file"),
        (
            SITE + "card_formats: [{id: f, frame: 26, width: 4}]\n",
            "2: card_formats[0].width: leave it out: a frame of 26 bits holds 3 bytes",
        ),
        (
            SITE + "doors: [{id: d, name: D, readers: [{format: f}]}]\n",
            "2: doors[0].readers[0].format: there is no 'f' in this file",
        ),
        (SITE + "schedules: [{id: s, calendars: [c]}]\n", "2: schedules[0].calendars: there is no 'c' in this file"),
        (
            SITE + "schedules: [{id: s, windows: [{weekdays: [7]}]}]\n",
            "2: schedules[0].windows[0].weekdays[0]: must be less than or equal to 6",
        ),
        (
            SITE + "calendars: [{id: c, days: [{first: '2026-01-02', last: '2026-01-01'}]}]\n",
            "2: calendars[0].days: '2026-01-02' ends before it begins",
        ),
        (
            SITE
            + "people: [{id: p, name: P}]\nschedules: [{id: s}]\n"
            + "permits: [{id: a, person: p, schedule: s, weekdays: [1]}]\n",
            "4: permits[0].schedule: given twice, also as weekdays and times",
        ),
        (
            SITE + "people: [{id: p, name: P}]\npermits: [{id: a, person: p, group: g}]\n",
            "3: permits[0].group: there is no",
        ),
        (
            SITE + "areas: [{code: '310104005', name: X, level: subdistrict, parent: '310105'}]\n",
            "2: areas[0].parent: the district above it has the first digits of its code",
        ),
        ("site: {id: s, name: S, community: '310104005012', lat: 1.0}\n", "1: site.lat: give both lat and lon"),
        (NOTICE.format(purpose="only English"), "6: notices[0].zh.purpose: the Chinese text is not Chinese"),
        (NOTICE.format(purpose=" "), "6: notices[0].zh.purpose: string should have at least 1 character"),
        (
            ASSESSED.format(by="a", approved="2026-01-02"),
            "4: assessments[0].approved_by: somebody else than its author",
        ),
        (ASSESSED.format(by="b", approved="2025-01-02"), "4: assessments[0].approved_at: it was approved before"),
        (ASSESSED.format(by="b", approved="2028-01-02"), "5: assessments[0].valid_until: it ends before"),
        (SITE + "doors: [{id: 'a/b', name: D}]\n", "2: doors[0].id: an id has 1 to 64"),
        (SITE + "doors: [{id: d, name: D, held_open_s: 0}]\n", "2: doors[0].held_open_s: must be greater than"),
        (
            SITE + "areas: [{code: '3101', name: X, level: district}]\n",
            "2: areas[0].code: a district code has 6 digits",
        ),
        ("site: {id: s, name: S, community: '1'}\n", "1: site.community: a community code has 12 digits"),
        (
            "site: {id: s, name: S, community: 310104005012}\n",
            '1: site.community: must be text (write it in quotes: "310104005012")',
        ),
        (SITE + "people: [{id: p, name: P, cards: [xyz]}]\n", "2: people[0].cards[0]: a card number has 1 to 20"),
        (SITE + "people: [{id: p, name: P, flat: f}]\n", "2: people[0].flat: there is no 'f' in this file"),
        (SITE + "people: [{id: p, name: P, age: 13}]\n", "2: people[0].age: unknown key"),
        (SITE + "permits: [{id: a, person: p, doors: all}]\n", "2: permits[0].person: there is no 'p' in this file"),
        (SITE + "site: {}\n", "2: site: given twice, first on line 1 (remove one of the two)"),
        (
            "site: {id: s, name: S, community: '310104005012', timezone: Mars/X}\n",
            "1: site.timezone: must be a time zone",
        ),
        (
            SITE
            + "people: [{id: p, name: P}]\npermits: [{id: a, person: p, doors: [], valid_from: 2026-01-01T00:00}]\n",
            "3: permits[0].valid_from: must have timezone info",
        ),
    ],
)
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, text: str, fault: str) -> None:
    found = told(tmp_path, text)
    assert any(line.startswith(fault) for line in found), found


def test_a_door_says_what_lets_in_after_the_policys_end(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE + "doors: [{id: a, name: A}, {id: b, name: B, when_policy_ends: nothing}]\n")
    records = seed(read_site(path, environment={}))
    assert [door.when_policy_ends for door in records.doors] == ["credentials", "nothing"]
    (fault,) = told(tmp_path, SITE + "doors: [{id: a, name: A, when_policy_ends: faces}]\n")
    assert "doors[0].when_policy_ends" in fault


def test_two_thousand_people_are_read(tmp_path: Path) -> None:
    lines = "".join(f"  - {{id: p{number}, name: P{number}}}\n" for number in range(2000))
    path = tmp_path / "site.yaml"
    path.write_text(SITE + "people:\n" + lines)
    assert len(seed(read_site(path, environment={})).people) == 2000
