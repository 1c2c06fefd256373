"""What the gateway does for itself: the first user, the token of the edge beside it, and deleting what has had its time."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.auth.roles import Role
from gateway.store import Connection
from gateway.store.audit import AuditEntry, append_audit
from gateway.store.checkpoints import drop_old_checkpoints
from gateway.store.edges import (
    add_edge_token,
    drop_old_commands,
    drop_old_nonces,
    edge_identity,
    new_edge_token,
    revoke_edge,
)
from gateway.store.facts import drop_old_facts
from gateway.store.feed import drop_old_announcements
from gateway.store.outbox import drop_delivered
from gateway.store.places import only_site, site_of_edge
from gateway.store.restoring import enrolled_before_restore
from gateway.store.users import User, add_user, drop_old_requests, user_list

KEEP_CHECKPOINTS = timedelta(days=400)
"""The file beside the database, the edges and the collector keep theirs."""
FIRST_ROLE: Role = "security_administrator"


def first_user(connection: Connection, password_hash: str, *, at: datetime) -> bool:
    """Make the first user if there is none, so that no default password ever exists; return whether one was made."""
    if user_list(connection):
        return False
    user = User(id="admin", username="admin", role=FIRST_ROLE, sites=("*",), created_at=at)
    add_user(connection, user, password_hash=password_hash)
    append_audit(connection, AuditEntry(actor="system", action="user.add", subject=user.id), at=at)
    return True


def offer_edge_token(
    connection: Connection, edge_id: str, *, life: timedelta, at: datetime, gateway_key: str = "", blank: bool = False
) -> str | None:
    """Return a new enrolment token for an edge that has a site and is not enrolled; None if there is nothing to do.

    Args:
        connection: a writing one.
        edge_id: the edge of this box.
        life: how long the token is good for.
        at: now.
        gateway_key: what the token shall vouch for.
        blank: True if the edge's folder on this box knows of no enrolment. Where this database was restored since the
            edge was enrolled, its old key is then revoked: the box was set up anew and will never use it again.
    """
    if edge_identity(connection, edge_id) is not None:
        if not (blank and enrolled_before_restore(connection, edge_id)):
            return None
        revoke_edge(connection, edge_id, at=at)
        why = {"why": "its box was set up anew after a restore"}
        append_audit(connection, AuditEntry(actor="system", action="edge.revoke", subject=edge_id, detail=why), at=at)
    site_id = site_of_edge(connection, edge_id) or only_site(connection)
    if site_id is None:
        return None
    token = new_edge_token(gateway_key)
    add_edge_token(connection, token, site_id=site_id, at=at, life=life)
    entry = AuditEntry(actor="system", action="edge.token", subject=edge_id, detail={"site": site_id})
    append_audit(connection, entry, at=at)
    return token


def clean_up(connection: Connection, *, keep_facts: timedelta, at: datetime) -> int:
    """Delete what has had its time, and return how many rows went."""
    return (
        drop_old_nonces(connection, at=at)
        + drop_old_commands(connection, at=at)
        + drop_old_announcements(connection)
        + drop_delivered(connection, at=at)
        + drop_old_facts(connection, before=at - keep_facts)
        + drop_old_requests(connection, at=at)
        + drop_old_checkpoints(connection, before=at - KEEP_CHECKPOINTS)
    )
