"""Whether the database is still the one whose revisions were told, and how its revisions go on when it is not.

A standby that is promoted may lack what was acknowledged last, and gives the same numbers to other changes. Who compares numbers alone would
not notice once it has counted beyond what was lost. PostgreSQL counts its promotions (timelines): the counter `timeline` holds the one that
revisions belong to. Whoever finds another one, or a revision lower than what was told, puts the revision forward, beyond all that was
ever told, and lets the log begin there: replicas compare all that stands, streams get a snapshot, and what nodes reported before does not count.
"""

from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import func, insert, null, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.store import tables as t
from controlplane.store.database import Database, is_away, notify

REVISIONS = 1_000_000_000
"""What the revision is put forward by: at a hundred changes a second 115 days. JSON's numbers have room for nine million such steps."""
TIMELINE = "timeline"
ASK = """
SELECT CASE WHEN pg_is_in_recovery() THEN NULL
ELSE ('x' || lpad(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 16, '0'))::bit(64)::bigint END
"""
"""The first eight digits of a segment's name are the timeline."""
LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database stands."""

    revision: int
    compacted: int
    is_same: bool
    """No promotion since the revisions were counted; also when that cannot be known."""
    at: datetime | None = None
    """By the server's clock; None: it is a file, and has none."""


async def has_timelines(database: Database) -> bool:
    """Whether the database tells of its promotions: PostgreSQL does, what speaks as it does may not. Raises Unavailable."""
    if database.is_sqlite:
        return False
    try:
        async with database.reading() as connection:
            await connection.execute(text(ASK))
    except DBAPIError as error:
        if is_away(error):
            raise
        LOG.info("the database tells nothing of timelines", why=str(error.orig).splitlines()[0])
        return False
    return True


async def place(connection: AsyncConnection, is_asking: bool) -> Place:
    """Where it stands now, within the transaction. `is_asking`: it has timelines."""
    is_server = connection.dialect.name == "postgresql"
    asked = select(t.counters, func.clock_timestamp() if is_server else null())
    rows = (await connection.execute(asked)).all()
    counters = {r.name: int(r.value) for r in rows}
    is_same = True
    if is_asking:
        now = await _timeline(connection)
        is_same = now is None or counters.get(TIMELINE) == now
    return Place(counters["revision"], counters["compacted"], is_same, rows[0][-1])


async def settle(database: Database, known: int, is_asking: bool) -> None:
    """Put the revision forward, unless another replica did already. `known` is the newest that was told here. Raises Unavailable."""

    async def work(connection: AsyncConnection) -> None:
        c = t.counters.c
        locked = update(t.counters).where(c.name == "revision").values(value=c.value)
        await connection.execute(locked)
        counters = await _counters(connection)
        now = await _timeline(connection) if is_asking else None
        before = counters.get(TIMELINE)
        if now is not None and before is None:
            await connection.execute(insert(t.counters).values(name=TIMELINE, value=now))
        elif now is not None and before != now:
            await connection.execute(update(t.counters).where(c.name == TIMELINE).values(value=now))
        is_other = now is not None and before is not None and before != now
        if not is_other and counters["revision"] >= known:
            return
        begun = max(counters["revision"], known) + REVISIONS
        for name in ("revision", "compacted"):
            await connection.execute(update(t.counters).where(c.name == name).values(value=begun))
        await notify(connection)
        LOG.warning(
            "the database is another one than before: revisions begin anew",
            timeline=now, timeline_before=before, found=counters["revision"], known=known, begun=begun,
        )  # fmt: skip

    await database.run(work)


async def _counters(connection: AsyncConnection) -> dict[str, int]:
    return {r.name: int(r.value) for r in await connection.execute(select(t.counters))}


async def _timeline(connection: AsyncConnection) -> int | None:
    found = (await connection.execute(text(ASK))).scalar()
    return None if found is None else int(found)
