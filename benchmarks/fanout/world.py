"""What a replica's memory and its publishing cost as the federation grows, without sockets: a hub of made-up endpoints and a view for each cluster.
`python -m benchmarks.fanout.world CLUSTERS ENDPOINTS_EACH [LINKS_EACH]` prints one line of JSON."""

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fanout.federation import document, policy
from controlplane.fanout.view import View
from controlplane.hub import Held, Hub, Transaction, held
from federation.resources.metadata import ObjectKey

POLICIES, CHANGES = 1_000, 400


def main(clusters: int, endpoints: int, links: int) -> None:
    """Build, then change."""
    before = _memory()
    began = time.perf_counter()
    hub = Hub()
    hub.load(list(objects(clusters, endpoints, links)), 1)
    built = time.perf_counter() - began
    gc.collect()
    stands = _memory() - before
    views = [View(hub, f"c{n}") for n in range(clusters)]
    told: dict[str, list[float]] = {"endpoint": [], "policy": []}
    shown = 0
    for number in range(CHANGES):
        for kind, item in (("endpoint", endpoint(number % clusters, 1, f"10.255.{number % 250}.1")), ("policy", _policy(number % POLICIES, number))):  # fmt: skip
            transaction = Transaction(hub.revision + 1, (item,))
            began = time.perf_counter()
            hub.publish(transaction)
            shown += sum(view.take(hub.log[-1]) for view in views)
            told[kind].append(time.perf_counter() - began)
    snapshot = asyncio.run(_snapshot(views[clusters // 2]))
    count = clusters * endpoints
    found = {
        "clusters": clusters, "endpoints": count, "KiB of an endpoint": round(stands / 1024 / count, 2), "GiB": round(stands / 2**30, 2),
        "built us an object": round(built / len(hub.objects) * 1e6, 1),
        "endpoint change, ms of all views": round(statistics.median(told["endpoint"]) * 1e3, 3),
        "policy change, ms of all views": round(statistics.median(told["policy"]) * 1e3, 3),
        "views shown a change": round(shown / CHANGES / 2, 1), **snapshot,
    }  # fmt: skip
    print(json.dumps(found))


def objects(clusters: int, endpoints: int, links: int) -> Iterator[Held]:
    """All of it; each cluster is linked with the next ones."""
    for n in range(clusters):
        yield _held(document("Cluster", f"c{n}", {"prefixes": [f"10.{n % 250}.0.0/16"]}))
        for further in range(1, links + 1):
            yield _held(
                document("Link", f"l{n}-{further}", {"clusters": [f"c{n}", f"c{(n + further) % clusters}"]})
            )
        for m in range(endpoints):
            yield endpoint(n, m, f"10.{n % 250}.{m // 250 % 250}.{m % 250}")
    for n in range(POLICIES):
        yield _policy(n, 0, f"c{n % clusters}" if n % 2 else "")


def endpoint(cluster: int, number: int, address: str) -> Held:
    """One, as it is stored."""
    labels = {"app": f"app{number % 200}", "team": f"team{number % 20}", "env": "prod"}
    meta = {"cluster": f"c{cluster}", "namespace": f"ns{number % 50}", "labels": labels, "revision": 1, "generation": 1, "created": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    made = document("Endpoint", f"e{number}", {"node": f"n{number % 100}", "addresses": [address]}, **meta)
    return _held({**made, "status": {"identity": 256 + number % 4000}})


def _policy(number: int, port: int, home: str = "") -> Held:
    return _held(policy(f"p{number}", 1 + port, home))


def _held(made: dict[str, Any]) -> Held:
    meta = made["metadata"]
    key = ObjectKey(made["kind"], meta.get("cluster", ""), meta.get("namespace", ""), meta["name"])
    return held(key, json.dumps(made))


async def _snapshot(view: View) -> dict[str, float]:
    """Of one cluster's first state: how long it is made, and how large it is sent."""
    began = time.perf_counter()
    state, _ = await view.snapshot()
    return {
        "first state, s": round(time.perf_counter() - began, 2),
        "first state, MiB": round(len(state.packed) / 2**20, 2),
    }


def _memory() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    main(words[0], words[1], words[2] if len(words) > 2 else 2)
