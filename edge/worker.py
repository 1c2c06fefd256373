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
import ssl
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from config.process import Backoff, Good, Supervisor, keep_running, run, set_up_logging
from config.settings import Settings, read_settings
from drivers.since_boot import since_boot_s
from edge.admission import Admission
from edge.adopting import Adopting
from edge.attention import Faces
from edge.cameras import Cameras
from edge.channel import TIMEOUT, Channel
from edge.checkpoints import Checkpoints
from edge.clock import SteadyClock
from edge.doorkeeper import DoorKeeper
from edge.face_parts import Around, FaceParts, faces_allowed
from edge.facelink import FaceLink
from edge.identity import Signer, key_of, new_key, public_key, trust
from edge.keystore import KeyStore
from edge.lines import Lines
from edge.membership import Admittance
from edge.orders import Orders
from edge.policies import Policies, PolicyAnswer, version
from edge.power import Mains
from edge.protection import open_guard
from edge.relay import Relay
from edge.served import unserved
from edge.spool import Spool
from edge.times import Lived, last_times
from edge.trial_eyes import TrialEyes
from edge.uplink import Uplink
from edge.wires import Wires
from models.card_lessons import LearnCards
from models.device_orders import Discover, InstallKey, ProbeDevice, TryPart
from models.errors import GatehouseError, SettingsError, StorageUnavailable
from models.link import DoorStatus, EdgeStatus, Introduction, RefuseCall, Unlock
from models.policy import Policy
from models.sealing import new_seal_key, public_seal_key

log = logging.getLogger("gatehouse.edge.worker")

MAX_TOMBSTONES = 1000
"""Erased persons whom a status names; what is over comes when the gateway has taken these in."""
SOCKET_PATH_LIMIT = 80
BYTES_PER_FACT = 600
"""What a spooled fact takes with its index; turns the limit in facts into a budget in bytes."""
ENROLMENT_BACKOFF = Backoff(first_s=0.25, cap_s=3.0)


