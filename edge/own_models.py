"""Turn the settings `edge.faces.models` into what the face process is given.

It opens no file; models.faces checks the records, then digests, then shapes.
"""

from __future__ import annotations

from config.settings import ModelFile, ModelSettings
from models.faces.own_models import OwnModel, OwnModels


def own_models(settings: ModelSettings) -> OwnModels:
    """Return the networks that a site brings itself; a section without `file` brings none."""
    return OwnModels(
        detector=_own_model(settings.detector),
        embedder=_own_model(settings.embedder),
        liveness=_own_model(settings.liveness),
    )


def _own_model(one: ModelFile) -> OwnModel | None:
    if one.file is None:
        return None
    return OwnModel(
        file=str(one.file.expanduser()),
        sha256=one.sha256,
        id=one.id,
        kind=one.kind,
        licence=one.licence,
        non_commercial=one.non_commercial,
        acknowledged=one.acknowledge_non_commercial,
    )
