"""Reports of nodes, which agents may send to several replicas at once."""

import asyncio

import pytest
from sqlalchemy import select

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import Change, NodeReport, NodeSession, Verb
from controlplane.service import ControlPlane, Settings
from controlplane.store import queries
from controlplane.store import tables as t
from federation.errors import Unauthenticated
from federation.resources.metadata import ObjectKey
from tests.controlplane.store.upkeep.conftest import ENDPOINT, HOST, change, fill


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
            return (await plane.access.create_token("admin")).text

    tokens = await asyncio.gather(*(start() for _ in range(4)))
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        assert [(await plane.access.actor_of(token)).name for token in tokens] == ["admin"] * 4


async def test_a_node_that_is_deleted_takes_its_credential_and_its_report_along(plane: ControlPlane) -> None:
    """Who joins under its name has enforced nothing yet, and the old machine is let in no more."""
    credential = await fill(plane)
    assert (await plane.access.node_session(credential)).node == "n1"
    documents = [change(d, Verb.DELETE) for d in (ENDPOINT, HOST)]
    node = Change(verb=Verb.DELETE, key=ObjectKey("Node", "dc1", "", "n1"))
    await plane.change([*documents, node], actor=inside("t"))
    with pytest.raises(Unauthenticated):
        await plane.access.node_session(credential)
    async with plane.database.reading() as connection:
        assert await queries.reports(connection) == {}
        assert (await connection.execute(select(t.credentials.c.role))).scalars().all() == []
