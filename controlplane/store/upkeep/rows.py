"""Whole tables, row by row and in bounded batches, whatever they are called: later tables are carried as well."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, Table, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

BATCH_ROWS = 500
BATCH_CHARACTERS = 4_000_000
"""Of a batch: a document may have megabytes."""
BOOKKEEPING = "alembic_version"
"""Migrations' own table."""
Row = Sequence[Any]


def standing(connection: Connection) -> dict[str, Table]:
    """The tables as they stand in the database, those first that others refer to."""
    metadata = MetaData()
    metadata.reflect(connection)
    return {table.name: table for table in metadata.sorted_tables if table.name != BOOKKEEPING}


async def batches(
    connection: AsyncConnection, table: Table, columns: Sequence[str] | None = None
) -> AsyncIterator[list[Row]]:
    """All rows by their primary key. Holds one batch at a time."""
    wanted = [table.c[name] for name in columns] if columns else list(table.c)
    statement = select(*wanted).order_by(*table.primary_key)
    rows = await connection.stream(statement, execution_options={"yield_per": BATCH_ROWS})
    batch: list[Row] = []
    size = 0
    async for row in rows:
        batch.append(tuple(row))
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def add(
    connection: AsyncConnection, table: Table, columns: Sequence[str], batch: Sequence[Row]
) -> None:
    """Insert a batch."""
    await connection.execute(insert(table), [dict(zip(columns, row, strict=True)) for row in batch])


async def empty(connection: AsyncConnection, tables: Mapping[str, Table]) -> None:
    """Delete all rows; on PostgreSQL nobody writes any of the tables until the transaction ends, and readers go on."""
    if connection.dialect.name == "postgresql":
        quoted = connection.dialect.identifier_preparer.quote
        names = sorted(tables, key=lambda name: (name != "counters", name))  # writers take the counter first
        await connection.execute(text(f"LOCK TABLE {', '.join(map(quoted, names))} IN EXCLUSIVE MODE"))
    for table in reversed(list(tables.values())):
        await connection.execute(delete(table))


def drop(connection: Connection) -> None:
    """Take all tables away, the bookkeeping too."""
    metadata = MetaData()
    metadata.reflect(connection)
    metadata.drop_all(connection)


async def counts(connection: AsyncConnection, tables: Mapping[str, Table]) -> dict[str, int]:
    """Rows by table."""
    return {
        name: int((await connection.execute(select(func.count()).select_from(table))).scalar_one())
        for name, table in tables.items()
    }


async def continue_sequences(connection: AsyncConnection, tables: Mapping[str, Table]) -> None:
    """Let PostgreSQL's own numbering go on behind the highest number that was brought along."""
    if connection.dialect.name != "postgresql":
        return
    quoted = connection.dialect.identifier_preparer.quote
    for name, table in tables.items():
        for column in table.primary_key:
            named = {"t": quoted(name), "c": column.name}
            find = text("SELECT pg_get_serial_sequence(:t, :c)")
            sequence = (await connection.execute(find, named)).scalar()
            if sequence is None:
                continue
            highest = (await connection.execute(select(func.max(column)))).scalar()
            if highest is not None:
                await connection.execute(text("SELECT setval(:s, :n)"), {"s": sequence, "n": highest})
