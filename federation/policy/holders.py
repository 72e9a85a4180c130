"""Who holds a named port: indexed once for a compilation, since every rule and every subject asks again."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from federation.policy import model
from federation.policy.matching import Matcher
from federation.policy.model import PartyKind
from federation.policy.parties import Party, host_party
from federation.policy.predicates import NetsPredicate
from federation.policy.world import World
from federation.rules.model import Prefix
from federation.rules.protocols import protocol_number
from federation.selectors import Selector

PortNumber = tuple[int, int]
"""Protocol (IANA) and port."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules of all subjects are compiled against."""

    world: World
    holders: dict[str, dict[PortNumber, tuple[IPv4Network, ...]]]
    """By port name: the endpoints' addresses, as sorted /32."""
    matcher: Matcher
    hosts: tuple[Party, ...]
    _within: dict[tuple[str, tuple[Prefix, ...]], dict[PortNumber, NetsPredicate]] = field(
        default_factory=dict
    )

    def named_port(self, name: str, nets: tuple[Prefix, ...]) -> dict[PortNumber, NetsPredicate]:
        """Who has a port of that name, within `nets` if there are any. Numbers that nobody has are left out."""
        key = (name, nets)
        if key not in self._within:
            found = {
                number: tuple(a for a in addresses if not nets or any(a.network_address in n for n in nets))
                for number, addresses in self.holders.get(name, {}).items()
            }
            self._within[key] = {number: NetsPredicate(kept) for number, kept in found.items() if kept}
        return self._within[key]

    def hosts_of(self, match: model.Match, subject: Party) -> tuple[IPv4Network, ...]:
        """Addresses of the hosts that a match selects."""
        kinds = match.kinds
        if kinds is not None and kinds.isdisjoint({PartyKind.HOST, PartyKind.HOST_ENDPOINT}):
            return ()
        who = model.Match(
            kinds=kinds, selector=match.selector, is_same_cluster=match.is_same_cluster, near=match.near
        )
        return _slash_32(
            host for host in self.hosts if not self.matcher.end_mismatch(who, host, subject, None, None)
        )

    def hosts_with(self, selector: Selector) -> tuple[IPv4Network, ...]:
        """Addresses of the hosts that have such labels."""
        return _slash_32(host for host in self.hosts if selector.matches(host.labels))

    def served(
        self, services: tuple[model.ServiceReference, ...], cluster: str
    ) -> dict[PortNumber, tuple[IPv4Network, ...]]:
        """Backends' addresses by (protocol, port); by (0, -1) those of references that do not ask for ports."""
        found: dict[PortNumber, set[IPv4Network]] = {}
        for service in services:
            for backend in self.world.services.get((cluster, service.namespace, service.name), ()):
                number = (backend.protocol, backend.port) if service.has_ports else (0, -1)
                if isinstance(backend.address, IPv4Address):
                    found.setdefault(number, set()).add(IPv4Network(backend.address))
        return {number: tuple(sorted(nets)) for number, nets in sorted(found.items())}


def _slash_32(parties: Iterable[Party]) -> tuple[IPv4Network, ...]:
    return tuple(sorted({IPv4Network(address) for party in parties for address in party.v4}))


def surroundings_of(world: World) -> Surroundings:
    """Index a world. One pass over its endpoints."""
    found: dict[str, dict[PortNumber, set[IPv4Network]]] = {}
    for endpoint in world.endpoints.values():
        nets = {IPv4Network(a) for a in endpoint.spec.addresses if isinstance(a, IPv4Address)}
        for port in endpoint.spec.ports if nets else ():
            number = (protocol_number(port.protocol), port.port)
            found.setdefault(port.name, {}).setdefault(number, set()).update(nets)
    hosts = tuple(host_party(world, host) for host in world.hosts.values())
    return Surroundings(
        world,
        {
            name: {number: tuple(sorted(nets)) for number, nets in sorted(numbers.items())}
            for name, numbers in found.items()
        },
        Matcher(world),
        hosts,
    )
