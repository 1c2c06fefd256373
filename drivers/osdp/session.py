"""One reader: its libosdp control panel, when to begin a session anew, and commands with their deadlines.

libosdp goes away for five minutes when a reader refuses one command, and repeats an unanswered one for eight seconds. So
a session is thrown away as soon as its reader is silent, refuses, or misses a deadline, and a new one begins: what was
not answered in time is not sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import osdp
import osdp_sys

from drivers.osdp import wire
from drivers.osdp.bus import Bus, Turn
from drivers.osdp.messages import (
    OWN,
    Act,
    Away,
    Card,
    Done,
    FromPanel,
    Keys,
    Offline,
    Online,
    Output,
    ReaderSetup,
    Status,
    Topic,
)  # fmt: skip
from drivers.osdp.orders import CODES, as_dict

SILENT_S: Final = 1.5
"""Readers are polled every 50 ms; one that has not answered for this long is away."""
AWAY_AFTER_S: Final = 2.0
"""A reader that comes back sooner was never away: a refused command, a plug pushed in again."""
TRY_S: Final = 2.0
KNOCK_S: Final = 0.3
"""A try that hears nothing at all ends sooner, for the sake of the others on the line."""
FIRST_REST_S: Final = 0.25
LAST_REST_S: Final = 5.0
WAITING: Final = 16
PULSE_MOST_S: Final = 25.0
"""libosdp's timer of an output ends at 25.5 s; a longer pulse is begun again before its end."""
PULSE_AGAIN_S: Final = 20.0


TOPICS: Final[dict[Topic, int]] = {
    "local": osdp.StatusReportType.Local,
    "input": osdp.StatusReportType.Input,
    "output": osdp.StatusReportType.Output,
}
FLAGS: Final = {
    "key": [osdp.LibFlag.IgnoreUnsolicited, osdp.LibFlag.EnforceSecure],
    "plain": [osdp.LibFlag.IgnoreUnsolicited],
    "install": [osdp.LibFlag.IgnoreUnsolicited, osdp.LibFlag.InstallMode],
}
"""A reader that tells something which libosdp does not know is not thrown off the line for it."""


