"""A door with a camera, whose face process sees what the test says; and the people who live behind it."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.door import GiveFeedback, UnlockDoor
from edge import wire
from edge.attention import Attention, Faces
from edge.attention_window import Shown
from edge.keystore import KeyStore, Opened
from edge.policies import Policies
from models.access import Request
from models.calibration import Profile
from models.places import Camera
from models.policy import Policy
from models.recognition import FaceQuality
from tests.edge.conftest import House, open_house
from tests.edge.doubles import EDGE, card, consent, door, now, online, permit, person, policy, until

MODEL = "dlib-resnet-v1/128/euclidean/sha256:00"
QUALITY = FaceQuality(
    face_px=80, eye_px=40.0, blur=100.0, brightness=120.0, contrast=40.0, yaw=0.0, roll_deg=0.0, inside=1.0
)


def face(person_id: str) -> NDArray[np.float32]:
    """Return an embedding of unit length that is far from everybody else's."""
    rng = np.random.default_rng(zlib.crc32(person_id.encode()))
    vector = rng.normal(size=128)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class Link:
    """A face process that sees what the test says."""

    attended: list[wire.Attend] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    on_sighting: Callable[[wire.FaceSighting], None] = lambda _: None
    on_unusable: Callable[[wire.FaceUnusable], None] = lambda _: None

    def attend(self, attend: wire.Attend) -> None:
        self.attended.append(attend)

    def ignore(self, door_id: str) -> None:
        self.ignored.append(door_id)

    def see(self, embedding: NDArray[np.float32], *, track: str = "t1", age_ms: float = 20.0, **more: Any) -> None:
        self.on_sighting(
            wire.FaceSighting(
                door_id=more.get("door_id", "d1"), camera_id="c1", track_id=track, frame_no=1,
                captured_at=time.time() - age_ms / 1000, age_ms=age_ms, first_usable_at=time.time(),
                embedding=embedding.astype("<f4").tobytes(), contract=more.get("contract", MODEL),
                quality=QUALITY, box=(0.0, 0.0, 80.0, 80.0), liveness=more.get("liveness"),
            )
        )  # fmt: skip


@dataclass
class Porch:
    house: House
    link: Link
    keys: KeyStore
    policies: Policies
    attention: Attention

    async def apply(self, new: Policy) -> None:
        accepted = await self.policies.take(new)
        assert accepted is not None
        self.house.admission.apply(new)
        self.house.keeper.apply(self.policies.usable_doors(), new.modes)
        self.attention.apply(new)

    def enrol(self, person_id: str, *doors: str) -> None:
        template = Opened(person_id=person_id, doors=doors or ("d1",), contract=MODEL, embedding=face(person_id))
        self.keys.put(template, consent_id="c", quality=1.0, at=now())
        self.attention.refresh()

    async def press(self, n: object = 1) -> None:
        before = len(self.link.attended)
        self.house.wire.ask(Request(id=f"r{n}", door_id="d1", kind="button"))
        await until(lambda: len(self.link.attended) > before)

    async def end(self) -> str:
        """Let the window of the door end now; return how it was answered."""
        window = self.attention._windows["d1"]
        window.until = 0.0
        window.moved.set()
        return await self.answer()

    def shows(self) -> Shown | str | None:
        """Return what the door's window would answer now."""
        return self.attention._windows["d1"].answer(self.house.clock.unix())

    async def answer(self) -> str:
        orders = self.house.wire.orders
        await until(lambda: any(isinstance(o, UnlockDoor | GiveFeedback) for o in orders), limit_s=15)
        last = orders[-1]
        return "unlocked" if isinstance(last, UnlockDoor) else last.reason if isinstance(last, GiveFeedback) else "?"


def homes(n: int = 1, **more: Any) -> Policy:
    people = more.pop("ids", ("p1", "p2"))
    return policy(
        door(factors=more.pop("factors", ("face", "card")), camera_id="c1", **more.pop("of_door", {})),
        n=n,
        cameras=(Camera(id="c1", site_id="s1", name="c1", edge_id=EDGE, url="rtsp://x", door_id="d1"),),
        people=tuple(person(p, **more.pop(p, {})) for p in people),
        permits=more.pop("permits", tuple(permit(p) for p in people)),
        consents=more.pop("consents", tuple(consent(p) for p in people)),
        credentials=more.pop("credentials", (card("p1", "7186A61E"),)),
        **more,
    )


@contextlib.asynccontextmanager
async def porch(
    folder: Path, *, profile: Profile = "demo", heard_ago_s: float | None = 0.0, liveness_model: bool = True
) -> AsyncIterator[Porch]:
    async with open_house(folder) as house:
        keys, link = KeyStore(folder), Link()
        policies = Policies(edge_id=EDGE, spool=house.spool, keys=keys)
        attention = Attention(
            admission=house.admission, keeper=house.keeper, clock=house.clock,
            link=link,  # type: ignore[arg-type]
            keys=keys, policies=policies, faces=Faces(profile=profile, liveness_model=liveness_model),
            tasks=house.tasks,
            last_heard=lambda: None if heard_ago_s is None else house.clock.unix() - heard_ago_s,
        )  # fmt: skip
        house.admission.faces = attention
        attention.start()
        at_door = Porch(house, link, keys, policies, attention)
        await at_door.apply(homes())
        house.wire.say("d1", online())
        yield at_door
