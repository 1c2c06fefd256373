"""One simulated reader with its door: libosdp's peripheral device, contact, strike, keypad, display, and faults by name.

Inputs: 0 contact, 1 exit button, 2 emergency release, 3 mains lost, 4 battery low. Output 0 is the strike. It decides
nothing about people, and keeps nothing: an OSDP reader has no memory of what happened while nobody asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import msgspec
import osdp
import osdp_sys

from drivers.osdp import wire
from models.errors import InvalidInput

Fault = Literal[
    "silent", "deaf", "wrong_key", "garbage", "corrupt", "slow", "refuse_unlock", "duplicate", "late_events", "replay",
]  # fmt: skip
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
INPUTS: Final = ("contact", "exit", "emergency", "mains", "battery")
SERIALS: Final = 0x1000
"""Its serial is this and its address."""
ANSWER_S: Final = 5.0
CUT_S: Final = 2.6
SLOW_S: Final = 0.12
TOLD_MOST: Final = 64
CAPABILITIES: Final = osdp.PDCapabilities([
    (osdp.Capability.ContactStatusMonitoring, 1, len(INPUTS)),
    (osdp.Capability.OutputControl, 1, 1),
    (osdp.Capability.CardDataFormat, 1, 1),
    (osdp.Capability.LEDControl, 1, 1),
    (osdp.Capability.AudibleControl, 1, 1),
    (osdp.Capability.TextOutput, 1, 1),
    (osdp.Capability.CommunicationSecurity, 1, 1),
])  # fmt: skip
WIEGAND: Final = frozenset({26, 34, 37})
WRONG_KEY: Final = bytes(16)
JUNK: Final = b"\x53\x00\x01S\x80noise"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Say how somebody at the reader fared: let in, told why not, or not answered; `ms` from request to that."""

    ok: bool
    unlocked: bool = False
    feedback: str | None = None
    ms: float | None = None
    error: str | None = None


