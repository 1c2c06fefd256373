"""Cameras and ONVIF devices: what is read of their RTSP, RTP, SOAP, events and answers to a search."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from tests.fuzz.target import Take, pieces

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


# ---- cameras --------------------------------------------------------------------------------------------------------


def rtsp() -> Take:
    from drivers.rtsp import wire

    def take(data: bytes) -> None:
        reader = wire.Reader()
        for piece in pieces(data):
            for item in reader.feed(piece):
                if isinstance(item, wire.Request):
                    wire.parse_transport(item.headers.get("transport", ""))
                    for kind in ("basic", "digest", "sha256", "both"):
                        wire.authorised(item, kind=kind, user="u", password="p", nonce="n")

    return take


def rtsp_seeds() -> Iterator[bytes]:
    head = b"SETUP rtsp://host/gate/trackID=0 RTSP/1.0\r\nCSeq: 3\r\n"
    yield b"\x3f" + head + b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1,RTP/AVP;client_port=5000-5001\r\n\r\n"
    digest = (
        b'Authorization: Digest username="u", realm="r", nonce="n", uri="/", response="0", qop=auth, nc=1, cnonce="c"'
    )
    yield b"\x05" + head + digest + b"\r\n\r\n$\x00\x00\x04abcd"
    yield b"\x3f" + head + b"Authorization: Basic dTpw\r\nContent-Length: 5\r\n\r\nhello"


def rtp() -> Take:
    from drivers.rtsp import rtp, stream_clock

    def take(data: bytes) -> None:
        packets = [rtp.parse_packet(piece) for piece in data.split(b"\xff\xfe\xfd")]
        for unit in rtp.reassemble(packet.payload for packet in packets):
            assert unit, "an empty unit"
        stream_clock.clock_off_s(data, AT.timestamp())

    return take


def rtp_seeds() -> Iterator[bytes]:
    from drivers.rtsp import rtp

    units = [b"\x67abc", b"\x68de", b"\x65" + bytes(3000)]
    for aggregate in (False, True):
        made = rtp.packets(units, sequence=1, timestamp=2, ssrc=3, aggregate=aggregate)
        yield b"\xff\xfe\xfd".join(packet[:400] for packet in made)


# ---- ONVIF ----------------------------------------------------------------------------------------------------------

EVENTS = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://docs.oasis-open.org/wsn/b-2">'
    "<s:Body><w:PullMessagesResponse><w:CurrentTime>2026-11-24T12:00:00Z</w:CurrentTime>"
    "<w:TerminationTime>2026-11-24T12:01:00Z</w:TerminationTime><w:NotificationMessage>"
    "<w:Topic>tns1:AccessControl/Request/Identifier</w:Topic><w:Message>"
    '<t:Message xmlns:t="http://www.onvif.org/ver10/schema" UtcTime="2026-11-24T12:00:00Z" PropertyOperation="Initialized">'
    '<t:Source><t:SimpleItem Name="AccessPointToken" Value="gate"/></t:Source><t:Data>'
    '<t:SimpleItem Name="IdentifierType" Value="pt:Card"/><t:SimpleItem Name="FormatType" Value="SIMPLE_NUMBER32"/>'
    '<t:SimpleItem Name="IdentifierValue" Value="7186A61E"/></t:Data></t:Message></w:Message></w:NotificationMessage>'
    "</w:PullMessagesResponse></s:Body></s:Envelope>"
)
FAULT = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value>'
    "<s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code><s:Reason><s:Text>no</s:Text></s:Reason>"
    "</s:Fault></s:Body></s:Envelope>"
)
MATCH = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="urn:a" xmlns:d="urn:d"><s:Header>'
    "<a:RelatesTo>q</a:RelatesTo></s:Header><s:Body><d:ProbeMatches><d:ProbeMatch><a:Address>urn:uuid:1</a:Address>"
    "<d:Scopes>onvif://www.onvif.org/name/A%20B onvif://www.onvif.org/hardware/C</d:Scopes>"
    "<d:XAddrs>http://10.0.0.9:8080/onvif/device_service</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
)


def soap() -> Take:
    from drivers.onvif import soap

    def take(data: bytes) -> None:
        soap.body_of(soap.unpack(data, where="device"), where="device")

    return take


def onvif_events() -> Take:
    from drivers.onvif import soap, wire

    def take(data: bytes) -> None:
        batch = wire.read_batch(soap.body_of(soap.unpack(data, where="device"), where="device"))
        assert len(batch.notifications) <= wire.MAX_NOTIFICATIONS
        for one in batch.notifications:
            assert one.key, repr(one)
            wire.identifier(one.value("FormatType"), one.value("IdentifierValue"))

    return take


def onvif_discovery() -> Take:
    from drivers.onvif.discovery import match_of

    return lambda data: match_of(data, sender="10.0.0.9", asked=("q",), at=AT)


def texts(*texts: str) -> Iterator[bytes]:
    return (text.encode() for text in texts)
