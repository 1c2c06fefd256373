"""Kinds of value that the entries of a site file share, with their bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from models import assessments, notices, places
from models.errors import InvalidInput
from models.people import canonical_card

EVERY_DOOR = "all"
PASSWORD_LIMIT = 256


def _id(value: str) -> str:
    try:
        return places.check_id(value, "id")
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _camera_url(value: str) -> str:
    try:
        return places.check_camera_url(value)
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _keypad(value: str) -> str:
    try:
        return places.check_keypad(value)
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _timezone(value: str) -> str:
    try:
        return places.check_timezone(value)
    except InvalidInput as error:
        raise ValueError(error.what) from error


def _card(value: str) -> str:
    try:
        return canonical_card(value)
    except InvalidInput as error:
        raise ValueError(error.what) from error


Id = Annotated[str, AfterValidator(_id)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True)]
Card = Annotated[str, AfterValidator(_card)]
Keypad = Annotated[str, AfterValidator(_keypad)]
Weekday = Annotated[int, Field(ge=0, le=6)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Zone = Annotated[str, AfterValidator(_timezone)]
CameraUrl = Annotated[str, AfterValidator(_camera_url)]
Doors = tuple[Id, ...] | Literal["all"]
Topic = Annotated[
    str, StringConstraints(min_length=assessments.MIN_CHARS, max_length=assessments.MAX_CHARS, strip_whitespace=True)
]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=notices.MAX_CHARS, strip_whitespace=True)]
