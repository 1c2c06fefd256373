"""The Event service of the simulated device: pull points with topic filters, kept events to seek in, properties anew.

Pure but for the wake-up call of a long poll. Everything that a client can make it hold is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from lxml import etree

from drivers.onvif.simcall import Call, Handler, duration_s
from drivers.onvif.simdevice import NOTICES, Notice, SimulatedDevice
from drivers.onvif.simsoap import SoapFault, Xml, instant, name_of, tag

PATH: Final = "/onvif/subscription/"
MAX_PULL_POINTS: Final = 16
MAX_QUEUE: Final = 1000
MAX_MESSAGES: Final = 200
MAX_TIMEOUT_S: Final = 120.0
MAX_LIFE_S: Final = 3600.0
USUAL_LIFE_S: Final = 60.0
CONCRETE: Final = "http://docs.oasis-open.org/wsn/t-1/TopicExpression/Concrete"
CONCRETE_SET: Final = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"


class PullPoint:
    """Be one subscription: a queue with an end in time."""

    def __init__(self, token: str, *, topics: tuple[str, ...], life_s: float, now: datetime) -> None:
        self.token = token
        self.life_s = life_s
        self.ends_at = now + timedelta(seconds=life_s)
        self.queue: deque[Notice] = deque(maxlen=MAX_QUEUE)
        self._topics = topics

    def offer(self, notice: Notice) -> None:
        """Queue what this subscription asked for; the oldest goes when nobody pulls."""
        if self.wants(notice.topic):
            self.queue.append(notice)

    def wants(self, topic: str) -> bool:
        """Return whether the filter lets a topic pass; no filter lets all pass."""
        return not self._topics or any(_covers(wanted, topic) for wanted in self._topics)

    def take(self, limit: int) -> list[Notice]:
        """Return the next messages."""
        return [self.queue.popleft() for _ in range(min(limit, len(self.queue)))]


def _covers(wanted: str, topic: str) -> bool:
    if wanted.endswith("//."):
        stem = wanted.removesuffix("//.")
        return not stem or topic == stem or topic.startswith(f"{stem}/")
    return topic == wanted


class Subscriptions:
    """Be the pull points of a device.

    Args:
        device: whose events they carry.
        faults: what the device does wrong; read at each use.
    """

    def __init__(self, device: SimulatedDevice, faults: Collection[str]) -> None:
        self._device = device
        self._faults = faults
        self._made = 0
        self.points: dict[str, PullPoint] = {}
        self.pulls = 0
        self.news = asyncio.Event()
        device.listeners.append(self._take)

    def create(self, *, topics: tuple[str, ...], life_s: float, now: datetime) -> PullPoint:
        """Open a pull point that begins with every property as `Initialized`.

        Raises:
            SoapFault: there are too many.
        """
        self.expire(now)
        if len(self.points) >= MAX_PULL_POINTS:
            raise SoapFault("no more pull points", "ter:Action", "ter:MaxPullPoints", sender=False)
        self._made += 1
        point = PullPoint(str(self._made), topics=topics, life_s=life_s, now=now)
        self.points[point.token] = point
        self.synchronise(point, now)
        return point

    def at(self, path: str, now: datetime) -> PullPoint:
        """Return the pull point at a path.

        Raises:
            SoapFault: there is none, or no longer.
        """
        self.expire(now)
        point = self.points.get(path.removeprefix(PATH))
        if point is None:
            raise SoapFault(
                "no such subscription, or no longer: make a new one",
                "ter:InvalidArgVal",
                detail=tag("wsnt:ResourceUnknownFault", tag("wsnt:Timestamp", instant(now))),
            )
        return point

    def synchronise(self, point: PullPoint, now: datetime) -> None:
        """Queue every property anew as `Initialized`."""
        for notice in self._device.current(now):
            point.offer(notice)
        self.wake()

    def drop(self, point: PullPoint) -> None:
        """End a subscription; a device with that fault ends all of them."""
        if "drops_all_subscriptions_on_unsubscribe" in self._faults:
            self.points.clear()
        self.points.pop(point.token, None)
        self.wake()

    def forget(self) -> None:
        """Lose all subscriptions, as a restart does."""
        self.points.clear()
        self.wake()

    def expire(self, now: datetime) -> None:
        """End the subscriptions whose time has come."""
        for token in [token for token, point in self.points.items() if now >= point.ends_at]:
            del self.points[token]

    def wake(self) -> None:
        """Wake every pull that waits, once."""
        news, self.news = self.news, asyncio.Event()
        news.set()

    def _take(self, notice: Notice) -> None:
        for point in self.points.values():
            point.offer(notice)
        self.wake()


async def pull(call: Call, clock: Callable[[], datetime]) -> Xml:
    """Answer PullMessages as soon as there is a message, or empty after its time-out (ONVIF Core, clause 9.1.2).

    Raises:
        SoapFault: no such subscription, or a wish beyond the bounds.
    """
    subscriptions = call.subscriptions
    timeout_s, limit = call.seconds("tev:Timeout") or 0.0, call.text("tev:MessageLimit")
    if timeout_s > MAX_TIMEOUT_S or not limit.isascii() or not limit.isdigit() or int(limit) < 1:
        allowed = (tag("tev:MaxTimeout", f"PT{MAX_TIMEOUT_S:.0f}S"), tag("tev:MaxMessageLimit", MAX_MESSAGES))
        raise SoapFault("beyond the bounds", "ter:InvalidArgVal", detail=tag("tev:PullMessagesFaultResponse", *allowed))
    point = subscriptions.at(call.path, call.now)
    if "duplicate_initialized" in call.faults:
        subscriptions.synchronise(point, call.now)
    try:
        async with asyncio.timeout(timeout_s):
            while not point.queue:
                await subscriptions.news.wait()
                subscriptions.at(call.path, clock())
    except TimeoutError:
        pass  # nothing happened: an empty answer
    now = clock()
    subscriptions.at(call.path, now if "needs_renew" in call.faults else call.now)
    if "needs_renew" not in call.faults:
        point.ends_at = max(point.ends_at, now + timedelta(seconds=point.life_s))
    messages = point.take(min(int(limit), MAX_MESSAGES))
    subscriptions.pulls += 1
    times = (tag("tev:CurrentTime", instant(now)), tag("tev:TerminationTime", instant(point.ends_at)))
    return tag("tev:PullMessagesResponse", *times, *map(message, messages))


def message(notice: Notice) -> Xml:
    """Return a notification message (ONVIF Core, clause 9.4)."""
    source = tag("tt:Source", *(tag("tt:SimpleItem", Name=name, Value=value) for name, value in notice.source))
    data = tag("tt:Data", *(tag("tt:SimpleItem", Name=name, Value=value) for name, value in notice.data))
    content = tag("tt:Message", source, data, UtcTime=instant(notice.at), PropertyOperation=notice.operation or None)
    topic = tag("wsnt:Topic", f"tns1:{notice.topic}", Dialect=CONCRETE)
    return tag("wsnt:NotificationMessage", topic, tag("wsnt:Message", content))


def _life_s(given: str | None, now: datetime) -> float:
    """Return a termination time, absolute or relative, in s from now within bounds."""
    if not given:
        return USUAL_LIFE_S
    if given.startswith("P"):
        return min(max(duration_s(given), 1.0), MAX_LIFE_S)
    wanted = (_time(given) - now).total_seconds()
    if wanted <= 0:
        raise SoapFault("this time is over", "ter:InvalidArgVal", "ter:UnacceptableTerminationTime")
    return min(wanted, MAX_LIFE_S)


def _time(given: str) -> datetime:
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise SoapFault(f"{given[:40]!r} is no time", "ter:InvalidArgVal") from None
    if at.tzinfo is None:
        raise SoapFault("a time needs its zone: write Z", "ter:InvalidArgVal")
    return at


def _topics(body: etree._Element) -> tuple[str, ...]:
    """Return the topics of a filter without prefixes; a filter by content is refused."""
    wanted: list[str] = []
    for part in body.findall("{*}Filter/*"):
        if name_of(part) != "wsnt:TopicExpression" or part.get("Dialect") not in {CONCRETE, CONCRETE_SET}:
            raise SoapFault("filter by topics only", "wsnt:InvalidFilterFault")
        wanted += [piece.strip() for piece in (part.text or "")[:2000].split("|") if piece.strip()]
    return tuple("/".join(step.rpartition(":")[2] for step in topic.split("/")) for topic in wanted[:50])


def _create(call: Call) -> Xml:
    life_s = _life_s(call.optional("tev:InitialTerminationTime"), call.now)
    point = call.subscriptions.create(topics=_topics(call.body), life_s=life_s, now=call.now)
    reference = tag("tev:SubscriptionReference", tag("wsa:Address", call.url(f"{PATH}{point.token}")))
    return tag("tev:CreatePullPointSubscriptionResponse", reference, *_times(call, point))


def _times(call: Call, point: PullPoint) -> tuple[Xml, Xml]:
    return tag("wsnt:CurrentTime", instant(call.now)), tag("wsnt:TerminationTime", instant(point.ends_at))


def _renew(call: Call) -> Xml:
    point = call.subscriptions.at(call.path, call.now)
    point.life_s = _life_s(call.optional("wsnt:TerminationTime"), call.now)
    point.ends_at = call.now + timedelta(seconds=point.life_s)
    return tag("wsnt:RenewResponse", *reversed(_times(call, point)))


def _unsubscribe(call: Call) -> Xml:
    call.subscriptions.drop(call.subscriptions.at(call.path, call.now))
    return tag("wsnt:UnsubscribeResponse")


def _synchronise(call: Call) -> Xml:
    call.subscriptions.synchronise(call.subscriptions.at(call.path, call.now), call.now)
    return tag("tev:SetSynchronizationPointResponse")


def _seek(call: Call) -> Xml:
    """Queue the kept events from a time on, or back from it (ONVIF Core, clause 9.6)."""
    point = call.subscriptions.at(call.path, call.now)
    at = _time(call.text("tev:UtcTime"))
    back = call.optional("tev:Reverse") in {"true", "1"}
    kept = [notice for notice in call.device.journal if (notice.at <= at if back else notice.at >= at)]
    point.queue.clear()
    for notice in reversed(kept) if back else kept:
        point.offer(notice)
    call.subscriptions.wake()
    return tag("tev:SeekResponse")


def _capabilities(call: Call) -> Xml:
    honest = "lies_capabilities" not in call.faults
    able = tag(
        "tev:Capabilities",
        WSSubscriptionPolicySupport=False,
        WSPullPointSupport=honest,
        WSPausableSubscriptionManagerInterfaceSupport=False,
        MaxNotificationProducers=0,
        MaxPullPoints=MAX_PULL_POINTS if honest else 0,
        PersistentNotificationStorage=honest,
    )
    return tag("tev:GetServiceCapabilitiesResponse", able)


def _properties(call: Call) -> Xml:
    kinds = {topic: (source, data) for (topic, source), data in call.device.properties().items()}
    described = {topic: ([n for n, _ in source], [n for n, _ in data], True) for topic, (source, data) in kinds.items()}
    described |= {topic: (["AccessPointToken"], list(items), False) for topic, items in NOTICES.items()}
    return tag(
        "tev:GetEventPropertiesResponse",
        tag("tev:TopicNamespaceLocation", "http://www.onvif.org/onvif/ver10/topics/topicns.xml"),
        tag("wsnt:FixedTopicSet", True),
        tag("wstop:TopicSet", *_tree({tuple(topic.split("/")): what for topic, what in described.items()})),
        tag("wsnt:TopicExpressionDialect", CONCRETE),
        tag("wsnt:TopicExpressionDialect", CONCRETE_SET),
        tag("tev:MessageContentFilterDialect", "http://www.onvif.org/ver10/tev/messageContentFilter/ItemFilter"),
        tag("tev:MessageContentSchemaLocation", "http://www.onvif.org/onvif/ver10/schema/onvif.xsd"),
    )


Described = tuple[list[str], list[str], bool]


def _tree(topics: Mapping[tuple[str, ...], Described], depth: int = 0) -> list[Xml]:
    """Return the topics as nested elements, each leaf with the description of its message."""
    made = []
    for name in dict.fromkeys(path[0] for path in topics):
        below = {path[1:]: what for path, what in topics.items() if path[0] == name}
        here = below.pop((), None)
        inside = [*([_description(here)] if here else []), *_tree(below, depth + 1)]
        made.append(tag(name if depth else f"tns1:{name}", *inside, wstop__topic=True if here else None))
    return made


def _description(what: Described) -> Xml:
    source, data, is_property = what
    source_items = (tag("tt:SimpleItemDescription", Name=name, Type="pt:ReferenceToken") for name in source)
    data_items = (tag("tt:SimpleItemDescription", Name=name, Type="xs:string") for name in data)
    items = (tag("tt:Source", *source_items), tag("tt:Data", *data_items))
    return tag("tt:MessageDescription", *items, IsProperty=is_property)


HANDLERS: Final[Mapping[str, Handler]] = {
    "tev:GetServiceCapabilities": _capabilities,
    "tev:CreatePullPointSubscription": _create,
    "tev:SetSynchronizationPoint": _synchronise,
    "tev:Seek": _seek,
    "tev:GetEventProperties": _properties,
    "wsnt:Renew": _renew,
    "wsnt:Unsubscribe": _unsubscribe,
}
"""The operations of the Event service and of a subscription; PullMessages is `pull`, because it waits."""
