"""What differs between a map and what was written to it, and how often that is looked for."""

from collections.abc import Iterator
from typing import Any

import pytest

from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.plan import Planner
from nodeagent.dataplane.ebpf.upkeep import drift
from nodeagent.dataplane.ebpf.writes import Delete, Update
from tests.nodeagent.dataplane.ebpf.test_plan import places, state_of


class Held:
    """A map in memory, and how often it was read entry by entry."""

    def __init__(self, name: str, entries: dict[bytes, bytes]) -> None:
        self.entries, self.value_size, self.reads = entries, layout.SHAPES[name][1], 0

    def joined(self) -> Iterator[tuple[bytes, bytes, int]]:
        yield b"".join(self.entries), b"".join(self.entries.values()), len(self.entries)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        self.reads += 1
        return iter(list(self.entries.items()))


class Time:
    """Each question takes a second."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def kernel(maps: Any) -> tuple[dict[str, Any], Planner]:
    """Maps after one state was written."""
    planner, state = Planner(), state_of()
    for write in planner.plan(state[0], places(state)).writes:
        maps.apply(write)
    held = {name: Held(name, entries) for name, entries in maps.held.items()}
    for name, size in (("rules", layout.ARENA), ("stamps", layout.STAMPS)):
        blank = bytes(layout.SHAPES[name][1])
        full = {layout.NUMBER.pack(n): blank for n in range(size)}
        held[name].entries = {**full, **held[name].entries}
    return held, planner


def test_what_was_written_is_no_drift(kernel: Any) -> None:
    held, planner = kernel
    assert drift.Comparison().drifts(held, planner.standing) == []


def test_what_is_missing_altered_and_foreign_is_counted_and_put_right(kernel: Any) -> None:
    held, planner = kernel
    (key,) = held["addresses"].entries
    value, other = held["addresses"].entries.pop(key), b"x" * len(key)
    held["addresses"].entries[other] = value
    (found,) = drift.Comparison().drifts(held, planner.standing)
    assert str(found) == "1 missing, 1 not ours"
    assert found.writes == (Update("addresses", {key: value}), Delete("addresses", (other,)))


@pytest.mark.parametrize("name", ["rules", "stamps"])
def test_of_an_array_only_what_was_written_is_looked_at(kernel: Any, name: str) -> None:
    held, planner = kernel
    extent = max(planner.standing.arena.extents.values(), key=lambda e: e.size)
    places_of = {"rules": (extent.start, 4711), "stamps": (7, None)}
    ours, nobodys = places_of[name]
    right = held[name].entries[layout.NUMBER.pack(ours)]
    held[name].entries[layout.NUMBER.pack(ours)] = b"x" * held[name].value_size
    if nobodys is not None:
        held[name].entries[layout.NUMBER.pack(nobodys)] = b"x" * held[name].value_size
    (found,) = drift.Comparison().drifts(held, planner.standing)
    assert found.writes == (Update(name, {layout.NUMBER.pack(ours): right}),)


def test_a_map_is_read_entry_by_entry_only_after_a_write_and_when_the_last_time_is_paid_for(
    kernel: Any,
) -> None:
    held, planner = kernel
    clock, rows = Time(), held["identity_rows"]
    comparison = drift.Comparison(clock)
    assert comparison.drifts(held, planner.standing) == []
    assert comparison.drifts(held, planner.standing) == []
    assert rows.reads == 1, "nobody has written"
    comparison.wrote("identity_rows")
    (key,) = rows.entries
    del rows.entries[key]
    assert comparison.drifts(held, planner.standing) == []
    assert rows.reads == 1, "it took a second, and may take no more than its share"
    clock.now += 1 / drift.SHARE
    (found,) = comparison.drifts(held, planner.standing)
    assert (found.map, found.missing, rows.reads) == ("identity_rows", 1, 2)


def test_what_is_altered_while_nobody_writes_is_found_at_once(kernel: Any) -> None:
    held, planner = kernel
    comparison = drift.Comparison(Time())
    assert comparison.drifts(held, planner.standing) == []
    held["identity_rows"].entries.clear()
    (found,) = comparison.drifts(held, planner.standing)
    assert found.missing == 1
