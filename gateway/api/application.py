"""Put the routers together into one ASGI application. Wiring only."""

from __future__ import annotations

from fastapi import FastAPI

from gateway.api import (
    alerts,
    assessments,
    audit,
    centre,
    consents,
    console,
    doors,
    edge_link,
    exports,
    imports,
    live,
    modes,
    notices,
    people,
    rights,
    role_changes,
    session,
    system,
    tokens,
    users,
)
from gateway.api.errors import add_error_handlers
from gateway.api.middleware import BodyLimit, SecurityHeaders
from gateway.api.replies import describe
from gateway.runtime import Runtime


def application(runtime: Runtime) -> FastAPI:
    """Return the application that serves API, edges and console from what the process shares."""
    app = FastAPI(
        title="Gatehouse", version=runtime.version, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.runtime = runtime
    for part in (
        session,
        users,
        role_changes,
        tokens,
        audit,
        notices,
        assessments,
        alerts,
        doors,
        modes,
        people,
        consents,
        rights,
        imports,
        exports,
        live,
        system,
        centre,
        edge_link,
        console,
    ):
        app.include_router(part.router)
    add_error_handlers(app)
    app.openapi = describe(app)  # type: ignore[method-assign]
    app.add_middleware(BodyLimit)
    app.add_middleware(SecurityHeaders, secure=runtime.secure_cookies)
    return app
