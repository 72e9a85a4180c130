"""The change feed: nothing missed, nothing twice, nothing out of order, whoever writes, and over a compacted log."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.duties import NAME, Duties
from controlplane.feed import Feed
from controlplane.hub import Hub
from controlplane.intent import Change, ListQuery, RequestKey, Verb
from controlplane.service import ControlPlane, Settings
from controlplane.store import leases
from controlplane.store.database import Database
from controlplane.store.lineage import REVISIONS
from federation.errors import Conflict, Gone
from federation.resources.codec import decode

WRITERS, WATCHERS, REPLICAS, WRITES = 32, 8, 4, 12
LATE = """
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
"""
"""Every transaction waits for a while just before it commits."""


def tier(name: str, order: int = 100, verb: Verb = Verb.APPLY) -> Change:
    resource = decode(
        {
            "apiVersion": "causeway.dev/v1",
            "kind": "Tier",
            "metadata": {"name": name},
            "spec": {"order": order},
        }
    )
    return Change(verb=verb, key=resource.key, resource=resource)


async def seen_by(plane: ControlPlane, since: int | None, count: int) -> list[tuple[str, int]]:
    """(name, revision) of the first changes that a watcher is told of."""
    seen: list[tuple[str, int]] = []
    async for event in plane.watch("Tier", since):
        if event["type"] != "BOOKMARK":
            meta = event["object"]["metadata"]
            seen.append((meta["name"], meta["revision"]))
        if len(seen) >= count:
            break
    return seen


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_watchers_see_every_change_once_and_in_order_whoever_writes(database_url: str) -> None:
    chance = random.Random(5)
    async with AsyncExitStack() as stack:
        settings = Settings(database_url=database_url)
        planes = [
            await stack.enter_async_context(ControlPlane.open(settings, SystemClock()))
            for _ in range(REPLICAS)
        ]
        async with planes[0].database.transaction() as connection:
            for statement in LATE.strip().split(";\nCREATE CONSTRAINT"):
                await connection.execute(
                    text(statement if statement.startswith("CREATE") else "CREATE CONSTRAINT" + statement)
                )
        total = WRITERS * WRITES

        async def writer(number: int) -> list[tuple[str, int]]:
            done = []
            for turn in range(WRITES):
                await asyncio.sleep(chance.uniform(0, 0.01))
                applied = await planes[number % REPLICAS].change(
                    [tier(f"w{number}-{turn}")], actor=inside("t")
                )
                done.append((f"w{number}-{turn}", applied.revision))
            return done

        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            watchers = [group.create_task(seen_by(planes[n % REPLICAS], 0, total)) for n in range(WATCHERS)]
            writers = [group.create_task(writer(n)) for n in range(WRITERS)]
        written = sorted((pair for each in writers for pair in each.result()), key=lambda pair: pair[1])
        assert [revision for _, revision in written] == list(range(1, total + 1)), "no number is passed over"
        for watcher in watchers:
            assert watcher.result() == written
        for plane in planes:  # and from the middle
            assert await seen_by(plane, total // 2, total - total // 2) == written[total // 2 :]


def standing(hub: Hub) -> dict[Any, bytes]:
    return {key: held.line for key, held in hub.objects.items()}


async def test_over_a_compacted_log_what_stands_is_compared(plane: ControlPlane, clock: Any) -> None:
    feed = Feed(plane.database, hub := Hub(), clock)
    await plane.change([tier("kept"), tier("changed"), tier("gone")], actor=inside("t"))
    await feed.load()
    await plane.change([tier("changed", 7)], actor=inside("t"))
    await plane.change([tier("gone", verb=Verb.DELETE)], actor=inside("t"))
    for number in range(10):
        await plane.change([tier(f"new{number}")], actor=inside("t"))
    events = hub.watch("Tier")
    assert {(await anext(events))["object"]["metadata"]["name"] for _ in range(3)} == {
        "kept",
        "changed",
        "gone",
    }
    assert (await anext(events))["type"] == "BOOKMARK"
    plane.duties.kept_revisions = 3
    await plane.duties.round()
    async with plane.database.reading() as connection:
        left = (await connection.execute(text("SELECT min(revision), max(revision) FROM changes"))).one()
    assert tuple(left) == (plane.hub.revision - 2, plane.hub.revision)
    await feed.catch_up()
    assert (hub.revision, standing(hub)) == (plane.hub.revision, standing(plane.hub))
    told = [await anext(events) for _ in range(12)]
    assert sorted((e["type"], e["object"]["metadata"]["name"]) for e in told) == sorted(
        [("MODIFIED", "changed"), ("DELETED", "gone"), *(("ADDED", f"new{n}") for n in range(10))]
    )
    with pytest.raises(Gone):
        hub.watch("Tier", plane.hub.revision - 1)  # nobody resumes across what is not known step by step


async def test_a_database_that_was_set_back_is_taken_as_it_is_at_a_revision_of_its_own(
    plane: ControlPlane, clock: Any
) -> None:
    await plane.change([tier("a")], actor=inside("t"))
    await plane.change([tier("b")], actor=inside("t"))
    async with plane.database.transaction() as connection:
        await connection.execute(text("DELETE FROM resources WHERE name = 'b'"))
        await connection.execute(text("DELETE FROM changes WHERE revision = 2"))
        await connection.execute(text("UPDATE counters SET value = 1 WHERE name = 'revision'"))
    await plane.catch_up()
    assert [d["metadata"]["name"] for d in (await plane.list(ListQuery(kind="Tier"))).documents] == ["a"]
    assert plane.hub.revision == 2 + REVISIONS, "beyond all that was told"


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_lost_notification_costs_a_poll_at_most(database_url: str) -> None:
    settings = Settings(database_url=database_url)
    async with (
        ControlPlane.open(settings, SystemClock()) as one,
        ControlPlane.open(settings, SystemClock()) as two,
    ):
        await one.change([tier("a")], actor=inside("t"))
        async with asyncio.timeout(10):
            assert await seen_by(two, 0, 1) == [("a", 1)]
        async with one.database.transaction() as connection:  # as `change` does, but nobody is told
            document = '{"apiVersion":"causeway.dev/v1","kind":"Tier","metadata":{"name":"b","revision":2},"spec":{}}'
            await connection.execute(text("UPDATE counters SET value = 2 WHERE name = 'revision'"))
            values = {"document": document}
            await connection.execute(
                text("INSERT INTO resources VALUES ('Tier', '', '', 'b', 2, :document)"), values
            )
            await connection.execute(
                text("INSERT INTO changes VALUES (2, 1, 'Tier', 'b', 't', '', :document)"), values
            )
        async with asyncio.timeout(10):
            assert await seen_by(two, 1, 1) == [("b", 2)]


async def test_a_request_that_is_sent_again_is_carried_out_once(plane: ControlPlane) -> None:
    request = RequestKey("k1", "digest")
    both = await asyncio.gather(
        *(plane.change([tier(f"a{n}")], actor=inside("t"), request=request) for n in range(2))
    )
    assert both[0].revision == both[1].revision == plane.hub.revision
    assert both[0].outcomes == both[1].outcomes
    assert both[0].outcomes[0].result == "created"
    with pytest.raises(Conflict, match="another request"):
        await plane.change([tier("b")], actor=inside("t"), request=RequestKey("k1", "other"))
    other = await plane.change([tier("b")], actor=inside("somebody else"), request=request)
    assert other.outcomes[0].result == "created", "a key is its principal's own"
    await plane.change([tier("c")], actor=inside("t"), is_dry_run=True, request=RequestKey("k2", "d"))
    real = await plane.change([tier("c")], actor=inside("t"), request=RequestKey("k2", "d"))
    assert real.outcomes[0].result == "created", "a dry run leaves nothing"


async def test_requests_are_forgotten_after_a_day(plane: ControlPlane, clock: Any) -> None:
    await plane.change([tier("a")], actor=inside("t"), request=RequestKey("k", "d"))
    clock.seconds += timedelta(hours=23).total_seconds()
    await plane.duties.round()
    with pytest.raises(Conflict):
        await plane.change([tier("b")], actor=inside("t"), request=RequestKey("k", "other"))
    clock.seconds += timedelta(hours=2).total_seconds()
    await plane.duties.round()
    await plane.change([tier("b")], actor=inside("t"), request=RequestKey("k", "other"))


async def test_one_replica_has_the_duties_and_another_takes_over(plane: ControlPlane, clock: Any) -> None:
    one, two = Duties(plane.database, clock), Duties(plane.database, clock)
    clock.seconds += 60
    await one.round()
    await two.round()
    assert (one.epoch is not None, two.epoch) == (True, None)
    first = one.epoch or 0
    clock.seconds += leases.LIFE.total_seconds() + 1
    await two.round()
    assert two.epoch == first + 1
    with pytest.raises(
        Conflict, match="gone to another"
    ):  # it was asleep, and goes on with what it was about
        await plane.database.run(lambda c: leases.prove(c, NAME, first))
    await two.end()
    await one.round()
    assert one.epoch == first + 2, "at once: it was given up"


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)], ids=str)
async def test_a_lease_by_a_clock_that_was_a_day_wrong_is_waited_for_no_longer_than_a_lease(
    plane: ControlPlane, clock: Any, jump: timedelta
) -> None:
    one, two = Duties(plane.database, clock), Duties(plane.database, clock)
    async with asyncio.timeout(10):
        while plane.duties.epoch is None:  # noqa: ASYNC110 - it has its first round, and the next in ten seconds
            await asyncio.sleep(0.01)
    clock.seconds += 60
    await one.round()
    clock.seconds += jump.total_seconds()
    await one.round()
    assert one.epoch is not None, "it goes on"
    clock.seconds -= jump.total_seconds()  # it is put right, and the holder is gone
    clock.seconds += leases.LIFE.total_seconds() + 1
    await two.round()
    assert two.epoch == one.epoch + 1


async def test_readers_at_once_share_looks_and_each_sees_what_was_written_before_it_asked(
    plane: ControlPlane, database_url: str
) -> None:
    hub, database, looks = Hub(), Database(database_url), []
    listen(database.engine.sync_engine, "begin", looks.append)
    try:
        feed = Feed(database, hub, plane.clock)
        await feed.load()
        looks.clear()
        for number in range(5):
            early = [asyncio.ensure_future(feed.catch_up()) for _ in range(50)]
            await asyncio.sleep(0)
            applied = await plane.change([tier(f"t{number}")], actor=inside("t"))
            await asyncio.gather(*(feed.catch_up() for _ in range(50)))
            assert hub.revision == applied.revision
            await asyncio.gather(*early)
        assert 5 <= len(looks) <= 20, "of five hundred readers"
    finally:
        await database.close()
