"""Rows of prefixes. A prefix's row holds the bits of all prefixes that cover it, so that one longest match is enough; a change
computes again what is at and below the prefixes that it touches."""

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from federation.policy.model import Prefix

Code = int
"""A prefix as a number: its address, then its length in the low byte; IPv6 after all IPv4. What a prefix covers follows it at once
in order."""
V6 = 1 << 140
"""In codes of IPv6."""
Source = Hashable
MANY = 64
"""From so many new prefixes on, sorting all is cheaper than putting each in its place."""


def code_of(net: Prefix) -> Code:
    """The number of a prefix."""
    code = int(net.network_address) << 8 | net.prefixlen
    return code if net.version == 4 else V6 | code


def code_of_address(address: IPv4Address | IPv6Address) -> Code:
    """The number of the prefix that holds an address alone."""
    width = address.max_prefixlen
    code = int(address) << 8 | width
    return code if width == 32 else V6 | code


def net_of(code: Code) -> Prefix:
    """The prefix that a number stands for."""
    if code < V6:
        return IPv4Network((code >> 8, code & 255))
    return IPv6Network(((code ^ V6) >> 8, code & 255))


def does_cover(outer: Code, inner: Code) -> bool:
    """Whether a prefix covers another, or is it."""
    return outer <= inner <= _last(outer)


class Prefixes:
    """Sources of prefixes, each with bits that its prefixes have. Prefixes of a source without bits are in no row."""

    def __init__(self) -> None:
        self.rows: dict[Prefix, int] = {}
        """As of the last `flush`."""
        self.before: dict[Code, int | None] = {}
        """What rows were before the changes since `begin`."""
        self._nets: dict[Source, dict[Code, int]] = {}
        """How often each names a prefix."""
        self._bits: dict[Source, int] = {}
        self._holders: dict[Code, tuple[Source, ...]] = {}
        self._order: list[Code] = []
        self._lengths: dict[int, int] = {}
        self._row: dict[Code, int] = {}
        self._network: dict[Code, Prefix] = {}
        self._dirty: set[Code] = set()

    def begin(self) -> None:
        """Forget what was before."""
        self.before = {}

    def extend(self, source: Source, added: Iterable[Code], removed: Iterable[Code] = ()) -> None:
        """Change which prefixes a source has. Raises KeyError for the removal of one that it has not."""
        nets = self._nets.setdefault(source, {})
        is_used = bool(self._bits.get(source))
        for code in removed:
            nets[code] -= 1
            if not nets[code]:
                del nets[code]
                if is_used:
                    self._leave(code, source)
        fresh = []
        for code in added:
            if code not in nets:
                nets[code] = 0
                fresh.append(code)
            nets[code] += 1
        if is_used:
            self._enter(fresh, source)

    def drop(self, source: Source) -> None:
        """Remove a source; one that is unknown is passed over."""
        self.give(source, 0)
        self._nets.pop(source, None)
        self._bits.pop(source, None)

    def bits_of(self, source: Source) -> int:
        """The bits that a source's prefixes have."""
        return self._bits.get(source, 0)

    def give(self, source: Source, bits: int) -> None:
        """Change which bits a source's prefixes have."""
        known = self._bits.get(source, 0)
        if bits == known:
            return
        self._bits[source] = bits
        nets = self._nets.setdefault(source, {})
        if not known:
            self._enter(nets, source)
        elif not bits:
            for code in nets:
                self._leave(code, source)
        else:
            self._dirty.update(nets)

    def flush(self) -> None:
        """Bring the rows up to date."""
        for code in self._dirty:
            if code not in self._holders and code in self._row:
                self._write(code, None)
        done = -1
        for code in sorted(self._dirty):
            if code > done:
                done = _last(code)
                self._sweep(code, done)
        self._dirty.clear()

    def effective_changes(self) -> Iterator[tuple[Prefix, int, int]]:
        """(prefix, old, new) of changed prefixes, since `begin`: the rows that addresses in them meet, the prefix's or its cover's."""
        for code, old in self.before.items():
            new = self._row.get(code)
            if old is None:
                old = self._above(code, is_before=True)
            yield self._network.get(code) or net_of(code), old, self._above(code) if new is None else new

    def changed(self) -> dict[Prefix, int | None]:
        """The new rows of prefixes whose rows differ from what they were at `begin`; None: it is gone."""
        return {
            self._network.get(code) or net_of(code): self._row.get(code)
            for code, old in self.before.items()
            if old != self._row.get(code)
        }

    def _enter(self, codes: Iterable[Code], source: Source) -> None:
        fresh = []
        for code in codes:
            held = self._holders.get(code)
            if held is None:
                self._holders[code] = (source,)
                fresh.append(code)
                kind = _kind(code)
                self._lengths[kind] = self._lengths.get(kind, 0) + 1
            else:
                self._holders[code] = (*held, source)
            self._dirty.add(code)
        if len(fresh) > MANY:
            self._order += fresh
            self._order.sort()
        else:
            for code in fresh:
                insort(self._order, code)

    def _leave(self, code: Code, source: Source) -> None:
        self._dirty.add(code)
        left = tuple(s for s in self._holders[code] if s != source)
        if left:
            self._holders[code] = left
            return
        del self._holders[code]
        kind = _kind(code)
        self._lengths[kind] -= 1
        if not self._lengths[kind]:
            del self._lengths[kind]
        self._order.pop(bisect_left(self._order, code))

    def _sweep(self, first: Code, last: Code) -> None:
        outer = self._above(first)
        covers: list[tuple[Code, int]] = []
        order, place = self._order, bisect_left(self._order, first)
        while place < len(order) and order[place] <= last:
            code = order[place]
            while covers and covers[-1][0] < code:
                covers.pop()
            row = covers[-1][1] if covers else outer
            for source in self._holders[code]:
                row |= self._bits[source]
            if self._row.get(code) != row:
                self._write(code, row)
            covers.append((_last(code), row))
            place += 1

    def _write(self, code: Code, row: int | None) -> None:
        self.before.setdefault(code, self._row.get(code))
        if row is None:
            del self._row[code]
            del self.rows[self._network.pop(code)]
            return
        self._row[code] = row
        net = self._network.get(code)
        if net is None:
            net = self._network[code] = net_of(code)
        self.rows[net] = row

    def _used(self, family: int, below: int) -> list[int]:
        """The lengths, shorter than one, that prefixes of a family have; longest first."""
        return sorted(
            (kind & 255 for kind in self._lengths if kind & V6 == family and kind & 255 < below), reverse=True
        )

    def _above(self, code: Code, is_before: bool = False) -> int:
        """The row of the longest prefix that covers a prefix, itself left out; 0: there is none."""
        own, width, family = code & 255, _width(code), code & V6
        address = (code ^ family) >> 8
        lengths = range(own - 1, -1, -1) if is_before else self._used(family, own)
        for length in lengths:
            outer = family | (address >> (width - length) << (width - length)) << 8 | length
            row = self.before.get(outer, self._row.get(outer)) if is_before else self._row.get(outer)
            if row is not None:
                return row
        return 0


def _width(code: Code) -> int:
    return 32 if code < V6 else 128


def _kind(code: Code) -> int:
    """Its family and length."""
    return code & (V6 | 255)


def _last(code: Code) -> Code:
    """The highest number of what a prefix covers."""
    return code | ((1 << (_width(code) - (code & 255))) - 1) << 8 | 255
