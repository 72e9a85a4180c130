"""From what stands in the maps to what is wanted: which writes, in which order, so that no packet meets half a policy. Pure.

The order: the mark (which numbers are taken), endpoints that are gone, rows, prefixes and addresses, rules in free places, the endpoints'
entries that name them, and only then the removal of what no entry names any more. See docs/design/ebpf.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from federation.policy.tables import Direction, RuleReference, Tables
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.arena import DENIED, DENY_ALL, Arena, Lines
from nodeagent.dataplane.ebpf.bank import Bank, Difference, Wanted
from nodeagent.dataplane.ebpf.cover import Address
from nodeagent.dataplane.ebpf.layout import Extent
from nodeagent.dataplane.ebpf.writes import Delete, Sweep, Update, Write, needed
from nodeagent.drivers import ANYTHING, DesiredPolicy, Touched

MARK = layout.NUMBER.pack(0)
"""Key in `endpoints` (no interface has index 0) that keeps the highest bank and epoch ever begun. A restarted agent goes on above
them: what was half written, or allowed to an endpoint that is gone, never looks fresh."""
ADOPTED = ("endpoints", "stamps", "more_addresses", "locals")
"""Maps of a former agent that the next one goes on with."""
Pair = tuple[Extent, Extent]


@dataclass(frozen=True, slots=True)
class Place:
    """What an endpoint's interface is to get. `lists` by Direction."""

    addresses: tuple[Address, ...]
    identity: int
    lists: tuple[Lines, Lines]
    mac: bytes = b""
    is_direct: bool = False
    """Whether other endpoints of the node may hand it packets past the node's stack."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An endpoint's entry as it stands."""

    value: bytes
    epoch: int
    extents: tuple[Extent, ...]
    lists: tuple[Lines, Lines] | None = None
    """None: a former agent's, which cannot be told from its bytes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes, in order; the interfaces that are denied all for want of room; whether all was written beside what stands."""

    writes: tuple[Write, ...]
    without_room: frozenset[int] = frozenset()
    is_rebuilt: bool = False


@dataclass(slots=True, kw_only=True)
class Standing:
    """What the maps hold, as far as is known. Bank and epoch are the highest ever begun."""

    bank_number: int = 0
    epoch: int = 0
    bank: Bank | None = None
    """None: a former agent's."""
    arena: Arena = field(default_factory=Arena)
    entries: dict[int, Entry] = field(default_factory=dict)
    """By interface's index."""
    more: set[bytes] = field(default_factory=set)
    locals: dict[bytes, bytes] = field(default_factory=dict)
    stamps: dict[int, int] = field(default_factory=dict)
    references: Mapping[int, RuleReference] = field(default_factory=dict)


