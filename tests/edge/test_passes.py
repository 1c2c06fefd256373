"""Visitors' passes: as many uses as were given and no more, through crashes, races and full disks; revoked at once."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import textwrap
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.door import Executed, GiveFeedback, Order, UnlockDoor
from edge.passes import KEPT_FOR, Passes
from edge.spool import Spool
from models.errors import StorageUnavailable
from models.events import AccessDenied, AccessGranted
from models.policy import DesiredMode
from tests.edge.conftest import House, open_house
from tests.edge.doubles import MemoryWire, door, now, policy, until
from tests.edge.visitors import CARD, PIN, TAKES, VISITOR_PIN, answer, asked, compound, move_in, ticket, visitor

ROOT = Path(__file__).resolve().parents[2]


async def test_a_pass_for_one_use_opens_once_and_says_whose_it_was(house: House) -> None:
    await move_in(house, compound(visitor()))
    assert await answer(house, asked(1, "qr", ticket("v1"))) == "unlocked"
    assert await answer(house, asked(2, "qr", ticket("v1"))) == "used_up"
    await house.keeper.recorded("d1")
    facts = [f for f in await house.facts() if isinstance(f, AccessGranted | AccessDenied)]
    assert [(type(f), f.pass_id, f.person_id, f.method) for f in facts] == [
        (AccessGranted, "v1", None, "qr"),
        (AccessDenied, "v1", None, "qr"),
    ]


async def test_uses_are_counted_over_doors_and_ways_together(house: House) -> None:
    await move_in(house, compound(visitor(uses=3)))
    assert await answer(house, asked(1, "qr", ticket("v1"), "d1")) == "unlocked"
    assert await answer(house, asked(1, "pin", VISITOR_PIN, "d2")) == "unlocked"
    assert await answer(house, asked(2, "flat_pin", f"1-101#{VISITOR_PIN}", "d1")) == "unlocked"
    assert await answer(house, asked(3, "pin", VISITOR_PIN, "d1")) == "used_up"


async def test_a_visitors_pin_opens_with_the_hosts_flat_only(house: House) -> None:
    await move_in(house, compound(visitor(uses=0)))
    assert await answer(house, asked(1, "flat_pin", f"1-102#{VISITOR_PIN}")) == "unknown_credential"
    assert await answer(house, asked(2, "flat_pin", f"1-101#{VISITOR_PIN}")) == "unlocked"
    await move_in(house, compound(visitor(uses=0, host_id=None)))
    assert await answer(house, asked(3, "flat_pin", f"1-101#{VISITOR_PIN}")) == "unknown_credential"
    assert await answer(house, asked(4, "pin", VISITOR_PIN)) == "unlocked"


async def test_any_number_of_uses_takes_no_room(house: House) -> None:
    await move_in(house, compound(visitor(uses=0)))
    for n in range(5):
        assert await answer(house, asked(n, "qr", ticket("v1"))) == "unlocked"
    assert await house.spool.pass_uses("v1") == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"valid_from": now() + timedelta(days=1)}, "not_permitted_now"),
        ({"valid_until": now() - timedelta(days=1)}, "expired"),
        ({"doors": ("d2",)}, "no_permit"),
        ({"id": "v2"}, "unknown_credential"),
    ],
)
async def test_a_pass_opens_nothing_beyond_what_it_says(house: House, changes: dict[str, Any], expected: str) -> None:
    await move_in(house, compound(visitor(**changes)))
    assert await answer(house, asked(1, "qr", ticket("v1"))) == expected
    assert await house.spool.pass_uses("v1") == 0, "a refusal takes no use"


async def test_a_revoked_pass_opens_nothing_from_the_policy_on(house: House) -> None:
    await move_in(house, compound(visitor(uses=0)))
    assert await answer(house, asked(1, "pin", VISITOR_PIN)) == "unlocked"
    house.admission.apply(compound(n=2))
    assert await answer(house, asked(2, "pin", VISITOR_PIN)) == "unknown_credential"
    assert await answer(house, asked(3, "qr", ticket("v1"))) == "unknown_credential"


async def test_passes_end_with_the_policy_and_cards_go_on(house: House) -> None:
    await move_in(house, compound(visitor(), valid_until=now() - timedelta(seconds=1)))
    assert await answer(house, asked(1, "qr", ticket("v1"))) == "policy_expired"
    assert await answer(house, asked(2, "card", CARD)) == "unlocked"


async def test_where_the_door_says_so_nothing_lets_in_after_the_policys_end(house: House) -> None:
    strict = door("d1", factors=TAKES, when_policy_ends="nothing")
    doors = (strict, door("d2", factors=TAKES))
    await move_in(house, compound(doors=doors))
    assert await answer(house, asked(1, "card", CARD)) == "unlocked"
    house.admission.apply(compound(n=2, doors=doors, valid_until=now() - timedelta(seconds=1)))
    assert await answer(house, asked(2, "card", CARD)) == "policy_expired"
    assert await answer(house, asked(3, "pin", PIN)) == "policy_expired"
    assert await answer(house, asked(4, "card", CARD, "d2")) == "unlocked", "the other door has another setting"
    assert await answer(house, asked(5, "card", CARD, reader="out")) == "unlocked", "nobody is locked in"
    house.admission.apply(compound(n=3, doors=doors))
    assert await answer(house, asked(6, "card", CARD)) == "unlocked", "the gateway was heard again"


async def test_a_clock_that_cannot_tell_the_policys_end_counts_as_its_end_there(house: House) -> None:
    await move_in(house, compound(doors=(door("d1", factors=TAKES, when_policy_ends="nothing"), door("d2"))))
    house.clock.not_before(now() + timedelta(days=365))
    assert await answer(house, asked(1, "card", CARD)) == "policy_expired"
    assert await answer(house, asked(2, "card", CARD, "d2")) == "unlocked"


async def test_a_lock_down_takes_no_use(house: House) -> None:
    await move_in(house, compound(visitor(), modes=(DesiredMode(door_id="d1", version=1, mode="locked_down"),)))
    await house.admission.consider(asked(1, "qr", ticket("v1")))
    assert house.admission.counters["denied_locked_down"] == 1
    assert await house.spool.pass_uses("v1") == 0


# ---- neither given back nor taken twice -----------------------------------------------------------------------------


async def test_a_use_is_on_disk_before_the_door_is_told(house: House) -> None:
    seen = []

    async def look(order: Order) -> Executed:
        if isinstance(order, UnlockDoor):
            seen.append(await house.spool.pass_uses("v1"))
        return Executed(ok=True)

    house.wire.answer = look
    await move_in(house, compound(visitor(uses=2)))
    for n in (1, 2):
        assert await answer(house, asked(n, "qr", ticket("v1"))) == "unlocked"
    assert seen == [1, 2]


async def test_a_crash_between_the_use_and_the_unlock_gives_no_use_back(tmp_path: Path) -> None:
    never = asyncio.Event()
    silent = MemoryWire()
    async with open_house(tmp_path, wire=silent) as house:

        async def hang(_: Order) -> Executed:
            await never.wait()
            return Executed(ok=True)

        await move_in(house, compound(visitor()))
        silent.answer = hang
        silent.ask(asked(1, "qr", ticket("v1")))
        await until(lambda: bool(silent.unlocks()))
    async with open_house(tmp_path) as house:
        await move_in(house, compound(visitor()))
        assert await answer(house, asked(2, "qr", ticket("v1"))) == "used_up"
        assert await answer(house, asked(1, "qr", ticket("v1"))) == "used_up", "nor does the same request open now"


def test_a_killed_process_has_taken_exactly_the_uses_that_it_was_told_of(tmp_path: Path) -> None:
    script = f"""
        import asyncio, os, signal, sys
        from pathlib import Path
        from edge.passes import Passes
        from edge.spool import Spool
        from tests.edge.visitors import visitor

        async def main() -> None:
            async with Spool(Path({str(tmp_path / "s.db")!r})) as spool:
                passes, one = Passes(spool), visitor(uses=10)
                for n in range(3):
                    assert await passes.take(one, attempt=f"d1/r{{n}}", used=await passes.used(one))
                os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -9

    async def count() -> int:
        async with Spool(tmp_path / "s.db") as spool:
            return await spool.pass_uses("v1")

    assert asyncio.run(count()) == 3


