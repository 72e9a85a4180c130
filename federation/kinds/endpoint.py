"""Endpoint: a workload's attachment: addresses, labels, node, interface."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from federation.access.rights import Right
from federation.errors import Fault
from federation.resources.kind import Column, Kind
from federation.resources.metadata import Condition, Resource, Scope

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPort:
    """A port that rules may name."""

    name: str
    port: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """Where the workload is attached."""

    node: str
    """Name of a node of the same cluster."""
    addresses: tuple[Address, ...]
    """Unique in the federation, inside the cluster's prefixes."""
    interface: str = ""
    """Host side of the attachment, where the node's programs hang; empty when nothing is to be enforced there."""
    mac: str = ""
    """Hardware address, as `0a:58:0a:0a:01:02`: what the workload sends comes from there; empty when nobody knows it."""
    service_account: str = ""
    ports: tuple[NamedPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """What the control plane allotted."""

    conditions: tuple[Condition, ...] = ()
    identity: int = 0
    """Number of the endpoint's set of security labels; set in the transaction that wrote the endpoint."""


Endpoint = Resource[EndpointSpec, EndpointStatus]


def check(endpoint: Endpoint) -> Iterable[Fault]:
    """At least one address, ports in range, interface names that Linux takes."""
    if not endpoint.spec.addresses:
        yield Fault("/spec/addresses", "at least one address is needed")
    if len(endpoint.spec.interface) > 15:
        yield Fault("/spec/interface", "longer than 15 characters (Linux IFNAMSIZ)")
    if endpoint.spec.mac and not MAC.fullmatch(endpoint.spec.mac):
        yield Fault("/spec/mac", f"{endpoint.spec.mac!r} is not six bytes as 0a:58:0a:0a:01:02")
    for index, port in enumerate(endpoint.spec.ports):
        if not 1 <= port.port <= 65535:
            yield Fault(f"/spec/ports/{index}/port", f"{port.port} is not in 1-65535")
        if port.protocol not in ("TCP", "UDP", "SCTP"):
            yield Fault(f"/spec/ports/{index}/protocol", f"{port.protocol!r} is not one of TCP, UDP, SCTP")


KIND = Kind(
    name="Endpoint",
    plural="endpoints",
    short_names=("ep",),
    scope=Scope.NAMESPACE,
    spec=EndpointSpec,
    right=Right.NETWORK,
    status=EndpointStatus,
    check=check,
    columns=(
        Column(title="NODE", value=lambda r: r.spec.node),
        Column(title="ADDRESSES", value=lambda r: ",".join(map(str, r.spec.addresses))),
        Column(title="IDENTITY", value=lambda r: str(r.status.identity)),
        Column(title="SERVICE ACCOUNT", value=lambda r: r.spec.service_account, wide=True),
        Column(title="INTERFACE", value=lambda r: r.spec.interface, wide=True),
        Column(
            title="LABELS",
            value=lambda r: ",".join(f"{k}={v}" for k, v in sorted(r.metadata.labels.items())),
            wide=True,
        ),
    ),
)
