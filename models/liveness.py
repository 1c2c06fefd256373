"""Liveness: whether a live person stands there or a picture of one; the words that doors, edges and facts share.

Who tells (the provider) is a setting of a door. What a provider covers decides whether a face alone may open; a reading
is about one track and holds numbers, no pixels. How readings are made is models.faces' business.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Provider = Literal["none", "parallax", "model", "device"]
Species = Literal["print", "screen"]
Verdict = Literal["live", "attack", "undecided"]

SPECIES: Final[tuple[Species, ...]] = ("print", "screen")
DECLARING: Final[frozenset[Provider]] = frozenset({"model", "device"})
"""Providers whose cover is declared, with the report that it rests on."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a provider thinks of one track so far.

    Attributes:
        provider: Who says it.
        verdict: `live`, `attack`, or `undecided` while too little was seen.
        score: How much speaks for a live person; comparable within one provider only.
        frames: How many frames it rests on.
    """

    provider: Provider
    verdict: Verdict
    score: float = 0.0
    frames: int = 0


def covered(provider: Provider, declared: tuple[Species, ...] = ()) -> frozenset[Species]:
    """Return the species of attack that a door's liveness covers: what is declared of `model`.

    `parallax` refuses a flat print held still or moved; a bent one, or a screen that replays a turning head, may defeat
    it, so it covers no species whole. What is declared of a terminal (`device`) counts for nothing as long as no driver brings
    its verdict as a reading: a bare face would open unjudged.
    """
    return frozenset(declared) if provider == "model" else frozenset()
