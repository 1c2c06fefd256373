"""The Media, Media2 and PTZ services of the simulated device: two profiles of one camera, its stream and picture, presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from drivers.onvif.simcall import Call, Handler, by_token
from drivers.onvif.simdevice import SOURCE
from drivers.onvif.simsoap import SoapFault, Xml, instant, tag

SNAPSHOT: Final = "/onvif/snapshot"
PRESETS: Final[Mapping[str, tuple[str, float, float, float]]] = {
    "home": ("Home", 0.0, 0.0, 0.0),
    "gate": ("Gate", 0.4, -0.2, 0.5),
}
"""Name, pan, tilt and zoom by token."""
SPACES: Final = "http://www.onvif.org/ver10/tptz"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one media profile."""

    name: str
    width: int
    height: int
    fps: int
    kbit_s: int
    encoder: str


PROFILES: Final[Mapping[str, Profile]] = {
    "main": Profile(name="Main", width=1920, height=1080, fps=25, kbit_s=4096, encoder="encoder-main"),
    "sub": Profile(name="Sub", width=640, height=360, fps=10, kbit_s=512, encoder="encoder-sub"),
}


def _profiles(call: Call) -> Xml:
    del call
    return tag("trt:GetProfilesResponse", *(_profile("trt:Profiles", token) for token in PROFILES))


def _profile_named(call: Call) -> Xml:
    token = call.text("trt:ProfileToken")
    by_token(PROFILES, token)
    return tag("trt:GetProfileResponse", _profile("trt:Profile", token))


def _profile(name: str, token: str) -> Xml:
    profile = PROFILES[token]
    parts = (_source("tt:VideoSourceConfiguration"), _encoder("tt:VideoEncoderConfiguration", profile))
    ptz = _ptz_configuration("tt:PTZConfiguration")
    return tag(name, tag("tt:Name", profile.name), *parts, ptz, token=token, fixed=True)


def _source(name: str) -> Xml:
    frame = PROFILES["main"]
    bounds = tag("tt:Bounds", x=0, y=0, width=frame.width, height=frame.height)
    inside = (tag("tt:Name", "source"), tag("tt:UseCount", len(PROFILES)), tag("tt:SourceToken", SOURCE), bounds)
    return tag(name, *inside, token="source")  # noqa: S106 - a reference token, no secret


def _size(profile: Profile) -> Xml:
    return tag("tt:Resolution", tag("tt:Width", profile.width), tag("tt:Height", profile.height))


def _multicast() -> Xml:
    address = tag("tt:Address", tag("tt:Type", "IPv4"), tag("tt:IPv4Address", "0.0.0.0"))
    return tag("tt:Multicast", address, tag("tt:Port", 0), tag("tt:TTL", 1), tag("tt:AutoStart", False))


def _encoder(name: str, profile: Profile) -> Xml:
    rate = (
        tag("tt:FrameRateLimit", profile.fps),
        tag("tt:EncodingInterval", 1),
        tag("tt:BitrateLimit", profile.kbit_s),
    )
    return tag(
        name,
        tag("tt:Name", profile.encoder),
        tag("tt:UseCount", 1),
        tag("tt:Encoding", "H264"),
        _size(profile),
        tag("tt:Quality", 4),
        tag("tt:RateControl", *rate),
        tag("tt:H264", tag("tt:GovLength", profile.fps * 4), tag("tt:H264Profile", "Main")),
        _multicast(),
        tag("tt:SessionTimeout", "PT60S"),
        token=profile.encoder,
    )


def _encoder2(profile: Profile) -> Xml:
    rate = (tag("tt:FrameRateLimit", profile.fps), tag("tt:BitrateLimit", profile.kbit_s))
    return tag(
        "tr2:VideoEncoder",
        tag("tt:Name", profile.encoder),
        tag("tt:UseCount", 1),
        tag("tt:Encoding", "H264"),
        _size(profile),
        tag("tt:RateControl", *rate, ConstantBitRate=False),
        _multicast(),
        tag("tt:Quality", 4),
        token=profile.encoder,
        GovLength=profile.fps * 4,
        Profile="Main",
    )


def _profiles2(call: Call) -> Xml:
    _honest(call)
    told = []
    for token, profile in PROFILES.items():
        parts = (_source("tr2:VideoSource"), _encoder2(profile), _ptz_configuration("tr2:PTZ"))
        named = tag("tr2:Name", profile.name)
        told.append(tag("tr2:Profiles", named, tag("tr2:Configurations", *parts), token=token, fixed=True))
    return tag("tr2:GetProfilesResponse", *told)


