"""What differs between two worlds, by key, which the compiler is fed; and what differs between two tables, which it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from federation.identities import IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.kinds.tier import Tier
from federation.policy import model
from federation.policy.tables import CompiledRule, HostClasses
from federation.policy.world import Backend, Host, LabelledNets, Labels, World
from federation.resources.metadata import ObjectKey

Lists = tuple[tuple[CompiledRule, ...], tuple[CompiledRule, ...]]
MAPS = (
    "tiers", "endpoints", "hosts", "services", "namespace_labels", "account_labels", "cluster_labels", "profiles", "profile_labels",
)  # fmt: skip
"""What a change and a world hold alike, by the same keys (identities too)."""
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """New values by key; None (of policies: no policy) where there is none any more. Values are never changed in place."""

    tiers: Mapping[str, Tier | None] = field(default_factory=dict)
    policies: Mapping[ObjectKey, tuple[model.Policy, ...]] = field(default_factory=dict)
    """All policies that one document comes to."""
    network_sets: Mapping[str, LabelledNets | None] = field(default_factory=dict)
    identities: Mapping[IdentityNumber, Labels | None] = field(default_factory=dict)
    endpoints: Mapping[ObjectKey, Endpoint | None] = field(default_factory=dict)
    hosts: Mapping[tuple[str, str], Host | None] = field(default_factory=dict)
    faces: Mapping[tuple[str, str], tuple[Host, ...]] = field(default_factory=dict)
    """The same hosts as their further host endpoints have them, if they have several (see `World.faces`)."""
    profiles: Mapping[tuple[str, str], model.Policy | None] = field(default_factory=dict)
    profile_labels: Mapping[tuple[str, str], Labels | None] = field(default_factory=dict)
    services: Mapping[tuple[str, str, str], tuple[Backend, ...] | None] = field(default_factory=dict)
    namespace_labels: Mapping[tuple[str, str], Labels | None] = field(default_factory=dict)
    account_labels: Mapping[tuple[str, str, str], Labels | None] = field(default_factory=dict)
    cluster_labels: Mapping[str, Labels | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """New values; None or 0: gone. When `is_in_place`, writing the first rows, then classes, subjects and hosts, then the rows that are
    to stay shows no packet a verdict that neither the old nor the new tables give. Otherwise rows and lists mean something else
    together: the new tables have to be written beside the old and switched to."""

    first_identity_rows: Mapping[IdentityNumber, int] = field(default_factory=dict)
    """Before the lists: with new bits, and still with those that old lists ask."""
    first_prefix_rows: Mapping[model.Prefix, int] = field(default_factory=dict)
    identity_rows: Mapping[IdentityNumber, int] = field(default_factory=dict)
    prefix_rows: Mapping[model.Prefix, int | None] = field(default_factory=dict)
    classes: Mapping[int, Lists | None] = field(default_factory=dict)
    subjects: Mapping[ObjectKey, int | None] = field(default_factory=dict)
    hosts: Mapping[ObjectKey, HostClasses | None] = field(default_factory=dict)
    is_in_place: bool = True


def difference(old: World, new: World) -> Change:
    """What leads from one world to the other. Values are compared: cost is that of the worlds, not of the change."""

    def of(before: Mapping[K, V], after: Mapping[K, V]) -> dict[K, V | None]:
        found: dict[K, V | None] = dict.fromkeys(before.keys() - after.keys())
        for key, value in after.items():
            known = before.get(key)
            if known is not value and known != value:
                found[key] = value
        return found

    def maps(name: str) -> dict[Any, Any]:
        return of(getattr(old, name), getattr(new, name))

    policies = of(_by_document(old), _by_document(new))
    faces = of(_faces(old), _faces(new))
    return Change(
        faces={place: found or () for place, found in faces.items()},
        policies={key: found or () for key, found in policies.items()},
        network_sets=of(_sets(old), _sets(new)),
        **{name: maps(name) for name in ("identities", *MAPS)},
    )


def _faces(world: World) -> dict[tuple[str, str], tuple[Host, ...]]:
    found: dict[tuple[str, str], list[Host]] = {}
    for face in world.faces:
        found.setdefault((face.cluster, face.name), []).append(face)
    return {place: tuple(faces) for place, faces in found.items()}


def _by_document(world: World) -> dict[ObjectKey, tuple[model.Policy, ...]]:
    found: dict[ObjectKey, list[model.Policy]] = {}
    for policy in world.policies:
        found.setdefault(policy.key, []).append(policy)
    return {key: tuple(policies) for key, policies in found.items()}


def _sets(world: World) -> dict[str, LabelledNets]:
    """By name, which tells sets of one name (there is none, offline) apart by their place."""
    found: dict[str, LabelledNets] = {}
    for nets in world.network_sets:
        name = nets.name
        while name in found:
            name += "+"
        found[name] = nets
    return found
