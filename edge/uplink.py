"""The link to the gateway: the edge dials out with signed requests, sends facts in order, takes policy and commands.

Whatever fails here waits and tries again with back-off; no door ever waits for it. Facts leave the spool only when
the gateway named their ids as committed. It decides nothing and knows no doors.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Annotated, Literal, Protocol

import httpx
import msgspec
from httpx_sse import EventSource, ServerSentEvent

from config.process import Backoff, Good, keep_running
from edge.channel import Channel, say
from edge.clock import SteadyClock
from edge.policies import PolicyAnswer
from edge.spool import Spool, SpooledFact
from models.card_lessons import LearnCards
from models.errors import DeviceRefused, DeviceUnreachable, GatehouseError, InvalidInput, StorageUnavailable
from models.link import (
    HEADER_CHECKPOINT,
    HEADER_POLICY,
    HEADER_POLICY_SIGNATURE,
    MAX_BODY_BYTES,
    MAX_FACTS,
    Command,
    Committed,
    EdgeStatus,
    Result,
    Unlock,
)
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.uplink")

SILENCE_S = 35.0
"""The command stream pings every 10 s: longer silence is a dead connection."""
BACKOFF = Backoff(first_s=0.25, cap_s=15.0)
STREAM_BACKOFF = Backoff(first_s=0.25, cap_s=3.0)
"""The stream brings withdrawals, which must take effect within 5 s of when the gateway can be reached again."""
AGAIN_S = 0.25
ASIDE_S = 600.0
"""A fact that the gateway refuses is tried again after this time; it holds back no other."""
STATUS_S = 15.0
STATUS_AT_MOST_EVERY_S = 0.2
REMEMBERED_COMMANDS = 1024
COMMANDS_AT_ONCE = 16
LESSONS_AT_ONCE = 16
ENDED_KEY = "ended commands"
ENDED_KEPT = 64
"""Results that outlive a restart: a command without a result comes again."""
RESULTS_WAITING = 256
FACTS_AT_FAULT = frozenset({400, 409, 413, 415, 422})
"""Answers that blame what was sent; others say that this edge is not welcome, or that nobody can answer now."""


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """Read of a command only which one it is."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


_command: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_named = msgspec.json.Decoder(_Named)
_ended = msgspec.json.Decoder(tuple[Result, ...])
_committed = msgspec.json.Decoder(Committed)

Obey = Callable[[Command], Awaitable[Result]]
"""Carry out a command; its deadline is in the edge's clock by then."""


class Vouched(Protocol):
    """Say whether the pinned gateway signed an event of the command stream for this edge."""

    def __call__(self, data: bytes, *, signature: str) -> bool:
        """Return True only for its signature."""


