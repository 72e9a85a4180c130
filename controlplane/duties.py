"""What one replica does for all: the log is compacted, what nobody asks for any more is dropped."""

import asyncio
import uuid
from datetime import timedelta

import structlog

from controlplane.clock import Clock
from controlplane.store import leases, pki, queries, requests
from controlplane.store.database import Connection, Database, counter, current_revision
from federation.errors import Conflict, Unavailable

NAME = "duties"
ROUND_SECONDS = 10.0
"""A third of a lease: two rounds may fail before another replica takes over."""
KEPT_REVISIONS = 10_000
"""Of the log. A replica that was away for longer compares everything that stands."""
KEPT_CERTIFICATES = timedelta(days=90)
"""After their end: the longest grace period."""
BATCH = 2_000
"""Revisions that one transaction drops: none holds others up for long."""
LOG = structlog.get_logger(__name__)


class Duties:
    """Of one replica; it does them while it holds the lease."""

    def __init__(self, database: Database, clock: Clock, kept_revisions: int = KEPT_REVISIONS) -> None:
        self.holder = uuid.uuid4().hex
        self.epoch: int | None = None
        """Of the lease that this replica holds; None: another does."""
        self._database = database
        self._clock = clock
        self.kept_revisions = kept_revisions

    async def go_on(self) -> None:
        """For ever."""
        while True:
            try:
                await self.round()
            except (Unavailable, Conflict) as error:
                self.epoch = None
                LOG.info("duties wait", why=str(error).splitlines()[0])
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Once: renew the lease, and do what is to be done. Raises Unavailable, or Conflict when another replica has taken over meanwhile."""
        now = self._clock.now()
        self.epoch = await self._database.run(lambda c: leases.take(c, NAME, self.holder, now))
        if self.epoch is None:
            return
        await self._database.run(self._tidy)
        more = True
        while more:
            more = await self._database.run(self._compact)

    async def end(self) -> None:
        """Let another replica take over at once, if the database answers."""
        if self.epoch is None:
            return
        epoch, self.epoch = self.epoch, None
        try:
            await self._database.run(lambda c: leases.give_up(c, NAME, epoch, self._clock.now()))
        except Unavailable:
            return

    async def _tidy(self, connection: Connection) -> None:
        await self._prove(connection)
        await requests.forget(connection, self._clock.now())
        await pki.forget_certificates(connection, self._clock.now(), KEPT_CERTIFICATES)

    async def _compact(self, connection: Connection) -> bool:
        """Drop a batch; whether there is more."""
        await self._prove(connection)
        compacted = await counter(connection, "compacted")
        wanted = await current_revision(connection) - self.kept_revisions
        until = min(wanted, compacted + BATCH)
        if until <= compacted:
            return False
        await queries.compact(connection, until)
        return until < wanted

    async def _prove(self, connection: Connection) -> None:
        assert self.epoch is not None
        await leases.prove(connection, NAME, self.epoch)
