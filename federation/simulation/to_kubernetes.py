"""The model's policies as Kubernetes' own: NetworkPolicy for what a namespace allows, ClusterNetworkPolicy (v1alpha2) for the tiers of
administrators. What cannot be said there is listed; a line that allows is left out then, and the whole policy when it denies or passes."""

from collections.abc import Iterable, Iterator
from typing import Any

from federation.compiler.lines import WHOLE, numeric, subtract
from federation.doors.admin import ADMIN_TIER, BASELINE_TIER
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL
from federation.policy import model
from federation.policy.model import PartyKind
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.resources.grammar import LABEL_VALUE
from federation.rules.model import DEFAULT_TIER, Prefix
from federation.selectors.tree import All, And, Compare, Has, In, Node, Not, renamed
from federation.simulation.convert import CannotError, Unsaid, bare, parts_of

Document = dict[str, Any]
PROTOCOLS = {6: "TCP", 17: "UDP", 132: "SCTP"}
ADMIN_ACTIONS = {"Allow": "Accept", "Deny": "Deny", "Pass": "Pass"}
NODE = "node.causeway.dev/"


def to_kubernetes(world: World) -> tuple[list[Document], list[Unsaid]]:
    """Documents, and what is missing in them."""
    documents: list[Document] = []
    unsaid: list[Unsaid] = []
    taken: set[tuple[str, str, str]] = set()
    for policy in world.policies:
        try:
            document = _Writer(world, policy, unsaid).document()
        except CannotError as error:
            unsaid.append(Unsaid(policy.key, "/spec", f"{error}: the policy is left out"))
            continue
        meta, name, number = document["metadata"], policy.key.name, 1
        while (document["kind"], meta.get("namespace", ""), meta["name"]) in taken:
            number += 1
            meta["name"] = f"{name}-{number}"
        taken.add((document["kind"], meta.get("namespace", ""), meta["name"]))
        documents.append(document)
    return documents, unsaid


