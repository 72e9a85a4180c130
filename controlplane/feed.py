"""Follows the change log: what any replica has committed reaches this one's hub, in order, once; and says when the database was last seen.

A notification only wakes it. What it reads is everything beyond the revision it knows, so a lost notification costs a poll interval, and nothing
is missed or taken twice. A log that was compacted beyond that revision is made good by comparing everything that stands; so is a database that is not
the one whose revisions were told (see `controlplane.store.lineage`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from controlplane.clock import SharedClock
from controlplane.hub import Hub, Transaction
from controlplane.store import lineage, queries
from controlplane.store.database import Connection, Database
from federation.errors import Unavailable
from federation.resources.metadata import ObjectKey

POLL_SECONDS = 0.5
"""How late this replica may learn of a change that another one wrote, when its notification was lost."""
KEPT_CHANGES = 5_000
"""Of the log's end, taken at the start: agents that come over from another replica resume."""
SETTLINGS = 3
"""Of one catching up: a database is hardly promoted twice meanwhile."""
LOG = structlog.get_logger(__name__)


class Feed:
    """Between one database and one hub."""

    def __init__(
        self, database: Database, hub: Hub, clock: SharedClock, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._database = database
        self._hub = hub
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._catching_up = asyncio.Lock()
        self._begun = self._done = 0
        """Times that it caught up."""
        self._woken = asyncio.Event()
        self._seen = clock.monotonic()
        self._is_lost = False
        self._has_timelines: bool | None = None
        """None: not asked yet."""

    @property
    def stale_seconds(self) -> float | None:
        """Since when this replica does not know what the database holds; None: it knows."""
        return max(self._clock.monotonic() - self._seen, 0.001) if self._is_lost else None

    def standing(self, key: ObjectKey) -> Mapping[str, Any] | None:
        """A document as this replica knows it; None: there is none."""
        found = self._hub.objects.get(key)
        return found.document if found else None

    def enrolments(self) -> list[tuple[ObjectKey, str]]:
        """(who, enrolment) of every node and relay, as this replica knows them."""
        return [
            (key, ((self.standing(key) or {}).get("status") or {}).get("enrolment", ""))
            for kind in ("Node", "Relay")
            for key in self._hub.sorted_keys(kind)
        ]

    async def load(self) -> None:
        """Start from what stands. Raises Unavailable."""
        await self._settled(self._load)

    async def catch_up(self) -> None:
        """Publish what the log holds beyond what the hub knows. Who asks while others do shares a look that begins after it asked: many readers at once cost
        as little as two. Raises Unavailable."""
        needed = self._begun + 1
        try:
            async with self._catching_up:
                if self._done >= needed:
                    return
                self._begun = turn = self._begun + 1
                await self._settled(self._take)
                self._done = turn
        except Unavailable as error:
            self.lose(error)
            raise
        self._find()

    async def follow(self) -> None:
        """For ever, also while the database is away."""
        while True:
            try:
                if self._database.is_sqlite:
                    await self._keep_up()
                else:
                    async with self._database.listening(self._woken.set) as connection:
                        await self._keep_up(connection)
            except Unavailable as error:
                self.lose(error)
            await asyncio.sleep(self._poll_seconds * random.uniform(0.5, 1.5))

    async def _keep_up(self, listener: Connection | None = None) -> None:
        """Until the database, or the connection that listens, is lost."""
        while listener is None or not _is_closed(listener):
            self._woken.clear()
            await self.catch_up()
            try:
                await asyncio.wait_for(self._woken.wait(), self._poll_seconds)
            except TimeoutError:
                continue

    async def _settled(self, take: Callable[[Connection, lineage.Place], Awaitable[None]]) -> None:
        """Read, from a database that goes on where this replica left it, or that has been put forward. Raises Unavailable."""
        if self._has_timelines is None:
            self._has_timelines = await lineage.has_timelines(self._database)
        for _ in range(SETTLINGS):
            async with self._database.reading() as connection:
                place = await lineage.place(connection, self._has_timelines)
                if place.at is not None:
                    self._clock.hear(place.at)
                if place.is_same and place.revision >= self._hub.revision:
                    return await take(connection, place)
            await lineage.settle(self._database, self._hub.revision, self._has_timelines)
        raise Unavailable("the database changes its history again and again")

    async def _load(self, connection: Connection, place: lineage.Place) -> None:
        self._hub.load(await queries.everything(connection), place.revision)
        recent = await queries.latest_transactions(connection, KEPT_CHANGES)
        self._hub.log.extend(t for t in recent if t.revision > place.compacted)

    async def _take(self, connection: Connection, place: lineage.Place) -> None:
        if place.revision == self._hub.revision:
            return
        if place.compacted > self._hub.revision:
            self._hub.replace(await queries.everything(connection), place.revision)
            return
        for transaction in await queries.transactions_after(connection, self._hub.revision):
            self._hub.publish(transaction)
        if self._hub.revision < place.revision:  # a command that found nothing to change has taken a number
            self._hub.publish(Transaction(place.revision, ()))

    def lose(self, error: Exception) -> None:
        """Somebody found the database away."""
        if not self._is_lost:
            LOG.warning("the database is lost: reads go on from memory", why=str(error).splitlines()[0])
        self._is_lost = True

    def _find(self) -> None:
        if self._is_lost:
            LOG.warning("the database is back", after_seconds=round(self.stale_seconds or 0, 1))
        self._is_lost = False
        self._seen = self._clock.monotonic()


def _is_closed(listener: Connection) -> bool:
    return bool(listener.invalidated or listener.closed or listener.sync_connection is None)
