"""Devices that searches found: search, ask one what it is, try a part, adopt it, replace a device, remove it.

Orders go to an edge and are answered at once as waiting; what came of one is read again until it has ended. Credentials
go in and never come out.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse
from pydantic import AfterValidator, Field

from gateway.adoption import adopt, offer, remove, replace
from gateway.api.cameras import Password, RegisterBody
from gateway.api.deps import Shared, StatedReason, stated_reason
from gateway.api.places import Body, DeviceWriter, Filter, Id, Key, Name, Text, id_of
from gateway.api.replies import Page, reply, shows
from gateway.auth.roles import Caller
from gateway.device_orders import Again, Question, Trial, ask, ask_again, attempt, order_view, picture_file, search
from gateway.device_views import DeviceOrderView, DeviceView, view_of
from gateway.driver_checks import write_judged
from gateway.reader_adoption import Adoption, Wiring
from gateway.reader_keys import install_key
from gateway.store.devices_found import Credentials, DeviceState, device_by_id, devices_found
from models.places import CameraRegister

router = APIRouter(prefix="/api/v1/devices", tags=["devices"])
Searched = Literal["mqtt", "onvif"]
Asked = Literal["onvif", "rtsp", "osdp"]
PART_CHARS = 128


def _address(value: str) -> str:
    if not value.isprintable() or "@" in value:
        raise ValueError("must be an address without credentials and control characters")
    return value


Address = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_address)]
Network = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_address)]
PartId = Annotated[str, Field(min_length=1, max_length=PART_CHARS)]
OrderKey = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]
Fingerprint = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class DiscoverBody(Body):
    """Search the wires of an edge; `networks` are addresses and CIDR networks that are asked one by one as well."""

    edge_id: Id
    wires: Annotated[tuple[Searched, ...], Field(max_length=2)] = ()
    networks: Annotated[tuple[Network, ...], Field(max_length=16)] = ()
    for_s: Annotated[float, Field(ge=3, le=120, allow_inf_nan=False)] = 15.0


class CredentialsBody(Body):
    """Say as whom to ask. `password` is kept wrapped where it opened the device, and never shown."""

    user: Text = ""
    password: Password | None = None

    def held(self) -> Credentials:
        """Return them as they were given."""
        secret = "" if self.password is None else self.password.get_secret_value()
        return Credentials(user=self.user, password=secret)


class ProbeBody(CredentialsBody):
    """Ask a device at an address what it is; by osdp the readers of a line, `/dev/ttyUSB0`, or one, `/dev/ttyUSB0#0`.

    A reader's password is its key. `pause` lets doors that the line serves stand still meanwhile.
    """

    edge_id: Id
    wire: Asked
    address: Address
    fingerprint: Fingerprint = ""
    pause: bool = False


class AgainBody(CredentialsBody):
    """Ask a known device again. With neither user nor password the kept ones are used; `trust` pins its certificate.

    `pass_on` has the doors and cameras that it is here take those credentials over, if they open it.
    """

    trust: bool = False
    pause: bool = False
    pass_on: bool = False


class TryBody(Body):
    """Try one part of a device once: a still of a camera, an unlock of a door or relay, light and sound at a reader.

    `strike` is the reader's output that the lock hangs on.
    """

    part: PartId
    act: Literal["still", "unlock", "signal"]
    strike: Annotated[int, Field(ge=0, le=255)] | None = None
    pause: bool = False


class KeyBody(Body):
    """Give a reader in install mode a key of its own, drawn at random and never shown."""

    pause: bool = False


Wire255 = Annotated[int, Field(ge=0, le=255)]


class InputsBody(Body):
    """Say which input of a reader says what; an active one means yes, one in `inverted` no."""

    open: Wire255 | None = None
    exit: Wire255 | None = None
    emergency: Wire255 | None = None
    unlocked: Wire255 | None = None
    mains_lost: Wire255 | None = None
    battery_low: Wire255 | None = None
    inverted: Annotated[tuple[Wire255, ...], Field(max_length=16)] = ()


class WiringBody(Body):
    """Say how a card reader stands at its door; `plain` lets it speak in clear, without a key of its own.

    Without `strike` it is the output that the reader named itself; null, the lock hangs on none of it.
    """

    side: Literal["in", "out"] = "in"
    strike: Wire255 | None = None
    inputs: InputsBody = InputsBody()
    keypad: Literal["pin", "flat_pin", "off"] = "pin"
    plain: bool = False

    def meant(self) -> Wiring:
        """Return it as it was given: a strike that is left out is another word than one that is null."""
        inputs = self.inputs.model_dump(mode="json", exclude_defaults=True)
        return msgspec.convert(self.model_dump(mode="json", exclude_unset=True) | {"inputs": inputs}, Wiring)


class AdoptBody(Body):
    """Make a door or camera of a part. Without a `register` entry a camera's stream stays off.

    A card reader becomes a door, or with `door_id` a further reader of that one; `wiring` says how it stands there.
    """

    part: PartId
    id: Id | None = None
    name: Name | None = None
    address: Text = ""
    door_id: Id | None = None
    register_entry: RegisterBody | None = Field(None, alias="register")
    wiring: WiringBody = WiringBody()


class ReplaceBody(Body):
    """Name the device that takes over, and which part becomes which where that is not plain."""

    by: Id
    parts: Annotated[dict[PartId, PartId], Field(max_length=64, default_factory=dict)]


@router.get("", **shows(Page[DeviceView]))
async def list_devices(
    caller: DeviceWriter, runtime: Shared, *, site_id: Filter = None, state: DeviceState | None = None
) -> Response:
    """List the devices of sites in scope that were found, last seen first; removed ones only if they are asked for."""
    found = await runtime.store.read(devices_found, site_ids=caller.sites, site_id=site_id)
    wanted = {"found", "adopted"} if state is None else {state}
    return reply(Page(items=[view_of(one) for one in found if one.state in wanted]))


@router.post("/discover", **shows(DeviceOrderView, 202))
async def create_discovery(body: DiscoverBody, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Have an edge search its wires for cameras and doors."""
    view = await search(
        runtime, body.edge_id, wires=body.wires, networks=body.networks, for_s=body.for_s, caller=caller
    )
    return reply(view, 202)


