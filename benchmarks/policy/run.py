"""`./dev bench policy`: the table, and benchmarks/results/policy.json. About a minute; needs no root."""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.policy.changes import main_rows
from benchmarks.policy.worlds import given, made
from benchmarks.rows import Row, write
from federation.compiler.compiler import compile_tables
from federation.policy import model
from federation.policy.parties import Party, party_of_endpoint
from federation.policy.resolution import tiers_of_all
from federation.policy.tables import Direction, Tables
from federation.policy.world import World

TURNS = 5
CILIUM = {(1000, 200): ("0.28-0.52 s", 34_801), (5000, 1000): ("11.4-13.3 s", 2_211_971)}
"""Cilium 1.21.0-dev on such a machine, not in this run: time to compile, and map entries written."""


def main() -> None:
    """Measure all."""
    rows = [*main_rows(), *compiling(), *growing(), *probing()]
    rows.append(
        Row(name="resident memory after all of this", unit="MiB", ours=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    )  # fmt: skip
    print(f"written: {write('policy', rows)}")


def compiling() -> Iterator[Row]:
    """Whole worlds; beside it, selecting subjects by asking every policy of every subject."""
    for size, (published, entries) in CILIUM.items():
        case = given(*size)
        seconds, tables = timed(lambda case=case: compile_tables(case.world, case.local))  # type: ignore[misc]
        name = f"{len(case.local)} local identities x {case.policies} policies ({case.source})"
        limit = 0.28 if size == (1000, 200) else 11.4
        yield Row(
            name=f"compile {name}", unit="s", ours=seconds, aim=f"at most {limit}", met=seconds <= limit,
            note=f"Cilium's engine, published: {published}",
        )  # fmt: skip
        parties = [party_of_endpoint(case.world, case.world.endpoints[key]) for key in case.local[:200]]
        whole, _ = timed(lambda p=parties, w=case.world: tiers_of_all(w, p, Direction.INGRESS))  # type: ignore[misc]
        each, _ = timed(lambda p=parties, w=case.world: [asked_one_by_one(w, one) for one in p])  # type: ignore[misc]
        yield Row(
            name=f"select the policies of 200 of {name}", unit="ms", ours=whole * 1000, peers={"each selector of each subject": each * 1000},
            ratio=whole / each, aim="at most 0.5", met=whole / each <= 0.5,
        )  # fmt: skip
        yield Row(
            name=f"entries to write for {name}", unit="", ours=size_of(tables),
            note=f"rules, rows, prefixes, addresses; Cilium writes {entries:,} pairs (published)",
        )  # fmt: skip


def asked_one_by_one(world: World, subject: Party) -> list[model.Policy]:
    """What one would write first."""
    return [
        policy
        for policy in world.policies
        if policy.ingress is not None
        and not (policy.subject.kinds or subject.kinds).isdisjoint(subject.kinds)
        and (policy.subject.selector is None or policy.subject.selector.matches(subject.labels))
    ]


def growing() -> Iterator[Row]:
    """1x, 2x, 4x, 8x of everything."""
    first = 0.0
    for factor in (1, 2, 4, 8):
        case = made(625 * factor, 125 * factor)
        seconds, _ = timed(lambda case=case: compile_tables(case.world, case.local))  # type: ignore[misc]
        first = first or seconds
        yield Row(
            name=f"compile {factor}x: {625 * factor} identities, {125 * factor} policies", unit="s", ours=seconds,
            note=f"{seconds / first:.1f} times the first; pairs grow {factor**2}-fold",
        )  # fmt: skip


def probing() -> Iterator[Row]:
    """Ten thousand probes through the command line, start and reading included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pods, policies = 300, 150
        (folder / "world.json").write_text(
            json.dumps({"apiVersion": "v1", "kind": "List", "items": [*_pods(pods), *_policies(policies)]})
        )
        probes = [
            {
                "from": f"ns{n % 10}/p{n % pods}",
                "to": f"ns{(n * 7) % pods % 10}/p{(n * 7) % pods}",
                "port": 80 + n % 3,
            }
            for n in range(10_000)
        ]
        (folder / "probes.jsonl").write_text("".join(json.dumps(probe) + "\n" for probe in probes))
        words = [
            sys.executable,
            "-m",
            "api.cli.main",
            "simulate",
            "-f",
            str(folder / "world.json"),
            "--probes",
            str(folder / "probes.jsonl"),
        ]
        began = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - began
        verdicts = [json.loads(line)["verdict"] for line in done.stdout.splitlines()]
        yield Row(
            name=f"simulate 10,000 probes, {pods} pods, {policies} policies", unit="s", ours=seconds, aim="at most 10", met=seconds <= 10,
            note=f"{verdicts.count('Deny')} denied",
        )  # fmt: skip


def _pods(count: int) -> Iterator[dict[str, object]]:
    for n in range(count):
        meta = {
            "name": f"p{n}",
            "namespace": f"ns{n % 10}",
            "labels": {"app": f"a{n % 30}", "env": f"e{n % 3}"},
        }
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": {},
            "status": {"podIP": f"10.0.{n // 250}.{n % 250 + 1}"},
        }


def _policies(count: int) -> Iterator[dict[str, object]]:
    for n in range(count):
        peer = {"podSelector": {"matchLabels": {"env": f"e{n % 3}"}}, "namespaceSelector": {}}
        spec = {
            "podSelector": {"matchLabels": {"app": f"a{n % 30}"}},
            "ingress": [{"from": [peer], "ports": [{"port": 80 + n % 2}]}],
        }
        meta = {"name": f"n{n}", "namespace": f"ns{n % 10}"}
        yield {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def timed(call: Callable[[], Tables | object]) -> tuple[float, Tables]:
    """The median seconds of some calls, and what the last gave."""
    seconds = []
    result: object = None
    for _ in range(TURNS):
        began = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), result  # type: ignore[return-value]  # who asked for tables gets tables


def size_of(tables: Tables) -> int:
    """How many entries a kernel would hold."""
    rules = sum(len(ingress) + len(egress) for ingress, egress in tables.classes)
    return rules + len(tables.identity_rows) + len(tables.prefix_rows) + len(tables.subjects)


if __name__ == "__main__":
    main()
