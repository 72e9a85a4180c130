"""The two ends of a connection as policy sees them, and what is asked about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.doors.labels import node_key
from federation.identities import CLUSTER_LABEL, security_labels
from federation.kinds.endpoint import Endpoint, NamedPort
from federation.policy import model
from federation.policy.model import PartyKind
from federation.policy.world import Address, Host, World
from federation.resources.metadata import ObjectKey
from federation.rules.protocols import protocol_number

__all__ = ["Party", "Probe", "host_party", "labels_of", "party_of_endpoint", "protocol_number", "stranger"]


OF_NAMESPACE, OF_ACCOUNT = "kns", "ksa"
"""How names of profiles begin to which workloads belong; a dot follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question: may a connection go from `source` to `destination`? Ends are endpoints, nodes (keys of kind Node), or bare
    addresses."""

    source: ObjectKey | Address
    destination: ObjectKey | Address
    protocol: int | str = "TCP"
    destination_port: int = 0
    source_port: int = 40000
    icmp_type: int = 8
    icmp_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Party:
    """One end. An address that is nobody's has no key, no labels and the kind OUTSIDE."""

    key: ObjectKey | None
    kinds: frozenset[PartyKind]
    addresses: tuple[Address, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Its own and the inherited ones. Of a host: its host endpoint's, and its node's under `node_key`."""
    cluster: str = ""
    node: str = ""
    selectable: tuple[Address, ...] = ()
    """Of a host endpoint: the addresses at which Calico's selectors find it as a peer."""
    ports: tuple[NamedPort, ...] = ()
    profiles: tuple[str, ...] = ()

    def named_ports(self, name: str) -> tuple[tuple[int, int], ...]:
        """(protocol, number) of its ports of that name."""
        return tuple((protocol_number(port.protocol), port.port) for port in self.ports if port.name == name)

    def address_of(self, version: int) -> Address | None:
        """Its first address of a family."""
        return next((a for a in self.addresses if a.version == version), None)

    @property
    def versions(self) -> frozenset[int]:
        """The families that it has addresses of."""
        return frozenset(address.version for address in self.addresses)


def party_of_endpoint(world: World, endpoint: Endpoint) -> Party:
    """A workload."""
    meta, spec = endpoint.metadata, endpoint.spec
    profiles = workload_profiles(meta.namespace, spec.service_account)
    return Party(
        key=endpoint.key,
        kinds=model.WORKLOADS,
        addresses=spec.addresses,
        labels=world.inherited(labels_of(endpoint), profiles),
        cluster=meta.cluster,
        node=spec.node,
        ports=spec.ports,
        profiles=profiles,
    )


def workload_profiles(namespace: str, account: str) -> tuple[str, ...]:
    """The profiles to which a workload belongs, by where it lives."""
    own = (f"{OF_NAMESPACE}.{namespace}",)
    return (*own, f"{OF_ACCOUNT}.{namespace}.{account}") if account else own


def host_party(world: World, host: Host) -> Party:
    """A node; with a host endpoint it is one that Calico's selectors select."""
    labels = world.inherited({**host.endpoint_labels, CLUSTER_LABEL: host.cluster}, host.profiles)
    labels = {**labels, **{node_key(k): v for k, v in host.labels.items()}}
    kinds = model.HOSTS if host.endpoint is None else model.HOSTS | {PartyKind.HOST_ENDPOINT}
    return Party(
        key=ObjectKey("Node", host.cluster, "", host.name),
        kinds=kinds,
        addresses=host.addresses,
        labels=labels,
        cluster=host.cluster,
        node=host.name,
        selectable=host.selectable,
        ports=host.ports,
        profiles=host.profiles,
    )


def stranger(address: Address) -> Party:
    """An address that is nobody's."""
    return Party(key=None, kinds=model.OUTSIDE, addresses=(address,))


def labels_of(endpoint: Endpoint) -> dict[str, str]:
    """The security labels of an endpoint."""
    meta = endpoint.metadata
    return security_labels(meta.cluster, meta.namespace, endpoint.spec.service_account, meta.labels)
