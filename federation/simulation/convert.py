"""The model's policies as documents of another world, with a list of what cannot be said there. Never wider: a line that cannot be said is
left out when it allows, and the whole policy when it denies or passes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isinf
from typing import Any

from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL
from federation.policy import model
from federation.policy.model import PartyKind
from federation.policy.resolution import BUILT_IN
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.selectors import Selector
from federation.selectors.tree import All, And, Compare, Has, Node, keys_of, renamed, text_of

VERSIONS = {"causeway": "causeway.dev/v1", "calico": "projectcalico.org/v3"}
PROTOCOL_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDPLite"}
SPECIAL = ("node.causeway.dev/", "cluster.causeway.dev/")


@dataclass(frozen=True, slots=True)
class Unsaid:
    """Something of a policy that the target cannot say."""

    policy: ObjectKey
    pointer: str
    why: str


class CannotError(Exception):
    """This part cannot be said there."""


def convert(policies: Iterable[model.Policy], to: str) -> tuple[list[dict[str, Any]], list[Unsaid]]:
    """Documents of `causeway` or `calico`, and what is missing in them."""
    documents: list[dict[str, Any]] = []
    unsaid: list[Unsaid] = []
    tiers: set[str] = set()
    taken: dict[tuple[str, str, str], int] = {}
    for policy in policies:
        try:
            document = _policy(policy, to, unsaid)
        except CannotError as error:
            unsaid.append(Unsaid(policy.key, "/spec", f"{error}: the policy is left out"))
            continue
        meta = document["metadata"]
        place = (document["kind"], meta.get("namespace", ""), meta["name"])
        taken[place] = taken.get(place, 0) + 1
        if taken[place] > 1:
            meta["name"] += f"-{taken[place]}"
        documents.append(document)
        tiers.add(policy.tier)
    named = [_tier(name, to) for name in sorted(tiers) if name in BUILT_IN and name != "default"]
    return [*named, *documents], unsaid


def _tier(name: str, to: str) -> dict[str, Any]:
    order, is_passing = BUILT_IN[name]
    spec = {"order": order, "defaultAction": "Pass" if is_passing else "Deny"}
    return {"apiVersion": VERSIONS[to], "kind": "Tier", "metadata": {"name": name}, "spec": spec}


def _policy(policy: model.Policy, to: str, unsaid: list[Unsaid]) -> dict[str, Any]:
    subject = policy.subject
    if subject.kinds is None or PartyKind.WORKLOAD not in subject.kinds:
        raise CannotError("it selects hosts by their nodes' labels")
    parts = parts_of(subject.selector, to)
    spec: dict[str, Any] = {"tier": policy.tier}
    if not isinf(policy.order):
        spec["order"] = policy.order - (1 if policy.phase < 0 else 0)
    kind, meta = "GlobalNetworkPolicy", {"name": policy.key.name}
    if policy.key.namespace:
        kind, meta["namespace"] = "NetworkPolicy", policy.key.namespace
        _drop_own_namespace(parts, policy.key.namespace)
    elif PartyKind.HOST_ENDPOINT not in subject.kinds:
        parts.spaces = parts.spaces or [All()]
    if policy.key.cluster:
        meta["cluster"] = policy.key.cluster
    is_global = kind == "GlobalNetworkPolicy"
    for name, nodes in (
        ("selector", parts.own),
        ("namespaceSelector", [bare(n, NAMESPACE_LABEL) for n in parts.spaces] if is_global else []),
        ("serviceAccountSelector", [bare(n, SERVICE_ACCOUNT_LABEL) for n in parts.accounts]),
    ):
        if nodes:
            spec[name] = _text(nodes)
    spec["types"] = []
    for direction, word in ((Direction.INGRESS, "ingress"), (Direction.EGRESS, "egress")):
        if _applies(policy, direction, word):
            spec["types"].append(word.capitalize())
            rules = policy.rules(direction) or ()
            spec[word] = [rule for line in rules for rule in _rule(policy, line, to, unsaid)]
    return {"apiVersion": VERSIONS[to], "kind": kind, "metadata": meta, "spec": spec}


def _drop_own_namespace(parts: "Parts", namespace: str) -> None:
    """A policy of a namespace means it without saying so."""
    parts.spaces = [node for node in parts.spaces if node != Compare(NAMESPACE_LABEL, "==", namespace)]
    if parts.spaces:
        raise CannotError("it is of one namespace and selects by namespaces' labels")


def _applies(policy: model.Policy, direction: Direction, word: str) -> bool:
    """Whether the document has a direction. A policy that has rules and does not isolate needs a tier that passes; Cilium's
    denials are isolated by their allowing half."""
    rules = policy.rules(direction)
    if not rules and direction not in policy.isolates:
        return False
    is_passing = BUILT_IN.get(policy.tier, (0.0, False))[1]
    if direction not in policy.isolates and not is_passing and policy.phase >= 0:
        raise CannotError(f"it does not isolate {word}, and tier {policy.tier} denies what nothing matched")
    return True


def _rule(policy: model.Policy, line: model.Rule, to: str, unsaid: list[Unsaid]) -> Iterator[dict[str, Any]]:
    pointer = f"/spec/{line.section}/{line.index}"
    if line.lacks and line.action != "Deny":
        unsaid.append(
            Unsaid(policy.key, pointer, f"{', '.join(line.lacks)} is not enforced yet: the rule is left out")
        )
        return
    try:
        rule = _fields(policy, line, to)
    except CannotError as error:
        if line.action != "Allow":
            raise
        unsaid.append(Unsaid(policy.key, pointer, f"{error}: the rule is left out"))
        return
    yield rule


def _fields(policy: model.Policy, line: model.Rule, to: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"action": line.action}
    if line.ip_version is not None:
        rule["ipVersion"] = line.ip_version
    for name, number in (("protocol", line.protocol), ("notProtocol", line.not_protocol)):
        if number is not None:
            rule[name] = PROTOCOL_NAMES.get(number, number)
    for name, icmp in (("icmp", line.icmp), ("notICMP", line.not_icmp)):
        if icmp is not None:
            rule[name] = {k: v for k, v in (("type", icmp.type), ("code", icmp.code)) if v is not None}
    is_namespaced = bool(policy.key.namespace)
    for name, end in (("source", line.source), ("destination", line.destination)):
        if end != model.ANYONE:
            _refuse(end, to, is_namespaced=is_namespaced, is_destination=name == "destination")
            rule[name] = _end(end, to)
    return rule


def _refuse(end: model.Match, to: str, *, is_namespaced: bool, is_destination: bool) -> None:
    """Raise for an end that has no counterpart there."""
    kinds = end.kinds
    has_service_ports = any(service.has_ports is not is_destination for service in end.services)
    for is_so, why in (
        (end.near is not model.Near.ANY or kinds == model.HOSTS, "it means hosts"),
        (kinds is not None and not kinds, "it matches nobody"),
        (kinds == model.OUTSIDE, "it means addresses that are nobody's, and there prefixes match endpoints too"),
        (kinds is not None and PartyKind.HOST in kinds, "it means workloads and hosts at once"),
        (end.is_same_cluster and not is_namespaced and to == "causeway", "it means the subject's own cluster, and a GlobalNetworkPolicy reaches all"),
        (len(end.services) > 1 or has_service_ports or bool(end.services and end.ports), "it means a service's backends at other ports than the service's"),
    ):  # fmt: skip
        if is_so:
            raise CannotError(why)


def _end(end: model.Match, to: str) -> dict[str, Any]:
    parts = parts_of(end.selector, to)
    if end.kinds == model.WORKLOADS:
        parts.spaces = parts.spaces or [All()]
        if to == "calico":
            parts.own.append(Compare("projectcalico.org/orchestrator", "==", "k8s"))
    found: dict[str, Any] = {}
    if parts.own:
        found["selector"] = _text(parts.own)
    if parts.spaces:
        found["namespaceSelector"] = _text([bare(node, NAMESPACE_LABEL) for node in parts.spaces])
    if parts.accounts:
        found["serviceAccounts"] = {
            "selector": _text([bare(n, SERVICE_ACCOUNT_LABEL) for n in parts.accounts])
        }
    if end.not_selector is not None:
        found["notSelector"] = end.not_selector.text
    found |= {
        name: [str(net) for net in nets]
        for name, nets in (("nets", end.nets), ("notNets", end.not_nets))
        if nets
    }
    found |= {
        name: list(ports) for name, ports in (("ports", end.ports), ("notPorts", end.not_ports)) if ports
    }
    if end.services:
        found["services"] = {"name": end.services[0].name, "namespace": end.services[0].namespace}
    return found


@dataclass(slots=True)
class Parts:
    """A selector's conjuncts, by whose labels they ask."""

    own: list[Node]
    spaces: list[Node]
    accounts: list[Node]


