"""Who watches one track for life: the contract that `parallax` and a network of the user's implement.

A watcher belongs to one track of one camera and goes with it. It says what it thinks; what a door does with that is
decided at the edge. It names no person and writes nothing.
"""

from __future__ import annotations

from typing import Protocol

from models.faces.pipeline import Face, Rgb
from models.liveness import Reading


class Watcher(Protocol):
    """Watch the face of one track.

    Give it every crop in which the track was found, faces too turned or too blurred to embed among them: it is the
    movement that tells. Whatever it keeps of a crop is a small grey patch and goes after two seconds (R11).
    """

    def observe(self, rgb: Rgb, *, origin: tuple[float, float], scale: float, face: Face, at_s: float) -> Reading:
        """Look at the next crop of the track and say what speaks for a live person so far.

        Args:
            rgb: The crop, (height, width, 3) uint8; what is around the face is looked at too.
            origin: x, y of the crop's left upper corner in px of the full frame.
            scale: Pixels of the full frame per pixel of the crop.
            face: The track's face, in px of the crop.
            at_s: When the frame was taken, in s of any steady clock; a frame that is not later is not looked at.
        """
        ...
