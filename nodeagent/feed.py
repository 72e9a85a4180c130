"""From resources that changed to the change of the world that policy is compiled from. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from federation.compiler.change import Change
from federation.doors.documents import CILIUM_KINDS, POLICY_KINDS, policies_of, surroundings, without_services
from federation.policy.hosts import profile_of
from federation.policy.model import Policy
from federation.policy.world import LabelledNets, nets_of, sets_with_namespaces
from federation.resources.metadata import AnyResource, ObjectKey
from nodeagent.control.replica import Pair


def change_of(pairs: Iterable[Pair], groups: Mapping[ObjectKey, AnyResource]) -> Change:
    """What the world's change is. `groups` are all CiliumCIDRGroups, those that are changed as they are now by the time that the first
    policy of Cilium comes: whoever changes one has to give all these beside it. What is not of a kind that policy knows is passed over."""
    found: dict[str, dict[Any, Any]] = {}
    for before, after in pairs:
        one = after or before
        if one is None:
            continue
        for field, key in _places(one):
            found.setdefault(field, {})[key] = _value(field, after, groups)
    return Change(**found)


def sets_in_namespaces(
    sets: Iterable[AnyResource], namespaces: Iterable[AnyResource]
) -> dict[str, LabelledNets]:
    """All NetworkSets by name, with the labels of their namespaces."""
    labels = {(r.metadata.cluster, r.metadata.name): r.metadata.labels for r in namespaces}
    return {nets.name: nets for nets in sets_with_namespaces(map(nets_of, sets), labels)}


def _places(resource: AnyResource) -> Iterator[tuple[str, Any]]:
    """Which maps of a change hold it, and under which keys. Nodes and host endpoints come together (see `homes`)."""
    meta = resource.metadata
    match resource.kind:
        case "Tier":
            yield "tiers", meta.name
        case "Identity":
            yield "identities", resource.spec.number
        case "Endpoint":
            yield "endpoints", resource.key
        case "Cluster":
            yield "cluster_labels", meta.name
        case "Namespace":
            yield "namespace_labels", (meta.cluster, meta.name)
        case "ServiceAccount":
            yield "account_labels", (meta.cluster, meta.namespace, meta.name)
        case "Profile":
            yield from ((name, (meta.cluster, meta.name)) for name in ("profiles", "profile_labels"))
        case "GlobalNetworkSet":
            yield "network_sets", str(resource.key)
        case kind if kind in POLICY_KINDS:
            yield "policies", resource.key


def _value(field: str, resource: AnyResource | None, groups: Mapping[ObjectKey, AnyResource]) -> Any:
    if resource is None:
        return () if field == "policies" else None
    match field:
        case "policies":
            return _policies(resource, groups)
        case "network_sets":
            return nets_of(resource)
        case "profiles":
            return next(iter(without_services((profile_of(resource),))))
        case "profile_labels":
            return resource.spec.labels_to_apply
        case "identities":
            return resource.spec.labels
        case "cluster_labels" | "namespace_labels" | "account_labels":
            return resource.metadata.labels
    return resource


def _policies(resource: AnyResource, groups: Mapping[ObjectKey, AnyResource]) -> tuple[Policy, ...]:
    referred = groups.values() if resource.kind in CILIUM_KINDS else ()
    return tuple(without_services(policies_of(resource, surroundings(referred, resource.metadata.cluster))))
