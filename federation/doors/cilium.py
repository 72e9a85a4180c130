"""Cilium's policies into the model. They share the tier `default` and order 1000 with Kubernetes' NetworkPolicies: their denials
come first, then everything that allows, then isolation.

Prefixes and `world` never match an end that we know; selectors without a cluster label mean the policy's own cluster.
What this release cannot enforce (L7, DNS names, groups, authentication) is carried in `Rule.lacks`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from federation.doors.cilium_documents import (
    ICMP_TYPES,
    PROTOCOLS,
    WITHOUT_PORTS,
    CidrRule,
    CiliumSpec,
    EgressRule,
    IngressRule,
    PortRule,
    ServiceRule,
)
from federation.doors.labels import LabelSelector, namespace_key, node_key, selector_from
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from federation.policy import model
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.rules.model import IcmpMatch
from federation.selectors import and_, equals

TIER, ORDER = "default", 1000.0
DENIES_FIRST = -1
RESERVED = "reserved:"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
KNOWN_KEYS = {
    "io.kubernetes.pod.namespace": NAMESPACE_LABEL,
    "io.cilium.k8s.policy.cluster": CLUSTER_LABEL,
    "io.cilium.k8s.policy.serviceaccount": SERVICE_ACCOUNT_LABEL,
}
Ports = tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Other documents that policies refer to."""

    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Prefixes of CiliumCIDRGroups by name."""
    group_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    services: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    """Labels of Services by (namespace, name)."""


def policies_of(
    key: ObjectKey, specs: Iterable[tuple[str, CiliumSpec]], around: Surroundings
) -> tuple[model.Policy, ...]:
    """The model's policies of checked specs; each comes with the pointer where it stands (`spec`, `specs/0`)."""
    return tuple(policy for place, spec in specs for policy in _policies(key, place, spec, around))


def key_of(key: str) -> str:
    """Under which name an end carries a label that Cilium's selectors name."""
    bare = key.removeprefix("k8s:").removeprefix("any:")
    if bare in KNOWN_KEYS:
        return KNOWN_KEYS[bare]
    if bare.startswith(NAMESPACE_LABELS):
        return namespace_key(bare.removeprefix(NAMESPACE_LABELS))
    return bare


def _policies(key: ObjectKey, place: str, spec: CiliumSpec, around: Surroundings) -> Iterator[model.Policy]:
    has_ingress = bool(spec.ingress or spec.ingress_deny)
    has_egress = bool(spec.egress or spec.egress_deny)
    wanted = spec.enable_default_deny
    isolates = set()
    if has_ingress if wanted.ingress is None else wanted.ingress:
        isolates.add(Direction.INGRESS)
    if has_egress if wanted.egress is None else wanted.egress:
        isolates.add(Direction.EGRESS)
    subject = _subject(key, spec)
    prefix = "" if place == "spec" else f"{place}/"
    if spec.ingress_deny or spec.egress_deny:
        yield model.Policy(
            key=key, tier=TIER, order=ORDER, phase=DENIES_FIRST, subject=subject, is_for_own_host=True,
            ingress=tuple(_ingress("Deny", f"{prefix}ingressDeny", spec.ingress_deny or (), key, around)),
            egress=tuple(_egress("Deny", f"{prefix}egressDeny", spec.egress_deny or (), key, around)),
        )  # fmt: skip
    yield model.Policy(
        key=key, tier=TIER, order=ORDER, subject=subject, isolates=frozenset(isolates),
        ingress=tuple(_ingress("Allow", f"{prefix}ingress", spec.ingress or (), key, around)),
        egress=tuple(_egress("Allow", f"{prefix}egress", spec.egress or (), key, around)),
    )  # fmt: skip


def _subject(key: ObjectKey, spec: CiliumSpec) -> model.Match:
    if spec.node_selector is not None:
        selector, kinds = selector_from(spec.node_selector, node_key), model.HOSTS
    else:
        selector, kinds = selector_from(spec.endpoint_selector or LabelSelector(), key_of), model.WORKLOADS
        if key.namespace:
            selector = and_(selector, equals(NAMESPACE_LABEL, key.namespace))
    if key.cluster:
        selector = and_(selector, equals(CLUSTER_LABEL, key.cluster))
    return model.Match(kinds=kinds, selector=selector)


