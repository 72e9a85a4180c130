"""A federation for a crowd of agents: clusters in a chain of links, their nodes, endpoints and policies, and a credential for each node."""

import asyncio
import json
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import Change, JoinRequest, Verb
from controlplane.service import ControlPlane, Settings
from controlplane.store import enrolment
from controlplane.store.database import Connection, next_number
from controlplane.store.unit_of_work import UnitOfWork
from federation.resources.codec import decode

CLUSTERS, ENDPOINTS, POLICIES = 10, 200, 100
"""Endpoints of each cluster; policies of all, half of them of one cluster only."""
AT_ONCE = 500


def document(kind: str, name: str, spec: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """A resource as users write it."""
    return {"apiVersion": "causeway.dev/v1", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


def policy(name: str, port: int, home: str = "") -> dict[str, Any]:
    """One that lets web in on a port, of one cluster or of all."""
    where = f" && causeway.dev/cluster == '{home}'" if home else ""
    allow = {"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'app1'"}, "destination": {"ports": [port]}}  # fmt: skip
    spec = {"selector": f"app == 'app2'{where}", "types": ["Ingress"], "ingress": [allow]}
    return document("GlobalNetworkPolicy", name, spec)


def documents() -> Iterator[dict[str, Any]]:
    """All but nodes."""
    for number in range(CLUSTERS):
        yield document("Cluster", f"c{number}", {"prefixes": [str(_prefix(number))]})
    for number in range(CLUSTERS - 1):
        yield document("Link", f"l{number}", {"clusters": [f"c{number}", f"c{number + 1}"]})
    for number in range(CLUSTERS):
        for place in range(ENDPOINTS):
            spec = {"node": "n0", "addresses": [str(_prefix(number)[place + 1])]}
            labels = {"app": f"app{place % 20}", "team": f"team{place % 7}", "env": "prod"}
            yield document(
                "Endpoint", f"e{place}", spec, cluster=f"c{number}", namespace="shop", labels=labels
            )
    for number in range(POLICIES):
        yield policy(f"p{number}", 8000 + number, f"c{number % CLUSTERS}" if number % 2 else "")


async def fill(url: str, agents: int) -> list[str]:
    """Write it all; the nodes' credentials."""
    async with ControlPlane.open(Settings(database_url=url), SystemClock()) as plane:
        changes = []
        for given in documents():
            resource = decode(given)
            changes.append(Change(verb=Verb.APPLY, key=resource.key, resource=resource))
        clusters = [change for change in changes if change.key.kind == "Cluster"]
        await plane.change(clusters, actor=inside("benchmark"))
        credentials = await _enrol(plane, agents)
        rest = [change for change in changes if change.key.kind != "Cluster"]
        for at in range(0, len(rest), AT_ONCE):
            await plane.change(rest[at : at + AT_ONCE], actor=inside("benchmark"))
        return credentials


async def _enrol(plane: ControlPlane, agents: int) -> list[str]:
    credentials: list[str] = []

    async def work(connection: Connection) -> None:
        revision, now = await next_number(connection, "revision"), plane.clock.now().isoformat()
        unit = UnitOfWork(connection, revision, inside("benchmark"), now)
        for number in range(len(credentials), min(len(credentials) + AT_ONCE, agents)):
            home, place = number % CLUSTERS, number // CLUSTERS
            request = JoinRequest(
                token="", cluster=f"c{home}", node=f"n{place}", os="linux", addresses=(IPv4Address(0xC6120000 + number),),
                pod_prefixes=(IPv4Network((int(_prefix(home).network_address) + 64 * place, 26)),),
            )  # fmt: skip
            await enrolment.enrol(unit, request, plane.settings.tunnel_prefix)
            credentials.append(
                await enrolment.store_node_credential(connection, request.cluster, request.node)
            )
        await unit.finish()

    while len(credentials) < agents:
        await plane.database.run(work)
    return credentials


def _prefix(cluster: int) -> IPv4Network:
    return IPv4Network((0x0A000000 + (cluster << 20), 12))


if __name__ == "__main__":
    url, count, path = sys.argv[1:]
    Path(path).write_text(json.dumps(asyncio.run(fill(url, int(count)))))
