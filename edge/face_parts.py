"""Composition of all that an edge has about faces: the face process and its link, attention, enrolment, sharing, erasure.

Part of the composition root (edge.worker): what is here is wiring, and who obeys which command. It decides nothing.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from config.process import Backoff, Command, Supervisor, keep_running
from config.settings import EdgeSettings, Settings
from edge.admission import Admission
from edge.attention import Attention, Faces
from edge.channel import Channel
from edge.clock import SteadyClock
from edge.counting import Counting
from edge.doorkeeper import DoorKeeper
from edge.enrolling import DoorEnrolment
from edge.enrolment import Enrolment
from edge.erasing import Erasing
from edge.facelink import FaceLink
from edge.identity import Signer
from edge.keystore import KeyStore
from edge.orders import Orders
from edge.own_models import own_models
from edge.policies import Policies
from edge.relay import Relay
from edge.sharing import Sharing
from edge.stills import Stills
from models.errors import InvalidInput
from models.link import (
    MAX_PHOTO_BYTES,
    AdoptTemplates,
    CountImpostors,
    EnrolAtDoor,
    EnrolFace,
    EraseFace,
    ShareTemplates,
    TakeStill,
)
from models.places import Camera
from models.policy import Policy

LINK_BACKOFF = Backoff(first_s=0.2, cap_s=3.0)


@dataclass(frozen=True, kw_only=True)
class Around:
    """Name the parts of an edge that those about faces are joined to."""

    settings: Settings
    faces: Faces
    link: FaceLink
    clock: SteadyClock
    keys: KeyStore
    policies: Policies
    admission: Admission
    keeper: DoorKeeper
    orders: Orders
    relay: Relay
    channel: Channel
    signer: Signer
    seal_key: bytes
    tasks: asyncio.TaskGroup
    last_heard: Callable[[], float | None]


class FaceParts:
    """Hold the parts about faces of one edge."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._edge = around.settings.edge
        self._make_attention()
        self._make_templates()
        self._take_orders()

    def _make_attention(self) -> None:
        around = self._around
        self.attention = Attention(
            admission=around.admission,
            keeper=around.keeper,
            clock=around.clock,
            link=around.link,
            keys=around.keys,
            policies=around.policies,
            faces=around.faces,
            tasks=around.tasks,
            last_heard=around.last_heard,
        )
        around.admission.faces = self.attention
        self.counting = Counting(
            edge_id=self._edge.id,
            clock=around.clock,
            keys=around.keys,
            galleries=self.attention.galleries,
            new_id=lambda: f"cal-{uuid.uuid4().hex}",
        )

    def _make_templates(self) -> None:
        around = self._around
        self.enrolment = Enrolment(
            edge_id=self._edge.id,
            clock=around.clock,
            keys=around.keys,
            link=around.link,
            relay=lambda ticket: around.relay.fetch(ticket, limit_bytes=MAX_PHOTO_BYTES),
            policies=around.policies,
            on_change=self.attention.refresh,
            uses=lambda: self.attention.galleries.uses,
        )
        self.at_door = DoorEnrolment(
            office=self.enrolment,
            link=around.link,
            clock=around.clock,
            policies=around.policies,
            tell=around.channel.progress,
        )
        self.erasing = Erasing(
            edge_id=self._edge.id,
            clock=around.clock,
            keys=around.keys,
            policies=around.policies,
            sign=around.signer.sign,
            on_change=self.attention.refresh,
        )
        self.sharing = Sharing(
            edge_id=self._edge.id,
            clock=around.clock,
            keys=around.keys,
            policies=around.policies,
            relay=around.relay,
            seal_key=around.seal_key,
            on_change=self.attention.refresh,
        )

        self.stills = Stills(
            clock=around.clock, channel=around.channel, link=around.link, cameras=lambda: _cameras(around.policies)
        )

    def _take_orders(self) -> None:
        orders = self._around.orders
        orders.give(EnrolFace, self.enrolment.enrol)
        orders.give(EnrolAtDoor, self.at_door.enrol)
        orders.give(EraseFace, self.erasing.erase)
        orders.give(CountImpostors, self.counting.count)
        orders.give(ShareTemplates, self.sharing.share)
        orders.give(AdoptTemplates, self.sharing.adopt)
        orders.give(TakeStill, self.stills.take)

    def start(self, children: Supervisor) -> None:
        """Start the face process and hear it, where this edge has one; attend hands-free doors."""
        around = self._around
        if self._edge.faces.enabled:
            children.keep(face_process(around.settings, around.link))
            hearing = keep_running("face link", around.link.run, backoff=LINK_BACKOFF)
            around.tasks.create_task(hearing, name="face link")
        self.attention.start()

    async def apply(self, policy: Policy) -> None:
        """Put a policy in force: match by it, and destroy what it ended.

        Raises:
            StorageUnavailable: the disk did not take a destruction; it is tried again.
        """
        self.attention.apply(policy)
        await self.erasing.apply(policy)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the counters of the parts, by part."""
        return {"faces": self.attention.counters, "erasing": self.erasing.counters}


def _cameras(policies: Policies) -> tuple[Camera, ...]:
    return () if policies.current is None else policies.current.cameras


def faces_allowed(edge: EdgeSettings) -> Faces:
    """Return the profile that face matching runs under.

    Raises:
        InvalidInput: the demo profile outside a data folder that is marked as a demo's.
    """
    faces = edge.faces
    if faces.profile == "demo" and not (edge.data_dir / "DEMO").exists():
        raise InvalidInput("edge.faces.profile", f"demo needs a data folder marked DEMO, and {edge.data_dir} is not")
    return Faces(
        profile=faces.profile if faces.enabled else "off",
        liveness_model=faces.models.liveness.file is not None,
        max_age_ms=float(edge.max_frame_age_ms),
        silence_s=edge.gateway_silence_s,
    )


def face_process(settings: Settings, link: FaceLink) -> Command:
    """Return how the face process is started."""
    faces, style = settings.edge.faces, settings.logging
    argv = [sys.executable, "-m", "edge", "faces", "--socket", str(link.socket)]
    argv += ["--cache-dir", str(faces.cache_dir.expanduser()), "--threads", str(faces.threads)]
    argv += ["--models", msgspec.json.encode(own_models(faces.models)).decode()]
    return Command(name="faces", argv=[*argv, "--log-style", style.format, "--log-level", style.level])
