"""`user` and `token`: who may use the gateway. They work on the database of this machine."""

from __future__ import annotations

import getpass
import secrets
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.common import Config, Json, opened, say, show
from models.errors import InvalidInput

if TYPE_CHECKING:
    from gateway.store import Connection
    from gateway.store.users import User

user = typer.Typer(help="Users of the console.", no_args_is_help=True)
token = typer.Typer(help="Tokens of machines.", no_args_is_help=True)
Role = Annotated[str, typer.Option(help="operator, manager, guard, integrator, or an administrator's role")]
Sites = Annotated[list[str] | None, typer.Option("--site", help="id of a site in scope; * is every site")]
Areas = Annotated[list[str] | None, typer.Option("--area", help="code of an area whose sites are in scope")]
PasswordFile = Annotated[Path | None, typer.Option(help="file that holds the password; asked for if absent")]


def _password(file: Path | None) -> str:
    if file is not None:
        try:
            return file.read_text("utf-8").rstrip("\r\n")
        except OSError as error:
            raise InvalidInput("--password-file", f"{file} cannot be read: {error.strerror}") from error
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise InvalidInput("password", "the two differ")
    return first


def _owner(connection: Connection, name: str, *, role: str, sites: list[str] | None, areas: list[str] | None) -> User:
    from gateway.auth.roles import check_role
    from gateway.runtime import now
    from gateway.store.places import only_site
    from gateway.store.users import User

    if not sites and not areas:
        only = only_site(connection)
        if only is None:
            raise InvalidInput("--site", "say which sites are in scope (there is not exactly one), or --area")
        sites = [only]
    if not 1 <= len(name) <= 64:
        raise InvalidInput("name", "use 1 to 64 characters")
    return User(
        id=f"u-{uuid.uuid4().hex}", username=name, role=check_role(role), sites=tuple(sites or ()),
        areas=tuple(areas or ()), created_at=now(),
    )  # fmt: skip


def _audited(connection: Connection, action: str, *, subject: str, act: Any) -> Any:
    from gateway.runtime import now
    from gateway.store.audit import AuditEntry, append_audit

    result = act()
    append_audit(connection, AuditEntry(actor="system", action=action, subject=subject), at=now())
    return result


@user.command("add")
def user_add(
    name: str, role: Role, *, config: Config = None, site: Sites = None, area: Areas = None,
    password_file: PasswordFile = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Add a user of the console. Without --site or --area the only site there is is in scope."""
    from gateway.auth.passwords import hash_password
    from gateway.auth.roles import check_role
    from gateway.store.users import add_user

    check_role(role)  # before a password is asked for
    hashed = hash_password(_password(password_file))

    def act(connection: Connection) -> User:
        made = _owner(connection, name, role=role, sites=site, areas=area)
        add = lambda: add_user(connection, made, password_hash=hashed)  # noqa: E731 - one act with its record
        _audited(connection, "user.add", subject=made.id, act=add)
        return made

    with opened(config) as store:
        made = store.write_now(act)
    show({"id": made.id, "username": name, "role": role}, f"user {name} ({role}) added", as_json=as_json)


@user.command("list")
def user_list(config: Config = None, *, as_json: Json = False) -> None:
    """List the users of the console."""
    import msgspec

    from gateway.store.users import user_list as listed

    with opened(config) as store:
        found = store.read_now(listed)
    lines = [f"{each.username:24} {each.role:24} {'disabled' if each.disabled_at else ''}" for each in found]
    show([msgspec.to_builtins(each) for each in found], "\n".join(lines) or "no users", as_json=as_json)


@user.command("disable")
def user_disable(name: str, *, config: Config = None) -> None:
    """Shut a user out at once."""
    from gateway.runtime import now
    from gateway.store.users import disable_user

    with opened(config) as store:
        store.write_now(
            lambda c: _audited(c, "user.disable", subject=name, act=lambda: disable_user(c, name, at=now()))
        )
    say(f"user {name} disabled")


@user.command("password")
def user_password(name: str, *, config: Config = None, password_file: PasswordFile = None) -> None:
    """Give a user a new password; all sessions of the user end."""
    from gateway.auth.passwords import hash_password
    from gateway.store.users import set_password

    hashed = hash_password(_password(password_file))
    with opened(config) as store:
        store.write_now(
            lambda c: _audited(
                c, "user.password", subject=name, act=lambda: set_password(c, name, password_hash=hashed)
            )
        )
    say(f"user {name} has a new password")


@token.command("add")
def token_add(
    name: str, role: Role, *, config: Config = None, site: Sites = None, area: Areas = None, as_json: Json = False
) -> None:
    """Make a token for a machine; it is shown once and kept only as a hash."""
    from gateway.store.users import add_api_token

    secret = f"gh_{secrets.token_urlsafe(32)}"

    def act(connection: Connection) -> User:
        made = _owner(connection, name, role=role, sites=site, areas=area)
        add = lambda: add_api_token(connection, secret, owner=made)  # noqa: E731 - one act with its record
        _audited(connection, "token.add", subject=made.id, act=add)
        return made

    with opened(config) as store:
        made = store.write_now(act)
    show({"id": made.id, "token": secret}, secret, as_json=as_json)
    sys.stderr.write(f"gatehouse: `token revoke {made.id}` refuses it again\n")


@token.command("revoke")
def token_revoke(token_id: str, *, config: Config = None) -> None:
    """Refuse a machine's token from now on."""
    from gateway.runtime import now
    from gateway.store.users import revoke_api_token

    with opened(config) as store:
        store.write_now(
            lambda c: _audited(c, "token.revoke", subject=token_id, act=lambda: revoke_api_token(c, token_id, at=now()))
        )
    say(f"token {token_id} revoked")
