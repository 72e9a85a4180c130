"""Streams of agents: each stands somewhere in its cluster's view, and is woken when there is more. What it has not taken yet costs nothing."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

from controlplane.fanout.view import ZLIB_HEADER, Chunk, View, packed
from controlplane.hub import Hub, Transaction
from federation.errors import Unavailable

TICK_SECONDS = 0.25
KEEP_ALIVE_TICKS = 40
"""Ten seconds: each tick a fortieth of the streams is sent a sign of life."""
LATE_TICKS = 4
"""A view that shows nothing of a change lets its streams know of the revision within so many ticks: at most one line a second, however many changes."""
AT_ONCE = 256
"""Streams that are woken before the loop looks at anything else."""
PIECE = 2 << 10
"""Bytes handed on at once, so that what a slow agent has not taken yet is not in memory; TLS keeps a buffer of the largest for as long as a stream
lives."""
OPENING = 256
"""Streams that are sent their first state at a time."""
WAITING = 4096
"""Streams that may wait for that; others are told to come back."""

Before = Callable[[], bytes | None]
"""A line that goes before a part of a stream, b"": none; None: the stream ends."""


def nothing() -> bytes:
    """Nothing to say, ever."""
    return b""


class Stream:
    """One agent's."""

    __slots__ = ("is_due", "slot", "waiter")

    def __init__(self) -> None:
        self.slot = random.randrange(KEEP_ALIVE_TICKS)
        self.is_due = False
        self.waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Until it is woken."""
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def wake(self) -> None:
        """There is more, or a sign of life is due."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Fanout:
    """All streams of one replica; or (`is_whole`) of a relay, whose hub holds what one cluster's agents may see and nothing else."""

    def __init__(self, hub: Hub, *, is_whole: bool = False) -> None:
        self._hub = hub
        self._is_whole = is_whole
        self._views: dict[str, View] = {}
        self._streams: dict[str, set[Stream]] = {}
        self._opening = asyncio.Semaphore(OPENING)
        self._waiting = 0
        self._tick = 0
        hub.takers.append(self._take)

    @property
    def size(self) -> int:
        """How many streams there are."""
        return sum(map(len, self._streams.values()))

    def stream(
        self, cluster: str, since: int | None, *, is_packed: bool = False, before: Before = nothing
    ) -> AsyncIterator[bytes]:
        """Encoded messages for an agent of `cluster`, for ever (see `federation.wire`); packed: as one zlib stream. `before` is asked before each
        part. Raises Unavailable at once when too many begin."""
        if self._waiting >= WAITING:
            raise Unavailable("too many agents begin at once", hint="come back in some seconds")
        return self._streamed(cluster, since, is_packed, before)

    async def go_on(self) -> None:
        """For ever: signs of life, and late news."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """Once."""
        self._tick += 1
        for cluster, streams in self._streams.items():
            view = self._views[cluster]
            if self._tick % LATE_TICKS == 0 and view.revision != self._hub.revision:
                self._advance(view)
                self._wake(streams)
                continue
            due = [stream for stream in streams if stream.slot == self._tick % KEEP_ALIVE_TICKS]
            for stream in due:
                stream.is_due = True
            self._wake(due)

    async def _streamed(
        self, cluster: str, since: int | None, is_packed: bool, before: Before
    ) -> AsyncIterator[bytes]:
        if is_packed:
            yield ZLIB_HEADER
        async with aclosing(self._parts(cluster, since)) as parts:
            async for chunk, is_first in parts:
                if is_first:
                    said = before()
                    if said is None:
                        return
                    if said:
                        yield packed(said) if is_packed else said
                whole = chunk.packed if is_packed else chunk.plain
                for at in range(0, len(whole), PIECE):
                    yield whole[at : at + PIECE] if len(whole) > PIECE else whole

    async def _parts(self, cluster: str, since: int | None) -> AsyncGenerator[tuple[Chunk, bool]]:
        """Each with whether a transaction begins with it."""
        view = self._view(cluster)
        with self._listed(cluster) as stream:
            position, era = None, view.era
            if since is not None and (chunk := view.since(since, is_first=True)) is not None:
                position = chunk.revision
                yield chunk, True
            while True:
                if position is None or era != view.era or (chunk := view.since(position)) is None:
                    era = view.era
                    async with self._place():
                        state, end = await view.snapshot()
                        position = end.revision
                        yield state, True
                        yield end, False
                elif position != chunk.revision or stream.is_due:
                    stream.is_due, position = False, chunk.revision
                    yield chunk, True
                else:
                    await stream.wait()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Among those that are sent their first state."""
        self._waiting += 1
        try:
            await self._opening.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._opening.release()

    def _view(self, cluster: str) -> View:
        view = self._views.get(cluster)
        if view is None:
            view = self._views[cluster] = View(self._hub, cluster, is_whole=self._is_whole)
        self._advance(view)
        return view

    def _advance(self, view: View) -> None:
        if view.revision != self._hub.revision:
            view.advance(self._hub.revision)

    def _take(self, transaction: Transaction) -> None:
        for cluster, view in self._views.items():
            if not transaction.is_connected:
                view.forget()
            elif not view.take(transaction):
                continue
            view.advance(transaction.revision)
            self._wake(self._streams.get(cluster, ()))

    def _wake(self, streams: Iterable[Stream]) -> None:
        waiting = [stream for stream in streams if stream.waiter is not None]
        if waiting:
            _wake_some(iter(waiting))

    @contextmanager
    def _listed(self, cluster: str) -> Iterator[Stream]:
        stream = Stream()
        listed = self._streams.setdefault(cluster, set())
        listed.add(stream)
        try:
            yield stream
        finally:
            listed.discard(stream)


def _wake_some(waiting: Iterator[Stream]) -> None:
    for _ in range(AT_ONCE):
        stream = next(waiting, None)
        if stream is None:
            return
        stream.wake()
    asyncio.get_running_loop().call_soon(_wake_some, waiting)
