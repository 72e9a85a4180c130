"""Numbers that a table gives: to all that can be the reason of a verdict, and to pairs of lists."""

from collections.abc import Iterable
from heapq import heappop, heappush

from federation.compiler.change import Lists
from federation.policy.tables import RuleReference


class RuleIds:
    """Numbers of all that can be the reason of a verdict, by how many name it."""

    def __init__(self) -> None:
        self.numbers: dict[RuleReference, int] = {}
        self._uses: dict[RuleReference, int] = {}
        self._free: list[int] = []

    def take(self, references: Iterable[RuleReference]) -> None:
        """Count uses; what had none gets its number, in an order that depends on the references only."""
        unknown: set[RuleReference] = set()
        for reference in references:
            uses = self._uses.get(reference, 0)
            self._uses[reference] = uses + 1
            if not uses:
                unknown.add(reference)
        for reference in sorted(unknown, key=_reference_order):
            self.numbers[reference] = heappop(self._free) if self._free else len(self.numbers) + 1

    def give_back(self, references: Iterable[RuleReference]) -> None:
        """Count uses down; what has none loses its number."""
        for reference in references:
            self._uses[reference] -= 1
            if not self._uses[reference]:
                del self._uses[reference]
                heappush(self._free, self.numbers.pop(reference))


class Classes:
    """Pairs of lists that subjects have, numbered."""

    def __init__(self) -> None:
        self.lists: list[Lists | None] = []
        """By number; None: it is free."""
        self._numbers: dict[int, list[int]] = {}
        """By mark."""
        self._marks: dict[int, int] = {}
        self._uses: dict[int, int] = {}
        self._free: list[int] = []

    def number_of(self, lists: Lists, mark: int) -> tuple[int, bool]:
        """Its number, and whether it is new. The mark is the same for the same lists: hashing them again costs more than all else."""
        alike = self._numbers.setdefault(mark, [])
        for number in alike:
            if self.lists[number] == lists:
                return number, False
        if self._free:
            number = heappop(self._free)
            self.lists[number] = lists
        else:
            number = len(self.lists)
            self.lists.append(lists)
        alike.append(number)
        self._marks[number] = mark
        return number, True

    def enter(self, number: int) -> None:
        """A subject has it."""
        self._uses[number] = self._uses.get(number, 0) + 1

    def leave(self, number: int) -> bool:
        """A subject has it no more; whether it is gone."""
        self._uses[number] -= 1
        if self._uses[number]:
            return False
        mark = self._marks.pop(number)
        alike = self._numbers[mark]
        alike.remove(number)
        if not alike:
            del self._numbers[mark]
        del self._uses[number]
        self.lists[number] = None
        heappush(self._free, number)
        return True


def _reference_order(reference: RuleReference) -> tuple[str, bool, str, str, int]:
    """Sort key."""
    policy = reference.policy
    return (reference.tier, policy is None, str(policy), reference.section, reference.index or 0)