def _honest(call: Call) -> None:
    """Refuse Media2 where the device lied about having it.

    Raises:
        SoapFault: it did.
    """
    if "lies_capabilities" in call.faults:
        raise SoapFault("Optional Action Not Implemented", "ter:ActionNotSupported", sender=False)


def _stream_url(call: Call, prefix: str) -> str:
    token = call.text(f"{prefix}:ProfileToken")
    by_token(PROFILES, token)
    return call.spelled(call.streams.main if token == "main" else call.streams.sub)  # noqa: S105 - a profile


def _stream(call: Call) -> Xml:
    return tag("trt:GetStreamUriResponse", _media_uri(_stream_url(call, "trt")))


def _media_uri(url: str) -> Xml:
    lasting = (tag("tt:InvalidAfterConnect", False), tag("tt:InvalidAfterReboot", False), tag("tt:Timeout", "PT0S"))
    return tag("trt:MediaUri", tag("tt:Uri", url), *lasting)


def _stream2(call: Call) -> Xml:
    _honest(call)
    return tag("tr2:GetStreamUriResponse", tag("tr2:Uri", _stream_url(call, "tr2")))


def _picture(call: Call) -> Xml:
    by_token(PROFILES, call.text("trt:ProfileToken"))
    return tag("trt:GetSnapshotUriResponse", _media_uri(call.url(SNAPSHOT)))


def _picture2(call: Call) -> Xml:
    _honest(call)
    by_token(PROFILES, call.text("tr2:ProfileToken"))
    return tag("tr2:GetSnapshotUriResponse", tag("tr2:Uri", call.url(SNAPSHOT)))


def _video_sources(call: Call) -> Xml:
    del call
    frame = PROFILES["main"]
    told = tag("trt:VideoSources", tag("tt:Framerate", frame.fps), _size(frame), token=SOURCE)
    return tag("trt:GetVideoSourcesResponse", told)


def _encoders(call: Call) -> Xml:
    del call
    told = (_encoder("trt:Configurations", profile) for profile in PROFILES.values())
    return tag("trt:GetVideoEncoderConfigurationsResponse", *told)


def _range(name: str, low: int, high: int) -> Xml:
    return tag(name, tag("tt:Min", low), tag("tt:Max", high))


def _encoder_options(call: Call) -> Xml:
    del call
    main = PROFILES["main"]
    sizes = (
        tag("tt:ResolutionsAvailable", tag("tt:Width", profile.width), tag("tt:Height", profile.height))
        for profile in PROFILES.values()
    )
    h264 = tag(
        "tt:H264",
        *sizes,
        _range("tt:GovLengthRange", 1, main.fps * 4),
        _range("tt:FrameRateRange", 1, main.fps),
        _range("tt:EncodingIntervalRange", 1, 1),
        tag("tt:H264ProfilesSupported", "Main"),
    )
    options = tag("trt:Options", _range("tt:QualityRange", 1, 5), h264)
    return tag("trt:GetVideoEncoderConfigurationOptionsResponse", options)


def _encoders2(call: Call) -> Xml:
    _honest(call)
    told = (Xml(_encoder2(p).replace("tr2:VideoEncoder", "tr2:Configurations")) for p in PROFILES.values())
    return tag("tr2:GetVideoEncoderConfigurationsResponse", *told)


def _media_capabilities(call: Call) -> Xml:
    del call
    most = tag("trt:ProfileCapabilities", MaximumNumberOfProfiles=len(PROFILES))
    streaming = tag("trt:StreamingCapabilities", RTPMulticast=False, RTP_TCP=True, RTP_RTSP_TCP=True)
    return tag("trt:GetServiceCapabilitiesResponse", tag("trt:Capabilities", most, streaming, SnapshotUri=True))


def _media2_capabilities(call: Call) -> Xml:
    _honest(call)
    most = tag("tr2:ProfileCapabilities", MaximumNumberOfProfiles=len(PROFILES))
    streaming = tag("tr2:StreamingCapabilities", RTSPStreaming=True, RTP_RTSP_TCP=True, RTPMulticast=False)
    return tag("tr2:GetServiceCapabilitiesResponse", tag("tr2:Capabilities", most, streaming, SnapshotUri=True))


