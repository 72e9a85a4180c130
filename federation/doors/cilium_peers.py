"""Whom a rule of Cilium means: selectors, entities, nodes, prefixes, services, each as matches of which any will do.

Prefixes and `world` never match an end that we know; selectors without a cluster label mean the policy's own cluster.
Source: Cilium's documentation, "Layer 3 Policies", and its CRDs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from federation.doors.cilium_documents import CidrRule, ServiceRule
from federation.doors.kubernetes import network_of
from federation.doors.labels import LabelSelector, Requirement, namespace_key, node_key, selector_from
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from federation.policy import model
from federation.resources.metadata import ObjectKey
from federation.selectors import Selector, and_, equals

RESERVED = "reserved:"
NAMESPACE_KEY, CLUSTER_KEY = "io.kubernetes.pod.namespace", "io.cilium.k8s.policy.cluster"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
KNOWN_KEYS = {
    NAMESPACE_KEY: NAMESPACE_LABEL,
    CLUSTER_KEY: CLUSTER_LABEL,
    "io.cilium.k8s.policy.serviceaccount": SERVICE_ACCOUNT_LABEL,
}
API_SERVER = "kube-apiserver"
SERVED = (model.ServiceReference("default", "kubernetes", False),)
"""Who serves the API: the backends of the service that every cluster has for it."""
EVERY_V4, EVERY_V6 = ip_network("0.0.0.0/0"), ip_network("::/0")
ENDS: tuple[tuple[frozenset[str], model.Match], ...] = (
    (frozenset({"all", "host"}), model.Match(kinds=model.HOSTS, near=model.Near.OWN_HOST)),
    (frozenset({"all", "remote-node"}), model.Match(kinds=model.HOSTS, near=model.Near.OTHER_HOST)),
    (frozenset({"all", "world", "world-ipv4"}), model.Match(kinds=model.OUTSIDE, nets=(EVERY_V4,))),
    (frozenset({"all", "world", "world-ipv6"}), model.Match(kinds=model.OUTSIDE, nets=(EVERY_V6,))),
)
"""Ends that are no workloads, with the reserved labels that they have. Nobody has health, ingress, init, unmanaged, none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Other documents that policies refer to."""

    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Prefixes of CiliumCIDRGroups by name."""
    group_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    are_services_known: bool = True
    """Whether anybody says which services there are; else a rule that asks for them stays one that names some."""
    services: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    """Labels of Services by (namespace, name)."""
    service_selectors: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    """Which pods they select, likewise; empty where others say who serves."""


def bare(key: str) -> str:
    """A key without the sources that mean Kubernetes' labels; any other source stays, and no end has such a label."""
    return key.removeprefix("k8s:").removeprefix("any:")


def key_of(key: str) -> str:
    """Under which name a workload carries a label that Cilium's selectors name."""
    plain = bare(key)
    if plain in KNOWN_KEYS:
        return KNOWN_KEYS[plain]
    if plain.startswith(NAMESPACE_LABELS):
        return namespace_key(plain.removeprefix(NAMESPACE_LABELS))
    return plain


def node_key_of(key: str) -> str:
    """Under which name a host carries a label that Cilium's selectors of nodes name."""
    plain = bare(key.removeprefix("node:"))
    return CLUSTER_LABEL if plain == CLUSTER_KEY else node_key(plain)


def requirements(wanted: LabelSelector) -> tuple[Requirement, ...]:
    """All that a selector asks, `matchLabels` too."""
    named = (Requirement(key=k, operator="In", values=(v,)) for k, v in wanted.match_labels.items())
    return (*named, *wanted.match_expressions)


def is_positive(asked: Requirement) -> bool:
    """Whether it asks for a label, not for its absence."""
    return asked.operator in ("In", "Exists")


def endpoints(wanted: LabelSelector, key: ObjectKey) -> Iterator[model.Match]:
    """Whom a peer's selector means: in a namespaced policy its own namespace, unless it names one. Selectors on reserved labels
    mean ends of that kind, in which case nothing is added; where they only exclude some, workloads are left."""
    asked = requirements(wanted)
    reserved = [each for each in asked if each.key.startswith(RESERVED)]
    others = tuple(each for each in asked if not each.key.startswith(RESERVED))
    if any(map(is_positive, reserved)):
        yield from _reserved(reserved, others)
        return
    names = {bare(each.key) for each in others}
    selector = _selector(others)
    has_namespace = any(name == NAMESPACE_KEY or name.startswith(NAMESPACE_LABELS) for name in names)
    if key.namespace and not has_namespace:
        selector = and_(selector, equals(NAMESPACE_LABEL, key.namespace))
    yield model.Match(kinds=model.WORKLOADS, selector=selector, is_same_cluster=CLUSTER_KEY not in names)


