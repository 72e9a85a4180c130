"""Where lists of rules lie in the array that holds them all. Pure."""

from collections.abc import Iterable

from federation.policy.tables import NO_BIT, CompiledRule, RuleAction
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.layout import Extent
from nodeagent.dataplane.ebpf.writes import Update, Write

Lines = tuple[CompiledRule, ...]
DENY_ALL: Lines = (CompiledRule(action=RuleAction.DENY, rule_id=-1),)
"""What a subject gets whose own list cannot be carried out: fail closed."""
DENIED = Extent(layout.ARENA - 1, 1, layout.list_flags(DENY_ALL))
"""Where that stands: the arena's last place is kept for it, so that there is room for a denial when there is for nothing else."""
NOTHING = Extent(0, 0)


class Listed(tuple[CompiledRule, ...]):
    """The same list, whose hash is worked out once: rules are many, and lists are looked up often."""

    def __hash__(self) -> int:
        known: int | None = self.__dict__.get("known")
        if known is None:
            known = self.__dict__["known"] = super().__hash__()
        return known


class Arena:
    """Extents of the lists that stand, and what bits they ask."""

    def __init__(self, taken: Iterable[Extent] = ()) -> None:
        self.extents: dict[Lines, Extent] = {}
        self.asked: dict[Lines, int] = {}
        """Bits that a list asks rows for."""
        self.asked_of_own: dict[Lines, int] = {}
        """Those of them that it asks of the end on the node's side."""
        self._taken = {extent for extent in taken if extent.size and extent != DENIED}
        """A former agent's, as long as entries name them."""

    def lay(self, wanted: set[Lines]) -> tuple[list[Write], set[Lines]]:
        """Give new lists places beside all that stand: what to write, and the lists that there is no room for (they deny)."""
        occupied = sorted(
            self._taken | {e for e in self.extents.values() if e.size and e != DENIED}, key=lambda e: e.start
        )
        lain: dict[bytes, bytes] = {}
        blocks: dict[bytes, bytes] = {}
        refused = set()
        for lines in sorted(
            (lines for lines in wanted if self.extents.get(lines, DENIED) == DENIED), key=len, reverse=True
        ):
            self.asked[lines] = bits_of(lines)
            self.asked_of_own[lines] = bits_of(line for line in lines if line.is_own)
            if not lines or lines == DENY_ALL:
                self.extents[lines] = DENIED if lines else NOTHING
                continue
            flags = layout.list_flags(lines)
            start = gap(occupied, len(lines), layout.BLOCK if flags & layout.IS_SUMMARIZED else 1)
            if start is None:
                self.extents[lines] = DENIED
                refused.add(lines)
                continue
            extent = self.extents[lines] = Extent(start, len(lines), flags)
            occupied.append(extent)
            occupied.sort(key=lambda e: e.start)
            lain |= rules(start, lines)
            if flags & layout.IS_SUMMARIZED:
                blocks |= summaries(start, lines)
        return [Update("rules", lain), Update("summaries", blocks)], refused

    def keep(self, wanted: set[Lines]) -> None:
        """Forget every list but these: no entry names the others any more."""
        self.extents = {lines: extent for lines, extent in self.extents.items() if lines in wanted}
        self.asked = {lines: bits for lines, bits in self.asked.items() if lines in wanted}
        self.asked_of_own = {lines: bits for lines, bits in self.asked_of_own.items() if lines in wanted}
        self._taken.clear()


def gap(occupied: Iterable[Extent], size: int, step: int = 1) -> int | None:
    """Start of the first gap that takes `size` rules, among extents in their order; a multiple of `step`."""
    at = 0
    for extent in occupied:
        if extent.start - at >= size:
            return at
        at = max(at, extent.start + extent.size)
        at += -at % step
    return at if at + size <= DENIED.start else None


def rules(start: int, lines: Lines) -> dict[bytes, bytes]:
    """Entries of a list that lies there, by place."""
    return {layout.NUMBER.pack(start + n): layout.rule(line) for n, line in enumerate(lines)}


def summaries(start: int, lines: Lines) -> dict[bytes, bytes]:
    """Of the blocks of a list that lies there, by number of the block."""
    first, step = start // layout.BLOCK, layout.BLOCK
    blocks = (lines[at : at + step] for at in range(0, len(lines), step))
    return {layout.NUMBER.pack(first + n): layout.summary(block) for n, block in enumerate(blocks)}


def bits_of(lines: Iterable[CompiledRule]) -> int:
    """All bits that lines ask."""
    bits = 0
    for line in lines:
        for bit in (line.bit, line.not_bit, line.net_bit, line.not_net_bit):
            if bit != NO_BIT:
                bits |= 1 << bit
    return bits