def _ingress(
    action: str, section: str, rules: tuple[IngressRule, ...], key: ObjectKey, around: Surroundings
) -> Iterator[model.Rule]:
    for index, rule in enumerate(rules):
        lacks = _lacks(rule, bool(rule.from_groups))
        peers: list[model.Match] | None = None
        if rule.from_endpoints is not None:
            peers = [match for s in rule.from_endpoints for match in _endpoints(s, key)]
        elif rule.from_cidr is not None or rule.from_cidr_set is not None:
            peers = _prefixes(rule.from_cidr, rule.from_cidr_set, around)
        elif rule.from_entities is not None:
            peers = [match for entity in rule.from_entities for match in _entity(entity)]
        elif rule.from_nodes is not None:
            peers = [_nodes(s) for s in rule.from_nodes]
        elif rule.from_groups is not None:
            peers = [model.Match(kinds=model.OUTSIDE)]
        for template, ports, more in _transports(rule, peers is None):
            for peer in [model.ANYONE] if peers is None else peers:
                yield replace(
                    template, action=action, index=index, section=section, lacks=(*lacks, *more), source=peer,
                    destination=model.Match(ports=ports),
                )  # fmt: skip


def _egress(
    action: str, section: str, rules: tuple[EgressRule, ...], key: ObjectKey, around: Surroundings
) -> Iterator[model.Rule]:
    for index, rule in enumerate(rules):
        lacks = _lacks(rule, bool(rule.to_groups))
        peers: list[model.Match] | None = None
        if rule.to_endpoints is not None:
            peers = [match for s in rule.to_endpoints for match in _endpoints(s, key)]
        elif rule.to_cidr is not None or rule.to_cidr_set is not None:
            peers = _prefixes(rule.to_cidr, rule.to_cidr_set, around)
        elif rule.to_entities is not None:
            peers = [match for entity in rule.to_entities for match in _entity(entity)]
        elif rule.to_nodes is not None:
            peers = [_nodes(s) for s in rule.to_nodes]
        elif rule.to_services is not None:
            peers = [
                model.Match(services=(ref,)) for s in rule.to_services for ref in _services(s, key, around)
            ]
        elif rule.to_fqdns is not None or rule.to_groups is not None:
            peers = [model.Match(kinds=model.OUTSIDE)]
            lacks = (*lacks, "toFQDNs") if rule.to_fqdns is not None else lacks
        for template, ports, more in _transports(rule, peers is None):
            for peer in [model.ANYONE] if peers is None else peers:
                yield replace(
                    template, action=action, index=index, section=section, lacks=(*lacks, *more),
                    destination=replace(peer, ports=ports),
                )  # fmt: skip


def _lacks(rule: IngressRule | EgressRule, has_groups: bool) -> tuple[str, ...]:
    is_authenticated = rule.authentication is not None and rule.authentication.mode != "disabled"
    return (*(("authentication",) if is_authenticated else ()), *(("groups",) if has_groups else ()))


def _endpoints(wanted: LabelSelector, key: ObjectKey) -> Iterator[model.Match]:
    """Whom a peer's selector means: in a namespaced policy its own namespace, unless it names one."""
    reserved = [k.removeprefix(RESERVED) for k in wanted.match_labels if k.startswith(RESERVED)]
    if reserved:
        if len(reserved) == 1 and len(wanted.match_labels) == 1 and not wanted.match_expressions:
            yield from _entity(reserved[0])
        return
    names = {
        k.removeprefix("k8s:").removeprefix("any:")
        for k in (*wanted.match_labels, *(e.key for e in wanted.match_expressions))
    }
    selector = selector_from(wanted, key_of)
    has_namespace = any(n == "io.kubernetes.pod.namespace" or n.startswith(NAMESPACE_LABELS) for n in names)
    if key.namespace and not has_namespace:
        selector = and_(selector, equals(NAMESPACE_LABEL, key.namespace))
    has_cluster = "io.cilium.k8s.policy.cluster" in names
    yield model.Match(kinds=model.WORKLOADS, selector=selector, is_same_cluster=not has_cluster)


def _nodes(wanted: LabelSelector) -> model.Match:
    return model.Match(
        kinds=model.HOSTS,
        selector=selector_from(wanted, lambda key: node_key(key.removeprefix("node:").removeprefix("k8s:"))),
        is_same_cluster=True,
    )


def _entity(entity: str) -> Iterator[model.Match]:
    match entity:
        case "all":
            yield model.ANYONE
        case "world":
            yield model.Match(kinds=model.OUTSIDE)
        case "world-ipv4" | "world-ipv6":
            whole = "0.0.0.0/0" if entity == "world-ipv4" else "::/0"
            yield model.Match(kinds=model.OUTSIDE, nets=(ip_network(whole),))
        case "cluster":
            yield model.Match(kinds=model.KNOWN, is_same_cluster=True)
        case "cluster-mesh":
            yield model.Match(kinds=model.KNOWN)
        case "host":
            yield model.Match(kinds=model.HOSTS, near=model.Near.OWN_HOST)
        case "remote-node":
            yield model.Match(kinds=model.HOSTS, near=model.Near.OTHER_HOST)
        case "kube-apiserver":
            yield model.Match(services=(model.ServiceReference("default", "kubernetes", False),))
        case _:  # none, and what has no counterpart among our ends: ingress, health, init, unmanaged
            return


