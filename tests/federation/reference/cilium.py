"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, judged from their documents as Cilium's pages read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.federation.reference.ends import NUMBERS, End, Packet, Policy, World, is_in
from tests.federation.reference.kubernetes import cluster_of, ends_of, has_named_port
from tests.federation.reference.selectors import labelled

ORDER = 1000
NAMESPACE = "io.kubernetes.pod.namespace"
NAMESPACE_LABEL = "io.cilium.k8s.namespace.labels."
OWN_CLUSTER = "io.cilium.k8s.policy.cluster"
ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
PEERS = ("Endpoints", "Entities", "CIDR", "CIDRSet", "Nodes")
ICMP = {("IPv4", "EchoRequest"): 8, ("IPv4", "EchoReply"): 0, ("IPv6", "EchoRequest"): 128}
Matches = Callable[[Packet], bool]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Where a rule stands: its direction, and the namespace ("": all) and cluster ("": everybody's) of its policy."""

    world: World
    way: str
    namespace: str
    cluster: str


def policies(world: World) -> Iterator[Policy]:
    """For each spec of each document, its denials and its allows."""
    for kind in ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"):
        for document in world.of(kind):
            specs = ([document["spec"]] if "spec" in document else []) + document.get("specs", [])
            for spec in specs:
                yield from _parts(world, document, spec)


def _parts(world: World, document: dict[str, Any], spec: dict[str, Any]) -> Iterator[Policy]:
    meta, kind = document["metadata"], document["kind"]
    namespace = meta.get("namespace", "") if kind == "CiliumNetworkPolicy" else ""
    name = f"{meta['name']}/{namespace}/{kind}"
    cluster = cluster_of(world, document)
    selects = _subject(cluster, namespace, spec)
    isolates = frozenset(way for way in ("ingress", "egress") if _isolates(spec, way))
    for phase, suffix, action in ((-1, "Deny", "Deny"), (0, "", "Allow")):
        rules = {}
        for way in ("ingress", "egress"):
            scope = Scope(world=world, way=way, namespace=namespace, cluster=cluster)
            rules[way] = [(action, _rule(rule, scope)) for rule in spec.get(way + suffix) or []]
        yield Policy(
            tier="default",
            rank=(ORDER, phase, name),
            selects=selects,
            rules=rules,
            isolates=isolates,
            is_cilium=True,
        )


def _isolates(spec: dict[str, Any], way: str) -> bool:
    has_rules = bool(spec.get(way) or spec.get(way + "Deny"))
    asked = (spec.get("enableDefaultDeny") or {}).get(way)
    return has_rules if asked is None else bool(asked)


def _subject(cluster: str, namespace: str, spec: dict[str, Any]) -> Callable[[End], bool]:
    def selects(end: End) -> bool:
        if cluster not in ("", end.cluster):
            return False
        if "nodeSelector" in spec:
            return end.kind == "host" and labelled(_plain(spec["nodeSelector"]))(end.labels)
        is_here = end.kind == "pod" and namespace in ("", end.namespace)
        return is_here and labelled(_plain(spec["endpointSelector"]))(_labels(end))

    return selects


def _plain(selector: dict[str, Any]) -> dict[str, Any]:
    """The selector without the sources of its labels."""

    def bare(key: str) -> str:
        return key.removeprefix("k8s:").removeprefix("any:")

    return {
        "matchLabels": {bare(k): v for k, v in (selector.get("matchLabels") or {}).items()},
        "matchExpressions": [
            {**each, "key": bare(each["key"])} for each in selector.get("matchExpressions") or []
        ],
    }


def _labels(end: End) -> dict[str, str]:
    """A pod's labels as Cilium sees them."""
    inherited = {NAMESPACE_LABEL + key: value for key, value in end.namespace_labels.items()}
    given = {NAMESPACE: end.namespace, OWN_CLUSTER: end.cluster, ACCOUNT: end.account}
    return {**end.labels, **inherited, **given}


def _rule(rule: dict[str, Any], scope: Scope) -> Matches:
    def matches(packet: Packet) -> bool:
        subject, peer = ends_of(packet, scope.way)
        if rule.get("authentication", {}).get("mode") == "required":
            return False  # carried, not enforced: an allow with it matches nothing
        return _peers_match(rule, scope, subject, peer) and _ports_match(rule, packet)

    return matches


def _peers_match(rule: dict[str, Any], scope: Scope, subject: End, peer: End) -> bool:
    side = "from" if scope.way == "ingress" else "to"
    named = {name: rule[side + name] for name in PEERS if rule.get(side + name) is not None}
    if not named:
        return bool(rule.get("toPorts") or rule.get("icmps"))  # an empty rule is nobody
    tests = {
        "Endpoints": lambda each: _is_endpoint(each, scope.namespace, subject, peer),
        "Entities": lambda each: _is_entity(each, subject, peer),
        "CIDR": lambda each: peer.kind == "outside" and is_in(peer.address, each),
        "CIDRSet": lambda each: peer.kind == "outside" and _is_in_set(each, scope, peer),
        "Nodes": lambda each: _is_node(each, subject, peer),
    }
    return any(tests[name](each) for name, listed in named.items() for each in listed)


def _is_endpoint(selector: dict[str, Any], namespace: str, subject: End, peer: End) -> bool:
    """Pods only, of the own cluster and (in a namespaced policy) namespace unless the selector names others."""
    if peer.kind != "pod":
        return False
    plain = _plain(selector)
    keys = [*plain["matchLabels"], *(each["key"] for each in plain["matchExpressions"])]
    if OWN_CLUSTER not in keys and peer.cluster != subject.cluster:
        return False
    names_namespace = any(key == NAMESPACE or key.startswith(NAMESPACE_LABEL) for key in keys)
    if namespace and not names_namespace and peer.namespace != namespace:
        return False
    return labelled(plain)(_labels(peer))


def _is_node(selector: dict[str, Any], subject: End, peer: End) -> bool:
    """Nodes of the own cluster, other than the own one."""
    is_remote = peer.kind == "host" and not _is_own_host(subject, peer)
    return is_remote and peer.cluster == subject.cluster and labelled(_plain(selector))(peer.labels)


def _is_own_host(subject: End, peer: End) -> bool:
    return peer.kind == "host" and (peer.cluster, peer.node) == (subject.cluster, subject.node)


def _is_entity(entity: str, subject: End, peer: End) -> bool:
    match entity:
        case "all":
            return True
        case "none" | "health" | "init":
            return False
        case "world":
            return peer.kind == "outside"
        case "world-ipv4" | "world-ipv6":
            return peer.kind == "outside" and peer.address.version == int(entity[-1])
        case "cluster":  # its own pods; nodes, of whatever cluster, are one entity
            return peer.kind == "host" or (peer.kind == "pod" and peer.cluster == subject.cluster)
        case "cluster-mesh":
            return peer.kind in ("pod", "host")
        case "host":
            return _is_own_host(subject, peer)
        case "remote-node":
            return peer.kind == "host" and not _is_own_host(subject, peer)
    raise AssertionError(entity)


def _is_in_set(each: dict[str, Any], scope: Scope, peer: End) -> bool:
    if "cidr" in each:
        prefixes = [each["cidr"]]
    else:
        prefixes = [
            prefix
            for group in scope.world.of("CiliumCIDRGroup")
            if cluster_of(scope.world, group) in ("", scope.cluster) and _is_group(each, group["metadata"])
            for prefix in group["spec"]["externalCIDRs"]
        ]
    excepted = any(is_in(peer.address, net) for net in each.get("except") or [])
    return not excepted and any(is_in(peer.address, prefix) for prefix in prefixes)


def _is_group(each: dict[str, Any], meta: dict[str, Any]) -> bool:
    if "cidrGroupRef" in each:
        return bool(meta["name"] == each["cidrGroupRef"])
    return labelled(each["cidrGroupSelector"])(meta.get("labels") or {})


def _ports_match(rule: dict[str, Any], packet: Packet) -> bool:
    if rule.get("icmps"):
        return any(_is_icmp(each, packet) for entry in rule["icmps"] for each in entry["fields"])
    if not rule.get("toPorts"):
        return True
    for entry in rule["toPorts"]:
        if entry.get("rules", {}).get("http"):
            continue  # carried, not enforced: an allow with it matches nothing
        if any(_is_port(each, packet) for each in entry["ports"]):
            return True
    return False


def _is_icmp(wanted: dict[str, Any], packet: Packet) -> bool:
    family = wanted.get("family", "IPv4")
    kind = wanted["type"] if isinstance(wanted["type"], int) else ICMP[family, wanted["type"]]
    protocol, version = {"IPv4": (1, 4), "IPv6": (58, 6)}[family]
    return (packet.protocol, packet.version, packet.icmp[0]) == (protocol, version, kind)


def _is_port(port: dict[str, Any], packet: Packet) -> bool:
    protocol = port.get("protocol", "ANY")
    if packet.protocol not in ((6, 17, 132) if protocol == "ANY" else (NUMBERS[protocol],)):
        return False
    wanted = port["port"]
    if not wanted.isdigit():
        return has_named_port(packet, wanted)
    low = int(wanted)
    return low == 0 or low <= packet.port <= max(low, port.get("endPort", low))
