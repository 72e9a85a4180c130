"""NetworkPolicy, and the policies of cluster administrators, judged from their documents as the API's pages read."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.federation.reference.ends import CLUSTER, NUMBERS, End, Packet, Policy, World, is_in
from tests.federation.reference.selectors import labelled

ORDER = 1000
"""Where NetworkPolicies stand in the tier `default`."""
Matches = Callable[[Packet], bool]


def policies(world: World) -> Iterator[Policy]:
    """All of them."""
    for document in world.of("NetworkPolicy", "networking.k8s.io"):
        yield _network_policy(world, document)
    for kind in ("AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"):
        for document in world.of(kind):
            yield _admin_policy(world, document)


def cluster_of(world: World, document: dict[str, Any]) -> str:
    """Whose policy it is; empty, everybody's."""
    return str((document["metadata"].get("labels") or {}).get(CLUSTER, world.given_home))


def _network_policy(world: World, document: dict[str, Any]) -> Policy:
    meta, spec = document["metadata"], document["spec"]
    namespace, cluster = meta["namespace"], cluster_of(world, document)
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    chosen = labelled(spec["podSelector"])
    directions = [word.lower() for word in types]

    def selects(end: End) -> bool:
        is_here = end.kind == "pod" and end.namespace == namespace and cluster in ("", end.cluster)
        return is_here and chosen(end.labels)

    return Policy(
        tier="default",
        rank=(ORDER, 0, f"{meta['name']}/{namespace}/NetworkPolicy"),
        selects=selects,
        rules={
            way: [("Allow", _rule(rule, way, namespace)) for rule in spec.get(way) or []]
            for way in directions
        },
        isolates=frozenset(directions),
    )


def _rule(rule: dict[str, Any], way: str, namespace: str) -> Matches:
    peers, ports = rule.get("from" if way == "ingress" else "to") or [], rule.get("ports") or []

    def matches(packet: Packet) -> bool:
        subject, peer = ends_of(packet, way)
        if peers and not any(_is_peer(each, subject, peer, namespace) for each in peers):
            return False
        return not ports or any(_is_port(each, packet) for each in ports)

    return matches


def ends_of(packet: Packet, way: str) -> tuple[End, End]:
    """(subject, peer)."""
    pair = packet.destination, packet.source
    return pair if way == "ingress" else pair[::-1]


def _is_peer(peer: dict[str, Any], subject: End, end: End, namespace: str) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        excepted = any(is_in(end.address, net) for net in block.get("except") or [])
        return is_in(end.address, block["cidr"]) and not excepted
    if end.kind != "pod" or end.cluster != subject.cluster:
        return False
    if "namespaceSelector" in peer:
        if not labelled(peer["namespaceSelector"])(end.namespace_labels):
            return False
    elif end.namespace != namespace:
        return False
    return labelled(peer.get("podSelector"))(end.labels)


def _is_port(port: dict[str, Any], packet: Packet) -> bool:
    protocol, wanted = NUMBERS[port.get("protocol", "TCP")], port.get("port")
    if packet.protocol != protocol:
        return False
    if isinstance(wanted, str):
        return has_named_port(packet, wanted)
    return wanted is None or wanted <= packet.port <= port.get("endPort", wanted)


def has_named_port(packet: Packet, name: str) -> bool:
    """Whether the destination has a port of that name, with that number and protocol."""
    return (name, packet.protocol, packet.port) in packet.destination.ports


def _admin_policy(world: World, document: dict[str, Any]) -> Policy:
    meta, spec, kind = document["metadata"], document["spec"], document["kind"]
    cluster = cluster_of(world, document)
    is_baseline = kind == "BaselineAdminNetworkPolicy" or spec.get("tier") == "Baseline"

    def selects(end: End) -> bool:
        is_here = end.kind == "pod" and cluster in ("", end.cluster)
        return is_here and _are_pods(spec["subject"], end)

    return Policy(
        tier="kube-baseline" if is_baseline else "kube-admin",
        rank=(spec.get("priority", 0), 0, f"{meta['name']}//{kind}"),
        selects=selects,
        rules={
            way: [_admin_rule(rule, way) for rule in spec.get(way) or []] for way in ("ingress", "egress")
        },
        isolates=frozenset(),
    )


def _are_pods(chosen: dict[str, Any], end: End) -> bool:
    if "namespaces" in chosen:
        return labelled(chosen["namespaces"])(end.namespace_labels)
    both = chosen["pods"]
    return labelled(both["namespaceSelector"])(end.namespace_labels) and labelled(both["podSelector"])(
        end.labels
    )


def _admin_rule(rule: dict[str, Any], way: str) -> tuple[str, Matches]:
    peers = rule["from" if way == "ingress" else "to"]
    parts = [*(rule.get("ports") or []), *(rule.get("protocols") or [])]

    def matches(packet: Packet) -> bool:
        subject, peer = ends_of(packet, way)
        if not any(_is_admin_peer(each, subject, peer) for each in peers):
            return False
        return not parts or any(_is_part(each, packet) for each in parts)

    return rule["action"].replace("Accept", "Allow"), matches


def _is_admin_peer(peer: dict[str, Any], subject: End, end: End) -> bool:
    if "networks" in peer:
        return any(is_in(end.address, net) for net in peer["networks"])
    if end.cluster != subject.cluster:
        return False
    if "nodes" in peer:
        return end.kind == "host" and labelled(peer["nodes"])(end.labels)
    return end.kind == "pod" and _are_pods(peer, end)


def _is_part(part: dict[str, Any], packet: Packet) -> bool:
    """One of v1alpha1's ports or of v1alpha2's protocols."""
    for name in ("namedPort", "destinationNamedPort"):
        if name in part:
            return has_named_port(packet, part[name])
    if "portNumber" in part:
        wanted = part["portNumber"]
        return (packet.protocol, packet.port) == (NUMBERS[wanted.get("protocol", "TCP")], wanted["port"])
    if "portRange" in part:
        wanted = part["portRange"]
        is_protocol = packet.protocol == NUMBERS[wanted.get("protocol", "TCP")]
        return is_protocol and wanted["start"] <= packet.port <= wanted["end"]
    ((name, wanted),) = part.items()
    if packet.protocol != NUMBERS[name.upper()]:
        return False
    port = (wanted or {}).get("destinationPort")
    if port is None:
        return True
    if "number" in port:
        return bool(packet.port == port["number"])
    return bool(port["range"]["start"] <= packet.port <= port["range"]["end"])