class _Writer:
    """One policy."""

    def __init__(self, world: World, policy: model.Policy, unsaid: list[Unsaid]) -> None:
        self.world = world
        self.policy = policy
        self.unsaid = unsaid
        self.is_admin = policy.tier in (ADMIN_TIER, BASELINE_TIER)

    def document(self) -> Document:
        """The policy. Raises CannotError."""
        policy = self.policy
        if policy.is_staged or policy.stage is not model.Stage.NORMAL:
            raise CannotError("it is staged, or of hosts only")
        if policy.subject.kinds is None or policy.subject.kinds & {PartyKind.HOST, PartyKind.HOST_ENDPOINT}:
            raise CannotError("it selects hosts too (a namespaceSelector keeps it off them)")
        return self._of_administrators() if self.is_admin else self._of_a_namespace()

    def _of_a_namespace(self) -> Document:
        policy = self.policy
        if policy.tier != DEFAULT_TIER:
            raise CannotError(f"tier {policy.tier} has no counterpart there")
        parts = parts_of(policy.subject.selector, "calico" if not policy.key.cluster else "causeway")
        namespace, spaces = _own_namespace(parts.spaces)
        if not namespace:
            raise CannotError("it is not of one namespace")
        if spaces or parts.accounts:
            raise CannotError("it selects by labels of namespaces or service accounts")
        spec: Document = {"podSelector": _label_selector([n for n in parts.own if not _is_cluster(n)])}
        spec["policyTypes"] = [d.name.capitalize() for d in Direction if d in policy.isolates]
        for direction in Direction:
            rules = policy.rules(direction)
            if rules and direction not in policy.isolates:
                raise CannotError(f"it has {direction.name.lower()} rules and does not isolate")
            if rules:
                spec[direction.name.lower()] = list(self._allowed(rules, direction, namespace))
        if not spec["policyTypes"]:
            raise CannotError("it isolates in no direction")
        meta = {"name": policy.key.name, "namespace": namespace, **_labels(policy)}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}

    def _of_administrators(self) -> Document:
        policy = self.policy
        if policy.isolates or policy.order != int(policy.order) or not 0 <= policy.order <= 1000:
            raise CannotError(f"it isolates, or its order {policy.order:g} is no priority (0-1000)")
        tier = "Admin" if policy.tier == ADMIN_TIER else "Baseline"
        spec: Document = {
            "tier": tier,
            "priority": int(policy.order),
            "subject": {"pods": self._pods(policy.subject)},
        }
        for direction in Direction:
            rules = [self._administered(rule, direction) for rule in policy.rules(direction) or ()]
            if any(rules):
                spec[direction.name.lower()] = [rule for rule in rules if rule]
        meta = {"name": policy.key.name, **_labels(policy)}
        return {
            "apiVersion": "policy.networking.k8s.io/v1alpha2",
            "kind": "ClusterNetworkPolicy",
            "metadata": meta,
            "spec": spec,
        }

    def _allowed(
        self, rules: Iterable[model.Rule], direction: Direction, namespace: str
    ) -> Iterator[Document]:
        for rule in rules:
            pointer = f"/spec/{rule.section}/{rule.index}"
            if rule.action == "Log":
                self.unsaid.append(Unsaid(self.policy.key, pointer, "Log: the rule is left out"))
                continue
            if rule.action != "Allow":
                raise CannotError(f"{pointer} is a {rule.action}")
            try:
                yield self._allow(rule, direction, namespace)
            except CannotError as error:
                self.unsaid.append(Unsaid(self.policy.key, pointer, f"{error}: the rule is left out"))

    def _allow(self, rule: model.Rule, direction: Direction, namespace: str) -> Document:
        peer = _peer(rule, direction)
        found: Document = {}
        if peer.has_peer_terms or rule.ip_version is not None:
            found["from" if direction is Direction.INGRESS else "to"] = list(
                self._peers(rule, peer, namespace)
            )
        if ports := _ports(rule):
            found["ports"] = [
                {"protocol": name}
                | ({} if span is None else {"port": span} if isinstance(span, str) else {"port": span[0]})
                | ({"endPort": span[1]} if isinstance(span, tuple) and span[1] > span[0] else {})
                for name, span in ports
            ]
        return found

    def _peers(self, rule: model.Rule, peer: model.Match, namespace: str) -> Iterator[Document]:
        if peer.selector is None and peer.kinds is None:
            for net, without in _blocks(rule, peer):
                yield {
                    "ipBlock": {"cidr": str(net)} | ({"except": [str(n) for n in without]} if without else {})
                }
            return
        pods = self._pods(peer)
        if pods["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": namespace}}:
            del pods["namespaceSelector"]
        yield pods

    def _administered(self, rule: model.Rule, direction: Direction) -> Document | None:
        pointer = f"/spec/{rule.section}/{rule.index}"
        if rule.action == "Log":
            self.unsaid.append(Unsaid(self.policy.key, pointer, "Log: the rule is left out"))
            return None
        try:
            peer = _peer(rule, direction)
            found: Document = {"action": ADMIN_ACTIONS[rule.action]}
            found["from" if direction is Direction.INGRESS else "to"] = list(
                self._administered_peers(rule, peer, direction)
            )
            if ports := _ports(rule):
                found["protocols"] = [_transport(name, span) for name, span in ports]
        except CannotError as error:
            if rule.action != "Allow":
                raise
            self.unsaid.append(Unsaid(self.policy.key, pointer, f"{error}: the rule is left out"))
            return None
        return found

    def _administered_peers(
        self, rule: model.Rule, peer: model.Match, direction: Direction
    ) -> Iterator[Document]:
        if peer.kinds == model.HOSTS and direction is Direction.EGRESS and peer.near is model.Near.ANY:
            yield {"nodes": _label_selector([_bare_node(node) for node in _conjuncts(peer)])}
        elif peer.selector is None and peer.kinds is None:
            if direction is Direction.INGRESS:
                raise CannotError("it means addresses, which are for egress there")
            blocks = list(_blocks(rule, peer))
            if any(without for _, without in blocks):
                raise CannotError("it excludes prefixes")
            yield {"networks": [str(net) for net, _ in blocks]}
        else:
            yield {"pods": self._pods(peer)}

    def _pods(self, match: model.Match) -> Document:
        """Pods of the same cluster, by labels of their own and of their namespace."""
        is_foreign = match.nets or match.not_nets or match.not_selector or match.services
        if is_foreign or match.near is not model.Near.ANY or match.kinds is None:
            raise CannotError("it asks for more than labels, or for addresses beside labels")
        if (
            PartyKind.WORKLOAD not in match.kinds
            or PartyKind.HOST in match.kinds
            or PartyKind.OUTSIDE in match.kinds
        ):
            raise CannotError("it means others than pods")
        selector = match.selector
        if PartyKind.NETWORK_SET in match.kinds and selector is not None:
            sets = [nets.name for nets in self.world.network_sets if selector.matches(nets.labels)]
            if sets:
                raise CannotError(f"it also means the network set {sets[0]}")
        parts = parts_of(selector, "causeway")
        if parts.accounts:
            raise CannotError("it selects by service accounts")
        spaces = [_space(bare(node, NAMESPACE_LABEL)) for node in parts.spaces]
        own = [node for node in parts.own if not _is_cluster(node)]
        if len(own) != len(parts.own) and not self.policy.key.cluster:
            raise CannotError("it selects by clusters")
        return {"namespaceSelector": _label_selector(spaces), "podSelector": _label_selector(own)}


