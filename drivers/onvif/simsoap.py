"""SOAP 1.2 as the simulated device speaks it: requests in within bounds, answers and faults out with every text escaped.

No I/O and no services. XML from outside may not bring a document type, so neither entities nor bombs nor files.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from models.errors import GatehouseError

MAX_REQUEST_BYTES: Final = 256 * 1024
MAX_ELEMENTS: Final = 5000
NAMESPACES: Final[dict[str, str]] = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "wsa": "http://www.w3.org/2005/08/addressing",
    "wsse": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd",
    "wsu": "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd",
    "wsnt": "http://docs.oasis-open.org/wsn/b-2",
    "wstop": "http://docs.oasis-open.org/wsn/t-1",
    "tds": "http://www.onvif.org/ver10/device/wsdl",
    "trt": "http://www.onvif.org/ver10/media/wsdl",
    "tr2": "http://www.onvif.org/ver20/media/wsdl",
    "tptz": "http://www.onvif.org/ver20/ptz/wsdl",
    "tev": "http://www.onvif.org/ver10/events/wsdl",
    "tdc": "http://www.onvif.org/ver10/doorcontrol/wsdl",
    "tac": "http://www.onvif.org/ver10/accesscontrol/wsdl",
    "tmd": "http://www.onvif.org/ver10/deviceIO/wsdl",
    "timg": "http://www.onvif.org/ver20/imaging/wsdl",
    "pt": "http://www.onvif.org/ver10/pacs",
    "tt": "http://www.onvif.org/ver10/schema",
    "tns1": "http://www.onvif.org/ver10/topics",
    "ter": "http://www.onvif.org/ver10/error",
    "dn": "http://www.onvif.org/ver10/network/wsdl",
    "d": "http://schemas.xmlsoap.org/ws/2005/04/discovery",
    "a": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
}
_PREFIXES: Final = {uri: prefix for prefix, uri in NAMESPACES.items()}
_DECLARED: Final = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())

_UNSAYABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to say (clause 2.2)."""


class Xml(str):
    """Be a piece of XML that is ready to send; every other text is escaped on its way into one."""

    __slots__ = ()


class SoapFault(GatehouseError):  # noqa: N818 - the standard's own word
    """Answer a request with a fault: a code of SOAP, subcodes of ONVIF (outermost first), a reason for people."""

    def __init__(self, reason: str, *subcodes: str, sender: bool = True, detail: Xml | None = None) -> None:
        self.reason = reason
        self.subcodes = subcodes
        self.sender = sender
        self.detail = detail
        super().__init__(reason)


def tag(name: str, *content: str | float | bool | None, **attributes: str | float | bool | None) -> Xml:
    """Return one element: pieces of XML stand as they are, other content is escaped, None is left out."""
    given = "".join(
        f" {key.replace('__', ':')}={quoteattr(_text(v))}" for key, v in attributes.items() if v is not None
    )
    inside = "".join(
        piece if isinstance(piece, Xml) else escape(_text(piece)) for piece in content if piece is not None
    )
    return Xml(f"<{name}{given}>{inside}</{name}>")


def joined(*pieces: Xml) -> Xml:
    """Return pieces of XML in a row."""
    return Xml("".join(pieces))


def instant(at: datetime) -> str:
    """Spell a time in UTC, to the millisecond."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def envelope(body: Xml, *, action: str | None = None, relates_to: str | None = None) -> bytes:
    """Return a whole SOAP message; with WS-Addressing headers where the request had them."""
    header = Xml("")
    if action is not None:
        header = tag("wsa:Action", action, s__mustUnderstand="1")
    if relates_to is not None:
        header = joined(header, tag("wsa:RelatesTo", relates_to))
    return wrapped(header, body)


def wrapped(header: Xml, body: Xml) -> bytes:
    """Return an envelope around a header, which may be empty, and a body."""
    inside = joined(tag("s:Header", header) if header else Xml(""), tag("s:Body", body))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope{_DECLARED}>{inside}</s:Envelope>'.encode()


def fault_body(fault: SoapFault) -> Xml:
    """Return the body of a fault (SOAP 1.2 part 1, clause 5.4; ONVIF Core, clause 5.8.2)."""
    code = Xml("")
    for subcode in reversed(fault.subcodes):
        code = tag("s:Subcode", tag("s:Value", subcode), code)
    role = "s:Sender" if fault.sender else "s:Receiver"
    return tag(
        "s:Fault",
        tag("s:Code", tag("s:Value", role), code),
        tag("s:Reason", tag("s:Text", fault.reason, xml__lang="en")),
        tag("s:Detail", fault.detail) if fault.detail is not None else None,
    )


def parse(content: bytes) -> etree._Element:
    """Return the root of an XML document from outside.

    Raises:
        SoapFault: too long, not well-formed, with a document type, or with too many elements.
    """
    if len(content) > MAX_REQUEST_BYTES:
        raise SoapFault(f"a request may have {MAX_REQUEST_BYTES} bytes", "ter:WellFormed")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise SoapFault(f"not well-formed: {str(error)[:200]}", "ter:WellFormed") from None
    document = root.getroottree().docinfo
    if document is not None and document.internalDTD is not None:
        raise SoapFault("a document type is not welcome here", "ter:WellFormed")
    if sum(1 for _ in root.iter()) > MAX_ELEMENTS:
        raise SoapFault(f"a request may have {MAX_ELEMENTS} elements", "ter:WellFormed")
    return root


def content_of(root: etree._Element) -> etree._Element:
    """Return the element in a message's body.

    Raises:
        SoapFault: it is no SOAP 1.2 envelope, or its body is empty.
    """
    body = find(root, "s:Body") if name_of(root) == "s:Envelope" else None
    if body is None or len(body) != 1:
        raise SoapFault("this is no SOAP 1.2 envelope with one element in its body", "ter:WellFormed")
    return body[0]


def name_of(element: etree._Element) -> str:
    """Return an element's name with the prefix that this module knows for its namespace, else without one."""
    qualified = etree.QName(element)
    prefix = _PREFIXES.get(qualified.namespace or "")
    return f"{prefix}:{qualified.localname}" if prefix else qualified.localname


def find(element: etree._Element, path: str) -> etree._Element | None:
    """Return the first element at a path of prefixed names."""
    return element.find(path, NAMESPACES)


def text(element: etree._Element, path: str, *, limit: int = 256) -> str | None:
    """Return the text at a path, None if there is none.

    Raises:
        SoapFault: longer than `limit` characters.
    """
    found = find(element, path)
    if found is None:
        return None
    value = (found.text or "").strip()
    if len(value) > limit:
        raise SoapFault(f"{path} may have {limit} characters", "ter:InvalidArgVal")
    return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _UNSAYABLE.sub("", str(value))
