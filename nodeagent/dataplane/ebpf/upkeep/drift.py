"""Maps that were altered by hand: found by reading them again, and put right.

To read a map costs the kernel's time only: as long as we have not written to it, its bytes in their order must be those of the last time, so a hash of
them is compared. After a write it is compared entry by entry, which costs Python's time, and is not done so often that it would cost more than `SHARE` of
a processor.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.arena import DENIED, DENY_ALL, Arena, rules, summaries
from nodeagent.dataplane.ebpf.bpf import PinnedMap
from nodeagent.dataplane.ebpf.plan import MARK, Standing
from nodeagent.dataplane.ebpf.writes import Delete, Update, Write, needed

ORDER = (
    "identity_rows", "prefix_rows", "prefixes", "addresses", "rules", "summaries", "stamps", "more_addresses", "endpoints", "hosts", "locals",
)  # fmt: skip
"""Maps that are compared; what is missing is written in this order."""
ARRAYS = frozenset({"rules", "summaries", "stamps"})
"""Their places are all there, and hold anything where we never wrote."""
SHARE = 0.005
Entries = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What was found in one map that we did not write, and the writes that put it right."""

    map: str
    missing: int
    altered: int
    foreign: int
    writes: tuple[Write, ...]

    def __str__(self) -> str:
        found = (("missing", self.missing), ("altered", self.altered), ("not ours", self.foreign))
        return ", ".join(f"{number} {word}" for word, number in found if number)


class Comparison:
    """Remembers what was found to be right, so that it is not looked at entry by entry again."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._right: dict[str, bytes] = {}
        """Hashes of maps that were as they should be."""
        self._due: dict[str, float] = {}

    def wrote(self, name: str) -> None:
        """A map has changed by our own hand."""
        self._right.pop(name, None)

    def drifts(self, maps: Mapping[str, PinnedMap], standing: Standing) -> list[Drift]:
        """Every map that is not as it was written, in the order in which they are to be put right. Raises DriverError."""
        found = (self._drift(name, maps[name], standing) for name in ORDER)
        return [drift for drift in found if drift is not None]

    def _drift(self, name: str, held: PinnedMap, standing: Standing) -> Drift | None:
        before = self._right.get(name)
        if before is not None and digest(held) == before:
            return None
        began = self._monotonic()
        if before is None and began < self._due.get(name, 0):
            return None
        seal = digest(held)
        wanted = written(name, standing)
        drift = in_array(name, held, wanted) if name in ARRAYS else compared(name, dict(held.items()), wanted)
        if drift is None:
            self._right[name] = seal
        else:
            self._right.pop(name, None)
        now = self._monotonic()
        self._due[name] = now + (now - began) / SHARE
        return drift


def digest(held: PinnedMap) -> bytes:
    """Of a map's entries, in the order that the kernel has them in; it is the same as long as nobody writes."""
    said = hashlib.blake2b(digest_size=16)
    for keys, values, _ in held.joined():
        said.update(keys)
        said.update(values)
    return said.digest()


def compared(name: str, held: dict[bytes, bytes], wanted: Entries) -> Drift | None:
    """What a map lacks of what is wanted, and has beyond it."""
    missing: dict[bytes, bytes] = {}
    altered: dict[bytes, bytes] = {}
    for key, value in wanted:
        found = held.pop(key, None)
        if found is None:
            missing[key] = value
        elif found != value:
            altered[key] = value
    foreign = tuple(held)
    if not missing and not altered and not foreign:
        return None
    writes = needed((Update(name, {**missing, **altered}), Delete(name, foreign)))
    return Drift(map=name, missing=len(missing), altered=len(altered), foreign=len(foreign), writes=writes)


def in_array(name: str, held: PinnedMap, wanted: Entries) -> Drift | None:
    """The same of an array: only what is wanted is looked at."""
    values, size = b"".join(values for _, values, _ in held.joined()), held.value_size
    altered = {}
    for key, value in wanted:
        at = layout.NUMBER.unpack(key)[0] * size
        if values[at : at + size] != value:
            altered[key] = value
    if not altered:
        return None
    return Drift(map=name, missing=0, altered=len(altered), foreign=0, writes=(Update(name, altered),))


def written(name: str, standing: Standing) -> Iterator[tuple[bytes, bytes]]:
    """Every entry that we wrote to a map and that should be there."""
    match name:
        case "endpoints":
            yield MARK, layout.mark(standing.bank_number, standing.epoch)
            yield from ((layout.NUMBER.pack(index), e.value) for index, e in standing.entries.items())
        case "hosts":
            yield from ((layout.NUMBER.pack(index), e.value) for index, e in standing.hosts.items())
        case "more_addresses":
            yield from ((key, layout.NUMBER.pack(1)) for key in standing.more)
        case "locals":
            yield from standing.locals.items()
        case "stamps":
            for place in range(layout.STAMPS):
                yield layout.NUMBER.pack(place), layout.NUMBER.pack(standing.stamps.get(place, 0))
        case "rules" | "summaries":
            yield from _of_lists(name, standing.arena)
        case _:
            yield from standing.bank.contents(name) if standing.bank is not None else ()


def _of_lists(name: str, arena: Arena) -> Iterator[tuple[bytes, bytes]]:
    own = [(lines, e) for lines, e in arena.extents.items() if e.size and e != DENIED]
    for lines, extent in own:
        if name == "rules":
            yield from rules(extent.start, lines).items()
        elif extent.flags & layout.IS_SUMMARIZED:
            yield from summaries(extent.start, lines).items()
    if name == "rules":
        yield from rules(DENIED.start, DENY_ALL).items()
