"""The fan-out: follows the change log, encodes each change once, and shares the bytes among all streams that may see it.

A stream holds the latest line per key that its agent has not taken yet, never a queue: a slow agent costs one line per
object, and gets the newest state when it reads on.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from federation import wire
from federation.doors.documents import POLICY_KINDS, STAGED_KINDS
from federation.errors import Gone
from federation.resources.metadata import ObjectKey

KEEP_ALIVE_SECONDS = 10.0
WINDOW = 2000
"""Transactions kept for streams that resume."""
HIDDEN_KINDS = STAGED_KINDS
OWN_KINDS = frozenset(
    {
        "Cluster",
        "Node",
        "Endpoint",
        "NetworkSet",
        "Namespace",
        "ServiceAccount",
        "CiliumCIDRGroup",
        "HostEndpoint",
        "Profile",
        *POLICY_KINDS,
    }
)
"""Kinds that only their own cluster's and linked clusters' agents see; those that name no cluster are everybody's."""


@dataclass(frozen=True, slots=True)
class Held:
    """An object as the hub holds it: its line is encoded once."""

    key: ObjectKey
    document: dict[str, Any] | None
    line: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """All changes of one revision."""

    revision: int
    changes: tuple[Held, ...]


@dataclass(eq=False, slots=True)
class Subscriber:
    """One stream. `cluster` None sees everything (users' watches)."""

    cluster: str | None
    visible: frozenset[str] = frozenset()
    pending: dict[ObjectKey, Held] = field(default_factory=dict)
    revision: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)


def held(key: ObjectKey, text: str | None) -> Held:
    """The held form of a stored document (None: deleted)."""
    if text is None:
        return Held(key, None, wire.encode(wire.Delete(key.kind, key.path)))
    document = json.loads(text)
    return Held(key, document, wire.encode(wire.Upsert(document)))


def _named(key: ObjectKey) -> dict[str, Any]:
    """What is left to say of an object that is gone: its name."""
    parts = {"name": key.name, "cluster": key.cluster, "namespace": key.namespace}
    return {"kind": key.kind, "metadata": {name: value for name, value in parts.items() if value}}


