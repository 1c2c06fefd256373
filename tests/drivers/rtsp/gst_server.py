"""An RTSP server written by others, for the driver's tests: GStreamer's, run by Debian's own Python.

Prints its port when it listens, and serves a stream of H.264 at /h264 and one of H.265 at /h265 until it is ended.
"""

import sys

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

SOURCE = "( videotestsrc is-live=true pattern=smpte ! video/x-raw,width=320,height=240,framerate=10/1 "
LAUNCH = {
    "/h264": "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 config-interval=1 )",
    "/h265": "! x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 option-string=bframes=0 "
    "! rtph265pay name=pay0 pt=96 config-interval=1 )",
}


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(sys.argv[1], sys.argv[2]), token)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    for path, launch in LAUNCH.items():
        factory = GstRtspServer.RTSPMediaFactory(launch=SOURCE + launch, shared=True)
        factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
    server.set_auth(auth)
    server.attach(None)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


main()
