"""What the processes of one edge say to each other over Unix sockets in its run directory.

For the eyes, the face process and the worker: the messages, and their framing (four bytes of big-endian length, then
msgpack). Pixels and embeddings travel as raw bytes. This module opens no socket and decides nothing.

    eye    -> faces   EyeHello, Crop                        faces -> eye      Credit, Watch
    worker -> faces   WorkerHello, Attend, Ignore, EmbedPhoto, TakePicture
    faces  -> worker  FaceSighting, FaceUnusable, PhotoFace, Picture, FacesHealth
    eye    -> worker  EyeHealth
"""

import asyncio
import struct
from typing import Final, Literal, TypeVar

import msgspec

from models.errors import InvalidInput
from models.events import Trouble
from models.liveness import Provider, Reading
from models.recognition import FaceQuality
from models.zones import WHOLE, Rectangle, Zone

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")

EyeState = Literal["starting", "live", "refused", "unreachable", "garbage", "stopped"]


M = TypeVar("M")


class EyeHello(msgspec.Struct, frozen=True, kw_only=True, tag="eye_hello"):
    """First message of an eye to the face process."""

    camera_id: str


class Crop(msgspec.Struct, frozen=True, kw_only=True, tag="crop"):
    """The part of one frame in which something moves; answers one `Credit`.

    `pixels` is RGB, row after row, `rows * cols * 3` bytes. `x, y, w, h` place it in a full frame of `frame_w` by
    `frame_h` px; `cols, rows` equal `w, h` unless a very large frame was scaled down. `captured_at` is Unix time in s
    by this machine's clock, corrected for the time the frame waited on its way; `age_ms` is that waiting time when the
    message was written.
    """

    camera_id: str
    frame_no: int
    captured_at: float
    age_ms: float
    x: int
    y: int
    w: int
    h: int
    cols: int
    rows: int
    frame_w: int
    frame_h: int
    pixels: bytes


class Credit(msgspec.Struct, frozen=True, kw_only=True, tag="credit"):
    """The face process can take one more crop from this eye. Never more than one is outstanding.

    With `whole` the next frame is wanted as a whole, whether or not anything moves in it.
    """

    whole: bool = False


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag="watch"):
    """Send crops even when nothing moves until `until` (Unix time, s): a track is live, or somebody acted at the door.

    `zone` (x0, y0, x1, y1 as parts of the frame) is the least area to send; without it the last area of motion, or the
    whole frame.
    """

    until: float
    zone: tuple[float, float, float, float] | None = None


class EyeHealth(msgspec.Struct, frozen=True, kw_only=True, tag="eye_health"):
    """How one camera is, sent on every change and every 10 s. Counters run from the start of the eye process.

    `since` is when `state` began (Unix time, s). `detail` never holds a credential, `reason` is a stable word for it.
    `dropped` counts frames nobody had time for. `troubles` are what makes its pictures useless, lastingly; `absent` those
    known not to be there.
    """

    camera_id: str
    state: EyeState
    since: float
    detail: str = ""
    reason: str = ""
    frames: int = 0
    dropped: int = 0
    decode_errors: int = 0
    crops: int = 0
    reconnects: int = 0
    fps: float = 0.0
    width_px: int = 0
    height_px: int = 0
    troubles: tuple[Trouble, ...] = ()
    absent: tuple[Trouble, ...] = ()


class WorkerHello(msgspec.Struct, frozen=True, kw_only=True, tag="worker_hello"):
    """First message of the worker to the face process: from here on it receives what faces are seen."""


class Attend(msgspec.Struct, frozen=True, kw_only=True, tag="attend"):
    """Look for faces for this door until `until` (Unix time, s). Without a live Attend nothing is detected.

    `liveness` says whose readings come with the sightings. With `enrol` the faces are wanted for templates: sightings
    keep the gates of enrolment, and `FaceUnusable` says at every picture why it is not good enough.
    """

    door_id: str
    camera_id: str
    until: float
    near_zone: Zone = WHOLE
    min_eye_px: float = 30.0
    liveness: Provider = "none"
    enrol: bool = False


class Ignore(msgspec.Struct, frozen=True, kw_only=True, tag="ignore"):
    """Stop looking for this door at once, and forget its tracks."""

    door_id: str


class EmbedPhoto(msgspec.Struct, frozen=True, kw_only=True, tag="embed_photo"):
    """Make a template of the one face in an enrolment photo (JPEG or PNG bytes, at most 4 MiB)."""

    request_id: str
    image: bytes
    min_eye_px: float = 30.0


