"""Reports of nodes, which agents may send to several replicas at once."""

import asyncio

import pytest

from controlplane.clock import SystemClock
from controlplane.intent import NodeReport, NodeSession
from controlplane.service import ControlPlane, Settings
from controlplane.store import queries


async def test_first_reports_of_one_node_at_once_are_one_row(
    database_url: str,
) -> None:
    """An update that finds no row, then an insert, is a race: one of two would be refused by the primary key."""
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        nodes = [NodeSession(cluster="dc1", node=f"n{n}") for n in range(20)]
        await asyncio.gather(
            *(plane.report(node, NodeReport(revision=revision)) for node in nodes for revision in (7, 7, 7))
        )
        async with plane.database.reading() as connection:
            found = await queries.reports(connection)
        assert {name: revision for name, (revision, _) in found.items()} == {
            ("dc1", n.node): 7 for n in nodes
        }


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_replicas_that_start_at_once_on_an_empty_database_make_it_once(database_url: str) -> None:
    async def start() -> str:
        async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
            return await plane.create_api_token("admin")

    tokens = await asyncio.gather(*(start() for _ in range(4)))
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        assert [await plane.user_of(token) for token in tokens] == ["admin"] * 4
