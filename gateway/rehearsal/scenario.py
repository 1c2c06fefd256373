"""Play a scenario: start its simulators, do to them what its time line says, tell each step, and leave nothing running.

Times are kept by the clock of this process from the moment when every simulator is ready; a step that takes long delays
no other device's.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from config.scenario import DeviceEntry, ScenarioFile, StepEntry
from gateway.rehearsal.actors import Remote
from gateway.rehearsal.processes import Child, module_argv
from models.errors import DeviceUnreachable, GatehouseError
from models.simulator_words import SimulatorWords

READY_S: Final = 60.0
LOOK_S: Final = 0.5
PROGRAMS: Final = {"broker": ("mqtt", "broker")}
USUAL: Final = "127.0.0.1:1883"
"""Where a simulated door looks for its broker."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Tell one thing that happened: when (s from the start), to which device, what was ordered and what it answered."""

    at_s: float
    device: str
    order: dict[str, object]
    ok: bool
    answer: dict[str, object]


Tell = Callable[[Told], None]


def simulator_words() -> dict[str, SimulatorWords]:
    """Ask the drivers what each kind of simulator understands.

    Raises:
        GatehouseError: they do not say.
    """
    try:
        ran = subprocess.run(module_argv("drivers", "words"), capture_output=True, timeout=READY_S, check=True)
        return {words.kind: words for words in msgspec.json.Decoder(SimulatorWords).decode_lines(ran.stdout)}
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        raise GatehouseError(f"the simulators do not say what they understand: {error}") from error


def arguments_of(device: DeviceEntry) -> list[str]:
    """Return the command line options of a simulator."""
    found: list[str] = []
    for name, value in device.options.items():
        flag = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                found.append(flag)
            elif one is not False:
                found += [flag, str(one)]
    return found


def equip(scenario: ScenarioFile, folder: Path) -> dict[str, Path]:
    """Write the users of brokers that name no `dir` of their own: the edge and the scenario's doors on each, by random passwords.

    Returns:
        The folder of each such broker by its id; `users.json` in it is for its doors, and for whoever plays the edge.
    """
    folders = {}
    for device in scenario.devices:
        if device.kind == "broker" and "dir" not in device.options:
            doors = [door for other in scenario.devices if _is_on(other, device) for door in _doors_of(other)]
            users = {
                "edge": {"password": secrets.token_urlsafe()},
                "doors": {d: secrets.token_urlsafe() for d in doors},
            }
            own = folders[device.id] = folder / device.id
            own.mkdir(mode=0o700)
            (own / "users.json").write_bytes(msgspec.json.encode(users))
    return folders


def _is_on(door: DeviceEntry, broker: DeviceEntry) -> bool:
    """Return whether simulated doors without users of their own connect to a broker of the scenario."""
    where = f"{broker.options.get('host', '127.0.0.1')}:{broker.options.get('port', 1883)}"
    return door.kind == "door" and "users" not in door.options and door.options.get("broker", USUAL) == where


def _doors_of(device: DeviceEntry) -> list[str]:
    named = device.options.get("door", "gate")
    return [str(one) for one in named] if isinstance(named, list) else [str(named)]


def _with_users(device: DeviceEntry, scenario: ScenarioFile, folders: Mapping[str, Path]) -> DeviceEntry:
    """Return a device with the folder or the users that were written for it."""
    if device.id in folders:
        return device.model_copy(update={"options": {**device.options, "dir": str(folders[device.id])}})
    for broker in scenario.devices:
        if broker.id in folders and _is_on(device, broker):
            users = str(folders[broker.id] / "users.json")
            return device.model_copy(update={"options": {**device.options, "users": users}})
    return device


