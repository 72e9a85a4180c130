"""A federation of one cluster with many endpoints, written as users do, in bulks. `python -m benchmarks.rest.filling DATABASE_URL ENDPOINTS` prints an
API token and how many endpoints a second were written."""

import asyncio
import sys
import time
from ipaddress import IPv4Address
from typing import Any

from benchmarks.fanout.federation import document, policy
from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import Change, Verb
from controlplane.service import ControlPlane, Settings
from federation.resources.codec import decode

BULK = 500
POLICIES = 200
FIRST = int(IPv4Address("10.0.0.1"))


def endpoint(number: int) -> dict[str, Any]:
    """One of as many as wanted."""
    labels = {"app": f"app{number % 200}", "team": f"team{number % 20}"}
    spec = {"node": "n0", "addresses": [str(IPv4Address(FIRST + number))]}
    return document("Endpoint", f"e{number}", spec, cluster="c0", namespace=f"ns{number % 50}", labels=labels)


def changes_of(documents: list[dict[str, Any]]) -> list[Change]:
    """To be applied."""
    resources = [decode(each) for each in documents]
    return [Change(verb=Verb.APPLY, key=r.key, resource=r) for r in resources]


async def fill(url: str, endpoints: int) -> tuple[str, float]:
    """(token, endpoints a second)."""
    async with ControlPlane.open(Settings(database_url=url), SystemClock()) as plane:
        actor = inside("benchmark")
        node = document(
            "Node", "n0", {"addresses": ["192.0.2.1"], "podPrefixes": ["10.0.0.0/9"]}, cluster="c0"
        )
        first = [document("Cluster", "c0", {"prefixes": ["10.0.0.0/8"]}), node]
        await plane.change(changes_of(first), actor=actor)
        began = time.perf_counter()
        for at in range(0, endpoints, BULK):
            await plane.change(changes_of([endpoint(n) for n in range(at, at + BULK)]), actor=actor)
        spent = time.perf_counter() - began
        await plane.change(changes_of([policy(f"p{n}", 8000 + n) for n in range(POLICIES)]), actor=actor)
        return (await plane.access.create_token("benchmark")).text, endpoints / spent


if __name__ == "__main__":
    token, rate = asyncio.run(fill(sys.argv[1], int(sys.argv[2])))
    print(token, rate)
