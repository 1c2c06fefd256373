"""Put the routers together into one ASGI application. Wiring only."""

from __future__ import annotations

from fastapi import Depends, FastAPI

from gateway.api import (
    alerts,
    areas,
    assessments,
    audit,
    bypasses,
    calibrations,
    cameras,
    card_formats,
    card_lessons,
    centre,
    commands,
    companies,
    consents,
    console,
    controllers,
    devices,
    doors,
    edge_link,
    edges,
    exports,
    faces,
    flats,
    groups,
    imports,
    live,
    media,
    modes,
    moves,
    notices,
    people,
    readers,
    relay,
    rights,
    role_changes,
    schedules,
    session,
    sites,
    system,
    tickets,
    tokens,
    users,
    visitors,
)
from gateway.api.errors import add_error_handlers
from gateway.api.middleware import BodyLimit, SecurityHeaders
from gateway.api.replies import describe
from gateway.api.strict import known_query
from gateway.runtime import Runtime

PARTS = (
    session,
    users,
    role_changes,
    tokens,
    audit,
    notices,
    assessments,
    alerts,
    areas,
    companies,
    sites,
    calibrations,
    flats,
    controllers,
    devices,
    doors,
    commands,
    modes,
    bypasses,
    readers,
    card_formats,
    card_lessons,
    cameras,
    people,
    consents,
    faces,
    rights,
    moves,
    groups,
    schedules,
    visitors,
    tickets,
    imports,
    exports,
    media,
    live,
    system,
    centre,
    edges,
    edge_link,
    relay,
    console,
)
"""The parts of the application in the order in which their routes are tried; the console takes what is left."""

LENIENT = (live, edge_link, relay, console)
"""The live feed, the console's pages, and the edges' side, where a newer edge may say more than this gateway knows."""


def application(runtime: Runtime) -> FastAPI:
    """Return the application that serves API, edges and console from what the process shares."""
    app = FastAPI(
        title="Gatehouse", version=runtime.version, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.runtime = runtime
    for part in PARTS:
        app.include_router(part.router, dependencies=[] if part in LENIENT else [Depends(known_query)])
    app.include_router(media.link)
    add_error_handlers(app)
    app.openapi = describe(app)  # type: ignore[method-assign]
    app.add_middleware(BodyLimit)
    app.add_middleware(SecurityHeaders, secure=runtime.secure_cookies)
    return app
