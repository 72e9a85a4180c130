"""Policies of cluster administrators (policy.networking.k8s.io) into the model: AdminNetworkPolicy, BaselineAdminNetworkPolicy
(v1alpha1) and ClusterNetworkPolicy (v1alpha2).

They select pods that are not on their host's network. Their tiers pass when nothing matches: `kube-admin` (order 1,000)
before everything of namespaces, `kube-baseline` (order 10,000,000) after it, reached by pods that no NetworkPolicy isolates.
Source: network-policy-api.sigs.k8s.io.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network

from federation.doors.kubernetes import PROTOCOLS, name_faults, with_ports
from federation.doors.labels import (
    EVERYTHING,
    LabelSelector,
    namespace_key,
    node_key,
    selector_faults,
    selector_from,
)
from federation.errors import Fault
from federation.identities import CLUSTER_LABEL
from federation.policy import model
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.selectors import ALL, and_, equals

ADMIN_TIER, BASELINE_TIER = "kube-admin", "kube-baseline"
ACTIONS = {"Allow": "Allow", "Accept": "Allow", "Deny": "Deny", "Pass": "Pass"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespacedPods:
    """Pods by their labels, in namespaces by theirs."""

    namespace_selector: LabelSelector = EVERYTHING
    pod_selector: LabelSelector = EVERYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Exactly one of the two."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Exactly one. Nodes, networks and domain names are for egress."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] = ()
    domain_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortNumber:
    """v1alpha1: one port."""

    port: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    """v1alpha1: from start to end, both included."""

    start: int
    end: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """v1alpha1: exactly one."""

    port_number: PortNumber | None = None
    port_range: PortRange | None = None
    named_port: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """v1alpha2: from start to end, both included."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationPort:
    """v1alpha2: exactly one."""

    number: int | None = None
    range: Range | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """v1alpha2: all ports, without one."""

    destination_port: DestinationPort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """v1alpha2: exactly one."""

    tcp: Transport | None = None
    udp: Transport | None = None
    sctp: Transport | None = None
    destination_named_port: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of either direction: `from` in ingress, `to` in egress; `ports` in v1alpha1, `protocols` in v1alpha2."""

    action: str
    name: str = ""
    from_: tuple[Peer, ...] = field(default=(), metadata={"json": "from"})
    to: tuple[Peer, ...] = ()
    ports: tuple[Port, ...] | None = None
    protocols: tuple[Protocol, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSpec:
    """AdminNetworkPolicy, and with `tier` ClusterNetworkPolicy."""

    subject: Subject
    priority: int = 0
    tier: str = ""
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


def faults(kind: str, name: str, spec: AdminSpec) -> Iterable[Fault]:
    """What the API would refuse."""
    if kind == "BaselineAdminNetworkPolicy" and name != "default":
        yield Fault("/metadata/name", "the one BaselineAdminNetworkPolicy is called default")
    if not 0 <= spec.priority <= 1000:
        yield Fault("/spec/priority", f"{spec.priority} is not in 0-1000")
    if kind == "ClusterNetworkPolicy" and spec.tier not in ("Admin", "Baseline"):
        yield Fault("/spec/tier", f"{spec.tier!r} is not one of Admin, Baseline")
    if kind != "ClusterNetworkPolicy" and spec.tier:
        yield Fault("/spec/tier", f"a {kind} has no tier")
    yield from _one_of("/spec/subject", spec.subject.namespaces, spec.subject.pods)
    yield from _selector_faults("/spec/subject", spec.subject.namespaces, spec.subject.pods)
    is_baseline = kind == "BaselineAdminNetworkPolicy"
    for section, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        for index, rule in enumerate(rules):
            at = f"/spec/{section}/{index}"
            words = (
                ("Accept", "Deny", "Pass")
                if kind == "ClusterNetworkPolicy"
                else ("Allow", "Deny", *(() if is_baseline else ("Pass",)))
            )
            if rule.action not in words:
                yield Fault(f"{at}/action", f"{rule.action!r} is not one of {', '.join(words)}")
            yield from _rule_faults(at, section, kind, rule)


def policy_of(key: ObjectKey, spec: AdminSpec) -> model.Policy:
    """The model's policy of a checked spec."""
    is_baseline = key.kind == "BaselineAdminNetworkPolicy" or spec.tier == "Baseline"
    return model.Policy(
        key=key,
        tier=BASELINE_TIER if is_baseline else ADMIN_TIER,
        order=float(spec.priority),
        subject=_subject(key, spec.subject),
        ingress=tuple(_rules("ingress", spec.ingress)),
        egress=tuple(_rules("egress", spec.egress)),
    )


