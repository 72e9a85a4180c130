"""Policies as lines, and lines as numbered rules: each policy once for all subjects for which it comes to the same."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import chain

from federation.compiler.change import Lists
from federation.compiler.lines import ANY_PORT, SKIP, Line, Surroundings, lines_of
from federation.compiler.peers.predicates import Predicate
from federation.policy import model
from federation.policy.parties import Party
from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction, RuleReference
from federation.resources.metadata import ObjectKey

ACTIONS = {
    "Allow": RuleAction.ALLOW,
    "Deny": RuleAction.DENY,
    "Pass": RuleAction.PASS,
    SKIP: RuleAction.PASS,
}
Token = tuple[str, ...]
"""What a policy's lines depend on besides itself: ("port", name), ("service", namespace, name), ("sets",)."""
SETS: Token = ("sets",)
Rules = tuple[CompiledRule, ...]
Question = tuple[int, int, int, int]
"""What a rule asks of the peer: its bits."""
NO_QUESTION: Question = (NO_BIT, NO_BIT, NO_BIT, NO_BIT)


@dataclass(eq=False, slots=True)
class Entry:
    """A policy that is enforced, and the local subjects that it selects."""

    policy: model.Policy
    number: int
    place: tuple[object, ...] = ()
    """Where its tier and itself stand, as a sort key."""
    version: int = 0
    """Counts what changed of all that its lines depend on."""
    subjects: dict["Subject", None] = field(default_factory=dict)
    tokens: frozenset[Token] = frozenset()
    is_own: tuple[bool, bool] = (False, False)
    """By direction: whether its lines are each subject's own."""

    def __post_init__(self) -> None:
        tokens: set[Token] = set()
        is_own = [False, False]
        for direction in Direction:
            for rule in self.policy.rules(direction) or ():
                own, peer = _ends(rule, direction)
                asks_who = own.has_peer_terms
                is_own[direction] |= asks_who or _is_own(own, peer)
                tokens.update(_tokens(own, peer))
                if asks_who:
                    tokens.add(SETS)
        self.tokens, self.is_own = frozenset(tokens), (is_own[0], is_own[1])


@dataclass(eq=False, slots=True)
class Draft:
    """One direction of one policy for some subjects."""

    key: tuple[object, ...]
    rules: tuple[tuple[RuleReference, tuple[Line, ...]], ...]
    uses: int = 0
    is_numbered: bool = False
    """Whether its references are counted among those that have ids."""
    compiled: Rules | None = None
    """With `next_tier` counted from the line itself, and 0 for the tier's end."""
    questions: tuple[Question, ...] = ()
    """Of each rule."""
    marks: tuple[int, ...] = ()
    """Hashes of the rules, `next_tier` left out."""
    has_skips: bool = False

    @property
    def references(self) -> Iterator[RuleReference]:
        """All that its lines can be the reason of a verdict for."""
        return (reference for reference, _ in self.rules)

    def predicates(self) -> Iterator[Predicate]:
        """Those that its lines ask, each as often as it is asked."""
        for _, lines in self.rules:
            for line in lines:
                yield from line.predicates


@dataclass(eq=False, slots=True)
class Subject:
    """A local endpoint."""

    key: ObjectKey
    party: Party
    number: int
    """A new one whenever the party is."""
    entries: dict[Entry, None] = field(default_factory=dict)
    sides: tuple["Side", ...] = ()
    """By Direction; () before its first lists."""
    class_number: int = -1
    is_gone: bool = False
    _shared: object = None

    def __post_init__(self) -> None:
        self._shared = (self.party.cluster, self.party.versions)

    def fact(self, *, is_own: bool) -> object:
        """What of it lines depend on."""
        return self.number if is_own else self._shared


@dataclass(eq=False, slots=True)
class Side:
    """One direction of one or more subjects: drafts tier by tier, each tier with its end."""

    key: tuple[object, ...]
    tiers: tuple[tuple[RuleReference, bool, tuple[Draft, ...]], ...]
    uses: int = 0
    rules: Rules = ()
    mark: int = 0
    """The same for the same rules."""

    @property
    def ends(self) -> Iterator[RuleReference]:
        """Of its tiers."""
        return (reference for reference, _, _ in self.tiers)

    @property
    def drafts(self) -> Iterator[Draft]:
        """Of all tiers."""
        return chain.from_iterable(drafts for _, _, drafts in self.tiers)


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


def draft_of(
    key: tuple[object, ...], entry: Entry, around: Surroundings, subject: Party, direction: Direction
) -> Draft:
    """The lines of a policy for a subject."""
    policy = entry.policy
    rules = []
    for rule in policy.rules(direction) or ():
        reference = RuleReference(tier=policy.tier, policy=policy.key, index=rule.index, section=rule.section)
        rules.append((reference, tuple(lines_of(around, rule, subject, direction))))
    return Draft(key, tuple(rules))


