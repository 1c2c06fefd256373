"""What a site says of networks of its own: file, digest, what it computes, licence; and what is never taken.

The records travel from an edge's settings to its face process as JSON. Nothing is opened here; models.faces.own_files
reads a file only after its record was checked here.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final, Literal

import msgspec

from models.errors import InvalidInput, ModelFileError

Kind = Literal["", "arcface", "sface", "yunet", "boxes", "liveness"]
MAX_JSON_BYTES: Final = 64 * 1024
_KINDS: Final[dict[str, frozenset[str]]] = {
    "detector": frozenset({"yunet", "boxes"}),
    "embedder": frozenset({"arcface", "sface"}),
    "liveness": frozenset({"liveness"}),
}
_NON_COMMERCIAL: Final = re.compile(
    r"buffalo|antelope|w600k|glint360k|ms1m|scrfd|det_?10g|insightface|inswapper", re.IGNORECASE
)
"""Names of weights whose makers (InsightFace) license them for research only, whatever a settings file says."""
_NON_COMMERCIAL_LICENCE: Final = re.compile(r"non-?commercial|\bNC\b|-NC-|research (use )?only|academic", re.IGNORECASE)


class OwnModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ONNX file of a site's own.

    Attributes:
        file: Its path.
        sha256: Its digest in hex; another file is refused.
        id: Its name in contracts and records.
        kind: Its preprocessing and outputs.
        licence: The licence of its weights.
        non_commercial: Whether that licence forbids commercial use.
        acknowledged: Whether it may be used all the same, for research.
    """

    file: str
    sha256: str
    id: str
    kind: Kind
    licence: str
    non_commercial: bool = False
    acknowledged: bool = False


class OwnModels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The networks that replace dlib's, or join them; None where dlib's does the work."""

    detector: OwnModel | None = None
    embedder: OwnModel | None = None
    liveness: OwnModel | None = None


DLIB: Final = OwnModels()
"""Nothing of one's own: dlib's networks do the work."""


def read_own_models(text: str) -> OwnModels:
    """Read the records from the JSON that an edge hands to its face process, and check them.

    Raises:
        InvalidInput: It is no such JSON.
        ModelFileError: A record lacks something, or its licence forbids what we do.
    """
    if len(text) > MAX_JSON_BYTES:
        raise InvalidInput("models", f"more than {MAX_JSON_BYTES} characters")
    try:
        models = msgspec.json.decode(text, type=OwnModels)
    except msgspec.DecodeError as error:
        raise InvalidInput("models", f"no records of networks: {error}") from error
    return checked(models)


def checked(models: OwnModels) -> OwnModels:
    """Return the records if each may be used for what it stands for.

    Raises:
        ModelFileError: digest, id, kind or licence is missing or does not fit, or the weights are not for commercial use.
    """
    for use, kinds in _KINDS.items():
        model: OwnModel | None = getattr(models, use)
        if model is not None:
            _check(model, use, kinds)
    return models


def _check(model: OwnModel, use: str, kinds: frozenset[str]) -> None:
    where = f"edge.faces.models.{use}"
    if model.kind not in kinds:
        raise ModelFileError(where, f"kind {model.kind!r} does not fit; take one of {', '.join(sorted(kinds))}")
    if not re.fullmatch(r"[0-9a-f]{64}", model.sha256):
        raise ModelFileError(where, "sha256 is missing: write what `sha256sum` prints for the file")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", model.id):
        raise ModelFileError(
            where, "id is missing: give the network a name in small letters, digits, points and dashes"
        )
    if not model.licence.strip():
        raise ModelFileError(where, "licence is missing: write the licence of the weights, as their maker names it")
    if forbids_commerce(model) and not model.acknowledged:
        raise ModelFileError(
            where,
            f"the weights of {model.id} are not for commercial use; take others, or set acknowledge_non_commercial "
            "for research",
        )


def forbids_commerce(model: OwnModel) -> bool:
    """Return whether weights are not for commercial use: by their record, their licence's words, or a known name."""
    names = " ".join([model.id, *PurePath(model.file).parts[-2:]])
    return (
        model.non_commercial
        or _NON_COMMERCIAL.search(names) is not None
        or _NON_COMMERCIAL_LICENCE.search(model.licence) is not None
    )
