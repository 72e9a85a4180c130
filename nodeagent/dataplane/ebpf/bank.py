"""What rules look peers up in: rows of bits, prefixes and addresses, as they stand in the maps. Pure.

A row may keep bits that no list asks any more (they are stale); it is put right when one of them is asked again. Prefixes of equal rows share
one, by number, so that a set of a hundred thousand prefixes is one row.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from federation.identities import WORLD, IdentityNumber
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.cover import Address, Cover, Known, Net
from nodeagent.dataplane.ebpf.writes import Delete, Update, Write
from nodeagent.drivers import ANYTHING, Touched

RESERVED = 256
"""Identities below are nobody's labels (world, host …): they may be met at any address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a bank is to hold, and which bits any list asks: before and after."""

    identity_rows: Mapping[IdentityNumber, int]
    prefix_rows: Mapping[Net, int]
    addresses: Mapping[Address, IdentityNumber]
    asked_before: int = 0
    asked: int = 0

    @property
    def old_only(self) -> int:
        """Bits that only the lists ask that are about to go."""
        return self.asked_before & ~self.asked


@dataclass(slots=True, kw_only=True)
class Difference:
    """What is not as wanted. Rows are what is to be written: also with the bits that only old lists ask."""

    identities: dict[IdentityNumber, int] = field(default_factory=dict)
    lost_identities: list[IdentityNumber] = field(default_factory=list)
    nets: dict[Net, int] = field(default_factory=dict)
    new_nets: dict[Net, int] = field(default_factory=dict)
    lost_nets: list[Net] = field(default_factory=list)
    late_nets: list[Net] = field(default_factory=list)
    """Lost ones that old lists ask for: they go after the lists."""
    addresses: dict[Address, IdentityNumber] = field(default_factory=dict)
    lost_addresses: list[Address] = field(default_factory=list)
    identity_bits: int = 0
    """Bits that rows of known identities change."""
    prefix_bits: int = 0
    remembered_bits: int = 0
    """Bits of identities that are there again: cached answers may speak of what they were."""
    address_bits: int = 0
    """Bits that change because somebody else is at an address."""
    late_bits: int = 0
    """Of `prefix_bits`, those that change after the lists."""
    stale: int = 0
    """Bits that rows may have and should not, because no list asks them."""
    effective: set[Net] = field(default_factory=set)
    """Prefixes around which a bit changes that old lists ask."""

    @property
    def bits(self) -> int:
        """All that change for peers that are known."""
        return self.identity_bits | self.prefix_bits | self.address_bits

    def is_twofold(self, asked: int) -> bool:
        """Whether a peer could show a mixture of old and new bits, of those that are asked, while all is written one by one."""
        kinds = (self.identity_bits, self.prefix_bits, self.address_bits)
        if sum(bool(bits & asked) for bits in kinds) > 1:
            return True
        return bool(self.effective) and are_nested(
            (*self.nets, *self.new_nets, *self.lost_nets, *self.late_nets), self.effective
        )


def are_nested(nets: Iterable[Net], effective: Collection[Net]) -> bool:
    """Whether one of the effective prefixes covers another of `nets`, or lies in one."""
    around: list[Net] = []
    for net in sorted(nets, key=lambda n: (n.version, int(n.network_address), n.prefixlen)):
        while around and not (
            around[-1].version == net.version
            and int(net.network_address) <= int(around[-1].broadcast_address)
        ):
            around.pop()
        if around and (net in effective or any(other in effective for other in around)):
            return True
        around.append(net)
    return False


