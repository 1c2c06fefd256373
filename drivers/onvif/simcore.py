"""The Device service of the simulated device, and its relays and inputs by the DeviceIO service (ONVIF Core; Device IO)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from drivers.onvif.simcall import Call, Handler, by_token
from drivers.onvif.simdevice import SimulatedDevice
from drivers.onvif.simsoap import NAMESPACES, SoapFault, Xml, joined, tag

SERVICES: Final[Mapping[str, tuple[str, int, int]]] = {
    "tds": ("/onvif/device_service", 2, 60),
    "trt": ("/onvif/media_service", 2, 60),
    "tr2": ("/onvif/media2_service", 2, 60),
    "tptz": ("/onvif/ptz_service", 2, 60),
    "tev": ("/onvif/event_service", 2, 60),
    "tmd": ("/onvif/deviceio_service", 2, 60),
    "tdc": ("/onvif/doorcontrol_service", 1, 0),
    "tac": ("/onvif/accesscontrol_service", 1, 0),
}
"""Each service's path and version."""
PACS: Final = {"tdc", "tac"}
"""The services that a device without doors of its own lacks."""
PULSE_S: Final = 5.0
PRE_AUTH: Final = frozenset(
    f"tds:{name}"
    for name in (
        "GetSystemDateAndTime", "GetCapabilities", "GetServices", "GetServiceCapabilities", "GetHostname",
        "GetEndpointReference",
    )
)  # fmt: skip
"""Operations that need no credentials (ONVIF Core, access class PRE_AUTH)."""


def scopes(device: SimulatedDevice) -> tuple[str, ...]:
    """Return the scopes by which discovery knows a device."""
    who = device.identity
    kinds = ["type/video_encoder", "type/ptz", "Profile/Streaming", "Profile/T"]
    kinds += [] if device.relays_only else ["Profile/C", "Profile/D"]
    own = (f"name/{quote(who.name)}", f"location/{quote(who.location)}", f"hardware/{quote(who.hardware)}")
    return tuple(f"onvif://www.onvif.org/{scope}" for scope in (*kinds, *own))


def _time(call: Call) -> Xml:
    now = call.now
    clock = tag("tt:Time", tag("tt:Hour", now.hour), tag("tt:Minute", now.minute), tag("tt:Second", now.second))
    date = tag("tt:Date", tag("tt:Year", now.year), tag("tt:Month", now.month), tag("tt:Day", now.day))
    told = tag(
        "tds:SystemDateAndTime",
        tag("tt:DateTimeType", "NTP"),
        tag("tt:DaylightSavings", False),
        tag("tt:TimeZone", tag("tt:TZ", "UTC0")),
        tag("tt:UTCDateTime", clock, date),
        tag("tt:LocalDateTime", clock, date),
    )
    return tag("tds:GetSystemDateAndTimeResponse", told)


def _information(call: Call) -> Xml:
    who = call.device.identity
    return tag(
        "tds:GetDeviceInformationResponse",
        tag("tds:Manufacturer", who.maker),
        tag("tds:Model", who.model),
        tag("tds:FirmwareVersion", who.firmware),
        tag("tds:SerialNumber", who.serial),
        tag("tds:HardwareId", who.hardware),
    )


def _services(call: Call) -> Xml:
    hidden = {"tdc"} if "lies_capabilities" in call.faults else set()
    told = [prefix for prefix in SERVICES if prefix not in hidden | (PACS if call.device.relays_only else set())]
    version = (
        (prefix, tag("tds:Version", tag("tt:Major", SERVICES[prefix][1]), tag("tt:Minor", SERVICES[prefix][2])))
        for prefix in told
    )
    return tag(
        "tds:GetServicesResponse",
        *(
            tag(
                "tds:Service",
                tag("tds:Namespace", NAMESPACES[prefix]),
                tag("tds:XAddr", call.url(SERVICES[prefix][0])),
                numbers,
            )
            for prefix, numbers in version
        ),
    )


