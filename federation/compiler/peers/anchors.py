"""Which selectors may match a given set of labels: each hangs on a label that it cannot do without, so that nobody asks them all."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

from federation.selectors.tree import And, Compare, Has, In, Node, Or

T = TypeVar("T", bound=Hashable)
Anchor = tuple[str, str | None]
"""A label, or (None) any value of it."""
ANY: Anchor = ("", None)
"""Of selectors that may match without any label."""


class Anchors(Generic[T]):
    """Things that have selectors, by what their selectors need."""

    def __init__(self) -> None:
        self._at: dict[Anchor, dict[T, None]] = {}
        self._where: dict[T, tuple[Anchor, ...]] = {}

    def add(self, thing: T, node: Node | None) -> None:
        """Hang a thing up; None is a selector of everyone."""
        where = tuple((node and self._needs(node)) or (ANY,))
        self._where[thing] = where
        for anchor in where:
            self._at.setdefault(anchor, {})[thing] = None

    def remove(self, thing: T) -> None:
        """Take it down. Raises KeyError when it does not hang here."""
        for anchor in self._where.pop(thing):
            del self._at[anchor][thing]
            if not self._at[anchor]:
                del self._at[anchor]

    def candidates(self, labels: Mapping[str, str]) -> Iterator[T]:
        """All whose selector may match; a thing may come twice."""
        yield from self._at.get(ANY, ())
        for key, value in labels.items():
            yield from self._at.get((key, value), ())
            yield from self._at.get((key, None), ())

    def _needs(self, node: Node) -> set[Anchor] | None:
        """Labels of which a match has at least one; None: it may have none."""
        match node:
            case Compare(key, "==", value):
                return {(key, value)}
            case Compare(key, operator, _):
                return None if operator == "!=" else {(key, None)}
            case Has(key):
                return {(key, None)}
            case In(key, values, is_negated):
                return None if is_negated else {(key, value) for value in values}
            case Or(operands):
                found: set[Anchor] = set()
                for needs in map(self._needs, operands):
                    if needs is None:
                        return None
                    found |= needs
                return found
            case And(operands):
                known = [needs for needs in map(self._needs, operands) if needs is not None]
                return min(known, key=self._load, default=None)
        return None

    def _load(self, anchors: set[Anchor]) -> int:
        return sum(len(self._at.get(anchor, ())) + (anchor[1] is None) * 64 for anchor in anchors)
