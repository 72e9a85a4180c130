"""Which policy prefix covers which address. Pure; costs the lengths that prefixes have, and the addresses that a prefix covers."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Net = IPv4Network | IPv6Network
WIDTHS = {4: 32, 6: 128}
SORT_FROM = 500
"""So many new addresses are sorted in at once."""


class Cover:
    """Prefixes with their numbers, by length."""

    def __init__(self) -> None:
        self._by_length: dict[tuple[int, int], dict[int, int]] = {}
        """By family and bits that do not count; then by those that do."""
        self._shifts: dict[int, tuple[int, ...]] = {4: (), 6: ()}

    def put(self, net: Net, number: int) -> None:
        """Add a prefix, or give it another number."""
        shift = WIDTHS[net.version] - net.prefixlen
        known = self._by_length.get((net.version, shift))
        if known is None:
            known = self._by_length[net.version, shift] = {}
            self._shifts[net.version] = tuple(sorted((*self._shifts[net.version], shift)))
        known[int(net.network_address) >> shift] = number

    def remove(self, net: Net) -> None:
        """Take one out."""
        shift = WIDTHS[net.version] - net.prefixlen
        known = self._by_length[net.version, shift]
        del known[int(net.network_address) >> shift]
        if not known:
            del self._by_length[net.version, shift]
            self._shifts[net.version] = tuple(s for s in self._shifts[net.version] if s != shift)

    def of(self, version: int, address: int, least: int = 0) -> int:
        """Number of the longest prefix around an address, of those that leave at least `least` bits open; 0 when there is none."""
        for shift in self._shifts[version]:
            if shift >= least:
                number = self._by_length[version, shift].get(address >> shift)
                if number is not None:
                    return number
        return 0

    def around(self, net: Net) -> int:
        """Number of the longest prefix that covers a prefix and is not it."""
        return self.of(net.version, int(net.network_address), WIDTHS[net.version] - net.prefixlen + 1)


class Known:
    """Addresses in their order, to find those inside a prefix."""

    def __init__(self) -> None:
        self._sorted: dict[int, list[int]] = {4: [], 6: []}

    def replace(self, added: Iterable[Address], removed: Iterable[Address]) -> None:
        """Put some in, take some out."""
        for version in WIDTHS:
            out = {int(a) for a in removed if a.version == version}
            new = [int(a) for a in added if a.version == version]
            known = self._sorted[version]
            if len(out) + len(new) >= SORT_FROM:
                kept = [a for a in known if a not in out] if out else known
                kept += new
                kept.sort()
                self._sorted[version] = kept
                continue
            for address in out:
                del known[bisect_left(known, address)]
            for address in new:
                insort(known, address)

    def inside(self, nets: Iterable[Net]) -> Iterator[Address]:
        """Those that any of the prefixes covers, each once."""
        seen: set[Address] = set()
        for net in nets:
            known = self._sorted[net.version]
            first = bisect_left(known, int(net.network_address))
            end = bisect_left(known, int(net.broadcast_address) + 1)
            kind = IPv4Address if net.version == 4 else IPv6Address
            for address in known[first:end]:
                seen.add(kind(address))
        yield from seen
