"""Refuse query parameters that an operation does not know: a filter that is not there must not look as if it held."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import APIRoute

MOST_NAMED = 20
NAME_CHARS = 64


def known_query(request: Request) -> None:
    """Pass a request whose query parameters the operation knows.

    Raises:
        RequestValidationError: it has others; each is named, with those that are known.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not route.include_in_schema:
        return  # probes of operators may bring what they like
    known = {field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query)}
    named = sorted(request.query_params.keys() - known)[:MOST_NAMED]
    if not named:
        return
    what = f"unknown here; this operation takes {', '.join(sorted(known)) or 'no query parameters'}"
    raise RequestValidationError([{"loc": ("query", name[:NAME_CHARS]), "msg": what} for name in named])