class SimulatedReader:
    """Be one reader on a bus. Everything happens in one event loop.

    Args:
        door_id: its name here.
        address: its address on the bus.
        key: its key for the secure channel; None waits for one, in install mode.
        on_key: takes a key that it was given.
    """

    def __init__(
        self, door_id: str, *, address: int, key: bytes | None, on_key: Callable[[bytes], None] = lambda _: None
    ) -> None:
        self.id = door_id
        self.address = address
        self.contact: Literal["open", "closed"] = "closed"
        self.lock: Literal["locked", "unlocked"] = "locked"
        self.tampered = False
        self.faults: set[Fault] = set()
        self.unlocks = 0
        self.told: deque[str] = deque(maxlen=TOLD_MOST)
        """What was shown, lit and sounded at it, newest last."""
        self.send: Callable[[bytes], None] = lambda _: None
        """Puts bytes on the line; set by the bus."""
        self._key = key
        self._on_key = on_key
        self._inputs = dict.fromkeys(INPUTS, False)
        self._events = 0
        self._change = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiting: asyncio.Future[Outcome] | None = None
        self._cut = False
        self._standing: Literal["locked", "unlocked"] = "locked"
        self._device: Any = None
        self._trusted = key
        self._channel = Side(self)
        self._greet = False
        self._last_told: bytes | None = None

    # ---- the line ---------------------------------------------------------------------------------------------------

    def hear(self, data: bytes) -> None:
        """Take bytes from the line."""
        if not self._cut and "deaf" not in self.faults:
            self._channel.hear(data)

    def step(self) -> None:
        """Let libosdp work; it must be often, as in a reader."""
        trusted = WRONG_KEY if "wrong_key" in self.faults else self._key
        if self._device is None or trusted != self._trusted:
            self._trusted = trusted
            self._device = self._make_device(trusted)
        if self._greet:
            self._greet = False
            self._report_all()
        self._device.refresh()

    def _make_device(self, key: bytes | None) -> Any:
        flags = [osdp.LibFlag.EnforceSecure if key is not None else osdp.LibFlag.InstallMode]
        known = osdp.PdId(1, 7, 0x5EED, SERIALS + self.address, 0x010203)
        info = osdp.PDInfo(self.address, self._channel, scbk=key, flags=flags, name=self.id[:16], id=known)
        device = osdp_sys.PeripheralDevice(info.get(), capabilities=CAPABILITIES.get())
        device.set_command_callback(self._on_command)
        return device

    def asked(self, code: int) -> None:
        """Take note of a command for this reader: whoever asks for its identity begins a session, and is told all."""
        if code == wire.IDENTIFY:
            self._greet = True

    def answer(self, frame: bytes) -> None:
        """Put an answer on the line, as its faults have it."""
        if self._cut or "silent" in self.faults:
            return
        frames = wire.Frames().feed(frame)
        if frames and len(frame) > 16 and frames[0].code in {0x50, 0x53}:
            self._last_told = frame
        if "replay" in self.faults and self._last_told is not None and frames and frames[0].code == wire.ACK:
            self.faults.discard("replay")
            frame = self._last_told
        if "corrupt" in self.faults:
            frame = frame[:-3] + bytes([frame[-3] ^ 0x10]) + frame[-2:]
            self.faults.discard("corrupt")
        if "garbage" in self.faults:
            frame = JUNK + frame + JUNK
        if "slow" in self.faults:
            asyncio.get_running_loop().call_later(SLOW_S, self.send, frame)
        else:
            self.send(frame)

    # ---- what happens at the door -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the door leaf."""
        self.contact = "open"
        self._input("contact", on=True)

    def force(self) -> None:
        """Open the door leaf without any release; a reader cannot tell the difference."""
        self.open()

    def close(self) -> None:
        """Close the door leaf."""
        self.contact = "closed"
        self._input("contact", on=False)

    def tamper(self) -> None:
        """Open the housing."""
        self.tampered = True
        self._report("local")

    def clear_tamper(self) -> None:
        """Close the housing."""
        self.tampered = False
        self._report("local")

    def press_exit(self) -> None:
        """Press the exit button inside, and let it go."""
        self._input("exit", on=True)
        self._input("exit", on=False)

    def set_input(self, name: str, *, on: bool) -> None:
        """Set one of its inputs. Raises `InvalidInput` for another name."""
        if name not in INPUTS:
            raise InvalidInput("input", f"name one of {', '.join(INPUTS)}")
        self._input(name, on=on)

    def drop(self) -> None:
        """Lose the line for 2.6 s, as a loose plug would."""
        self._cut = True
        self._later("cut", CUT_S, self._plugged_in)

    async def request(self, kind: str, value: str | None, *, timeout_s: float = ANSWER_S) -> Outcome:
        """Present a card or type a PIN, and wait for the outcome.

        Args:
            kind: card, pin or flat_pin.
            value: a PIN's digits; a flat and PIN with `#` between; a card's bytes in hexadecimal, or `bits:hex`.
            timeout_s: how long to wait for an answer.

        Raises:
            InvalidInput: another kind, or a card that cannot be one.
        """
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting = answer
        began = asyncio.get_running_loop().time()
        for event in presented(kind, value or ""):
            self._tell(event)
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await answer
        except TimeoutError:
            return Outcome(ok=False, error="no answer")
        finally:
            self._waiting = None
        return msgspec.structs.replace(outcome, ms=round((asyncio.get_running_loop().time() - began) * 1000, 1))

    def progress(self) -> tuple[int, int]:
        """Return how many changes it reported; none is ever acknowledged end to end."""
        return self._events, 0

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait until a condition on this reader holds; the caller sets the limit."""
        while not wanted():
            change = self._change
            await change.wait()

    def close_timers(self) -> None:
        """End what it still meant to do."""
        for timer in self._timers.values():
            timer.cancel()

    # ---- reports ----------------------------------------------------------------------------------------------------

    def _input(self, name: str, *, on: bool) -> None:
        self._inputs[name] = on
        self._report("input")

    def _report(self, topic: Literal["local", "input", "output"]) -> None:
        self._events += 1
        for _ in range(2 if "duplicate" in self.faults else 1):
            self._tell(self._status(topic))
        self._changed()

    def _report_all(self) -> None:
        if "late_events" not in self.faults:
            self._device.flush_events()
        for topic in ("local", "input", "output"):
            self._tell(self._status(topic))

    def _status(self, topic: str) -> dict[str, object]:
        if topic == "local":
            kind, report = osdp.StatusReportType.Local, bytes([self.tampered, 0])
        elif topic == "input":
            kind, report = osdp.StatusReportType.Input, bytes(self._inputs.values())
        else:
            kind, report = osdp.StatusReportType.Output, bytes([self.lock == "unlocked"])
        return {"event": osdp.Event.Status, "type": kind, "report": report}

    def _tell(self, event: dict[str, object]) -> None:
        if self._device is not None:
            self._device.submit_event(event)

    # ---- what the panel asks ----------------------------------------------------------------------------------------

    def _on_command(self, command: dict[str, Any]) -> tuple[int, None]:
        kind = command["command"]
        if kind == osdp.Command.Output:
            return self._on_output(command)
        if kind == osdp.Command.LED:
            self._on_light(command)
        elif kind == osdp.Command.Buzzer:
            self.told.append(f"beep {command['rep_count']}")
        elif kind == osdp.Command.Text:
            self.told.append(f"show {command['data']}")
            self._settle(Outcome(ok=False, feedback=command["data"].replace(" ", "_")))
        elif kind == osdp.Command.Keyset:
            self._key = self._trusted = bytes(command["data"])
            self._on_key(self._key)
        elif kind == osdp.Command.Status:
            return -1, None  # libosdp 3.2 answers it with zeros, whatever it is given
        self._changed()
        return 0, None

    def _on_output(self, command: dict[str, Any]) -> tuple[int, None]:
        if "refuse_unlock" in self.faults:
            return -1, None
        code = command["control_code"]
        if code == 5:
            self.unlocks += 1
            self._later("relock", command["timer_count"] / 10, self._relock)
            self._settle(Outcome(ok=True, unlocked=True))
        else:
            self._standing = "unlocked" if code == 2 else "locked"
        self._set_lock("unlocked" if code == 5 else self._standing)
        return 0, None

    def _on_light(self, command: dict[str, Any]) -> None:
        names = {
            osdp.CommandLEDColor.Red: "red",
            osdp.CommandLEDColor.Green: "green",
            osdp.CommandLEDColor.Amber: "amber",
        }
        color = names.get(command["on_color"], "other")
        self.told.append(f"light {color}")
        if color == "green" and not self.unlocks:  # no strike of its own, which would have told before its light
            self._settle(Outcome(ok=True))

    def _relock(self) -> None:
        self._set_lock(self._standing)

    def _set_lock(self, lock: Literal["locked", "unlocked"]) -> None:
        if lock != self.lock:
            self.lock = lock
            self._tell(self._status("output"))
        self._changed()

    def _settle(self, outcome: Outcome) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(outcome)

    def _plugged_in(self) -> None:
        self._cut = False
        self._changed()

    def _later(self, name: str, after_s: float, act: Callable[[], None]) -> None:
        earlier = self._timers.get(name)
        if earlier is not None:
            earlier.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(after_s, act)

    def _changed(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()


class Side:
    """Be the reader's side of the line for libosdp."""

    def __init__(self, reader: SimulatedReader) -> None:
        self.id = reader.address
        self._reader = reader
        self._heard = bytearray()
        self._frames = wire.Frames()

    def hear(self, data: bytes) -> None:
        """Take bytes from the line."""
        for frame in self._frames.feed(data):
            if not frame.from_reader and frame.address == self._reader.address:
                self._heard += frame.raw
                self._reader.asked(frame.code)

    def read(self, max_bytes: int) -> bytes:
        """Return what was heard (libosdp's side)."""
        data = bytes(self._heard[:max_bytes])
        del self._heard[:max_bytes]
        return data

    def write(self, buf: bytes) -> int:
        """Answer (libosdp's side)."""
        self._reader.answer(bytes(buf))
        return len(buf)

    def flush(self) -> None:
        """Forget what was heard (libosdp's side)."""
        self._heard.clear()