def _reserved(reserved: list[Requirement], others: tuple[Requirement, ...]) -> Iterator[model.Match]:
    """Ends of the reserved kinds: they have no other labels. `reserved:all` is everybody's."""
    is_served = any(each.key == RESERVED + API_SERVER for each in reserved)
    asked = [each for each in reserved if each.key != RESERVED + API_SERVER]
    if not any(map(is_positive, others)):
        for labels, end in ENDS:
            if all(_holds(each, labels) for each in asked):
                yield model.Match(
                    kinds=end.kinds, nets=end.nets, near=end.near, services=SERVED if is_served else ()
                )
    if not is_served and all(_holds(each, frozenset({"all"})) for each in asked):
        yield model.Match(kinds=model.WORKLOADS, selector=_selector(others))


def _holds(asked: Requirement, labels: frozenset[str]) -> bool:
    """Whether an end with these reserved labels (their values are empty) is as asked."""
    is_there = asked.key.removeprefix(RESERVED) in labels
    match asked.operator:
        case "In":
            return is_there and "" in asked.values
        case "NotIn":
            return not (is_there and "" in asked.values)
        case "Exists":
            return is_there
        case _:
            return not is_there


def _selector(asked: tuple[Requirement, ...]) -> Selector:
    return selector_from(LabelSelector(match_expressions=asked), key_of)


def nodes(wanted: LabelSelector) -> model.Match:
    """Nodes other than the subject's own, of its cluster unless a cluster is named."""
    is_named = any(bare(each.key) == CLUSTER_KEY for each in requirements(wanted))
    return model.Match(
        kinds=model.HOSTS,
        selector=selector_from(wanted, node_key_of),
        near=model.Near.OTHER_HOST,
        is_same_cluster=not is_named,
    )


def entity(name: str) -> Iterator[model.Match]:
    """Whom an entity means."""
    match name:
        case "all":
            yield model.ANYONE
        case "world":
            yield model.Match(kinds=model.OUTSIDE)
        case "world-ipv4" | "world-ipv6":
            yield model.Match(kinds=model.OUTSIDE, nets=(EVERY_V4 if name == "world-ipv4" else EVERY_V6,))
        case "cluster":  # the nodes of every cluster of a mesh, as Cilium's pages say
            yield model.Match(kinds=model.WORKLOADS, is_same_cluster=True)
            yield model.Match(kinds=model.HOSTS)
        case "cluster-mesh":
            yield model.Match(kinds=model.KNOWN)
        case "host":
            yield model.Match(kinds=model.HOSTS, near=model.Near.OWN_HOST)
        case "remote-node":
            yield model.Match(kinds=model.HOSTS, near=model.Near.OTHER_HOST)
        case "kube-apiserver":
            yield model.Match(services=SERVED)
        case _:  # none, and what has no counterpart among our ends: ingress, health, init, unmanaged
            return


def prefixes(plain: Iterable[str], sets: Iterable[CidrRule], around: Surroundings) -> Iterator[model.Match]:
    """Addresses in prefixes that are nobody's whom we know. A group that is missing holds none."""
    for text in plain:
        yield model.Match(kinds=model.OUTSIDE, nets=(network_of(text),))
    for one in sets:
        without = tuple(map(network_of, one.except_))
        for text in _texts(one, around):
            whole = network_of(text)
            same = tuple(part for part in without if part.version == whole.version)
            yield model.Match(kinds=model.OUTSIDE, nets=(whole,), not_nets=same)


def _texts(one: CidrRule, around: Surroundings) -> Iterator[str]:
    if one.cidr:
        yield one.cidr
    elif one.cidr_group_selector is None:
        yield from around.groups.get(one.cidr_group_ref, ())
    else:
        selector = selector_from(one.cidr_group_selector)
        for name, group in sorted(around.groups.items()):
            if selector.matches(around.group_labels.get(name, {})):
                yield from group


def services(rule: ServiceRule, key: ObjectKey, around: Surroundings) -> Iterator[model.Match]:
    """A service that selects pods is those pods; of one that does not, the backends that are nobody's whom we know."""
    if not around.are_services_known:
        yield model.Match(services=(model.ServiceReference(key.namespace, "", False),))
        return
    for place in sorted(_places(rule, key, around)):
        namespace, name = place
        backends = (model.ServiceReference(namespace, name, False),)
        chosen = around.service_selectors.get(place)
        if chosen:
            selector = selector_from(LabelSelector(match_labels=chosen))
            yield model.Match(
                kinds=model.WORKLOADS, selector=and_(selector, equals(NAMESPACE_LABEL, namespace)), is_same_cluster=True
            )  # fmt: skip
        elif chosen is None:  # nobody says whether it selects
            yield model.Match(services=backends)
        else:
            yield model.Match(kinds=model.OUTSIDE, services=backends)


def _places(rule: ServiceRule, key: ObjectKey, around: Surroundings) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    if (named := rule.k8s_service) is not None:
        wanted = (named.namespace or key.namespace, named.service_name)
        found |= {p for p in around.services if p[1] == wanted[1] and named.namespace in ("", p[0])} or {
            wanted
        }
    if (chosen := rule.k8s_service_selector) is not None:
        selector = selector_from(chosen.selector, bare)
        found |= {
            place
            for place, labels in around.services.items()
            if chosen.namespace in ("", place[0]) and selector.matches(labels)
        }
    return found
