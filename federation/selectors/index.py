"""Who has which labels, as bitsets: a selector over thousands of label sets is a few ANDs and ORs of integers.

Measured on 5,000 label sets and 2,000 selectors: about 40 times faster than asking each selector of each set.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from federation.selectors.tree import NAMESPACE_LABEL, All, And, Compare, Global, Has, In, Node, Not, Or

Bits = int
"""Bit i: the i-th label set."""
FEW = 8
"""Up to so many bits are found one by one, without writing all of them down: most selectors select few."""


class LabelIndex:
    """An index over a fixed sequence of label sets."""

    def __init__(self, label_sets: Sequence[Mapping[str, str]]) -> None:
        self.everyone: Bits = (1 << len(label_sets)) - 1
        found: dict[str, dict[str, list[int]]] = {}
        for place, labels in enumerate(label_sets):
            for key, value in labels.items():
                found.setdefault(key, {}).setdefault(value, []).append(place)
        width = len(label_sets) // 8 + 1
        self._with: dict[str, dict[str, Bits]] = {
            key: {value: _bits(places, width) for value, places in values.items()}
            for key, values in found.items()
        }
        self._having: dict[str, Bits] = {key: union(values.values()) for key, values in self._with.items()}
        self._asked: dict[Node, Bits] = {}

    def matching(self, node: Node) -> Bits:
        """The label sets that a selector's tree matches; what `Node.matches` says of each."""
        known = self._asked.get(node)
        if known is None:
            known = self._asked[node] = self._match(node)
        return known

    def _match(self, node: Node) -> Bits:  # noqa: C901 - one case for each kind of node
        match node:
            case All():
                return self.everyone
            case Global():
                return self.everyone & ~self._having.get(NAMESPACE_LABEL, 0)
            case Has(key):
                return self._having.get(key, 0)
            case Compare(key, "==", value):
                return self._with.get(key, {}).get(value, 0)
            case Compare(key, "!=", value):
                return self.everyone & ~self._with.get(key, {}).get(value, 0)
            case Compare():
                values = self._with.get(node.key, {})
                return union(bits for value, bits in values.items() if node.matches({node.key: value}))
            case In(key, wanted, is_negated):
                values = self._with.get(key, {})
                bits = union(values.get(value, 0) for value in wanted)
                return self.everyone & ~bits if is_negated else bits
            case Not(operand):
                return self.everyone & ~self.matching(operand)
            case And(operands):
                bits = self.everyone
                for operand in operands:
                    bits &= self.matching(operand)
                return bits
            case Or(operands):
                return union(self.matching(operand) for operand in operands)


def places_of(bits: Bits) -> Iterator[int]:
    """The places of the bits that are set, in order."""
    if bits.bit_count() <= FEW:
        while bits:
            lowest = bits & -bits
            yield lowest.bit_length() - 1
            bits ^= lowest
        return
    text = bin(bits)[:1:-1]
    place = text.find("1")
    while place >= 0:
        yield place
        place = text.find("1", place + 1)


def _bits(places: list[int], width: int) -> Bits:
    row = bytearray(width)
    for place in places:
        row[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(row, "little")


def union(parts: Iterable[Bits]) -> Bits:
    """All of them together."""
    bits = 0
    for part in parts:
        bits |= part
    return bits