def _peer(rule: model.Rule, direction: Direction) -> model.Match:
    """The peer, when all else of the rule can be said. Raises CannotError."""
    own, peer = (
        (rule.destination, rule.source) if direction is Direction.INGRESS else (rule.source, rule.destination)
    )
    for is_so, why in (
        (rule.lacks, f"{', '.join(rule.lacks)} is not enforced yet"),
        (rule.icmp or rule.not_icmp or rule.not_protocol, "it asks for ICMP types, or against a protocol"),
        (rule.protocol not in (None, *PROTOCOLS), "its protocol is not TCP, UDP or SCTP"),
        (own.has_peer_terms, "it asks who the subject is"),
        (rule.source.ports or rule.source.not_ports, "it asks for source ports"),
        (peer.kinds is not None and not peer.kinds, "it matches nobody"),
        (rule.ip_version and peer.selector, "it asks for an IP version beside labels"),
    ):
        if is_so:
            raise CannotError(str(why))
    return peer


def _blocks(rule: model.Rule, peer: model.Match) -> Iterator[tuple[Prefix, list[Prefix]]]:
    """Prefixes, each with those that are excluded from it."""
    if peer.not_selector or peer.services or peer.near is not model.Near.ANY or peer.is_same_cluster:
        raise CannotError("it asks for more than addresses")
    versions = {net.version for net in peer.not_nets} or {4, 6}
    if rule.ip_version:
        versions &= {rule.ip_version}
    wanted = [n for n in peer.nets if n.version in versions] or [
        WHOLE[v] for v in sorted(versions) if not peer.nets
    ]
    for net in wanted:
        others = [n for n in peer.not_nets if n.version == net.version]
        if any(net.subnet_of(other) for other in others):  # type: ignore[arg-type]
            continue
        yield net, [other for other in others if other.subnet_of(net)]  # type: ignore[arg-type]


Span = tuple[int, int] | str | None


