"""After a restore nobody goes on from what was lost: agents, replicas, users and nodes' reports all meet revisions that never were."""

import asyncio
import gzip
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, text

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.duties import NAME
from controlplane.intent import NodeSession, RequestKey, Verb
from controlplane.service import ControlPlane, Settings
from controlplane.store import leases, schema
from controlplane.store import tables as t
from controlplane.store.database import Database, counter
from controlplane.store.upkeep import doors, moving, restoring
from controlplane.store.upkeep.check import check
from federation.errors import Conflict, Gone, InvalidInput
from nodeagent.control.replica import Replica, State
from tests.controlplane.lines import catch_up, known, visible, whole_lines
from tests.controlplane.store.upkeep.conftest import contents, fill, tier, within
from tests.controlplane.store.upkeep.test_moving import KINDS, NOW, backed_up


async def restored(url: str, path: Path, *, is_replacing: bool = False) -> moving.Moved:
    async with doors.opened(url, is_new=True) as database:
        return await restoring.restore(database, path, is_replacing=is_replacing, now=SystemClock().now())


@pytest.mark.parametrize("kind", KINDS)
async def test_a_backup_becomes_the_state_of_another_database(
    filled: str, tmp_path: Path, kind: str, new_database: Callable[[str], str]
) -> None:
    target = new_database(kind)
    moved = await backed_up(filled, tmp_path / "b")
    got = await restored(target, tmp_path / "b")
    before, after = await within(filled, contents), await within(target, contents)
    for name in before.keys() - {"counters", "leases", "changes"}:
        assert after[name] == before[name], name
    assert after["changes"] == []
    was, now = dict(before["counters"]), dict(after["counters"])
    assert got.revision == now["revision"] == now["compacted"] == moved.revision + 1_000_000_000
    assert now["identity"] == was["identity"] + restoring.MARGINS["identity"]
    assert now["tunnel"] == was["tunnel"] + restoring.MARGINS["tunnel"]
    assert (await within(target, check)).faults == ()


async def test_whoever_knew_newer_things_ends_with_exactly_what_was_restored(
    database_url: str, tmp_path: Path
) -> None:
    """Two agents and a second replica hold what came after the backup: one agent is cut off and comes back, one stays on its stream."""
    settings = Settings(database_url=database_url)
    async with ControlPlane.open(settings, SystemClock()) as plane:
        await fill(plane)
        session = NodeSession(cluster="dc1", node="n1")
        await backed_up(database_url, tmp_path / "b")
        wanted = visible(plane.hub)
        await plane.change([tier("later"), tier("pci", 99)], actor=inside("t"))
        await plane.change([tier("later", verb=Verb.DELETE), tier("latest")], actor=inside("t"))
        staying, returning = Replica(State()), Replica(State())
        stream = whole_lines(plane.stream(session, None))
        await catch_up(staying, stream, plane.hub.revision)
        await catch_up(returning, whole_lines(plane.stream(session, None)), plane.hub.revision)
        assert known(staying) == known(returning) == visible(plane.hub)
        moved = await restored(database_url, tmp_path / "b", is_replacing=True)
        await catch_up(staying, stream, moved.revision)
        assert known(staying) == wanted
        assert visible(plane.hub) == wanted
        with pytest.raises(Gone):
            plane.watch("Tier", returning.state.revision)
        for _ in range(9):  # the numbers of after the backup come again, were they not put forward
            await plane.change([tier(f"new{_}")], actor=inside("t"))
        async with ControlPlane.open(settings, SystemClock()) as other:
            for one in (plane, other):
                back = Replica(returning.state)
                await catch_up(
                    back, whole_lines(one.stream(session, back.state.revision)), plane.hub.revision
                )
                assert known(back) == visible(plane.hub)
        await catch_up(staying, stream, plane.hub.revision)
        assert known(staying) == visible(plane.hub)
        rollout = await plane.rollout(plane.hub.revision, 0)
        assert [node for node, _ in rollout.behind] == ["dc1/n1"], "a report of before is none of now"


async def test_an_epoch_is_never_given_twice(database_url: str, tmp_path: Path) -> None:
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        await plane.duties.round()
        await backed_up(database_url, tmp_path / "b")
        await restored(database_url, tmp_path / "b", is_replacing=True)
        epoch = plane.duties.epoch or 0
        with pytest.raises(Conflict, match="another replica"):
            await plane.database.run(lambda c: leases.prove(c, NAME, epoch))
        await plane.duties.round()
        assert (plane.duties.epoch or 0) > epoch + 1


async def test_a_request_from_before_the_backup_is_not_carried_out_again(filled: str, tmp_path: Path) -> None:
    await backed_up(filled, tmp_path / "b")
    await restored(filled, tmp_path / "b", is_replacing=True)
    async with ControlPlane.open(Settings(database_url=filled), SystemClock()) as plane:
        before = plane.hub.revision
        with pytest.raises(Conflict, match="another request"):
            await plane.change([tier("x")], actor=inside("ann"), request=RequestKey("k", "other"))
        assert plane.hub.revision == before