def _ptz_configuration(name: str) -> Xml:
    inside = (tag("tt:Name", "ptz"), tag("tt:UseCount", len(PROFILES)), tag("tt:NodeToken", "node"))
    return tag(name, *inside, tag("tt:DefaultPTZTimeout", "PT5S"), token="ptz")  # noqa: S106 - a reference token


def _nodes(call: Call) -> Xml:
    del call
    both = tag("tt:XRange", tag("tt:Min", -1), tag("tt:Max", 1)), tag("tt:YRange", tag("tt:Min", -1), tag("tt:Max", 1))
    turn = tag("tt:AbsolutePanTiltPositionSpace", tag("tt:URI", f"{SPACES}/PanTiltSpaces/PositionGenericSpace"), *both)
    reach = tag("tt:XRange", tag("tt:Min", 0), tag("tt:Max", 1))
    zoom = tag("tt:AbsoluteZoomPositionSpace", tag("tt:URI", f"{SPACES}/ZoomSpaces/PositionGenericSpace"), reach)
    most = (tag("tt:MaximumNumberOfPresets", len(PRESETS)), tag("tt:HomeSupported", False))
    node = (tag("tt:Name", "node"), tag("tt:SupportedPTZSpaces", turn, zoom), *most)
    return tag("tptz:GetNodesResponse", tag("tptz:PTZNode", *node, token="node"))  # noqa: S106 - a reference token


def _configurations(call: Call) -> Xml:
    del call
    return tag("tptz:GetConfigurationsResponse", _ptz_configuration("tptz:PTZConfiguration"))


def _position(name: str, preset: str) -> Xml:
    _, pan, tilt, zoom = PRESETS[preset]
    return tag(name, tag("tt:PanTilt", x=pan, y=tilt), tag("tt:Zoom", x=zoom))


def _presets(call: Call) -> Xml:
    by_token(PROFILES, call.text("tptz:ProfileToken"))
    told = (
        tag("tptz:Preset", tag("tt:Name", preset[0]), _position("tt:PTZPosition", token), token=token)
        for token, preset in PRESETS.items()
    )
    return tag("tptz:GetPresetsResponse", *told)


def _goto(call: Call) -> Xml:
    by_token(PROFILES, call.text("tptz:ProfileToken"))
    token = call.text("tptz:PresetToken")
    if token not in PRESETS:
        raise SoapFault(f"no preset {token[:64]!r} here", "ter:InvalidArgVal", "ter:NoToken")
    call.device.preset = token
    return tag("tptz:GotoPresetResponse")


def _status(call: Call) -> Xml:
    by_token(PROFILES, call.text("tptz:ProfileToken"))
    position = _position("tt:Position", call.device.preset or "home")
    still = tag("tt:MoveStatus", tag("tt:PanTilt", "IDLE"), tag("tt:Zoom", "IDLE"))
    return tag("tptz:GetStatusResponse", tag("tptz:PTZStatus", position, still, tag("tt:UtcTime", instant(call.now))))


def _ptz_capabilities(call: Call) -> Xml:
    del call
    return tag("tptz:GetServiceCapabilitiesResponse", tag("tptz:Capabilities", EFlip=False, Reverse=False))


HANDLERS: Final[Mapping[str, Handler]] = {
    "trt:GetServiceCapabilities": _media_capabilities,
    "trt:GetProfiles": _profiles,
    "trt:GetProfile": _profile_named,
    "trt:GetStreamUri": _stream,
    "trt:GetSnapshotUri": _picture,
    "trt:GetVideoSources": _video_sources,
    "trt:GetVideoEncoderConfigurations": _encoders,
    "trt:GetVideoEncoderConfigurationOptions": _encoder_options,
    "tr2:GetServiceCapabilities": _media2_capabilities,
    "tr2:GetProfiles": _profiles2,
    "tr2:GetStreamUri": _stream2,
    "tr2:GetSnapshotUri": _picture2,
    "tr2:GetVideoEncoderConfigurations": _encoders2,
    "tptz:GetServiceCapabilities": _ptz_capabilities,
    "tptz:GetNodes": _nodes,
    "tptz:GetConfigurations": _configurations,
    "tptz:GetPresets": _presets,
    "tptz:GotoPreset": _goto,
    "tptz:GetStatus": _status,
}
"""The operations of Media, Media2 and PTZ that a client needs to look at a camera and to turn it."""
