"""Which policies a subject is under, in which order. Pure order and selection: no rules are looked at."""

from dataclasses import dataclass
from math import inf

from federation.policy import model
from federation.policy.parties import Party
from federation.policy.tables import Direction
from federation.policy.world import World

DEFAULT_TIER = "default"
BUILT_IN: dict[str, tuple[float, bool]] = {
    "kube-admin": (1_000.0, True),
    DEFAULT_TIER: (1_000_000.0, False),
    "kube-baseline": (10_000_000.0, True),
}
"""Tiers that are always there: their order, and whether they pass (Calico's reserved tiers)."""


@dataclass(frozen=True, slots=True)
class TierPolicies:
    """A tier that selects a subject in one direction: its policies in order, and how it ends."""

    name: str
    is_passing: bool
    """Whether an unmatched connection goes on to the next tier (else it is denied)."""
    policies: tuple[model.Policy, ...]


def tiers_of(
    world: World, subject: Party, direction: Direction, stage: model.Stage = model.Stage.NORMAL
) -> tuple[TierPolicies, ...]:
    """The tiers that select a subject, in order of evaluation. Empty: selected by nothing."""
    selected: dict[str, list[model.Policy]] = {}
    for policy in world.policies:
        is_asked = policy.rules(direction) is not None and policy.stage is stage and not policy.is_staged
        if is_asked and selects_subject(policy.subject, subject):
            selected.setdefault(policy.tier, []).append(policy)
    return tuple(
        TierPolicies(
            name,
            is_passing=is_passing(world, name) or not any(direction in p.isolates for p in selected[name]),
            policies=tuple(sorted(selected[name], key=lambda policy: policy.rank)),
        )
        for name in sorted(selected, key=lambda name: tier_order(world, name))
    )


def selects_subject(match: model.Match, subject: Party) -> bool:
    """Whether a policy's subject match selects an end."""
    has_kind = match.kinds is None or not match.kinds.isdisjoint(subject.kinds)
    return has_kind and (match.selector is None or match.selector.matches(subject.labels))


def is_passing(world: World, name: str) -> bool:
    """Whether a tier's default action is Pass."""
    tier = world.tiers.get(name)
    if tier is not None:
        return bool(tier.spec.default_action == "Pass")
    return BUILT_IN.get(name, (inf, False))[1]


def tier_order(world: World, name: str) -> tuple[bool, float, str]:
    """Sort key: by order, without one last, then name; missing tiers after all others (but the built-in ones always exist)."""
    tier = world.tiers.get(name)
    built_in = BUILT_IN.get(name, (inf, False))[0]
    if tier is None:
        return (name not in BUILT_IN, built_in, name)
    return (False, built_in if tier.spec.order is None else tier.spec.order, name)