def presented(kind: str, value: str) -> list[dict[str, object]]:
    """Return what a reader tells of a presented card or a typed PIN.

    Raises:
        InvalidInput: another kind, or a value that a reader cannot tell.
    """
    if kind in {"pin", "flat_pin"}:
        keys = f"{value}#".encode("ascii", "replace")
        return [
            {"event": osdp.Event.KeyPress, "reader_no": 0, "data": keys[at : at + 16]} for at in range(0, len(keys), 16)
        ]
    if kind != "card" or not value or len(value) > 60:
        raise InvalidInput("request", "an OSDP reader takes card, pin and flat_pin, of at most 60 characters")
    bits, colon, raw = value.partition(":")
    with contextlib.suppress(ValueError):
        data = bytes.fromhex(raw if colon else value)
        count = int(bits) if colon else 8 * len(data)
        if (count + 7) // 8 == len(data):
            kind_of = osdp.CardFormat.Wiegand if count in WIEGAND else osdp.CardFormat.Unspecified
            card = {"event": osdp.Event.CardRead, "reader_no": 0, "direction": 0, "format": kind_of}
            return [{**card, "length": count, "data": data}]
    raise InvalidInput("value", "write a card as its bytes, 7186A61E, or as BITS:HEX, 26:1A2B3C40")
