"""Node: a host that runs the agent. Created by enrolment; its agent keeps the WireGuard facts current."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from federation.access.rights import Right
from federation.errors import Fault
from federation.resources.kind import Column, Kind
from federation.resources.metadata import Condition, Resource, Scope

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class WireguardSpec:
    """What other nodes need to reach this one through WireGuard. The private key never leaves the node."""

    public_key: str
    """Base64, 44 characters."""
    listen_port: int = 51820


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """Where the node is and which endpoints' prefixes it carries."""

    addresses: tuple[Address, ...] = ()
    """Underlay addresses, the one that peers use first."""
    pod_prefixes: tuple[Prefix, ...] = ()
    """Inside the cluster's prefixes, disjoint from every other node's."""
    os: str = "linux"
    wireguard: WireguardSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What the control plane allotted and last heard."""

    conditions: tuple[Condition, ...] = ()
    tunnel_address: str = ""
    """The node's own address inside tunnels, from the federation's tunnel prefix (100.64.0.0/10 unless configured)."""
    enforced_revision: int = 0
    """Newest revision that the node's kernel enforces, by its own report. Filled in on reading, not part of the stream."""
    last_report: str = ""
    """RFC 3339."""
    enrolment: str = ""
    """Which enrolment of the node its certificates have to be of; empty: none is good."""


Node = Resource[NodeSpec, NodeStatus]


def check(node: Node) -> Iterable[Fault]:
    """The operating system is one that has an agent."""
    if node.spec.os not in ("linux", "windows"):
        yield Fault("/spec/os", f"{node.spec.os!r} is not one of linux, windows")


KIND = Kind(
    name="Node",
    plural="nodes",
    short_names=("no",),
    scope=Scope.CLUSTER,
    spec=NodeSpec,
    right=Right.NETWORK,
    status=NodeStatus,
    check=check,
    columns=(
        Column(title="ADDRESSES", value=lambda r: ",".join(map(str, r.spec.addresses))),
        Column(title="POD PREFIXES", value=lambda r: ",".join(map(str, r.spec.pod_prefixes))),
        Column(title="ENFORCED", value=lambda r: str(r.status.enforced_revision)),
        Column(title="TUNNEL ADDRESS", value=lambda r: r.status.tunnel_address, wide=True),
    ),
)
