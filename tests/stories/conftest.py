"""One running system per file of stories, torn down behind it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stories.acting import StoryStage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[StoryStage]:
    """Yield the whole system, started once; its folders are short, because sockets live in them."""
    directory = Path(tempfile.mkdtemp(prefix="gh-story-"))
    (directory / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(directory / "tmp"))
        try:
            async with StoryStage(directory / "stage", tell=print) as running:
                yield running
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    assert os.environ.get("TMPDIR") != str(directory / "tmp")
