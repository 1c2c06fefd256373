"""The link to the gateway: the edge dials out with signed requests, sends facts in order, takes policy and commands.

Whatever fails here waits and tries again with back-off; no door ever waits for it. Facts leave the spool only when
the gateway named their ids as committed. It decides nothing and knows no doors.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec
from httpx_sse import EventSource

from config.process import Backoff, Good, keep_running
from edge.clock import SteadyClock
from edge.identity import Signer
from edge.spool import Spool, SpooledFact
from models.errors import DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput, NotFound
from models.link import (
    HEADER_TIME,
    MAX_BODY_BYTES,
    MAX_FACTS,
    MAX_PHOTO_BYTES,
    Command,
    Committed,
    EdgeStatus,
    Result,
)  # fmt: skip
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.uplink")

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
SILENCE_S = 35.0
"""The command stream pings every 10 s: longer silence is a dead connection."""
BACKOFF = Backoff(first_s=0.25, cap_s=15.0)
AGAIN_S = 0.25
ASIDE_S = 600.0
"""A fact that the gateway refuses is tried again after this time; it holds back no other."""
STATUS_S = 15.0
STATUS_AT_MOST_EVERY_S = 0.2
REMEMBERED_COMMANDS = 1024
COMMANDS_AT_ONCE = 16
RESULTS_WAITING = 256
FACTS_AT_FAULT = frozenset({400, 409, 413, 415, 422})
"""Answers that blame what was sent; others say that this edge is not welcome, or that nobody can answer now."""

_policy = msgspec.json.Decoder(Policy)
_command: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_committed = msgspec.json.Decoder(Committed)

Obey = Callable[[Command], Awaitable[Result]]
"""Carry out a command; its deadline is in the edge's clock by then."""


