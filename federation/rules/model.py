"""The rules that policies of both kinds are made of: Calico's field names, Calico's meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

Prefix = IPv4Network | IPv6Network
DEFAULT_TIER = "default"
Port = int | str
"""A number, a range "8000:9000", or the name of an endpoint's port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpMatch:
    """ICMP type and code; None matches every."""

    type: int | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountMatch:
    """Service accounts by name and by label; both must hold."""

    names: tuple[str, ...] = ()
    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMatch:
    """The backends of a Kubernetes Service."""

    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPath:
    """One of the two."""

    exact: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMatch:
    """HTTP methods and paths (carried: not enforced in this release)."""

    methods: tuple[str, ...] = ()
    paths: tuple[HttpPath, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMetadata:
    """Notes on a rule; they mean nothing to policy."""

    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityRule:
    """One side of a rule. All fields that are set must match."""

    nets: tuple[Prefix, ...] = ()
    not_nets: tuple[Prefix, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    service_accounts: ServiceAccountMatch | None = None
    services: ServiceMatch | None = None
    domains: tuple[str, ...] = ()
    """DNS names (carried: not enforced in this release)."""
    ports: tuple[Port, ...] = ()
    not_ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a policy."""

    action: str
    """Allow, Deny, Pass or Log."""
    ip_version: int | None = field(default=None)
    protocol: int | str | None = None
    """TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or 1-255."""
    not_protocol: int | str | None = None
    icmp: IcmpMatch | None = None
    not_icmp: IcmpMatch | None = field(default=None, metadata={"json": "notICMP"})
    source: EntityRule = EntityRule()
    destination: EntityRule = EntityRule()
    http: HttpMatch | None = None
    metadata: RuleMetadata | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """Spec of GlobalNetworkPolicy, NetworkPolicy and their staged kinds.

    `types` is inferred at the door when absent: Ingress unless there are only egress rules; Egress when there are egress
    rules. In a NetworkPolicy `namespaceSelector` and `global()` on the policy itself are refused.
    """

    tier: str = DEFAULT_TIER
    """Empty is the default one."""
    order: float | None = None
    """Lower first; without one, last."""
    selector: str = ""
    """Empty is `all()`."""
    namespace_selector: str = ""
    service_account_selector: str = ""
    types: tuple[str, ...] = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    do_not_track: bool = False
    """Of host endpoints: before connection tracking, so replies need rules of their own."""
    pre_dnat: bool = field(default=False, metadata={"json": "preDNAT"})
    """Of host endpoints: before destinations are translated."""
    apply_on_forward: bool = False
    """Of host endpoints: also for what passes through the host."""
    performance_hints: tuple[str, ...] = ()
    staged_action: str = ""
    """Of staged kinds: Set, Delete, Learn or Ignore."""
