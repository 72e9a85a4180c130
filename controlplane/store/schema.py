"""The schema and its migrations, which are a package of the distribution."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Index, Table, inspect, text

import migrations
from controlplane.store.tables import METADATA
from federation.errors import Conflict

LOCK = 8271
"""Of PostgreSQL's advisory locks: replicas that start together migrate one after the other."""
TABLE_SECONDS = 5
"""How long a migration waits for a table: whoever wants the table after it waits as well."""
OURS = {"alembic_version", "counters", "resources"}
"""Tables by which a database is known as ours, of whatever release."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, with no file."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, target: str = "head") -> None:
    """Bring the schema to this release's, or to an older one's. A newer one is left as it is: releases only add, so an older one goes on on it.
    Raises Conflict for a database that holds something else."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_SECONDS}s'"))
    standing = version(connection)
    if not standing and (others := tables_of(connection)):
        raise Conflict(
            f"the database holds tables of somebody else: {', '.join(sorted(others)[:5])}",
            hint="give Causeway a database of its own",
        )
    if standing > newest():
        return
    command.upgrade(alembic_config(connection), target)


def tables_of(connection: Connection) -> set[str]:
    """Names of the tables that stand there, whosesoever."""
    return set(inspect(connection).get_table_names())


def version(connection: Connection) -> str:
    """What a database stands at; empty: there is nothing of ours."""
    heads = MigrationContext.configure(connection).get_current_heads()
    return heads[0] if len(heads) == 1 and tables_of(connection) >= OURS else ""


def newest() -> str:
    """This release's."""
    return versions()[-1]


def versions() -> tuple[str, ...]:
    """All that this release knows, the oldest first."""
    script = ScriptDirectory.from_config(alembic_config())
    return tuple(step.revision for step in script.walk_revisions())[::-1]


def differences(connection: Connection) -> list[str]:
    """What the database has otherwise than this release's models, a line each."""
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return [_told(found) for found in compare_metadata(context, METADATA)]


def _told(found: Any) -> str:
    """Alembic's step that would mend it, as a fact: (verb, …) of an index, a column or a table, or a list of changes of one column."""
    verb, *parts = found[0] if isinstance(found, list) else found
    action, _, thing = verb.partition("_")
    names = [str(part.name) for part in parts if isinstance(part, Table | Column | Index)]
    names = names or [str(part) for part in parts[1:3]]
    if isinstance(parts[-1], Column):  # (…, schema, table, column)
        names = [str(parts[-2]), *names]
    what = {"add": "is missing", "remove": "is one too many"}.get(action, "is another")
    return f"{thing.replace('_', ' ')} {'.'.join(names)} {what}"
