"""XML from a device, read within bounds: no document type, no entities, nothing fetched, limited size and number."""

from __future__ import annotations

from itertools import islice
from typing import Final

from lxml import etree

from models.errors import InvalidInput

MAX_XML_BYTES: Final = 1 << 20
MAX_ELEMENTS: Final = 20_000
WIDE: Final = (b"\x00", b"\xff\xfe", b"\xfe\xff")
"""What UTF-16 and UTF-32 begin with, in which a document type would hide from a search of bytes."""


def read_xml(raw: bytes, *, where: str, max_bytes: int = MAX_XML_BYTES) -> etree._Element:
    """Return the root element of a document from outside.

    Args:
        raw: the whole document.
        where: who sent it, for the message.
        max_bytes: the most that may be read.

    Raises:
        InvalidInput: it is no XML, too large or too deep, or brings a document type or entities.
    """
    if len(raw) > max_bytes:
        raise InvalidInput(where, f"its XML has more than {max_bytes} bytes")
    if raw.startswith(WIDE) or b"\x00" in raw[:4]:
        raise InvalidInput(where, "its XML is not in UTF-8")
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise InvalidInput(where, "its XML brings a document type or entities, which are never read")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise InvalidInput(where, f"it sent something that is no XML: {str(error)[:120]}") from None
    if next(islice(root.iter(), MAX_ELEMENTS, None), None) is not None:
        raise InvalidInput(where, f"its XML has more than {MAX_ELEMENTS} elements")
    return root


def local(element: etree._Element) -> str:
    """Return an element's name without its namespace; empty for what is no element."""
    return str(element.tag).rpartition("}")[2]


def text_of(element: etree._Element | None, *, limit: int = 512) -> str:
    """Return the text directly in an element, trimmed and cut to `limit` characters; empty if there is none."""
    return ("" if element is None else element.text or "").strip()[:limit]
