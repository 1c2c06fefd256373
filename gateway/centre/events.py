"""What a centre is told: CloudEvents 1.0 in JSON, closed to personal data, and which centre wants which alerts. Pure."""

from __future__ import annotations

import uuid
from datetime import datetime

import msgspec

from gateway.views import AlertView
from models.alerts import SECURITY_KINDS, Change
from models.events import NAMESPACE
from models.places import Site

ALERT_TYPE = "cn.gatehouse.alert.{change}.v1"
SITE_TYPE = "cn.gatehouse.site.{kind}.v1"
CONTENT_TYPE = "application/cloudevents+json"

SUMMARIES: dict[str, tuple[str, str]] = {
    "duress": ("胁迫报警", "duress alarm"),
    "door_forced": ("强行开门", "door forced open"),
    "emergency_release": ("紧急按钮开门", "emergency release used"),
    "door_tampered": ("防拆报警", "tamper alarm"),
    "door_held_open": ("开门超时", "door held open"),
    "door_faulted": ("门禁控制器故障", "door controller fault"),
    "device_lost": ("门禁设备离线", "door controller offline"),
    "device_gap": ("门禁事件缺失", "events of a door are missing"),
    "camera_lost": ("摄像机离线", "camera offline"),
    "camera_covered": ("摄像机被遮挡", "camera covered"),
    "camera_moved": ("摄像机被移位", "camera turned away"),
    "camera_defocused": ("摄像机失焦", "camera out of focus"),
    "camera_frozen": ("摄像机画面冻结", "camera shows one picture for ever"),
    "camera_clock_skew": ("摄像机时钟偏差", "camera clock is wrong"),
    "camera_tampered": ("摄像机防破坏报警", "camera tampered with"),
    "power_cut": ("市电中断", "power cut"),
    "battery_low": ("电池电量低", "battery low"),
    "door_call": ("门口机呼叫", "somebody rings at a door"),
    "edge_lost": ("边缘节点离线", "edge offline"),
    "delivery_paused": ("上报中断", "delivery to the centre is paused"),
}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Say which alerts a centre wants: by kind, least severity, and always what was escalated."""

    centre_id: str
    kinds: frozenset[str] = frozenset(SECURITY_KINDS)
    severities: frozenset[str] = frozenset({"urgent", "major", "minor", "info"})
    language: str = "zh-CN"

    def wants(self, alert: AlertView) -> bool:
        """Return whether this centre is told about an alert."""
        return alert.workflow == "escalated" or (alert.kind in self.kinds and alert.severity in self.severities)


class Coordinates(msgspec.Struct, frozen=True, kw_only=True):
    """Say where a site is, and in which datum."""

    lat: float
    lon: float
    datum: str


class EventPlace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Say where an alert is."""

    name: str
    address: str
    door_id: str | None = None
    camera_id: str | None = None
    coordinates: Coordinates | None = None


class AlertData(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that a centre learns of an alert: no names, no faces, no person ids, no free notes."""

    alert_id: str
    kind: str
    severity: str
    condition: str
    workflow: str
    raised_at: datetime
    site: str
    community: str
    grid: str | None
    place: EventPlace
    summary: str
    links: dict[str, str]
    count: int = 1


class HeartbeatData(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a site says each minute: that it lives, and up to which number it has told."""

    site: str
    edges: int
    edges_online: int
    last_sequence: int


class InventoryData(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a site has: doors and cameras by id and name."""

    site: str
    doors: tuple[dict[str, str], ...]
    cameras: tuple[dict[str, str], ...]


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold one CloudEvent (CloudEvents 1.0, JSON format), with this contract's extensions."""

    specversion: str
    id: str
    source: str
    type: str
    time: datetime
    datacontenttype: str
    sequence: str
    recordedtime: datetime
    data: AlertData | HeartbeatData | InventoryData
    subject: str | None = None
    severity: str | None = None
    late: bool | None = None
    exercise: bool | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Say what is being told: which change of which alert at which site, its number and when."""

    change: Change
    alert: AlertView
    site: Site
    sequence: int
    at: datetime


def message_id(alert: AlertView, change: Change, *, centre_id: str) -> str:
    """Return the id of a message: one per centre, alert and version, so that no change is told under two ids."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join((centre_id, alert.id, change, str(alert.version)))))


def alert_event(told: Told, *, route: Route) -> CloudEvent:
    """Return the event that tells a centre about a change of an alert."""
    alert, site = told.alert, told.site
    has_point = site.lat is not None and site.lon is not None
    point = Coordinates(lat=site.lat or 0.0, lon=site.lon or 0.0, datum=site.datum) if has_point else None
    return CloudEvent(
        specversion="1.0", id=message_id(alert, told.change, centre_id=route.centre_id), source=source_of_site(site.id),
        type=ALERT_TYPE.format(change=told.change), time=told.at, datacontenttype="application/json", subject=alert.id,
        sequence=str(told.sequence), recordedtime=told.at, severity=alert.severity, late=alert.late,
        exercise=alert.exercise,
        data=AlertData(
            alert_id=alert.id, kind=alert.kind, severity=alert.severity, condition=alert.condition,
            workflow=alert.workflow, raised_at=alert.raised_at, site=site.id, community=site.community, grid=site.grid,
            place=EventPlace(
                name=alert.place.name, address=alert.place.address, door_id=alert.place.door_id,
                camera_id=alert.place.camera_id, coordinates=point,
            ),
            summary=summary_of(alert, language=route.language), links={}, count=alert.count,
        ),
    )  # fmt: skip


def site_event(
    kind: str, data: HeartbeatData | InventoryData, *, event_id: str, sequence: int, at: datetime
) -> CloudEvent:
    """Return a heartbeat or an inventory; `sequence` repeats the last number of the site's alerts."""
    return CloudEvent(
        specversion="1.0", id=event_id, source=source_of_site(data.site), type=SITE_TYPE.format(kind=kind), time=at,
        datacontenttype="application/json", sequence=str(sequence), recordedtime=at, data=data,
    )  # fmt: skip


def source_of_site(site_id: str) -> str:
    """Return the CloudEvents source of a site."""
    return f"urn:gatehouse:site:{site_id}"


def summary_of(alert: AlertView, *, language: str) -> str:
    """Return one sentence from the catalogue: place and kind, nothing typed by anybody about the event."""
    chinese, english = SUMMARIES.get(alert.kind, (alert.kind, alert.kind))
    return f"{alert.place.name}：{chinese}" if language.startswith("zh") else f"{alert.place.name}: {english}"