async def test_two_who_show_one_pass_at_once_do_not_both_get_in(house: House) -> None:
    await move_in(house, compound(visitor(uses=1)))
    await asyncio.gather(*(house.admission.consider(asked(n, "qr", ticket("v1"), f"d{1 + n % 2}")) for n in range(8)))
    assert len(house.wire.unlocks()) == 1
    refused = [order.reason for order in house.wire.orders if isinstance(order, GiveFeedback)]
    assert refused == ["used_up"] * 7


async def test_what_races_for_the_last_use_too_often_is_refused(house: House) -> None:
    await move_in(house, compound(visitor(uses=1)))
    one = visitor(uses=1)
    assert await Passes(house.spool).take(one, attempt="d1/r1", used=5)
    assert not await Passes(house.spool).take(one, attempt="d1/r1", used=9), "an attempt takes one use at the most"
    assert not await Passes(house.spool).take(one, attempt="d1/r2", used=5), "a use is taken once"


async def test_an_attempt_that_has_taken_a_use_before_a_restart_takes_no_other(tmp_path: Path) -> None:
    for expected in ("unlocked", "replayed"):
        async with open_house(tmp_path) as house:
            await move_in(house, compound(visitor(uses=5)))
            assert await answer(house, asked(1, "qr", ticket("v1"))) == expected
            assert await house.spool.pass_uses("v1") == 1


