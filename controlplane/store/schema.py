"""The schema and its migrations, which are a package of the distribution."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import migrations

LOCK = 8271
"""Of PostgreSQL's advisory locks: replicas that start together migrate one after the other."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, with no file."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Bring the schema to this release's. A newer one is left as it is: releases only add, so an older one goes on on it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    standing = MigrationContext.configure(connection).get_current_revision()
    if standing is not None and standing > newest():
        return
    command.upgrade(alembic_config(connection), "head")


def version(connection: Connection) -> str:
    """What a database stands at; empty: nothing was made there yet."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def newest() -> str:
    """This release's."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head() or ""
