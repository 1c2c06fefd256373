"""Bring a database to this version's schema with Alembic. Alembic is imported only if there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from models.errors import InvalidInput

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0016"


def to_head(engine: Engine) -> None:
    """Apply every migration that the database lacks, all in one transaction."""
    if current_revision(engine) == HEAD:
        return
    with engine.connect().execution_options(gatehouse_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(727102)"))  # replicas start together
        upgrade(connection)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Apply migrations up to a revision in the caller's transaction.

    Raises:
        InvalidInput: this version knows no such revision.
    """
    from alembic import command
    from alembic.util.exc import CommandError

    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        what = f"schema {revision!r} is unknown here: use the version of Gatehouse that wrote it, or a newer one"
        raise InvalidInput("revision", what) from error


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def current_revision(engine: Engine) -> str | None:
    """Return the database's revision, or None if it is empty."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return revision
