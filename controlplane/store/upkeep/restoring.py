"""A backup becomes the state of a database, as a new time that nobody can take for the one that was lost.

What counts up goes on far beyond anything that was given after the backup, so that no revision, identity, tunnel address or epoch is ever given
for a second thing. The log begins anew there: replicas compare all that stands, streams get a snapshot, and no report of before counts as
one of what comes.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, delete, insert, select, update

from controlplane.store import schema
from controlplane.store import tables as t
from controlplane.store.database import Connection, Database, notify
from controlplane.store.lineage import REVISIONS, TIMELINE
from controlplane.store.upkeep import rows
from controlplane.store.upkeep.archive import Archive, Rows
from controlplane.store.upkeep.moving import Moved, has_holder, made_at, refuse_unless_blank
from federation.errors import Conflict, InvalidInput

MARGINS = {"revision": REVISIONS, "identity": 10_000, "tunnel": 1_000}
"""What each counter is put forward by: more than was given since any backup that one would still restore."""
EPOCHS = 100_000
"""What the epoch of each lease is put forward by."""
LONG_AGO = "1970-01-01T00:00:00+00:00"
NOT_TAKEN = ("changes",)
"""The log of revisions ends at the backup; nobody may go on from it."""


@dataclass(slots=True)
class _Forward:
    """What counts up, of the backup and of what stands in the database: the higher of both."""

    counters: dict[str, int] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)

    def see(self, table: str, row: dict[str, Any]) -> None:
        known = self.counters if table == "counters" else self.epochs
        name, value = row["name"], row["value" if table == "counters" else "epoch"]
        known[name] = max(int(value), known.get(name, 0))


async def restore(target: Database, path: Path, *, is_replacing: bool, now: datetime) -> Moved:
    """Take a backup's state. Raises InvalidInput for a backup that is not whole or not known, Conflict for a database that is not empty: nothing
    is changed then."""
    source = Archive(path)
    source.verify()
    version = source.header.schema
    if version not in schema.versions():
        raise InvalidInput(
            f"{path} has schema {version}; this release knows {schema.newest()} at most",
            hint=f"restore it with release {source.header.release or 'that made it'}",
        )

    async def work(connection: Connection) -> Moved:
        forward = _Forward()
        if is_replacing:
            await _look(connection, version, forward, now)
        else:
            await refuse_unless_blank(connection)
        tables = await made_at(connection, version)
        carried: dict[str, int] = {}
        for batch in source.batches():
            carried[batch.table] = carried.get(batch.table, 0) + await _take(
                connection, tables, batch, forward
            )
        await rows.continue_sequences(connection, tables)
        await connection.run_sync(schema.upgrade)
        revision = await _go_forward(connection, forward)
        await notify(connection)
        return Moved(schema=version, revision=revision, rows=carried)

    return await target.run(
        work, None
    )  # writers that lock in another order make the database end one of the two


async def _look(connection: Connection, version: str, forward: _Forward, now: datetime) -> None:
    """Remember how far what is given up has counted. Raises Conflict when it cannot be replaced."""
    standing = await connection.run_sync(schema.version)
    if not standing:
        return await refuse_unless_blank(connection)
    if standing not in schema.versions():
        raise Conflict(
            f"the database stands at schema {standing}, of a newer release", hint="restore with that"
        )
    tables = await connection.run_sync(rows.standing)
    if standing != version and "leases" in tables and await has_holder(connection, now):
        raise Conflict(
            f"the backup has schema {version}, the database {standing}, and a control plane serves it",
            hint="stop all replicas first (after a kill wait half a minute)",
        )
    for name in ("counters", "leases"):
        if name in tables:
            for row in (await connection.execute(select(tables[name]))).mappings():
                forward.see(name, dict(row))
    return None


async def _take(connection: Connection, tables: dict[str, Table], batch: Rows, forward: _Forward) -> int:
    """Add a batch; how many rows of it are there now."""
    table = tables.get(batch.table)
    if table is None or not {column.name for column in table.c} >= set(batch.columns):
        raise InvalidInput(f"the backup's table {batch.table} is none of its schema's version")
    if batch.table in ("counters", "leases"):
        for row in batch.rows:
            forward.see(batch.table, dict(zip(batch.columns, row, strict=True)))
    if batch.rows and batch.table not in NOT_TAKEN:
        await rows.add(connection, table, batch.columns, batch.rows)
    return 0 if batch.table in NOT_TAKEN else len(batch.rows)


async def _go_forward(connection: Connection, forward: _Forward) -> int:
    """Put forward what counts up; the new revision."""
    c, held = t.counters.c, {"holder": "", "expires": LONG_AGO}
    counters = {name: value + MARGINS.get(name, 0) for name, value in forward.counters.items()}
    counters["compacted"] = counters["revision"]
    counters.pop(TIMELINE, None)  # of another database, or of this one before
    await connection.execute(delete(t.counters).where(c.name == TIMELINE))
    for name, value in counters.items():
        changed = await connection.execute(update(t.counters).where(c.name == name).values(value=value))
        if changed.rowcount == 0:
            await connection.execute(insert(t.counters).values(name=name, value=value))
    for name, epoch in forward.epochs.items():
        mine = update(t.leases).where(t.leases.c.name == name)
        await connection.execute(mine.values(epoch=epoch + EPOCHS, **held))
    return counters["revision"]