@pytest.mark.parametrize("is_replacing", [False, True])
async def test_a_damaged_backup_changes_nothing(filled: str, tmp_path: Path, is_replacing: bool) -> None:
    await backed_up(filled, tmp_path / "b")
    packed = gzip.decompress((tmp_path / "b").read_bytes())
    (tmp_path / "b").write_bytes(gzip.compress(packed.replace(b"10.10.1.10", b"10.10.1.66")))
    before = await within(filled, contents)
    with pytest.raises(InvalidInput, match="checksum"):
        await restored(filled, tmp_path / "b", is_replacing=is_replacing)
    assert await within(filled, contents) == before
    with pytest.raises(InvalidInput, match="checksum"):
        await restored(f"sqlite:{tmp_path}/fresh.db", tmp_path / "b")
    assert not (tmp_path / "fresh.db").exists()


async def test_a_backup_of_a_schema_that_is_not_known_is_refused(filled: str, tmp_path: Path) -> None:
    async def age(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await within(filled, age)
    await backed_up(filled, tmp_path / "b")
    with pytest.raises(InvalidInput, match="9999"):
        await restored(f"sqlite:{tmp_path}/fresh.db", tmp_path / "b")


@pytest.mark.parametrize("old", schema.versions())
async def test_a_backup_of_every_older_schema_is_restored_and_upgraded(
    database_url: str, tmp_path: Path, old: str
) -> None:
    """Made by hand as that release had it: a counter, a tier, its change."""

    async def make(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.run_sync(schema.upgrade, old)
            document = '{"apiVersion":"causeway.dev/v1","kind":"Tier","metadata":{"name":"a","revision":1},"spec":{}}'
            values = {"d": document}
            await connection.execute(text("UPDATE counters SET value = 1 WHERE name = 'revision'"))
            await connection.execute(
                text("INSERT INTO resources VALUES ('Tier', '', '', 'a', 1, :d)"), values
            )
            await connection.execute(
                text("INSERT INTO changes VALUES (1, 1, 'Tier', 'a', 't', '', :d)"), values
            )

    await within(database_url, make)
    await backed_up(database_url, tmp_path / "b")
    for target, is_replacing in ((f"sqlite:{tmp_path}/fresh.db", False), (database_url, True)):
        moved = await restored(target, tmp_path / "b", is_replacing=is_replacing)
        async with ControlPlane.open(Settings(database_url=target), SystemClock()) as plane:
            assert list(visible(plane.hub)) == [("Tier", "a")]
            async with plane.database.reading() as connection:
                assert await connection.run_sync(schema.version) == schema.newest()
                assert await counter(connection, "compacted") == moved.revision
        assert (await within(target, check)).faults == ()


async def test_an_older_schema_takes_no_place_under_a_running_control_plane(
    database_url: str, tmp_path: Path
) -> None:
    async with doors.opened(f"sqlite:{tmp_path}/old.db", is_new=True) as database:
        async with database.transaction() as connection:
            await connection.run_sync(schema.upgrade, "0002")
        await moving.backup(database, tmp_path / "b", release="1", now=NOW)
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        await plane.change([tier("a")], actor=inside("t"))
        await plane.duties.round()
        with pytest.raises(Conflict, match="stop all replicas"):
            await restored(database_url, tmp_path / "b", is_replacing=True)
        async with plane.database.reading() as connection:
            assert (await connection.execute(select(t.resources.c.name))).scalars().all() == ["a"]
    await restored(database_url, tmp_path / "b", is_replacing=True)
    assert (await within(database_url, contents))["resources"] == []


async def test_writers_wait_for_a_restore_and_go_on(database_url: str, tmp_path: Path) -> None:
    """Replicas write, report and hold the lease all the while: none dies, and what is acknowledged afterwards stands."""
    settings = Settings(database_url=database_url)
    async with ControlPlane.open(settings, SystemClock()) as plane:
        await fill(plane)
        await backed_up(database_url, tmp_path / "b")
        acknowledged: list[tuple[str, int]] = []
        is_done = False

        async def write() -> None:
            number = 0
            while not is_done:
                applied = await plane.change([tier(f"w{number}")], actor=inside("t"))
                acknowledged.append((f"w{number}", applied.revision))
                with suppress(Conflict):  # the lease is another's now: it is taken again at the next round
                    await plane.duties.round()
                number += 1

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(3):
                moved = await restored(database_url, tmp_path / "b", is_replacing=True)
                seen = len(acknowledged)
                while len(acknowledged) < seen + 3:  # noqa: ASYNC110 - others' progress
                    await asyncio.sleep(0.01)
            is_done = True
        await plane.catch_up()
        tiers = {path for kind, path in visible(plane.hub) if kind == "Tier"}
        assert tiers == {"pci"} | {name for name, revision in acknowledged if revision > moved.revision}
        assert (await within(database_url, check)).faults == ()


def test_the_margin_leaves_room_in_the_numbers_of_json() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert now.year + 2**53 // restoring.REVISIONS > 9_000_000, "one restore a year"
