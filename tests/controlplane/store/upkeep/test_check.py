"""A database that agrees has no fault; whatever is altered by hand is found, by name."""

import asyncio
import json

import pytest
from sqlalchemy import text

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.service import ControlPlane, Settings
from controlplane.store import schema
from controlplane.store.database import Database
from controlplane.store.upkeep.check import check
from tests.controlplane.store.upkeep.conftest import ENDPOINT, change, within

WEB = "kind = 'Endpoint' AND name = 'web'"
ALTERED = {
    "counter behind the log": (
        "UPDATE counters SET value = 1 WHERE name = 'revision'",
        "the counter of revisions stands at 1, the log at",
    ),
    "counter lost": ("DELETE FROM counters WHERE name = 'tunnel'", "the counter tunnel is missing"),
    "compacted too far": (
        "UPDATE counters SET value = 99 WHERE name = 'compacted'",
        "compacted beyond the newest revision",
    ),
    "no JSON": (f"UPDATE resources SET document = '{{' WHERE {WEB}", "Endpoint dc1/shop/web cannot be read"),
    "no document": (
        "UPDATE resources SET document = replace(document, '\"order\":10', '\"order\":\"ten\"') WHERE kind = 'Tier'",
        "Tier pci cannot be read",
    ),
    "under another name": (
        "UPDATE resources SET name = 'other' WHERE kind = 'Tier'",
        "Tier other at 1 holds Tier pci at 1",
    ),
    "tier gone": (
        "DELETE FROM resources WHERE kind = 'Tier'",
        "GlobalNetworkPolicy pci.web names Tier pci, which does not exist",
    ),
    "not as logged": (
        "DELETE FROM resources WHERE kind = 'Link'",
        "Link dc1-aws1 is not what the log's revision 1",
    ),
    "log rewritten": (
        "UPDATE changes SET document = NULL WHERE kind = 'Link'",
        "Link dc1-aws1 is not what the log's revision 1",
    ),
    "address lost": (
        "DELETE FROM addresses WHERE address = '10.10.1.10'",
        "address 10.10.1.10 of Endpoint dc1/shop/web is held by nobody",
    ),
    "address stolen": (
        "UPDATE addresses SET owner = 'Node dc1/n9' WHERE address = '192.0.2.77'",
        "address 192.0.2.77 of HostEndpoint dc1/n1-all is held by Node dc1/n9",
    ),
    "address left over": (
        "INSERT INTO addresses VALUES ('10.10.1.99', 'Endpoint dc1/shop/gone')",
        "address 10.10.1.99 is held by Endpoint dc1/shop/gone, which has it not",
    ),
    "identity lost": (
        "DELETE FROM identities",
        "identity 256 of Endpoint dc1/shop/web does not stand for its labels",
    ),
    "identity altered": ("UPDATE identities SET labels = '{}'", "identity 256 and its resource differ"),
    "identity left over": ("INSERT INTO identities VALUES (255, '{}')", "identity 255 is no endpoint's"),
    "identity to come": (
        "UPDATE counters SET value = 255 WHERE name = 'identity'",
        "identity 256 is beyond its counter",
    ),
    "index lost": (
        "DROP INDEX ix_addresses_owner",
        "the schema differs from this release's: index ix_addresses_owner is missing",
    ),
    "column too many": ("ALTER TABLE counters ADD COLUMN x integer", "column counters.x is one too many"),
    "column lost": (
        "ALTER TABLE counters RENAME COLUMN value TO val",
        "column counters.value is missing",
    ),
    "table of others": ("CREATE TABLE theirs (a integer)", "table theirs is one too many"),
}


async def faults(url: str) -> tuple[str, ...]:
    return (await within(url, check)).faults


async def test_what_a_control_plane_writes_has_no_fault(filled: str) -> None:
    found = await within(filled, check)
    assert (found.faults, found.schema) == ((), schema.newest())
    assert (found.objects, found.revision) == (10, 4)


@pytest.mark.parametrize("name", ALTERED)
async def test_what_was_altered_is_found(filled: str, name: str) -> None:
    statement, wanted = ALTERED[name]

    async def alter(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.exec_driver_sql(statement)

    await within(filled, alter)
    found = await faults(filled)
    assert any(wanted in fault for fault in found), found
    assert all(": " in fault and "\n" not in fault for fault in found), "what, and what to do, in a line"


async def test_an_empty_and_an_older_database_are_told_apart(database_url: str) -> None:
    assert "causeway db init" in (await faults(database_url))[0]

    async def make(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.run_sync(schema.upgrade, "0002")

    await within(database_url, make)
    assert await faults(database_url) == (
        f"schema 0002 is older than this release's {schema.newest()}: causeway db upgrade",
    )


async def test_a_check_of_what_is_written_meanwhile_finds_no_fault(filled: str) -> None:
    """Every look is one moment."""
    async with ControlPlane.open(Settings(database_url=filled), SystemClock()) as plane:
        is_done = False

        async def write() -> None:
            number = 0
            while not is_done:
                number += 1
                address = f"10.10.1.{10 + number % 200}"
                labels = {"app": f"a{number % 3}"}
                document = json.loads(json.dumps(ENDPOINT))
                document["spec"]["addresses"], document["metadata"]["labels"] = [address], labels
                await plane.change([change(document)], actor=inside("t"))

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(10):
                assert await faults(filled) == ()
            is_done = True


async def test_a_damaged_file_is_found(filled: str) -> None:
    if not filled.startswith("sqlite"):
        pytest.skip("PostgreSQL has checksums of its own")

    async def damage(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("PRAGMA writable_schema = ON"))
            await connection.execute(
                text("UPDATE sqlite_master SET sql = replace(sql, '(owner)', '(address)') WHERE name = 'ix_addresses_owner'")
            )  # fmt: skip

    await within(filled, damage)
    assert any("the file is damaged" in fault for fault in await faults(filled))
