"""Follows the change log: what any replica has committed reaches this one's hub, in order, once; and says when the database was last seen.

A notification only wakes it. What it reads is everything beyond the revision it knows, so a lost notification costs a poll interval, and nothing
is missed or taken twice. A log that was compacted beyond that revision is made good by comparing everything that stands.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import structlog

from controlplane.clock import Clock
from controlplane.hub import Hub
from controlplane.store import queries
from controlplane.store.database import Connection, Database, counter, current_revision
from federation.errors import Unavailable
from federation.resources.metadata import ObjectKey

POLL_SECONDS = 0.5
"""How late this replica may learn of a change that another one wrote, when its notification was lost."""
LOG = structlog.get_logger(__name__)


class Feed:
    """Between one database and one hub."""

    def __init__(
        self, database: Database, hub: Hub, clock: Clock, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._database = database
        self._hub = hub
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._catching_up = asyncio.Lock()
        self._woken = asyncio.Event()
        self._seen = clock.monotonic()
        self._is_lost = False

    @property
    def stale_seconds(self) -> float | None:
        """Since when this replica does not know what the database holds; None: it knows."""
        return max(self._clock.monotonic() - self._seen, 0.001) if self._is_lost else None

    def standing(self, key: ObjectKey) -> Mapping[str, Any] | None:
        """A document as this replica knows it; None: there is none."""
        found = self._hub.objects.get(key)
        return found.document if found else None

    def enrolments(self) -> list[tuple[str, str, str]]:
        """(cluster, node, enrolment) of every node, as this replica knows them."""
        return [
            (key.cluster, key.name, ((self.standing(key) or {}).get("status") or {}).get("enrolment", ""))
            for key in self._hub.sorted_keys("Node")
        ]

    async def load(self) -> None:
        """Start from what stands. Raises Unavailable."""
        async with self._database.reading() as connection:
            self._hub.load(await queries.everything(connection), await current_revision(connection))

    async def catch_up(self) -> None:
        """Publish what the log holds beyond what the hub knows. Raises Unavailable."""
        try:
            async with self._catching_up, self._database.reading() as connection:
                await self._take(connection)
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

    async def _take(self, connection: Connection) -> None:
        newest = await current_revision(connection)
        if newest == self._hub.revision:
            return
        if newest < self._hub.revision or await counter(connection, "compacted") > self._hub.revision:
            self._hub.replace(await queries.everything(connection), newest)
            return
        for transaction in await queries.transactions_after(connection, self._hub.revision):
            self._hub.publish(transaction)

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
