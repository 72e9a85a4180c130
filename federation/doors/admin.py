"""Policies of cluster administrators (policy.networking.k8s.io) into the model: AdminNetworkPolicy, BaselineAdminNetworkPolicy
(v1alpha1) and ClusterNetworkPolicy (v1alpha2).

They select pods that are not on their host's network. Their tiers pass when nothing matches: `kube-admin` (order 1,000)
before everything of namespaces, `kube-baseline` (order 10,000,000) after it, reached by pods that no NetworkPolicy isolates.
Source: network-policy-api.sigs.k8s.io.
"""

import re
from collections.abc import Iterable, Iterator

from federation.doors.admin_documents import AdminSpec, NamespacedPods, Peer, Port, Protocol, Rule, Subject
from federation.doors.kubernetes import PROTOCOLS, name_faults, network_of, with_ports
from federation.doors.labels import LabelSelector, namespace_key, node_key, selector_faults, selector_from
from federation.errors import Fault
from federation.identities import CLUSTER_LABEL
from federation.policy import model
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.selectors import ALL, and_, equals

__all__ = ["ADMIN_TIER", "BASELINE_TIER", "AdminSpec", "faults", "policy_of"]

ADMIN_TIER, BASELINE_TIER = "kube-admin", "kube-baseline"
ACTIONS = {"Allow": "Allow", "Accept": "Allow", "Deny": "Deny", "Pass": "Pass"}
BASELINE, CLUSTER = "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"
WORDS = {BASELINE: ("Allow", "Deny"), CLUSTER: ("Accept", "Deny", "Pass")}
"""Actions of each kind; `AdminNetworkPolicy` has Allow, Deny, Pass."""
MAX_ITEMS = {CLUSTER: 25}
"""Rules of a section, peers and ports of a rule; 100 in v1alpha1."""
MAX_NETWORKS, MAX_NAME = 25, 100
DOMAIN = re.compile(
    r"(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?"
)


def faults(kind: str, name: str, spec: AdminSpec) -> Iterable[Fault]:
    """What the API would refuse."""
    if kind == BASELINE and name != "default":
        yield Fault("/metadata/name", "the one BaselineAdminNetworkPolicy is called default")
    if kind == BASELINE and spec.priority is not None:
        yield Fault("/spec/priority", f"a {kind} has no priority")
    if kind != BASELINE and spec.priority is None:
        yield Fault("/spec/priority", "is needed, 0-1000")
    if not 0 <= (spec.priority or 0) <= 1000:
        yield Fault("/spec/priority", f"{spec.priority} is not in 0-1000")
    if kind == CLUSTER and spec.tier not in ("Admin", "Baseline"):
        yield Fault("/spec/tier", f"{spec.tier!r} is not one of Admin, Baseline")
    if kind != CLUSTER and spec.tier:
        yield Fault("/spec/tier", f"a {kind} has no tier")
    yield from _one_of("/spec/subject", spec.subject.namespaces, spec.subject.pods)
    yield from _selector_faults("/spec/subject", spec.subject.namespaces, spec.subject.pods)
    words = WORDS.get(kind, ("Allow", "Deny", "Pass"))
    for section, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        yield from _length_faults(f"/spec/{section}", "rules", rules, MAX_ITEMS.get(kind, 100))
        for index, rule in enumerate(rules):
            at = f"/spec/{section}/{index}"
            if rule.action not in words:
                yield Fault(f"{at}/action", f"{rule.action!r} is not one of {', '.join(words)}")
            yield from _rule_faults(at, section, kind, rule)


