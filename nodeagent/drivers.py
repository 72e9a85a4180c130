"""What a node is to be, part by part, and the seam to the drivers that make it so.

Each part is one frozen value handed over whole. A driver observes the kernel, plans the smallest change (pure), applies
it, and reports per object; it never raises for one object's sake.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import Protocol, TypeVar

from federation.identities import IdentityNumber
from federation.policy.tables import Tables
from tunnels.peers import TunnelPeer

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReport:
    """What became of one object. `key` is for people: `route 10.20.1.0/24`, `filter cw1a2b ingress`, `map classes`."""

    key: str
    is_ok: bool
    reason: str = ""
    """Stable word when not ok: an error's `code`."""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A local endpoint's place in the datapath."""

    endpoint: str
    """ObjectKey.path."""
    interface: str
    class_number: int
    identity: IdentityNumber
    addresses: tuple[Address, ...]
    mac: bytes = b""
    """Six bytes: what it sends comes from there; none: from anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredPolicy:
    """For the verdict driver."""

    tables: Tables = field(default_factory=Tables)
    addresses: Mapping[Address, IdentityNumber] = field(default_factory=dict)
    """Identity of every known endpoint of every visible cluster, of this node's own addresses (HOST) and other nodes' (REMOTE_NODE)."""
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredTunnels:
    """For the WireGuard driver. With no peers the interface is removed."""

    address: IPv4Interface | None = None
    listen_port: int = 51820
    peers: tuple[TunnelPeer, ...] = ()
    mtu: int = 1420


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredRoutes:
    """For the route driver: destinations that go into the tunnel interface."""

    via_tunnel: tuple[IPv4Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Everything, for one node, at one revision."""

    revision: int = 0
    policy: DesiredPolicy = field(default_factory=DesiredPolicy)
    tunnels: DesiredTunnels = field(default_factory=DesiredTunnels)
    routes: DesiredRoutes = field(default_factory=DesiredRoutes)
    faults: tuple[ObjectReport, ...] = ()
    """What of the state this node cannot carry out, found while deciding; trying again does not help."""


D = TypeVar("D", contravariant=True)


class Driver(Protocol[D]):
    """Makes one part of a node so. Blocking; called from one thread only."""

    def converge(self, desired: D) -> tuple[ObjectReport, ...]:
        """Observe, plan, apply. One report per object that was touched or is wrong. Raises DriverError or PlatformLack only when nothing of
        the part can be done (no rights, feature missing)."""
        ...

    def withdraw(self) -> tuple[ObjectReport, ...]:
        """Remove every object of ours (owner mark), and nothing else. For `causeway agent --remove` and the lab."""
        ...


class TunnelsDriver(Driver[DesiredTunnels], Protocol):
    """Makes tunnels, whose other ends are other machines'."""

    def settle(self) -> bool:
        """Whether what was made works, or was waited for long enough; asked again in a moment when not. Never raises."""
        ...
