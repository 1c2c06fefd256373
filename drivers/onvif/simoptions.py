"""The options of the simulated ONVIF device's process, and the device that they ask for."""

from __future__ import annotations

import argparse
import random
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from drivers.onvif.simauth import Access
from drivers.onvif.simcall import FAULTS, Streams
from drivers.onvif.simcertificate import Certificate
from drivers.onvif.simdevice import Identity, SimulatedDevice
from drivers.onvif.simdiscovery import PORT
from drivers.onvif.simdoor import Timing
from drivers.onvif.simserver import SimulatedOnvif
from models.errors import InvalidInput
from models.places import check_id


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the simulated device to a parser."""
    parser.description = "Be an ONVIF device with doors and a camera, with a control port."
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=0, help="HTTP port, 0 for a free one (default: %(default)s)")
    add("--control-port", type=int, default=0, help="control port on 127.0.0.1, 0 for a free one")
    add("--door", action="append", metavar="TOKEN", help="a door; may repeat (default: gate)")
    add("--user", default="", help="user name that clients must give; without one nobody is asked")
    add("--password-file", type=Path, metavar="FILE", help="file whose first line is their password")
    add("--digest", choices=("md5", "sha256", "both"), default="md5", help="hashes offered (default: %(default)s)")
    add("--rtsp", metavar="URL", default=Streams().sub, help="where its stream for watching is played")
    add("--main-rtsp", metavar="URL", help="where its stream for recording is played (default: the same)")
    add("--plain", action="store_true", help="its doors have no alarm monitor: they never tell forced or too long")
    add("--relays-only", action="store_true", help="know no doors: a camera with relays and inputs")
    add("--credentials", action="store_true", help="requests name credential tokens, as older devices do")
    add("--access-s", type=float, default=5.0, metavar="S", help="how long a door stays accessed")
    add("--too-long-s", type=float, default=30.0, metavar="S", help="how long a door may stand open")
    add("--store", type=Path, metavar="FILE", help="file that keeps events and doors over its death (default: none)")
    add("--tls", action="store_true", help="speak TLS with a self-signed certificate")
    add("--tls-dir", type=Path, metavar="DIR", help="folder that keeps the certificate over restarts; means --tls")
    add("--discovery", action="store_true", help="answer WS-Discovery by multicast and at the address")
    add("--discovery-port", type=int, default=PORT, help="its UDP port (default: %(default)s)")
    add("--misbehave", action="append", choices=FAULTS, default=[], help="a misbehaviour; may repeat")
    add(
        "--serial",
        default=Identity().serial,
        help="its serial number, of which its UUID is made (default: %(default)s)",
    )
    add("--seed", type=int, help="seed of nonces and garbage")


def unit_of(args: argparse.Namespace, *, now: Callable[[], datetime]) -> SimulatedOnvif:
    """Make the device that the options ask for.

    Raises:
        InvalidInput: a door's token or the password file cannot be used.
    """
    doors = tuple(check_id(door, "--door") for door in args.door or ["gate"])
    if args.host in {"", "0.0.0.0", "::"}:
        raise InvalidInput("--host", "name the one address by which it is reached: it tells it to its clients")
    if bool(args.user) != (args.password_file is not None):
        raise InvalidInput("--user", "give both a user and a file with the password, or neither")
    password = ""
    if args.password_file is not None:
        try:
            password = args.password_file.read_text(encoding="utf-8").partition("\n")[0]
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput("--password-file", f"it cannot be read: {error}") from None
    device = SimulatedDevice(
        Identity(serial=args.serial, uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:gatehouse:{args.serial}"))),
        doors=doors,
        timing=Timing(access_s=args.access_s, open_too_long_s=args.too_long_s),
        plain=args.plain,
        credentials=args.credentials,
        relays_only=args.relays_only,
    )
    unit = SimulatedOnvif(
        device,
        access=Access(user=args.user, password=password, digest=args.digest),
        now=now,
        rng=random.Random(args.seed),  # noqa: S311 - repeatable on purpose: it guards a simulation
        streams=Streams(main=args.main_rtsp or args.rtsp, sub=args.rtsp),
    )
    if args.tls or args.tls_dir is not None:
        unit.certificate = Certificate(args.tls_dir, host=args.host, now=now())
    for fault in args.misbehave:
        unit.misbehave(fault, on=True)
    return unit
