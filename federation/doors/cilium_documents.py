"""The documents of CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and CiliumCIDRGroup (cilium.io/v2), field by field.

Source: Cilium's documentation, "Network Policy", and its CRDs. Lists that are absent (None) and empty mean different things.
"""

from dataclasses import dataclass, field
from typing import Any

from federation.doors.labels import LabelSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class CidrRule:
    """A prefix, or a group of prefixes, without some."""

    cidr: str = ""
    cidr_group_ref: str = ""
    cidr_group_selector: LabelSelector | None = None
    except_: tuple[str, ...] = field(default=(), metadata={"json": "except"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PortProtocol:
    """`port` is a number or name in text; "0" is every port."""

    port: str | int = ""
    end_port: int | None = None
    protocol: str = "ANY"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRule:
    """One of the two."""

    match_name: str = ""
    match_pattern: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class L7Rules:
    """What a proxy would look at (carried). `kafka`, `l7` and `l7proto` are gone from Cilium, and still close a rule here."""

    http: tuple[Any, ...] = ()
    dns: tuple[DnsRule, ...] = ()
    kafka: tuple[Any, ...] = ()
    l7proto: str = ""
    l7: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRule:
    """Ports, and what goes beyond them (carried: not enforced in this release)."""

    ports: tuple[PortProtocol, ...] = ()
    rules: L7Rules = L7Rules()
    server_names: tuple[str, ...] = ()
    terminating_tls: Any = field(default=None, metadata={"json": "terminatingTLS"})
    originating_tls: Any = field(default=None, metadata={"json": "originatingTLS"})
    listener: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpField:
    """`type` is a number or a name."""

    type: int | str
    family: str = "IPv4"


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpRule:
    """Any of the fields."""

    fields: tuple[IcmpField, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """`mode`: disabled, required or test-always-fail."""

    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressRule:
    """At most one kind of peers; no kind at all: whoever."""

    from_endpoints: tuple[LabelSelector, ...] | None = None
    from_cidr: tuple[str, ...] | None = field(default=None, metadata={"json": "fromCIDR"})
    from_cidr_set: tuple[CidrRule, ...] | None = field(default=None, metadata={"json": "fromCIDRSet"})
    from_entities: tuple[str, ...] | None = None
    from_nodes: tuple[LabelSelector, ...] | None = None
    from_groups: tuple[Any, ...] | None = None
    from_requires: Any = None
    to_ports: tuple[PortRule, ...] = ()
    icmps: tuple[IcmpRule, ...] = ()
    authentication: Authentication | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceName:
    """A service by name."""

    service_name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSelector:
    """Services by their labels."""

    selector: LabelSelector
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRule:
    """One of the two."""

    k8s_service: ServiceName | None = None
    k8s_service_selector: ServiceSelector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FqdnRule:
    """One of the two (carried: not enforced in this release)."""

    match_name: str = ""
    match_pattern: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRule:
    """At most one kind of peers; no kind at all: whoever."""

    to_endpoints: tuple[LabelSelector, ...] | None = None
    to_cidr: tuple[str, ...] | None = field(default=None, metadata={"json": "toCIDR"})
    to_cidr_set: tuple[CidrRule, ...] | None = field(default=None, metadata={"json": "toCIDRSet"})
    to_entities: tuple[str, ...] | None = None
    to_nodes: tuple[LabelSelector, ...] | None = None
    to_services: tuple[ServiceRule, ...] | None = None
    to_fqdns: tuple[FqdnRule, ...] | None = field(default=None, metadata={"json": "toFQDNs"})
    to_groups: tuple[Any, ...] | None = None
    to_requires: Any = None
    to_ports: tuple[PortRule, ...] = ()
    icmps: tuple[IcmpRule, ...] = ()
    authentication: Authentication | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultDeny:
    """None: as the rules say."""

    ingress: bool | None = None
    egress: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CiliumSpec:
    """One rule of Cilium: what we call a policy. Exactly one selector."""

    endpoint_selector: LabelSelector | None = None
    node_selector: LabelSelector | None = None
    ingress: tuple[IngressRule, ...] | None = None
    ingress_deny: tuple[IngressRule, ...] | None = None
    egress: tuple[EgressRule, ...] | None = None
    egress_deny: tuple[EgressRule, ...] | None = None
    enable_default_deny: DefaultDeny = DefaultDeny()
    labels: Any = None
    description: str = ""
    log: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CidrGroupSpec:
    """Spec of CiliumCIDRGroup."""

    external_cidrs: tuple[str, ...] = field(default=(), metadata={"json": "externalCIDRs"})


ICMP_TYPES: dict[str, dict[str, int]] = {
    "IPv4": {
        "EchoReply": 0, "DestinationUnreachable": 3, "Redirect": 5, "Echo": 8, "EchoRequest": 8, "RouterAdvertisement": 9,
        "RouterSelection": 10, "TimeExceeded": 11, "ParameterProblem": 12, "Timestamp": 13, "TimestampReply": 14, "Photuris": 40,
        "ExtendedEchoRequest": 42, "ExtendedEchoReply": 43,
    },
    "IPv6": {
        "DestinationUnreachable": 1, "PacketTooBig": 2, "TimeExceeded": 3, "ParameterProblem": 4, "EchoRequest": 128, "EchoReply": 129,
        "MulticastListenerQuery": 130, "MulticastListenerReport": 131, "MulticastListenerDone": 132, "RouterSolicitation": 133,
        "RouterAdvertisement": 134, "NeighborSolicitation": 135, "NeighborAdvertisement": 136, "RedirectMessage": 137,
        "RouterRenumbering": 138, "ICMPNodeInformationQuery": 139, "ICMPNodeInformationResponse": 140,
        "InverseNeighborDiscoverySolicitation": 141, "InverseNeighborDiscoveryAdvertisement": 142, "HomeAgentAddressDiscoveryRequest": 144,
        "HomeAgentAddressDiscoveryReply": 145, "MobilePrefixSolicitation": 146, "MobilePrefixAdvertisement": 147,
        "DuplicateAddressRequestCodeSuffix": 157, "DuplicateAddressConfirmationCodeSuffix": 158, "ExtendedEchoRequest": 160,
        "ExtendedEchoReply": 161,
    },
}  # fmt: skip
"""Cilium's names of ICMP types, by family (IANA's registries)."""
PROTOCOLS = {
    "TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPV6": 58, "VRRP": 112, "IGMP": 2, "GRE": 47, "IPIP": 4, "IPV6": 41, "ESP": 50, "AH": 51,
}  # fmt: skip
WITHOUT_PORTS = {"ICMP", "ICMPV6", "VRRP", "IGMP", "GRE", "IPIP", "IPV6", "ESP", "AH"}
ENTITIES = (
    "all", "world", "world-ipv4", "world-ipv6", "cluster", "cluster-mesh", "host", "remote-node", "kube-apiserver", "ingress", "health",
    "init", "unmanaged", "none",
)  # fmt: skip
