"""Passwords: argon2id with RFC 9106's second recommended parameters, and how long guessing is made to wait."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from models.errors import InvalidInput

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_LENGTH = 12
MAX_LENGTH = 256
MEMORY_KIB = 65536


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=3, memory_cost=MEMORY_KIB, parallelism=4)


def hash_password(password: str) -> str:
    """Return the argon2id hash of a new password.

    Raises:
        InvalidInput: it is shorter than 12 or longer than 256 characters.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InvalidInput("password", f"use {MIN_LENGTH} to {MAX_LENGTH} characters")
    return _hasher().hash(password)


def password_matches(password: str, hashed: str | None) -> bool:
    """Return whether a password has this hash; None takes as long as a real one, so that names cannot be guessed by time."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        _hasher().verify(hashed or _nobody(), password[: MAX_LENGTH + 1])
    except (VerificationError, InvalidHashError):
        return False
    return hashed is not None


@cache
def _nobody() -> str:
    return _hasher().hash("nobody has this password")


def lock_after(failures: int, *, attempts: int, longest: timedelta) -> timedelta:
    """Return how long a user is locked out after failures in a row: nothing for `attempts` - 1, then 30 s doubling."""
    if failures < attempts:
        return timedelta(0)
    doubled: int = 2 ** min(failures - attempts, 10)
    return min(timedelta(seconds=30) * doubled, longest)