class Uplink:
    """Keep one edge in touch with its gateway. `run` starts everything in the caller's task group."""

    def __init__(
        self,
        *,
        channel: Channel,
        spool: Spool,
        clock: SteadyClock,
        status: Callable[[], EdgeStatus],
        policy: Callable[[], Policy | None],
        on_policy: Callable[[PolicyAnswer], Awaitable[None]],
        on_checkpoint: Callable[[str | None], Awaitable[None]],
        vouched: Vouched,
        obey: Obey,
    ) -> None:
        self._channel = channel
        self._spool = spool
        self._clock = clock
        self._status = status
        self._policy = policy
        self._on_policy = on_policy
        self._on_checkpoint = on_checkpoint
        self._vouched = vouched
        self._obey = obey
        self._etag: str | None = None
        self._whole = False
        self.distrusts = False
        """True while the gateway signs its policies with another key than the pinned one."""
        self._policy_due = asyncio.Event()
        self._changed = asyncio.Event()
        self._seen: OrderedDict[str, Result | None] = OrderedDict()
        self._aside: dict[str, float] = {}
        self._results: asyncio.Queue[Result] = asyncio.Queue(RESULTS_WAITING)
        self._result: Result | None = None
        self._busy = asyncio.Semaphore(COMMANDS_AT_ONCE)
        self._learning = asyncio.Semaphore(LESSONS_AT_ONCE)
        self.counters: dict[str, int] = {}

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start to send, fetch and listen, for as long as the task group lives."""
        self._policy_due.set()
        self._tasks = tasks
        for work in (self._send_facts, self._fetch_policies, self._listen, self._send_status, self._send_results):
            name = f"uplink{work.__name__.replace('_', ' ')}"
            backoff = STREAM_BACKOFF if work == self._listen else BACKOFF
            tasks.create_task(keep_running(name, work, backoff=backoff), name=name)

    async def load(self) -> None:
        """Take up how the last commands ended, so that one that comes again after a restart is answered, not obeyed."""
        stored = await self._spool.recall(ENDED_KEY)
        try:
            ended = () if stored is None else _ended.decode(stored)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("how the last commands ended cannot be read: %s", error)
            return
        self._seen.update({result.command_id: result for result in ended})

    def changed(self) -> None:
        """Say that the status is worth sending now."""
        self._changed.set()

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
        answer = await self._channel.request("POST", "/edge/v1/facts", content=body, accept=FACTS_AT_FAULT)
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
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
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
        """Ask for what changed since the policy in force; for the whole where that did not fit."""
        current = None if self._whole else self._policy()
        target = "/edge/v1/policy" + ("" if current is None else f"?since={current.epoch}.{current.n}")
        headers = {} if self._etag is None or self._whole else {"If-None-Match": self._etag}
        answer = await self._channel.request("GET", target, headers=headers)
        await self._on_checkpoint(answer.headers.get(HEADER_CHECKPOINT))
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return
        kind: Literal["full", "delta"] = "delta" if answer.headers.get(HEADER_POLICY) == "delta" else "full"
        signature = answer.headers.get(HEADER_POLICY_SIGNATURE, "")
        try:
            await self._on_policy(PolicyAnswer(kind=kind, body=answer.content, signature=signature))
        except InvalidInput:
            self._whole, self._etag = True, None
            self._count("policies_misfit")
            raise
        except StorageUnavailable:
            self._whole, self._etag = True, None  # in force but not stored: it must come again
            raise
        except DeviceRefused:
            self.distrusts = True
            self._count("policies_forged")
            raise
        self.distrusts, self._whole, self._etag = False, False, answer.headers.get("ETag")

    # ---- commands ---------------------------------------------------------------------------------------------------

    async def _listen(self, good: Good) -> None:
        target = "/edge/v1/commands"
        headers = {**self._channel.signer.headers("GET", target, body=b""), "Accept": "text/event-stream"}
        timeout = httpx.Timeout(SILENCE_S, connect=5.0)
        try:
            async with self._channel.client.stream("GET", target, headers=headers, timeout=timeout) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    self._channel.clock_refused(answer)
                self._channel.judge(answer)
                self._policy_due.set()  # what was announced while nobody listened
                good()
                async for event in EventSource(answer).aiter_sse():
                    self._channel.heard()
                    self._take(event)
        except (httpx.HTTPError, ValueError) as error:
            raise DeviceUnreachable("gateway", f"commands: {say(error)}") from error
        raise DeviceUnreachable("gateway", "commands: the gateway ended the stream")

    def _take(self, event: ServerSentEvent) -> None:
        """Heed an event whose id is the pinned gateway's signature under it."""
        if event.event not in ("policy", "command"):
            return
        if not self._vouched(event.data.encode(), signature=event.id):
            self._count("commands_forged")
            log.warning("the gateway's stream had an event (%s) without the pinned key's signature", event.event)
        elif event.event == "policy":
            self._policy_due.set()
        else:
            try:
                command = _command.decode(event.data)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                self._count("unreadable_commands")
                log.warning("a command cannot be read: %s", error)
                self._decline(event.data)
                return
            self._tasks.create_task(self._obey_once(command), name=f"command {command.id}")

    def _decline(self, data: str) -> None:
        """Answer a command that is newer than this edge, so that nobody waits for it; one without an id is dropped."""
        try:
            named = _named.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if not self._results.full():
            detail = "this edge does not know the command: update it"
            result = Result(
                command_id=named.id, state="refused", reason="unsupported", detail=detail, at=self._clock.now()
            )
            self._results.put_nowait(result)

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
        if isinstance(command, Unlock):  # over within seconds: sixteen dead doors must not delay the next one
            result = await self._in_time(command)
        else:  # a lesson waits minutes for people with their cards: it must not delay what is done at once
            async with self._learning if isinstance(command, LearnCards) else self._busy:
                result = await self._in_time(command)
        self._seen[command.id] = result
        if not isinstance(command, Unlock):
            await self._keep_ended()
        self._count(f"commands_{result.state}")
        await self._results.put(result)

    async def _keep_ended(self) -> None:
        last = [result for result in self._seen.values() if result is not None][-ENDED_KEPT:]
        try:
            await self._spool.remember(ENDED_KEY, msgspec.json.encode(last))
        except StorageUnavailable as error:
            log.debug("how a command ended was not saved: %s", error)

    async def _in_time(self, command: Command) -> Result:
        """Return how a command ended; whatever goes wrong in it ends the command and nothing else."""
        left_s = (command.deadline - self._channel.gateway_now()).total_seconds()
        if left_s <= 0:
            return Result(command_id=command.id, state="expired", reason="expired", at=self._clock.now())
        mine = msgspec.structs.replace(command, deadline=self._clock.now() + timedelta(seconds=left_s))
        try:
            async with asyncio.timeout(left_s + 1.0):
                (ended,) = await asyncio.gather(self._obey(mine), return_exceptions=True)
        except TimeoutError:
            return Result(command_id=command.id, state="expired", reason="no_answer", at=self._clock.now())
        if isinstance(ended, Result):
            return ended
        if not isinstance(ended, GatehouseError):
            self._count("commands_broken")
            log.error("command %s failed unexpectedly", command.id, exc_info=ended)
        detail = str(ended)[:200] if isinstance(ended, GatehouseError) else type(ended).__name__
        return Result(command_id=command.id, state="failed", reason="failed", detail=detail, at=self._clock.now())

    async def _send_results(self, good: Good) -> None:
        """Send results in order; one that the gateway cannot be told yet is kept for the next run."""
        while True:
            self._result = self._result or await self._results.get()
            content = msgspec.json.encode(self._result)
            answer = await self._channel.request("POST", "/edge/v1/results", content=content, accept=FACTS_AT_FAULT)
            if answer.status_code in FACTS_AT_FAULT:
                log.warning("result of command %s was refused: %d", self._result.command_id, answer.status_code)
            self._result = None
            good()

    # ---- status -----------------------------------------------------------------------------------------------------

    async def _send_status(self, good: Good) -> None:
        while True:
            self._changed.clear()
            await self._channel.request("POST", "/edge/v1/status", content=msgspec.json.encode(self._status()))
            good()
            try:
                async with asyncio.timeout(STATUS_S):
                    await self._changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(STATUS_AT_MOST_EVERY_S)

    def _count(self, name: str, n: int = 1) -> None:
        self.counters[name] = self.counters.get(name, 0) + n
