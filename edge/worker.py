"""The composition root of an edge: reads settings, puts the parts together, applies policies by difference.

Everything that decides is elsewhere; what is here is wiring. It starts one eye per camera and one face process, and
none of them outlives it (config.process).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import sys
import tempfile
import uuid
from pathlib import Path

import httpx
import msgspec

from config.process import Backoff, Command, Good, Supervisor, keep_running, run, set_up_logging
from config.settings import Settings, read_settings
from edge.admission import Admission
from edge.attention import Attention, Faces
from edge.cameras import Cameras
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.enrolment import Enrolment
from edge.erasing import Erasing
from edge.facelink import FaceLink
from edge.identity import Signer, load_key, public_key, trust, write_private
from edge.keystore import KeyStore
from edge.policies import Policies, version
from edge.spool import Spool
from edge.uplink import TIMEOUT, Uplink, enrol
from edge.wires import Wires
from models.errors import (
    DeviceRefused,
    DeviceUnreachable,
    GatehouseError,
    InvalidInput,
    SettingsError,
    StorageUnavailable,
)
from models.link import Command as LinkCommand
from models.link import EdgeStatus, EnrolFace, EraseFace, Result, Unlock
from models.policy import Policy

log = logging.getLogger("gatehouse.edge.worker")

TIMES_KEY = "times"
MARKER = "enrolled.json"
UNWELCOME_S = 5.0
SAVE_TIME_S = 60.0
SOCKET_PATH_LIMIT = 80
BYTES_PER_FACT = 600
"""What a spooled fact takes with its index; turns the limit in facts into a budget in bytes."""
LINK_BACKOFF = Backoff(first_s=0.2, cap_s=3.0)
ENROLMENT_BACKOFF = Backoff(first_s=0.25, cap_s=3.0)


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the last times of a run, as Unix time in s: of the clock, and of the gateway's last answer."""

    last: float | None = None
    heard: float | None = None


