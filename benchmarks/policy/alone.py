"""One world's first build in a process of its own, so that neither its time nor its memory is another's: prints JSON."""

import gc
import json
import sys
import time
from pathlib import Path

from benchmarks.policy.changes import local
from benchmarks.policy.fleet import sized
from federation.compiler.change import difference
from federation.compiler.compiler import Compiler
from federation.policy.world import World


def main() -> None:
    """Build what the three numbers on the command line say: identities, endpoints of each, policies."""
    identities, per_identity, policies = map(int, sys.argv[1:])
    change = difference(World(), sized(identities, per_identity, policies))
    collector = Collector()
    gc.callbacks.append(collector)
    gc.collect()
    collector.seconds = 0.0
    world = memory("VmRSS")
    compiler = Compiler(local)
    began = time.perf_counter()
    compiler.apply(change)
    seconds = time.perf_counter() - began
    collecting = collector.seconds
    gc.collect()
    print(
        json.dumps(
            {
                "seconds": seconds, "collecting": collecting, "world": world, "compiler": memory("VmRSS") - world, "peak": memory("VmHWM"),
                "shape": shape(compiler),
            }
        )
    )  # fmt: skip


class Collector:
    """How long Python's own search for cycles takes: it walks the world, too."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __call__(self, phase: str, _info: object) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self._began


def shape(compiler: Compiler) -> str:
    """What the node got."""
    tables = compiler.tables()
    lists = {lines for pair in tables.classes for lines in pair}
    return f"{len(tables.classes)} classes, {sum(map(len, lists)):,} rules, {tables.bit_count} bits, {len(tables.identity_rows):,} rows"


def memory(field: str) -> float:
    """A field of this process's status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


if __name__ == "__main__":
    main()
