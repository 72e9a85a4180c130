"""Where a role holds: clusters, namespaces, tiers.

Clusters and namespaces bound what is seen and what is written. Tiers bound only which policies are written: who writes the policies of one tier has
to see what the others do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from federation.access.rights import ROLES, Right

Names = frozenset[str] | None
"""None: all there are, also what is of none in particular."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an object is. None: in none in particular, so its effect is everywhere; only who is not bounded there reaches it."""

    cluster: str | None = None
    namespace: str | None = None
    tier: str | None = None


EVERYWHERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of a role."""

    clusters: Names = None
    namespaces: Names = None
    tiers: Names = None

    def hold(self, place: Place, right: Right) -> bool:
        """Whether a place lies within."""
        return (
            (self.clusters is None or place.cluster in self.clusters)
            and (self.namespaces is None or place.namespace in self.namespaces)
            and (right is not Right.POLICY or self.tiers is None or place.tier in self.tiers)
        )

    def are_within(self, others: "Bounds") -> bool:
        """Whether these bound at least as much."""
        pairs = (
            (self.clusters, others.clusters),
            (self.namespaces, others.namespaces),
            (self.tiers, others.tiers),
        )
        return all(wide is None or (narrow is not None and narrow <= wide) for narrow, wide in pairs)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role within bounds."""

    role: str
    bounds: Bounds = field(default=Bounds())

    def allows(self, right: Right, place: Place) -> bool:
        """Whether something may be done at a place."""
        return right in ROLES[self.role] and self.bounds.hold(place, right)

    def is_unbounded(self, right: Right) -> bool:
        """Whether something may be done everywhere."""
        return self.allows(right, EVERYWHERE)

    def is_within(self, grants: Iterable["Grant"]) -> bool:
        """Whether it allows nothing that others do not: each right of its role is held by one of them, at least as wide."""
        held = list(grants)
        return all(
            any(right in ROLES[other.role] and self.bounds.are_within(other.bounds) for other in held)
            for right in ROLES[self.role]
        )


def bounds_from(given: Mapping[str, Any]) -> Bounds:
    """Of what a document or a row says: lists of names; absent or null: all."""
    names = {name: given.get(name) for name in ("clusters", "namespaces", "tiers")}
    return Bounds(**{name: None if listed is None else frozenset(listed) for name, listed in names.items()})


def bounds_told(bounds: Bounds) -> dict[str, list[str]]:
    """The inverse of `bounds_from`."""
    named = {"clusters": bounds.clusters, "namespaces": bounds.namespaces, "tiers": bounds.tiers}
    return {name: sorted(names) for name, names in named.items() if names is not None}
