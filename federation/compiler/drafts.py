"""Policies as lines, and lines as numbered rules: each policy once for all subjects for which it comes to the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from federation.compiler.lines import ANY_PORT, LEAVE, SKIP, Line, Surroundings, is_host, lines_of
from federation.compiler.peers.predicates import Predicate
from federation.policy import model
from federation.policy.parties import Party
from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction, RuleReference

ACTIONS = {
    "Allow": RuleAction.ALLOW,
    "Deny": RuleAction.DENY,
    "Pass": RuleAction.PASS,
    "Log": RuleAction.LOG,
    SKIP: RuleAction.PASS,
    LEAVE: RuleAction.PASS,
}
AT_THE_END = -1
"""`next_tier` of a line that leaves its list, until the list is whole."""
Rules = tuple[CompiledRule, ...]
Question = tuple[int, int, int, int]
"""What a rule asks of the peer: its bits."""
NO_QUESTION: Question = (NO_BIT, NO_BIT, NO_BIT, NO_BIT)


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
    of_own: tuple[Predicate, ...] = ()
    """Those that its lines ask of the own side."""

    @property
    def references(self) -> Iterator[RuleReference]:
        """All that its lines can be the reason of a verdict for."""
        return (reference for reference, _ in self.rules)

    def predicates(self) -> Iterator[Predicate]:
        """Those that its lines ask, each as often as it is asked."""
        for _, lines in self.rules:
            for line in lines:
                yield from line.predicates


TierDrafts = tuple[RuleReference | None, bool, tuple[Draft, ...]]
"""What its end is the reason of, whether it passes there, and its policies."""


@dataclass(eq=False, slots=True)
class Side:
    """One direction of one or more subjects: drafts tier by tier, each tier with its end (None: it goes on, and nothing says so)."""

    key: tuple[object, ...]
    tiers: tuple[TierDrafts, ...]
    uses: int = 0
    rules: Rules = ()
    mark: int = 0
    """The same for the same rules."""

    @property
    def ends(self) -> Iterator[RuleReference]:
        """Of its tiers."""
        return (reference for reference, _, _ in self.tiers if reference is not None)

    @property
    def drafts(self) -> Iterator[Draft]:
        """Of all tiers."""
        return chain.from_iterable(drafts for _, _, drafts in self.tiers)


def draft_of(
    key: tuple[object, ...],
    policy: model.Policy,
    around: Surroundings,
    subject: Party,
    direction: Direction,
) -> Draft:
    """The lines of a policy for a subject."""
    rules = []
    for rule in policy.rules(direction) or ():
        reference = RuleReference(tier=policy.tier, policy=policy.key, index=rule.index, section=rule.section)
        rules.append((reference, tuple(lines_of(around, rule, subject, direction))))
    draft = Draft(key, tuple(rules))
    if is_host(subject):
        lines = chain.from_iterable(lines for _, lines in rules)
        draft.of_own = tuple(p for line in lines if line.is_own for p in line.predicates)
    return draft


def assemble(side: Side, bits: Mapping[Predicate, int], ids: Mapping[RuleReference, int]) -> None:
    """Make the list of a side."""
    assembled: list[CompiledRule] = []
    marks: list[int] = []
    leaving = 0
    for reference, is_passing, drafts in side.tiers:
        for draft in drafts:
            if draft.compiled is None:
                _number_lines(draft, bits, ids)
        action = RuleAction.PASS if is_passing else RuleAction.DENY
        end = None if reference is None else CompiledRule(action=action, rule_id=ids[reference])
        tier, own_marks = _reachable(drafts, end)
        start = len(assembled)
        assembled += (
            _placed(r, start + place, start + len(tier)) if r.action.goes_on else r
            for place, r in enumerate(tier)
        )
        marks += own_marks
        if reference is None:  # of all tiers only failsafe ports have no end, and only they leave
            leaving = len(assembled)
    last = len(assembled)
    for place in range(leaving):
        if assembled[place].next_tier == AT_THE_END:
            assembled[place] = replace(assembled[place], next_tier=last)
    side.rules, side.mark = tuple(assembled), hash(tuple(marks))


def _placed(rule: CompiledRule, place: int, after: int) -> CompiledRule:
    """A line that goes on elsewhere, with where that is: so many lines ahead, or after its tier."""
    if rule.next_tier == AT_THE_END:
        return rule
    return replace(rule, next_tier=place + rule.next_tier if rule.next_tier else after)


def _number_lines(draft: Draft, bits: Mapping[Predicate, int], ids: Mapping[RuleReference, int]) -> None:
    draft.compiled = tuple(
        _compiled(line, bits, ids[r], _ahead(line, len(lines) - place))
        for r, lines in draft.rules
        for place, line in enumerate(lines)
    )
    draft.questions = tuple((r.bit, r.not_bit, r.net_bit, r.not_net_bit) for r in draft.compiled)
    draft.marks = tuple(hash(replace(r, next_tier=0) if r.next_tier else r) for r in draft.compiled)
    draft.has_skips = any(r.next_tier > 0 for r in draft.compiled)


def _ahead(line: Line, left: int) -> int:
    """How far a line goes when it matches, of which so many are left of its rule; 0: to its tier's end, if it goes on at all."""
    if line.action == LEAVE:
        return AT_THE_END
    return (line.ahead or left) if line.action in (SKIP, "Log") else 0


def _reachable(drafts: tuple[Draft, ...], end: CompiledRule | None) -> tuple[list[CompiledRule], list[int]]:
    """The rules of a tier without those that never match first: an earlier one asks the same of the peer, or nothing, and takes all
    their ports. Every match leaves the tier, so that whoever comes to a rule has met all before it; not where rules jump over
    others. With their marks."""
    rules = [rule for draft in drafts for rule in draft.compiled or ()]
    marks = [mark for draft in drafts for mark in draft.marks]
    questions = [question for draft in drafts for question in draft.questions]
    if end is not None:
        rules, marks, questions = [*rules, end], [*marks, hash(end)], [*questions, NO_QUESTION]
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


def _compiled(line: Line, bits: Mapping[Predicate, int], rule_id: int, ahead: int) -> CompiledRule:
    def bit(predicate: Predicate | None) -> int:
        return NO_BIT if predicate is None else bits[predicate]

    icmp = line.icmp
    return CompiledRule(
        action=ACTIONS[line.action],
        is_own=line.is_own,
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
