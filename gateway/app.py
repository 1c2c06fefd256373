"""The composition root of the gateway: reads settings, puts the parts together, serves until told to stop.

What decides is elsewhere; this is wiring, and the loops that keep house.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import uvicorn

from config.process import Backoff, keep_running
from config.settings import GatewaySettings, Settings, secret
from gateway.api.application import application
from gateway.auth.passwords import hash_password
from gateway.centre.events import Route
from gateway.files import write_private
from gateway.housekeeping import first_user
from gateway.loops import delivery, housekeeping
from gateway.opening import open_gateway_key, open_store
from gateway.runtime import CONSOLE, Receiver, Runtime
from gateway.store import Store
from gateway.store.users import SessionRules
from models.alerts import SECURITY_KINDS
from models.errors import InvalidInput, StorageUnavailable
from models.link import RELAY_MESSAGE_BYTES

log = logging.getLogger("gatehouse.gateway")
CALM = Backoff(first_s=1.0, cap_s=30.0)


class _Server(uvicorn.Server):
    """Leave signals to config.process, and say when the listener is up."""

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen and say so."""
        await super().startup(sockets)
        self._ready()


def runtime_of(settings: GatewaySettings, store: Store) -> Runtime:
    """Return what the process shares, from its settings."""
    centre, session = settings.centre, settings.session
    routes: tuple[Route, ...] = ()
    receivers: tuple[Receiver, ...] = ()
    if centre.url:
        kinds = frozenset(centre.kinds) or frozenset(SECURITY_KINDS)
        routes = (Route(centre_id=centre.name, kinds=kinds, severities=frozenset(centre.severities)),)
        key = secret(centre.receipts_key, centre.receipts_key_file, key="gateway.centre.receipts_key_file")
        receivers = (Receiver(centre_id=centre.name, secrets=tuple((key or _signing_key(settings)).split())),)
    return Runtime(
        store=store,
        routes=routes,
        receivers=receivers,
        origins=frozenset({settings.public_url} if settings.public_url else ()),
        secure_cookies=settings.base_url().startswith("https://"),
        sessions=SessionRules(
            idle=timedelta(seconds=session.idle_s),
            lifetime=timedelta(seconds=session.lifetime_s),
            attempts=session.login_attempts,
            lockout=timedelta(seconds=session.lockout_s),
        ),
        clock_window_s=settings.edge_clock_skew_s,
        console=settings.console_dir or CONSOLE,
        data_dir=settings.data_dir,
        gateway_key=open_gateway_key(settings),
        require_reasons=settings.audit.require_reasons,
    )


def _signing_key(settings: GatewaySettings) -> str:
    centre = settings.centre
    return secret(centre.signing_key, centre.signing_key_file, key="gateway.centre.signing_key_file") or ""


def listen(settings: GatewaySettings) -> socket.socket:
    """Return the bound listener.

    Raises:
        InvalidInput: the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        what = f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): is another gateway running?"
        raise InvalidInput("gateway.port", what) from error
    return listener


async def serve(settings: Settings, *, edge_token_file: Path | None = None) -> None:
    """Serve until cancelled. Writes one JSON line to standard output when ready.

    Args:
        settings: all settings of the file.
        edge_token_file: where to leave an enrolment token for the edge of this box, while it is not enrolled.

    Raises:
        InvalidInput: the address cannot be listened on.
        StorageUnavailable: the database cannot be opened.
    """
    own = settings.gateway
    listener = listen(own)
    store = await asyncio.to_thread(open_store, own)
    runtime = runtime_of(own, store)
    await _first_user(runtime, own.data_dir)
    server = _Server(_config(runtime, settings), ready=lambda: _say_ready(listener, own))
    loops = housekeeping(runtime, settings, edge_token_file=edge_token_file) | delivery(
        runtime, own.centre, keys=tuple(_signing_key(own).split())
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve(sockets=[listener]), name="http")
            for name, start in loops.items():
                tasks.create_task(keep_running(name, start, backoff=CALM), name=name)
            await _until_told(server, serving, runtime)
    finally:
        await asyncio.to_thread(store.close)


async def _until_told(server: _Server, serving: asyncio.Task[None], runtime: Runtime) -> None:
    """Wait until cancelled, then end streams and requests before anything they need goes away."""
    try:
        await asyncio.wait({serving})
        raise StorageUnavailable("the HTTP server ended by itself")
    finally:
        runtime.bells.close()
        server.should_exit = True
        await asyncio.wait({serving}, timeout=5.0)


def _config(runtime: Runtime, settings: Settings) -> uvicorn.Config:
    own = settings.gateway
    return uvicorn.Config(
        application(runtime), log_config=None, access_log=False, http="h11", lifespan="off",
        ws="websockets-sansio", ws_max_size=RELAY_MESSAGE_BYTES, ws_per_message_deflate=False,
        timeout_graceful_shutdown=3, timeout_keep_alive=75, limit_concurrency=2000, server_header=False,
        proxy_headers=bool(own.trusted_proxies), forwarded_allow_ips=list(own.trusted_proxies),
        ssl_certfile=own.tls.cert_file, ssl_keyfile=own.tls.key_file,
    )  # fmt: skip


def _say_ready(listener: socket.socket, settings: GatewaySettings) -> None:
    port = listener.getsockname()[1]
    scheme = "https" if settings.tls.cert_file else "http"
    url = settings.public_url or f"{scheme}://{settings.host}:{port}"
    line = {"ready": True, "part": "gateway", "url": url, "port": port, "pid": os.getpid()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _first_user(runtime: Runtime, folder: Path) -> None:
    password = secrets.token_urlsafe(15)
    created = await runtime.store.write(first_user, hash_password(password), at=runtime.clock())
    if created:
        file = folder / "first-password"
        write_private(file, password + "\n")
        log.warning("no users yet: made security administrator 'admin', password in %s; delete that file", file)
