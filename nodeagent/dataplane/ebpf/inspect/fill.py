"""How full each pinned map is, and what memory it takes."""

from dataclasses import dataclass

from nodeagent.dataplane.ebpf import loader
from nodeagent.dataplane.ebpf.inspect import decode, ring
from nodeagent.dataplane.ebpf.inspect.pins import ARRAYS, EVICTING, HASHES, RING, MapFacts, Pins
from nodeagent.dataplane.ebpf.plan import MARK

WARN_FROM = 0.8
SCRATCH = frozenset({"walks", "steps", "early_steps", "settings", "counters", "stamps"})
"""Arrays that are whole from the start and can never be short of room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One map. `entries` are those in use (a ring: its bytes not read yet); `is_full_soon`: from WARN_FROM on, where being full hurts."""

    name: str
    kind: str
    entries: int
    capacity: int
    key_bytes: int
    value_bytes: int
    memory: int
    is_full_soon: bool
    note: str = ""


def fills(pins: Pins) -> tuple[Fill, ...]:
    """Every map of a generation, by name. Raises DriverError."""
    known = [name for name in sorted(loader.MAPS) if (pins.folder / name).exists()]
    return tuple(_fill(pins, pins.facts(name)) for name in known)


def _fill(pins: Pins, facts: MapFacts) -> Fill:
    used = _used(pins, facts)
    can_be_short = facts.name not in SCRATCH and facts.kind not in EVICTING
    notes = {
        **dict.fromkeys(EVICTING, "forgets the oldest"),
        RING: "bytes; of what it has no room for it is counted",
    }
    note = "fixed" if facts.name in SCRATCH else notes.get(facts.kind, "")
    return Fill(
        name=facts.name,
        kind=facts.kind_name,
        entries=used,
        capacity=facts.capacity,
        key_bytes=facts.key_size,
        value_bytes=facts.value_size,
        memory=facts.memory,
        is_full_soon=can_be_short and used >= WARN_FROM * facts.capacity,
        note=note,
    )


def _used(pins: Pins, facts: MapFacts) -> int:
    if facts.kind == RING:
        return ring.unread(pins.map(facts.name).fd, facts.capacity)
    if facts.name == "rules":
        return rules_in_use(pins)
    if facts.name in SCRATCH:
        return facts.capacity
    if facts.kind in ARRAYS:
        return sum(any(value) for _, value in pins.entries(facts.name))
    if facts.kind in HASHES:
        count = sum(1 for _ in pins.entries(facts.name))
        return count - (facts.name == "endpoints" and pins.map("endpoints").lookup(MARK) is not None)
    return 0


def rules_in_use(pins: Pins) -> int:
    """Places of the arena that a list of an endpoint or host endpoint lies in; what was left there before is room."""
    lists = {
        (extent.start, extent.size)
        for key, value in pins.entries("endpoints")
        if key != MARK
        for extent in decode.endpoint(value).lists
    }
    lists |= {
        (extent.start, extent.size)
        for _, value in pins.entries("hosts")
        for extent in decode.host(value).lists
    }
    return sum(size for _, size in lists)
