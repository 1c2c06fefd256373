"""Serve the built console: its page with a fresh nonce each time, its files as they are. Knows nothing of what they do."""

from __future__ import annotations

import mimetypes
import secrets
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

from gateway.api.deps import Shared
from gateway.api.middleware import CSP

router = APIRouter(include_in_schema=False)
PLACEHOLDER = "__CSP_NONCE__"
MISSING = """<!doctype html><meta charset="utf-8"><title>Gatehouse</title>
<h1>控制台尚未构建 / The console is not built</h1>
<p>The API works. To build the console run <code>make console</code> (or <code>make demo</code>) in the checkout and reload;
or set <code>gateway.console_dir</code> to a built console.</p>
"""


@cache
def _files(folder: Path) -> dict[str, Path]:
    """Return the console's files by their path in the address, so that no address can name any other file."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


@router.get("/{path:path}")
async def console(path: str, *, runtime: Shared) -> Response:
    """Return a file of the console; any other address is the page itself, whose script reads the address."""
    if path.startswith(("api/", "edge/")):
        raise HTTPException(404, "there is nothing at this address")
    index = runtime.console / "index.html"
    if not index.is_file():
        return Response(MISSING, 503, media_type="text/html; charset=utf-8")
    file = _files(runtime.console).get(path)
    if file is not None and file != index:
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        kept = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
        return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": kept})
    if path.startswith("assets/"):
        raise HTTPException(404, "there is nothing at this address")
    nonce = secrets.token_urlsafe(18)
    page = index.read_text("utf-8").replace(PLACEHOLDER, nonce)
    return Response(
        page, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": CSP.format(nonce=nonce)}
    )
