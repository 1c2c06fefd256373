"""Commands as libosdp takes them: outputs, lights, beeps and text, in its units of 100 ms. Pure."""

from __future__ import annotations

from math import ceil
from typing import Final

import osdp

from drivers.osdp.messages import Beep, Command, Light, Output, Show

TICK_S: Final = 0.1
MOST_TICKS: Final = 255
"""libosdp keeps a timer in one byte."""
CODES: Final[dict[type[Command], int]] = {Output: 0x68, Light: 0x69, Beep: 0x6A, Show: 0x6B}
"""The code of each command on the line (OSDP 2.2, clause 6)."""
COLORS: Final = {
    "red": osdp.CommandLEDColor.Red,
    "green": osdp.CommandLEDColor.Green,
    "amber": osdp.CommandLEDColor.Amber,
}
OFF_FOR_GOOD: Final = 1
ON_FOR_GOOD: Final = 2
ON_FOR_A_WHILE: Final = 5
"""Control codes of an output (OSDP 2.2, clause 6.10): the last one ends by its timer, at the reader."""


def as_dict(command: Command) -> dict[str, object]:
    """Return a command in libosdp's words."""
    if isinstance(command, Output):
        code = {"off": OFF_FOR_GOOD, "on": ON_FOR_GOOD, "pulse": ON_FOR_A_WHILE}[command.turn]
        timer = _ticks(command.hold_s) if command.turn == "pulse" else 0
        given = {"output_no": command.number, "control_code": code, "timer_count": timer}
        return {"command": osdp.Command.Output, **given}
    if isinstance(command, Light):
        blink = {"on_count": 3, "off_count": 2} if command.blink else {"on_count": 1, "off_count": 0}
        color = {"on_color": COLORS[command.color], "off_color": osdp.CommandLEDColor.Black}
        where = {"reader": 0, "led_number": 0, "temporary": True, "control_code": 2}
        return {"command": osdp.Command.LED, **where, **color, **blink, "timer_count": _ticks(command.for_s)}
    if isinstance(command, Beep):
        ticks = _ticks(command.on_s)
        tone = {"control_code": 2, "on_count": ticks, "off_count": ticks, "rep_count": command.times}
        return {"command": osdp.Command.Buzzer, "reader": 0, **tone}
    place = {"reader": 0, "offset_row": 1, "offset_col": 1, "temp_time": min(ceil(command.for_s), MOST_TICKS)}
    return {"command": osdp.Command.Text, **place, "control_code": 3, "data": command.text}


def answering(reason: str, *, ok: bool, for_s: float) -> tuple[Show, Light, Beep]:
    """Return how a person at a reader is told the outcome: text, light and sound, in that order.

    Green with one tone for yes, red with three for no; amber with one if something more is awaited, which is neither.
    """
    show = Show(text=reason.replace("_", " ")[:32], for_s=for_s)
    if reason.startswith("awaits_"):
        return show, Light(color="amber", for_s=for_s, blink=True), Beep(times=1, on_s=0.1)
    if ok:
        return show, Light(color="green", for_s=for_s), Beep(times=1, on_s=0.2)
    return show, Light(color="red", for_s=for_s, blink=True), Beep(times=3, on_s=0.1)


def _ticks(duration_s: float) -> int:
    return max(1, min(ceil(duration_s / TICK_S), MOST_TICKS))