async def play(
    scenario: ScenarioFile, *, log_dir: Path, tell: Tell, ready: Callable[[str, dict[str, object]], None],
    for_s: float | None = None,
) -> int:  # fmt: skip
    """Play a scenario to its end, for `for_s` seconds, or for ever where it repeats; return how many orders failed.

    Raises:
        GatehouseError: a simulator did not start, or ended by itself.
    """
    async with AsyncExitStack() as running:
        children: list[Child] = []
        remotes: dict[str, Remote] = {}
        folders = equip(scenario, Path(running.enter_context(tempfile.TemporaryDirectory(prefix="gatehouse-"))))
        for named in scenario.devices:
            device = _with_users(named, scenario, folders)
            group, kind = PROGRAMS.get(device.kind, ("simulate", device.kind))
            child = Child(device.id, module_argv("drivers", group, kind, *arguments_of(device)), log_dir=log_dir)
            running.push_async_callback(child.stop)
            card = await child.start(within_s=READY_S)
            children.append(child)
            ready(device.id, card | ({"dir": str(folders[device.id])} if device.id in folders else {}))
            if "control" in card:
                remotes[device.id] = Remote(device.id, str(card["control"]))
        stage = _Stage(scenario, remotes=remotes, tell=tell)
        watching = asyncio.create_task(_watch(children))
        playing = asyncio.create_task(stage.play())
        try:
            done, _ = await asyncio.wait({watching, playing}, timeout=for_s, return_when=asyncio.FIRST_COMPLETED)
            if playing in done and for_s is not None and scenario.repeat_s is None:
                await asyncio.wait({watching}, timeout=max(0.0, for_s - stage.elapsed_s()))
            for task in done | ({watching} if watching.done() else set()):
                task.result()
        finally:
            for task in (watching, playing):
                task.cancel()
            await asyncio.gather(watching, playing, return_exceptions=True)
        return stage.failed


class _Stage:
    """Do what the time line says."""

    def __init__(self, scenario: ScenarioFile, *, remotes: dict[str, Remote], tell: Tell) -> None:
        self._scenario = scenario
        self._remotes = remotes
        self._tell = tell
        self._begun = time.monotonic()
        self.failed = 0

    def elapsed_s(self) -> float:
        """Return how long it has been playing, in s."""
        return time.monotonic() - self._begun

    async def play(self) -> None:
        """Play once, or again and again."""
        start_s = 0.0
        while True:
            async with asyncio.TaskGroup() as group:
                for device in self._remotes:
                    group.create_task(self._line(device, start_s))
            if self._scenario.repeat_s is None:
                return
            start_s += self._scenario.repeat_s
            await asyncio.sleep(max(0.0, start_s - self.elapsed_s()))

    async def _line(self, device: str, start_s: float) -> None:
        """Do to one device what is done to it, in the order of time."""
        orders = sorted(
            (pair for step in self._scenario.timeline if step.device == device for pair in _orders(step)),
            key=lambda pair: pair[0],
        )
        for at_s, order in orders:
            await asyncio.sleep(max(0.0, start_s + at_s - self.elapsed_s()))
            await self._do(device, order)

    async def _do(self, device: str, order: dict[str, object]) -> None:
        at_s = round(self.elapsed_s(), 3)
        try:
            answer = await self._remotes[device].send(order)
        except (DeviceUnreachable, GatehouseError) as error:
            answer = {"ok": False, "error": str(error)}
        ok = bool(answer.get("ok", True))
        self.failed += not ok
        self._tell(Told(at_s=at_s, device=device, order=order, ok=ok, answer=answer))


def _orders(step: StepEntry) -> Iterator[tuple[float, dict[str, object]]]:
    """Return a step's order, and the one that ends it where it ends by itself."""
    order: dict[str, object] = dict(step.order)
    if step.for_s is None:
        yield step.at_s, order
        return
    yield step.at_s, order | {"on": True}
    yield step.at_s + step.for_s, order | {"on": False}


async def _watch(children: list[Child]) -> None:
    """Wait for ever, unless a simulator ends by itself.

    Raises:
        GatehouseError: one did.
    """
    while True:
        for child in children:
            if not child.running:
                raise GatehouseError(f"{child.name} ended by itself:\n{child.tail()}")
        await asyncio.sleep(LOOK_S)
