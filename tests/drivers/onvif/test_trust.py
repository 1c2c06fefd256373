"""Who is trusted and what is shown to whom: certificates by fingerprint or authority, passwords, refused credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.door import DoorDriver
from drivers.onvif.endpoint import Endpoint, endpoint_of
from drivers.onvif.refusals import Refusals
from drivers.onvif.simcertificate import Certificate
from models.errors import DeviceRefused
from tests.drivers.contract import now, soon, unlock
from tests.drivers.onvif.rigs import Site, running, simulated


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running(simulated()) as site:
        yield site


async def opens(driver: DoorDriver) -> bool:
    return bool((await soon(driver.execute(unlock("gate", f"u-{now()}")))).ok)


async def test_a_pinned_certificate_is_trusted_and_another_is_not() -> None:
    unit = simulated()
    unit.certificate = Certificate(None, host="127.0.0.1", now=now())
    async with running(unit) as secure:
        async with secure.driver(fingerprint=unit.certificate.fingerprint) as driver:
            assert await opens(driver)
        asked = unit.requests
        others: tuple[dict[str, Any], ...] = ({"fingerprint": "0" * 64}, {})
        for changes in others:
            with pytest.raises(DeviceRefused, match="certificate"):
                async with secure.driver(**changes):
                    pass
        assert unit.requests == asked, "nothing is sent before the certificate is known"


async def test_an_expired_certificate_of_an_authority_is_refused_in_words(tmp_path: Path) -> None:
    unit = simulated()
    unit.certificate = Certificate(None, host="127.0.0.1", now=now())
    (tmp_path / "ca.pem").write_bytes(unit.certificate.pem)
    async with running(unit) as secure:
        async with secure.driver(ca_file=str(tmp_path / "ca.pem")) as driver:
            assert await opens(driver)
        unit.certificate.show(expired=True)
        with pytest.raises(DeviceRefused, match="certificate"):
            async with secure.driver(ca_file=str(tmp_path / "ca.pem")):
                pass


async def test_a_wrong_password_is_refused_and_shown_nowhere(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DeviceRefused) as caught:
        async with site.driver(password="not that one"):
            pass
    assert "not that one" not in str(caught.value) + caplog.text


async def test_a_device_that_refused_the_password_is_left_alone_for_a_while(site: Site) -> None:
    for _ in range(3):
        with pytest.raises(DeviceRefused, match="password"):
            async with site.driver(password="not that one"):
                pass
    asked = site.unit.requests
    with pytest.raises(DeviceRefused, match="wait"):
        async with site.driver(password="not that one"):
            pass
    assert site.unit.requests == asked
    async with site.driver() as driver:
        assert await opens(driver), "other credentials are tried at once"


def test_each_refusal_doubles_the_wait_up_to_a_limit() -> None:
    refusals, endpoint, at = Refusals(), endpoint_of({"url": "http://192.0.2.10/x", "user": "a"}), now()
    waits = []
    for _ in range(8):
        refusals.note(endpoint, at=at)
        wait = next(s for s in range(2000) if _may_ask(refusals, endpoint, at=at + timedelta(seconds=s)))
        waits.append(wait)
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    refusals.forget(endpoint)
    assert _may_ask(refusals, endpoint, at=at)


def _may_ask(refusals: Refusals, endpoint: Endpoint, *, at: datetime) -> bool:
    try:
        refusals.check(endpoint, at=at)
    except DeviceRefused:
        return False
    return True


async def test_the_stronger_digest_is_chosen() -> None:
    unit = simulated()
    unit._guard.access = unit._guard.access.__class__(user="edge", password="p", digest="both")
    async with running(unit) as site, site.driver(password="p") as driver:
        assert await opens(driver)