@pytest.mark.parametrize(("certain", "again"), [(True, "unlocked"), (False, "used_up")])
async def test_a_use_comes_back_only_if_the_door_has_certainly_not_opened(
    house: House, certain: bool, again: str
) -> None:
    async def fail(order: Order) -> Executed:
        return Executed(ok=isinstance(order, GiveFeedback), certain=certain, error="no")

    await move_in(house, compound(visitor()))
    if certain:
        house.wire.fails = None
        house.keeper._served["memory"].driver = None  # the wire is away: the order never leaves
    else:
        house.wire.answer = fail
    await house.admission.consider(asked(1, "qr", ticket("v1")))
    house.wire.answer = None
    house.keeper._served["memory"].driver = house.wire
    assert await answer(house, asked(2, "qr", ticket("v1"))) == again


async def test_a_use_that_others_followed_is_not_given_back(house: House) -> None:
    one, passes = visitor(uses=3), Passes(house.spool)
    assert await passes.take(one, attempt="d1/a", used=0)
    assert await passes.take(one, attempt="d1/b", used=1)
    passes.give_back(one, attempt="d1/a")
    assert await passes.used(one) == 2
    passes.give_back(one, attempt="d1/b")
    assert await passes.used(one) == 1


async def test_what_the_gateway_has_heard_of_counts_on_a_new_box(house: House) -> None:
    await move_in(house, compound(visitor(uses=3, used=2)))
    assert await answer(house, asked(1, "qr", ticket("v1"))) == "unlocked"
    assert await answer(house, asked(2, "qr", ticket("v1"))) == "used_up"


# ---- disks ----------------------------------------------------------------------------------------------------------


async def break_disk(spool: Spool, act: str) -> None:
    """Let every write of a use fail from now on, as on a disk that is full."""
    trigger = f"CREATE TEMP TRIGGER broken BEFORE {act} ON pass_uses BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    await spool._submit(lambda db: db.execute(trigger))


async def test_a_disk_that_takes_nothing_opens_for_no_counted_pass_and_for_every_resident(house: House) -> None:
    await move_in(house, compound(visitor(), visitor("v2", uses=0, pin_digest="")))
    await break_disk(house.spool, "INSERT")
    assert await answer(house, asked(1, "qr", ticket("v1"))) == "device_failed"
    assert house.admission.counters["passes_not_counted"] == 1
    assert not house.wire.unlocks()
    assert await answer(house, asked(2, "card", CARD)) == "unlocked"
    assert await answer(house, asked(3, "qr", ticket("v2"))) == "unlocked"
    await house.spool._submit(lambda db: db.execute("DROP TRIGGER broken"))
    assert await answer(house, asked(4, "qr", ticket("v1"))) == "unlocked"


async def test_a_disk_that_hangs_opens_nothing_in_time(house: House) -> None:
    await move_in(house, compound(visitor()))
    let_go = threading.Event()
    hanging = house.spool._submit(lambda _db: let_go.wait(20))
    assert await answer(house, asked(1, "qr", ticket("v1"))) == "device_failed"
    let_go.set()
    await hanging
    assert not house.wire.unlocks()
    assert await answer(house, asked(2, "qr", ticket("v1"))) == "unlocked"


