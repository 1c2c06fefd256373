"""What is fuzzed: everything that reads bytes from outside, and the errors that it may answer with.

A target is made anew for each run (`make`), so that a fuzzer may watch what it imports, and takes one input at a time.
What it raises beyond `allowed` is a find: it gets a regression test beside the other tests of its module, and is mended.
`python -m tests.fuzz` runs them (docs/fuzzing.md); a house test feeds each its seeds, without any fuzzer.
"""

from __future__ import annotations

from functools import partial

from models.errors import DeviceRefused, ImageRejected, InvalidInput, ModelFileError, SettingsError
from tests.fuzz import cameras, doors, files
from tests.fuzz.target import Take, Target

REFUSED = (InvalidInput, DeviceRefused)
TARGETS: dict[str, Target] = {
    "rtsp": Target(make=cameras.rtsp, allowed=(InvalidInput,), seeds=cameras.rtsp_seeds),
    "rtp": Target(make=cameras.rtp, allowed=(InvalidInput,), seeds=cameras.rtp_seeds),
    "onvif-soap": Target(
        make=cameras.soap, allowed=REFUSED, seeds=partial(cameras.texts, cameras.EVENTS, cameras.FAULT)
    ),
    "onvif-events": Target(make=cameras.onvif_events, allowed=REFUSED, seeds=partial(cameras.texts, cameras.EVENTS)),
    "onvif-discovery": Target(make=cameras.onvif_discovery, allowed=(), seeds=partial(cameras.texts, cameras.MATCH)),
    "mqtt": Target(make=doors.mqtt, allowed=(InvalidInput,), seeds=doors.mqtt_seeds),
    "mqtt-maps": Target(make=doors.mqtt_maps, allowed=(InvalidInput,), seeds=lambda: iter(doors.VENDORS)),
    "mqtt-own-map": Target(make=doors.mqtt_own_map, allowed=(InvalidInput,), seeds=doors.own_map_seeds),
    "osdp-frames": Target(make=doors.osdp_wire, allowed=(), seeds=doors.osdp_seeds),
    "osdp-words": Target(make=doors.osdp_words, allowed=(), seeds=doors.osdp_word_seeds),
    "cards": Target(make=doors.cards, allowed=(InvalidInput,), seeds=doors.card_seeds, bytes_most=256),
    "dat": Target(make=files.dat, allowed=(ModelFileError,), seeds=files.dat_seeds),
    "onnx": Target(make=files.onnx, allowed=(ModelFileError,), seeds=files.onnx_seeds),
    "photo": Target(make=files.photo, allowed=(ImageRejected,), seeds=files.photo_seeds),
    "scenario": Target(
        make=partial(files.read_by, "config.scenario", "read_scenario"),
        allowed=(SettingsError,),
        bytes_most=16_384,
        seeds=partial(files.examples, "config/scenarios/*.yaml"),
    ),
    "settings": Target(
        make=partial(files.read_by, "config.settings", "read_settings"),
        allowed=(SettingsError,),
        bytes_most=16_384,
        seeds=partial(files.examples, "config/gatehouse.example.yaml"),
    ),
    "site": Target(
        make=partial(files.read_by, "config.site", "read_site"),
        allowed=(SettingsError,),
        bytes_most=16_384,
        seeds=partial(files.examples, "config/site.example.yaml"),
    ),
}
"""Every target by its name. No session description is among them: FFmpeg alone reads those of cameras."""


def guarded(target: Target) -> Take:
    """Return what takes one input and raises only what is a find."""
    take = target.make()

    def guard(data: bytes) -> None:
        try:
            take(data)
        except target.allowed:
            return

    return guard