def _prefixes(
    plain: tuple[str, ...] | None, sets: tuple[CidrRule, ...] | None, around: Surroundings
) -> list[model.Match]:
    found = [model.Match(kinds=model.OUTSIDE, nets=(ip_network(text, strict=False),)) for text in plain or ()]
    for one in sets or ():
        texts = [one.cidr] if one.cidr else list(around.groups.get(one.cidr_group_ref, ()))
        if one.cidr_group_selector is not None:
            selector = selector_from(one.cidr_group_selector)
            texts = [
                t
                for name, group in sorted(around.groups.items())
                for t in group
                if selector.matches(around.group_labels.get(name, {}))
            ]
        for text in texts:
            whole = ip_network(text, strict=False)
            parts = (ip_network(t, strict=False) for t in one.except_)
            without = tuple(part for part in parts if part.version == whole.version)
            found.append(model.Match(kinds=model.OUTSIDE, nets=(whole,), not_nets=without))
    return found


def _services(rule: ServiceRule, key: ObjectKey, around: Surroundings) -> Iterator[model.ServiceReference]:
    if rule.k8s_service is not None:
        namespace = rule.k8s_service.namespace or key.namespace
        yield model.ServiceReference(namespace, rule.k8s_service.service_name, False)
    if rule.k8s_service_selector is not None:
        wanted = rule.k8s_service_selector
        selector = selector_from(wanted.selector)
        for (namespace, name), labels in sorted(around.services.items()):
            if wanted.namespace in ("", namespace) and selector.matches(labels):
                yield model.ServiceReference(namespace, name, False)


def _transports(
    rule: IngressRule | EgressRule, is_anyone: bool
) -> Iterator[tuple[model.Rule, Ports, tuple[str, ...]]]:
    """Every (protocol or ICMP type, ports, what is lacking) that a rule comes to. A rule that says nothing at all matches nothing."""
    blank = model.Rule(action="Allow", index=0, section="")
    for icmp in rule.icmps:
        for wanted in icmp.fields:
            kind = wanted.type
            number = (
                int(kind)
                if isinstance(kind, int) or kind.isdigit()
                else ICMP_TYPES[wanted.family].get(kind, -1)
            )
            version, protocol = (4, 1) if wanted.family == "IPv4" else (6, 58)
            yield replace(blank, ip_version=version, protocol=protocol, icmp=IcmpMatch(type=number)), (), ()
    for port_rule in rule.to_ports:
        lacks = _beyond_ports(port_rule)
        for protocol, ports in _port_groups(port_rule).items():
            yield replace(blank, protocol=protocol), ports, lacks
    if not rule.to_ports and not rule.icmps and not is_anyone:
        yield blank, (), ()


def _port_groups(rule: PortRule) -> dict[int, Ports]:
    groups: dict[int, list[int | str]] = {}
    whole: set[int] = set()
    for entry in rule.ports:
        name = entry.protocol.upper()
        text = str(entry.port)
        for protocol in (6, 17, 132) if name in ("ANY", "") else (PROTOCOLS[name],):
            listed = groups.setdefault(protocol, [])
            if text in ("", "0") or name in WITHOUT_PORTS:
                whole.add(protocol)
            elif text.isdigit():
                listed.append(f"{text}:{entry.end_port}" if entry.end_port else int(text))
            else:
                listed.append(text)
    return {protocol: () if protocol in whole else tuple(listed) for protocol, listed in groups.items()}


def _beyond_ports(rule: PortRule) -> tuple[str, ...]:
    """What of a port rule goes beyond ports. DNS rules that let every name pass narrow nothing."""
    found = []
    for name, listed in (rule.rules or {}).items() if isinstance(rule.rules, Mapping) else ():
        is_any_name = name == "dns" and any(
            isinstance(entry, Mapping) and entry.get("matchPattern") == "*" for entry in listed or ()
        )
        if listed and not is_any_name:
            found.append(f"rules.{name}")
    found += [
        word
        for word, value in (
            ("serverNames", rule.server_names),
            ("terminatingTLS", rule.terminating_tls),
            ("originatingTLS", rule.originating_tls),
            ("listener", rule.listener),
        )
        if value
    ]
    return tuple(found)
