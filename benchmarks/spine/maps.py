"""Map entries in batches, as the driver writes, reads and removes them, beside one system call for each."""

import time
from collections.abc import Callable, Iterator

from benchmarks.rows import Aim, Row, compared
from benchmarks.spine import policies
from benchmarks.spine.datapath import OURS, Contenders
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.bpf import PinnedMap

ENTRIES, TURNS = 8000, 5
UNUSED_BANK = 0xFFFFFFFF
"""No driver gets there: entries that no program looks up."""


def rows(given: Contenders) -> Iterator[Row]:
    """Write, read, remove: of the map of addresses, which is the largest."""
    given.enforce(20)
    addresses = policies.bystanders(ENTRIES)
    entries = {layout.address_key(UNUSED_BANK, a): layout.address_value(a, 300, 0) for a in addresses}
    keys = list(entries)
    held = PinnedMap(given.driver.generation / "addresses", *layout.SHAPES["addresses"])

    def write_one_by_one() -> None:
        for key, value in entries.items():
            held.update({key: value})

    def remove_one_by_one() -> None:
        for key in keys:
            held.delete([key])

    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "write": (lambda: held.update(entries), write_one_by_one),
        "read": (lambda: dict(held.items()), lambda: dict(held.items_one_by_one())),
        "remove": (lambda: held.delete(keys), remove_one_by_one),
    }
    samples: dict[str, dict[str, list[float]]] = {verb: {OURS: [], "one by one": []} for verb in ways}
    try:
        for _ in range(TURNS):
            for way, name in enumerate((OURS, "one by one")):
                for verb, both in ways.items():
                    began = time.perf_counter()
                    both[way]()
                    samples[verb][name].append((time.perf_counter() - began) * 1000)
    finally:
        held.delete(keys)
        held.close()
    for verb, measured in samples.items():
        yield compared(
            f"{verb} {ENTRIES:,} addresses of a map", "ms", measured, aim=Aim(most=0.2), note="batches"
        )
