"""Cameras: how they stand, how they are configured, and their register entries, without which a stream stays off."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, Field, SecretStr
from starlette.responses import FileResponse

from gateway.api.deps import Key as Once
from gateway.api.deps import Shared, StatedReason, allowed
from gateway.api.places import (
    Body,
    DeviceWriter,
    Driver,
    Fraction,
    Id,
    IfMatch,
    Key,
    Name,
    Text,
    change_kept,
    changes_in,
    create_kept,
    id_of,
    record_from,
    remove_kept,
    show_kept,
    site_of,
)
from gateway.api.replies import Page, reply, shows
from gateway.auth.roles import Caller
from gateway.driver_checks import check_section
from gateway.place_views import CameraSettings, RegisteredRow, StillView
from gateway.runtime import Runtime
from gateway.stills import ask_for_still, still_file, still_view
from gateway.store.devices import CAMERAS
from gateway.store.kept import Act
from gateway.store.places import camera_views
from gateway.store.registering import Form, register_many
from gateway.views import CameraView
from models.driver_checks import Section
from models.errors import NotFound
from models.places import Camera, Hardware, PlaceClass
from models.zones import MAX_NUMBERS, WHOLE, check_zone

router = APIRouter(prefix="/api/v1/cameras", tags=["cameras"])
REGISTERED_MOST = 200
Viewer = Annotated[Caller, Depends(allowed("cameras:read"))]
Mask = tuple[Fraction, Fraction, Fraction, Fraction]
NearZone = Annotated[tuple[Fraction, ...], Field(min_length=4, max_length=MAX_NUMBERS), AfterValidator(check_zone)]


def _secret(value: SecretStr) -> SecretStr:
    if "\0" in value.get_secret_value():
        raise ValueError("must hold no NUL")
    return value


Password = Annotated[SecretStr, Field(max_length=256), AfterValidator(_secret)]


class RegisterBody(Body):
    """Register a camera as the law asks (Order 799 articles 8, 13, 14; FRM 13): complete, or not at all."""

    purpose: Name
    place_class: PlaceClass
    sign_confirmed_on: date
    banned_area_checked: bool
    privacy_masks: Annotated[tuple[Mask, ...], Field(max_length=16)] = ()
    filed_on: date | None = None
    responsible: Text = ""


class CameraChange(Body):
    """Change a camera. `password` is kept and never shown; `register` null switches its stream off."""

    name: Name = ""
    edge_id: Id = ""
    url: Annotated[str, Field(max_length=1024)] = ""
    user: Text = ""
    password: Password | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    main_url: Annotated[str, Field(max_length=1024)] = ""
    rate: Literal["auto", "full", "key"] = "auto"
    hardware: Hardware = "none"
    device: Driver | None = None
    door_id: Id | None = None
    near_zone: NearZone = WHOLE
    min_eye_px: Annotated[float, Field(ge=10, le=500, allow_inf_nan=False)] = 30.0
    lost_after_s: Annotated[float, Field(ge=1, le=600, allow_inf_nan=False)] = 20.0
    register_entry: RegisterBody | None = Field(None, alias="register")

    def given(self) -> dict[str, Any]:
        """Return the secret as it was given; elsewhere it is masked."""
        return {} if self.password is None else {"password": self.password.get_secret_value()}


class CameraBody(CameraChange):
    """Name a camera. `site_id` may be left out by who has one site in scope."""

    id: Id | None = None
    site_id: Id | None = None
    name: Name
    edge_id: Id
    url: Annotated[str, Field(max_length=1024)]


class CommonEntry(Body):
    """Say what many cameras have in common in the register; where each has its privacy masks is its own."""

    purpose: Name
    place_class: PlaceClass
    sign_confirmed_on: date
    banned_area_checked: bool
    filed_on: date | None = None
    responsible: Text = ""


class RegisterMany(Body):
    """Name the cameras of one walk round the compound, and what they share. A `preview` shows it and changes nothing.

    All of them are registered or none; with `each`, every one that can be. `name` is a pattern: `{n}` counts up from
    `first`, `{name}` is the name until now, `{id}` the camera's id. The masks are for those that have none.
    """

    cameras: Annotated[tuple[Id, ...], Field(min_length=1, max_length=REGISTERED_MOST)]
    register_entry: CommonEntry = Field(alias="register")
    replace: bool = False
    name: Text = ""
    first: Annotated[int, Field(ge=0, le=9999)] = 1
    rate: Literal["auto", "full", "key"] | None = None
    privacy_masks: Annotated[tuple[Mask, ...], Field(max_length=16)] = ()
    each: bool = False
    preview: bool = False


@router.get("", **shows(Page[CameraView]))
async def list_cameras(caller: Viewer, runtime: Shared) -> Response:
    """List the cameras in scope and how they stand; never with their passwords."""
    return reply(Page(items=await runtime.store.read(camera_views, site_ids=caller.sites)))


@router.post("", **shows(CameraSettings, 201))
async def create_camera(
    body: CameraBody, request: Request, *, caller: DeviceWriter, runtime: Shared, key: Once = None
) -> Response:
    """Add a camera. Without a register entry its stream stays off."""
    site_id = site_of(caller, body.site_id)

    async def judge() -> None:
        await _check_device(runtime, body, camera_id=body.id or "camera")

    def make() -> Camera:
        given = {"password": "", **body.given()}
        return record_from(body, Camera, id=id_of(body.id, "c"), site_id=site_id, **given)

    return await create_kept(request, runtime, caller=caller, key=key, kind=CAMERAS, make=make, judge=judge)


async def _check_device(runtime: Runtime, body: CameraChange, *, camera_id: str) -> None:
    """Pass unless no edge could use the settings of the device around a camera."""
    if body.device:
        section = Section(id=camera_id, part="device", edge=body.edge_id, settings=body.device)
        await check_section(runtime, section)


@router.post("/register", **shows(Page[RegisteredRow]))
async def register_cameras(body: RegisterMany, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Give many cameras the same register entry; one that has an entry keeps it, unless it is replaced."""
    form = Form(
        entry=body.register_entry.model_dump(mode="json"), anew=body.replace, name=body.name, first=body.first,
        rate=body.rate, masks=body.privacy_masks,
    )  # fmt: skip
    by = Act(caller=caller, at=runtime.clock())
    rows = await runtime.store.write(
        register_many, body.cameras, form=form, each=body.each, preview=body.preview, by=by
    )
    if not body.preview:
        runtime.bells.policies_changed()
    return reply(Page(items=rows))


