"""Whole states out of one database and into another: backup, copy."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store import schema
from controlplane.store import tables as t
from controlplane.store.database import Connection, Database, current_revision
from controlplane.store.upkeep import archive, rows
from controlplane.store.upkeep.doors import refuse_unless_ours
from federation.errors import Conflict, InvalidInput, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What was carried."""

    schema: str
    """The version that it had where it came from."""
    revision: int
    """The newest of the state."""
    rows: Mapping[str, int]
    """By table."""
    checksum: str = ""
    """Of a backup."""
    is_served: bool = False
    """Somebody served the source at that moment: what is written there later is not in it."""


async def backup(source: Database, path: Path, *, release: str, now: datetime) -> Moved:
    """One consistent state, as a file of that name; nobody waits for it. Raises NotFound or Unavailable."""
    version = await refuse_unless_ours(source)
    async with source.reading(None) as connection:
        tables = await connection.run_sync(rows.standing)
        name, revision = connection.dialect.name, await current_revision(connection)
        with archive.written(path) as writer:
            writer.begin(archive.Header(schema=version, release=release, made=now.isoformat(), source=name))
            for table in tables.values():
                writer.table(table.name, [column.name for column in table.c])
                async for batch in rows.batches(connection, table):
                    writer.add(batch)
            checksum = writer.end()
    return Moved(schema=version, revision=revision, rows=writer.rows, checksum=checksum)


async def copy(source: Database, target: Database, now: datetime) -> Moved:
    """One consistent state of a database, exactly, into an empty one. Raises NotFound, Conflict or Unavailable; nothing is changed then."""
    version = await refuse_unless_ours(source)
    if version not in schema.versions():
        raise InvalidInput(
            f"the source stands at schema {version}, which this release does not know",
            hint="copy it with the release that made it",
        )
    async with source.reading(None) as reading, target.transaction(None) as writing:
        await refuse_unless_blank(writing)
        theirs = await reading.run_sync(rows.standing)
        mine = await made_at(writing, version)
        for table in theirs.values():
            await _carry(reading, writing, table, mine)
        await rows.continue_sequences(writing, mine)
        wanted, found = await rows.counts(reading, theirs), await rows.counts(writing, mine)
        if wanted != found:
            raise Unavailable(
                f"not all has arrived: {_difference(wanted, found)}", hint="nothing was changed; try again"
            )
        await writing.run_sync(schema.upgrade)
        revision, is_served = await current_revision(reading), await has_holder(reading, now)
    return Moved(schema=version, revision=revision, rows=found, is_served=is_served)


async def refuse_unless_blank(connection: Connection) -> None:
    """Raises Conflict for a database in which anything was ever written."""
    version = await connection.run_sync(schema.version)
    if not version:
        if others := await connection.run_sync(schema.tables_of):
            raise Conflict(
                f"the database holds tables of somebody else: {', '.join(sorted(others)[:5])}",
                hint="give Causeway a database of its own",
            )
        return
    tables = await connection.run_sync(rows.standing)
    counts = await rows.counts(connection, tables)
    filled = sorted(name for name, count in counts.items() if count and name not in ("counters", "leases"))
    if filled or await current_revision(connection) > 0:
        raise Conflict(
            f"the database is not empty: it has {', '.join(filled) or 'revisions'}",
            hint="name an empty one (restore --replace: what stands there is given up)",
        )


async def made_at(connection: Connection, version: str) -> dict[str, Table]:
    """The tables of a schema version, without a row; whatever of ours stood there is gone."""
    if await connection.run_sync(schema.version) != version:
        await connection.run_sync(rows.drop)
    await connection.run_sync(schema.upgrade, version)
    tables = await connection.run_sync(rows.standing)
    await rows.empty(connection, tables)
    return tables


async def has_holder(connection: AsyncConnection, now: datetime) -> bool:
    """Whether a control plane serves the database: one that ends gives its lease up, one that is killed loses it after half a minute."""
    expires = (await connection.execute(select(t.leases.c.expires))).scalars()
    return any(datetime.fromisoformat(text) > now for text in expires)


async def _carry(reading: Connection, writing: Connection, table: Table, mine: Mapping[str, Table]) -> None:
    columns = [column.name for column in table.c]
    target = mine.get(table.name)
    if target is None or {column.name for column in target.c} != set(columns):
        raise Conflict(
            f"table {table.name} of the source is none of its schema's version", hint="causeway db check"
        )
    async for batch in rows.batches(reading, table):
        await rows.add(writing, target, columns, batch)


def _difference(wanted: Mapping[str, int], found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{name} {found.get(name, 0)} of {count}"
        for name, count in wanted.items()
        if found.get(name) != count
    )
