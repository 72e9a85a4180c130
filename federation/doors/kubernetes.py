"""Kubernetes' NetworkPolicy (networking.k8s.io/v1) into the model.

All of them live in the tier `default` at order 1000 and only allow, so that their union is what a subject gets, and the
tier's end is the isolation. Source: the Kubernetes API, networking/v1, and its concepts page "Network Policies".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from federation.doors.labels import EVERYTHING, LabelSelector, namespace_key, selector_faults, selector_from
from federation.errors import Fault
from federation.identities import CLUSTER_LABEL, NAMESPACE_LABEL
from federation.policy import model
from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.selectors import Selector, and_, equals

TIER, ORDER = "default", 1000.0
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPort:
    """Port of a rule: a number (to `end_port`), a name, or every port of the protocol."""

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IpBlock:
    """Prefix without some prefixes; matches pods' addresses too."""

    cidr: str
    except_: tuple[str, ...] = field(default=(), metadata={"json": "except"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Either an ipBlock, or selectors."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IpBlock | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressRule:
    """Whoever, when `from` is empty or absent."""

    from_: tuple[Peer, ...] = field(default=(), metadata={"json": "from"})
    ports: tuple[PolicyPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRule:
    """To whoever, when `to` is empty or absent."""

    to: tuple[Peer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicySpec:
    """Spec of a NetworkPolicy."""

    pod_selector: LabelSelector = EVERYTHING
    policy_types: tuple[str, ...] = ()
    ingress: tuple[IngressRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedSpec(NetworkPolicySpec):
    """Spec of Calico's StagedKubernetesNetworkPolicy."""

    staged_action: str = "Set"


def staged_faults(spec: StagedSpec) -> Iterable[Fault]:
    """As `faults`, and the action."""
    yield from faults(spec)
    if spec.staged_action not in ("Set", "Delete", "Learn", "Ignore"):
        yield Fault("/spec/stagedAction", "is not one of Set, Delete, Learn, Ignore")


def staged_policy_of(key: ObjectKey, spec: StagedSpec) -> model.Policy:
    """The model's policy of a checked staged spec."""
    return replace(policy_of(key, spec), staged_action=spec.staged_action)


def faults(spec: NetworkPolicySpec) -> Iterable[Fault]:
    """What Kubernetes' API would refuse."""
    yield from selector_faults("/spec/podSelector", spec.pod_selector)
    for index, word in enumerate(spec.policy_types):
        if word not in ("Ingress", "Egress"):
            yield Fault(f"/spec/policyTypes/{index}", f"{word!r} is not one of Ingress, Egress")
    for section, field_name, rules in (
        ("ingress", "from", [(r.from_, r.ports) for r in spec.ingress]),
        ("egress", "to", [(r.to, r.ports) for r in spec.egress]),
    ):
        for index, (peers, ports) in enumerate(rules):
            at = f"/spec/{section}/{index}"
            for number, port in enumerate(ports):
                yield from _port_faults(f"{at}/ports/{number}", port)
            for number, peer in enumerate(peers):
                yield from _peer_faults(f"{at}/{field_name}/{number}", peer)


def policy_of(key: ObjectKey, spec: NetworkPolicySpec) -> model.Policy:
    """The model's policy of a checked spec."""
    types = set(spec.policy_types) or ({"Ingress", "Egress"} if spec.egress else {"Ingress"})
    selector = and_(selector_from(spec.pod_selector), equals(NAMESPACE_LABEL, key.namespace))
    if key.cluster:
        selector = and_(selector, equals(CLUSTER_LABEL, key.cluster))
    ingress = [(rule.from_, rule.ports) for rule in spec.ingress]
    egress = [(rule.to, rule.ports) for rule in spec.egress]
    names = {"Ingress": Direction.INGRESS, "Egress": Direction.EGRESS}
    return model.Policy(
        key=key,
        tier=TIER,
        order=ORDER,
        subject=model.Match(kinds=model.WORKLOADS, selector=selector),
        isolates=frozenset(names[word] for word in types),
        ingress=tuple(_rules("ingress", ingress, key)) if "Ingress" in types else None,
        egress=tuple(_rules("egress", egress, key)) if "Egress" in types else None,
    )


def _rules(
    section: str, rules: list[tuple[tuple[Peer, ...], tuple[PolicyPort, ...]]], key: ObjectKey
) -> Iterator[model.Rule]:
    for index, (peers, ports) in enumerate(rules):
        ends = [match_of(peer, key.namespace) for peer in peers] or [model.ANYONE]
        for end, (protocol, wanted) in product(ends, port_groups(ports)):
            destination = model.Match(ports=wanted)
            if section == "ingress":
                source = end
            else:
                source, destination = model.ANYONE, with_ports(end, wanted)
            yield model.Rule(
                action="Allow",
                index=index,
                section=section,
                protocol=protocol,
                source=source,
                destination=destination,
            )


def with_ports(end: model.Match, ports: tuple[int | str, ...]) -> model.Match:
    """The same end, at these ports."""
    return model.Match(
        kinds=end.kinds, selector=end.selector, nets=end.nets, not_nets=end.not_nets, ports=ports,
        is_same_cluster=end.is_same_cluster, near=end.near,
    )  # fmt: skip


def port_groups(ports: Iterable[PolicyPort]) -> list[tuple[int | None, tuple[int | str, ...]]]:
    """One group per protocol: its number and its ports (none: all of them). No ports at all: any protocol."""
    groups: dict[int, list[int | str]] = {}
    whole: set[int] = set()
    for port in ports:
        protocol = PROTOCOLS[port.protocol]
        listed = groups.setdefault(protocol, [])
        if port.port is None:
            whole.add(protocol)
        else:
            listed.append(f"{port.port}:{port.end_port}" if port.end_port is not None else port.port)
    return [(p, () if p in whole else tuple(listed)) for p, listed in groups.items()] or [(None, ())]


def match_of(peer: Peer, namespace: str) -> model.Match:
    """Whom a peer means; a peer without namespaceSelector means the policy's namespace."""
    if peer.ip_block is not None:
        block = peer.ip_block
        return model.Match(
            nets=(network_of(block.cidr),), not_nets=tuple(network_of(cidr) for cidr in block.except_)
        )
    return pods(peer.pod_selector, peer.namespace_selector, namespace)


def pods(
    pod_selector: LabelSelector | None, namespace_selector: LabelSelector | None, namespace: str
) -> model.Match:
    """Pods of the same cluster, by their labels and by those of their namespace."""
    selector: Selector = selector_from(pod_selector or LabelSelector())
    if namespace_selector is None:
        selector = and_(selector, equals(NAMESPACE_LABEL, namespace))
    else:
        selector = and_(selector, selector_from(namespace_selector, namespace_key))
    return model.Match(kinds=model.WORKLOADS, selector=selector, is_same_cluster=True)


def network_of(text: str) -> IPv4Network | IPv6Network:
    """The prefix that `address/length` writes, host bits allowed (an address alone is itself). Raises ValueError."""
    address, slash, length = text.partition("/")
    if "%" in address or (slash and not (length.isascii() and length.isdecimal())):
        raise ValueError(f"{text!r} is not a prefix")
    return ip_network(text, strict=False)


def _port_faults(pointer: str, port: PolicyPort) -> Iterable[Fault]:
    if port.protocol not in PROTOCOLS:
        yield Fault(f"{pointer}/protocol", f"{port.protocol!r} is not one of TCP, UDP, SCTP")
    if isinstance(port.port, int) and not 1 <= port.port <= 65535:
        yield Fault(f"{pointer}/port", f"{port.port} is not in 1-65535")
    if isinstance(port.port, str):
        yield from name_faults(f"{pointer}/port", port.port)
    if port.end_port is not None:
        if not isinstance(port.port, int):
            yield Fault(f"{pointer}/endPort", "needs a number as port")
        elif not port.port <= port.end_port <= 65535:
            yield Fault(f"{pointer}/endPort", f"{port.end_port} is not in {port.port}-65535")


def name_faults(pointer: str, name: str) -> Iterable[Fault]:
    """A port's name is an IANA service name: at most 15 lower-case letters, digits and '-', a letter among them."""
    plain = name.replace("-", "")
    is_fine = plain.isascii() and plain.isalnum() and name == name.lower() and len(name) <= 15
    if not is_fine or not any(c.isalpha() for c in name) or name[0] == "-" or name[-1] == "-" or "--" in name:
        yield Fault(pointer, f"{name!r} is not a port's name (IANA service name, 15 characters at most)")


def _peer_faults(pointer: str, peer: Peer) -> Iterable[Fault]:
    has_selectors = peer.pod_selector is not None or peer.namespace_selector is not None
    if peer.ip_block is not None and has_selectors:
        yield Fault(f"{pointer}/ipBlock", "stands alone: no selectors beside it")
    if peer.ip_block is None and not has_selectors:
        yield Fault(pointer, "one of podSelector, namespaceSelector, ipBlock is needed")
    yield from selector_faults(f"{pointer}/podSelector", peer.pod_selector)
    yield from selector_faults(f"{pointer}/namespaceSelector", peer.namespace_selector)
    if peer.ip_block is not None:
        yield from block_faults(f"{pointer}/ipBlock", peer.ip_block)


def block_faults(pointer: str, block: IpBlock) -> Iterable[Fault]:
    """A prefix, and exceptions that lie inside it and are smaller."""
    try:
        whole = network_of(block.cidr)
    except ValueError:
        yield Fault(f"{pointer}/cidr", f"{block.cidr!r} is not a prefix")
        return
    if "/" not in block.cidr:
        yield Fault(f"{pointer}/cidr", f"{block.cidr!r} has no length: write {whole}")
    for index, text in enumerate(block.except_):
        try:
            part = network_of(text)
        except ValueError:
            yield Fault(f"{pointer}/except/{index}", f"{text!r} is not a prefix")
            continue
        if part.version != whole.version or not part.subnet_of(whole) or part == whole:  # type: ignore[arg-type]
            yield Fault(f"{pointer}/except/{index}", f"{part} is not a part of {whole}")