def _subject(key: ObjectKey, subject: Subject) -> model.Match:
    match = _pods(subject.namespaces, subject.pods)
    selector = match.selector or ALL
    if key.cluster:
        selector = and_(selector, equals(CLUSTER_LABEL, key.cluster))
    return model.Match(kinds=match.kinds, selector=selector)


def _pods(namespaces: LabelSelector | None, pods: NamespacedPods | None) -> model.Match:
    chosen = pods or NamespacedPods(namespace_selector=namespaces or LabelSelector())
    selector = and_(
        selector_from(chosen.pod_selector), selector_from(chosen.namespace_selector, namespace_key)
    )
    return model.Match(kinds=model.WORKLOADS, selector=selector, is_same_cluster=True)


def _rules(section: str, rules: tuple[Rule, ...]) -> Iterator[model.Rule]:
    direction = Direction.INGRESS if section == "ingress" else Direction.EGRESS
    for index, rule in enumerate(rules):
        for peer in rule.from_ if section == "ingress" else rule.to:
            lacks = ("domainNames",) if peer.domain_names else ()
            for end in _ends(peer):
                for protocol, ports in _port_groups(rule):
                    at_ports = model.Match(ports=ports)
                    source, destination = (
                        (end, at_ports)
                        if direction is Direction.INGRESS
                        else (model.ANYONE, with_ports(end, ports))
                    )
                    yield model.Rule(
                        action=ACTIONS[rule.action], index=index, section=section, protocol=protocol,
                        source=source, destination=destination, lacks=lacks,
                    )  # fmt: skip


def _ends(peer: Peer) -> Iterator[model.Match]:
    if peer.nodes is not None:
        yield model.Match(
            kinds=model.HOSTS, selector=selector_from(peer.nodes, node_key), is_same_cluster=True
        )
    elif peer.networks:
        for version in (4, 6):
            nets = tuple(net for net in map(ip_network, peer.networks) if net.version == version)
            if nets:
                yield model.Match(nets=nets)
    elif peer.domain_names:
        yield model.Match(kinds=model.OUTSIDE)
    else:
        yield _pods(peer.namespaces, peer.pods)


def _port_groups(rule: Rule) -> list[tuple[int | None, tuple[int | str, ...]]]:
    groups: dict[int | None, list[int | str]] = {}
    whole: set[int] = set()
    for port in rule.ports or ():
        if port.port_number is not None:
            groups.setdefault(PROTOCOLS[port.port_number.protocol], []).append(port.port_number.port)
        elif port.port_range is not None:
            span = port.port_range
            groups.setdefault(PROTOCOLS[span.protocol], []).append(f"{span.start}:{span.end}")
        elif port.named_port is not None:
            groups.setdefault(None, []).append(port.named_port)
    for protocol in rule.protocols or ():
        if protocol.destination_named_port is not None:
            groups.setdefault(None, []).append(protocol.destination_named_port)
        for number, transport in ((6, protocol.tcp), (17, protocol.udp), (132, protocol.sctp)):
            if transport is None:
                continue
            listed, wanted = groups.setdefault(number, []), transport.destination_port
            if wanted is None:
                whole.add(number)
            else:
                listed.append(
                    f"{wanted.range.start}:{wanted.range.end}" if wanted.range else wanted.number or 0
                )
    return [(p, () if p in whole else tuple(listed)) for p, listed in groups.items()] or [(None, ())]