class Planner:
    """Plans the smallest change; equal states plan nothing. A plan that was not carried out leaves it useless: begin with a new one."""

    def __init__(self, standing: Standing | None = None) -> None:
        self.standing = standing or Standing()

    def plan(self, desired: DesiredPolicy, places: Mapping[int, Place], touched: Touched = ANYTHING) -> Plan:
        """What to write, in order. Takes it as written."""
        standing = self.standing
        lists = {lines for place in places.values() for lines in place.lists}
        before = {lines for entry in standing.entries.values() for lines in entry.lists or ()}
        rules, refused = standing.arena.lay(lists)
        extents = standing.arena.extents
        pairs: dict[int, Pair] = {
            i: (extents[place.lists[0]], extents[place.lists[1]]) for i, place in places.items()
        }
        asked = standing.arena.asked
        wanted = Wanted(
            identity_rows=desired.tables.identity_rows,
            prefix_rows=desired.tables.prefix_rows,
            addresses=desired.addresses,
            asked_before=_all(asked[lines] for lines in before),
            asked=_all(asked[lines] for lines in lists),
        )
        found = standing.bank.compare(wanted, touched) if standing.bank else Difference()
        is_rebuilt = standing.bank is None or self._is_conflict(found, wanted, pairs)
        entries = self._entries(places, pairs, found, is_rebuilt=is_rebuilt)
        gone = standing.entries.keys() - entries.keys()
        fresh = {i: entry for i, entry in entries.items() if standing.entries.get(i) != entry}
        writes = self._begin(is_rebuilt=is_rebuilt, is_fresh=bool(fresh), gone=sorted(gone))
        direct = _locals(places)
        writes.append(Delete("locals", tuple(sorted(standing.locals.keys() - direct.keys()))))
        more = {key for i, place in places.items() for key in layout.more_addresses(i, place.addresses)}
        one = layout.NUMBER.pack(1)
        writes.append(Update("more_addresses", dict.fromkeys(sorted(more - standing.more), one)))
        first, last = self._bank_writes(wanted, found, is_rebuilt=is_rebuilt)
        writes += first
        writes += rules
        writes.append(self._counts(desired.tables, is_rebuilt=is_rebuilt))
        writes.append(Update("endpoints", {layout.NUMBER.pack(i): entry.value for i, entry in fresh.items()}))
        moved = {key: index for key, index in direct.items() if standing.locals.get(key) != index}
        writes.append(Update("locals", moved))
        writes += last
        writes.append(Delete("more_addresses", tuple(sorted(standing.more - more))))
        standing.entries, standing.more, standing.locals = entries, more, direct
        standing.arena.keep(lists)
        without_room = frozenset(i for i, place in places.items() if refused & set(place.lists))
        return Plan(needed(writes), without_room, is_rebuilt)

    def distrust(self) -> None:
        """What was allowed meanwhile may have been allowed by entries that were not ours: every endpoint's next epoch begins."""
        self.standing.entries = {
            index: replace(entry, value=b"") for index, entry in self.standing.entries.items()
        }

    def _is_conflict(self, found: Difference, wanted: Wanted, pairs: Mapping[int, Pair]) -> bool:
        """Whether writing in place could show a packet what neither the old nor the new state says: a list that changes asks a bit
        that changes for peers that are known; or a peer's bits change in two steps; or a prefix goes late that a list asks for."""
        standing, leaving = self.standing, 0
        for index, entry in standing.entries.items():
            if index in pairs and entry.extents != pairs[index] and entry.lists:
                leaving |= _all(standing.arena.asked[lines] for lines in entry.lists)
        return bool(found.bits & leaving or found.late_bits) or found.is_twofold(wanted.asked_before)

    def _entries(
        self,
        places: Mapping[int, Place],
        pairs: Mapping[int, Pair],
        found: Difference,
        *,
        is_rebuilt: bool,
    ) -> dict[int, Entry]:
        """An endpoint's epoch moves on when its lists change, or bits that they ask: what was remembered is judged again."""
        standing, changed = self.standing, found.identity_bits | found.prefix_bits | found.remembered_bits
        number, epoch = standing.bank_number + is_rebuilt, standing.epoch + 1
        entries = {}
        for index, place in places.items():
            before = standing.entries.get(index)
            if before is not None and not is_rebuilt:
                is_same = _entry(index, place, number, before.epoch, pairs[index]) == before
                if is_same and not changed & _all(standing.arena.asked[lines] for lines in place.lists):
                    entries[index] = before
                    continue
            entries[index] = _entry(index, place, number, epoch, pairs[index])
        return entries

    def _begin(self, *, is_rebuilt: bool, is_fresh: bool, gone: list[int]) -> list[Write]:
        standing = self.standing
        writes: list[Write] = []
        former = standing.bank is None
        if is_rebuilt or is_fresh:
            standing.bank_number += is_rebuilt
            standing.epoch += is_fresh
            writes.append(Update("endpoints", {MARK: layout.mark(standing.bank_number, standing.epoch)}))
        # Denied from here on: old rules never meet new peers.
        writes.append(Delete("endpoints", tuple(layout.NUMBER.pack(index) for index in gone)))
        if former:  # what was half written, and never named, makes room
            live = frozenset(layout.ENDPOINT.unpack(e.value)[3] for e in standing.entries.values())
            writes += (Sweep(name, live) for name in layout.BANKED)
            writes.append(Update("rules", {layout.NUMBER.pack(DENIED.start): layout.rule(DENY_ALL[0])}))
        return writes

    def _bank_writes(
        self, wanted: Wanted, found: Difference, *, is_rebuilt: bool
    ) -> tuple[list[Write], list[Write]]:
        """Before the lists, and after them."""
        standing = self.standing
        if not is_rebuilt and standing.bank is not None:
            first, last, stamps = standing.bank.apply(found, wanted)
            moved = {}
            for place in sorted(stamps):
                standing.stamps[place] = (standing.stamps.get(place, 0) + 1) & 0xFFFFFFFF
                moved[layout.NUMBER.pack(place)] = layout.NUMBER.pack(standing.stamps[place])
            return [*first, Update("stamps", moved)], last
        old, standing.bank = standing.bank, Bank(standing.bank_number)
        first = standing.bank.fill(wanted)
        if old is None:
            kept = frozenset({standing.bank_number})
            return first, [Sweep(name, kept) for name in layout.BANKED]
        return first, old.everything()

    def _counts(self, tables: Tables, *, is_rebuilt: bool) -> Update:
        """Rules that have a number which was another's begin to count anew."""
        standing = self.standing
        known = {} if is_rebuilt and not standing.references else standing.references
        zero = layout.RULE_COUNT.pack(0, 0)
        renamed = {
            layout.NUMBER.pack(number + 1): zero
            for number, reference in tables.references.items()
            if known.get(number) != reference and number + 1 < layout.COUNTED_RULES
        }
        standing.references = tables.references
        return Update("rule_counts", renamed)