def parts_of(selector: Selector | None, to: str) -> Parts:
    """The conjuncts of a selector. Raises CannotError for what the target has no place for."""
    parts = Parts([], [], [])
    if selector is None or isinstance(selector.node, All):
        return parts
    for node in selector.node.operands if isinstance(selector.node, And) else (selector.node,):
        owners = {_owner(key) for key in keys_of(node)}
        if len(owners) > 1:
            raise CannotError("one selector asks labels of different owners in one alternative")
        owner = owners.pop() if owners else "own"
        if owner == "other" or (owner == "cluster" and to == "calico"):
            raise CannotError("it selects by labels of clusters or nodes")
        if owner == "space":
            if node != Has(NAMESPACE_LABEL):
                parts.spaces.append(node)
            elif not parts.spaces:
                parts.spaces.append(All())
        elif owner == "account":
            parts.accounts.append(node)
        else:
            parts.own.append(node)
    return parts


def _owner(key: str) -> str:
    if key == NAMESPACE_LABEL or key.startswith(f"{NAMESPACE_LABEL}/label/"):
        return "space"
    if key == SERVICE_ACCOUNT_LABEL or key.startswith(f"{SERVICE_ACCOUNT_LABEL}/label/"):
        return "account"
    if key == CLUSTER_LABEL:
        return "cluster"
    return "other" if key.startswith(SPECIAL) else "own"


def bare(node: Node, label: str) -> Node:
    """A conjunct over inherited labels as one over the labels of the namespace or service account itself."""

    def key(name: str) -> str:
        return "projectcalico.org/name" if name == label else name.removeprefix(f"{label}/label/")

    return renamed(node, key)


def _text(nodes: list[Node]) -> str:
    listed = [node for node in nodes if not isinstance(node, All)]
    if not listed:
        return "all()"
    return text_of(listed[0] if len(listed) == 1 else And(tuple(listed)))
