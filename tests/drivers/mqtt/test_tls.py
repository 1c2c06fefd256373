"""TLS between doors, edge and broker: names and dates are verified, client certificates asked for, strangers refused."""

from __future__ import annotations

import ipaddress
import random
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers.mqtt.simdoor import SimulatedDoor
from drivers.mqtt.store import EventStore
from models.errors import DeviceUnreachable
from tests.drivers.contract import next_event, now, soon, unlock
from tests.drivers.mqtt.conftest import connected, running_broker

pytestmark = pytest.mark.needs("mosquitto", "mosquitto-clients")


def certificate(
    directory: Path, name: str, *, issuer: tuple[Any, Any] | None = None, host: str = "127.0.0.1", days: int = 1
) -> tuple[Any, Any]:
    """Write name.pem and name.key: an authority, or what it issued for an address, valid until so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing_key = issuer or (None, key)
    builder = x509.CertificateBuilder(
        issuer_name=subject if signer is None else signer.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now() - timedelta(days=9),
        not_valid_after=now() + timedelta(days=days),
    ).add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    address = x509.IPAddress(ipaddress.ip_address(host))
    made = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False).sign(
        signing_key, hashes.SHA256()
    )
    (directory / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made, key


async def test_tls_with_client_certificates_carries_doors(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "ca")
    certificate(tmp_path, "server", issuer=authority)
    certificate(tmp_path, "edge", issuer=authority)
    certificate(tmp_path, "stranger")
    listener = ["--cert-file", "server.pem", "--key-file", "server.key", "--ca-file", "ca.pem"]
    files = [str(tmp_path / word) if word.endswith((".pem", ".key")) else word for word in listener]
    with running_broker("mosquitto", more=files) as broker:
        tls: dict[str, Any] = {"tls": True, "ca_file": str(tmp_path / "ca.pem")}
        own = {"cert_file": str(tmp_path / "edge.pem"), "key_file": str(tmp_path / "edge.key")}
        with EventStore() as store:
            endpoint = broker.endpoint("door-1", client_id="door-1", **tls, **own)
            door = SimulatedDoor("door-1", endpoint=endpoint, store=store, now=now, rng=random.Random())
            async with broker.driver("door-1", client_id="e", **tls, **own) as driver, connected(door):
                for _ in range(50):
                    door.force()
                    door.close()
                reports = driver.reports()
                seen = [(await next_event(reports))[0].seq for _ in range(100)]
                assert seen == list(range(1, 101))
        wrong = {"cert_file": str(tmp_path / "stranger.pem"), "key_file": str(tmp_path / "stranger.key")}
        for changes in ({**tls, **wrong}, tls, {"tls": True, **own}):
            with pytest.raises(DeviceUnreachable):
                async with broker.driver("door-1", client_id="e", **changes):
                    pass


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_tls_without_client_certificates_still_asks_for_passwords(tmp_path: Path, protocol: Any) -> None:
    certificate(tmp_path, "server", issuer=certificate(tmp_path, "ca"))
    with running_broker("mosquitto", more=files_of(tmp_path)) as broker, EventStore() as store:
        tls: dict[str, Any] = {"tls": True, "ca_file": str(tmp_path / "ca.pem"), "protocol": protocol}
        endpoint = broker.endpoint("door-1", client_id="door-1", **tls)
        door = SimulatedDoor("door-1", endpoint=endpoint, store=store, now=now, rng=random.Random())
        async with broker.driver("door-1", client_id="e", **tls) as driver, connected(door):
            assert (await soon(driver.execute(unlock("door-1", "u1")))).ok
        plain = broker.client("pub", "-t", "gatehouse/v1/x", "-m", "x", "-q", "1")
        assert subprocess.run(plain, check=False, capture_output=True, timeout=10).returncode != 0
        nameless = ["mosquitto_pub", "-p", str(broker.port), "--cafile", str(tmp_path / "ca.pem"), "-t", "t", "-m", "x"]
        assert subprocess.run(nameless, check=False, capture_output=True, timeout=10).returncode != 0
        with pytest.raises(DeviceUnreachable):
            async with broker.driver("door-1", client_id="e"):
                pass


@pytest.mark.parametrize(
    "flaw", [{"host": "127.0.0.2"}, {"days": -1}, {"issuer": None}], ids=["name", "expired", "unknown"]
)
async def test_a_broker_that_cannot_prove_who_it_is_gets_no_password(tmp_path: Path, flaw: dict[str, Any]) -> None:
    authority = certificate(tmp_path, "ca")
    certificate(tmp_path, "server", **{"issuer": authority, **flaw})
    with (
        running_broker("mosquitto", more=files_of(tmp_path)) as broker,
        pytest.raises(DeviceUnreachable, match="certificate"),
    ):
        async with broker.driver("door-1", client_id="e", tls=True, ca_file=str(tmp_path / "ca.pem")):
            pass


def files_of(directory: Path) -> list[str]:
    return ["--cert-file", str(directory / "server.pem"), "--key-file", str(directory / "server.key")]
