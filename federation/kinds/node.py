"""Node: a host that runs the agent, created by enrolment; its agent keeps the WireGuard facts current. Relay: stands between a cluster's nodes and the
control plane; declared by users, who say by which names it is asked, then joined."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from federation.access.rights import Right
from federation.errors import Fault, shown
from federation.resources.grammar import NAME
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySpec:
    """What its certificate is good for."""

    names: tuple[str, ...]
    """Names and addresses that nodes ask it by. Whoever holds its key can pass for a server of these names: give none that are another's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatus:
    """What joining left."""

    enrolment: str = ""
    """As a node's."""


Relay = Resource[RelaySpec, RelayStatus]


def check(node: Node) -> Iterable[Fault]:
    """The operating system is one that has an agent."""
    if node.spec.os not in ("linux", "windows"):
        yield Fault("/spec/os", f"{node.spec.os!r} is not one of linux, windows")


def check_relay(relay: Relay) -> Iterable[Fault]:
    """It is asked by something that can stand in a certificate."""
    if not relay.spec.names:
        yield Fault("/spec/names", "at least one name or address is needed")
    for index, name in enumerate(relay.spec.names):
        if not NAME.fullmatch(name) and not _is_address(name):
            yield Fault(f"/spec/names/{index}", f"{shown(name)} is neither a name nor an address")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


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
RELAY_KIND = Kind(
    name="Relay",
    plural="relays",
    short_names=(),
    scope=Scope.CLUSTER,
    spec=RelaySpec,
    right=Right.NETWORK,
    status=RelayStatus,
    check=check_relay,
    columns=(
        Column(title="NAMES", value=lambda r: ",".join(r.spec.names)),
        Column(title="JOINED", value=lambda r: "yes" if r.status.enrolment else "no"),
    ),
)
