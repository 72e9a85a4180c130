"""From a world to one node's tables. Cost follows what is distinct: identities, predicates, classes; never pairs."""

from collections.abc import Iterable
from dataclasses import replace

from federation.policy.holders import Surroundings, surroundings_of
from federation.policy.lines import Line, lines_of
from federation.policy.parties import Party, party_of_endpoint
from federation.policy.predicates import Predicate, identity_rows, number, prefix_rows
from federation.policy.resolution import tiers_of
from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction, RuleReference, Tables
from federation.policy.world import World
from federation.resources.metadata import ObjectKey

ACTIONS = {"Allow": RuleAction.ALLOW, "Deny": RuleAction.DENY, "Pass": RuleAction.PASS}

Drafts = tuple[tuple[RuleReference, tuple[Line, ...]], ...]
"""A tier's rules in order, each with its lines."""


def compile_tables(world: World, local: Iterable[ObjectKey]) -> Tables:
    """The tables of the node that holds the `local` endpoints. Depends on the world's content only, not on its order.

    Raises KeyError for a local key that is not in the world.
    """
    surroundings = surroundings_of(world)
    parties = {key: party_of_endpoint(world, world.endpoints[key]) for key in set(local)}
    drafts = {key: tuple(_draft(surroundings, parties[key], d) for d in Direction) for key in sorted(parties)}
    every_line = [
        (reference, lines)
        for sides in drafts.values()
        for side in sides
        for tier in side
        for reference, lines in tier
    ]
    bits = number(p for _, lines in every_line for line in lines for p in line.predicates)
    ids = {
        ref: n for n, ref in enumerate(sorted({ref for ref, _ in every_line}, key=_reference_order), start=1)
    }
    lists = {key: tuple(_assemble(side, bits, ids) for side in sides) for key, sides in drafts.items()}
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


def _draft(surroundings: Surroundings, subject: Party, direction: Direction) -> tuple[Drafts, ...]:
    tiers = []
    for tier in tiers_of(surroundings.world, subject, direction):
        rules: list[tuple[RuleReference, tuple[Line, ...]]] = []
        for policy in tier.policies:
            for rule in policy.rules(direction) or ():
                reference = RuleReference(
                    tier=tier.name, policy=policy.key, index=rule.index, section=rule.section
                )
                rules.append((reference, tuple(lines_of(surroundings, rule, subject, direction))))
        ending = "Pass" if tier.is_passing else "Deny"
        rules.append((RuleReference(tier=tier.name, policy=None, index=None), (Line(action=ending),)))
        tiers.append(tuple(rules))
    return tuple(tiers)


def _assemble(
    tiers: tuple[Drafts, ...], bits: dict[Predicate, int], ids: dict[RuleReference, int]
) -> tuple[CompiledRule, ...]:
    assembled: list[CompiledRule] = []
    for tier in tiers:
        end = len(assembled) + sum(len(lines) for _, lines in tier)
        for reference, lines in tier:
            for line in lines:
                rule = _compiled(line, bits, ids[reference])
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
