"""Which policies a subject is under, in which order. Pure order and selection: no rules are looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf

from federation.kinds.tier import RESERVED
from federation.policy import model
from federation.policy.model import PartyKind
from federation.policy.parties import Party
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.selectors.index import LabelIndex, places_of

BUILT_IN: dict[str, tuple[float, bool]] = {
    name: (order, action == "Pass") for name, (order, action) in RESERVED.items()
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
    (tiers,) = tiers_of_all(world, (subject,), direction, stage)
    return tiers


def tiers_of_all(
    world: World,
    subjects: Sequence[Party],
    direction: Direction,
    stage: model.Stage = model.Stage.NORMAL,
    *,
    is_forward: bool = False,
) -> list[tuple[TierPolicies, ...]]:
    """As `tiers_of`, for many subjects at once: each policy is asked once, and subjects that the same policies select share
    their tiers (the very same object). `is_forward`: only what applies to what passes through a host."""
    asked = [
        policy
        for policy in world.policies
        if policy.rules(direction) is not None
        and policy.stage is stage
        and not policy.is_staged
        and (policy.is_on_forward or not is_forward)
    ]
    orders = {tier: tier_order(world, tier) for tier in {policy.tier for policy in asked}}
    asked.sort(key=lambda policy: (orders[policy.tier], policy.rank))
    index = LabelIndex([subject.labels for subject in subjects])
    kinds: dict[PartyKind, int] = {}
    for place, subject in enumerate(subjects):
        for kind in subject.kinds:
            kinds[kind] = kinds.get(kind, 0) | 1 << place
    selected: list[list[int]] = [[] for _ in subjects]
    for number, policy in enumerate(asked):
        for place in places_of(_selected(policy.subject, index, kinds)):
            selected[place].append(number)
    shared: dict[tuple[int, ...], tuple[TierPolicies, ...]] = {}
    for numbers in {tuple(numbers) for numbers in selected}:
        shared[numbers] = tuple(
            TierPolicies(
                name,
                is_passing=is_passing(world, name) or not any(direction in p.isolates for p in policies),
                policies=policies,
            )
            for name, policies in (
                (name, tuple(found))
                for name, found in groupby((asked[n] for n in numbers), key=lambda policy: policy.tier)
            )
        )
    return [shared[tuple(numbers)] for numbers in selected]


def _selected(match: model.Match, index: LabelIndex, kinds: Mapping[PartyKind, int]) -> int:
    bits = index.everyone
    if match.kinds is not None:
        bits = 0
        for kind in match.kinds:
            bits |= kinds.get(kind, 0)
    return bits & index.matching(match.selector.node) if match.selector is not None else bits


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
