"""A database that stops, freezes, or fails over: reads go on from memory, writes are refused clearly, and nothing acknowledged is lost."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from api.rest.app import application
from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import RequestKey
from controlplane.service import ControlPlane, Settings
from controlplane.store import lineage
from controlplane.store.database import Database
from federation.errors import Unavailable
from tests.controlplane.postgres import Server
from tests.controlplane.test_feed import tier

pytestmark = pytest.mark.postgresql
HOLDERS = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(8)%' AND pid != pg_backend_pid()"


@pytest.fixture
def server(make_server: Callable[[], Server]) -> Server:
    made = make_server()
    made.make()
    made.start()
    return made


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - others' states
            await asyncio.sleep(0.05)


def names(answer: httpx.Response) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json()["items"]]


@pytest.mark.parametrize("how", ["stop", "freeze"])
async def test_reads_go_on_and_writes_are_refused_while_the_database_is_away(
    server: Server, how: str
) -> None:
    async with ControlPlane.open(Settings(database_url=server.url), SystemClock()) as plane:
        token = (await plane.access.create_token("t")).text
        transport = httpx.ASGITransport(application(plane), raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {token}"}
        ) as api:
            await plane.change([tier("a")], actor=inside("t"))
            fresh = await api.get("/api/v1/tiers")
            assert (names(fresh), "causeway-stale" in fresh.headers) == (["a"], False)
            getattr(server, how)()
            async with asyncio.timeout(20):
                stale = await api.get("/api/v1/tiers")
                assert (stale.status_code, names(stale)) == (200, ["a"])
                assert int(stale.headers["causeway-stale"]) >= 0
                refused = await api.post("/api/v1/tiers", json={"apiVersion": "causeway.dev/v1", "kind": "Tier", "metadata": {"name": "b"}, "spec": {}})  # fmt: skip
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["title"] == "unavailable"
            assert (await api.get("/readyz")).json()["status"] == "stale"
            stranger = await api.get("/api/v1/tiers", headers={"Authorization": "Bearer a.b"})
            assert stranger.status_code == 503, "nobody knows who that is"
            server.thaw() if how == "freeze" else server.start()
            await until(lambda: plane.feed.stale_seconds is None)
            assert (await plane.change([tier("b")], actor=inside("t"))).outcomes[0].result == "created"
            assert names(await api.get("/api/v1/tiers")) == ["a", "b"]


async def test_a_statement_that_hangs_is_ended(server: Server) -> None:
    async with ControlPlane.open(Settings(database_url=server.url), SystemClock()) as plane:
        server.ask("ALTER DATABASE postgres SET lock_timeout = '200ms'")
        hold = "BEGIN; UPDATE counters SET value = value; SELECT pg_sleep(8); ROLLBACK"
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(server.ask, hold))
            await until(lambda: server.ask(HOLDERS) == "1")
            with pytest.raises(Unavailable):
                await plane.change([tier("a")], actor=inside("t"))
        assert (await plane.change([tier("a")], actor=inside("t"))).outcomes[0].result == "created"


async def test_a_server_that_hangs_up_while_a_connection_is_made_is_away() -> None:
    """As PostgreSQL does that is just going: the error has a class of its own."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        database = Database(f"postgresql://u@127.0.0.1:{port}/d?ssl=disable")
        try:
            with pytest.raises(Unavailable, match="does not answer"):
                async with database.reading():
                    pass
        finally:
            await database.close()


async def test_fail_over_loses_nothing_acknowledged_and_does_nothing_twice(
    make_server: Callable[[], Server],
) -> None:
    primary, standby = make_server(), make_server()
    primary.make()
    primary.start("synchronous_standby_names=*", "synchronous_commit=local")
    standby.copy_of(primary)
    standby.start("synchronous_standby_names=")
    primary.ask("ALTER SYSTEM SET synchronous_commit = 'on'")
    both = f"postgresql+asyncpg://postgres@/postgres?host={primary.folder}:5432&host={standby.folder}:5432&target_session_attrs=read-write"
    primary.stop("fast")
    primary.start("synchronous_standby_names=*")
    acknowledged: list[str] = []
    refusals = 0
    async with ControlPlane.open(Settings(database_url=both), SystemClock()) as plane:

        async def write(number: int) -> None:
            nonlocal refusals
            while True:
                try:
                    await plane.change(
                        [tier(f"t{number}")], actor=inside("t"), request=RequestKey(f"k{number}", "d")
                    )
                except Unavailable:
                    refusals += 1
                    await asyncio.sleep(0.1)
                else:
                    acknowledged.append(f"t{number}")
                    return

        async def writes() -> None:
            for number in range(200):
                await write(number)

        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            group.create_task(writes())
            await until(lambda: len(acknowledged) > 50)
            primary.kill()
            await until(lambda: refusals > 0)
            before = len(acknowledged)
            await asyncio.to_thread(standby.promote)
        assert 50 < before < 200
        assert standby.ask("SELECT count(*) FROM resources WHERE kind = 'Tier'") == "200"
        assert standby.ask("SELECT count(*), count(DISTINCT path) FROM changes") == "200|200", "once each"
        assert sorted(acknowledged) == sorted(f"t{n}" for n in range(200))
        newest = 200 + lineage.REVISIONS  # it was promoted: nobody can know that it lacked nothing
        await until(lambda: plane.hub.revision == newest and plane.feed.stale_seconds is None)
        assert sum(key.kind == "Tier" for key in plane.hub.objects) == 200