class Bank:
    """One bank as it stands. `compare` tells, `apply` takes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: dict[IdentityNumber, int] = {}
        self.nets: dict[Net, int] = {}
        self.net_rows: dict[int, int] = {}
        """Bits by number; each has as many holders as `members` says."""
        self.members: Counter[int] = Counter()
        self.addresses: Mapping[Address, IdentityNumber] = {}
        self._covered: dict[Address, int] = {}
        """Number of the prefix that covers an address, where there is one."""
        self._number_of: dict[int, int] = {}
        self._last_number = 0
        self._stale = 0
        self._cover = Cover()
        self._known = Known()
        self._population: Counter[IdentityNumber] = Counter()
        self._retired: set[IdentityNumber] = set()
        """Numbers that had a row once: a cached answer may remember them."""

    def compare(self, wanted: Wanted, touched: Touched = ANYTHING) -> Difference:
        """What is not as wanted, of what may be touched."""
        if self._stale & wanted.asked:
            touched = replace(touched, identities=None, nets=None)
        found = Difference(stale=(self._stale | wanted.old_only) & ~wanted.asked)
        self._compare_addresses(wanted, touched, found)
        self._compare_identities(wanted, touched, found)
        self._compare_nets(wanted, touched, found)
        return found

    def apply(self, found: Difference, wanted: Wanted) -> tuple[list[Write], list[Write], set[int]]:
        """Take a difference: the writes before the lists, those after them, and the stamps that are to move on in between."""
        rows: dict[bytes, bytes] = {}
        trie: dict[bytes, bytes] = {}
        entries: dict[bytes, bytes] = {}
        for number, row in found.identities.items():
            self.rows[number] = row
        identity_rows = {self._row_key(n): self._row(n, row) for n, row in found.identities.items()}
        moved = self._renumber(found, rows)
        for net in moved:
            trie[layout.prefix_key(self.number, net)] = layout.NUMBER.pack(self.nets[net])
        gone = [layout.prefix_key(self.number, net) for net in found.lost_nets]
        self._remove_nets(found.lost_nets)
        self._stale = found.stale
        self._move_addresses(found)
        self.addresses = wanted.addresses
        recovered = set(self._recovered([*moved, *found.lost_nets]))
        for address in found.addresses.keys() | recovered:
            entries[layout.address_key(self.number, address)] = self._address_value(address)
        first: list[Write] = [
            Update("identity_rows", identity_rows),
            Update("prefix_rows", rows),
            Update("prefixes", trie),
            Update("addresses", entries),
            Delete("addresses", tuple(layout.address_key(self.number, a) for a in found.lost_addresses)),
            Delete("prefixes", tuple(gone)),
        ]
        last = self._late(found)
        stamps = {layout.stamp_of(a) for a in (*found.addresses, *found.lost_addresses)}
        return first, last, stamps

    def fill(self, wanted: Wanted) -> list[Write]:
        """Everything, into a bank that is empty."""
        first, _, _ = self.apply(self.compare(replace(wanted, asked_before=0)), wanted)
        return first

    def everything(self) -> list[Write]:
        """The removal of all that it holds: what leads to rows first."""
        return [
            Delete("addresses", tuple(layout.address_key(self.number, a) for a in self.addresses)),
            Delete("prefixes", tuple(layout.prefix_key(self.number, net) for net in self.nets)),
            Delete("prefix_rows", tuple(self._row_key(n) for n in self.net_rows)),
            Delete("identity_rows", tuple(self._row_key(n) for n in self.rows)),
        ]

    def contents(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Every entry that it holds of one of BANKED."""
        match name:
            case "addresses":
                yield from (
                    (layout.address_key(self.number, a), self._address_value(a)) for a in self.addresses
                )
            case "prefixes":
                nets = self.nets.items()
                yield from ((layout.prefix_key(self.number, net), layout.NUMBER.pack(n)) for net, n in nets)
            case "identity_rows":
                yield from (
                    (self._row_key(number), self._row(number, bits)) for number, bits in self.rows.items()
                )
            case _:
                yield from ((self._row_key(n), self._row(n, bits)) for n, bits in self.net_rows.items())

    def _row_key(self, number: int) -> bytes:
        return layout.ROW_KEY.pack(self.number, number)

    def _row(self, number: int, bits: int) -> bytes:
        return layout.row(self.number, number, bits)

    def _address_value(self, address: Address) -> bytes:
        return layout.address_value(address, self.addresses[address], self._covered.get(address, 0))

    def _compare_identities(self, wanted: Wanted, touched: Touched, found: Difference) -> None:
        rows, asked, care = self.rows, wanted.asked, ~found.stale
        if touched.identities is None:
            candidates: Iterable[IdentityNumber] = wanted.identity_rows
            found.lost_identities = list(rows.keys() - wanted.identity_rows.keys())
        else:
            candidates = [n for n in touched.identities if n in wanted.identity_rows]
            found.lost_identities = [
                n for n in touched.identities if n in rows and n not in wanted.identity_rows
            ]
        for number in candidates:
            row, old = wanted.identity_rows[number], rows.get(number)
            if old is None:
                found.identities[number] = row & care
                if number in self._population or number < RESERVED:
                    found.identity_bits |= row & asked
                elif number in self._retired:
                    found.remembered_bits |= row & asked
            elif (old ^ row) & care:
                found.identities[number] = (row & care) | (old & found.stale)
                found.identity_bits |= (old ^ row) & asked
        leaving = Counter(
            self.addresses[a] for a in (*found.addresses, *found.lost_addresses) if a in self.addresses
        )
        arriving = set(found.addresses.values())
        for number in found.lost_identities:
            if self._population[number] > leaving[number] or number in arriving or number < RESERVED:
                found.identity_bits |= rows[number] & asked
                found.identities[number] = rows[number] & found.stale  # bare at once, gone after the lists

    def _compare_nets(self, wanted: Wanted, touched: Touched, found: Difference) -> None:
        asked, care = wanted.asked, ~found.stale
        if touched.nets is None:
            candidates: Iterable[Net] = wanted.prefix_rows
            lost = self.nets.keys() - wanted.prefix_rows.keys()
        else:
            candidates = [net for net in touched.nets if net in wanted.prefix_rows]
            lost = {net for net in touched.nets if net in self.nets and net not in wanted.prefix_rows}
        nets, net_rows = self.nets, self.net_rows
        for net in candidates:
            row, number = wanted.prefix_rows[net], nets.get(net)
            if number is None:
                old = self._around(net)
                found.new_nets[net] = (row & care) | (old & wanted.old_only)
            elif (net_rows[number] ^ row) & care:
                old = net_rows[number]
                found.nets[net] = (row & care) | (old & found.stale)
            else:
                continue
            differs = (old ^ row) & asked
            found.prefix_bits |= differs
            if differs & wanted.asked_before:
                found.effective.add(net)
        self._compare_lost(wanted, lost, found)

    def _compare_lost(self, wanted: Wanted, lost: Collection[Net], found: Difference) -> None:
        asked, old_only = wanted.asked, wanted.old_only
        for net in lost:
            self._cover.remove(net)
        for net in lost:
            differs = self.net_rows[self.nets[net]] ^ self._around(net)
            found.prefix_bits |= differs & asked
            if differs & wanted.asked_before:
                found.effective.add(net)
            if differs & old_only:
                found.late_nets.append(net)
                found.late_bits |= differs & asked
            else:
                found.lost_nets.append(net)
        for net in lost:
            self._cover.put(net, self.nets[net])

    def _around(self, net: Net) -> int:
        number = self._cover.around(net)
        return self.net_rows[number] if number else 0

    def _compare_addresses(self, wanted: Wanted, touched: Touched, found: Difference) -> None:
        known, new = self.addresses, wanted.addresses
        if touched.addresses is None:
            found.lost_addresses = list(known.keys() - new.keys())
            found.addresses = {a: n for a, n in new.items() if known.get(a) != n}
        else:
            found.lost_addresses = [a for a in touched.addresses if a in known and a not in new]
            found.addresses = {a: new[a] for a in touched.addresses if a in new and known.get(a) != new[a]}
        for address in (*found.addresses, *found.lost_addresses):
            former = known.get(address, WORLD)
            old = self.rows.get(former, 0)
            for identity in (
                former,
                new.get(address, WORLD),
            ):  # until it is written it shows the former one's new row
                row = (
                    wanted.identity_rows.get(identity, 0) & ~found.stale
                    | self.rows.get(identity, 0) & found.stale
                )
                found.address_bits |= (old ^ row) & (wanted.asked | wanted.asked_before)

    def _renumber(self, found: Difference, rows: dict[bytes, bytes]) -> list[Net]:
        """Rows of prefixes: written in place where all that share one change alike; else the prefix gets another number. Gives the
        prefixes that did."""
        groups: defaultdict[int, list[Net]] = defaultdict(list)
        for net in found.nets:
            groups[self.nets[net]].append(net)
        moved: list[Net] = list(found.new_nets)
        for number, nets in groups.items():
            values = {found.nets[net] for net in nets}
            if len(nets) == self.members[number] and len(values) == 1:
                self._set_row(number, values.pop(), rows)
            else:
                moved += nets
        for net in moved:
            self._point(net, found.new_nets.get(net, found.nets.get(net, 0)), rows)
        return moved

    def _set_row(self, number: int, bits: int, rows: dict[bytes, bytes]) -> None:
        if self._number_of.get(self.net_rows.get(number, -1)) == number:
            del self._number_of[self.net_rows[number]]
        self.net_rows[number] = bits
        self._number_of.setdefault(bits, number)
        rows[self._row_key(number)] = self._row(number, bits)

    def _point(self, net: Net, bits: int, rows: dict[bytes, bytes]) -> None:
        number = self._number_of.get(bits)
        if number is None:
            self._last_number += 1
            number = self._last_number
            self._set_row(number, bits, rows)
        before = self.nets.get(net)
        if before is not None:
            self.members[before] -= 1
        self.nets[net] = number
        self.members[number] += 1
        self._cover.put(net, number)

    def _remove_nets(self, nets: Iterable[Net]) -> None:
        for net in nets:
            self.members[self.nets.pop(net)] -= 1
            self._cover.remove(net)

    def _dead_rows(self) -> list[int]:
        """Numbers that no prefix has any more; forgotten here."""
        dead = [number for number in self.net_rows if not self.members[number]]
        for number in dead:
            bits = self.net_rows.pop(number)
            del self.members[number]
            if self._number_of.get(bits) == number:
                del self._number_of[bits]
        return dead

    def _move_addresses(self, found: Difference) -> None:
        for address in found.lost_addresses:
            self._leave(self.addresses[address])
            self._covered.pop(address, None)
        for address, identity in found.addresses.items():
            before = self.addresses.get(address)
            if before is not None:
                self._leave(before)
            self._population[identity] += 1
            number = self._cover.of(address.version, int(address))
            if number:
                self._covered[address] = number
            else:
                self._covered.pop(address, None)
        added = [a for a in found.addresses if a not in self.addresses]
        self._known.replace(added, found.lost_addresses)

    def _leave(self, identity: IdentityNumber) -> None:
        self._population[identity] -= 1
        if not self._population[identity]:
            del self._population[identity]

    def _recovered(self, nets: Iterable[Net]) -> Iterable[Address]:
        """Known addresses whose longest prefix has another number now."""
        for address in self._known.inside(nets):
            number = self._cover.of(address.version, int(address))
            if number != self._covered.get(address, 0):
                if number:
                    self._covered[address] = number
                else:
                    del self._covered[address]
                yield address

    def _late(self, found: Difference) -> list[Write]:
        gone = [layout.prefix_key(self.number, net) for net in found.late_nets]
        self._remove_nets(found.late_nets)
        entries = {
            layout.address_key(self.number, a): self._address_value(a)
            for a in self._recovered(found.late_nets)
        }
        for number in found.lost_identities:
            del self.rows[number]
            self._retired.add(number)
        return [
            Update("addresses", entries),
            Delete("prefixes", tuple(gone)),
            Delete("prefix_rows", tuple(self._row_key(n) for n in self._dead_rows())),
            Delete("identity_rows", tuple(self._row_key(n) for n in found.lost_identities)),
        ]