class Worker:
    """Run one edge, from its settings to its last breath."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._edge = settings.edge
        self._data = settings.edge.data_dir
        self._base = settings.gateway_url()
        self._spent = ""

    async def run(self) -> None:
        """Serve doors and cameras until cancelled.

        Raises:
            InvalidInput: keys or settings cannot be used.
            StorageUnavailable: the spool cannot be opened.
        """
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        budget = self._edge.spool_limit * BYTES_PER_FACT
        async with Spool(self._data / "spool.db", budget_bytes=budget) as spool, self._client() as client:
            times = await _times(spool)
            clock, self._heard = SteadyClock(last_known=times.last), times.heard
            async with Supervisor() as children, asyncio.TaskGroup() as tasks:
                await self._start(spool=spool, clock=clock, client=client, children=children, tasks=tasks)

    def _client(self) -> httpx.AsyncClient:
        verify = trust(
            self._base, ca_file=self._edge.gateway_ca_file, allow_plain=self._settings.gateway.allow_plain_http
        )
        return httpx.AsyncClient(
            base_url=self._base, verify=verify, timeout=TIMEOUT, follow_redirects=False, trust_env=False
        )

    async def _start(
        self,
        *,
        spool: Spool,
        clock: SteadyClock,
        client: httpx.AsyncClient,
        children: Supervisor,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._spool, self._clock, self._keys = spool, clock, KeyStore(self._data)
        self._policies = Policies(edge_id=self._edge.id, spool=spool, keys=self._keys)
        self._run_dir = _run_dir(self._edge.run_dir or self._data / "run")
        self._link = FaceLink(self._run_dir / "faces.sock")
        self._make_doors(tasks)
        self._make_uplink(client)
        self._make_cameras(children)
        self._make_faces(tasks)
        self._keeper.on_change = self._cameras.on_change = self._uplink.changed
        await self._begin(tasks, children)
        enrolling = keep_running(
            "uplink enrolment", lambda good: self._enrol_and_go(client, tasks, good=good), backoff=ENROLMENT_BACKOFF
        )
        tasks.create_task(enrolling, name="enrolment")

    def _make_doors(self, tasks: asyncio.TaskGroup) -> None:
        self._wires = Wires(self._edge.broker, edge_id=self._edge.id, now=self._clock.now)
        self._keeper = DoorKeeper(
            edge_id=self._edge.id,
            spool=self._spool,
            clock=self._clock,
            tasks=tasks,
            open_driver=self._wires.open,
            driver_key=self._wires.key,
            new_id=lambda: uuid.uuid4().hex,
        )
        self._admission = Admission(edge_id=self._edge.id, keeper=self._keeper, clock=self._clock, spool=self._spool)

    def _make_uplink(self, client: httpx.AsyncClient) -> None:
        self._signer = Signer(
            load_key(self._data / "edge.key"),
            edge_id=self._edge.id,
            unix=self._clock.unix,
            nonce=lambda: secrets.token_hex(16),
        )
        self._uplink = Uplink(
            client=client,
            signer=self._signer,
            spool=self._spool,
            clock=self._clock,
            status=self._status,
            on_policy=self._on_policy,
            obey=self._obey,
        )

    def _make_cameras(self, children: Supervisor) -> None:
        self._cameras = Cameras(
            edge_id=self._edge.id,
            spool=self._spool,
            clock=self._clock,
            children=children,
            run_dir=self._run_dir,
            faces_socket=self._link.socket if self._edge.faces.enabled else None,
            lost_after_s=self._edge.camera_lost_after_s,
            log_style=self._settings.logging.format,
        )

    def _make_faces(self, tasks: asyncio.TaskGroup) -> None:
        self._attention = Attention(
            admission=self._admission,
            keeper=self._keeper,
            clock=self._clock,
            link=self._link,
            keys=self._keys,
            policies=self._policies,
            faces=self._faces_allowed(),
            tasks=tasks,
            last_heard=self._last_heard,
        )
        self._admission.faces = self._attention
        self._enrolment = Enrolment(
            edge_id=self._edge.id,
            clock=self._clock,
            keys=self._keys,
            link=self._link,
            relay=self._uplink.relay,
            policies=self._policies,
            on_change=self._attention.refresh,
        )
        self._erasing = Erasing(
            edge_id=self._edge.id,
            clock=self._clock,
            keys=self._keys,
            policies=self._policies,
            sign=self._signer.sign,
            on_change=self._attention.refresh,
        )

    async def _begin(self, tasks: asyncio.TaskGroup, children: Supervisor) -> None:
        """Start what needs no gateway: doors, cameras and faces by the last policy."""
        await self._keeper.start(self._admission.consider)
        await self._cameras.start(tasks)
        if self._edge.faces.enabled:
            children.keep(self._face_process())
            tasks.create_task(keep_running("face link", self._link.run, backoff=LINK_BACKOFF), name="face link")
        self._attention.start()
        stored = await self._policies.load()
        if stored is not None:
            try:
                await self._apply(stored)
            except StorageUnavailable as error:  # doors are served by now; the uplink's first policy tries again
                log.warning("templates whose consent ended could not be destroyed yet: %s", error)
        tasks.create_task(self._save_time(), name="clock")
        tasks.create_task(self._erasing.run(), name="erasing")
        ready = {
            "ready": True,
            "part": "edge",
            "edge": self._edge.id,
            "pid": os.getpid(),
            "backlog": self._spool.backlog,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()

    def _faces_allowed(self) -> Faces:
        """Return the profile that face matching runs under.

        Raises:
            InvalidInput: the demo profile outside a data folder that is marked as a demo's.
        """
        faces = self._edge.faces
        if faces.profile == "demo" and not (self._data / "DEMO").exists():
            raise InvalidInput("edge.faces.profile", f"demo needs a data folder marked DEMO, and {self._data} is not")
        return Faces(
            allowed=faces.enabled and faces.profile == "demo",
            max_age_ms=float(self._edge.max_frame_age_ms),
            silence_s=self._edge.gateway_silence_s,
        )

    def _face_process(self) -> Command:
        faces, style = self._edge.faces, self._settings.logging
        argv = [sys.executable, "-m", "edge", "faces", "--socket", str(self._link.socket)]
        argv += ["--cache-dir", str(faces.cache_dir.expanduser()), "--threads", str(faces.threads)]
        return Command(name="faces", argv=[*argv, "--log-style", style.format, "--log-level", style.level])

    # ---- gateway ----------------------------------------------------------------------------------------------------

    async def _enrol_and_go(self, client: httpx.AsyncClient, tasks: asyncio.TaskGroup, *, good: Good) -> None:
        """Enrol with the one-time token if this edge is not known yet, start the uplink, and enrol again if forgotten."""
        if not (self._data / MARKER).exists():
            await self._enrol(client)
        good()
        self._uplink.start(tasks)
        while True:
            await asyncio.sleep(UNWELCOME_S)
            token = await asyncio.to_thread(_token, self._edge.token_file)
            if self._uplink.unwelcome and token and token != self._spent:
                try:
                    await self._enrol(client)
                except (DeviceRefused, DeviceUnreachable) as error:
                    log.warning("the gateway does not know this edge, and its token did not help: %s", error)

    async def _enrol(self, client: httpx.AsyncClient) -> None:
        """Introduce this edge; a token that was spent by a run that died right afterwards is no obstacle."""
        if self._edge.token_file is None:
            raise InvalidInput("edge.token_file", "this edge is not enrolled: name the file with its one-time token")
        token = await asyncio.to_thread(_token, self._edge.token_file)
        if not token:
            raise DeviceUnreachable("gateway", f"waiting for the enrolment token in {self._edge.token_file}")
        key = public_key(load_key(self._data / "edge.key"))
        about = {"token": token, "edge_id": self._edge.id, "name": self._edge.name, "public_key": key}
        try:
            await enrol(client, about)
        except DeviceRefused:
            if not await self._uplink.known():
                raise
        self._spent = token
        write_private(self._data / MARKER, msgspec.json.encode({"gateway": self._base, "edge_id": self._edge.id}))
        log.info("enrolled at %s as %s", self._base, self._edge.id)

    async def _on_policy(self, policy: Policy) -> None:
        try:
            accepted = await self._policies.take(policy)
        except StorageUnavailable:
            await self._apply(policy)  # on a full disk too, a withdrawn consent holds at once
            raise  # so that the uplink brings it again, to be stored
        if accepted is not None:
            await self._apply(accepted)
            await self._remember_time()  # a restart without the gateway needs to know that it was heard

    async def _apply(self, policy: Policy) -> None:
        """Put a policy in force; what it did not change is not touched."""
        self._admission.apply(policy)
        self._keeper.apply(self._policies.usable_doors(), policy.modes)
        self._cameras.apply(policy.cameras)
        self._attention.apply(policy)
        await self._erasing.apply(policy)
        log.info(
            "policy %s: %d doors, %d cameras, %d people",
            version(policy), len(policy.doors), len(policy.cameras), len(policy.people),
        )  # fmt: skip
        self._uplink.changed()

    async def _obey(self, command: LinkCommand) -> Result:
        if isinstance(command, Unlock):
            return await self._admission.unlock(command)
        if isinstance(command, EnrolFace):
            return await self._enrolment.enrol(command)
        if isinstance(command, EraseFace):
            return await self._erasing.erase(command)
        at, what = self._clock.now(), "this edge cannot share templates yet"
        return Result(command_id=command.id, state="refused", reason="unsupported", detail=what, at=at)

    def _status(self) -> EdgeStatus:
        policy = self._policies.current
        parts = {
            "wires": self._wires.counters,
            "doors": self._keeper.counters,
            "requests": self._admission.counters,
            "cameras": self._cameras.counters,
            "faces": self._attention.counters,
            "erasing": self._erasing.counters,
            "uplink": self._uplink.counters,
            "spool": {"commits": self._spool.commits, "failures": self._spool.failures},
        }
        counters = {f"{part}_{name}": n for part, names in parts.items() for name, n in names.items()}
        return EdgeStatus(
            edge_id=self._edge.id,
            at=self._clock.now(),
            backlog=self._spool.backlog,
            doors=self._keeper.statuses(),
            cameras=self._cameras.statuses(),
            counters=counters,
            policy=(0, 0) if policy is None else (policy.epoch, policy.n),
        )

    def _last_heard(self) -> float | None:
        """Return when the gateway was last heard, this run or before."""
        return self._uplink.last_heard or self._heard

    async def _save_time(self) -> None:
        """Remember the time, so that a clock set back over a restart is noticed, and when the gateway was heard."""
        while True:
            await asyncio.sleep(SAVE_TIME_S)
            await self._remember_time()

    async def _remember_time(self) -> None:
        times = Times(last=self._clock.unix(), heard=self._last_heard())
        try:
            await self._spool.remember(TIMES_KEY, msgspec.json.encode(times))
        except StorageUnavailable as error:
            log.debug("the time was not saved: %s", error)


def _token(file: Path | None) -> str:
    return file.read_text("utf-8").strip() if file is not None and file.exists() else ""


async def _times(spool: Spool) -> Times:
    stored = await spool.recall(TIMES_KEY)
    return Times() if stored is None else msgspec.json.decode(stored, type=Times)


def _run_dir(wanted: Path) -> Path:
    """Return a private folder whose sockets have paths that the system can bear."""
    wanted = wanted.absolute()
    if len(str(wanted).encode()) > SOCKET_PATH_LIMIT:
        return Path(tempfile.mkdtemp(prefix="gatehouse-"))
    wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted.chmod(0o700)
    return wanted


def main(argv: list[str] | None = None) -> int:
    """Run the worker of one edge until it is told to stop: `python -m edge worker`."""
    parser = argparse.ArgumentParser(prog="python -m edge worker", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True, help="gatehouse.yaml")
    given = parser.parse_args(argv)
    try:
        settings = read_settings(given.config, environment=os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    set_up_logging("edge", level=settings.logging.level, style=settings.logging.format)
    try:
        return run(Worker(settings).run)
    except* GatehouseError as errors:
        log.warning("the edge cannot run: %s", errors.exceptions[0])
    return 1
