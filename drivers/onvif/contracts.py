"""The ONVIF services as their WSDL describes them: requests made and answers read by zeep. Sends nothing itself.

The files come with the package `onvif-zeep-async`, of which nothing else is used. Each is read once, when it is first
needed, in a thread: about 0.2 s. Media2 is not among them (drivers.onvif.media2).
"""

from __future__ import annotations

import asyncio
import functools
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from lxml import etree
from zeep import Client, Settings
from zeep.exceptions import Error as ZeepError
from zeep.helpers import serialize_object
from zeep.transports import Transport as FileTransport

from drivers.onvif.markup import local
from drivers.onvif.soap import ENVELOPE, body_of
from models.errors import InvalidInput

Service = Literal["device", "events", "pullpoint", "subscription", "door", "access", "media", "ptz"]
FILES: Final[dict[Service, tuple[str, str, str]]] = {
    "device": ("devicemgmt.wsdl", "http://www.onvif.org/ver10/device/wsdl", "DeviceBinding"),
    "events": ("events.wsdl", "http://www.onvif.org/ver10/events/wsdl", "EventBinding"),
    "pullpoint": ("events.wsdl", "http://www.onvif.org/ver10/events/wsdl", "PullPointSubscriptionBinding"),
    "subscription": ("events.wsdl", "http://www.onvif.org/ver10/events/wsdl", "SubscriptionManagerBinding"),
    "door": ("doorcontrol.wsdl", "http://www.onvif.org/ver10/doorcontrol/wsdl", "DoorControlBinding"),
    "access": ("accesscontrol.wsdl", "http://www.onvif.org/ver10/accesscontrol/wsdl", "PACSBinding"),
    "media": ("media.wsdl", "http://www.onvif.org/ver10/media/wsdl", "MediaBinding"),
    "ptz": ("ptz.wsdl", "http://www.onvif.org/ver20/ptz/wsdl", "PTZBinding"),
}
_READING = threading.Lock()
_READ: Final[dict[str, Client]] = {}


class Local(FileTransport):
    """Read the WSDL files of the package, and refuse everything that is not a file there."""

    def load(self, url: str) -> bytes:
        """Return the bytes of a file of the package."""
        path = Path(url).resolve()
        if not path.is_relative_to(_folder()):
            raise InvalidInput("wsdl", f"{url[:120]} is not a file of the package, and nothing is fetched")
        return path.read_bytes()


async def load(service: Service) -> None:
    """Read a service's WSDL in a thread, unless it is there already."""
    await asyncio.to_thread(_client, FILES[service][0])


def request(service: Service, operation: str, **arguments: Any) -> tuple[etree._Element, str]:
    """Return the envelope of a request, and its action.

    Raises:
        InvalidInput: the service has no such operation, or an argument does not fit.
    """
    found = _operation(service, operation)
    try:
        message = found.create(**arguments)
    except (ZeepError, TypeError, ValueError) as error:
        raise InvalidInput(operation, f"its arguments do not fit: {str(error)[:160]}") from None
    return message.content, str(found.abstract.wsa_action or found.soapaction or "")


def answer(service: Service, operation: str, *, envelope: etree._Element, where: str) -> Any:
    """Return an answer as plain dictionaries, lists and values.

    Raises:
        InvalidInput: it does not fit what the service describes.
    """
    if etree.QName(envelope).namespace != ENVELOPE:
        raise InvalidInput(where, "it answered in SOAP 1.1, which ONVIF does not use")
    if local(body_of(envelope, where=where)) != f"{operation}Response":
        raise InvalidInput(where, f"it answered something else than {operation} asks for")
    try:
        return serialize_object(_operation(service, operation).process_reply(envelope), dict)  # type: ignore[no-untyped-call]
    except (ZeepError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, etree.LxmlError) as error:
        raise InvalidInput(where, f"its answer to {operation} does not fit: {str(error)[:160]}") from None


def namespace(service: Service) -> str:
    """Return the namespace of a service, by which GetServices names it."""
    return FILES[service][1]


def _operation(service: Service, name: str) -> Any:
    file, space, binding = FILES[service]
    try:
        return _client(file).wsdl.bindings[f"{{{space}}}{binding}"].get(name)  # type: ignore[no-untyped-call]
    except (KeyError, ValueError):
        raise InvalidInput(name, f"the service {service} has no such operation") from None


@functools.cache
def _folder() -> Path:
    spec = find_spec("onvif")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidInput("wsdl", "the package onvif-zeep-async, which holds the ONVIF files, is not installed")
    return (Path(spec.submodule_search_locations[0]) / "wsdl").resolve()


def _client(file: str) -> Client:
    """Return what a file describes; the loop never waits for a thread that reads another file."""
    known = _READ.get(file)
    if known is not None:
        return known
    with _READING:
        if file not in _READ:
            settings = Settings(
                strict=False, xml_huge_tree=False, forbid_dtd=True, forbid_entities=True, forbid_external=True
            )
            _READ[file] = Client(str(_folder() / file), transport=Local(), settings=settings)  # type: ignore[no-untyped-call]
        return _READ[file]