def assemble(side: Side, bits: Mapping[Predicate, int], ids: Mapping[RuleReference, int]) -> None:
    """Make the list of a side."""
    assembled: list[CompiledRule] = []
    marks: list[int] = []
    for reference, is_passing, drafts in side.tiers:
        for draft in drafts:
            if draft.compiled is None:
                _number_lines(draft, bits, ids)
        action = RuleAction.PASS if is_passing else RuleAction.DENY
        end = CompiledRule(action=action, rule_id=ids[reference])
        tier, own_marks = _reachable(drafts, end)
        start = len(assembled)
        after = start + len(tier)
        assembled += (
            replace(r, next_tier=start + place + r.next_tier if r.next_tier else after)
            if r.action is RuleAction.PASS
            else r
            for place, r in enumerate(tier)
        )
        marks += own_marks
    side.rules, side.mark = tuple(assembled), hash(tuple(marks))


def _number_lines(draft: Draft, bits: Mapping[Predicate, int], ids: Mapping[RuleReference, int]) -> None:
    draft.compiled = tuple(
        _compiled(line, bits, ids[r], len(lines) - place if line.action == SKIP else 0)
        for r, lines in draft.rules
        for place, line in enumerate(lines)
    )
    draft.questions = tuple((r.bit, r.not_bit, r.net_bit, r.not_net_bit) for r in draft.compiled)
    draft.marks = tuple(hash(replace(r, next_tier=0) if r.next_tier else r) for r in draft.compiled)
    draft.has_skips = any(r.next_tier for r in draft.compiled)


def _reachable(drafts: tuple[Draft, ...], end: CompiledRule) -> tuple[list[CompiledRule], list[int]]:
    """The rules of a tier without those that never match first: an earlier one asks the same of the peer, or nothing, and takes all
    their ports. Every match leaves the tier, so that whoever comes to a rule has met all before it; not where rules jump over
    others. With their marks."""
    rules = [rule for draft in drafts for rule in draft.compiled or ()] + [end]
    marks = [mark for draft in drafts for mark in draft.marks] + [hash(end)]
    questions = [question for draft in drafts for question in draft.questions] + [NO_QUESTION]
    if any(draft.has_skips for draft in drafts) or len(set(questions)) == len(questions):
        return rules, marks
    met: dict[Question, list[CompiledRule]] = {}
    of_all = met[NO_QUESTION] = []
    reached: list[int] = []
    for place, question in enumerate(questions):
        rule, known = rules[place], met.get(question)
        if known is None:
            met[question] = [rule]
        elif any(_does_take(other, rule) for other in known):
            continue
        else:
            known.append(rule)
        if not of_all or question == NO_QUESTION or not any(_does_take(other, rule) for other in of_all):
            reached.append(place)
    return [rules[place] for place in reached], [marks[place] for place in reached]


def _does_take(one: CompiledRule, other: CompiledRule) -> bool:
    """Whether a rule matches every packet that another does, as far as ports and protocols go."""
    if (
        one.source_ports == one.destination_ports == ANY_PORT
        and not one.protocol
        and one.icmp_type == one.icmp_code == -1
    ):
        return not one.is_icmp_negated
    return (
        one.destination_ports[0] <= other.destination_ports[0]
        and one.destination_ports[1] >= other.destination_ports[1]
        and one.source_ports == other.source_ports
        and one.protocol == other.protocol
        and one.is_protocol_negated == other.is_protocol_negated
        and one.icmp_type == other.icmp_type
        and one.icmp_code == other.icmp_code
        and one.is_icmp_negated == other.is_icmp_negated
    )


def _reference_order(reference: RuleReference) -> tuple[str, bool, str, str, int]:
    """Sort key."""
    policy = reference.policy
    return (reference.tier, policy is None, str(policy), reference.section, reference.index or 0)


def _ends(rule: model.Rule, direction: Direction) -> tuple[model.Match, model.Match]:
    """(the subject's, the peer's)."""
    is_in = direction is Direction.INGRESS
    return (rule.destination, rule.source) if is_in else (rule.source, rule.destination)


def _is_own(own: model.Match, peer: model.Match) -> bool:
    """Whether a rule that does not ask who the subject is has lines for each subject: it names its ports, or means its host."""
    return peer.near is not model.Near.ANY or any(
        isinstance(port, str) for port in (*own.ports, *own.not_ports)
    )


def _tokens(own: model.Match, peer: model.Match) -> Iterator[Token]:
    for match in (own, peer):
        yield from (("port", p) for p in (*match.ports, *match.not_ports) if isinstance(p, str))
        yield from (("service", service.namespace, service.name) for service in match.services)


def _compiled(line: Line, bits: Mapping[Predicate, int], rule_id: int, ahead: int) -> CompiledRule:
    def bit(predicate: Predicate | None) -> int:
        return NO_BIT if predicate is None else bits[predicate]

    icmp = line.icmp
    return CompiledRule(
        action=ACTIONS[line.action],
        bit=bit(line.selector),
        not_bit=bit(line.not_selector),
        net_bit=bit(line.nets),
        not_net_bit=bit(line.not_nets),
        protocol=line.protocol,
        is_protocol_negated=line.is_protocol_negated,
        source_ports=line.source_ports,
        destination_ports=line.destination_ports,
        icmp_type=-1 if icmp is None or icmp.type is None else icmp.type,
        icmp_code=-1 if icmp is None or icmp.code is None else icmp.code,
        is_icmp_negated=line.is_icmp_negated,
        next_tier=ahead,
        rule_id=rule_id,
    )
