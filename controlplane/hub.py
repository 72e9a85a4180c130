"""What stands now, the change log's end, and users' watches. Agents' streams: `controlplane.fanout`.

A watch holds the latest change per key that its reader has not taken yet, never a queue.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from controlplane.fanout.sight import Subjects, home_of, subjects_of
from federation import wire
from federation.errors import Gone
from federation.resources.metadata import ObjectKey

KEEP_ALIVE_SECONDS = 10.0
WINDOW = 2000
"""Transactions kept for streams that resume."""


@dataclass(slots=True)
class Held:
    """An object as the hub holds it: its line is encoded once. Never changed."""

    key: ObjectKey
    document: dict[str, Any] | None
    line: bytes
    _subjects: Subjects | None = field(default=None, compare=False, repr=False)

    @property
    def subjects(self) -> Subjects:
        """Whom it may police, if it is a policy; found out once."""
        if self._subjects is None:
            self._subjects = subjects_of(self.key, self.document)
        return self._subjects


@dataclass(frozen=True, slots=True)
class Transaction:
    """All changes of one revision. `before`: what stood at their places, None: nothing, or nobody knows. `is_connected`: no revision is
    missing before it."""

    revision: int
    changes: tuple[Held, ...]
    before: tuple[Held | None, ...] = ()
    is_connected: bool = True


@dataclass(eq=False, slots=True)
class Subscriber:
    """One watch."""

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
        self.links: dict[ObjectKey, tuple[str, ...]] = {}
        """Names of the clusters that each link connects."""
        self.newest: dict[str, int] = {}
        """By kind: at which revision one of it changed last; what is missing has not since this started, at `loaded`."""
        self.loaded = 0
        self.takers: list[Callable[[Transaction], None]] = []
        """Who is handed each transaction, after it was taken here."""
        self._homes: dict[str, dict[ObjectKey, Held]] = {}
        """`objects`, by the cluster that they are of; empty: of none."""
        self._subscribers: set[Subscriber] = set()
        self._sorted: dict[str, list[ObjectKey]] = {}

    def load(self, objects: Iterable[Held], revision: int) -> None:
        """Start from what stands at `revision`."""
        self.objects = {item.key: item for item in objects}
        self.revision = self.loaded = revision
        self._sorted.clear()
        self._homes.clear()
        for item in self.objects.values():
            self._homes.setdefault(home_of(item.key), {})[item.key] = item
        self._find_links(self.objects.values())

    def _find_links(self, items: Iterable[Held]) -> None:
        for item in items:
            if item.key.kind == "Link":
                self.links.pop(item.key, None)
                if item.document is not None:
                    self.links[item.key] = tuple(item.document["spec"]["clusters"])

    def sorted_keys(self, kind: str) -> list[ObjectKey]:
        """Of what stands of a kind, by cluster, namespace, name; never to be changed. Sorted again once names have come or gone."""
        keys = self._sorted.get(kind)
        if keys is None:
            keys = [key for key in self.objects if key.kind == kind]
            keys.sort(key=lambda key: (key.cluster, key.namespace, key.name))
            self._sorted[kind] = keys
        return keys

    def near(self, clusters: Iterable[str]) -> Iterator[Held]:
        """What stands of some clusters, and of none: without a look at all the others'."""
        for home in ("", *sorted(clusters)):
            yield from self._homes.get(home, {}).values()

    def changed_at(self, kind: str) -> int:
        """A revision that stays the same while nothing of a kind changes."""
        return self.newest.get(kind, self.loaded)

    def replace(self, objects: Iterable[Held], revision: int) -> None:
        """Go to what stands at `revision`, the way there being unknown: what differs is published as one change, and nobody resumes across it."""
        standing = {item.key: item for item in objects}
        gone = [held(key, None) for key in self.objects.keys() - standing.keys()]
        changed = [item for key, item in standing.items() if self._line_of(key) != item.line]
        self.log.clear()
        self.publish(Transaction(revision, (*gone, *changed), is_connected=False))
        self.log.clear()

    def _line_of(self, key: ObjectKey) -> bytes | None:
        found = self.objects.get(key)
        return found.line if found else None

    def publish(self, transaction: Transaction) -> None:
        """Take one transaction, in order of revisions, and hand it to every stream that may see it."""
        before = tuple(self.objects.get(item.key) for item in transaction.changes)
        transaction = replace(transaction, before=before)
        for item in transaction.changes:
            self.newest[item.key.kind] = transaction.revision
            if item.document is None or item.key not in self.objects:
                self._sorted.pop(item.key.kind, None)
            near = self._homes.setdefault(home_of(item.key), {})
            if item.document is None:
                self.objects.pop(item.key, None)
                near.pop(item.key, None)
            else:
                self.objects[item.key] = near[item.key] = item
        self._find_links(transaction.changes)
        self.revision = transaction.revision
        self.log.append(transaction)
        for subscriber in self._subscribers:
            subscriber.pending.update((item.key, item) for item in transaction.changes)
            subscriber.revision = transaction.revision
            subscriber.wake.set()
        for take in self.takers:
            take(transaction)

    def watch(self, kind: str, since: int | None = None) -> AsyncIterator[dict[str, Any]]:
        """Events of one kind for a user: what stands first (with `since`: what is newer), then what changes; a BOOKMARK when all
        was sent. Raises Gone at once when that revision is not covered any more."""
        missed = None if since is None else self._newer(since)
        if since is not None and missed is None:
            hint = "watch without since: what stands comes first"
            raise Gone(f"revision {since} is not within what is kept for resuming", hint=hint)
        return self._watch(kind, missed)

    async def _watch(self, kind: str, missed: list[Held] | None) -> AsyncIterator[dict[str, Any]]:
        with self._subscribed() as subscriber:
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
    def _subscribed(self) -> Iterator[Subscriber]:
        subscriber = Subscriber(revision=self.revision)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    async def _woken(self, subscriber: Subscriber) -> None:
        try:
            await asyncio.wait_for(subscriber.wake.wait(), KEEP_ALIVE_SECONDS)
        except TimeoutError:
            return

    def _newer(self, revision: int) -> list[Held] | None:
        """The newest change per key after `revision`; None when that is not covered by the log."""
        is_covered = revision == self.revision or (self.log and self.log[0].revision <= revision + 1)
        if revision > self.revision or not is_covered:
            return None
        newer = [transaction for transaction in self.log if transaction.revision > revision]
        return list({item.key: item for t in newer for item in t.changes}.values())
