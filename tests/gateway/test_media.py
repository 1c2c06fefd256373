"""Pictures: a signed stream becomes a file with its digest, and only a blurred one is shown, with a reason, on record."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from gateway.media import KEEP_FOR, drop_old_media, folder_of
from gateway.runtime import Runtime
from gateway.store.audit import audit_rows
from models.errors import StorageUnavailable
from models.link import MAX_PHOTO_BYTES
from tests.gateway.support import BEGINNING, Clock, SigningEdge

JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 60_000
MP4 = b"\x00\x00\x00\x20ftypisom" + b"clip" * 2000
REASON = {"Gatehouse-Reason": "a%20parcel%20is%20missing"}


@pytest.fixture
def runtime(runtime: Runtime, tmp_path: Path) -> Runtime:
    """Return a gateway with a folder beside its database."""
    return dataclasses.replace(runtime, data_dir=tmp_path / "data")


async def send(
    edge: SigningEdge, content: bytes = JPEG, *, media_type: str = "image/jpeg", digest: str | None = None, **query: Any
) -> httpx.Response:
    asked = {"id": "m1", "camera": "cam", "at": BEGINNING.isoformat(), "blurred": "yes"} | query
    target = f"/edge/v1/media?{urlencode(asked)}"
    signed = edge.headers("POST", target, content) | {
        "Content-Type": media_type,
        "Gatehouse-Digest": digest or hashlib.sha256(content).hexdigest(),
    }
    return await edge.client.post(target, content=content, headers=signed)


def files(runtime: Runtime) -> list[Path]:
    assert runtime.data_dir is not None
    return [path for path in runtime.data_dir.rglob("*") if path.is_file()]


async def test_a_picture_is_kept_once_and_shown_with_a_reason_on_record(
    edge: SigningEdge, manager: httpx.AsyncClient, *, other: httpx.AsyncClient, runtime: Runtime
) -> None:
    assert (await send(edge, fact="f1")).status_code == 201
    assert (await send(edge, fact="f1")).status_code == 200, "a lost answer may be asked for again"
    (file,) = files(runtime)
    assert file.read_bytes() == JPEG
    assert file.stat().st_mode & 0o077 == 0
    assert (await manager.get("/api/v1/media/m1")).status_code == 422, "say why"
    shown = await manager.get("/api/v1/media/m1", headers=REASON)
    assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, JPEG, "image/jpeg")
    looks = [row for row in runtime.store.read_now(audit_rows) if row.action == "media.look"]
    assert [(row.actor, row.subject) for row in looks] == [("u-manager", "m1")]
    assert (await other.get("/api/v1/media/m1", headers=REASON)).status_code == 404
    listed = (await manager.get("/api/v1/media", params={"fact_id": "f1"}, headers=REASON)).json()["items"]
    assert [(item["id"], item["camera_id"], item["size_bytes"]) for item in listed] == [("m1", "cam", len(JPEG))]
    assert (await other.get("/api/v1/media", headers=REASON)).json()["items"] == []


async def test_a_clear_picture_and_a_clip_are_kept_and_not_shown(
    edge: SigningEdge, manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    assert (await send(edge, blurred="no")).status_code == 201
    assert (await send(edge, MP4, id="m2", media_type="video/mp4")).status_code == 201
    for key in ("m1", "m2"):
        assert (await manager.get(f"/api/v1/media/{key}", headers=REASON)).status_code == 403
    refused = [row.subject for row in runtime.store.read_now(audit_rows) if row.action == "media.look"]
    assert sorted(refused) == ["m1", "m2"], "the attempts are on record"


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (422, {"digest": "0" * 63}),
        (401, {"digest": "0" * 64}),
        (415, {"media_type": "image/gif"}),
        (422, {"content": b"GIF89a" + b"x" * 100}),
        (422, {"media_type": "video/mp4"}),
        (404, {"camera": "other"}),
        (422, {"id": "../x"}),
        (422, {"id": "a/b"}),
        (422, {"fact": "f\x00"}),
        (422, {"at": "yesterday"}),
        (422, {"at": "1200-01-01T00:00:00Z"}),
        (422, {"blurred": "maybe"}),
        (413, {"content": b"\xff\xd8\xff" + b"x" * MAX_PHOTO_BYTES}),
    ],
)
async def test_what_is_not_as_it_says_is_refused_and_leaves_nothing(
    edge: SigningEdge, runtime: Runtime, status: int, change: dict[str, Any]
) -> None:  # fmt: skip
    answer = await send(edge, **change)
    assert answer.status_code == status, answer.text
    assert files(runtime) == []


async def test_bytes_that_were_changed_on_the_way_are_refused_and_leave_nothing(
    edge: SigningEdge, runtime: Runtime
) -> None:
    asked = {"id": "m1", "camera": "cam", "at": BEGINNING.isoformat(), "blurred": "yes"}
    target = f"/edge/v1/media?{urlencode(asked)}"
    digest = {"Gatehouse-Digest": hashlib.sha256(JPEG).hexdigest(), "Content-Type": "image/jpeg"}
    other = JPEG[:-1] + b"!"
    answer = await edge.client.post(target, content=other, headers=edge.headers("POST", target, JPEG) | digest)
    assert answer.status_code == 422

    async def chunks() -> AsyncIterator[bytes]:
        yield JPEG

    answer = await edge.client.post(target, content=chunks(), headers=edge.headers("POST", target, JPEG) | digest)
    assert answer.status_code == 411
    assert files(runtime) == []


async def test_an_id_is_not_taken_by_other_bytes_or_another_edge(
    edge: SigningEdge, runtime: Runtime, url: str, clock: Clock
) -> None:  # fmt: skip
    assert (await send(edge)).status_code == 201
    assert (await send(edge, JPEG + b"more")).status_code == 409
    stranger = SigningEdge(url, clock, edge_id="edge-9")
    await stranger.enrol(runtime.store, site_id="b")
    assert (await send(stranger)).status_code == 404, "the camera is another edge's"
    await stranger.client.aclose()
    assert len(files(runtime)) == 1


async def test_pictures_go_after_thirty_days(edge: SigningEdge, runtime: Runtime, clock: Clock) -> None:
    assert (await send(edge)).status_code == 201
    clock.turn(seconds=(KEEP_FOR - timedelta(hours=1)).total_seconds())
    assert await drop_old_media(runtime) == 0
    clock.turn(hours=2)
    assert await drop_old_media(runtime) == 1
    assert files(runtime) == []


async def test_a_disk_that_takes_nothing_is_told_as_such(edge: SigningEdge, runtime: Runtime) -> None:
    assert runtime.data_dir is not None
    runtime.data_dir.write_bytes(b"a file stands where the folder should be")
    assert (await send(edge)).status_code == 503
    runtime.data_dir.unlink()
    assert (await send(edge)).status_code == 201, "and it is taken when the disk is well again"


async def test_a_gateway_without_a_folder_keeps_no_pictures(runtime: Runtime) -> None:
    bare = dataclasses.replace(runtime, data_dir=None)
    with pytest.raises(StorageUnavailable):
        folder_of(bare)
    assert await drop_old_media(bare) == 0


async def test_a_picture_whose_file_is_gone_is_missing(
    edge: SigningEdge, manager: httpx.AsyncClient, runtime: Runtime
) -> None:
    assert (await send(edge)).status_code == 201
    for file in files(runtime):
        file.unlink()
    assert (await manager.get("/api/v1/media/m1", headers=REASON)).status_code == 404
