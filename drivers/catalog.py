"""The catalogue of drivers: settings to an open driver. Knows no process settings and opens no connection itself.

A third party adds a door driver by an entry point in the group `gatehouse.drivers`: a function like `open_door`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol

from models.devices import Wire
from models.errors import InvalidInput

if TYPE_CHECKING:
    from drivers.camera import CameraSettings
    from drivers.camera_device import CameraDevice
    from drivers.discovery import Discover, Keying, Probe, Survey
    from drivers.door import DoorDriver
    from drivers.rtsp.driver import RtspCamera

GROUP: Final = "gatehouse.drivers"


class OpenDoor(Protocol):
    """Make a door driver from its settings."""

    def __call__(
        self, settings: Mapping[str, object], *, doors: tuple[str, ...], client_id: str, now: Callable[[], datetime]
    ) -> DoorDriver:
        """Return a driver that is not yet entered; raises `InvalidInput` for settings that cannot be used."""


def open_door(
    settings: Mapping[str, object], *, doors: tuple[str, ...], client_id: str, now: Callable[[], datetime]
) -> DoorDriver:
    """Return the driver of one controller, not yet entered.

    Args:
        settings: `kind` names the driver, the other keys are its own (docs/mqtt.md), the process's
            broker settings included.
        doors: the doors behind this controller.
        client_id: a name of this connection that is unique on the wire and never changes.
        now: the clock for times of arrival.

    Raises:
        InvalidInput: an unknown kind, or a setting that its driver refuses.
    """
    own = {key: value for key, value in settings.items() if key != "kind"}
    kind = settings.get("kind")
    builder = BUILDERS.get(kind) if isinstance(kind, str) else None
    if builder is None:
        found = [entry for entry in entry_points(group=GROUP) if entry.name == kind]
        if not found:
            raise InvalidInput("driver.kind", f"use one of {', '.join(sorted(kinds()))}, not {str(kind)[:80]!r}")
        builder = found[0].load()
    driver: DoorDriver = builder(own, doors=doors, client_id=client_id, now=now)
    return driver


def open_camera(settings: CameraSettings) -> RtspCamera:
    """Return a camera, not yet connected. FFmpeg is loaded here, so only eyes may call it.

    Raises:
        InvalidInput: an address that is not rtsp:// or rtsps://.
    """
    from drivers.rtsp.driver import open_camera as open_rtsp

    return open_rtsp(settings)


def open_camera_device(settings: Mapping[str, object], *, now: Callable[[], datetime]) -> CameraDevice:
    """Return the device around a camera, not yet connected; `kind` names its wire (docs/onvif.md).

    Raises:
        InvalidInput: an unknown kind, or a setting that cannot be used.
    """
    if settings.get("kind") != "onvif":
        raise InvalidInput("device.kind", f"use onvif, not {str(settings.get('kind'))[:80]!r}")
    from drivers.onvif.camera import camera_of

    return camera_of({key: value for key, value in settings.items() if key != "kind"}, now=now)


def kinds() -> frozenset[str]:
    """Return the kinds of door driver that can be opened here."""
    return frozenset(BUILDERS) | {entry.name for entry in entry_points(group=GROUP)}


def settings_known(kind: str) -> frozenset[str]:
    """Return the names that settings of a door, or of the device around a camera, may have here; of a kind from elsewhere none."""
    modules = SETTINGS.get(kind, {})
    structs = [getattr(importlib.import_module(module), name) for module, names in modules.items() for name in names]
    fields = {field for struct in structs for field in struct.__struct_fields__}
    return frozenset(fields | {"kind"} | ({"map", "names"} if kind == "mqtt" else set())) if structs else frozenset()


def _open_mqtt(
    settings: Mapping[str, object], *, doors: tuple[str, ...], client_id: str, now: Callable[[], datetime]
) -> DoorDriver:
    from drivers.mqtt.driver import MqttDoors
    from drivers.mqtt.endpoint import endpoint_of

    own = dict(settings)
    known, names = own.pop("map", None), own.pop("names", None)
    endpoint = endpoint_of({"client_id": client_id, **own})
    if known is None:
        return MqttDoors(endpoint, doors=doors, now=now)
    from drivers.mqtt.mapped import MappedSpeech
    from drivers.mqtt.maps import load_map

    speech = MappedSpeech(frozenset(doors), known=load_map(known), names=names)
    return MqttDoors(endpoint, doors=doors, now=now, speech=speech)


def _open_onvif(
    settings: Mapping[str, object], *, doors: tuple[str, ...], client_id: str, now: Callable[[], datetime]
) -> DoorDriver:
    from drivers.onvif.driver import OnvifDoors
    from drivers.onvif.endpoint import endpoint_of

    return OnvifDoors(endpoint_of(settings), doors=doors, client_id=client_id, now=now)


def _open_osdp(
    settings: Mapping[str, object],
    *,
    doors: tuple[str, ...],
    client_id: str,  # noqa: ARG001 - a serial line knows no clients
    now: Callable[[], datetime],
) -> DoorDriver:
    from drivers.osdp.driver import OsdpDoors
    from drivers.osdp.settings import read_settings

    return OsdpDoors(read_settings(settings, doors=doors), now=now)


def _mqtt_discovery() -> Discover:
    from drivers.mqtt.discovery import discover

    return discover


def _onvif_discovery() -> Discover:
    from drivers.onvif.discovery import discover

    return discover


def _onvif_probe() -> Probe:
    from drivers.onvif.probe import probe

    return probe


def _osdp_survey() -> Survey:
    from drivers.osdp.survey import survey

    return survey


def _osdp_keying() -> Keying:
    from drivers.osdp.install import install_at

    return install_at


BUILDERS: Final[Mapping[str, OpenDoor]] = {"mqtt": _open_mqtt, "onvif": _open_onvif, "osdp": _open_osdp}
SETTINGS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "mqtt": {"drivers.mqtt.endpoint": ("Endpoint",)},
    "onvif": {"drivers.onvif.endpoint": ("Endpoint", "DoorPart"), "drivers.onvif.camera": ("Side",)},
    "osdp": {"drivers.osdp.settings": ("BusSettings", "ReaderSettings", "Inputs")},
}
"""The modules and records that say what settings a kind knows."""
PART_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "onvif": frozenset({"door", "relay", "reader_in", "reader_out", "contact", "contact_true", "exit_button", "call"}),
    "osdp": frozenset({"readers", "address", "side", "key", "key_file", "plain", "keypad", "strike", "inputs"}),
}
"""What a door's settings say of its part of a device. Doors that agree in all else share a connection, which is told the
parts under `doors`."""
LINES: Final[Mapping[str, str]] = {"osdp": "port"}
"""The setting that names a line which one driver has for itself, whatever else is set."""
DISCOVERERS: Final[Mapping[Wire, Callable[[], Discover]]] = {"mqtt": _mqtt_discovery, "onvif": _onvif_discovery}
"""The wires that can be searched, each with what loads its search."""
PROBERS: Final[Mapping[Wire, Callable[[], Probe]]] = {"onvif": _onvif_probe}
"""The wires of which one device can be asked what it is, each with what loads that."""
SURVEYS: Final[Mapping[Wire, Callable[[], Survey]]] = {"osdp": _osdp_survey}
"""The wires where several devices share an address that can be asked, each with what loads that."""
KEYINGS: Final[Mapping[Wire, Callable[[], Keying]]] = {"osdp": _osdp_keying}
"""The wires whose devices are given a key of their own, each with what loads that."""
