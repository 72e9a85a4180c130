"""The two ends of a connection as policy sees them, and what is asked about it."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from federation.identities import security_labels
from federation.kinds.endpoint import Endpoint
from federation.policy.world import World
from federation.resources.metadata import ObjectKey

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
"""IANA numbers of the names that rules use, in lower case."""


def protocol_number(protocol: int | str) -> int:
    """The IANA number of a rule's protocol."""
    return protocol if isinstance(protocol, int) else PROTOCOLS[protocol.lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question: may a connection go from `source` to `destination`? Ends are endpoints or bare addresses."""

    source: ObjectKey | IPv4Address
    destination: ObjectKey | IPv4Address
    protocol: int | str = "TCP"
    destination_port: int = 0
    source_port: int = 40000
    icmp_type: int = 8
    icmp_code: int = 0


@dataclass(frozen=True, slots=True)
class Party:
    """One end: its address and, when it is an endpoint, the endpoint and its security labels.

    An endpoint that has IPv6 addresses only has no `address`: no IPv4 prefix holds it.
    """

    address: IPv4Address | None
    endpoint: Endpoint | None
    labels: dict[str, str] | None

    @property
    def cluster(self) -> str:
        """The endpoint's cluster, or nothing."""
        return self.endpoint.metadata.cluster if self.endpoint else ""

    def named_ports(self, name: str) -> tuple[tuple[int, int], ...]:
        """(protocol, number) of the endpoint's ports of that name."""
        ports = self.endpoint.spec.ports if self.endpoint else ()
        return tuple((protocol_number(port.protocol), port.port) for port in ports if port.name == name)


def party_of_endpoint(endpoint: Endpoint) -> Party:
    """An endpoint by its first IPv4 address."""
    return parties_of_endpoint(endpoint)[0]


def parties_of_endpoint(endpoint: Endpoint) -> tuple[Party, ...]:
    """An endpoint by each of its IPv4 addresses; one party without address when it has none."""
    labels = labels_of(endpoint)
    v4 = [a for a in endpoint.spec.addresses if isinstance(a, IPv4Address)]
    return tuple(Party(address, endpoint, labels) for address in v4 or (None,))


def party_of(world: World, end: ObjectKey | IPv4Address) -> Party:
    """The end that a probe names; an address that is an endpoint's is that endpoint. Raises KeyError for an unknown key."""
    if isinstance(end, ObjectKey):
        return party_of_endpoint(world.endpoints[end])
    for endpoint in world.endpoints.values():
        if end in endpoint.spec.addresses:
            return Party(end, endpoint, labels_of(endpoint))
    return Party(end, None, None)


def labels_of(endpoint: Endpoint) -> dict[str, str]:
    """The security labels of an endpoint."""
    meta = endpoint.metadata
    return security_labels(meta.cluster, meta.namespace, endpoint.spec.service_account, meta.labels)
