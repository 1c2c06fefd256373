"""`person enrol` and `person import FILE.zip`, from a shell: hints while they stand there, photos only with a live consent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.bulk.importing import run_imports
from gateway.cli import app
from gateway.runtime import Runtime
from gateway.store.edges import waiting_commands
from models.errors import GatehouseError, ImageRejected, InvalidInput
from models.link import EnrolAtDoor, EnrolFace, FaceReceipt, Hint, Progress, Result
from tests.gateway.support import EDGE, Clock, SigningEdge, assess_faces, machine_token

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
JPEG = b"\xff\xd8\xff\xe0 a photo of "
Shell = Callable[..., Any]
HEADER = "编号,姓名,出生日期,照片,同意日期,同意文本版本,同意凭证,同意门\n"
PAPER = "2026-02-20,face-door-1,folder {n},gate"


@pytest.fixture
async def shell(url: str, runtime: Runtime, clock: Clock) -> AsyncIterator[Shell]:
    """Yield a function that runs a command on a thread and returns what it printed; imports run."""
    assess_faces(runtime.store, at=clock())
    environment = {"GATEHOUSE_URL": url, "GATEHOUSE_TOKEN": machine_token(runtime.store, clock)}

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=environment)
        if isinstance(done.exception, GatehouseError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    task = asyncio.create_task(run_imports(runtime, lambda: None))
    yield run
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Enroller:
    """An edge that refuses photos with a reason in them, and takes two pictures at a door."""

    def __init__(self, edge: SigningEdge, runtime: Runtime) -> None:
        self.edge = edge
        self.runtime = runtime
        self.obeyed: list[EnrolFace | EnrolAtDoor] = []

    async def run(self) -> None:
        while True:
            for command in self.runtime.store.read_now(waiting_commands, EDGE, at=self.runtime.clock()):
                if isinstance(command, EnrolFace):
                    self.obeyed.append(command)
                    await self._photo(command)
                elif isinstance(command, EnrolAtDoor):
                    self.obeyed.append(command)
                    await self._at_door(command)
            await asyncio.sleep(0.01)

    async def _photo(self, command: EnrolFace) -> None:
        photo = await self.edge.fetch(command.relay_ticket)
        reason = photo.removeprefix(JPEG).decode()
        if reason in {"no_face", "differs"}:
            await self._answer(command, state="refused", reason=reason)
        else:
            alike = {"similar_to": "p-other"} if reason == "twin" else {}
            await self._answer(command, state="confirmed", receipt=self._proof(command), **alike)

    async def _at_door(self, command: EnrolAtDoor) -> None:
        if command.pictures == 1:
            await self._answer(command, state="refused", reason="differs", detail="somebody else")
            return
        hints: tuple[Hint, ...] = ("come_closer", "turn_slightly")
        for done, hint in enumerate(hints):
            told = Progress(command_id=command.id, at=self.edge.clock(), done=done, wanted=2, hint=hint)
            await self.edge.send("POST", "/edge/v1/progress", told)
            await asyncio.sleep(0.6)  # as long as somebody stands there
        await self._answer(command, state="confirmed", receipts=(self._proof(command), self._proof(command, "b")))

    def _proof(self, command: EnrolFace | EnrolAtDoor, more: str = "") -> FaceReceipt:
        return FaceReceipt(
            id=f"r{len(self.obeyed)}{more}", person_id=command.person_id, edge_id=EDGE, contract="dlib", quality=0.9,
            digest="ab", at=self.edge.clock(),
        )  # fmt: skip

    async def _answer(self, command: EnrolFace | EnrolAtDoor, **result: Any) -> None:
        await self.edge.send("POST", "/edge/v1/results", Result(command_id=command.id, at=self.edge.clock(), **result))


@pytest.fixture
async def enroller(edge: SigningEdge, runtime: Runtime) -> AsyncIterator[Enroller]:
    """Yield an edge that obeys commands to enrol."""
    made = Enroller(edge, runtime)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def picture(folder: Path, name: str, says: str = "somebody") -> str:
    (folder / name).write_bytes(JPEG + says.encode())
    return str(folder / name)


async def consented(shell: Shell) -> None:
    await shell("person", "add", "Lin Yue", "--id", "lin")
    await shell("person", "consent", "lin", "--door", "gate", "--evidence", "folder 7")


async def test_several_photos_are_enrolled_and_each_is_answered(
    shell: Shell, enroller: Enroller, tmp_path: Path
) -> None:
    await consented(shell)
    await shell("person", "add", "Lin Yi", "--id", "p-other")
    first, second, twin = (picture(tmp_path, f"{n}.jpg", "twin" if n == 2 else f"x{n}") for n in range(3))
    printed = await shell("person", "enrol", "lin", "--photo", first, "--photo", second, "--photo", twin)
    assert "3 of 3 photos enrolled" in printed
    assert "looks like p-other: the same person twice on record?" in printed
    assert [isinstance(one, EnrolFace) and one.add for one in enroller.obeyed] == [False, True, True]
    with pytest.raises(InvalidInput, match=r"3\.jpg: differs"):
        await shell(
            "person", "enrol", "lin", "--add", "--photo", first, "--photo", picture(tmp_path, "3.jpg", "differs")
        )
    for wrong in ((), ("--photo", first, "--door", "gate"), ("--photo", str(tmp_path / "4.jpg")), ("--photo", "x.gif")):
        with pytest.raises(InvalidInput):
            await shell("person", "enrol", "lin", *wrong)


async def test_at_a_door_the_shell_says_what_the_person_should_do(shell: Shell, enroller: Enroller) -> None:
    await consented(shell)
    printed = await shell("person", "enrol", "lin", "--door", "gate", "--pictures", "2")
    assert "come closer" in printed
    assert "1 of 2 pictures; turn your head" in printed
    assert printed.strip().endswith("enrolled from 2 pictures")
    with pytest.raises(ImageRejected, match="differs: somebody else"):
        await shell("person", "enrol", "lin", "--door", "gate", "--pictures", "1")


# ---- an archive of people and photos --------------------------------------------------------------------------------


def archive(folder: Path, rows: str, photos: dict[str, str], *, header: str = HEADER, name: str = "people.zip") -> Path:
    made = folder / name
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("people/residents.csv", header + rows)
        for photo, says in photos.items():
            packed.writestr(f"people/{photo}", JPEG + says.encode())
        packed.writestr("__MACOSX/people/._residents.csv", b"junk")
    return made


async def test_people_come_with_their_photos_and_each_refusal_says_why(
    shell: Shell, enroller: Enroller, tmp_path: Path
) -> None:
    rows = (
        f"A-1,Lin Yue,1990-01-02,lin.jpg;林二.jpg,{PAPER.format(n=1)}\n"
        "A-2,Wei,,wei.jpg,,,,\n"  # no consent told of and none on record
        f"A-3,Bao,2015-05-01,bao.jpg,{PAPER.format(n=3)}\n"  # a child: a guardian must consent
        f"A-4,Chen,,missing.jpg;blurred.jpg,{PAPER.format(n=4)}\n"
        "A-5,Dong,,,,,,\n"
        "A-6,Fan,,fan.jpg,2026-02-20,,,gate\n"
    )
    photos = {"Lin.JPG": "x", "林二.jpg": "x", "wei.jpg": "x", "bao.jpg": "x", "blurred.jpg": "no_face", "fan.jpg": "x"}
    file = archive(tmp_path, rows, photos)
    tried = json.loads(await shell("person", "import", str(file), "--dry-run", "--json"))
    assert (tried["report"]["added"], tried["photos"], enroller.obeyed) == (6, [], [])
    printed = await shell("person", "import", str(file))
    assert "6 added" in printed
    assert "line 3, wei.jpg: no_consent" in printed
    assert "line 4, bao.jpg" in printed
    assert "guardian" in printed
    assert "line 5, missing.jpg: the archive holds no file of this name" in printed
    assert "line 5, blurred.jpg: no_face" in printed
    assert "line 7, consent_text_version: fill all columns" in printed
    assert "photos: 2 enrolled, 0 unchanged, 4 refused" in printed
    assert [(type(one), one.add) for one in enroller.obeyed if isinstance(one, EnrolFace)] == [
        (EnrolFace, False), (EnrolFace, True), (EnrolFace, False)
    ]  # fmt: skip
    again = await shell("person", "import", str(file))
    assert "photos: 0 enrolled, 2 unchanged, 4 refused" in again
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path != file and JPEG in path.read_bytes()]
    assert kept == [], "no photo is unpacked anywhere"


async def test_a_consent_that_was_withdrawn_does_not_come_back_with_the_same_archive(
    shell: Shell, enroller: Enroller, tmp_path: Path
) -> None:
    file = archive(tmp_path, f"A-1,Lin Yue,,lin.jpg,{PAPER.format(n=1)}\n", {"lin.jpg": "x"})
    told = json.loads(await shell("person", "import", str(file), "--json"))
    assert [one["state"] for one in told["photos"]] == ["enrolled"]
    person_id = enroller.obeyed[0].person_id
    (consent,) = json.loads(await shell("person", "show", person_id))["consents"]
    assert (consent["channel"], consent["evidence"]) == ("paper", "folder 1")
    assert date.fromisoformat(consent["given_at"][:10]) in {date(2026, 2, 19), date(2026, 2, 20)}
    await shell("person", "withdraw", person_id, consent["id"])
    told = json.loads(await shell("person", "import", str(file), "--json"))
    (refused,) = told["photos"]
    assert (refused["state"], "withdrew" in refused["reason"]) == ("refused", True)
    assert len(json.loads(await shell("person", "show", person_id))["consents"]) == 1