class Uplink:
    """Keep one edge in touch with its gateway. `run` starts everything in the caller's task group."""

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        signer: Signer,
        spool: Spool,
        clock: SteadyClock,
        status: Callable[[], EdgeStatus],
        on_policy: Callable[[Policy], Awaitable[None]],
        obey: Obey,
    ) -> None:
        self._client = client
        self._signer = signer
        self._spool = spool
        self._clock = clock
        self._status = status
        self._on_policy = on_policy
        self._obey = obey
        self._etag: str | None = None
        self._policy_due = asyncio.Event()
        self._changed = asyncio.Event()
        self._seen: OrderedDict[str, Result | None] = OrderedDict()
        self._aside: dict[str, float] = {}
        self._results: asyncio.Queue[Result] = asyncio.Queue(RESULTS_WAITING)
        self._result: Result | None = None
        self._busy = asyncio.Semaphore(COMMANDS_AT_ONCE)
        self.unwelcome = False
        """True while the gateway refuses our signature: it does not know this edge, or has revoked it."""
        self.last_heard: float | None = None
        """Steady Unix time of the gateway's last answer."""
        self.counters: dict[str, int] = {}

    def start(self, tasks: asyncio.TaskGroup, *, etag: str | None = None) -> None:
        """Start to send, fetch and listen, for as long as the task group lives."""
        self._etag = etag
        self._policy_due.set()
        self._tasks = tasks
        for work in (self._send_facts, self._fetch_policies, self._listen, self._send_status, self._send_results):
            name = f"uplink{work.__name__.replace('_', ' ')}"
            tasks.create_task(keep_running(name, work, backoff=BACKOFF), name=name)

    def changed(self) -> None:
        """Say that the status is worth sending now."""
        self._changed.set()

    def gateway_now(self) -> datetime:
        """Return the gateway's time as far as it is known: deadlines are in its clock."""
        return self._clock.now() + timedelta(seconds=self._signer.offset_s)

    async def known(self) -> bool:
        """Return whether the gateway accepts our signature.

        Raises:
            DeviceUnreachable: the gateway is away.
        """
        try:
            await self._request("GET", "/edge/v1/policy")
        except DeviceRefused:
            return False
        return True

    async def relay(self, ticket: str) -> bytes:
        """Fetch the bytes behind a one-time ticket, at most 4 MiB.

        Raises:
            InvalidInput: the ticket could lead elsewhere, or there are more bytes.
            NotFound: the ticket is spent or too old.
            DeviceUnreachable: the gateway is away.
        """
        if not ticket or not all(char.isascii() and (char.isalnum() or char in "-_.") for char in ticket):
            raise InvalidInput("relay_ticket", "a ticket has letters, digits, '-', '_' and '.' only")
        target = f"/edge/v1/relay/{ticket}"
        try:
            async with self._client.stream(
                "GET", target, headers=self._signer.headers("GET", target, body=b"")
            ) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise NotFound("relay ticket", f"({answer.status_code})")
                content = bytearray()
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > MAX_PHOTO_BYTES:
                        raise InvalidInput("relay", f"more than {MAX_PHOTO_BYTES} bytes")
                return bytes(content)
        except httpx.HTTPError as error:
            raise DeviceUnreachable("gateway", f"relay: {_say(error)}") from error

    # ---- requests ---------------------------------------------------------------------------------------------------

    async def _request(
        self,
        method: str,
        target: str,
        *,
        content: bytes = b"",
        headers: dict[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """Send one signed request; once more if only our idea of the gateway's clock was wrong.

        A status in `accept` is the caller's to judge.
        """
        for last in (False, True):
            signed = {**(headers or {}), **self._signer.headers(method, target, body=content)}
            if content:
                signed["Content-Type"] = "application/json"
            try:
                answer = await self._client.request(method, target, content=content, headers=signed)
            except httpx.HTTPError as error:
                raise DeviceUnreachable("gateway", f"{method} {target}: {_say(error)}") from error
            if not last and self._clock_refused(answer):
                continue
            return answer if answer.status_code in accept else self._judge(answer)
        raise DeviceUnreachable("gateway", f"{method} {target}: refused twice")

    def _clock_refused(self, answer: httpx.Response) -> bool:
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return False
        return self._signer.learn_offset(answer.headers.get(HEADER_TIME))

    def _judge(self, answer: httpx.Response) -> httpx.Response:
        code = answer.status_code
        self.unwelcome = code == httpx.codes.UNAUTHORIZED
        if code >= 500 or code in (408, 425, 429):
            raise DeviceUnreachable("gateway", f"it answered {code}")
        if code >= 400:
            raise DeviceRefused("gateway", f"it answered {code}: {answer.text[:200]}")
        if 300 <= code < 400 and code != httpx.codes.NOT_MODIFIED:
            raise DeviceUnreachable("gateway", f"it answered with a redirect ({code}), which is not followed")
        self._heard()
        return answer

    def _heard(self) -> None:
        self.last_heard = self._clock.unix()
        if abs(self._signer.offset_s) < 1.0:
            self._clock.confirm()

    # ---- facts ------------------------------------------------------------------------------------------------------

    async def _send_facts(self, good: Good) -> None:
        while True:
            if not await self._spool.wait_for_facts(30.0):
                continue
            now = self._clock.unix()
            self._aside = {key: again for key, again in self._aside.items() if again > now}
            batch = await self._spool.oldest(MAX_FACTS, max_bytes=MAX_BODY_BYTES - 1024, without=self._aside.keys())
            if not batch:
                await asyncio.sleep(AGAIN_S)  # only what was set aside, or the count is ahead for a moment
                continue
            await self._send_batch(batch)
            good()

    async def _send_batch(self, batch: Sequence[SpooledFact]) -> None:
        """Send a batch; halve it when the gateway cannot take it, until the one bad fact is alone and set aside."""
        body = b"[" + b",".join(fact.body for fact in batch) + b"]"
        answer = await self._request("POST", "/edge/v1/facts", content=body, accept=FACTS_AT_FAULT)
        if answer.status_code not in FACTS_AT_FAULT:
            await self._confirm(batch, answer.content)
        elif len(batch) > 1:
            middle = len(batch) // 2
            await self._send_batch(batch[:middle])
            await self._send_batch(batch[middle:])
        else:
            self._count("facts_refused")
            self._aside[batch[0].id] = self._clock.unix() + ASIDE_S
            log.warning("fact %s was refused with %d, it is kept and tried later", batch[0].id, answer.status_code)

    async def _confirm(self, batch: Sequence[SpooledFact], content: bytes) -> None:
        """Delete what the gateway says it holds, out of what it was sent."""
        try:
            committed = _committed.decode(content)
        except msgspec.MsgspecError as error:
            raise DeviceUnreachable("gateway", f"the answer to facts cannot be read: {error}") from error
        sent = {fact.id for fact in batch}
        ids = [key for key in (*committed.committed, *committed.rejected) if key in sent]
        if committed.rejected:
            log.warning("gateway put %d facts into quarantine", len(committed.rejected))
        await self._spool.confirm(ids)
        self._count("facts_sent", len(ids))
        if not ids:
            raise DeviceUnreachable("gateway", "it committed none of the facts that it was sent")

    # ---- policy -----------------------------------------------------------------------------------------------------

    async def _fetch_policies(self, good: Good) -> None:
        while True:
            try:
                async with asyncio.timeout(60.0):
                    await self._policy_due.wait()
            except TimeoutError:
                log.debug("policy: asking whether it is still the newest")
            self._policy_due.clear()
            try:
                await self._fetch_policy()
            except GatehouseError:
                self._policy_due.set()
                raise
            good()

    async def _fetch_policy(self) -> None:
        headers = {} if self._etag is None else {"If-None-Match": self._etag}
        answer = await self._request("GET", "/edge/v1/policy", headers=headers)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return
        try:
            policy = _policy.decode(answer.content)
        except msgspec.MsgspecError as error:
            raise DeviceUnreachable("gateway", f"the policy cannot be read: {error}") from error
        await self._on_policy(policy)
        self._etag = answer.headers.get("ETag")

    # ---- commands ---------------------------------------------------------------------------------------------------

    async def _listen(self, good: Good) -> None:
        target = "/edge/v1/commands"
        headers = {**self._signer.headers("GET", target, body=b""), "Accept": "text/event-stream"}
        timeout = httpx.Timeout(SILENCE_S, connect=5.0)
        try:
            async with self._client.stream("GET", target, headers=headers, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    self._clock_refused(answer)
                self._judge(answer)
                self._policy_due.set()  # what was announced while nobody listened
                good()
                async for event in EventSource(answer).aiter_sse():
                    self._heard()
                    self._take(event.event, event.data)
        except (httpx.HTTPError, ValueError) as error:
            raise DeviceUnreachable("gateway", f"commands: {_say(error)}") from error
        raise DeviceUnreachable("gateway", "commands: the gateway ended the stream")

    def _take(self, event: str, data: str) -> None:
        if event == "policy":
            self._policy_due.set()
        elif event == "command":
            try:
                command = _command.decode(data)
            except msgspec.MsgspecError as error:
                self._count("unreadable_commands")
                log.warning("a command cannot be read: %s", error)
                return
            self._tasks.create_task(self._obey_once(command), name=f"command {command.id}")

    async def _obey_once(self, command: Command) -> None:
        """Obey a command the first time it is seen; a repetition only gets the same result again."""
        if command.id in self._seen:
            result = self._seen[command.id]
            if result is not None:
                await self._results.put(result)
            return
        self._seen[command.id] = None
        while len(self._seen) > REMEMBERED_COMMANDS:
            self._seen.popitem(last=False)
        async with self._busy:
            result = await self._in_time(command)
        self._seen[command.id] = result
        self._count(f"commands_{result.state}")
        await self._results.put(result)

    async def _in_time(self, command: Command) -> Result:
        left_s = (command.deadline - self.gateway_now()).total_seconds()
        if left_s <= 0:
            return Result(command_id=command.id, state="expired", reason="expired", at=self._clock.now())
        mine = msgspec.structs.replace(command, deadline=self._clock.now() + timedelta(seconds=left_s))
        try:
            async with asyncio.timeout(left_s + 1.0):
                return await self._obey(mine)
        except TimeoutError:
            return Result(command_id=command.id, state="expired", reason="no_answer", at=self._clock.now())
        except GatehouseError as error:
            reason, detail = "failed", str(error)[:200]
            return Result(command_id=command.id, state="failed", reason=reason, detail=detail, at=self._clock.now())

    async def _send_results(self, good: Good) -> None:
        """Send results in order; one that the gateway cannot be told yet is kept for the next run."""
        while True:
            self._result = self._result or await self._results.get()
            content = msgspec.json.encode(self._result)
            answer = await self._request("POST", "/edge/v1/results", content=content, accept=FACTS_AT_FAULT)
            if answer.status_code in FACTS_AT_FAULT:
                log.warning("result of command %s was refused: %d", self._result.command_id, answer.status_code)
            self._result = None
            good()

    # ---- status -----------------------------------------------------------------------------------------------------

    async def _send_status(self, good: Good) -> None:
        while True:
            self._changed.clear()
            await self._request("POST", "/edge/v1/status", content=msgspec.json.encode(self._status()))
            good()
            try:
                async with asyncio.timeout(STATUS_S):
                    await self._changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(STATUS_AT_MOST_EVERY_S)

    def _count(self, name: str, n: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + n


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__


async def enrol(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """Introduce this edge with its one-time token; return what the gateway answered.

    Raises:
        DeviceRefused: the token is wrong, spent or too old.
        DeviceUnreachable: the gateway is away.
    """
    try:
        answer = await client.post("/edge/v1/enrol", json=body)
    except httpx.HTTPError as error:
        raise DeviceUnreachable("gateway", f"enrol: {_say(error)}") from error
    if answer.status_code >= 500 or answer.status_code == 429:
        raise DeviceUnreachable("gateway", f"enrol: the gateway answered {answer.status_code}")
    if answer.status_code not in (200, 201):
        raise DeviceRefused("gateway", f"it answered {answer.status_code}: {answer.text[:200]}")
    try:
        content: dict[str, Any] = answer.json()
    except ValueError as error:
        raise DeviceUnreachable("gateway", f"enrol: unreadable answer: {error}") from error
    return content
