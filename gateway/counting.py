"""Ask the edges of a site to count how near the people of their galleries come to each other. Waits for none of them.

What they count is kept where their results come in (gateway.orders, gateway.calibrating).
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from gateway.auth.roles import Caller
from gateway.on_record import note
from gateway.runtime import Runtime
from gateway.store import Connection
from gateway.store.calibrations import Counted, counts_of
from gateway.store.edges import add_command, edge_views
from models.errors import Conflict
from models.link import CountImpostors

VALID = timedelta(minutes=5)
"""For how long an edge that is not there may still take up the order."""


async def order_counts(runtime: Runtime, site_id: str, *, caller: Caller) -> list[Counted]:
    """Order every edge of a site to count, unless it is about to, and return how they stand.

    Raises:
        Conflict: no edge is enrolled at the site.
    """
    counts = await runtime.store.write(_order, site_id, caller=caller, runtime=runtime)
    for one in counts:
        runtime.bells.edge(one.edge_id).ring()
    return counts


def _order(connection: Connection, site_id: str, *, caller: Caller, runtime: Runtime) -> list[Counted]:
    at = runtime.clock()
    views = edge_views(connection, site_ids=frozenset({site_id}), at=at)
    edges = [view.id for view in views if view.revoked_at is None]
    if not edges:
        raise Conflict("no edge is enrolled at this site: enrol one first")
    waiting = {one.edge_id for one in counts_of(connection, site_id, at=at) if one.state == "waiting"}
    for edge_id in edges:
        if edge_id not in waiting:
            add_command(connection, CountImpostors(id=str(uuid.uuid4()), deadline=at + VALID), edge_id=edge_id, at=at)
    ordered = len(edges) - len(waiting.intersection(edges))
    note(connection, caller, action="calibration.count", subject=site_id, at=at, ordered=str(ordered))
    return counts_of(connection, site_id, at=at)
