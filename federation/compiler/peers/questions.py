"""The bits of all predicates in use, and the rows of identities and prefixes that they make. A bit that was freed is given away
again by a later change only: whoever still reads the old rules never meets it with another meaning."""

from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from federation.compiler.peers.anchors import Anchors
from federation.compiler.peers.columns import Columns, bits_of
from federation.compiler.peers.holders import Held, Holders, is_within
from federation.compiler.peers.predicates import (
    NetsPredicate,
    PeerPredicate,
    PortNumber,
    PortPredicate,
    Predicate,
)
from federation.compiler.peers.prefixes import Code, Prefixes, code_of
from federation.compiler.peers.sources import Name, Places, Source
from federation.identities import WORLD, IdentityNumber
from federation.policy.world import Labels
from federation.rules.model import Prefix
from federation.selectors.index import places_of

MANY = 64
"""From so many new predicates on, rows are made whole, not bit by bit."""
STEP = 256
"""So many prefixes are compared at a time."""


class Questions:
    """Which predicates are in use, and who meets them."""

    def __init__(self) -> None:
        self.identities: Columns[IdentityNumber] = Columns()
        self.places = Places()
        self.prefixes = Prefixes()
        self.holders = Holders()
        self.bits: dict[Predicate, int] = {}
        self.rows: dict[IdentityNumber, int] = {}
        """Identities without a bit are left out."""
        self.before: dict[IdentityNumber, int] = {}
        """Rows as they were before the changes since `begin`."""
        self.newborn: set[IdentityNumber] = set()
        self._uses: dict[Predicate, int] = {}
        self._fresh: dict[Predicate, None] = {}
        self._idle: dict[Predicate, None] = {}
        self._anchors: Anchors[PeerPredicate] = Anchors()
        self._mentions: dict[str, int] = {}
        """By label: the bits of the predicates that ask for it."""
        self._by_port: dict[tuple[str, PortNumber], dict[PortPredicate, None]] = {}
        self._free: list[int] = []
        self._next = 0

    def begin(self) -> None:
        """A change begins."""
        self.before, self.newborn = {}, set()
        self.prefixes.begin()

    def relabel(self, changed: Mapping[IdentityNumber, Labels | None]) -> None:
        """Identities that are new, or have other labels, or are gone (None)."""
        kept = {number: labels for number, labels in changed.items() if labels is not None}
        known = {number: self.identities.labels_of(number) for number in kept if number in self.identities}
        self.newborn |= kept.keys() - known.keys()
        self.identities.drop(number for number in changed if number not in kept)
        self.identities.put(kept)
        for number in changed:
            labels, row = kept.get(number), 0
            if labels is not None and self.bits:
                asked = -1
                if number in known:
                    asked = self._asked_of(dict(known[number].items() ^ labels.items()))
                    row = self.rows.get(number, 0) & ~asked
                for predicate in self._anchors.candidates(labels):
                    bit = 1 << self.bits[predicate]
                    if bit & asked and predicate.is_workload(labels):
                        row |= bit
            self._write(number, row)

    def _asked_of(self, keys: Iterable[str]) -> int:
        """The bits that depend on any of these labels."""
        bits = 0
        for key in keys:
            bits |= self._mentions.get(key, 0)
        return bits

    def resource(self, changed: Mapping[Name, Source | None]) -> None:
        """Network sets and hosts that are new, or other than they were, or gone (None)."""
        before = {name: self.places.get(name) for name in changed}
        kept = {name: source for name, source in changed.items() if source is not None}
        self.places.drop(name for name in changed if name not in kept)
        self.places.put(kept)
        for name in changed.keys() - kept.keys():
            self.prefixes.drop(name)
        for name, source in kept.items():
            known = before[name]
            added, removed = changed_nets(known.nets if known else (), source.nets)
            self.prefixes.extend(name, _codes(added), _codes(removed))
            bits = 0
            for predicate in self._anchors.candidates(source.labels):
                if predicate.is_source(source):
                    bits |= 1 << self.bits[predicate]
            self.prefixes.give(name, bits)

    def move_ports(self, added: Iterable[Held], removed: Iterable[Held]) -> None:
        """Addresses that have a named port now, or have it no more."""
        if not self._by_port:
            return
        for held, is_added in [(h, False) for h in removed] + [(h, True) for h in added]:
            name, number, address = held
            for predicate in self._by_port.get((name, number), ()):
                if is_within(address, predicate.nets):
                    self.prefixes.extend(
                        predicate, [address] if is_added else (), () if is_added else [address]
                    )

    def hold(self, predicate: Predicate) -> None:
        """A rule asks it."""
        uses = self._uses.get(predicate, 0)
        self._uses[predicate] = uses + 1
        if uses == 0:
            if predicate in self.bits:
                del self._idle[predicate]
            else:
                self._fresh[predicate] = None

    def release(self, predicate: Predicate) -> None:
        """A rule asks it no more."""
        self._uses[predicate] -= 1
        if not self._uses[predicate]:
            del self._uses[predicate]
            if predicate in self._fresh:
                del self._fresh[predicate]
            else:
                self._idle[predicate] = None

    def settle(self) -> tuple[int, int]:
        """Give bits to predicates that are new, take them from those that nobody asks: (new, freed), as bit masks."""
        freed = [(predicate, self.bits.pop(predicate)) for predicate in self._idle]
        for predicate, bit in freed:
            self._clear(predicate, bit)
        fresh = sorted(self._fresh, key=lambda p: p.order)
        for predicate in fresh:
            self.bits[predicate] = self._take()
        self._fill(fresh)
        for _, bit in freed:
            heappush(self._free, bit)
        new, old = sum(1 << self.bits[p] for p in fresh), sum(1 << bit for _, bit in freed)
        self._fresh, self._idle = {}, {}
        self.prefixes.flush()
        return new, old

    @property
    def bit_count(self) -> int:
        """One more than the highest bit ever given."""
        return self._next

    def _take(self) -> int:
        if self._free:
            return heappop(self._free)
        self._next += 1
        return self._next - 1

    def _fill(self, fresh: list[Predicate]) -> None:
        peers = [p for p in fresh if isinstance(p, PeerPredicate)]
        self._fill_rows(peers)
        self._fill_sources(peers)
        for predicate in fresh:
            if isinstance(predicate, PeerPredicate):
                self._anchors.add(predicate, predicate.selector.node if predicate.selector else None)
                for key in predicate.keys:
                    self._mentions[key] = self._mentions.get(key, 0) | 1 << self.bits[predicate]
                continue
            if isinstance(predicate, NetsPredicate):
                self.prefixes.extend(predicate, _codes(predicate.nets))
            else:
                self._by_port.setdefault((predicate.name, predicate.number), {})[predicate] = None
                self.prefixes.extend(predicate, self.holders.addresses(predicate))
            self.prefixes.give(predicate, 1 << self.bits[predicate])

    def _fill_rows(self, fresh: list[PeerPredicate]) -> None:
        columns: dict[int, list[int]] = {}
        for predicate in fresh:
            bit = self.bits[predicate]
            if predicate.is_outside:
                self._write(WORLD, self.rows.get(WORLD, 0) | 1 << bit)
            for place in places_of(predicate.workloads(self.identities)):
                columns.setdefault(place, []).append(bit)
        is_many = len(fresh) > MANY
        for place, found in columns.items():
            number = self.identities.members[place]
            if number is not None:
                row = bits_of(found) if is_many else sum(1 << bit for bit in found)
                self._write(number, self.rows.get(number, 0) | row)

    def _fill_sources(self, fresh: list[PeerPredicate]) -> None:
        given: dict[Name, int] = {}
        for predicate in fresh:
            for place in places_of(predicate.sources(self.places)):
                name = self.places.columns.members[place]
                if name is not None:
                    given[name] = given.get(name, 0) | 1 << self.bits[predicate]
        for name, bits in given.items():
            self.prefixes.give(name, self.prefixes.bits_of(name) | bits)

    def _clear(self, predicate: Predicate, bit: int) -> None:
        mask = ~(1 << bit)
        match predicate:
            case PeerPredicate():
                self._anchors.remove(predicate)
                for key in predicate.keys:
                    self._mentions[key] &= mask
                if predicate.is_outside:
                    self._write(WORLD, self.rows.get(WORLD, 0) & mask)
                for place in places_of(predicate.workloads(self.identities)):
                    number = self.identities.members[place]
                    if number is not None:
                        self._write(number, self.rows.get(number, 0) & mask)
                for place in places_of(predicate.sources(self.places)):
                    name = self.places.columns.members[place]
                    if name is not None:
                        self.prefixes.give(name, self.prefixes.bits_of(name) & mask)
            case NetsPredicate():
                self.prefixes.drop(predicate)
            case PortPredicate():
                self.prefixes.drop(predicate)
                del self._by_port[predicate.name, predicate.number][predicate]

    def _write(self, number: IdentityNumber, row: int) -> None:
        known = self.rows.get(number, 0)
        if known == row:
            return
        self.before.setdefault(number, known)
        if row:
            self.rows[number] = row
        else:
            del self.rows[number]


def changed_nets(old: tuple[Prefix, ...], new: tuple[Prefix, ...]) -> tuple[list[Prefix], list[Prefix]]:
    """(added, removed), as often as they are. What both begin and end with is passed over, so that one change among many is cheap."""
    start = _common(old, new, is_end=False)
    end = min(_common(old, new, is_end=True), len(old) - start, len(new) - start)
    before, after = Counter(old[start : len(old) - end]), Counter(new[start : len(new) - end])
    return list((after - before).elements()), list((before - after).elements())


def _common(one: tuple[Prefix, ...], other: tuple[Prefix, ...], is_end: bool) -> int:
    """How many items two sequences begin (or end) with alike, whole steps only."""
    found = 0
    while found < min(len(one), len(other)):
        if is_end:
            ends = (each[max(len(each) - found - STEP, 0) : len(each) - found] for each in (one, other))
        else:
            ends = (each[found : found + STEP] for each in (one, other))
        part, same = ends
        if part != same:
            break
        found += len(part)
    return found


def _codes(nets: Iterable[Prefix]) -> list[Code]:
    return [code_of(net) for net in nets]
