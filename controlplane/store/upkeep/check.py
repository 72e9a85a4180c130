"""Whether everything in a database agrees. Every fault is one line: what, where, what to do."""

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from sqlalchemy import func, select, text

from controlplane.store import schema, urls
from controlplane.store import tables as t
from controlplane.store.database import Connection, Database
from controlplane.store.upkeep import rows
from controlplane.store.upkeep.agreement import Agreement
from federation.errors import CausewayError
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey

COUNTERS = ("revision", "identity", "tunnel", "compacted")
RESTORE = "restore a backup"
LEFT_OUT = 200
"""Faults of one kind beyond these are only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found."""

    schema: str
    revision: int = 0
    objects: int = 0
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    faults: list[str] = field(default_factory=list)
    objects: int = 0
    revision: int = 0

    def add(self, faults: Iterable[str], todo: str) -> None:
        every = list(faults)
        self.faults += [f"{fault}: {todo}" for fault in every[:LEFT_OUT]]
        if len(every) > LEFT_OUT:
            self.faults.append(f"… and {len(every) - LEFT_OUT} more of that kind: {todo}")


async def check(database: Database) -> Checked:
    """Look at one consistent state; nothing is changed, nobody waits. Raises Unavailable."""
    found = _Found()
    async with database.reading(None) as connection:
        version = await connection.run_sync(schema.version)
        if not version:
            where = urls.shown(database.url)
            found.add([f"there is nothing of a control plane in {where}"], "causeway db init makes it")
            return Checked(schema="", faults=tuple(found.faults))
        if database.is_sqlite:
            await _check_file(connection, found)
        if version < schema.newest():
            found.add(
                [f"schema {version} is older than this release's {schema.newest()}"], "causeway db upgrade"
            )
            return Checked(schema=version, faults=tuple(found.faults))
        if version == schema.newest():
            drift = await connection.run_sync(schema.differences)
            todo = "somebody altered it; alter it back, or copy everything into a new database"
            found.add((f"the schema differs from this release's: {line}" for line in drift), todo)
            if any(line.startswith(("table", "column")) and line.endswith("missing") for line in drift):
                return Checked(schema=version, faults=tuple(found.faults))
        await _check_rows(connection, found)
    return Checked(schema=version, revision=found.revision, objects=found.objects, faults=tuple(found.faults))


async def _check_file(connection: Connection, found: _Found) -> None:
    said = [str(row[0]) for row in await connection.execute(text("PRAGMA integrity_check(100)"))]
    found.add((f"the file is damaged: {line}" for line in said if line != "ok"), RESTORE)
    broken = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
    found.add((f"a row of {row[0]} refers to one of {row[2]} that is not there" for row in broken), RESTORE)


async def _check_rows(connection: Connection, found: _Found) -> None:
    counters = {r.name: int(r.value) for r in await connection.execute(select(t.counters))}
    if missing := [name for name in COUNTERS if name not in counters]:
        found.add((f"the counter {name} is missing" for name in missing), RESTORE)
        return
    found.revision = counters["revision"]
    newest = (await connection.execute(select(func.max(t.changes.c.revision)))).scalar() or 0
    if newest > counters["revision"]:
        found.add(
            [f"the counter of revisions stands at {counters['revision']}, the log at {newest}"], RESTORE
        )
    if counters["compacted"] > counters["revision"]:
        found.add(["the log is compacted beyond the newest revision"], RESTORE)
    agreement = Agreement(counters["revision"], counters["identity"])
    async for line in _log(connection, counters["compacted"]):
        agreement.logged(*line)
    undecoded: list[str] = []
    async for key, revision, document in _documents(connection):
        found.objects += 1
        agreement.stands(key, revision, document)
        try:
            agreement.take(key, revision, decode(json.loads(document)))
        except (CausewayError, ValueError) as error:
            undecoded.append(f"{key} cannot be read ({' '.join(str(error).split())})")
    found.add(undecoded, "apply it anew, or delete it")
    addresses = await connection.execute(select(t.addresses.c.address, t.addresses.c.owner))
    identities = await connection.execute(select(t.identities.c.number, t.identities.c.labels))
    for faults, todo in (
        agreement.of_log(),
        agreement.of_objects(),
        agreement.of_addresses({r.address: r.owner for r in addresses}),
        agreement.of_identities({r.number: json.loads(r.labels) for r in identities}),
    ):
        found.add(faults, todo)


async def _log(connection: Connection, compacted: int) -> AsyncIterator[tuple[int, str, str, str | None]]:
    columns = ("revision", "sequence", "kind", "path", "document")
    async for batch in rows.batches(connection, t.changes, columns):
        for revision, _sequence, kind, path, document in batch:
            if revision > compacted:
                yield revision, kind, path, document


async def _documents(connection: Connection) -> AsyncIterator[tuple[ObjectKey, int, str]]:
    columns = ("kind", "cluster", "namespace", "name", "revision", "document")
    async for batch in rows.batches(connection, t.resources, columns):
        for kind, cluster, namespace, name, revision, document in batch:
            yield ObjectKey(kind, cluster, namespace, name), revision, document
