"""Queries about alerts. The condition moves by facts, the workflow by people; each change raises `version` by one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, literal, select, update

from gateway.store.dialect import insert_into, inserted
from gateway.store.newest import Wanted, earlier, newest
from gateway.store.tables import doors
from gateway.store.tables_access import users
from gateway.store.tables_events import alert_facts, alert_steps, alerts, outbox, receipts
from gateway.store.types import as_text
from gateway.views import AlertView, Place, ReceiptView
from models.alerts import Change, Clear, Raise, advance_workflow
from models.errors import Conflict, NotFound


def raise_alert(
    connection: Connection, wanted: Raise, *, place: Place, fact_id: str | None, at: datetime
) -> tuple[str, Change]:
    """Raise an alert, or count one more on the active, unresolved one of that kind and place; return (id, change)."""
    same = (alerts.c.source_id == wanted.source_id) & (alerts.c.kind == wanted.kind)
    open_one = same & (alerts.c.condition == "active") & (alerts.c.workflow != "resolved")
    row = connection.execute(select(alerts.c.id).where(open_one).with_for_update()).first()
    alert_id, change = (row.id, "updated") if row else (wanted.alert_id, "raised")
    if row is not None:
        grown: dict[str, Any] = {"count": alerts.c.count + 1, "version": alerts.c.version + 1}
        if not (wanted.late or wanted.exercise):  # it happens now and for real: no longer a late report or a drill only
            grown |= {"late": False, "exercise": False}
        connection.execute(update(alerts).where(alerts.c.id == alert_id).values(**grown))
    else:
        connection.execute(
            insert(alerts).values(
                id=alert_id, kind=wanted.kind, severity=wanted.severity, condition="active", workflow="new",
                source_id=wanted.source_id, site_id=place.site_id, place=as_text(place), raised_at=wanted.at,
                recorded_at=at, late=wanted.late, exercise=wanted.exercise, count=1, version=1,
            )
        )  # fmt: skip
    if fact_id is not None:
        link = insert_into(connection, alert_facts).values(alert_id=alert_id, fact_id=fact_id)
        connection.execute(link.on_conflict_do_nothing(index_elements=["alert_id", "fact_id"]))
    _note_step(connection, alert_id, change=change, at=at, user_id=None, note=None)
    return (alert_id, "updated" if row else "raised")


def clear_alerts(connection: Connection, ended: Clear, *, at: datetime) -> list[str]:
    """Clear the active alerts of these kinds at a place that were raised no later than the clearing; return their ids."""
    active = (alerts.c.source_id == ended.source_id) & (alerts.c.condition == "active") & alerts.c.kind.in_(ended.kinds)
    query = select(alerts.c.id).where(active, alerts.c.raised_at <= ended.at).order_by(alerts.c.raised_at)
    ids = list(connection.execute(query).scalars())
    for alert_id in ids:
        changes = {"condition": "cleared", "cleared_at": ended.at, "version": alerts.c.version + 1}
        connection.execute(update(alerts).where(alerts.c.id == alert_id).values(**changes))
        _note_step(connection, alert_id, change="cleared", at=at, user_id=None, note=None)
    return ids


def acknowledge_alert(
    connection: Connection, alert_id: str, *, user_id: str, note: str | None, site_ids: frozenset[str], at: datetime
) -> None:
    """Acknowledge an alert.

    Raises:
        NotFound: there is none that the caller may see.
        Conflict: it is acknowledged or resolved already.
    """
    workflow = advance_workflow(_workflow(connection, alert_id, site_ids=site_ids), "acknowledged")
    changes = {"workflow": workflow, "acknowledged_at": at, "acknowledged_by": user_id, "version": alerts.c.version + 1}
    connection.execute(update(alerts).where(alerts.c.id == alert_id).values(**changes))
    _note_step(connection, alert_id, change="acknowledged", at=at, user_id=user_id, note=note)


def resolve_alert(
    connection: Connection, alert_id: str, *, user_id: str, disposition: str, note: str | None, site_ids: frozenset[str],
    at: datetime,
) -> None:  # fmt: skip
    """Resolve an alert with what came of it.

    Raises:
        NotFound: there is none that the caller may see.
        Conflict: it is resolved already.
    """
    workflow = advance_workflow(_workflow(connection, alert_id, site_ids=site_ids), "resolved")
    changes = {"workflow": workflow, "resolved_at": at, "resolved_by": user_id, "disposition": disposition}
    connection.execute(update(alerts).where(alerts.c.id == alert_id).values(**changes, version=alerts.c.version + 1))
    _note_step(connection, alert_id, change="resolved", at=at, user_id=user_id, note=note)


def check_version(connection: Connection, alert_id: str, *, version: int | None) -> None:
    """Refuse if the alert is no longer at the version that the caller saw; None is no expectation.

    Raises:
        Conflict: somebody changed it meanwhile.
    """
    held = connection.execute(select(alerts.c.version).where(alerts.c.id == alert_id)).scalar()
    if version is not None and held is not None and held != version:
        raise Conflict(f"the alert changed meanwhile (version {held}, you saw {version}): load it again")


def _workflow(connection: Connection, alert_id: str, *, site_ids: frozenset[str]) -> Any:
    own = (alerts.c.id == alert_id) & alerts.c.site_id.in_(site_ids)
    workflow = connection.execute(select(alerts.c.workflow).where(own).with_for_update()).scalar()
    if workflow is None:
        raise NotFound("alert", alert_id)
    return workflow


def _note_step(
    connection: Connection, alert_id: str, *, change: str, at: datetime, user_id: str | None, note: str | None
) -> None:
    values = {
        "id": str(uuid.uuid4()),
        "alert_id": alert_id,
        "change": change,
        "at": at,
        "user_id": user_id,
        "note": note,
    }
    connection.execute(insert(alert_steps).values(**values))


def is_active(connection: Connection, kind: str, *, source_id: str) -> bool:
    """Return whether an alert of this kind is active at a place."""
    active = (alerts.c.source_id == source_id) & (alerts.c.kind == kind) & (alerts.c.condition == "active")
    return connection.execute(select(alerts.c.id).where(active).limit(1)).first() is not None


def calling_doors(connection: Connection, edge_id: str) -> list[str]:
    """Return the doors of an edge at which a call goes on."""
    call = (alerts.c.source_id == doors.c.id) & (alerts.c.kind == "door_call") & (alerts.c.condition == "active")
    query = select(doors.c.id).join(alerts, call).where(doors.c.edge_id == edge_id).distinct()
    return list(connection.execute(query.order_by(doors.c.id)).scalars())


def alert_by_id(connection: Connection, alert_id: str, *, site_ids: frozenset[str] | None) -> AlertView:
    """Return an alert of one of these sites (None: any).

    Raises:
        NotFound: there is none that the caller may see.
    """
    query = select(alerts).where(alerts.c.id == alert_id)
    if site_ids is not None:
        query = query.where(alerts.c.site_id.in_(site_ids))
    found = _views(connection, connection.execute(query).all())
    if not found:
        raise NotFound("alert", alert_id)
    return found[0]


def alerts_of(
    connection: Connection,
    *,
    site_ids: frozenset[str],
    open_only: bool,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[AlertView]:
    """Return alerts of some sites, newest first, before a place in that order; open ones are not resolved."""
    if not open_only:
        wanted = Wanted(sites=sorted(site_ids), before=before, limit=limit)
        return _views(connection, newest(connection, alerts, at=alerts.c.raised_at, wanted=wanted))
    # Spelled out, so that both databases see that the index over unresolved alerts has all of them; those are few.
    unresolved = alerts.c.workflow != literal("resolved", literal_execute=True)
    query = select(alerts).where(unresolved, func.coalesce(alerts.c.site_id, "").in_(site_ids))
    query = query.where(*earlier(alerts.c.raised_at, alerts.c.id, before=before))
    query = query.order_by(alerts.c.raised_at.desc(), alerts.c.id.desc()).limit(limit)
    return _views(connection, connection.execute(query).all())


def _views(connection: Connection, rows: Sequence[Row[Any]]) -> list[AlertView]:
    ids = [row.id for row in rows]
    answers: dict[str, list[ReceiptView]] = {}
    for row in connection.execute(select(receipts).where(receipts.c.alert_id.in_(ids)).order_by(receipts.c.at)):
        view = ReceiptView(state=row.state, at=row.at, reference=row.reference, note=row.note)
        answers.setdefault(row.alert_id, []).append(view)
    deliveries: dict[str, set[str]] = {}
    sent = select(outbox.c.alert_id, outbox.c.delivered_at, outbox.c.dead_at).where(outbox.c.alert_id.in_(ids))
    for row in connection.execute(sent):
        state = "dead" if row.dead_at else "delivered" if row.delivered_at else "pending"
        deliveries.setdefault(row.alert_id, set()).add(state)
    names = _usernames(connection, rows)
    shown = ("place", "receipts", "delivery", "acknowledged_by", "resolved_by")
    plain = [name for name in AlertView.__struct_fields__ if name not in shown]
    return [
        AlertView(
            **{name: getattr(row, name) for name in plain},
            acknowledged_by=names.get(row.acknowledged_by, row.acknowledged_by),
            resolved_by=names.get(row.resolved_by, row.resolved_by),
            place=msgspec.json.decode(row.place, type=Place),
            receipts=tuple(answers.get(row.id, ())),
            delivery=_delivery(deliveries.get(row.id, set())),
        )
        for row in rows
    ]


def _usernames(connection: Connection, rows: Sequence[Row[Any]]) -> dict[str | None, str]:
    """Return the names of those who acted, by id: colleagues know each other by name, the audit log by id."""
    ids = {user_id for row in rows for user_id in (row.acknowledged_by, row.resolved_by) if user_id is not None}
    return {
        row.id: row.username
        for row in connection.execute(select(users.c.id, users.c.username).where(users.c.id.in_(ids)))
    }


def _delivery(states: set[str]) -> str:
    return next((state for state in ("dead", "pending", "delivered") if state in states), "none")


def add_receipt(
    connection: Connection, receipt: ReceiptView, *, key: str, centre_id: str, alert_id: str, at: datetime
) -> bool:
    """Keep what the centre answered about an alert; return False if this answer is kept already.

    Raises:
        NotFound: there is no such alert.
    """
    if connection.execute(select(alerts.c.id).where(alerts.c.id == alert_id)).first() is None:
        raise NotFound("alert", alert_id)
    values = {
        **msgspec.structs.asdict(receipt),
        "id": key,
        "centre_id": centre_id,
        "alert_id": alert_id,
        "received_at": at,
    }
    insertion = insert_into(connection, receipts).values(**values)
    return inserted(connection, insertion.on_conflict_do_nothing(index_elements=["id"]), key=receipts.c.id)
