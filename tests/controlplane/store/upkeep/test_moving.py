"""Backups and copies: one consistent state, whole or not at all, of either database into either."""

import asyncio
import gzip
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, LargeBinary, String, Text, text

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings
from controlplane.store import schema
from controlplane.store.database import Database
from controlplane.store.tables import METADATA
from controlplane.store.upkeep import doors, moving, rows
from controlplane.store.upkeep.archive import Archive
from controlplane.store.upkeep.restoring import restore
from federation.errors import Conflict, InvalidInput, NotFound
from tests.controlplane.store.upkeep.conftest import contents, tier, within

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


async def backed_up(url: str, path: Path) -> moving.Moved:
    return await within(url, lambda database: moving.backup(database, path, release="1", now=NOW))


async def copied(source: str, target: str) -> moving.Moved:
    async with doors.opened(source) as one, doors.opened(target, is_new=True) as other:
        return await moving.copy(one, other, NOW)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_copy_is_exact_and_the_control_plane_goes_on_with_it(
    filled: str, kind: str, new_database: Callable[[str], str]
) -> None:
    target = new_database(kind)
    before = await within(filled, contents)
    moved = await copied(filled, target)
    after = await within(target, contents)
    before["counters"] = [row for row in before["counters"] if row[0] != "timeline"]
    after["counters"] = [row for row in after["counters"] if row[0] != "timeline"]
    assert after == before
    assert all(before[name] for name in before if name != "tunnel_addresses"), "every table has something"
    assert moved.rows["resources"] == len(before["resources"])
    async with ControlPlane.open(Settings(database_url=target), SystemClock()) as plane:
        assert (await plane.change([tier("new")], actor=inside("t"))).outcomes[0].result == "created"


async def test_nothing_is_copied_or_restored_over_what_stands(
    filled: str, tmp_path: Path, new_database: Callable[[str], str]
) -> None:
    other = new_database("sqlite")
    async with ControlPlane.open(Settings(database_url=other), SystemClock()) as plane:
        await plane.change([tier("mine")], actor=inside("t"))
    before = await within(filled, contents)
    with pytest.raises(Conflict, match="not empty"):
        await copied(other, filled)
    await backed_up(other, tmp_path / "b")
    with pytest.raises(Conflict, match="not empty"):
        await within(filled, lambda d: restore(d, tmp_path / "b", is_replacing=False, now=NOW))
    assert await within(filled, contents) == before


@pytest.mark.parametrize("is_replacing", [False, True])
async def test_somebody_elses_database_is_refused(
    database_url: str, tmp_path: Path, is_replacing: bool, new_database: Callable[[str], str]
) -> None:
    source = new_database("sqlite")
    async with ControlPlane.open(Settings(database_url=source), SystemClock()):
        await backed_up(source, tmp_path / "b")

    async def occupy(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE theirs (a integer)"))

    await within(database_url, occupy)
    for work in (
        lambda d: restore(d, tmp_path / "b", is_replacing=is_replacing, now=NOW),
        doors.make,
        doors.bring_up,
    ):
        with pytest.raises(Conflict, match="theirs"):
            await within(database_url, work)
    with pytest.raises(NotFound, match="no control plane's state"):
        await backed_up(database_url, tmp_path / "c")
    assert not (tmp_path / "c").exists()
    assert list(await within(database_url, contents)) == ["theirs"]


async def test_a_backup_is_one_moment_while_the_control_plane_writes(
    database_url: str, tmp_path: Path
) -> None:
    """Each change writes a pair: a backup that were no one moment would have halves."""
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        is_done = False

        async def write() -> None:
            number = 0
            while not is_done or number < 20:
                await plane.change([tier(f"a{number}"), tier(f"b{number}")], actor=inside("t"))
                number += 1

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(write())
            for turn in range(5):
                moved = await backed_up(database_url, tmp_path / f"b{turn}")
                assert await _halves(tmp_path / f"b{turn}") == (moved.revision, set())
            is_done = True


async def _halves(path: Path) -> tuple[int, set[str]]:
    names, revision = set[str](), 0
    for batch in Archive(path).batches():
        if batch.table == "resources":
            names |= {str(row[3]) for row in batch.rows}
        if batch.table == "counters":
            revision = next(int(row[1]) for row in batch.rows if row[0] == "revision")
    assert len(names) == 2 * revision
    return revision, {n for n in names if {"a": "b", "b": "a"}[n[0]] + n[1:] not in names}


async def test_a_backup_is_its_owners_alone_replaces_the_older_and_leaves_nothing_beside(
    filled: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "b").write_text("older")
    await backed_up(filled, folder / "b")
    assert [p.name for p in folder.iterdir()] == ["b"]
    assert stat.S_IMODE((folder / "b").stat().st_mode) == 0o600
    lines = [json.loads(line) for line in gzip.decompress((folder / "b").read_bytes()).splitlines()]
    assert (lines[0]["format"], lines[0]["schema"]) == ("causeway-backup", schema.newest())
    assert set(lines[-1]["rows"]) == set(METADATA.tables)


async def test_a_backup_that_fails_leaves_the_older_one(filled: str, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "b").write_text("older")

    async def break_it(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("DELETE FROM counters"))

    await within(filled, break_it)
    with pytest.raises(Exception, match="No row was found"):
        await backed_up(filled, folder / "b")
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("b", "older")]


async def test_batches_are_bounded(database_url: str) -> None:
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        await plane.change([tier(f"t{n}") for n in range(1100)], actor=inside("t"))
        async with plane.database.reading() as connection:
            table = METADATA.tables["resources"]
            sizes = [len(batch) async for batch in rows.batches(connection, table)]
    assert sizes == [500, 500, 100]


def test_every_column_is_of_a_type_that_a_backup_carries_between_databases() -> None:
    carried = (Integer, BigInteger, String, Text, Boolean, LargeBinary, DateTime)
    others = [
        f"{table.name}.{column.name}"
        for table in METADATA.sorted_tables
        for column in table.columns
        if not isinstance(column.type, carried)
    ]
    assert not others
    assert all(table.primary_key.columns for table in METADATA.sorted_tables), "rows are read in its order"


async def test_a_schema_that_this_release_does_not_know_is_not_copied(
    filled: str, new_database: Callable[[str], str]
) -> None:
    async def age(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await within(filled, age)
    with pytest.raises(InvalidInput, match="9999"):
        await copied(filled, new_database("sqlite"))