class TakePicture(msgspec.Struct, frozen=True, kw_only=True, tag="take_picture"):
    """Make one JPEG of a camera's next frame in which no face can be recognised any more.

    `masks` are blacked out: the rectangles of the camera's privacy masks, as parts of the frame.
    """

    request_id: str
    camera_id: str
    masks: tuple[Rectangle, ...] = ()


class FaceSighting(msgspec.Struct, frozen=True, kw_only=True, tag="face_sighting"):
    """One usable face in the near zone of a door. Times are Unix time in s by this machine's clock.

    `embedding` is `dimensions` little-endian float32. `box` is x, y, w, h in px of the full frame. `track_id` is
    random and means nothing after its track ended.
    """

    door_id: str
    camera_id: str
    track_id: str
    frame_no: int
    captured_at: float
    age_ms: float
    first_usable_at: float
    embedding: bytes
    contract: str
    quality: FaceQuality
    box: tuple[float, float, float, float]
    liveness: Reading | None = None
    """What the attended provider thinks of this track so far; None where none was asked for."""


class FaceUnusable(msgspec.Struct, frozen=True, kw_only=True, tag="face_unusable"):
    """Somebody is there, but this face cannot be used, and why (at most once a second per door, but for enrolment).

    Besides the reasons of `models.recognition.unusable`: `two_faces` while more than one is in the zone.
    """

    door_id: str
    camera_id: str
    reason: str
    captured_at: float


class PhotoFace(msgspec.Struct, frozen=True, kw_only=True, tag="photo_face"):
    """The answer to `EmbedPhoto`: an embedding, or why there is none (`no_face`, `two_faces`, `too_small` …)."""

    request_id: str
    ok: bool
    reason: str = ""
    embedding: bytes = b""
    contract: str = ""
    quality: FaceQuality | None = None


class Picture(msgspec.Struct, frozen=True, kw_only=True, tag="picture"):
    """The answer to `TakePicture`: a JPEG with every face made unrecognisable, or why there is none."""

    request_id: str
    ok: bool
    reason: str = ""
    jpeg: bytes = b""
    faces: int = 0


class FacesHealth(msgspec.Struct, frozen=True, kw_only=True, tag="faces_health"):
    """The face process is up: what it computes with, and its counters. Sent after `WorkerHello` and every 10 s."""

    ready: bool
    contract: str
    crops: int = 0
    faces: int = 0
    embeddings: int = 0
    stale: int = 0
    busy_ms: float = 0.0


ToFaces = EyeHello | Crop | WorkerHello | Attend | Ignore | EmbedPhoto | TakePicture
"""What arrives on the face process's socket; the first message says who is there."""

ToEye = Credit | Watch
"""What an eye receives from the face process."""

FromFaces = FaceSighting | FaceUnusable | PhotoFace | Picture | FacesHealth
"""What the worker receives from the face process."""

Message = ToFaces | ToEye | FromFaces | EyeHealth


_encoder = msgspec.msgpack.Encoder()

to_faces: Final[msgspec.msgpack.Decoder[ToFaces]] = msgspec.msgpack.Decoder(ToFaces)
to_eye: Final[msgspec.msgpack.Decoder[ToEye]] = msgspec.msgpack.Decoder(ToEye)
from_faces: Final[msgspec.msgpack.Decoder[FromFaces]] = msgspec.msgpack.Decoder(FromFaces)
eye_health: Final[msgspec.msgpack.Decoder[EyeHealth]] = msgspec.msgpack.Decoder(EyeHealth)


def frame(message: Message) -> bytes:
    """Frame one message for the socket.

    Raises:
        InvalidInput: the message is larger than `MAX_MESSAGE_BYTES`.
    """
    body = _encoder.encode(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise InvalidInput("edge wire", f"a message of {len(body)} bytes exceeds {MAX_MESSAGE_BYTES}")
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[M]) -> M | None:
    """Read the next message; None when the other side has closed.

    Raises:
        InvalidInput: the length or the body is not ours.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_MESSAGE_BYTES:
            raise InvalidInput(
                "edge wire", f"a message of {length} bytes was announced; at most {MAX_MESSAGE_BYTES} are allowed"
            )
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput("edge wire", f"unreadable message: {error}") from error


async def write(writer: asyncio.StreamWriter, message: Message) -> None:
    """Write one message and wait until the socket has taken it.

    Raises:
        ConnectionError: the other side is gone.
        InvalidInput: the message is too large.
    """
    writer.write(frame(message))
    await writer.drain()
