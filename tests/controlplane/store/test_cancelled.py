"""Who is cancelled in the middle of a write: shutdown, a time-out, a client that went."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from controlplane.store.database import Connection, Database, current_revision, next_number

TURNS = range(0, 120, 3)
"""Of the loop, before the writer is cancelled: while it connects, begins, writes and commits."""


@pytest.fixture
def is_uncollected() -> Iterator[None]:
    """What the writer held is not tidied up by chance."""
    gc.disable()
    yield
    gc.enable()


async def write(connection: Connection) -> None:
    for _ in range(8):
        await next_number(connection, "revision")


@pytest.mark.usefixtures("is_uncollected")
async def test_a_cancelled_writer_does_not_keep_others_from_writing(database_url: str) -> None:
    database = Database(database_url)
    await database.upgrade()
    kept = []  # what was raised holds what the writer held
    try:
        for turns in TURNS:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(database.run(write))
                for turn in range(turns):
                    await asyncio.sleep(0.0001 if turn % 3 == 0 else 0)
                writer.cancel()
            kept.append(writer)
            await database.run(write)
        async with database.reading() as connection:
            revision = await current_revision(connection)
        done = sum(not writer.cancelled() for writer in kept)
        assert revision % 8 == 0, "all of a transaction, or nothing"
        assert 8 * (len(TURNS) + done) <= revision <= 16 * len(TURNS)
        assert done < len(TURNS), "nobody was cancelled"
    finally:
        await database.close()