def _ports(rule: model.Rule) -> list[tuple[str, Span]]:
    """(protocol, port, range or name; None: all of it); nothing when the rule asks for no port and no protocol."""
    wanted, unwanted = rule.destination.ports, rule.destination.not_ports
    names = [str(port) for port in wanted if not numeric((port,))]
    if any(not numeric((port,)) for port in unwanted):
        raise CannotError("it excludes ports by name")
    protocols = list(PROTOCOLS.values()) if rule.protocol is None else [PROTOCOLS[rule.protocol]]
    if not wanted and not unwanted:
        return [] if rule.protocol is None else [(protocols[0], None)]
    if names and unwanted:
        raise CannotError("it excludes ports of ports by name")
    ranges = numeric(wanted) or ([] if wanted else [(1, 65535)])
    spans: list[Span] = [(max(low, 1), high) for low, high in subtract(ranges, numeric(unwanted)) if high]
    return [(protocol, span) for protocol in protocols for span in (*spans, *names)]


def _transport(name: str, span: Span) -> Document:
    if isinstance(span, str):
        return {"destinationNamedPort": span}
    if span is None:
        return {name.lower(): {}}
    port = {"number": span[0]} if span[0] == span[1] else {"range": {"start": span[0], "end": span[1]}}
    return {name.lower(): {"destinationPort": port}}


def _own_namespace(spaces: list[Node]) -> tuple[str, list[Node]]:
    """The one namespace that a policy is of, and what else it asks of namespaces."""
    names = [
        node.value
        for node in spaces
        if isinstance(node, Compare) and node.operator == "==" and node.key == NAMESPACE_LABEL
    ]
    rest: list[Node] = [
        n
        for n in spaces
        if not isinstance(n, All | Compare) or (isinstance(n, Compare) and n.key != NAMESPACE_LABEL)
    ]
    return (names[0], rest) if len(set(names)) == 1 else ("", rest)


def _label_selector(nodes: list[Node]) -> Document:
    """A LabelSelector that all of the conjuncts come to. Raises CannotError."""
    labels: dict[str, str] = {}
    expressions: list[Document] = []
    for node in nodes:
        match node:
            case All():
                continue
            case Compare(key, "==", value) if key not in labels:
                labels[key] = _value(value)
            case Compare(key, "==", value):
                expressions.append({"key": key, "operator": "In", "values": [_value(value)]})
            case Compare(key, "!=", value):
                expressions.append({"key": key, "operator": "NotIn", "values": [_value(value)]})
            case In(key, values, is_negated) if values:
                word = "NotIn" if is_negated else "In"
                expressions.append({"key": key, "operator": word, "values": [_value(v) for v in values]})
            case Has(key):
                expressions.append({"key": key, "operator": "Exists"})
            case Not(Has(key)):
                expressions.append({"key": key, "operator": "DoesNotExist"})
            case _:
                raise CannotError("its selector is more than labels that all hold")
    return ({"matchLabels": labels} if labels else {}) | (
        {"matchExpressions": expressions} if expressions else {}
    )


def _value(value: str) -> str:
    if not LABEL_VALUE.fullmatch(value):
        raise CannotError(f"{value!r} is not a label's value")
    return value


def _space(node: Node) -> Node:
    """A conjunct over a namespace's labels, its name under the label that Kubernetes gives every namespace."""
    name = "kubernetes.io/metadata.name"
    return renamed(node, lambda key: name if key == "projectcalico.org/name" else key)


def _bare_node(node: Node) -> Node:
    """A conjunct over a node's labels as one over the labels that the node has itself."""
    return renamed(node, lambda key: key.removeprefix(NODE))


def _conjuncts(match: model.Match) -> tuple[Node, ...]:
    node = match.selector.node if match.selector else All()
    return node.operands if isinstance(node, And) else (node,)


def _is_cluster(node: Node) -> bool:
    return isinstance(node, Compare) and node.key == CLUSTER_LABEL


def _labels(policy: model.Policy) -> Document:
    return {"labels": {CLUSTER_LABEL: policy.key.cluster}} if policy.key.cluster else {}