@router.post("/probe", **shows(DeviceOrderView, 202))
async def create_probe(body: ProbeBody, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Have an edge ask a device at an address what it is; with a reason, where doors stand still for it (`pause`)."""
    _check_pause(body.pause, caller)
    question = Question(
        wire=body.wire, address=body.address, credentials=body.held(), fingerprint=body.fingerprint, pause=body.pause
    )  # fmt: skip
    return reply(await ask(runtime, body.edge_id, question=question, caller=caller), 202)


def _check_pause(pause: bool, caller: Caller) -> None:
    """Pass unless doors would stand still and nobody says why."""
    if pause:
        stated_reason(caller.reason)


@router.get("/orders/{order_id}", **shows(DeviceOrderView))
async def show_order(order_id: OrderKey, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Show how a search, a question or a trial stands."""
    return reply(await runtime.store.read(order_view, order_id, caller=caller, runtime=runtime))


@router.get("/orders/{order_id}/picture", response_class=FileResponse, responses={200: {"content": {"image/jpeg": {}}}})
async def show_trial(order_id: OrderKey, caller: DeviceWriter, *, runtime: Shared, _reason: StatedReason) -> Response:
    """Show the still that a trial took, for an hour at most: no face in it can be recognised; each look is on record."""
    file = await picture_file(runtime, order_id, caller=caller)
    return FileResponse(file, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


@router.get("/{device_id}", **shows(DeviceView))
async def show_device(device_id: Key, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Show a device: how far it was reached, why no further, and its parts."""
    return reply(view_of(await runtime.store.read(device_by_id, device_id, site_ids=caller.sites)))


@router.post("/{device_id}/probe", **shows(DeviceOrderView, 202))
async def probe_again(device_id: Key, body: AgainBody, *, caller: DeviceWriter, runtime: Shared) -> Response:
    """Have a known device asked again, with other credentials, or with its certificate trusted from now on.

    With a reason, where doors stand still for it (`pause`).
    """
    _check_pause(body.pause, caller)
    given = body.held()
    told = given if given != Credentials() else None
    again = Again(credentials=told, trust=body.trust, pause=body.pause, pass_on=body.pass_on)
    return reply(await ask_again(runtime, device_id, again=again, caller=caller), 202)


@router.post("/{device_id}/try", **shows(DeviceOrderView, 202))
async def try_part(
    device_id: Key, body: TryBody, *, caller: DeviceWriter, runtime: Shared, reason: StatedReason
) -> Response:
    """Have a part of a device tried once, with a reason, on record: a still without faces, an unlock, light and sound."""
    stated = msgspec.structs.replace(caller, reason=reason)
    trial = Trial(part=body.part, act=body.act, strike=body.strike, pause=body.pause)
    return reply(await attempt(runtime, device_id, trial=trial, caller=stated), 202)


@router.post("/{device_id}/key", **shows(DeviceOrderView, 202))
async def install_reader_key(
    device_id: Key, body: KeyBody, *, caller: DeviceWriter, runtime: Shared, reason: StatedReason
) -> Response:
    """Have a card reader in install mode given a key of its own, with a reason, on record."""
    stated = msgspec.structs.replace(caller, reason=reason)
    return reply(await install_key(runtime, device_id, pause=body.pause, caller=stated), 202)


@router.post("/{device_id}/adopt", **shows(DeviceView, 201))
async def adopt_part(device_id: Key, body: AdoptBody, *, caller: DeviceWriter, runtime: Shared) -> Response:
    """Make a door or camera of a part of a device; its edge learns of it at once."""
    entry = None if body.register_entry is None else body.register_entry.model_dump(mode="json")
    wanted = Adoption(
        part=body.part, id=id_of(body.id, "a"), name=body.name or "", address=body.address, door_id=body.door_id,
        register=None if entry is None else msgspec.convert(entry, CameraRegister),
        wiring=body.wiring.meant(),
    )  # fmt: skip
    act = partial(adopt, key=device_id, wanted=wanted, caller=caller, at=runtime.clock())
    device = await write_judged(runtime, act, wrote=lambda made: [made.adopted[body.part]])
    runtime.bells.policies_changed()
    return reply(view_of(device), 201)


@router.post("/{device_id}/replace", **shows(DeviceView))
async def replace_device(device_id: Key, body: ReplaceBody, *, caller: DeviceWriter, runtime: Shared) -> Response:
    """Let another device take over this one's doors and cameras under their ids: rights and history stay."""
    act = partial(replace, key=device_id, by=body.by, parts=body.parts, caller=caller, at=runtime.clock())
    device = await write_judged(runtime, act, wrote=lambda made: made.adopted.values())
    runtime.bells.policies_changed()
    return reply(view_of(device))


@router.post("/{device_id}/offer", **shows(DeviceView))
async def offer_device(device_id: Key, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Offer a device again that was removed."""
    return reply(view_of(await runtime.store.write(offer, device_id, caller=caller, at=runtime.clock())))


@router.delete("/{device_id}", status_code=204)
async def remove_device(device_id: Key, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Remove a device that is no door or camera here: its credentials are destroyed, and no search offers it again."""
    await runtime.store.write(remove, device_id, caller=caller, at=runtime.clock())
    return Response(status_code=204)
