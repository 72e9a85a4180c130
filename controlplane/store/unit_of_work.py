"""One command's transaction: rows, revision and change log, together or not at all."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import and_, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.access.actor import Actor
from controlplane.store import tables as t
from controlplane.store.access import audit
from controlplane.store.access.audit import digest
from controlplane.store.database import next_number
from federation.audit import Deed
from federation.errors import Overlap
from federation.resources.codec import decode, encode
from federation.resources.metadata import AnyResource, ObjectKey

AT_ONCE = 1000
"""Names in a statement: databases take some 32,000 parameters."""


class UnitOfWork:
    """Reads and writes of one transaction at one new revision."""

    def __init__(self, connection: AsyncConnection, revision: int, actor: Actor, now: str) -> None:
        self.connection = connection
        self.revision = revision
        self.actor = actor
        self.now = now
        self.needs_approval = False
        """A new cluster waits for a second person."""
        self.written: list[ObjectKey] = []
        self.deeds: list[Deed] = []
        """For the audit log, in their order."""
        self._stood: dict[ObjectKey, str | None] = {}
        """Documents that were looked for, and what became of them; None: there is none."""
        self._changes: list[dict[str, Any]] = []
        self._numbers: dict[str, int] = {}

    async def find(self, key: ObjectKey) -> AnyResource | None:
        """The resource as it stands in this transaction."""
        text = await self._text_of(key)
        return decode(json.loads(text), is_trusted=True) if text is not None else None

    async def look_up(self, keys: Iterable[ObjectKey]) -> None:
        """Know many documents by few statements: those that are found out one by one cost a round trip each."""
        c = t.resources.c
        names = [key for key in dict.fromkeys(keys) if key not in self._stood]
        for at in range(0, len(names), AT_ONCE):
            part = names[at : at + AT_ONCE]
            wanted = [(key.kind, key.cluster, key.namespace, key.name) for key in part]
            where = tuple_(c.kind, c.cluster, c.namespace, c.name).in_(wanted)
            rows = await self.connection.execute(
                select(c.kind, c.cluster, c.namespace, c.name, c.document).where(where)
            )
            self._stood |= dict.fromkeys(part, None)
            self._stood |= {ObjectKey(r.kind, r.cluster, r.namespace, r.name): r.document for r in rows}

    async def all_of(self, kind: str, cluster: str | None = None, holding: str = "") -> list[AnyResource]:
        """All resources of a kind, of one cluster or of all; those whose documents hold a text: only they are decoded."""
        statement = select(t.resources.c.document).where(t.resources.c.kind == kind)
        if cluster is not None:
            statement = statement.where(t.resources.c.cluster == cluster)
        if holding:
            statement = statement.where(t.resources.c.document.contains(holding, autoescape=True))
        rows = await self.connection.execute(statement)
        return [decode(json.loads(row.document), is_trusted=True) for row in rows]

    async def write(self, resource: AnyResource) -> AnyResource:
        """Store a resource at this revision and log the change."""
        stored = replace(resource, metadata=replace(resource.metadata, revision=self.revision))
        text = json.dumps(encode(stored), separators=(",", ":"))
        before = await self._text_of(resource.key)
        values: dict[str, Any] = {"revision": self.revision, "document": text}
        if before is not None:
            await self.connection.execute(update(t.resources).where(_is(resource.key)).values(**values))
        else:
            key = resource.key
            names = {"kind": key.kind, "cluster": key.cluster, "namespace": key.namespace, "name": key.name}
            await self.connection.execute(insert(t.resources).values(**names, **values))
        self._log(resource.key, before, text)
        return stored

    async def remove(self, key: ObjectKey) -> None:
        """Delete a resource and log it; a node takes its credential and its last report along: who joins under its name is another."""
        before = await self._text_of(key)
        await self.connection.execute(delete(t.resources).where(_is(key)))
        await self.connection.execute(delete(t.rule_counts).where(t.rule_counts.c.policy == str(key)))
        if key.kind == "Node":
            c, r = t.credentials.c, t.node_reports.c
            mine = and_(c.role == "node", c.cluster == key.cluster, c.name == key.name)
            await self.connection.execute(delete(t.credentials).where(mine))
            await self.connection.execute(
                delete(t.node_reports).where(r.cluster == key.cluster, r.node == key.name)
            )
        self._log(key, before, None)

    async def claim(self, owner: ObjectKey, addresses: Iterable[object]) -> None:
        """Make exactly these addresses the owner's. Raises Overlap, naming who holds one."""
        mine, c = str(owner), t.addresses.c
        if await self._text_of(owner) is not None:  # who is new has none
            await self.connection.execute(delete(t.addresses).where(c.owner == mine))
        wanted = list(map(str, addresses))
        if not wanted:
            return
        taken = await self.connection.execute(select(c.address, c.owner).where(c.address.in_(wanted)))
        for address, holder in taken:
            raise Overlap(
                f"{owner}: address {address} belongs to {holder}",
                hint="free it there first, or use another",
            )
        await self.connection.execute(insert(t.addresses), [{"address": a, "owner": mine} for a in dict.fromkeys(wanted)])  # fmt: skip

    async def identity_of(self, labels: dict[str, str]) -> tuple[int, bool]:
        """The number of a set of security labels, and whether it was allocated just now."""
        text = json.dumps(labels, sort_keys=True, separators=(",", ":"))
        if (number := self._numbers.get(text)) is not None:
            return number, False
        known = select(t.identities.c.number).where(t.identities.c.labels == text)
        found = (await self.connection.execute(known)).scalar()
        is_new = found is None
        number = await next_number(self.connection, "identity") if found is None else int(found)
        if is_new:
            await self.connection.execute(insert(t.identities).values(number=number, labels=text))
        self._numbers[text] = number
        return number, is_new

    async def forget_identity(self, number: int) -> None:
        """Give a number up: its labels are no endpoint's any more."""
        self._numbers.clear()
        await self.connection.execute(delete(t.identities).where(t.identities.c.number == number))

    def did(self, action: str, subject: str) -> None:
        """Tell the audit log of what is no change of a document."""
        self.deeds.append(self.actor.did(self.now, action, subject))

    async def finish(self) -> None:
        """Write the change log and the audit log of it all: the last that a transaction does."""
        if self._changes:
            await self.connection.execute(insert(t.changes), self._changes)
        await audit.append(self.connection, self.deeds)

    async def _text_of(self, key: ObjectKey) -> str | None:
        """A document as it stands in this transaction."""
        if key not in self._stood:
            found = await self.connection.execute(select(t.resources.c.document).where(_is(key)))
            self._stood[key] = found.scalar()
        return self._stood[key]

    def _log(self, key: ObjectKey, before: str | None, document: str | None) -> None:
        self.written.append(key)
        self._stood[key] = document
        action = "delete" if document is None else "update" if before is not None else "create"
        self.deeds.append(self.actor.did(self.now, action, str(key), digest(before), digest(document)))
        row = {"revision": self.revision, "sequence": len(self.written), "kind": key.kind, "path": key.path}
        self._changes.append({**row, "actor": self.actor.name, "at": self.now, "document": document})


def _is(key: ObjectKey) -> Any:
    c = t.resources.c
    return and_(
        c.kind == key.kind, c.cluster == key.cluster, c.namespace == key.namespace, c.name == key.name
    )
