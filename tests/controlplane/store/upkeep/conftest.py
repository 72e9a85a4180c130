"""A small federation with something in every table that a control plane fills, and what may be asked of any database."""

from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import Change, JoinRequest, NodeReport, NodeSession, RequestKey, RuleCount, Verb
from controlplane.service import ControlPlane, Settings
from controlplane.store.database import Database
from controlplane.store.upkeep import rows
from federation.resources.codec import decode
from federation.resources.metadata import ObjectKey
from tests.controlplane.pki.conftest import request_of

DOCUMENTS: tuple[dict[str, Any], ...] = (
    {"kind": "Cluster", "metadata": {"name": "dc1"}, "spec": {"prefixes": ["10.10.0.0/16"]}},
    {"kind": "Cluster", "metadata": {"name": "aws1"}, "spec": {"prefixes": ["10.20.0.0/16"]}},
    {"kind": "Tier", "metadata": {"name": "pci"}, "spec": {"order": 10}},
    {
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "pci.web"},
        "spec": {"tier": "pci", "selector": "app == 'web'", "ingress": [{"action": "Allow"}]},
    },
    {
        "kind": "Link",
        "metadata": {"name": "dc1-aws1"},
        "spec": {"clusters": ["dc1", "aws1"], "mode": "wireguard", "topology": "mesh"},
    },
)
ENDPOINT = {
    "kind": "Endpoint",
    "metadata": {"name": "web", "cluster": "dc1", "namespace": "shop", "labels": {"app": "web"}},
    "spec": {"node": "n1", "interface": "cw-web", "addresses": ["10.10.1.10"]},
}
HOST = {
    "kind": "HostEndpoint",
    "metadata": {"name": "n1-all", "cluster": "dc1"},
    "spec": {"node": "n1", "interfaceName": "*", "expectedIPs": ["192.0.2.11", "192.0.2.77"]},
}


def change(document: dict[str, Any], verb: Verb = Verb.APPLY) -> Change:
    resource = decode({"apiVersion": "causeway.dev/v1", **document})
    return Change(verb=verb, key=resource.key, resource=resource)


def tier(name: str, order: int = 100, verb: Verb = Verb.APPLY) -> Change:
    return change({"kind": "Tier", "metadata": {"name": name}, "spec": {"order": order}}, verb)


async def fill(plane: ControlPlane) -> str:
    """The node's credential."""
    await plane.change([change(d) for d in DOCUMENTS], actor=inside("ann"), request=RequestKey("k", "d"))
    token = await plane.create_join_token("dc1", 3600, 2, actor=inside("ann"))
    credential = await plane.join(
        JoinRequest(
            token=token.text,
            cluster="dc1",
            node="n1",
            os="linux",
            addresses=(IPv4Address("192.0.2.11"),),
            pod_prefixes=(IPv4Network("10.10.1.0/24"),),
        )
    )
    await plane.change([change(ENDPOINT), change(HOST)], actor=inside("ann"))
    await plane.access.create_token("admin")
    session = NodeSession(cluster="dc1", node="n1")
    await plane.report(session, NodeReport(revision=plane.hub.revision))
    policy = ObjectKey("GlobalNetworkPolicy", "", "", "pci.web")
    await plane.count(
        session, [RuleCount(policy=policy, section="ingress", rule=0, packets=2**40, bytes=2**41)]
    )
    return credential


@pytest.fixture
async def filled(database_url: str, tmp_path: Path) -> str:
    """The URL of a database that a control plane has filled and left."""
    async with ControlPlane.open(Settings(database_url=database_url), SystemClock()) as plane:
        await fill(plane)
        (tmp_path / "data").mkdir()
        await plane.certificates.authorities.open(tmp_path / "data", plane.clock.now())
        token = await plane.create_join_token("dc1", 3600, 2, actor=inside("ann"))
        second = JoinRequest(
            token=token.text, cluster="dc1", node="n2", os="linux", addresses=(IPv4Address("192.0.2.12"),),
            pod_prefixes=(IPv4Network("10.10.2.0/24"),),
        )  # fmt: skip
        await plane.certificates.join(second, request_of(ec.generate_private_key(ec.SECP256R1())))
    return database_url


async def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    async with database.reading(None) as connection:
        tables = await connection.run_sync(rows.standing)
        return {
            name: [tuple(r) for r in await connection.execute(select(table).order_by(*table.primary_key))]
            for name, table in tables.items()
        }


async def within(url: str, work: Callable[[Database], Awaitable[Any]]) -> Any:
    """What work gives with a database that is closed afterwards."""
    database = Database(url)
    try:
        return await work(database)
    finally:
        await database.close()