async def test_a_use_that_reached_the_disk_too_late_stays_taken(house: House) -> None:
    let_go = threading.Event()
    hanging = house.spool._submit(lambda _db: let_go.wait(20))
    with pytest.raises(StorageUnavailable, match="in time"):
        await Passes(house.spool).take(visitor(), attempt="d1/a", used=0)
    let_go.set()
    await hanging
    assert await Passes(house.spool).used(visitor()) == 1


async def test_a_use_that_cannot_be_given_back_stays_taken(house: House, caplog: pytest.LogCaptureFixture) -> None:
    one, passes = visitor(), Passes(house.spool)
    assert await passes.take(one, attempt="d1/a", used=0)
    await break_disk(house.spool, "DELETE")
    passes.give_back(one, attempt="d1/a")
    await until(lambda: "uses of passes stay as they were" in caplog.text)
    assert await passes.used(one) == 1


async def test_uses_are_forgotten_long_after_the_pass_by_the_gateways_time(house: House) -> None:
    over, long_over = visitor(valid_until=now() - timedelta(days=29)), visitor("v2", valid_until=now() - KEPT_FOR)
    passes = Passes(house.spool)
    for one in (over, long_over):
        assert await passes.take(one, attempt=f"d1/{one.id}", used=0)
    passes.forget(policy(passes=(long_over,)))
    assert await passes.used(long_over) == 1, "not while the policy names it"
    passes.forget(policy())
    assert [await passes.used(one) for one in (over, long_over)] == [1, 0]


async def test_a_new_policy_lets_go_of_what_is_long_over(house: House) -> None:
    long_over = visitor(valid_until=now() - KEPT_FOR - timedelta(days=1))
    assert await Passes(house.spool).take(long_over, attempt="d1/a", used=0)
    house.admission.apply(compound(n=2))
    assert await Passes(house.spool).used(long_over) == 0


# ---- whatever happens -----------------------------------------------------------------------------------------------

steps = st.lists(st.sampled_from(["show", "show twice", "fail", "restart", "crash"]), max_size=10)


@given(uses=st.integers(1, 3), happens=steps)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_a_pass_opens_no_more_often_than_it_says(
    tmp_path_factory: pytest.TempPathFactory, uses: int, happens: list[str]
) -> None:
    asyncio.run(_live(tmp_path_factory.mktemp("house"), uses, happens))


async def _live(folder: Path, uses: int, happens: list[str]) -> None:
    opened = taken = n = 0
    rest = [*happens, "end"]
    while rest:
        wire = MemoryWire()
        async with open_house(folder, wire=wire) as house:
            await move_in(house, compound(visitor(uses=uses)))
            while rest:
                step, n = rest.pop(0), n + 2
                if step in {"restart", "end"}:
                    break
                if step == "crash":
                    taken = min(uses, taken + await _crash(house, n))
                    break
                wire.answer = _unsure if step == "fail" else None
                shown = [asked(n + m, "qr", ticket("v1")) for m in range(2 if step == "show twice" else 1)]
                await asyncio.gather(*(house.admission.consider(one) for one in shown))
                taken = min(uses, taken + len(shown))
                assert await house.spool.pass_uses("v1") == taken
        opened += len({order.attempt for order in wire.unlocks()})
        assert opened == taken <= uses, "every use opened once, or may have"


async def _unsure(order: Order) -> Executed:
    return Executed(ok=isinstance(order, GiveFeedback), certain=False)


async def _crash(house: House, n: int) -> int:
    """Leave the door while it is being told to open; return how many uses were taken."""
    never = asyncio.Event()

    async def hang(order: Order) -> Executed:
        if isinstance(order, UnlockDoor):
            await never.wait()
        return Executed(ok=True)

    house.wire.answer = hang
    before = len(house.wire.orders)
    house.wire.ask(asked(n, "qr", ticket("v1")))
    await until(lambda: len(house.wire.orders) > before)
    return len([order for order in house.wire.orders[before:] if isinstance(order, UnlockDoor)])


async def test_a_spool_that_is_gone_is_said(tmp_path: Path) -> None:
    async with Spool(tmp_path / "s.db") as spool:
        with contextlib.suppress(StorageUnavailable):
            await spool._submit(lambda db: db.execute("DROP TABLE pass_uses"))
        with pytest.raises(StorageUnavailable):
            await Passes(spool).used(visitor())