def adopted(held: Mapping[str, Mapping[bytes, bytes]]) -> Standing:
    """What can be told from a former agent's maps (those of ADOPTED): which places of the arena are taken, which numbers are."""
    bank = epoch = 0
    entries = {}
    for key, value in held["endpoints"].items():
        fields = layout.ENDPOINT.unpack(value)
        own_bank, own_epoch, lists = fields[3], fields[4], fields[5:9]
        bank, epoch = max(bank, own_bank), max(epoch, own_epoch)
        if key != MARK:
            pairs = zip(lists[:2], lists[2:], strict=True)
            extents = tuple(Extent(start, count & 0xFFFF) for start, count in pairs)
            entries[layout.NUMBER.unpack(key)[0]] = Entry(value, own_epoch, extents)
    arena = Arena(extent for entry in entries.values() for extent in entry.extents)
    numbers = {layout.NUMBER.unpack(k)[0]: layout.NUMBER.unpack(v)[0] for k, v in held["stamps"].items()}
    return Standing(
        bank_number=bank, epoch=epoch, arena=arena, entries=entries, more=set(held["more_addresses"]), locals=dict(held["locals"]),
        stamps={place: stamp for place, stamp in numbers.items() if stamp},
    )  # fmt: skip


def lists_of(tables: Tables, class_number: int) -> tuple[Lines, Lines]:
    """The lists of a class, by Direction; one that the programs cannot walk is replaced by a denial."""
    return tuple(  # type: ignore[return-value]  # two directions
        lines if is_walkable(tables, lines) else DENY_ALL
        for lines in (tables.classes[class_number][d] for d in Direction)
    )


def is_walkable(tables: Tables, lines: Lines) -> bool:
    """Whether the programs can carry a list out."""
    return len(lines) <= layout.MAX_RULES and tables.bit_count <= layout.ROW_BITS


def _entry(index: int, place: Place, bank: int, epoch: int, pair: Pair) -> Entry:
    generation = (bank, epoch)
    value = layout.endpoint(
        index, place.addresses, place.mac, place.identity, generation, pair, is_direct=place.is_direct
    )
    return Entry(value, epoch, pair, place.lists)


def _all(bits: Iterable[int]) -> int:
    every = 0
    for some in bits:
        every |= some
    return every


def _locals(places: Mapping[int, Place]) -> dict[bytes, bytes]:
    """Which interface is at an address, where packets may go there past the stack; not where two claim it."""
    claims: dict[Address, set[int]] = {}
    for index, place in places.items():
        for address in place.addresses:
            claims.setdefault(address, set()).add(index)
    return {
        layout.local_key(address): layout.NUMBER.pack(index)
        for address, indexes in claims.items()
        if len(indexes) == 1 and places[index := next(iter(indexes))].is_direct
    }
