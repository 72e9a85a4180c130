"""A standby that takes over without the newest changes, and counts on: nobody goes on from what was lost, whoever is left to know of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.feed import Feed
from controlplane.hub import Hub
from controlplane.intent import NodeSession
from controlplane.service import ControlPlane, Settings
from controlplane.store import lineage
from controlplane.store.database import Database
from federation.errors import Gone, Unavailable
from nodeagent.control.replica import Replica, State
from tests.controlplane.lines import catch_up, known, visible, whole_lines
from tests.controlplane.postgres import Server
from tests.controlplane.test_database_away import until
from tests.controlplane.test_feed import tier

SESSION = NodeSession(cluster="dc1", node="n1")
LOST = 5


async def write(plane: ControlPlane, name: str) -> int:
    """Once the database is there."""
    while True:
        try:
            return (await plane.change([tier(name)], actor=inside("t"))).revision
        except Unavailable:
            await asyncio.sleep(0.1)


@pytest.mark.postgresql
@pytest.mark.parametrize("is_anybody_left", [True, False])
async def test_what_a_standby_lacks_is_gone_everywhere(
    make_server: Callable[[], Server], is_anybody_left: bool
) -> None:
    """Without a replica that knew, only PostgreSQL's timeline tells that revisions 4 to 8 are others than an agent knows."""
    primary, standby = make_server(), make_server()
    primary.make()
    primary.start()
    standby.copy_of(primary)
    standby.start()
    both = f"postgresql+asyncpg://postgres@/postgres?host={primary.folder}:5432&host={standby.folder}:5432&target_session_attrs=read-write"
    settings = Settings(database_url=both)
    staying, returning = Replica(State()), Replica(State())

    async def fail_over(plane: ControlPlane) -> AsyncIterator[bytes]:
        for number in range(3):
            await plane.change([tier(f"kept{number}")], actor=inside("t"))
        await until(lambda: standby.ask("SELECT max(revision) FROM changes") == "3")
        standby.stop()
        for number in range(LOST):
            await plane.change([tier(f"lost{number}")], actor=inside("t"))
        stream = whole_lines(plane.stream(SESSION, None))
        await catch_up(staying, stream, 3 + LOST)
        await catch_up(returning, whole_lines(plane.stream(SESSION, None)), 3 + LOST)
        primary.kill()
        await asyncio.to_thread(standby.start)
        await asyncio.to_thread(standby.promote)
        return stream

    async with asyncio.timeout(90):
        async with ControlPlane.open(settings, SystemClock()) as plane:
            stream = await fail_over(plane)
            if is_anybody_left:
                for number in range(LOST + 2):  # the same numbers again, and beyond
                    await write(plane, f"new{number}")
                await catch_up(staying, stream, plane.hub.revision)
                assert known(staying) == visible(plane.hub)
                with pytest.raises(Gone):
                    plane.watch("Tier", 3 + LOST)
        async with ControlPlane.open(settings, SystemClock()) as fresh:
            for number in range(LOST + 2):
                await write(fresh, f"new{number}")
            assert fresh.hub.revision > lineage.REVISIONS
            await catch_up(
                returning, whole_lines(fresh.stream(SESSION, returning.state.revision)), fresh.hub.revision
            )
            assert known(returning) == visible(fresh.hub)
            names = {path for _, path in known(returning)}
            assert names == {*(f"kept{n}" for n in range(3)), *(f"new{n}" for n in range(LOST + 2))}


@pytest.mark.postgresql
async def test_a_promotion_that_loses_nothing_puts_forward_once_whoever_notices(
    make_server: Callable[[], Server],
) -> None:
    server = make_server()
    server.make()
    server.start()
    async with (
        ControlPlane.open(Settings(database_url=server.url), SystemClock()) as one,
        ControlPlane.open(Settings(database_url=server.url), SystemClock()) as two,
    ):
        await one.change([tier("a")], actor=inside("t"))
        server.ask(
            "UPDATE counters SET value = 77 WHERE name = 'timeline'"
        )  # as if counted before a promotion
        await asyncio.gather(*(plane.catch_up() for plane in (one, two, one, two)))
        assert one.hub.revision == two.hub.revision == 1 + lineage.REVISIONS
        assert server.ask("SELECT value FROM counters WHERE name = 'timeline'") == "1"
        assert (await two.change([tier("b")], actor=inside("t"))).revision == 2 + lineage.REVISIONS
        await one.catch_up()
        assert visible(one.hub) == visible(two.hub)


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_database_that_tells_nothing_of_timelines_is_followed_all_the_same(
    database_url: str,
) -> None:
    """As engines that speak PostgreSQL's protocol may lack the function, or forbid it."""
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        async with plane.database.transaction() as connection:
            await connection.execute(text("CREATE ROLE plain LOGIN"))
            for statement in (
                "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain",
                "REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC",
                "DELETE FROM counters WHERE name = 'timeline'",
            ):
                await connection.execute(text(statement))
        poor = Database(database_url.replace("postgres@", "plain@"))
        try:
            assert await lineage.has_timelines(poor) is False
            feed = Feed(poor, hub := Hub(), SystemClock())
            await feed.load()
            await plane.change([tier("a")], actor=inside("t"))
            await feed.catch_up()
            assert visible(hub) == visible(plane.hub) != {}
        finally:
            await poor.close()
            async with plane.database.transaction() as connection:
                await connection.execute(text("DROP OWNED BY plain"))
                await connection.execute(text("DROP ROLE plain"))


async def test_a_command_that_finds_nothing_to_do_leaves_no_replica_behind(plane: ControlPlane) -> None:
    """Its number is used up; who waits for it is not left waiting."""
    await plane.change([tier("a")], actor=inside("t"))

    async def nothing(_unit: Any) -> None:
        return None

    await plane._work("t", nothing)
    async with plane.database.reading() as connection:
        assert (await lineage.place(connection, False)).revision == plane.hub.revision == 2
