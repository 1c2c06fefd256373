"""A scenario, `SCENARIO.yaml`: which simulators run, and what is done to them when. Read as strictly as the settings.

Nothing here starts anything (gateway.rehearsal.scenario does). What a simulator's own options and orders may be is handed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, StringConstraints

from config.reading import Mistake, Strict, read
from config.scenario_words import NO_WORDS, plain_mistakes
from config.site_fields import Id
from models.simulator_words import SimulatorWords

Kind = Literal["broker", "door", "camera", "onvif", "osdp"]
CONTROLLED: Final = frozenset({"door", "camera", "onvif", "osdp"})
"""The kinds that take orders on a control port."""
Option = str | int | float | bool | Annotated[list[str], Field(max_length=64)]
OptionName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class DeviceEntry(Strict):
    """One simulator."""

    id: Id = Field(description="Name of it in this scenario.")
    kind: Kind = Field(description="What it simulates: broker, door, camera, onvif or osdp.")
    options: dict[OptionName, Option] = Field(
        default_factory=dict,
        max_length=32,
        description="Options of `gatehouse simulate KIND`, without the dashes; a list repeats one, true is a flag.",
    )


class StepEntry(Strict):
    """One thing that is done."""

    at_s: float = Field(ge=0, le=86_400, description="Seconds after every simulator is ready.")
    device: Id = Field(description="Id of the simulator it is done to.")
    order: dict[str, JsonValue] = Field(
        min_length=1, max_length=16, description="What is sent to its control port, as its own page says."
    )
    for_s: float | None = Field(
        None, gt=0, le=86_400, description="Seconds after which a misbehaviour ends; needs act: misbehave."
    )


class ScenarioFile(Strict):
    """A whole scenario."""

    name: str = Field("", max_length=128, description="What it shows.")
    devices: tuple[DeviceEntry, ...] = Field(max_length=64, description="The simulators.")
    timeline: tuple[StepEntry, ...] = Field((), max_length=1000, description="What is done, in any order.")
    repeat_s: float | None = Field(None, ge=1, le=86_400, description="Seconds after which it is played again.")


def read_scenario(
    path: Path, *, environment: Mapping[str, str], words: Mapping[str, SimulatorWords] = NO_WORDS
) -> ScenarioFile:
    """Read a scenario.

    Args:
        path: the file.
        environment: where `${NAME}` is looked up.
        words: what each kind of simulator understands; options and orders of a kind that is not there are not judged.

    Raises:
        SettingsError: with every fault of the file, each with line, key and suggestion.
    """
    return read(
        path, ScenarioFile, environment=environment, rules=_mistakes, plain_rules=partial(plain_mistakes, words=words)
    )


def _mistakes(file: ScenarioFile) -> Iterator[Mistake]:
    if not file.devices:
        yield Mistake(key=("devices",), message="name at least one simulator")
    known: dict[str, Kind] = {}
    for number, device in enumerate(file.devices):
        if device.id in known:
            yield Mistake(key=("devices", number, "id"), message=f"{device.id!r} is named twice")
        known[device.id] = device.kind
    for number, step in enumerate(file.timeline):
        kind = known.get(step.device)
        if kind is not None and kind not in CONTROLLED:
            yield Mistake(key=("timeline", number, "device"), message=f"a {kind} takes no orders")
        if step.for_s is not None and (step.order.get("act") != "misbehave" or kind == "camera"):
            yield Mistake(
                key=("timeline", number, "for_s"),
                message="only a misbehaviour ends after a time",
                suggestion="of a camera, put for_s into its order",
            )
        if file.repeat_s is not None and step.at_s + (step.for_s or 0) > file.repeat_s:
            yield Mistake(key=("timeline", number, "at_s"), message="it ends after the scenario is played again")