class Session:
    """Keep one reader in session, for as long as the panel runs.

    Args:
        setup: the reader.
        bus: the line.
        say: takes what is to be told.
        clock: monotonic, in s.
    """

    def __init__(
        self, setup: ReaderSetup, *, bus: Bus, say: Callable[[FromPanel], None], clock: Callable[[], float]
    ) -> None:
        self.address = setup.address
        self.begun = 0
        """How many sessions were begun."""
        self._setup = setup
        self._bus = bus
        self._say = say
        self._clock = clock
        self._panel: Any = None
        self._turn = Turn(setup.address, bus=bus)
        self._began = 0.0
        self._rest_s = FIRST_REST_S
        self._rest_until = 0.0
        self._asked: set[Topic] = set()
        self._refused: set[Topic] = set()
        self._asking: Topic | None = None
        self._was_up = False
        self._present = False
        self._told_away: Away | None = None
        self._gone_since: float | None = clock()
        self._why: Away = "silent"
        self._waiting: deque[Act] = deque()
        self._acting: Act | None = None
        self._pulses: dict[int, tuple[float, float]] = {}

    @property
    def is_commanded(self) -> bool:
        """Return whether a command waits for this reader."""
        return bool(self._waiting) or self._acting is not None

    # ---- turns ------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Take a turn if the line is free for this reader, and see to what time has brought."""
        now = self._clock()
        self._expire(now)
        if self._panel is None:
            if now >= self._rest_until and self._bus.open_to(self._turn):
                self._begin()
        elif self._bus.open_to(self._turn):
            self._panel.refresh()
            self._look_after(self._clock())
        self._tell_if_away(now)

    def _begin(self) -> None:
        self._turn = Turn(self._setup.address, bus=self._bus)
        self._began = self._clock()
        self._asked, self._was_up = set(self._refused), False
        self.begun += 1
        info = osdp.PDInfo(
            self._setup.address,
            self._turn,
            scbk=self._setup.key if self._setup.trust != "plain" else None,
            flags=FLAGS[self._setup.trust],
            name=f"reader-{self._setup.address}",
        )
        self._panel = osdp_sys.ControlPanel([info.get()])
        self._panel.set_event_callback(self._on_event)
        self._panel.set_command_completion_callback(self._on_completion)
        self._panel.refresh()

    def _end(self, *, rest_s: float) -> None:
        """Throw the session away, and with it whatever libosdp still meant to send and what was left of long pulses.

        A strike falls back by the reader's own timer: whoever comes back later opens nothing.
        """
        self._panel = None
        self._pulses.clear()
        self._asking = None
        self._bus.release(self._turn)
        self._rest_until = self._clock() + rest_s
        if self._gone_since is None:
            self._gone_since = self._clock()
        if self._acting is not None:
            act, self._acting = self._acting, None
            sent = CODES[type(act.command)] in self._turn.sent
            self._say(Done(number=act.number, ok=False, certain=not sent, error="the reader did not answer"))

    def _look_after(self, now: float) -> None:
        """See whether the session has come up, has ended, or was silent for too long."""
        if self._panel is None:
            return
        if not self._up():
            self._still_down(now)
            return
        self._was_up = True
        if self._turn.unanswered_since is not None and now - self._turn.unanswered_since > SILENT_S:
            self._why, self._gone_since = "silent", self._turn.unanswered_since
            self._end(rest_s=0.0)
        elif self._ask_next():
            pass
        elif self._turn.idle:
            self._is_back()
            self._act_next(now)

    def _up(self) -> bool:
        return bool(self._panel.status() & 1) and (self._setup.trust == "plain" or bool(self._panel.sc_status() & 1))

    def _still_down(self, now: float) -> None:
        if self._was_up:  # libosdp has given it up
            self._why = "silent"
            self._end(rest_s=0.0)
        elif now - self._began > (TRY_S if self._turn.heard else KNOCK_S):
            self._why = self._reason()
            self._end(rest_s=self._rest_s)
            self._rest_s = min(self._rest_s * 2, LAST_REST_S)

    def _tell_if_away(self, now: float) -> None:
        """Tell that the reader is away, and again once more is known of why; not while it is being talked to."""
        talking = self._panel is not None and self._turn.heard
        if (
            self._gone_since is None
            or now - self._gone_since <= AWAY_AFTER_S
            or talking
            or self._why == self._told_away
        ):
            return
        self._present, self._told_away = False, self._why
        self._say(Offline(address=self._setup.address, why=self._why))

    def _reason(self) -> Away:
        if not self._turn.heard:
            return "silent"
        if self._setup.trust == "plain":
            return "garbled"
        return "key" if {wire.CHALLENGE, wire.SERVER_CRYPTOGRAM} & self._turn.sent else "insecure"

    def _ask_next(self) -> bool:
        """Ask how the reader stands, each topic once in a session.

        What it refused it is never asked again; one that refuses its own status, which every reader must tell, is asked nothing.
        """
        if self._asking is not None:
            return True
        topic = next((topic for topic in self._setup.ask if topic not in self._asked), None)
        if topic is None:
            return False
        self._asked.add(topic)
        self._asking = topic
        if not self._panel.submit_command(0, {"command": osdp.Command.Status, "type": TOPICS[topic], "report": b""}):
            self._asking = None
        return True

    def _is_back(self) -> None:
        self._rest_s = FIRST_REST_S
        self._gone_since = None
        if self._present:
            return
        self._present, self._told_away = True, None
        known = self._panel.get_pd_id(0)
        codes = range(1, 17)
        self._say(
            Online(
                address=self._setup.address,
                secure=bool(self._panel.sc_status() & 1),
                vendor=known["vendor_code"] & 0xFFFFFF,
                model=known["model"],
                serial=known["serial_number"] & 0xFFFFFFFF,
                firmware=known["firmware_version"],
                capabilities={code: tuple(self._panel.check_capability(0, code)) for code in codes},
            )
        )

    # ---- commands ---------------------------------------------------------------------------------------------------

    def act(self, act: Act) -> None:
        """Carry out a command as soon as the line is free, and before its time is over."""
        if not self._present:
            self._say(Done(number=act.number, ok=False, error="the reader is away"))
        elif len(self._waiting) >= WAITING:
            self._say(Done(number=act.number, ok=False, error="too many commands wait for this reader"))
        else:
            self._waiting.append(act)

    def _act_next(self, now: float) -> None:
        if self._acting is not None:
            return
        act = self._waiting.popleft() if self._waiting else self._pulse_again(now)
        if act is None:
            return
        command = act.command
        if isinstance(command, Output):
            command = self._within_timer(command, now)
        self._turn.sent.discard(CODES[type(command)])
        if self._panel.submit_command(0, as_dict(command)):
            self._acting = act
        else:
            self._say(Done(number=act.number, ok=False, error="the reader takes no commands now"))

    def _within_timer(self, command: Output, now: float) -> Output:
        """Return what of a pulse fits into libosdp's timer, and remember the rest."""
        self._pulses.pop(command.number, None)
        if command.turn != "pulse" or command.hold_s <= PULSE_MOST_S:
            return command
        self._pulses[command.number] = now + PULSE_AGAIN_S, now + command.hold_s
        return Output(number=command.number, turn="pulse", hold_s=PULSE_MOST_S)

    def _pulse_again(self, now: float) -> Act | None:
        """Return the continuation of a long pulse, if one is due."""
        self._pulses = {number: times for number, times in self._pulses.items() if now < times[1]}
        for number, (due, end) in self._pulses.items():
            if now >= due:
                rest = Output(number=number, turn="pulse", hold_s=max(end - now, 0.1))
                return Act(number=OWN, address=self._setup.address, until=now + SILENT_S, command=rest)
        return None

    def _expire(self, now: float) -> None:
        """End the commands whose time is over: one that libosdp has may have been sent, so its session ends with it."""
        for act in [act for act in self._waiting if now >= act.until]:
            self._waiting.remove(act)
            self._say(Done(number=act.number, ok=False, error="its time was over before the line was free"))
        if self._acting is not None and now >= self._acting.until:
            self._end(rest_s=0.0)

    # ---- what libosdp calls -----------------------------------------------------------------------------------------

    def _on_completion(self, _reader: int, command: dict[str, object], status: int) -> None:
        if command.get("command") == osdp.Command.Status:
            if status != osdp.CompletionStatus.Ok and self._asking is not None and self._turn.answer == wire.NAK:
                self._refused |= set(TOPICS) if self._asking == "local" else {self._asking}
            self._asking = None
            return
        if self._acting is None:
            return
        act, self._acting = self._acting, None
        if status == osdp.CompletionStatus.Ok:
            self._say(Done(number=act.number, ok=True))
        else:
            refused = self._turn.answer == wire.NAK
            error = "the reader refused" if refused else "the reader did not answer"
            self._say(Done(number=act.number, ok=False, certain=refused, error=error))

    def _on_event(self, _reader: int, event: dict[str, Any]) -> int:
        address, kind = self._setup.address, event["event"]
        at, waited = self._clock(), not (self._present and self._turn.idle)
        if kind == osdp.Event.CardRead and event["format"] != osdp.CardFormat.ASCII:
            self._say(Card(address=address, bits=event["length"], raw=event["data"], at=at, waited=waited))
        elif kind == osdp.Event.KeyPress:
            self._say(Keys(address=address, keys=event["data"], at=at, waited=waited))
        elif kind == osdp.Event.Status:
            topic = next((name for name, number in TOPICS.items() if number == event["type"]), None)
            if topic is not None:
                self._say(Status(address=address, topic=topic, report=event["report"]))
        return 0