def policy_of(key: ObjectKey, spec: AdminSpec) -> model.Policy:
    """The model's policy of a checked spec."""
    is_baseline = key.kind == BASELINE or spec.tier == "Baseline"
    return model.Policy(
        key=key,
        tier=BASELINE_TIER if is_baseline else ADMIN_TIER,
        order=float(spec.priority or 0),
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
            nets = tuple(net for net in map(network_of, peer.networks) if net.version == version)
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


def _length_faults(at: str, what: str, listed: tuple[object, ...], limit: int) -> Iterable[Fault]:
    if len(listed) > limit:
        yield Fault(at, f"more than {limit} {what}")


def _rule_faults(at: str, section: str, kind: str, rule: Rule) -> Iterable[Fault]:
    field_name, other = ("from", rule.to) if section == "ingress" else ("to", rule.from_)
    peers = rule.from_ if section == "ingress" else rule.to
    limit = MAX_ITEMS.get(kind, 100)
    if len(rule.name) > MAX_NAME:
        yield Fault(f"{at}/name", f"longer than {MAX_NAME} characters")
    if other:
        yield Fault(f"{at}/{'to' if section == 'ingress' else 'from'}", f"not in {section} rules")
    if not peers:
        yield Fault(f"{at}/{field_name}", "at least one peer is needed")
    yield from _length_faults(f"{at}/{field_name}", "peers", peers, limit)
    for number, peer in enumerate(peers):
        yield from _peer_faults(f"{at}/{field_name}/{number}", section, rule.action, peer)
    yield from _ports_faults(at, kind, rule, limit)


def _ports_faults(at: str, kind: str, rule: Rule, limit: int) -> Iterable[Fault]:
    if kind == CLUSTER and rule.ports is not None:
        yield Fault(f"{at}/ports", "a ClusterNetworkPolicy of v1alpha2 has protocols")
    if kind != CLUSTER and rule.protocols is not None:
        yield Fault(f"{at}/protocols", f"a {kind} of v1alpha1 has ports")
    for name, listed in (("ports", rule.ports), ("protocols", rule.protocols)):
        if listed is not None and not listed:
            yield Fault(f"{at}/{name}", "at least one is needed; without the field all match")
        yield from _length_faults(f"{at}/{name}", name, listed or (), limit)
    for number, port in enumerate(rule.ports or ()):
        yield from _port_faults(f"{at}/ports/{number}", port)
    for number, protocol in enumerate(rule.protocols or ()):
        yield from _protocol_faults(f"{at}/protocols/{number}", protocol)


def _peer_faults(at: str, section: str, action: str, peer: Peer) -> Iterable[Fault]:
    yield from _one_of(at, peer.namespaces, peer.pods, peer.nodes, peer.networks, peer.domain_names)
    yield from _selector_faults(at, peer.namespaces, peer.pods)
    yield from selector_faults(f"{at}/nodes", peer.nodes)
    is_outward = (peer.nodes, peer.networks, peer.domain_names) != (None, None, None)
    if section == "ingress" and is_outward:
        yield Fault(at, "nodes, networks and domainNames are for egress")
    if peer.domain_names and action not in ("Allow", "Accept"):
        yield Fault(f"{at}/domainNames", f"not with action {action}")
    for name, listed in (("networks", peer.networks), ("domainNames", peer.domain_names)):
        if listed is not None and not listed:
            yield Fault(f"{at}/{name}", "at least one is needed")
        yield from _length_faults(f"{at}/{name}", name, listed or (), MAX_NETWORKS)
    for index, text in enumerate(peer.networks or ()):
        yield from _network_faults(f"{at}/networks/{index}", text)
    for index, text in enumerate(peer.domain_names or ()):
        if not DOMAIN.fullmatch(text):
            yield Fault(f"{at}/domainNames/{index}", f"{text!r} is not a domain's name")


def _network_faults(at: str, text: str) -> Iterable[Fault]:
    try:
        whole = network_of(text)
    except ValueError:
        yield Fault(at, f"{text!r} is not a prefix")
        return
    if "/" not in text:
        yield Fault(at, f"{text!r} has no length: write {whole}")


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
    elif len(limits) > 1 and limits[0] >= limits[-1]:
        yield Fault(at, f"{limits[0]} is not less than {limits[-1]}")


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
