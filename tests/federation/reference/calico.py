"""Calico's GlobalNetworkPolicy and NetworkPolicy, judged from their documents as the project's reference pages read."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from tests.federation.reference.ends import CLUSTER, NUMBERS, End, Labels, Packet, Policy, World, is_in
from tests.federation.reference.selectors import calico

ORDER_OF_NONE = float("inf")


@dataclass(frozen=True, kw_only=True)
class Owner:
    """What can be selected at an address: the pod that has it, or a network set that holds it."""

    labels: Labels
    cluster: str
    namespace: str
    namespace_labels: Labels
    account: str = ""
    account_labels: Labels
    ports: tuple[tuple[str, int, int], ...] = ()


def policies(world: World) -> Iterator[Policy]:
    """The enforced ones."""
    group = ("projectcalico.org", "causeway.dev")
    for kind in ("GlobalNetworkPolicy", "NetworkPolicy"):
        for document in world.of(kind):
            if document["apiVersion"].split("/")[0] in group:
                yield _policy(world, document)


def _policy(world: World, document: dict[str, Any]) -> Policy:
    meta, spec = document["metadata"], document.get("spec") or {}
    namespace = meta.get("namespace", "default") if document["kind"] == "NetworkPolicy" else ""
    cluster = (meta.get("labels") or {}).get(CLUSTER, "") if namespace else ""
    order = spec.get("order")
    types = spec.get("types") or _inferred(spec)
    directions = [word.lower() for word in types]
    return Policy(
        tier=spec.get("tier") or "default",
        rank=(ORDER_OF_NONE if order is None else order, 0, f"{meta['name']}/{namespace}/{document['kind']}"),
        selects=lambda end: _selects(world, spec, end, namespace, cluster),
        rules={way: [_rule(world, r, way, namespace) for r in spec.get(way) or []] for way in directions},
        isolates=frozenset(directions),
        stage="doNotTrack" if spec.get("doNotTrack") else "preDNAT" if spec.get("preDNAT") else "",
        is_on_forward=bool(spec.get("applyOnForward")),
    )


def profiles(world: World) -> dict[str, Policy]:
    """By name; what hosts get after all tiers."""
    return {
        document["metadata"]["name"]: Policy(
            tier="", rank=(0.0, 0, ""), selects=lambda _: True, isolates=frozenset(),
            rules={way: [_rule(world, r, way, "") for r in document["spec"].get(way) or []] for way in ("ingress", "egress")},
        )
        for document in world.of("Profile")
    }  # fmt: skip


def _inferred(spec: dict[str, Any]) -> list[str]:
    if spec.get("egress"):
        return ["Ingress", "Egress"] if spec.get("ingress") else ["Egress"]
    return ["Ingress"]


def _selects(world: World, spec: dict[str, Any], end: End, namespace: str, cluster: str) -> bool:
    if end.face is not None:
        is_of_pods = namespace or spec.get("namespaceSelector") or spec.get("serviceAccountSelector")
        return not is_of_pods and calico(spec.get("selector", ""))(end.face.labels)
    if end.kind != "pod" or spec.get("doNotTrack") or spec.get("preDNAT"):
        return False  # a host without HostEndpoint is not policed by Calico's policies
    pod = _pod(end)
    if (namespace and namespace != pod.namespace) or (cluster and cluster != pod.cluster):
        return False
    if not calico(spec.get("selector", ""))(pod.labels):
        return False
    if not calico(spec.get("namespaceSelector", ""))(pod.namespace_labels):
        return False
    return calico(spec.get("serviceAccountSelector", ""))(pod.account_labels)


def _rule(world: World, rule: dict[str, Any], way: str, namespace: str) -> Any:
    has_names = any((rule.get(side) or {}).get("ports") for side in ("source", "destination"))

    def matches(packet: Packet) -> bool:
        if rule.get("ipVersion", packet.version) != packet.version or not _exists(rule, packet.version):
            return False
        if not _protocol_matches(rule, packet):
            return False
        if "protocol" not in rule and has_names and packet.protocol != NUMBERS["TCP"]:
            return False  # ports without a protocol, which can be names only, are TCP's
        subject = packet.destination if way == "ingress" else packet.source
        scope = (namespace, subject.cluster if namespace else "")
        return _entity_matches(
            world, rule.get("source") or {}, packet.source, (packet.protocol, packet.source_port), scope
        ) and _entity_matches(
            world, rule.get("destination") or {}, packet.destination, (packet.protocol, packet.port), scope
        )

    return rule["action"], matches


def _exists(rule: dict[str, Any], version: int) -> bool:
    """A rule with prefixes of the other family only is no rule for this one, `notNets` included."""
    for side in ("source", "destination"):
        for name in ("nets", "notNets"):
            nets = (rule.get(side) or {}).get(name) or []
            if nets and all(ip_network(net).version != version for net in nets):
                return False
    return True


def _number(protocol: int | str) -> int:
    return protocol if isinstance(protocol, int) else NUMBERS[protocol.upper()]


def _protocol_matches(rule: dict[str, Any], packet: Packet) -> bool:
    if "protocol" in rule and _number(rule["protocol"]) != packet.protocol:
        return False
    if "notProtocol" in rule and _number(rule["notProtocol"]) == packet.protocol:
        return False
    if "icmp" in rule and not _icmp_matches(rule["icmp"], packet):
        return False
    return not ("notICMP" in rule and _icmp_matches(rule["notICMP"], packet))


def _icmp_matches(wanted: dict[str, int], packet: Packet) -> bool:
    kind, code = packet.icmp
    return wanted["type"] == kind and wanted.get("code", code) == code


def _entity_matches(
    world: World, entity: dict[str, Any], end: End, port: tuple[int, int], scope: tuple[str, str]
) -> bool:
    """Whether one side of a rule holds: its prefixes, its selectors, its ports."""
    nets, not_nets = entity.get("nets") or [], entity.get("notNets") or []
    if nets and not any(is_in(end.address, net) for net in nets):
        return False
    if any(is_in(end.address, net) for net in not_nets):
        return False
    owners = list(_owners(world, end))
    if _is_positive(entity, scope[0]):
        owners = [owner for owner in owners if _is_selected(owner, entity, scope)]
        if not owners:
            return False
    elif entity.get("notSelector"):
        unwanted = calico(entity["notSelector"])
        if any(unwanted(owner.labels) for owner in owners):
            return False
    if entity.get("ports") and not any(_is_port(each, port, owners) for each in entity["ports"]):
        return False
    return not any(_is_port(each, port, owners) for each in entity.get("notPorts") or [])


def _is_positive(entity: dict[str, Any], namespace: str) -> bool:
    """Whether the rule asks for known ends. In a namespace `notSelector` does too: it keeps to the namespace."""
    names = ["selector", "namespaceSelector", "serviceAccounts"] + (["notSelector"] if namespace else [])
    return any(entity.get(name) for name in names)


def _is_selected(owner: Owner, entity: dict[str, Any], scope: tuple[str, str]) -> bool:
    """All selectors of one side, asked of one owner: they are merged into one."""
    own_namespace, own_cluster = scope
    texts = [entity.get(name, "") for name in ("selector", "notSelector", "namespaceSelector")]
    if not calico(texts[0])(owner.labels) or (texts[1] and calico(texts[1])(owner.labels)):
        return False
    if own_cluster and owner.cluster not in ("", own_cluster) and not any(CLUSTER in text for text in texts):
        return False
    if texts[2] == "global()":
        if owner.namespace:
            return False
    elif texts[2]:
        if not owner.namespace or not calico(texts[2])(owner.namespace_labels):
            return False
    elif own_namespace and owner.namespace != own_namespace:
        return False
    accounts = entity.get("serviceAccounts")
    if not accounts:
        return True
    if not owner.account or (accounts.get("names") and owner.account not in accounts["names"]):
        return False
    return calico(accounts.get("selector", ""))(owner.account_labels)


def _pod(end: End) -> Owner:
    own = {key: value for key, value in end.labels.items() if not key.startswith(("pcns.", "pcsa."))}
    given = {
        "projectcalico.org/orchestrator": "k8s", "projectcalico.org/namespace": end.namespace,
        "projectcalico.org/serviceaccount": end.account, CLUSTER: end.cluster,
    }  # fmt: skip
    of_namespace = {"projectcalico.org/name": end.namespace, **end.namespace_labels}
    of_account = {"projectcalico.org/name": end.account, **end.account_labels}
    return Owner(
        labels={**own, **given, **_prefixed("pcns.", of_namespace), **_prefixed("pcsa.", of_account)},
        cluster=end.cluster, namespace=end.namespace, account=end.account, ports=end.ports,
        namespace_labels=of_namespace, account_labels=of_account,
    )  # fmt: skip


def _prefixed(prefix: str, labels: Labels) -> dict[str, str]:
    """Labels that an end has of its namespace or service account, under Calico's names for them."""
    return {prefix + key: value for key, value in labels.items()}