class Hub:
    """What stands now, and who listens."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Held] = {}
        self.revision = 0
        self.log: deque[Transaction] = deque(maxlen=WINDOW)
        self.subscribers: set[Subscriber] = set()
        self._sorted: dict[str, list[ObjectKey]] = {}

    def load(self, objects: Iterable[Held], revision: int) -> None:
        """Start from what stands at `revision`."""
        self.objects = {item.key: item for item in objects}
        self.revision = revision
        self._sorted.clear()

    def sorted_keys(self, kind: str) -> list[ObjectKey]:
        """Of what stands of a kind, by cluster, namespace, name; never to be changed. Sorted again once names have come or gone."""
        keys = self._sorted.get(kind)
        if keys is None:
            keys = [key for key in self.objects if key.kind == kind]
            keys.sort(key=lambda key: (key.cluster, key.namespace, key.name))
            self._sorted[kind] = keys
        return keys

    def replace(self, objects: Iterable[Held], revision: int) -> None:
        """Go to what stands at `revision`, the way there being unknown: what differs is published as one change, and nobody resumes across it."""
        standing = {item.key: item for item in objects}
        gone = [held(key, None) for key in self.objects.keys() - standing.keys()]
        changed = [item for key, item in standing.items() if self._line_of(key) != item.line]
        self.log.clear()
        self.publish(Transaction(revision, (*gone, *changed)))
        self.log.clear()

    def _line_of(self, key: ObjectKey) -> bytes | None:
        found = self.objects.get(key)
        return found.line if found else None

    def publish(self, transaction: Transaction) -> None:
        """Take one transaction, in order of revisions, and hand it to every stream that may see it."""
        for item in transaction.changes:
            if item.document is None or item.key not in self.objects:
                self._sorted.pop(item.key.kind, None)
            if item.document is None:
                self.objects.pop(item.key, None)
            else:
                self.objects[item.key] = item
        self.revision = transaction.revision
        self.log.append(transaction)
        is_link_change = any(item.key.kind == "Link" for item in transaction.changes)
        for subscriber in self.subscribers:
            if is_link_change and subscriber.cluster is not None:
                self._move_view(subscriber)
            for item in transaction.changes:
                if self._is_visible(item, subscriber):
                    subscriber.pending[item.key] = item
            subscriber.revision = transaction.revision
            subscriber.wake.set()

    async def stream(self, cluster: str, since: int | None) -> AsyncIterator[bytes]:
        """Encoded messages for an agent of `cluster`, for ever (see `federation.wire`)."""
        with self._subscribed(cluster) as subscriber:
            missed = None if since is None else self._since(since)
            mode: Any = "snapshot" if missed is None else "resume"
            first = missed if missed is not None else self.objects.values()
            lines = [item.line for item in first if self._is_visible(item, subscriber)]
            revision = self.revision
            yield (
                wire.encode(wire.Begin(mode, revision)) + b"".join(lines) + wire.encode(wire.InSync(revision))
            )
            while True:
                await self._woken(subscriber)
                taken, subscriber.pending = subscriber.pending, {}
                subscriber.wake.clear()
                commit = wire.encode(wire.Commit(subscriber.revision))
                yield b"".join(item.line for item in taken.values()) + commit

    def watch(self, kind: str, since: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """Events of one kind for a user: what stands first (with `since`: what is newer), then what changes; a BOOKMARK when all
        was sent. Raises Gone at once when that revision is not covered any more."""
        missed = None if since is None else self._newer(since)
        if since is not None and missed is None:
            hint = "watch without since: what stands comes first"
            raise Gone(f"revision {since} is not within what is kept for resuming", hint=hint)
        return self._watch(kind, missed)

    async def _watch(self, kind: str, missed: list[Held] | None) -> AsyncIterator[dict[str, Any]]:
        with self._subscribed(None) as subscriber:
            known = {item.key: item.document for item in self.objects.values() if item.key.kind == kind}
            first = known.values() if missed is None else ()
            for document in first:
                yield {"type": "ADDED", "object": document}
            for item in missed or ():
                if item.key.kind == kind:
                    is_gone = item.document is None
                    yield {
                        "type": "DELETED" if is_gone else "MODIFIED",
                        "object": item.document or _named(item.key),
                    }
            yield {"type": "BOOKMARK", "revision": self.revision}
            while True:
                await self._woken(subscriber)
                taken, subscriber.pending = subscriber.pending, {}
                subscriber.wake.clear()
                for item in taken.values():
                    if item.key.kind != kind:
                        continue
                    if item.document is None:
                        yield {"type": "DELETED", "object": known.pop(item.key, None) or _named(item.key)}
                    else:
                        yield {"type": "MODIFIED" if item.key in known else "ADDED", "object": item.document}
                        known[item.key] = item.document
                yield {"type": "BOOKMARK", "revision": subscriber.revision}

    @contextmanager
    def _subscribed(self, cluster: str | None) -> Iterator[Subscriber]:
        subscriber = Subscriber(cluster, self._visible_clusters(cluster), revision=self.revision)
        self.subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self.subscribers.discard(subscriber)

    async def _woken(self, subscriber: Subscriber) -> None:
        try:
            await asyncio.wait_for(subscriber.wake.wait(), KEEP_ALIVE_SECONDS)
        except TimeoutError:
            return

    def _since(self, revision: int) -> list[Held] | None:
        """What an agent missed; None when only a snapshot will do (a link moves what it may see)."""
        newer = self._newer(revision)
        return None if newer is None or any(item.key.kind == "Link" for item in newer) else newer

    def _newer(self, revision: int) -> list[Held] | None:
        """The newest change per key after `revision`; None when that is not covered by the log."""
        is_covered = revision == self.revision or (self.log and self.log[0].revision <= revision + 1)
        if revision > self.revision or not is_covered:
            return None
        newer = [transaction for transaction in self.log if transaction.revision > revision]
        return list({item.key: item for t in newer for item in t.changes}.values())

    def _move_view(self, subscriber: Subscriber) -> None:
        before, after = subscriber.visible, self._visible_clusters(subscriber.cluster)
        subscriber.visible = after
        for item in self.objects.values():
            if item.key.kind in OWN_KINDS:
                home = item.key.cluster or (item.key.name if item.key.kind == "Cluster" else "")
                if home in after - before:
                    subscriber.pending[item.key] = item
                elif home in before - after:
                    subscriber.pending[item.key] = held(item.key, None)

    def _visible_clusters(self, cluster: str | None) -> frozenset[str]:
        if cluster is None:
            return frozenset()
        links = [
            i.document["spec"]["clusters"]
            for i in self.objects.values()
            if i.key.kind == "Link" and i.document
        ]
        return frozenset({cluster}.union(*(set(pair) for pair in links if cluster in pair)))

    def _is_visible(self, item: Held, subscriber: Subscriber) -> bool:
        if subscriber.cluster is None:
            return True
        key = item.key
        if key.kind in HIDDEN_KINDS:
            return False
        if key.kind == "Link":
            return item.document is None or subscriber.cluster in item.document["spec"]["clusters"]
        if key.kind in OWN_KINDS:
            home = key.name if key.kind == "Cluster" else key.cluster
            return not home or home in subscriber.visible
        return True
