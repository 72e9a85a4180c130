"""A federation of one cluster with many endpoints: the first ones written as users do, in bulks, and others like them right into the tables. `python -m
benchmarks.rest.filling DATABASE_URL ENDPOINTS` prints an API token and how many endpoints a second were written as users do."""

import asyncio
import json
import sys
import time
from ipaddress import IPv4Address
from typing import Any

from sqlalchemy import insert, select

from benchmarks.fanout.federation import document, policy
from controlplane.access.actor import inside
from controlplane.clock import SystemClock
from controlplane.intent import Change, Verb
from controlplane.service import ControlPlane, Settings
from controlplane.store import tables as t
from controlplane.store.database import Connection
from federation.resources.codec import decode

BULK, WRITTEN = 500, 5_000
"""Of a request, and of all requests."""
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
        actor, written = inside("benchmark"), min(endpoints, WRITTEN)
        node = document(
            "Node", "n0", {"addresses": ["192.0.2.1"], "podPrefixes": ["10.0.0.0/9"]}, cluster="c0"
        )
        first = [document("Cluster", "c0", {"prefixes": ["10.0.0.0/8"]}), node]
        await plane.change(changes_of(first), actor=actor)
        began = time.perf_counter()
        for at in range(0, written, BULK):
            await plane.change(changes_of([endpoint(n) for n in range(at, at + BULK)]), actor=actor)
        spent = time.perf_counter() - began
        await plane.change(changes_of([policy(f"p{n}", 8000 + n) for n in range(POLICIES)]), actor=actor)
        await plane.database.run(lambda c: more(c, range(written, endpoints)), None)
        return (await plane.access.create_token("benchmark")).text, written / spent


async def more(connection: Connection, numbers: range) -> None:
    """Copies of those that stand, each with a name and an address of its own."""
    c = t.resources.c
    standing = await connection.execute(select(c.name, c.document).where(c.kind == "Endpoint"))
    alike = {name: json.loads(text) for name, text in standing}
    for at in range(numbers.start, numbers.stop, WRITTEN):
        rows, addresses = [], []
        for number in range(at, min(at + WRITTEN, numbers.stop)):
            made = endpoint(number)
            model, meta = alike[f"e{number % WRITTEN}"], made["metadata"]
            text = json.dumps({**model, "metadata": {**model["metadata"], "name": meta["name"]}, "spec": made["spec"]})  # fmt: skip
            rows.append({"kind": "Endpoint", "cluster": "c0", "namespace": meta["namespace"], "name": meta["name"], "revision": model["metadata"]["revision"], "document": text})  # fmt: skip
            addresses.append({"address": made["spec"]["addresses"][0], "owner": f"Endpoint c0/{meta['namespace']}/{meta['name']}"})  # fmt: skip
        await connection.execute(insert(t.resources), rows)
        await connection.execute(insert(t.addresses), addresses)


if __name__ == "__main__":
    token, rate = asyncio.run(fill(sys.argv[1], int(sys.argv[2])))
    print(token, rate)