def _capabilities(call: Call) -> Xml:
    wanted = {element.text for element in call.body.findall("{*}Category")} or {"All"}
    parts = {
        "Device": _device_capabilities(call),
        "Events": tag(
            "tt:Events",
            _address(call, "tev"),
            tag("tt:WSSubscriptionPolicySupport", False),
            tag("tt:WSPullPointSupport", "lies_capabilities" not in call.faults),
            tag("tt:WSPausableSubscriptionManagerInterfaceSupport", False),
        ),
        "Media": tag(
            "tt:Media",
            _address(call, "trt"),
            tag(
                "tt:StreamingCapabilities",
                tag("tt:RTPMulticast", False),
                tag("tt:RTP_TCP", True),
                tag("tt:RTP_RTSP_TCP", True),
            ),
        ),
        "PTZ": tag("tt:PTZ", _address(call, "tptz")),
    }
    told = joined(*(part for name, part in parts.items() if wanted & {"All", name}))
    counts = (("VideoSources", 1), ("VideoOutputs", 0), ("AudioSources", 0), ("AudioOutputs", 0))
    numbers = tuple(tag(f"tt:{name}", count) for name, count in counts)
    io = tag("tt:DeviceIO", _address(call, "tmd"), *numbers, tag("tt:RelayOutputs", len(call.device.relays)))
    extension = tag("tt:Extension", io) if "All" in wanted else None
    return tag("tds:GetCapabilitiesResponse", tag("tds:Capabilities", told, extension))


def _address(call: Call, prefix: str) -> Xml:
    return tag("tt:XAddr", call.url(SERVICES[prefix][0]))


def _device_capabilities(call: Call) -> Xml:
    network = (tag(f"tt:{name}", False) for name in ("IPFilter", "ZeroConfiguration", "IPVersion6", "DynDNS"))
    able = {"DiscoveryBye": True}
    system = (
        tag(f"tt:{name}", able.get(name, False))
        for name in (
            "DiscoveryResolve", "DiscoveryBye", "RemoteDiscovery", "SystemBackup", "SystemLogging", "FirmwareUpgrade",
        )
    )  # fmt: skip
    version = tag("tt:SupportedVersions", tag("tt:Major", 2), tag("tt:Minor", 60))
    connectors = (
        tag("tt:InputConnectors", len(call.device.inputs)),
        tag("tt:RelayOutputs", len(call.device.relays)),
    )
    security = (
        tag(f"tt:{name}", name == "TLS1.2")
        for name in (
            "TLS1.1", "TLS1.2", "OnboardKeyGeneration", "AccessPolicyConfig", "X.509Token", "SAMLToken", "KerberosToken",
            "RELToken",
        )
    )  # fmt: skip
    return tag(
        "tt:Device",
        _address(call, "tds"),
        tag("tt:Network", *network),
        tag("tt:System", *system, version),
        tag("tt:IO", *connectors),
        tag("tt:Security", *security),
    )


def _service_capabilities(_: Call) -> Xml:
    network = tag("tds:Network", IPFilter=False, ZeroConfiguration=False, IPVersion6=False, DynDNS=False, NTP=1)
    security = tag("tds:Security", **{"TLS1.2": True}, UsernameToken=True, HttpDigest=True, MaxUsers=1)
    system = tag("tds:System", DiscoveryResolve=False, DiscoveryBye=True, RemoteDiscovery=False)
    return tag("tds:GetServiceCapabilitiesResponse", tag("tds:Capabilities", network, security, system))


def _scopes(call: Call) -> Xml:
    told = scopes(call.device)
    items = (tag("tds:Scopes", tag("tt:ScopeDef", "Fixed"), tag("tt:ScopeItem", scope)) for scope in told)
    return tag("tds:GetScopesResponse", *items)


