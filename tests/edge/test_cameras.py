"""Cameras: a lasting loss is a fact, a short one is not, and a change to one touches no other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from config.process import Command
from edge import wire
from edge.cameras import Cameras
from edge.clock import SteadyClock
from edge.eye_settings import read_settings
from edge.spool import Spool
from models.events import AnyFact, CameraBack, CameraLost, CameraSettled, CameraTroubled
from models.places import Camera
from tests.edge.doubles import EDGE, until


@dataclass
class Children:
    """Remember which processes were asked for."""

    kept: dict[str, Command] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)

    def keep(self, command: Command) -> None:
        self.kept[command.name] = command
        self.started.append(command.name)

    def drop(self, name: str) -> None:
        del self.kept[name]


@dataclass
class Yard:
    cameras: Cameras
    children: Children
    spool: Spool

    async def facts(self) -> list[AnyFact]:
        rows = await self.spool.oldest(1000, max_bytes=10**9)
        return [msgspec.json.decode(row.body, type=AnyFact) for row in rows]

    async def says(self, state: wire.EyeState, camera_id: str = "c1", **more: Any) -> None:
        _, writer = await asyncio.open_unix_connection(str(self.cameras.socket))
        await wire.write(writer, wire.EyeHealth(camera_id=camera_id, state=state, since=0.0, **more))
        writer.close()
        await writer.wait_closed()


def camera(camera_id: str = "c1", **more: Any) -> Camera:
    more.setdefault("lost_after_s", 0.3)
    return Camera(id=camera_id, site_id="s", name=camera_id, edge_id=EDGE, url="rtsp://127.0.0.1:1/x", **more)


@contextlib.asynccontextmanager
async def yard(folder: Path) -> AsyncIterator[Yard]:
    children = Children()
    async with Spool(folder / "s.db") as spool, asyncio.TaskGroup() as tasks:
        cameras = Cameras(
            edge_id=EDGE, spool=spool, clock=SteadyClock(), children=children,  # type: ignore[arg-type]
            run_dir=folder, faces_socket=folder / "f.sock", lost_after_s=0.3,
        )  # fmt: skip
        await cameras.start(tasks)
        await spool.recall("anything")  # the server has begun by then
        yield Yard(cameras, children, spool)
        for task in list(tasks._tasks):
            task.cancel()


async def test_a_lasting_loss_and_its_end_are_one_fact_each(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        at.cameras.apply([camera()])
        await at.says("live")
        await until(lambda: at.cameras.statuses()[0].state == "live")
        await at.says("unreachable")
        await until(lambda: at.cameras.statuses()[0].state == "lost")
        await at.says("live")
        await until(lambda: at.cameras.statuses()[0].state == "live")
        await until(lambda: at.spool.backlog == 2)
        lost, back = await at.facts()
        assert isinstance(lost, CameraLost)
        assert lost.reason == "unreachable"
        assert isinstance(back, CameraBack)


async def test_a_short_loss_is_none(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        at.cameras.apply([camera(lost_after_s=30.0), camera("c2")])
        await at.says("live")
        await at.says("unreachable")
        await until(lambda: at.cameras.statuses()[1].state == "lost", what="the other camera's loss")
        assert at.cameras.statuses()[0].state == "starting"
        assert [f.camera_id for f in await at.facts() if isinstance(f, CameraLost)] == ["c2"]


async def test_a_loss_is_noted_in_the_transaction_of_its_fact(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        spool, together = at.spool, list[tuple[int, bytes | None]]()
        commit = spool.commit

        def watched(*given: Any, **more: Any) -> asyncio.Future[None]:
            together.append((len(given[1]), (more.get("notes") or {}).get("cameras_lost")))
            return commit(*given, **more)

        spool.commit = watched  # type: ignore[method-assign]
        at.cameras.apply([camera()])
        await until(lambda: bool(together), what="the loss")
        ((facts, note),) = together
        assert facts == 1
        assert note is not None
        assert b"c1" in note


async def test_a_camera_that_was_lost_before_a_restart_comes_back_as_a_fact(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        at.cameras.apply([camera()])
        await until(lambda: at.spool.backlog == 1)
        await until(lambda: at.cameras.statuses()[0].state == "lost")
        while await at.spool.recall("cameras_lost") is None:
            continue
    async with yard(tmp_path) as at:
        at.cameras.apply([camera(lost_after_s=60.0)])
        await at.says("live")
        await until(lambda: at.spool.backlog == 2)
        assert [type(fact).__name__ for fact in await at.facts()] == ["CameraLost", "CameraBack"]


async def test_a_trouble_and_its_end_are_one_fact_each_however_often_they_are_said(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        at.cameras.apply([camera()])
        for _ in range(3):
            await at.says("live", troubles=("covered",), absent=("clock_skew",))
        await until(lambda: at.cameras.statuses()[0].detail == "covered")
        assert at.cameras.statuses()[0].state == "live"
        await at.says("live", troubles=("covered", "clock_skew"))
        await until(lambda: at.spool.backlog == 2)
        await at.says("unreachable", absent=("covered",))
        await until(lambda: at.spool.backlog >= 3)
        facts = [fact for fact in await at.facts() if not isinstance(fact, CameraLost)]
        assert [(type(fact).__name__, getattr(fact, "trouble", "")) for fact in facts] == [
            ("CameraTroubled", "covered"), ("CameraTroubled", "clock_skew"), ("CameraSettled", "covered"),
        ]  # fmt: skip
        assert len({fact.id for fact in facts}) == 3


async def test_a_trouble_outlasts_a_restart_until_an_eye_knows_that_it_is_over(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        at.cameras.apply([camera()])
        await at.says("live", troubles=("moved",))
        await until(lambda: at.spool.backlog == 1)
    async with yard(tmp_path) as at:
        at.cameras.apply([camera()])
        await at.says("live")
        await until(lambda: at.cameras.statuses()[0].state == "live")
        assert at.cameras.statuses()[0].detail == "moved"
        await at.says("live", absent=("covered", "moved"))
        await until(lambda: at.spool.backlog == 2)
        told, settled = await at.facts()
        assert isinstance(told, CameraTroubled)
        assert isinstance(settled, CameraSettled)
        assert (told.trouble, settled.trouble) == ("moved", "moved")


async def test_only_what_changed_is_started_again(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        at.cameras.apply([camera("c1"), camera("c2")])
        at.cameras.apply([camera("c1"), camera("c2"), camera("c3")])
        assert at.children.started == ["eye c1", "eye c2", "eye c3"]
        at.cameras.apply([camera("c1", lost_after_s=9.0), camera("c2", password="new")])
        assert at.children.started == ["eye c1", "eye c2", "eye c3", "eye c2"]
        assert set(at.children.kept) == {"eye c1", "eye c2"}


async def test_an_eye_is_told_everything_on_its_standard_input_and_nothing_on_its_command_line(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        password = "".join(map(chr, range(32, 127)))
        drawn = (0.2, 0.3, 0.6, 0.1, 0.5, 0.9)
        at.cameras.apply([camera("c1", password=password, door_id="d1", near_zone=drawn), camera("c2")])
        command = at.children.kept["eye c1"]
        assert not any("rtsp" in part or password in part for part in command.argv)
        assert command.environment is None
        settings = read_settings(command.stdin or b"")
        assert settings.password == password
        assert settings.near_zone == (0.2, 0.1, 0.6, 0.9), "motion needs no more than the bounds of a drawn zone"
        assert (settings.faces_socket, settings.rate) == (str(tmp_path / "f.sock"), "auto")
        other = read_settings(at.children.kept["eye c2"].stdin or b"")
        assert (other.faces_socket, other.rate) == (None, "auto")


async def test_what_cannot_be_read_or_is_unknown_is_counted(tmp_path: Path) -> None:
    async with yard(tmp_path) as at:
        _, writer = await asyncio.open_unix_connection(str(at.cameras.socket))
        writer.write(b"\x00\x00\x00\x03abc")
        await writer.drain()
        await until(lambda: at.cameras.counters.get("unreadable_eyes") == 1)
        writer.close()
        await at.says("live", "somebody")
        await until(lambda: at.cameras.counters.get("unknown_eyes") == 1)
        at.cameras.apply([camera()])
        await at.says("refused")
        await until(lambda: at.cameras.statuses()[0].state == "refused")
        assert at.cameras.statuses()[0].trouble
        await at.says("live")
        await until(lambda: at.cameras.statuses()[0].state == "live")
        assert at.cameras.statuses()[0].trouble is None
