"""One command's transaction: rows, revision and change log, together or not at all."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.access.actor import Actor
from controlplane.store import tables as t
from controlplane.store.access.audit import digest
from controlplane.store.database import next_number
from federation.audit import Deed
from federation.errors import Overlap
from federation.resources.codec import decode, encode
from federation.resources.metadata import AnyResource, ObjectKey


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
        self._stood: dict[ObjectKey, str] = {}
        """Documents that were found, and what became of them."""

    async def find(self, key: ObjectKey) -> AnyResource | None:
        """The resource as it stands in this transaction."""
        text = await self._text_of(key)
        return decode(json.loads(text), is_trusted=True) if text is not None else None

    async def all_of(self, kind: str, cluster: str | None = None) -> list[AnyResource]:
        """All resources of a kind, of one cluster or of all."""
        statement = select(t.resources.c.document).where(t.resources.c.kind == kind)
        if cluster is not None:
            statement = statement.where(t.resources.c.cluster == cluster)
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
        await self._log(resource.key, before, text)
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
        await self._log(key, before, None)

    async def claim(self, owner: ObjectKey, addresses: Iterable[object]) -> None:
        """Make exactly these addresses the owner's. Raises Overlap, naming who holds one."""
        mine = str(owner)
        await self.connection.execute(delete(t.addresses).where(t.addresses.c.owner == mine))
        for address in map(str, addresses):
            taken = select(t.addresses.c.owner).where(t.addresses.c.address == address)
            if holder := (await self.connection.execute(taken)).scalar():
                raise Overlap(
                    f"{owner}: address {address} belongs to {holder}",
                    hint="free it there first, or use another",
                )
            await self.connection.execute(insert(t.addresses).values(address=address, owner=mine))

    async def identity_of(self, labels: dict[str, str]) -> tuple[int, bool]:
        """The number of a set of security labels, and whether it was allocated just now."""
        text = json.dumps(labels, sort_keys=True, separators=(",", ":"))
        known = select(t.identities.c.number).where(t.identities.c.labels == text)
        if (number := (await self.connection.execute(known)).scalar()) is not None:
            return int(number), False
        number = await next_number(self.connection, "identity")
        await self.connection.execute(insert(t.identities).values(number=number, labels=text))
        return number, True

    async def forget_identity(self, number: int) -> None:
        """Give a number up: its labels are no endpoint's any more."""
        await self.connection.execute(delete(t.identities).where(t.identities.c.number == number))

    def did(self, action: str, subject: str) -> None:
        """Tell the audit log of what is no change of a document."""
        self.deeds.append(self.actor.did(self.now, action, subject))

    async def _text_of(self, key: ObjectKey) -> str | None:
        """A document as it stands in this transaction."""
        if (known := self._stood.get(key)) is not None:
            return known
        text = (await self.connection.execute(select(t.resources.c.document).where(_is(key)))).scalar()
        if text is not None:
            self._stood[key] = text
        return text

    async def _log(self, key: ObjectKey, before: str | None, document: str | None) -> None:
        self.written.append(key)
        if document is None:
            self._stood.pop(key, None)
        else:
            self._stood[key] = document
        action = "delete" if document is None else "update" if before is not None else "create"
        self.deeds.append(self.actor.did(self.now, action, str(key), digest(before), digest(document)))
        row = {"revision": self.revision, "sequence": len(self.written), "kind": key.kind, "path": key.path}
        await self.connection.execute(
            insert(t.changes).values(**row, actor=self.actor.name, at=self.now, document=document)
        )


def _is(key: ObjectKey) -> Any:
    c = t.resources.c
    return and_(
        c.kind == key.kind, c.cluster == key.cluster, c.namespace == key.namespace, c.name == key.name
    )
