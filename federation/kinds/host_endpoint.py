"""HostEndpoint: a node (all of it, or one interface) that policy applies to. Calico's kind."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from federation.access.rights import Right
from federation.errors import Fault, shown
from federation.kinds.endpoint import Address, NamedPort
from federation.kinds.tier import CALICO_VERSIONS
from federation.resources.kind import Column, Kind
from federation.resources.metadata import API_VERSION, Resource, Scope, Status
from federation.rules.names import INTERFACE, PORT, annotation_faults, name_faults
from federation.rules.policies import ENFORCEABLE, WHY

PORT_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEndpointSpec:
    """`interface_name` "*" is every interface; one of it and `expected_ips` is needed."""

    node: str
    interface_name: str = ""
    expected_ips: tuple[Address, ...] = field(default=(), metadata={"json": "expectedIPs"})
    profiles: tuple[str, ...] = ()
    ports: tuple[NamedPort, ...] = ()


HostEndpoint = Resource[HostEndpointSpec, Status]


def check(endpoint: HostEndpoint) -> Iterable[Fault]:
    """A node, an interface or addresses, and ports that rules can name."""
    spec = endpoint.spec
    yield from annotation_faults("/metadata/annotations", endpoint.metadata.annotations)
    if not spec.node:
        yield Fault("/spec/node", "is needed")
    else:
        yield from name_faults("/spec/node", spec.node, "node's name")
    if not spec.interface_name and not spec.expected_ips:
        yield Fault("/spec", "one of interfaceName, expectedIPs is needed")
    if spec.interface_name not in ("", "*") and not INTERFACE.fullmatch(spec.interface_name):
        yield Fault("/spec/interfaceName", f"{shown(spec.interface_name)} is not '*' or an interface's name")
    for index, profile in enumerate(spec.profiles):
        yield from name_faults(f"/spec/profiles/{index}", profile, "profile's name")
    for index, port in enumerate(spec.ports):
        yield from _port_faults(f"/spec/ports/{index}", port)


def _port_faults(pointer: str, port: NamedPort) -> Iterable[Fault]:
    if not PORT.fullmatch(port.name):
        yield Fault(f"{pointer}/name", f"{shown(port.name)} is not a port's name")
    if port.protocol.lower() not in PORT_PROTOCOLS:
        yield Fault(f"{pointer}/protocol", f"{shown(port.protocol)} is not one of TCP, UDP, SCTP")
    if not 1 <= port.port <= 65535:
        yield Fault(f"{pointer}/port", f"{port.port} is not in 1-65535")


KIND = Kind(
    name="HostEndpoint",
    plural="hostendpoints",
    short_names=("hep",),
    scope=Scope.CLUSTER,
    spec=HostEndpointSpec,
    right=Right.NETWORK,
    check=check,
    accepted_versions=(API_VERSION, *CALICO_VERSIONS),
    columns=(
        Column(title="NODE", value=lambda r: r.spec.node),
        Column(title="INTERFACE", value=lambda r: r.spec.interface_name),
        Column(title="EXPECTED IPS", value=lambda r: ",".join(map(str, r.spec.expected_ips))),
        ENFORCEABLE,
        Column(title="PROFILES", value=lambda r: ",".join(r.spec.profiles), wide=True),
        Column(
            title="LABELS",
            value=lambda r: ",".join(f"{k}={v}" for k, v in sorted(r.metadata.labels.items())),
            wide=True,
        ),
        WHY,
    ),
)
