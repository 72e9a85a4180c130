"""`./dev bench policy`: the table, and benchmarks/results/policy.json. About four minutes; needs no root."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.policy import builds, changes, shared
from benchmarks.rows import Row, write


def main() -> None:
    """Measure all."""
    rows: list[Row] = []
    loops = [fixed_loop()]
    for part in (builds.rows, changes.rows, shared.rows, probing):
        rows += map(_said, part())
        loops.append(fixed_loop())
    between = ", ".join(f"{loop:.3g}" for loop in loops)
    rows.append(
        Row(
            name="a fixed loop of Python, to tell machines and noise apart", unit="ms", ours=min(loops), note=f"before and after each part: {between}"
        )
    )  # fmt: skip
    print(f"written: {write('policy', rows)}")


def fixed_loop() -> float:
    """Milliseconds that the same work takes, which nothing of ours can make faster: the median of some."""

    def once() -> float:
        began = time.perf_counter()
        sum(n * n for n in range(200_000))
        return (time.perf_counter() - began) * 1000

    return statistics.median(once() for _ in range(15))


def _said(row: Row) -> Row:
    print(f"{row.name}: {row.ours:,.4g} {row.unit}", flush=True)
    return row


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


if __name__ == "__main__":
    main()