def _owners(world: World, end: End) -> Iterator[Owner]:
    if end.kind == "pod":
        yield _pod(end)
    if end.face is not None and end.address in end.face.expected:
        yield Owner(
            labels=end.face.labels, cluster=end.cluster, namespace="", namespace_labels={}, account_labels={}, ports=end.face.ports,
        )  # fmt: skip
    for each in world.sets:
        if not any(is_in(end.address, net) for net in each.nets):
            continue
        labels, inherited = dict(each.labels), {}
        if each.namespace:
            labels["projectcalico.org/namespace"] = each.namespace
            inherited = {
                "projectcalico.org/name": each.namespace,
                **world.namespace_labels(each.cluster, each.namespace),
            }
            labels |= _prefixed("pcns.", inherited)
        yield Owner(
            labels=labels,
            cluster=each.cluster,
            namespace=each.namespace,
            namespace_labels=inherited,
            account_labels={},
        )


def _is_port(wanted: int | str, port: tuple[int, int], owners: list[Owner]) -> bool:
    """A number, a range, or the name of a port that one of the owners has with that protocol and number."""
    protocol, number = port
    if isinstance(wanted, int) or wanted.isdigit():
        return protocol in (6, 17, 132, 136) and number == int(wanted)
    low, colon, high = wanted.partition(":")
    if colon:
        return protocol in (6, 17, 132, 136) and int(low) <= number <= int(high)
    return any((wanted, protocol, number) in owner.ports for owner in owners)
