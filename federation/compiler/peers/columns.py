"""Who has which labels, as bitsets that change one member at a time: a selector over thousands is a few ANDs and ORs.

A value that few have is kept as a list of their places: a bitset for each of as many values as there are members would grow with the
square of their number (156 MB at 50,000 identities with a label of their own each).
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from federation.selectors.index import Bits, union
from federation.selectors.tree import NAMESPACE_LABEL, All, And, Compare, Global, Has, In, Node, Not, Or

K = TypeVar("K", bound=Hashable)
Labels = Mapping[str, str]
Holders = Bits | tuple[int, ...]
"""Who has a value: places as bits, or one by one."""
FEW = 64
"""Where one of so many has a value, bits take as much room as a list."""


class Columns(Generic[K]):
    """Members, each with a place (a bit) and labels. Places of those that left are given away again."""

    def __init__(self) -> None:
        self.everyone: Bits = 0
        self.members: list[K | None] = []
        """By place."""
        self._places: dict[K, int] = {}
        self._labels: list[Labels] = []
        self._free: list[int] = []
        self._with: dict[str, dict[str, Holders]] = {}
        self._asked: dict[Node, Bits] = {}

    def __contains__(self, member: object) -> bool:
        return member in self._places

    def place_of(self, member: K) -> int:
        """Raises KeyError for one that is not here."""
        return self._places[member]

    def labels_of(self, member: K) -> Labels:
        """Raises KeyError for one that is not here."""
        return self._labels[self._places[member]]

    def put(self, labels: Mapping[K, Labels]) -> None:
        """Add members, or give them other labels."""
        self._asked.clear()
        if not self._places:
            self._build(labels)
            return
        for member, wanted in labels.items():
            if member not in self._places:
                self._enter(member)
            place = self._places[member]
            known = self._labels[place]
            self._unlabel(place, known.items() - wanted.items())
            self._label(place, wanted.items() - known.items())
            self._labels[place] = wanted

    def drop(self, members: Iterable[K]) -> None:
        """Remove members; who is not here is passed over."""
        self._asked.clear()
        for member in members:
            place = self._places.pop(member, None)
            if place is None:
                continue
            self._unlabel(place, self._labels[place].items())
            self._labels[place] = {}
            self.everyone &= ~(1 << place)
            self.members[place] = None
            self._free.append(place)

    def matching(self, node: Node) -> Bits:  # noqa: C901 - one case for each kind of node
        """The places of all that a selector's tree matches; what `Node.matches` says of each."""
        match node:
            case All():
                return self.everyone
            case Compare(key, "==", value):
                return self._holding(key, value)
            case Has(key):
                return self._having(key)
            case Global():
                return self.everyone & ~self._having(NAMESPACE_LABEL)
            case Compare(key, "!=", value):
                return self.everyone & ~self._holding(key, value)
            case And(operands):
                bits = self.everyone
                for operand in operands:
                    bits &= self._kept(operand)
                return bits
            case Or(operands):
                return union(self._kept(operand) for operand in operands)
            case Not(operand):
                return self.everyone & ~self._kept(operand)
            case In(key, wanted, is_negated):
                values = self._with.get(key, {})
                bits = _together(values.get(value, 0) for value in wanted)
                return self.everyone & ~bits if is_negated else bits
            case Compare():
                values = self._with.get(node.key, {})
                return _together(who for value, who in values.items() if node.matches({node.key: value}))

    def _kept(self, node: Node) -> Bits:
        """Answers about parts of selectors are kept until somebody's labels change."""
        if isinstance(node, Compare) and node.operator == "==":
            return self._holding(node.key, node.value)
        known = self._asked.get(node)
        if known is None:
            known = self._asked[node] = self.matching(node)
        return known

    def _holding(self, key: str, value: str) -> Bits:
        who = self._with.get(key, {}).get(value, 0)
        return who if isinstance(who, int) else bits_of(who)

    def _having(self, key: str) -> Bits:
        return _together(self._with.get(key, {}).values())

    def _build(self, labels: Mapping[K, Labels]) -> None:
        self.members = list(labels)
        self._labels = list(labels.values())
        self._free = []
        self._places = {member: place for place, member in enumerate(labels)}
        self.everyone = (1 << len(self.members)) - 1
        found: dict[str, dict[str, list[int]]] = {}
        for place, each in enumerate(self._labels):
            for key, value in each.items():
                found.setdefault(key, {}).setdefault(value, []).append(place)
        self._with = {
            key: {value: self._packed(places) for value, places in values.items()}
            for key, values in found.items()
        }

    def _packed(self, places: list[int]) -> Holders:
        return tuple(places) if len(places) * FEW < len(self.members) else bits_of(places)

    def _enter(self, member: K) -> None:
        if self._free:
            place = self._free.pop()
            self.members[place] = member
        else:
            place = len(self.members)
            self.members.append(member)
            self._labels.append({})
        self._places[member] = place
        self.everyone |= 1 << place

    def _label(self, place: int, labels: Iterable[tuple[str, str]]) -> None:
        for key, value in labels:
            values = self._with.setdefault(key, {})
            who = values.get(value)
            if who is None:
                values[value] = self._packed([place])
            elif isinstance(who, int):
                values[value] = who | 1 << place
            else:
                values[value] = self._packed([*who, place])

    def _unlabel(self, place: int, labels: Iterable[tuple[str, str]]) -> None:
        for key, value in labels:
            values = self._with[key]
            who = values[value]
            if isinstance(who, int):
                values[value] = who = who & ~(1 << place)
            else:
                values[value] = who = tuple(other for other in who if other != place)
            if not who:
                del values[value]


def _together(parts: Iterable[Holders]) -> Bits:
    """All that have any of some values."""
    wide: list[Bits] = []
    few: list[int] = []
    for part in parts:
        if isinstance(part, int):
            wide.append(part)
        else:
            few += part
    return union(wide) | bits_of(few)


def bits_of(places: Sequence[int]) -> Bits:
    """Places as bits."""
    if not places:
        return 0
    row = bytearray((max(places) >> 3) + 1)
    for place in places:
        row[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(row, "little")
