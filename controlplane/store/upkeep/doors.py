"""Databases as upkeep opens them: with time for whole tables, and only where there is what is asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from controlplane.store import schema, urls
from controlplane.store.database import Database
from federation.errors import Conflict, InvalidInput, NotFound

STATEMENT_SECONDS = 600.0
"""Of a statement that goes through a whole table."""


@dataclass(frozen=True, slots=True)
class Made:
    """Schema versions before and after; `before` is empty when nothing was there."""

    before: str
    after: str


@asynccontextmanager
async def opened(url: str, *, is_new: bool = False) -> AsyncIterator[Database]:
    """A database, which is there unless it is to be made. Raises NotFound, InvalidInput or Unavailable."""
    path = urls.file_of(url)
    if path is None and urls.parsed(url).drivername.startswith("sqlite"):
        raise InvalidInput("a database in memory ends with this command", hint=urls.HINT)
    if path is not None and not is_new and not path.is_file():
        raise NotFound(f"there is no database {path}", hint="name it with --database-url or --data-dir")
    database = Database(url, STATEMENT_SECONDS)
    is_made = is_new and database.own_file()
    try:
        yield database
    except BaseException:
        await database.close()
        if is_made and path is not None:  # nothing was changed
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
        raise
    await database.close()


async def version_of(database: Database) -> str:
    """Its schema's; empty: nothing of ours is there."""
    async with database.reading(None) as connection:
        return await connection.run_sync(schema.version)


async def make(database: Database) -> Made:
    """Make the schema in an empty database; in one of ours nothing. Raises Conflict for one that is older, or somebody else's."""
    before = await version_of(database)
    if before and before < schema.newest():
        raise Conflict(f"the database stands at schema {before} already", hint="causeway db upgrade")
    if not before:
        await bring_up(database)
    return Made(before, await version_of(database))


async def bring_up(database: Database) -> Made:
    """Bring the schema to this release's; the servers of the release before go on meanwhile."""
    before = await version_of(database)
    async with database.transaction(None) as connection:
        await connection.run_sync(schema.upgrade)
    return Made(before, await version_of(database))


async def refuse_unless_ours(database: Database) -> str:
    """The schema's version. Raises NotFound when nothing of ours is there."""
    found = await version_of(database)
    if not found:
        raise NotFound(
            f"there is no control plane's state in {urls.shown(database.url)}",
            hint="causeway db init makes it",
        )
    return found
