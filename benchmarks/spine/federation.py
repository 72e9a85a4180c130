"""A running lab: how long a REST write takes to become a verdict in a kernel, and what an agent takes while nothing happens."""

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.lab import build
from api.lab.federation import Lab, up
from api.lab.topology import Workload, topology
from benchmarks.pods import start, wait_for
from benchmarks.rows import Aim, Row
from benchmarks.spine.flips import Write, delays, percentile

WRITES = 60
PORT = 9999
STAMP_EVERY = 0.001
SETTLE = 0.03
"""Seconds after the last node's word until the next write, so that a datagram shows the verdict."""
IDLE_SECONDS = 20
MIB = 1024


@contextmanager
def lab() -> Iterator[Lab]:
    """The demo's lab (two clusters, two nodes and four workloads each); gone at the end."""
    name = f"b{uuid.uuid4().hex[:4]}"
    try:
        yield up(topology(name))
    finally:
        build.down(name)


def rows(running: Lab) -> Iterator[Row]:
    """All of it, row by row."""
    yield from _idle(running)
    acknowledged, judged = _writes(running)
    for what, figures in (
        ("enforced on every node, acknowledged", acknowledged),
        ("first packet with the new verdict", judged),
    ):
        for name, share, most in (("p50", 0.5, 250), ("p99", 0.99, 1000)):
            value, aim = percentile(figures, share) * 1000, Aim(most=most)
            yield Row(
                name=f"REST write to {what}, {name}", unit="ms", ours=value, aim=str(aim), met=aim.is_met(value),
                note=f"{len(figures)} writes, 4 nodes",
            )  # fmt: skip


def _policy(is_allowing: bool) -> dict[str, Any]:
    action = "Allow" if is_allowing else "Deny"
    first = {"action": action, "protocol": "UDP", "destination": {"ports": [PORT]}}
    spec = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": [first, {"action": "Allow"}]}
    return {
        "apiVersion": "causeway.dev/v1",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "bench"},
        "spec": spec,
    }


def _writes(running: Lab) -> tuple[list[float], list[float]]:
    """Seconds to the acknowledgement, and to the first packet."""
    web, db = (_workload(running, app) for app in ("web", "db"))
    client = running.client
    taps: list[Any] = []
    try:
        for netns, words in (
            (db.netns, ("receive", db.address, str(PORT))),
            (web.netns, ("send", db.address, str(PORT), str(STAMP_EVERY))),
        ):
            taps.append(start(netns, *build.python("benchmarks.load", *words)))
            wait_for(taps[-1], "ready")
        writes, acknowledged = [], []
        for number in range(WRITES):
            write = Write(time.monotonic(), number % 2 == 1)
            revision = client.ask("POST", "/api/v1/apply", {"items": [_policy(write.is_allowing)]})[
                "revision"
            ]
            rollout = client.ask("GET", f"/api/v1/rollouts/{revision}", wait=10)
            acknowledged.append(time.monotonic() - write.at)
            if not rollout["complete"]:
                raise RuntimeError(f"revision {revision} is not enforced: {rollout['behind']}")
            writes.append(write)
            time.sleep(SETTLE)  # noqa: TID251 - a measurement in the foreground
        receiver, sender = taps
        sent = json.loads(sender.communicate("", timeout=20)[0])
        came = json.loads(receiver.communicate("", timeout=20)[0])
        return acknowledged, delays(writes, sent, came)
    finally:
        for tap in taps:
            tap.kill()
            tap.communicate()


def _idle(running: Lab) -> Iterator[Row]:
    pids = [running.processes[node.netns].pid for node in running.topology.nodes]
    before = [_ticks(pid) for pid in pids]
    time.sleep(IDLE_SECONDS)  # noqa: TID251 - a measurement in the foreground
    spent = [after - begin for after, begin in zip(map(_ticks, pids), before, strict=True)]
    share = max(spent) / os.sysconf("SC_CLK_TCK") / IDLE_SECONDS * 100
    memory = [_memory(pid) for pid in pids]
    note = f"the worst of {len(pids)} agents"
    for name, field, most in (("resident memory", "Rss", 120), ("its share of memory", "Pss", 100)):
        value, aim = max(m[field] for m in memory) / MIB, Aim(most=most)
        yield Row(
            name=f"agent: {name} ({field.upper()})", unit="MiB", ours=value, aim=str(aim), met=aim.is_met(value), note=note
        )  # fmt: skip
    aim = Aim(most=1)
    yield Row(
        name=f"agent: idle processor time over {IDLE_SECONDS} s", unit="% of a core", ours=share, aim=str(aim), met=aim.is_met(share), note=note
    )  # fmt: skip


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime, stime: proc(5) counts them 14th and 15th


def _memory(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def _workload(running: Lab, app: str) -> Workload:
    return next(w for w in running.topology.workloads if w.cluster == "dc1" and w.labels["app"] == app)
