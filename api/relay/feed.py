"""Follows the control plane's stream of one cluster into a relay's hub and disk; what it knows while the control plane is away is what it heard last.

The stream's revisions are the control plane's own, so an agent may come from there, or go there. What comes as changes since a revision names
everything that any agent in between may have seen, so those resume here too; what comes as a whole state begins a new era of the hub, and agents are
given it whole. An agent that knows more than this relay is told to wait: it keeps what it has, and never goes back, unless the
control plane itself says that there is no such revision any more.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol

import structlog

from api.relay.disk import Disk, held_of, objects_of
from controlplane.hub import Held, Hub, Transaction
from federation import wire
from federation.errors import CausewayError, Forbidden, InvalidInput, Unauthenticated, Unavailable
from federation.resources.metadata import ObjectKey
from nodeagent.pace import LASTED_SECONDS, Backoff, Clock

LOG = structlog.get_logger("relay")
REACH_SECONDS = 8.0
"""How long an agent is kept waiting that knows more than this relay."""
CATCH_UP_SECONDS = 1.5
"""How long a relay waits for what may be under way: the control plane tells of every revision within a second."""


class Source(Protocol):
    """Where the stream comes from."""

    def messages(self, since: int | None) -> AsyncGenerator[wire.Message, None]:
        """As `nodeagent.control.client.ControlChannel`."""
        ...


class RelayFeed:
    """Of one relay."""

    def __init__(self, source: Source, hub: Hub, disk: Disk, clock: Clock) -> None:
        self.refusal = ""
        """Why the control plane does not let this relay in; empty: it does, or is away."""
        self.has_state = False
        self.connections = 0
        """How often the stream has begun."""
        self.connected = asyncio.Event()
        self._source = source
        self._hub = hub
        self._disk = disk
        self._clock = clock
        self._heard = asyncio.Condition()
        self._heard_at = clock.monotonic()
        self._is_unread = False
        self._asking = asyncio.Lock()
        self._unknown: tuple[int, int] | None = None
        """In which connection, and from which revision on, the control plane knew of none."""
        self._to_save = asyncio.Event()
        self._never = asyncio.Event()
        self._said = ""

    @property
    def stale_seconds(self) -> float | None:
        """Since when the control plane is away; None: it is there."""
        return None if self.connected.is_set() else max(self._clock.monotonic() - self._heard_at, 0.001)

    def standing(self, key: ObjectKey) -> Mapping[str, Any] | None:
        """A document as this relay knows it; None: there is none."""
        found = self._hub.objects.get(key)
        return found.document if found else None

    def load(self) -> None:
        """Start from what is on disk."""
        state = self._disk.load()
        if state.revision:
            self._hub.load(objects_of(state), state.revision)
            self.has_state = True
            LOG.info("state was loaded", revision=state.revision, objects=len(self._hub.objects))

    async def follow(self) -> None:
        """For ever: the stream, again and again."""
        backoff = Backoff(self._clock)
        while True:
            began = self._clock.monotonic()
            try:
                await self._read_stream()
                error: CausewayError = Unavailable("the control plane ended the stream")
            except CausewayError as caught:
                error = caught
            if self.connected.is_set() and self._clock.monotonic() - began >= LASTED_SECONDS:
                backoff.reset()
            self._lose(error)
            await self._clock.wait(self._never, backoff.after(error))

    async def keep(self) -> None:
        """For ever: whole states to disk, when they are due."""
        backoff = Backoff(self._clock)
        while True:
            if self.has_state and self._disk.is_due:
                try:
                    await self._disk.save(lambda: (self._hub.objects.values(), self._hub.revision))
                    backoff.reset()
                except CausewayError as error:
                    await self._clock.wait(self._never, backoff.after(error))
                continue
            await self._to_save.wait()
            self._to_save.clear()

    async def reach(self, revision: int) -> None:
        """Know what an agent knows already. A revision that the control plane itself does not know is none: it was set back. Raises
        Unavailable."""
        end = self._clock.monotonic() + REACH_SECONDS
        while revision > self._hub.revision:
            if not self.connected.is_set() or self._clock.monotonic() > end:
                said = f"this relay knows revision {self._hub.revision}, and you {revision} already"
                hint = "keep what you have until it has caught up with the control plane"
                raise Unavailable(said, hint=hint)
            await self._hear(CATCH_UP_SECONDS)
            if revision > self._hub.revision and not await self._is_known(revision):
                return

    async def _is_known(self, revision: int) -> bool:
        """Whether the control plane can tell what came after a revision. Raises Unavailable when it does not know either."""
        async with self._asking:
            if (known := self._unknown) and known[0] == self.connections and revision >= known[1]:
                return False
            async with aclosing(self._source.messages(revision)) as messages:
                first = await anext(messages, None)
            if isinstance(first, wire.Begin) and first.mode == "snapshot":
                self._unknown = self.connections, revision
                return False
            return True

    async def catch_up(self) -> None:
        """Wait for what may be under way. Raises Unavailable while the control plane is away."""
        if not self.connected.is_set():
            raise Unavailable("this relay does not reach the control plane")
        await self._hear(CATCH_UP_SECONDS)

    async def _hear(self, seconds: float) -> None:
        """Until something comes."""
        async with self._heard:
            try:
                await asyncio.wait_for(self._heard.wait(), seconds)
            except TimeoutError:
                return

    async def _read_stream(self) -> None:
        since = self._hub.revision if self.has_state and not self._is_unread else None
        changes: dict[ObjectKey, Held] = {}
        is_whole = False
        async with aclosing(self._source.messages(since)) as messages:
            async for message in messages:
                match message:
                    case wire.Begin(mode, _):
                        is_whole, changes = mode == "snapshot", {}
                    case wire.Upsert() | wire.Delete():
                        self._take(message, changes)
                    case wire.InSync(revision) | wire.Commit(revision):
                        await self._complete(changes, revision, is_whole=is_whole)
                        is_whole, changes = False, {}

    def _take(self, message: wire.Upsert | wire.Delete, changes: dict[ObjectKey, Held]) -> None:
        try:
            item = held_of(message)
        except InvalidInput as error:  # something is missing, nobody knows what: the next stream begins anew
            self._is_unread = True
            LOG.warning("the stream was not read whole", detail=error.message)
            return
        changes[item.key] = item

    async def _complete(self, changes: dict[ObjectKey, Held], revision: int, *, is_whole: bool) -> None:
        if is_whole:
            self._is_unread = False
            standing = [item for item in changes.values() if item.document is not None]
            try:
                await self._disk.save(lambda: (standing, revision))
            except CausewayError as error:  # served nevertheless; said by the disk
                LOG.warning("nodes are told what is not on disk", detail=error.message)
            self._hub.replace(standing, revision)
        elif changes or revision != self._hub.revision:
            self._disk.note([item.line for item in changes.values()], revision)
            self._hub.publish(Transaction(revision, tuple(changes.values())))
        self.has_state = True
        self._to_save.set()
        self._find()
        self._heard_at = self._clock.monotonic()
        async with self._heard:
            self._heard.notify_all()

    def _find(self) -> None:
        if not self.connected.is_set():
            LOG.info("control plane was reached", revision=self._hub.revision)
            self.refusal, self._said = "", ""
            self.connections += 1
            self.connected.set()

    def _lose(self, error: CausewayError) -> None:
        self.connected.clear()
        if isinstance(error, Unauthenticated | Forbidden):
            self.refusal = error.message
        if error.message != self._said:
            self._said = error.message
            say = LOG.error if self.refusal else LOG.warning
            say("control plane was lost", code=error.code, detail=error.message, hint=error.hint)