def _rule_faults(at: str, section: str, kind: str, rule: Rule) -> Iterable[Fault]:
    field_name, other = ("from", rule.to) if section == "ingress" else ("to", rule.from_)
    peers = rule.from_ if section == "ingress" else rule.to
    if other:
        yield Fault(f"{at}/{'to' if section == 'ingress' else 'from'}", f"not in {section} rules")
    if not peers:
        yield Fault(f"{at}/{field_name}", "at least one peer is needed")
    if kind == "ClusterNetworkPolicy" and rule.ports is not None:
        yield Fault(f"{at}/ports", "a ClusterNetworkPolicy of v1alpha2 has protocols")
    if kind != "ClusterNetworkPolicy" and rule.protocols is not None:
        yield Fault(f"{at}/protocols", f"a {kind} of v1alpha1 has ports")
    for number, peer in enumerate(peers):
        yield from _peer_faults(f"{at}/{field_name}/{number}", section, rule.action, peer)
    for number, port in enumerate(rule.ports or ()):
        yield from _port_faults(f"{at}/ports/{number}", port)
    for number, protocol in enumerate(rule.protocols or ()):
        yield from _protocol_faults(f"{at}/protocols/{number}", protocol)


def _peer_faults(at: str, section: str, action: str, peer: Peer) -> Iterable[Fault]:
    yield from _one_of(
        at, peer.namespaces, peer.pods, peer.nodes, peer.networks or None, peer.domain_names or None
    )
    yield from _selector_faults(at, peer.namespaces, peer.pods)
    yield from selector_faults(f"{at}/nodes", peer.nodes)
    if section == "ingress" and (peer.nodes is not None or peer.networks or peer.domain_names):
        yield Fault(at, "nodes, networks and domainNames are for egress")
    if peer.domain_names and action not in ("Allow", "Accept"):
        yield Fault(f"{at}/domainNames", f"not with action {action}")
    for index, text in enumerate(peer.networks):
        try:
            ip_network(text)
        except ValueError:
            yield Fault(f"{at}/networks/{index}", f"{text!r} is not a canonical prefix")


def _port_faults(at: str, port: Port) -> Iterable[Fault]:
    yield from _one_of(at, port.port_number, port.port_range, port.named_port)
    if port.named_port is not None:
        yield from name_faults(f"{at}/namedPort", port.named_port)
    for name, limits, protocol in (
        ("portNumber", [port.port_number.port], port.port_number.protocol) if port.port_number else ("", [], ""),
        ("portRange", [port.port_range.start, port.port_range.end], port.port_range.protocol) if port.port_range else ("", [], ""),
    ):  # fmt: skip
        yield from _range_faults(f"{at}/{name}", limits)
        if name and protocol not in PROTOCOLS:
            yield Fault(f"{at}/{name}/protocol", f"{protocol!r} is not one of TCP, UDP, SCTP")


def _protocol_faults(at: str, protocol: Protocol) -> Iterable[Fault]:
    yield from _one_of(at, protocol.tcp, protocol.udp, protocol.sctp, protocol.destination_named_port)
    if protocol.destination_named_port is not None:
        yield from name_faults(f"{at}/destinationNamedPort", protocol.destination_named_port)
    for name, transport in (("tcp", protocol.tcp), ("udp", protocol.udp), ("sctp", protocol.sctp)):
        port = transport.destination_port if transport else None
        if port is None:
            continue
        yield from _one_of(f"{at}/{name}/destinationPort", port.number, port.range)
        limits = [port.range.start, port.range.end] if port.range else [port.number or 0]
        yield from _range_faults(f"{at}/{name}/destinationPort", limits)


def _range_faults(at: str, limits: list[int]) -> Iterable[Fault]:
    if any(not 1 <= limit <= 65535 for limit in limits):
        yield Fault(at, f"{limits} is not in 1-65535")
    elif limits != sorted(limits):
        yield Fault(at, f"{limits[0]} is greater than {limits[-1]}")


def _one_of(at: str, *given: object) -> Iterable[Fault]:
    if sum(value is not None for value in given) != 1:
        yield Fault(at, "exactly one of its fields is needed")


def _selector_faults(
    at: str, namespaces: LabelSelector | None, pods: NamespacedPods | None
) -> Iterable[Fault]:
    yield from selector_faults(f"{at}/namespaces", namespaces)
    if pods is not None:
        yield from selector_faults(f"{at}/pods/namespaceSelector", pods.namespace_selector)
        yield from selector_faults(f"{at}/pods/podSelector", pods.pod_selector)
