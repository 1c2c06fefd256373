"""What the tests of places share: machines with any role and scope, and short words for requests and answers."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx

from gateway.runtime import Runtime
from gateway.store.users import User, add_api_token
from tests.gateway.support import BEGINNING

API = "/api/v1"
As = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@contextlib.asynccontextmanager
async def machine(
    url: str, runtime: Runtime, *, role: str = "system_administrator", sites: tuple[str, ...] = ("*",),
    areas: tuple[str, ...] = (),
) -> AsyncIterator[httpx.AsyncClient]:  # fmt: skip
    """Yield the client of a machine with a role and a scope."""
    secret = secrets.token_urlsafe(16)
    owner = User(
        id=f"t-{secrets.token_hex(8)}", username="machine", role=role, sites=sites, areas=areas, created_at=BEGINNING
    )
    await runtime.store.write(add_api_token, secret, owner=owner)
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def told(answer: httpx.Response) -> str:
    """Return the sentence of a problem."""
    return str(answer.json()["detail"])


def ids(answer: httpx.Response, key: str = "id") -> list[str]:
    """Return the keys of a page."""
    assert answer.status_code == 200, answer.text
    return [item[key] for item in answer.json()["items"]]


async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post something new and return it."""
    answer = await client.post(API + path, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())
