"""Which policies a subject is under, in which order. Pure order and selection: no rules are looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from federation.kinds.tier import Tier
from federation.policy.scope import subject_selector
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.rules.policies import Policy

DEFAULT_TIER = "default"
DEFAULT_TIER_ORDER = 1_000_000.0
ENFORCED_KINDS = ("GlobalNetworkPolicy", "NetworkPolicy")
"""Staged kinds may be in a world; they are kept, never enforced."""
TYPE_NAMES = {Direction.INGRESS: "Ingress", Direction.EGRESS: "Egress"}


@dataclass(frozen=True, slots=True)
class TierPolicies:
    """A tier that selects a subject in one direction: its policies in order, and how it ends."""

    name: str
    is_passing: bool
    """Whether an unmatched connection goes on to the next tier (else it is denied)."""
    policies: tuple[Policy, ...]


def tiers_of(world: World, labels: Mapping[str, str], direction: Direction) -> tuple[TierPolicies, ...]:
    """The tiers that select what has these labels, in order of evaluation. Empty: selected by nothing."""
    selected = [
        policy
        for policy in world.policies
        if policy.kind in ENFORCED_KINDS
        and TYPE_NAMES[direction] in policy.spec.types
        and subject_selector(policy).matches(labels)
    ]
    names = sorted(
        {policy.spec.tier for policy in selected}, key=lambda name: tier_order(world.tiers.get(name), name)
    )
    return tuple(
        TierPolicies(
            name,
            is_passing=name in world.tiers and world.tiers[name].spec.default_action == "Pass",
            policies=tuple(sorted((p for p in selected if p.spec.tier == name), key=policy_order)),
        )
        for name in names
    )


def tier_order(tier: Tier | None, name: str) -> tuple[bool, float, str]:
    """Sort key: by order, without one last, then name; missing tiers after all others (but `default` always exists)."""
    if tier is None:
        return (name != DEFAULT_TIER, DEFAULT_TIER_ORDER if name == DEFAULT_TIER else inf, name)
    order = tier.spec.order
    if order is None:
        order = DEFAULT_TIER_ORDER if name == DEFAULT_TIER else inf
    return (False, order, name)


def policy_order(policy: Policy) -> tuple[float, str]:
    """Sort key: by order, without one last; ties by the string name/namespace/kind, as Calico's."""
    meta = policy.metadata
    order = inf if policy.spec.order is None else policy.spec.order
    return (order, f"{meta.name}/{meta.namespace}/{policy.kind}/{meta.cluster}")
