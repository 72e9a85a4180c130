"""Policies as lines, and lines as numbered rules: each policy once for all subjects for which it comes to the same."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from federation.compiler.lines import SKIP, Line, Surroundings, lines_of
from federation.compiler.predicates import Predicate
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


@dataclass(eq=False, slots=True)
class Entry:
    """A policy that is enforced, and the local subjects that it selects."""

    policy: model.Policy
    number: int
    place: tuple[object, ...] = ()
    """Where its tier and itself stand, as a sort key."""
    version: int = 0
    """Counts what changed of all that its lines depend on."""
    subjects: dict[ObjectKey, None] = field(default_factory=dict)
    tokens: frozenset[Token] = frozenset()
    is_own: tuple[bool, bool] = (False, False)
    """By direction: whether its lines are each subject's own."""

    def __post_init__(self) -> None:
        self.tokens = frozenset(
            token for d in Direction for rule in self.policy.rules(d) or () for token in _tokens(rule, d)
        )
        ingress, egress = (any(_is_own(rule, d) for rule in self.policy.rules(d) or ()) for d in Direction)
        self.is_own = (ingress, egress)


@dataclass(eq=False, slots=True)
class Draft:
    """One direction of one policy for some subjects."""

    key: tuple[object, ...]
    rules: tuple[tuple[RuleReference, tuple[Line, ...]], ...]
    uses: int = 0
    compiled: Rules | None = None
    """With `next_tier` counted from the line itself, and 0 for the tier's end."""

    def predicates(self) -> Iterator[Predicate]:
        """Those that its lines ask, each as often as it is asked."""
        for _, lines in self.rules:
            for line in lines:
                yield from line.predicates


@dataclass(eq=False, slots=True)
class Side:
    """One direction of one or more subjects: drafts tier by tier, each tier with its end."""

    key: tuple[object, ...]
    tiers: tuple[tuple[RuleReference, bool, tuple[Draft, ...]], ...]
    uses: int = 0
    rules: Rules | None = None


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


def assemble(side: Side, bits: Mapping[Predicate, int], ids: Mapping[RuleReference, int]) -> Rules:
    """The list of a side."""
    assembled: list[CompiledRule] = []
    for reference, is_passing, drafts in side.tiers:
        tier: list[CompiledRule] = []
        for draft in drafts:
            if draft.compiled is None:
                draft.compiled = tuple(
                    _compiled(line, bits, ids[r], len(lines) - place if line.action == SKIP else 0)
                    for r, lines in draft.rules
                    for place, line in enumerate(lines)
                )
            tier += draft.compiled
        tier.append(
            CompiledRule(action=RuleAction.PASS if is_passing else RuleAction.DENY, rule_id=ids[reference])
        )
        start = len(assembled)
        end = start + len(tier)
        assembled += (
            replace(r, next_tier=start + place + r.next_tier if r.next_tier else end)
            if r.action is RuleAction.PASS
            else r
            for place, r in enumerate(tier)
        )
    return tuple(assembled)


def references_of(sides: Iterable[Side]) -> Iterator[RuleReference]:
    """All that can be named as the reason of a verdict."""
    for side in sides:
        for reference, _, drafts in side.tiers:
            yield reference
            yield from (found for draft in drafts for found, _ in draft.rules)


def reference_order(reference: RuleReference) -> tuple[str, bool, str, str, int]:
    """Sort key."""
    policy = reference.policy
    return (reference.tier, policy is None, str(policy), reference.section, reference.index or 0)


def _ends(rule: model.Rule, direction: Direction) -> tuple[model.Match, model.Match]:
    """(the subject's, the peer's)."""
    is_in = direction is Direction.INGRESS
    return (rule.destination, rule.source) if is_in else (rule.source, rule.destination)


def _is_own(rule: model.Rule, direction: Direction) -> bool:
    """Whether a rule's lines are each subject's own: it asks who the subject is, names its ports, or means its host."""
    own, peer = _ends(rule, direction)
    has_names = any(isinstance(port, str) for port in (*own.ports, *own.not_ports))
    return own.has_peer_terms or has_names or peer.near is not model.Near.ANY


def _tokens(rule: model.Rule, direction: Direction) -> Iterator[Token]:
    own, peer = _ends(rule, direction)
    for match in (own, peer):
        yield from (("port", p) for p in (*match.ports, *match.not_ports) if isinstance(p, str))
        yield from (("service", service.namespace, service.name) for service in match.services)
    if own.has_peer_terms:
        yield SETS


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
