"""SOAP 1.2 envelopes: headers in, body out, faults told apart. Pure; knows no service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lxml import etree

from drivers.onvif.markup import local, read_xml, text_of
from models.errors import DeviceRefused, InvalidInput

ENVELOPE: Final = "http://www.w3.org/2003/05/soap-envelope"
ENVELOPE_11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
ADDRESSING: Final = "http://www.w3.org/2005/08/addressing"
CONTENT_TYPE: Final = "application/soap+xml; charset=utf-8"
FAULT_CHARS: Final = 200


class Fault(DeviceRefused):
    """Report a SOAP fault. `codes` holds its code and subcodes without prefixes, the outermost first."""

    def __init__(self, device_id: str, what: str, *, codes: tuple[str, ...]) -> None:
        self.codes = codes
        super().__init__(device_id, what)

    @property
    def unauthorised(self) -> bool:
        """Return whether the device asks for credentials, or does not take these."""
        return bool({"NotAuthorized", "FailedAuthentication", "InvalidSecurity"} & set(self.codes))

    @property
    def unknown(self) -> bool:
        """Return whether the device does not know the operation, as opposed to refusing it now."""
        return bool({"ActionNotSupported", "OptionalActionNotImplemented", "UnknownAction"} & set(self.codes))


def pack(envelope: etree._Element, headers: Iterable[etree._Element] = ()) -> bytes:
    """Return an envelope as bytes, with headers put first."""
    header = envelope.find(f"{{{ENVELOPE}}}Header")
    wanted = list(headers)
    if header is None and wanted:
        header = etree.Element(etree.QName(ENVELOPE, "Header"))
        envelope.insert(0, header)
    for element in wanted:
        header.append(element)  # type: ignore[union-attr]
    return etree.tostring(envelope, xml_declaration=True, encoding="utf-8")


def wrap(body: etree._Element) -> etree._Element:
    """Return an envelope around one body element."""
    envelope = etree.Element(etree.QName(ENVELOPE, "Envelope"), nsmap={"s": ENVELOPE})
    etree.SubElement(envelope, etree.QName(ENVELOPE, "Body")).append(body)
    return envelope


def addressed(action: str, *, to: str, message_id: str, references: Iterable[etree._Element] = ()) -> tuple[
    etree._Element, ...
]:  # fmt: skip
    """Return the WS-Addressing headers of a request, with the reference parameters that the device wants back."""
    headers = []
    for name, value in (("Action", action), ("MessageID", f"urn:uuid:{message_id}"), ("To", to)):
        element = etree.Element(etree.QName(ADDRESSING, name), nsmap={"wsa": ADDRESSING})
        element.text = value
        headers.append(element)
    return (*headers, *references)


def unpack(raw: bytes, *, where: str) -> etree._Element:
    """Return the envelope in an answer.

    Raises:
        Fault: the device answered no.
        InvalidInput: it is no envelope, or an empty one.
    """
    root = read_xml(raw, where=where)
    if root.tag not in (f"{{{ENVELOPE}}}Envelope", f"{{{ENVELOPE_11}}}Envelope"):
        raise InvalidInput(where, f"it sent {local(root)[:60]!r} in place of a SOAP envelope")
    body = body_of(root, where=where)
    if local(body) == "Fault":
        raise _fault(body, where=where)
    return root


def body_of(envelope: etree._Element, *, where: str) -> etree._Element:
    """Return the one element in an envelope's body; raises `InvalidInput` if there is none."""
    body = next((child for child in envelope if local(child) == "Body"), None)
    if body is None or len(body) == 0:
        raise InvalidInput(where, "its SOAP envelope holds no answer")
    return body[0]


def _fault(fault: etree._Element, *, where: str) -> Fault:
    codes = [text_of(value) for value in fault.iter() if local(value) in ("Value", "faultcode")][:4]
    said = next((text_of(text) for text in fault.iter() if local(text) in ("Text", "faultstring")), "")
    plain = tuple(code.rpartition(":")[2] for code in codes)
    what = f"it refused: {' / '.join(plain) or 'fault'}{f' ({said})' if said else ''}"
    return Fault(where, what[:FAULT_CHARS], codes=plain)
