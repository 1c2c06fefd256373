"""`person enrol` before and after it sends: who is replaced, how many photos, which of them twice, and what is to blame."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.runtime import Runtime
from models.errors import InvalidInput
from models.link import EnrolAtDoor, EnrolFace
from tests.gateway.test_face_enrolment import rows
from tests.gateway.test_face_enrolment_commands import Enroller, Shell, consented, enroller, picture, shell

__all__ = ["enroller", "shell"]
pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


async def test_only_the_first_photo_replaces_anew(shell: Shell, enroller: Enroller, tmp_path: Path) -> None:
    await consented(shell)
    first, second = picture(tmp_path, "1.jpg", "a"), picture(tmp_path, "2.jpg", "b")
    await shell("person", "enrol", "lin", "--photo", first)
    await shell("person", "enrol", "lin", "--anew", "--photo", first, "--photo", second)
    told = [(one.add, one.anew) for one in enroller.obeyed if isinstance(one, EnrolFace)]
    assert told == [(False, False), (False, True), (True, False)]
    for more in (("--anew", "--photo", first), ("--door", "gate")):
        with pytest.raises(InvalidInput, match="leave out --add"):
            await shell("person", "enrol", "lin", "--add", *more)
    await shell("person", "enrol", "lin", "--door", "gate", "--pictures", "2")
    await shell("person", "enrol", "lin", "--door", "gate", "--pictures", "2", "--anew")
    assert [one.anew for one in enroller.obeyed if isinstance(one, EnrolAtDoor)] == [False, True]


async def test_who_lets_another_face_replace_the_one_enrolled_is_on_record(
    shell: Shell, enroller: Enroller, runtime: Runtime, tmp_path: Path
) -> None:
    await consented(shell)
    await shell("person", "enrol", "lin", "--photo", picture(tmp_path, "1.jpg", "a"))
    await shell("person", "enrol", "lin", "--anew", "--photo", picture(tmp_path, "2.jpg", "b"))
    await shell("person", "enrol", "lin", "--door", "gate", "--pictures", "2", "--anew")
    sent = [row.detail.get("anew") for row in rows(runtime) if row.result == "sent"]
    assert sent == [None, "yes", "yes"]


async def test_a_photo_cannot_join_and_replace_at_once(manager: httpx.AsyncClient) -> None:
    about = {"content": b"\xff\xd8\xff", "headers": {"Content-Type": "image/jpeg"}}
    refused = await manager.put("/api/v1/people/p1/face?add=true&anew=true", **about)  # type: ignore[arg-type]
    assert (refused.status_code, "not both" in refused.text) == (422, True)


async def test_too_many_or_the_same_photos_are_refused_before_any_is_sent(
    shell: Shell, enroller: Enroller, tmp_path: Path
) -> None:
    await consented(shell)
    six = [picture(tmp_path, f"{n}.jpg", f"{n}") for n in range(6)]
    with pytest.raises(InvalidInput, match="at most 5"):
        await shell("person", "enrol", "lin", *(word for one in six for word in ("--photo", one)))
    twin = picture(tmp_path, "twin.jpg", "0")
    with pytest.raises(InvalidInput, match=r"twin\.jpg is the same picture as .*0\.jpg"):
        await shell("person", "enrol", "lin", "--photo", six[0], "--photo", twin)
    assert enroller.obeyed == []


async def test_a_later_refusal_says_what_the_earlier_photos_did(
    shell: Shell, enroller: Enroller, tmp_path: Path
) -> None:
    await consented(shell)
    good, bad = picture(tmp_path, "1.jpg"), picture(tmp_path, "2.jpg", "no_face")
    with pytest.raises(InvalidInput, match=r"2\.jpg: no_face.*replaced what was enrolled before"):
        await shell("person", "enrol", "lin", "--photo", good, "--photo", bad)


async def test_an_unknown_person_or_a_missing_consent_is_not_the_photos_fault(shell: Shell, tmp_path: Path) -> None:
    photo = picture(tmp_path, "1.jpg")
    with pytest.raises(InvalidInput, match="gateway: not_found"):
        await shell("person", "enrol", "nobody", "--photo", photo)
    await shell("person", "add", "Lin Yue", "--id", "lin")
    with pytest.raises(InvalidInput, match=r"gateway: no_consent.*gatehouse person consent ID --door DOOR"):
        await shell("person", "enrol", "lin", "--photo", photo)
    with pytest.raises(InvalidInput, match=r"gateway: no_consent.*`gatehouse person consent lin --door gate`"):
        await shell("person", "enrol", "lin", "--door", "gate")