@router.get("/{camera_id}", **shows(CameraView))
async def show_camera(camera_id: Key, caller: Viewer, *, runtime: Shared) -> Response:
    """Show how a camera stands."""
    found = await runtime.store.read(camera_views, [camera_id], site_ids=caller.sites)
    if not found:
        raise NotFound("camera", camera_id)
    return reply(found[0])


@router.get("/{camera_id}/settings", **shows(CameraSettings))
async def show_settings(camera_id: Key, caller: DeviceWriter, *, runtime: Shared) -> Response:
    """Show how a camera is configured, without its password."""
    return await show_kept(runtime, CAMERAS, key=camera_id, caller=caller)


@router.patch("/{camera_id}/settings", **shows(CameraSettings))
async def change_settings(
    camera_id: Key, body: CameraChange, *, caller: DeviceWriter, runtime: Shared, if_match: IfMatch = None
) -> Response:
    """Change a camera; its edge follows at once."""
    changes = {name: value for name, value in changes_in(body).items() if name != "password"} | body.given()
    if body.device:
        await runtime.store.read(CAMERAS.shown, camera_id, caller=caller)
        await _check_device(runtime, body, camera_id=camera_id)
    return await change_kept(runtime, CAMERAS, key=camera_id, caller=caller, changes=changes, if_match=if_match)


@router.post("/{camera_id}/stills", **shows(StillView, 202))
async def create_still(camera_id: Key, caller: DeviceWriter, *, runtime: Shared, _reason: StatedReason) -> Response:
    """Ask, with a reason, for one picture of a camera to draw its near zone on: no face in it can be recognised."""
    return reply(await ask_for_still(runtime, camera_id, caller=caller), 202)


@router.get("/{camera_id}/stills/{still_id}", **shows(StillView))
async def show_still(camera_id: Key, still_id: Key, *, caller: DeviceWriter, runtime: Shared) -> Response:
    """Show whether a picture that was asked for is there, or why not."""
    view = await runtime.store.read(still_view, still_id, camera_id=camera_id, caller=caller, runtime=runtime)
    return reply(view)


@router.get(
    "/{camera_id}/stills/{still_id}/picture", response_class=FileResponse,
    responses={200: {"content": {"image/jpeg": {}}}},
)  # fmt: skip
async def show_picture(
    camera_id: Key, still_id: Key, *, caller: DeviceWriter, runtime: Shared, _reason: StatedReason
) -> Response:
    """Show a picture that was asked for, for an hour at most; each look is on record with its reason."""
    file = await still_file(runtime, still_id, camera_id=camera_id, caller=caller)
    return FileResponse(file, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


@router.delete("/{camera_id}", status_code=204)
async def delete_camera(camera_id: Key, caller: DeviceWriter, *, runtime: Shared, if_match: IfMatch = None) -> Response:
    """Delete a camera that no door needs."""
    return await remove_kept(runtime, CAMERAS, key=camera_id, caller=caller, if_match=if_match)
