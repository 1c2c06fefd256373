"""The session description of a simulated camera: one stream of H.264 or H.265.

Pure. Sources: RFC 4566 (SDP), RFC 6184 section 8.2 (H.264), RFC 7798 section 7.1 (H.265).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from drivers.rtsp.rtp import PAYLOAD_TYPE, Codec


def describe(*, host: str, name: str, codec: Codec, parameter_sets: Sequence[bytes], fps: float) -> str:
    """Write the session description of one stream; the parameter sets are the codec's, in its own order."""
    sets = [base64.b64encode(unit).decode() for unit in parameter_sets]
    if codec == "h265":
        format_ = ";".join(f"sprop-{kind}={text}" for kind, text in zip(("vps", "sps", "pps"), sets, strict=True))
    else:
        level = parameter_sets[0][1:4].hex()
        format_ = f"packetization-mode=1;profile-level-id={level};sprop-parameter-sets={','.join(sets)}"
    lines = [
        "v=0",
        f"o=- 1 1 IN IP4 {host}",
        f"s={name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=0-",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} {codec.upper()}/90000",
        f"a=fmtp:{PAYLOAD_TYPE} {format_}",
        f"a=framerate:{fps:g}",
        "a=control:trackID=0",
    ]
    return "\r\n".join(lines) + "\r\n"
