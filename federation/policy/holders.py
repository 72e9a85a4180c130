"""Who holds a named port: indexed once for a compilation, since every rule and every subject asks again."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from federation.policy.parties import protocol_number
from federation.policy.predicates import NetsPredicate
from federation.policy.world import World
from federation.rules.model import Prefix

PortNumber = tuple[int, int]
"""Protocol (IANA) and port."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules of all subjects are compiled against."""

    world: World
    holders: dict[str, dict[PortNumber, tuple[IPv4Network, ...]]]
    """By port name: the endpoints' addresses, as sorted /32."""
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


def surroundings_of(world: World) -> Surroundings:
    """Index a world. One pass over its endpoints."""
    found: dict[str, dict[PortNumber, set[IPv4Network]]] = {}
    for endpoint in world.endpoints.values():
        nets = {IPv4Network(a) for a in endpoint.spec.addresses if isinstance(a, IPv4Address)}
        for port in endpoint.spec.ports if nets else ():
            number = (protocol_number(port.protocol), port.port)
            found.setdefault(port.name, {}).setdefault(number, set()).update(nets)
    return Surroundings(
        world,
        {
            name: {number: tuple(sorted(nets)) for number, nets in sorted(numbers.items())}
            for name, numbers in found.items()
        },
    )
