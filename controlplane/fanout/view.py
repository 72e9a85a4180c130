"""What the agents of one cluster are told, as bytes that all of them share.

A stream is a position (a revision) in its view and nothing else. What it is sent next is what changed between there and now, the latest line of each key: made
once for all streams that stand at one place, however many, so that one that reads slowly is told less often, never more. One that stands before
what is kept gets what stands, as one that has just come does.
"""

import asyncio
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

from controlplane.fanout.sight import MOVING, Sight, home_of, linked_with
from controlplane.hub import Held, Hub, Transaction, held
from federation import wire
from federation.resources.metadata import ObjectKey

KEPT = 2000
"""Changes of a view that streams may have missed."""
SHARED = 16
"""Places that streams stand at together, whose bytes are kept for the others."""
STALE_SHARE = 0.1
"""A kept snapshot is made anew when more of it than that has changed since."""
LEVEL = 1
"""Of zlib: three times as fast as its usual level, for a tenth more bytes."""
ZLIB_HEADER = b"\x78\x01"
"""RFC 1950: what a stream of packed chunks begins with (HTTP's content coding `deflate`)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The lines of one revision that a view shows."""

    revision: int
    lines: dict[ObjectKey, bytes]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes for a stream, and where it stands after them. `packed`: a part of a raw deflate stream (RFC 1951) that asks for nothing before it."""

    packed: bytes
    revision: int

    @property
    def plain(self) -> bytes:
        """For the few who cannot unpack."""
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.packed)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a view showed at a revision, without its end; `size`: how many objects."""

    revision: int
    size: int
    chunk: Chunk


