"""The controller of line_doors, simulated: it speaks the real wire, and takes orders as JSON lines on a second port.

Run `python -m line_doors_simulator`. Its first line says `ready`, `control`, and the `settings` of its driver, so that
`gatehouse conformance line --simulator "python -m line_doors_simulator"` can use it.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from line_doors import LINE_BYTES


def new_id() -> str:
    """Return an id for an event or a card."""
    return uuid.uuid4().hex[:12]


class Controller:
    """One door, and whoever is connected to it."""

    def __init__(self) -> None:
        self.contact, self.lock = "closed", "locked"
        self.faults: set[str] = set()
        self.writers: set[asyncio.StreamWriter] = set()
        self.asked: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.changed = asyncio.Condition()

    def say(self, *words: str) -> None:
        """Say a line to everybody."""
        for writer in self.writers:
            writer.write(" ".join(words).encode() + b"\n")

    async def state(self, **changes: str) -> None:
        """Change how the door stands, and say so."""
        async with self.changed:
            self.__dict__.update(changes)
            self.say("STATE", self.contact, self.lock)
            self.changed.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak the wire with one client."""
        self.writers.add(writer)
        writer.write(b"HELLO contact lock tamper card feedback\n")
        writer.write(f"STATE {self.contact} {self.lock}\n".encode())
        try:
            while line := await reader.readline():
                await self.obey(line.decode("ascii").split())
        except (OSError, ValueError):
            pass  # the client is gone
        finally:
            self.writers.discard(writer)
            writer.close()

    async def obey(self, words: list[str]) -> None:
        """Do what the driver orders."""
        if "silent" in self.faults:
            return
        if words[0] == "OPEN" and "refuse_unlock" in self.faults:
            self.say("NO", words[1], "jammed")
        elif words[0] == "OPEN":
            await self.state(lock="unlocked")
            self.say("OK", words[1])
            self.answer(words[3] if len(words) > 3 else "", unlocked=True)
            asyncio.get_running_loop().call_later(float(words[2]), self.lock_again)
        elif words[0] == "SHOW":
            self.say("OK", words[1])
            self.answer(words[1], unlocked=False, feedback=words[2])

    def lock_again(self) -> None:
        """Lock when the unlock is over."""
        self._task = asyncio.ensure_future(self.state(lock="locked"))

    def answer(self, card: str, **outcome: Any) -> None:
        """Tell who presented a card how it ended."""
        waiting = self.asked.get(card)
        if waiting is not None and not waiting.done():
            waiting.set_result({"ok": True, **outcome})

    async def act(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what the control port asks."""
        act = order["act"]
        if "garbage" in self.faults:
            self.say("\x01\x02 what")
        if act in ("open", "force", "close", "tamper", "clear_tamper"):
            kind = {"open": "opened", "force": "forced", "close": "closed", "clear_tamper": "tamper_cleared"}
            self.say("EVENT", new_id(), kind.get(act, act))
            await self.state(contact={"open": "open", "force": "open"}.get(act, "closed"))
        elif act == "card":
            key = new_id()
            self.asked[key] = asyncio.get_running_loop().create_future()
            self.say("CARD", key, str(order["value"]))
            return await asyncio.wait_for(self.asked[key], 10)
        elif act == "wait":
            async with asyncio.timeout(float(order["timeout_s"])), self.changed:
                await self.changed.wait_for(lambda: order["until"] in (self.contact, self.lock))
        elif act == "misbehave":
            (self.faults.add if order["on"] else self.faults.discard)(order["fault"])
        elif act == "cut":
            for writer in tuple(self.writers):
                writer.transport.abort()
        else:
            return {"ok": False, "error": f"cannot {act}"}
        return {"ok": True}

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer orders, one JSON object per line."""
        while line := await reader.readline():
            try:
                answer = await self.act(json.loads(line))
            except TimeoutError:
                answer = {"ok": False, "error": "not in time"}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()


async def main() -> None:
    """Serve until ended."""
    controller = Controller()
    wire = await asyncio.start_server(controller.serve, "127.0.0.1", 0, limit=LINE_BYTES)
    control = await asyncio.start_server(controller.control, "127.0.0.1", 0)
    port, orders = (server.sockets[0].getsockname()[1] for server in (wire, control))
    settings = {"kind": "line", "host": "127.0.0.1", "port": port}
    print(json.dumps({"ready": True, "control": f"127.0.0.1:{orders}", "settings": settings}), flush=True)  # noqa: T201
    async with wire, control:
        await asyncio.gather(wire.serve_forever(), control.serve_forever())


if __name__ == "__main__":
    asyncio.run(main())