class Worker:
    """Run one edge, from its settings to its last breath."""

    def __init__(
        self,
        settings: Settings,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot_s,
    ) -> None:
        self._wall, self._since_boot = wall, steady
        self._settings = settings
        self._edge = settings.edge
        self._data = settings.edge.data_dir
        self._base = settings.gateway_url()

    async def run(self) -> None:
        """Serve doors and cameras until cancelled.

        Raises:
            InvalidInput: keys or settings cannot be used.
            StorageUnavailable: the spool cannot be opened.
        """
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._tls = trust(
            self._base, ca_file=self._edge.gateway_ca_file, allow_plain=self._settings.gateway.allow_plain_http
        )
        budget = self._edge.spool_limit * BYTES_PER_FACT
        async with (
            Spool(self._data / "spool.db", budget_bytes=budget) as spool,
            _client(self._base, self._tls) as client,
        ):
            self._before = await last_times(spool)
            clock = SteadyClock(wall=self._wall, steady=self._since_boot, last_known=self._before.last)
            async with Supervisor() as children, asyncio.TaskGroup() as tasks:
                await self._start(spool=spool, clock=clock, client=client, children=children, tasks=tasks)

    async def _start(
        self,
        *,
        spool: Spool,
        clock: SteadyClock,
        client: httpx.AsyncClient,
        children: Supervisor,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._spool, self._clock, self._keys = spool, clock, self._open_keys()
        self._admittance = Admittance(
            folder=self._data, gateway=self._base, client=client, token_file=self._edge.token_file, about=self._about
        )
        self._policies = Policies(
            edge_id=self._edge.id, spool=spool, keys=self._keys, gateway_key=lambda: self._admittance.gateway_key
        )
        self._checkpoints = Checkpoints(spool)
        self._run_dir = _run_dir(self._edge.run_dir or self._data / "run")
        self._link = FaceLink(self._run_dir / "faces.sock", enabled=self._edge.faces.enabled)
        self._make_doors(tasks)
        self._make_uplink(client)
        self._make_cameras(children)
        self._make_faces(tasks)
        self._make_adopting(children)
        self._keeper.on_change = self._cameras.on_change = self._uplink.changed
        self._faces.attention.galleries.on_change = self._uplink.changed
        await self._begin(tasks, children)
        entering = keep_running("uplink enrolment", lambda good: self._enter(tasks, good), backoff=ENROLMENT_BACKOFF)
        tasks.create_task(entering, name="enrolment")

    def _open_keys(self) -> KeyStore:
        told = self._edge.protection
        guard = open_guard(told.kind, self._data, tcti=told.tcti, key_file=told.key_file, key_command=told.key_command)
        return KeyStore(self._data, guard=guard)

    def _make_doors(self, tasks: asyncio.TaskGroup) -> None:
        self._wires = Wires(self._edge.broker, edge_id=self._edge.id, now=self._clock.now)
        self._keeper = DoorKeeper(
            edge_id=self._edge.id,
            spool=self._spool,
            clock=self._clock,
            tasks=tasks,
            open_driver=self._wires.open,
            driver_key=self._wires.key,
            line_free=self._wires.free,
            new_id=lambda: uuid.uuid4().hex,
            lost_after_s=self._edge.door_lost_after_s,
        )
        self._mains = Mains(edge_id=self._edge.id, spool=self._spool, clock=self._clock, states=self._keeper.states)
        self._admission = Admission(edge_id=self._edge.id, keeper=self._keeper, clock=self._clock, spool=self._spool)

    def _make_uplink(self, client: httpx.AsyncClient) -> None:
        self._identity = key_of(self._keys.secret(self._data / "edge.key", make=new_key))
        self._signer = Signer(
            self._identity,
            edge_id=self._edge.id,
            unix=self._clock.unix,
            nonce=lambda: secrets.token_hex(16),
        )
        self._seal_key = self._keys.secret(self._data / "seal.key", make=new_seal_key)
        self._channel = Channel(client=client, signer=self._signer, clock=self._clock)
        self._lived = Lived(
            self._before,
            edge_id=self._edge.id,
            spool=self._spool,
            clock=self._clock,
            heard=lambda: self._channel.last_heard,
            new_id=lambda: uuid.uuid4().hex,
        )
        self._orders = Orders(self._clock)
        self._relay = Relay(base_url=self._base, signer=self._signer, tls=self._tls)
        self._uplink = Uplink(
            channel=self._channel,
            spool=self._spool,
            clock=self._clock,
            status=self._status,
            policy=lambda: self._policies.current,
            on_policy=self._on_policy,
            on_checkpoint=self._checkpoints.witness,
            vouched=self._policies.vouched,
            obey=self._orders.obey,
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
        around = Around(
            settings=self._settings,
            faces=self._faces_allowed(),
            link=self._link,
            clock=self._clock,
            keys=self._keys,
            policies=self._policies,
            admission=self._admission,
            keeper=self._keeper,
            orders=self._orders,
            relay=self._relay,
            channel=self._channel,
            signer=self._signer,
            seal_key=self._seal_key,
            tasks=tasks,
            last_heard=self._lived.last_heard,
        )
        self._faces = FaceParts(around)
        self._orders.give(Unlock, self._admission.unlock)
        self._orders.give(RefuseCall, self._admission.calls.refuse)
        self._orders.give(LearnCards, partial(self._admission.lessons.learn, tell=self._channel.progress))

    def _make_adopting(self, children: Supervisor) -> None:
        eyes = TrialEyes(
            children=children,
            run_dir=self._run_dir,
            faces_socket=self._link.socket if self._edge.faces.enabled else None,
            log_style=self._settings.logging.format,
        )
        lines = Lines(
            clock=self._clock,
            wires=self._wires,
            doors=self._policies.usable_doors,
            mode=self._keeper.mode,
            state=self._keeper.state,
        )
        adopting = Adopting(
            clock=self._clock,
            channel=self._channel,
            link=self._link,
            eyes=eyes,
            open_trial=self._wires.open_trial,
            reached=self._wires.reached,
            doors=self._policies.usable_doors,
            lines=lines,
        )
        self._orders.give(InstallKey, lines.install)
        self._orders.give(Discover, adopting.discover)
        self._orders.give(ProbeDevice, adopting.probe)
        self._orders.give(TryPart, adopting.attempt)

    def _faces_allowed(self) -> Faces:
        return faces_allowed(self._edge)

    async def _begin(self, tasks: asyncio.TaskGroup, children: Supervisor) -> None:
        """Start what needs no gateway: doors, cameras and faces by the last policy."""
        await self._admission.load()
        await self._keeper.start(self._admission.consider)
        await self._cameras.start(tasks)
        self._faces.start(children)
        await self._checkpoints.load()
        stored = await self._policies.load()
        if stored is not None:
            try:
                await self._apply(stored)
            except StorageUnavailable as error:  # doors are served by now; the uplink's first policy tries again
                log.warning("templates whose consent ended could not be destroyed yet: %s", error)
        tasks.create_task(self._lived.run(), name="clock")
        tasks.create_task(self._mains.run(), name="power")
        tasks.create_task(self._admission.calls.run(), name="calls")
        tasks.create_task(self._admission.pairs.run(), name="pairs")
        tasks.create_task(self._faces.erasing.run(), name="erasing")
        ready = {
            "ready": True,
            "part": "edge",
            "edge": self._edge.id,
            "pid": os.getpid(),
            "backlog": self._spool.backlog,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()

    # ---- gateway ----------------------------------------------------------------------------------------------------

    def _about(self, token: str) -> Introduction:
        return Introduction(
            token=token, edge_id=self._edge.id, name=self._edge.name, public_key=public_key(self._identity),
            seal_key=public_seal_key(self._seal_key), protection=self._keys.protection,
        )  # fmt: skip

    async def _enter(self, tasks: asyncio.TaskGroup, good: Good) -> None:
        """Enrol with the one-time token if this edge is not known yet, start the uplink, and enrol again if forgotten."""
        await self._admittance.enter()
        good()
        await self._uplink.load()
        self._uplink.start(tasks)
        await self._admittance.stay(lambda: self._channel.unwelcome or self._uplink.distrusts)

    async def _on_policy(self, answer: PolicyAnswer) -> None:
        before = self._policies.current
        try:
            accepted = await self._policies.receive(answer)
        except StorageUnavailable:
            if self._policies.current is not None and self._policies.current is not before:
                await self._apply(self._policies.current)  # on a full disk too, a withdrawn consent holds at once
            raise  # so that the uplink brings it again, to be stored
        if accepted is not None:
            await self._apply(accepted)
            await self._lived.remember()  # a restart without the gateway needs to know that it was heard

    async def _apply(self, policy: Policy) -> None:
        """Put a policy in force; what it did not change is not touched."""
        self._clock.not_before(policy.issued_at)
        self._admission.apply(policy)
        self._keeper.apply(self._policies.usable_doors(), policy.modes)
        self._cameras.apply(policy.cameras)
        await self._faces.apply(policy)
        log.info(
            "policy %s: %d doors, %d cameras, %d people",
            version(policy), len(policy.doors), len(policy.cameras), len(policy.people),
        )  # fmt: skip
        self._uplink.changed()

    def _status(self) -> EdgeStatus:
        policy = self._policies.current
        parts = {
            "wires": self._wires.counters,
            "doors": self._keeper.counters,
            "requests": self._admission.counters,
            "cameras": self._cameras.counters,
            **self._faces.counters(),
            "uplink": self._uplink.counters,
            "checkpoints": self._checkpoints.counters,
            "spool": {"commits": self._spool.commits, "failures": self._spool.failures},
        }
        counters = {f"{part}_{name}": n for part, names in parts.items() for name, n in names.items()}
        return EdgeStatus(
            edge_id=self._edge.id,
            at=self._clock.now(),
            backlog=self._spool.backlog,
            doors=self._faces.attention.told(self._keeper.statuses()) + self._unserved(),
            cameras=self._cameras.statuses(),
            counters=counters,
            policy=(0, 0) if policy is None else (policy.epoch, policy.n),
            templates=len(self._keys.sealed()),
            contract=self._faces.attention.galleries.contract,
            protection=self._keys.protection,
            checkpoint=self._checkpoints.newest,
            tombstones=self._policies.forgotten()[:MAX_TOMBSTONES],
            restored_at=self._keys.restored_at,
        )

    def _unserved(self) -> tuple[DoorStatus, ...]:
        at = self._clock.now()
        return tuple(unserved(door_id, why, at=at) for door_id, why in self._policies.unusable.items())


def _client(base: str, tls: ssl.SSLContext | bool) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=base, verify=tls, timeout=TIMEOUT, follow_redirects=False, trust_env=False)


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
