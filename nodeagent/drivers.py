"""What a node is to be, part by part, and the seam to the drivers that make it so.

Each part is one frozen value handed over whole. A driver observes the kernel, plans the smallest change (pure), applies
it, and reports per object; it never raises for one object's sake.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Protocol, TypeVar

from federation.identities import IdentityNumber
from federation.policy.tables import HostClasses, Tables
from tunnels.peers import TunnelPeer

Address = IPv4Address | IPv6Address
DRIFT = "drift"
"""Reason of a report: the kernel moved without us, and was put right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReport:
    """What became of one object. `key` is for people: `route 10.20.1.0/24`, `filter cw1a2b ingress`, `map classes`."""

    key: str
    is_ok: bool
    reason: str = ""
    """Stable word when not ok: an error's `code`; DRIFT when it is ok again, and was altered by hand."""
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
class HostAttachment:
    """A host endpoint of this node, and its lists."""

    host_endpoint: str
    """ObjectKey.path."""
    interface: str
    """`*`: all interfaces that no other host endpoint names; empty: the one that has one of the addresses."""
    classes: HostClasses
    addresses: tuple[Address, ...] = ()
    """Those that it expects; there may be none."""


@dataclass(frozen=True, slots=True)
class Touched:
    """What may differ since a moment; None: anything may."""

    identities: Collection[IdentityNumber] | None = None
    nets: Collection[IPv4Network | IPv6Network] | None = None
    addresses: Collection[Address] | None = None


ANYTHING = Touched()
KEPT_STEPS = 256


class Journal:
    """What each state touched, so that a driver which skips states need not compare what is the same. Written by one thread, read by
    another: the tuple is replaced whole."""

    def __init__(self) -> None:
        self._steps: tuple[tuple[int, Touched], ...] = ()

    def note(self, serial: int, touched: Touched) -> None:
        """State `serial` follows the one before it, and differs from it in this only."""
        self._steps = (*self._steps[-KEPT_STEPS + 1 :], (serial, touched))

    def between(self, before: int, after: int) -> Touched:
        """What may differ between two states."""
        steps = [touched for serial, touched in self._steps if before < serial <= after]
        if len(steps) != after - before:
            return ANYTHING  # older than what is kept, or not in this order

        def union(name: str) -> Any:
            parts = [getattr(step, name) for step in steps]
            return None if None in parts else set().union(*parts)

        return Touched(union("identities"), union("nets"), union("addresses"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredPolicy:
    """For the verdict driver."""

    serial: int = field(default=0, compare=False)
    journal: Journal | None = field(default=None, compare=False, repr=False)
    """Tells what this differs in from an earlier one of the same journal."""

    tables: Tables = field(default_factory=Tables)
    addresses: Mapping[Address, IdentityNumber] = field(default_factory=dict)
    """Identity of every known endpoint of every visible cluster, of this node's own addresses (HOST) and other nodes' (REMOTE_NODE)."""
    attachments: tuple[Attachment, ...] = ()
    hosts: tuple[HostAttachment, ...] = ()
    """This node's own host endpoints; for one interface the first that is for it."""


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
