"""From a world to one node's tables. Cost follows what is distinct: identities, predicates, classes; never pairs."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from federation.policy import model
from federation.policy.holders import Surroundings, surroundings_of
from federation.policy.lines import Line, lines_of
from federation.policy.parties import Party, party_of_endpoint
from federation.policy.predicates import Predicate, identity_rows, number, prefix_rows
from federation.policy.resolution import TierPolicies, tiers_of_all
from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction, RuleReference, Tables
from federation.policy.world import World
from federation.resources.metadata import ObjectKey

ACTIONS = {"Allow": RuleAction.ALLOW, "Deny": RuleAction.DENY, "Pass": RuleAction.PASS}

ENDINGS = {True: (Line(action="Pass"),), False: (Line(action="Deny"),)}
"""How a tier ends, by whether it passes."""
Drafts = tuple[tuple[RuleReference, tuple[Line, ...]], ...]
"""A tier's rules in order, each with its lines."""
Side = tuple[Drafts, ...]
"""One direction of one subject: its tiers."""


def compile_tables(world: World, local: Iterable[ObjectKey]) -> Tables:
    """The tables of the node that holds the `local` endpoints. Depends on the world's content only, not on its order.

    Raises KeyError for a local key that is not in the world.
    """
    drafter = _Drafter(surroundings_of(world))
    keys = sorted(set(local))
    parties = [party_of_endpoint(world, world.endpoints[key]) for key in keys]
    known: dict[object, Side] = {}
    drafts: dict[ObjectKey, tuple[Side, ...]] = {}
    for direction in Direction:
        for key, party, tiers in zip(keys, parties, tiers_of_all(world, parties, direction), strict=True):
            who = (direction, id(tiers), drafter.facts(tiers, party, direction))
            if who not in known:
                known[who] = drafter.draft(tiers, party, direction)
            drafts[key] = (*drafts.get(key, ()), known[who])
    every_line = [(reference, lines) for side in known.values() for tier in side for reference, lines in tier]
    bits = number(p for _, lines in every_line for line in lines for p in line.predicates)
    ids = {
        ref: n for n, ref in enumerate(sorted({ref for ref, _ in every_line}, key=_reference_order), start=1)
    }
    compiled = {
        (reference, id(lines)): tuple(_compiled(line, bits, ids[reference]) for line in lines)
        for reference, lines in every_line
    }
    assembled = {id(side): _assemble(side, compiled) for side in known.values()}
    lists = {key: tuple(assembled[id(side)] for side in sides) for key, sides in drafts.items()}
    classes = sorted(set(lists.values()), key=repr)
    numbers = {lists_of_class: n for n, lists_of_class in enumerate(classes)}
    return Tables(
        bit_count=len(bits),
        identity_rows=identity_rows(world, bits),
        prefix_rows=prefix_rows(world, bits),
        classes=tuple((ingress, egress) for ingress, egress in classes),
        subjects={key: numbers[lists_of_subject] for key, lists_of_subject in lists.items()},
        references={n: ref for ref, n in ids.items()},
    )


class _Drafter:
    """Turns rules into lines, once for all subjects for which they come to the same."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self._is_own: dict[int, bool] = {}
        self._lines: dict[object, tuple[Line, ...]] = {}

    def facts(self, tiers: tuple[TierPolicies, ...], subject: Party, direction: Direction) -> object:
        """What of a subject its lines depend on, besides the policies that select it: nearly always its cluster alone."""
        for tier in tiers:
            for policy in tier.policies:
                if any(self.is_own(rule, direction) for rule in policy.rules(direction) or ()):
                    return subject.key
        return subject.cluster

    def is_own(self, rule: model.Rule, direction: Direction) -> bool:
        """Whether a rule's lines are each subject's own: it asks who the subject is, names its ports, or means its host."""
        found = self._is_own.get(id(rule))
        if found is None:
            own, peer = (
                (rule.destination, rule.source)
                if direction is Direction.INGRESS
                else (rule.source, rule.destination)
            )
            has_names = any(isinstance(port, str) for port in (*own.ports, *own.not_ports))
            found = own.has_peer_terms or has_names or peer.near is not model.Near.ANY
            self._is_own[id(rule)] = found
        return found

    def draft(self, tiers: tuple[TierPolicies, ...], subject: Party, direction: Direction) -> Side:
        """One direction of one subject."""
        drafts = []
        for tier in tiers:
            rules: list[tuple[RuleReference, tuple[Line, ...]]] = []
            for policy in tier.policies:
                for rule in policy.rules(direction) or ():
                    reference = RuleReference(
                        tier=tier.name, policy=policy.key, index=rule.index, section=rule.section
                    )
                    rules.append((reference, self.lines(rule, subject, direction)))
            rules.append((RuleReference(tier=tier.name, policy=None, index=None), ENDINGS[tier.is_passing]))
            drafts.append(tuple(rules))
        return tuple(drafts)

    def lines(self, rule: model.Rule, subject: Party, direction: Direction) -> tuple[Line, ...]:
        """The lines of one rule."""
        whose = subject.key if self.is_own(rule, direction) else subject.cluster
        key = (id(rule), direction, whose)
        if key not in self._lines:
            self._lines[key] = tuple(lines_of(self.surroundings, rule, subject, direction))
        return self._lines[key]


def _assemble(
    tiers: Side, compiled: Mapping[tuple[RuleReference, int], tuple[CompiledRule, ...]]
) -> tuple[CompiledRule, ...]:
    assembled: list[CompiledRule] = []
    for tier in tiers:
        end = len(assembled) + sum(len(lines) for _, lines in tier)
        for reference, lines in tier:
            for rule in compiled[reference, id(lines)]:
                assembled.append(replace(rule, next_tier=end) if rule.action is RuleAction.PASS else rule)
    return tuple(assembled)


def _compiled(line: Line, bits: dict[Predicate, int], rule_id: int) -> CompiledRule:
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
        rule_id=rule_id,
    )


def _reference_order(reference: RuleReference) -> tuple[str, bool, str, str, int]:
    policy = reference.policy
    return (reference.tier, policy is None, str(policy), reference.section, reference.index or 0)
