"""Tell everybody about a change of an alert: the live feed and the centres that want it, in the transaction of the change."""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.centre.events import Route, Told, alert_event, message_id
from gateway.store import Connection
from gateway.store.alerts import alert_by_id
from gateway.store.feed import announce
from gateway.store.outbox import enqueue, next_sequence
from gateway.store.places import site_by_id
from gateway.views import AlertView
from models.alerts import Change
from models.errors import NotFound
from models.places import Site


def tell_change(
    connection: Connection, alert_id: str, *, change: Change, at: datetime, routes: tuple[Route, ...]
) -> AlertView:
    """Announce a change of an alert and put it in the outbox of every centre that wants it; return the alert as it is now."""
    alert = alert_by_id(connection, alert_id, site_ids=None)
    wanting = [route for route in routes if route.wants(alert)]
    if wanting:
        site = _site(connection, alert)
        for route in wanting:
            _post(connection, alert, change=change, at=at, site=site, route=route)
        alert = msgspec.structs.replace(alert, delivery="pending" if alert.delivery != "dead" else "dead")
    announce_alert(connection, alert, change=change, at=at)
    return alert


def announce_alert(connection: Connection, alert: AlertView, *, change: str, at: datetime) -> None:
    """Put an alert as it is now on the live feed."""
    body = {**msgspec.to_builtins(alert), "change": change}
    announce(connection, "alert", site_id=alert.place.site_id, body=body, at=at)


def _post(connection: Connection, alert: AlertView, *, change: Change, at: datetime, site: Site, route: Route) -> None:
    sequence = next_sequence(connection, route.centre_id, site_id=site.id)
    event = alert_event(Told(change=change, alert=alert, site=site, sequence=sequence, at=at), route=route)
    enqueue(
        connection, message_id(alert, change, centre_id=route.centre_id), centre_id=route.centre_id, alert_id=alert.id,
        type_name=event.type, body=msgspec.json.encode(event), at=at,
    )  # fmt: skip


def _site(connection: Connection, alert: AlertView) -> Site:
    try:
        return site_by_id(connection, alert.place.site_id)
    except NotFound:  # a site that was removed since: its alerts still count
        return Site(id=alert.place.site_id, name=alert.place.site_name, community="")
