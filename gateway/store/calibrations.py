"""Queries about counted evidence of false matches. The newest of an edge, a source and a contract holds; older ones are history."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select

from gateway.store.tables import calibrations, commands, edges
from gateway.store.types import as_text
from models.calibration import MAX_FPIR, ImpostorEvidence, Source, needed_fmr, needed_pairs, widest_radius
from models.errors import Conflict, NotFound
from models.link import CountImpostors, Result

COUNT: Final = str(CountImpostors.__struct_config__.tag)
KEPT_EACH: Final = 20
"""How many counts of one edge, source and contract are kept: older ones go."""
CONTRACTS_MOST: Final = 20
"""How many contracts a site may have labelled evidence of: each policy of the site carries one count of each."""
SIZES: Final = (12, 60, 200, 1_000, 5_000)
"""Galleries for which is shown what a count carries."""


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """Show the widest radius that a count carries for a gallery of so many people; 0 where it carries none.

    `needed_pairs` is how many pairs of persons without a false match such a gallery asks for.
    """

    people: int
    radius: float
    needed_pairs: int


class CalibrationView(msgspec.Struct, frozen=True, kw_only=True):
    """Show a count and what it carries; `in_force` says whether it is the newest of its edge, source and contract.

    `matched` and `upper` belong to the radii 0.01 to 0.60: pairs within them, and with 95 % confidence the highest rate.
    """

    id: str
    site_id: str
    edge_id: str
    contract: str
    source: Source
    persons: int
    pairs: int
    at: datetime
    in_force: bool
    max_fpir: float
    carries: tuple[Carried, ...]
    matched: tuple[int, ...]
    upper: tuple[float, ...]


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Show how an edge's newest count stands: `waiting`, `confirmed` with the calibration's id, or why not.

    `no_answer` is an edge that did not take the order up in time.
    """

    edge_id: str
    state: Literal["waiting", "no_answer", "confirmed", "failed", "refused", "expired"]
    ordered_at: datetime
    reason: str | None = None
    detail: str = ""
    calibration_id: str | None = None


def keep_calibration(connection: Connection, evidence: ImpostorEvidence, *, site_id: str) -> None:
    """Write a count; the oldest of the same edge, source and contract goes where there are too many.

    Raises:
        Conflict: it is here already, or is of one contract more than a site may have labelled evidence of.
    """
    if connection.execute(select(calibrations.c.id).where(calibrations.c.id == evidence.id)).first() is not None:
        raise Conflict(f"the calibration {evidence.id!r} is here already")
    labelled = (calibrations.c.site_id == site_id) & (calibrations.c.source == "labelled")
    contracts = set(connection.execute(select(calibrations.c.contract).where(labelled).distinct()).scalars())
    if evidence.source == "labelled" and len(contracts | {evidence.contract}) > CONTRACTS_MOST:
        raise Conflict(f"labelled evidence of {CONTRACTS_MOST} contracts is here: remove that of one no longer used")
    connection.execute(
        insert(calibrations).values(
            id=evidence.id, site_id=site_id, edge_id=evidence.edge_id, contract=evidence.contract,
            source=evidence.source, record=as_text(evidence), at=evidence.at,
        )
    )  # fmt: skip
    same = (calibrations.c.site_id == site_id) & (calibrations.c.edge_id == evidence.edge_id)
    same &= (calibrations.c.source == evidence.source) & (calibrations.c.contract == evidence.contract)
    newest = select(calibrations.c.id).where(same).order_by(calibrations.c.at.desc(), calibrations.c.id.desc())
    old = connection.execute(newest.offset(KEPT_EACH)).scalars().all()
    connection.execute(delete(calibrations).where(calibrations.c.id.in_(old)))


def evidence_of(connection: Connection, site_id: str) -> tuple[ImpostorEvidence, ...]:
    """Return what holds at a site: the newest count of each edge, source and contract, by id."""
    query = select(calibrations.c.record).where(calibrations.c.site_id == site_id)
    texts = connection.execute(query.order_by(calibrations.c.at, calibrations.c.id)).scalars()
    counts = [msgspec.json.decode(text, type=ImpostorEvidence) for text in texts]
    newest = {(one.edge_id, one.source, one.contract): one for one in counts}
    return tuple(sorted(newest.values(), key=lambda one: one.id))


def calibrations_of(connection: Connection, site_id: str, *, after: str, limit: int) -> list[CalibrationView]:
    """Return the counts of a site by id, after an id."""
    held = frozenset(one.id for one in evidence_of(connection, site_id))
    query = select(calibrations).where(calibrations.c.site_id == site_id, calibrations.c.id > after)
    return [_view(row, held) for row in connection.execute(query.order_by(calibrations.c.id).limit(limit))]


def calibration_for(connection: Connection, calibration_id: str, *, site_id: str) -> CalibrationView:
    """Return a count of a site.

    Raises:
        NotFound: there is none.
    """
    query = select(calibrations).where(calibrations.c.id == calibration_id, calibrations.c.site_id == site_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("calibration", calibration_id)
    return _view(row, frozenset(one.id for one in evidence_of(connection, site_id)))


def counts_of(connection: Connection, site_id: str, *, at: datetime) -> list[Counted]:
    """Return how the newest count of each edge of a site stands, by edge."""
    query = select(commands).join(edges, edges.c.id == commands.c.edge_id)
    query = query.where(edges.c.site_id == site_id, commands.c.kind == COUNT)
    rows = connection.execute(query.order_by(commands.c.created_at, commands.c.id))
    newest = {row.edge_id: _counted(row, at=at) for row in rows}
    return [newest[edge_id] for edge_id in sorted(newest)]


def _counted(row: Row[Any], *, at: datetime) -> Counted:
    known = {"edge_id": row.edge_id, "ordered_at": row.created_at}
    if row.result is None:
        return Counted(**known, state="waiting" if at < row.deadline else "no_answer")
    told = msgspec.json.decode(row.result, type=Result)
    kept = None if told.evidence is None else told.evidence.id
    return Counted(**known, state=told.state, reason=told.reason, detail=told.detail, calibration_id=kept)


def drop_calibration(connection: Connection, calibration_id: str, *, site_id: str) -> None:
    """Delete a count; the one before it holds again.

    Raises:
        NotFound: there is none.
    """
    calibration_for(connection, calibration_id, site_id=site_id)
    connection.execute(delete(calibrations).where(calibrations.c.id == calibration_id))


def _view(row: Row[Any], held: frozenset[str]) -> CalibrationView:
    one = msgspec.json.decode(row.record, type=ImpostorEvidence)
    return CalibrationView(
        id=one.id, site_id=row.site_id, edge_id=one.edge_id, contract=one.contract, source=one.source,
        persons=one.persons, pairs=one.pairs, at=one.at, in_force=one.id in held, max_fpir=MAX_FPIR,
        carries=tuple(
            Carried(people=people, radius=widest_radius(one, needed_fmr(people)), needed_pairs=needed_pairs(people))
            for people in SIZES
        ),
        matched=one.matched, upper=one.upper,
    )  # fmt: skip