class View:
    """Of one cluster."""

    def __init__(self, hub: Hub, cluster: str, *, is_whole: bool = False) -> None:
        self.sight = Sight(cluster, linked_with(cluster, hub.links.values()), is_whole)
        self.revision = hub.revision
        """What its streams may know."""
        self.era = 0
        """Counts how often the way from earlier revisions was lost: a position of an earlier era is none, whatever its number."""
        self._hub = hub
        self._floor = hub.revision
        """What streams may resume from."""
        self._batches: deque[Batch] = deque()
        self._chunks: OrderedDict[tuple[type, int], Chunk] = OrderedDict()
        self._snapshot: Snapshot | None = None
        self._making = asyncio.Lock()
        self._remember(hub.log)

    def take(self, transaction: Transaction) -> bool:
        """Show what may be seen of a transaction; whether there is any of it."""
        lines = {}
        for item, before in zip(transaction.changes, transaction.before or repeat(None), strict=False):
            line = self._line(item, before)
            if line is not None:
                lines[item.key] = line
        if any(item.key.kind == "Link" for item in transaction.changes):
            lines |= self._moved()
        if lines:
            self._add(Batch(transaction.revision, lines))
        return bool(lines)

    def advance(self, revision: int) -> None:
        """Let streams know that up to there all was told."""
        self.revision = revision
        self._chunks.clear()

    def forget(self) -> None:
        """The way from earlier revisions is unknown: streams are told what stands."""
        self.sight = self._sight_now()
        self.era += 1
        self._floor = self._hub.revision
        self._batches.clear()
        self._snapshot = None

    def since(self, revision: int, *, is_first: bool = False) -> Chunk | None:
        """What changed after a revision, latest line of each key, up to the view's own; None: that is not known any more. `is_first`: with the
        beginning of a stream."""
        if not self._floor <= revision <= self.revision:
            return None
        if is_first:
            begin = wire.encode(wire.Begin("resume", self.revision))
            return self._shared(wire.Begin, revision, begin, wire.InSync(self.revision))
        return self._shared(wire.Commit, revision, b"", wire.Commit(self.revision))

    def _shared(self, kind: type, revision: int, begin: bytes, end: wire.Message) -> Chunk:
        chunk = self._chunks.get((kind, revision))
        if chunk is None:
            chunk = _chunk([begin, *self._newer(revision).values(), wire.encode(end)], self.revision)
            self._chunks[kind, revision] = chunk
            while len(self._chunks) > SHARED:
                self._chunks.popitem(last=False)
        return chunk

    async def snapshot(self) -> tuple[Chunk, Chunk]:
        """What stands: made once, packed in a thread; and what has changed since, with the end of it. The stream then stands at the second's revision."""
        async with self._making:
            snapshot = self._snapshot
            if snapshot is None or self._is_stale(snapshot):
                snapshot = await self._made()
                self._snapshot = snapshot
        return snapshot.chunk, self._shared(wire.InSync, snapshot.revision, b"", wire.InSync(self.revision))

    async def _made(self) -> Snapshot:
        revision = self.revision
        lines = [wire.encode(wire.Begin("snapshot", revision))]
        lines += [item.line for item in self._near(self.sight.clusters) if self._sees(item)]
        chunk = await asyncio.to_thread(_chunk, lines, revision)
        return Snapshot(revision, len(lines), chunk)

    def _is_stale(self, snapshot: Snapshot) -> bool:
        if snapshot.revision < self._floor:
            return True
        changed = sum(len(batch.lines) for batch in self._after(snapshot.revision))
        return changed > STALE_SHARE * snapshot.size + 100

    def _newer(self, revision: int) -> dict[ObjectKey, bytes]:
        lines: dict[ObjectKey, bytes] = {}
        for batch in reversed(list(self._after(revision))):
            for key, line in batch.lines.items():
                lines.setdefault(key, line)
        return dict(reversed(lines.items()))

    def _after(self, revision: int) -> Iterator[Batch]:
        """Newest last. Most streams are one behind, so they are sought from the end."""
        found = []
        for batch in reversed(self._batches):
            if batch.revision <= revision:
                break
            found.append(batch)
        return reversed(found)

    def _add(self, batch: Batch) -> None:
        self._batches.append(batch)
        while len(self._batches) > KEPT:
            self._floor = self._batches.popleft().revision

    def _remember(self, log: Iterable[Transaction]) -> None:
        """What the hub still knows of the time before this view, as far as its sight was the same."""
        known: list[Transaction] = []
        for transaction in reversed(list(log)):
            if any(item.key.kind == "Link" for item in transaction.changes):
                break
            known.append(transaction)
        for transaction in reversed(known):
            self.take(transaction)
        if known:
            self._floor = known[-1].revision - 1

    def _near(self, clusters: frozenset[str]) -> Iterator[Held]:
        """What may be in sight of clusters; of a relay's hub all that it holds."""
        return iter(self._hub.objects.values()) if self.sight.is_whole else self._hub.near(clusters)

    def _sees(self, item: Held | None) -> bool:
        return item is not None and self.sight.sees(item.key, item.document, item.subjects)

    def _line(self, item: Held, before: Held | None) -> bytes | None:
        if self._sees(item):
            was_seen = item.document is not None or before is None or self._sees(before)
            return item.line if was_seen else None
        may_have_seen = item.key.kind in MOVING if before is None else self._sees(before)
        return held(item.key, None).line if may_have_seen and item.document is not None else None

    def _sight_now(self) -> Sight:
        return replace(self.sight, clusters=linked_with(self.sight.cluster, self._hub.links.values()))

    def _moved(self) -> dict[ObjectKey, bytes]:
        """A link came or went: what comes into sight with it, and what goes out of it."""
        before, after = self.sight, self._sight_now()
        if after == before:
            return {}
        self.sight = after
        lines = {}
        for item in self._near(before.clusters | after.clusters):
            if home_of(item.key) or item.key.kind == "Identity":
                was, is_seen = (s.sees(item.key, item.document, item.subjects) for s in (before, after))
                if was != is_seen:
                    lines[item.key] = item.line if is_seen else held(item.key, None).line
        return lines


def packed(plain: bytes) -> bytes:
    """A part of a raw deflate stream that asks for nothing before it."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)


def _chunk(lines: list[bytes], revision: int) -> Chunk:
    return Chunk(packed(b"".join(lines)), revision)
