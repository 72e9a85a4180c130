"""All that policy needs to know, as one value: what the engine, the compiler and the simulator start from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from federation.identities import IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.kinds.global_network_set import GlobalNetworkSet
from federation.kinds.tier import Tier
from federation.resources.metadata import AnyResource, ObjectKey
from federation.rules.policies import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Resources that bear on policy. Staged policies may be in it; they are never enforced."""

    tiers: Mapping[str, Tier] = field(default_factory=dict)
    """By name. A tier that policies name but that is not here sorts last, with default action Deny. `default` always is."""
    policies: tuple[Policy, ...] = ()
    """GlobalNetworkPolicy and NetworkPolicy of any cluster."""
    network_sets: tuple[GlobalNetworkSet, ...] = ()
    identities: Mapping[IdentityNumber, Mapping[str, str]] = field(default_factory=dict)
    """Security labels by number (see `federation.identities.security_labels`)."""
    endpoints: Mapping[ObjectKey, Endpoint] = field(default_factory=dict)


def world_of(resources: Iterable[AnyResource]) -> World:
    """The world that a set of resources makes; kinds that policy does not know are passed over."""
    by_kind: dict[str, list[AnyResource]] = {}
    for resource in resources:
        by_kind.setdefault(resource.kind, []).append(resource)
    return World(
        tiers={r.metadata.name: r for r in by_kind.get("Tier", ())},
        policies=tuple(r for kind in ("GlobalNetworkPolicy", "NetworkPolicy") for r in by_kind.get(kind, ())),
        network_sets=tuple(by_kind.get("GlobalNetworkSet", ())),
        identities={r.spec.number: r.spec.labels for r in by_kind.get("Identity", ())},
        endpoints={r.key: r for r in by_kind.get("Endpoint", ())},
    )
