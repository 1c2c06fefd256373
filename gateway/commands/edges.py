"""The commands of `edge` at the gateway: enrol, list, rename and revoke edges. They work on the database of this machine."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import Config, Json, load, opened, say, show
from gateway.commands.running import edge
from models.errors import InvalidInput

if TYPE_CHECKING:
    from gateway.store import Connection

__all__ = ["edge"]
Reason = Annotated[str, typer.Option(help="why; it goes on record")]


def _record(connection: Connection, action: str, *, subject: str, reason: str = "", **detail: str) -> None:
    from gateway.runtime import now
    from gateway.store.audit import AuditEntry, append_audit

    entry = AuditEntry(actor="system", action=action, subject=subject, detail=detail, reason=reason)
    append_audit(connection, entry, at=now())


@edge.command("token")
def edge_token(
    config: Config = None,
    *,
    site: Annotated[str | None, typer.Option(help="id of the site (default: the only one)")] = None,
    as_json: Json = False,
) -> None:
    """Make a one-time enrolment token for an edge of a site."""
    from gateway.opening import open_gateway_key
    from gateway.runtime import now
    from gateway.store.edges import add_edge_token, new_edge_token
    from gateway.store.places import only_site, site_by_id

    settings = load(config).gateway
    token, life = new_edge_token(open_gateway_key(settings).public_key), timedelta(seconds=settings.edge_token_s)

    def act(connection: Connection) -> str:
        site_id = site or only_site(connection)
        if site_id is None:
            raise InvalidInput("--site", "say which site: there is not exactly one")
        site_by_id(connection, site_id)
        add_edge_token(connection, token, site_id=site_id, at=now(), life=life)
        _record(connection, "edge.token", subject=site_id)
        return site_id

    with opened(config) as store:
        site_id = store.write_now(act)
    show({"site_id": site_id, "token": token, "valid_s": life.total_seconds()}, token, as_json=as_json)


@edge.command("list")
def edge_list(config: Config = None, *, as_json: Json = False) -> None:
    """List the edges and how they stand."""
    import msgspec

    from gateway.runtime import now
    from gateway.store.edges import edge_views

    with opened(config) as store:
        found = store.read_now(edge_views, site_ids=None, at=now())
    lines = [
        f"{view.id:24} {view.site_id:20} {_standing(online=view.online, revoked=view.revoked_at is not None):8} "
        f"backlog {view.backlog:6}  key {view.protection:8} {view.name}"
        for view in found
    ]
    show([msgspec.to_builtins(view) for view in found], "\n".join(lines) or "no edges", as_json=as_json)


def _standing(*, online: bool, revoked: bool) -> str:
    return "revoked" if revoked else "online" if online else "away"


@edge.command("rename")
def edge_rename(edge_id: str, name: str, *, config: Config = None) -> None:
    """Give an edge another name."""
    from gateway.runtime import now
    from gateway.store.edges import check_edge_name, edge_view, rename_edge
    from gateway.store.scopes import sites_in

    def act(connection: Connection) -> None:
        edge_view(connection, edge_id, site_ids=sites_in(connection, site_ids=("*",), area_codes=()), at=now())
        rename_edge(connection, edge_id, name=check_edge_name(name), version=None)
        _record(connection, "edge.rename", subject=edge_id)

    with opened(config) as store:
        store.write_now(act)
    say(f"edge {edge_id} is called {name}")


@edge.command("revoke")
def edge_revoke(edge_id: str, *, reason: Reason = "", config: Config = None) -> None:
    """Refuse an edge from now on."""
    from gateway.runtime import now
    from gateway.store.edges import revoke_edge

    def act(connection: Connection) -> None:
        revoke_edge(connection, edge_id, at=now())
        _record(connection, "edge.revoke", subject=edge_id, reason=reason)

    with opened(config) as store:
        store.write_now(act)
    say(f"edge {edge_id} revoked")