def _interfaces(call: Call) -> Xml:
    host = urlsplit(call.spelled(call.origin)).hostname or ""
    address = tag("tt:Manual", tag("tt:Address", host), tag("tt:PrefixLength", 24))
    mac = call.device.identity.uuid.rpartition("-")[2]
    spelled = ":".join(mac[index : index + 2] for index in range(0, 12, 2))
    shown = tag(
        "tds:NetworkInterfaces",
        tag("tt:Enabled", True),
        tag("tt:Info", tag("tt:Name", "eth0"), tag("tt:HwAddress", spelled), tag("tt:MTU", 1500)),
        tag("tt:IPv4", tag("tt:Enabled", True), tag("tt:Config", address, tag("tt:DHCP", False))),
        token="eth0",  # noqa: S106 - a reference token, no secret
    )
    return tag("tds:GetNetworkInterfacesResponse", shown)


def _hostname(call: Call) -> Xml:
    told = tag("tds:HostnameInformation", tag("tt:FromDHCP", False), tag("tt:Name", call.device.identity.name))
    return tag("tds:GetHostnameResponse", told)


def _gateway(_: Call) -> Xml:
    return tag("tds:GetNetworkDefaultGatewayResponse", tag("tds:NetworkGateway"))


def _names(_: Call) -> Xml:
    return tag("tds:GetDNSResponse", tag("tds:DNSInformation", tag("tt:FromDHCP", False)))


def _clocks(_: Call) -> Xml:
    return tag("tds:GetNTPResponse", tag("tds:NTPInformation", tag("tt:FromDHCP", False)))


def _endpoint(call: Call) -> Xml:
    return tag("tds:GetEndpointReferenceResponse", tag("tds:GUID", f"urn:uuid:{call.device.identity.uuid}"))


def _relays(call: Call) -> Xml:
    delay = tag("tt:DelayTime", f"PT{PULSE_S:.0f}S")
    settings = tag("tt:Properties", tag("tt:Mode", "Monostable"), delay, tag("tt:IdleState", "open"))
    told = (tag("tds:RelayOutputs", settings, token=token) for token in call.device.relays)
    return tag("tds:GetRelayOutputsResponse", *told)


def _set_relay(call: Call) -> Xml:
    token, state = call.text("tds:RelayOutputToken"), call.text("tds:LogicalState")
    by_token(call.device.relays, token)
    if state not in {"active", "inactive"}:
        raise SoapFault("LogicalState is active or inactive", "ter:InvalidArgVal")
    if "refuse_unlock" in call.faults:
        raise SoapFault("the relay did not move", "ter:Action", "ter:Failure", sender=False)
    call.device.set_relay(token, on=state == "active", now=call.now, pulse_s=PULSE_S)
    return tag("tds:SetRelayOutputStateResponse")


def _inputs(call: Call) -> Xml:
    told = (tag("tmd:DigitalInputs", token=token, IdleState="open") for token in call.device.inputs)
    return tag("tmd:GetDigitalInputsResponse", *told)


HANDLERS: Final[Mapping[str, Handler]] = {
    "tds:GetSystemDateAndTime": _time,
    "tds:GetDeviceInformation": _information,
    "tds:GetServices": _services,
    "tds:GetCapabilities": _capabilities,
    "tds:GetServiceCapabilities": _service_capabilities,
    "tds:GetScopes": _scopes,
    "tds:GetNetworkInterfaces": _interfaces,
    "tds:GetHostname": _hostname,
    "tds:GetNetworkDefaultGateway": _gateway,
    "tds:GetDNS": _names,
    "tds:GetNTP": _clocks,
    "tds:GetEndpointReference": _endpoint,
    "tds:GetRelayOutputs": _relays,
    "tds:SetRelayOutputState": _set_relay,
    "tmd:GetDigitalInputs": _inputs,
}
"""The operations of the Device service that a client of doors and cameras needs, and DeviceIO's inputs.

DeviceIO's relay operations are those of the Device service, asked at another path.
"""
