"""The documents of AdminNetworkPolicy, BaselineAdminNetworkPolicy and ClusterNetworkPolicy, field by field.

Source: network-policy-api.sigs.k8s.io, its types of v1alpha1 and v1alpha2.
"""

from dataclasses import dataclass, field

from federation.doors.labels import EVERYTHING, LabelSelector


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
    networks: tuple[str, ...] | None = None
    domain_names: tuple[str, ...] | None = None


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
    priority: int | None = None
    """Of all but the baseline of v1alpha1, which is one. Lower first."""
    tier: str = ""
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
