"""HostEndpoint: a node (all of it, or one interface) that policy applies to. Calico's kind; only the simulator judges it in this
release."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from federation.errors import Fault
from federation.kinds.endpoint import Address, NamedPort
from federation.kinds.tier import CALICO_VERSION
from federation.resources.kind import Kind
from federation.resources.metadata import API_VERSION, Resource, Scope, Status


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
    """A node, and an interface or addresses."""
    if not endpoint.spec.node:
        yield Fault("/spec/node", "is needed")
    if not endpoint.spec.interface_name and not endpoint.spec.expected_ips:
        yield Fault("/spec", "one of interfaceName, expectedIPs is needed")
    for index, port in enumerate(endpoint.spec.ports):
        if not 1 <= port.port <= 65535:
            yield Fault(f"/spec/ports/{index}/port", f"{port.port} is not in 1-65535")


KIND = Kind(
    name="HostEndpoint",
    plural="hostendpoints",
    short_names=("hep",),
    scope=Scope.CLUSTER,
    spec=HostEndpointSpec,
    check=check,
    accepted_versions=(API_VERSION, CALICO_VERSION),
)
