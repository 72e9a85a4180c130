"""Who holds a named port, and who serves a service: asked by every rule and every subject again."""

from ipaddress import ip_network
from typing import Protocol

from federation.compiler.peers.predicates import PortNumber, PortPredicate
from federation.compiler.peers.prefixes import Code, code_of, code_of_address, does_cover
from federation.kinds.endpoint import NamedPort
from federation.policy import model
from federation.policy.world import Address, World
from federation.rules.protocols import protocol_number

Held = tuple[str, PortNumber, Code]
"""A port's name, its number, and the address that has it."""


class Holder(Protocol):
    """Who may have ports with names: an endpoint's spec, a host."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Its own."""
        ...

    @property
    def ports(self) -> tuple[NamedPort, ...]:
        """Those that have a name."""
        ...


class Holders:
    """Endpoints' and hosts' named ports by name and number."""

    def __init__(self) -> None:
        self.renumbered: set[str] = set()
        """Names that got or lost a number since somebody emptied this."""
        self._known: dict[str, dict[PortNumber, dict[Code, int]]] = {}
        """By name, number and address: how many say so."""

    def numbers(self, name: str) -> tuple[PortNumber, ...]:
        """The numbers that ports of this name have."""
        return tuple(sorted(self._known.get(name, ())))

    def addresses(self, predicate: PortPredicate) -> list[Code]:
        """Who has the port, within the predicate's prefixes."""
        held = self._known.get(predicate.name, {}).get(predicate.number, {})
        return [address for address in held if is_within(address, predicate.nets)]

    def replace(self, old: Holder | None, new: Holder | None) -> tuple[list[Held], list[Held]]:
        """What a holder has more than before, and what it has no more; only first and last holders count."""
        before, after = _held(old), _held(new)
        if before == after:
            return [], []
        added = [held for held in after if held not in before and self._count(held, 1) == 1]
        removed = [held for held in before if held not in after and self._count(held, -1) == 0]
        return added, removed

    def _count(self, held: Held, step: int) -> int:
        name, number, address = held
        numbers = self._known.get(name)
        if numbers is None:
            numbers = self._known[name] = {}
        addresses = numbers.get(number)
        if addresses is None:
            addresses = numbers[number] = {}
            self.renumbered.add(name)
        count = addresses.get(address, 0) + step
        if count:
            addresses[address] = count
        else:
            del addresses[address]
            if not addresses:
                del numbers[number]
                self.renumbered.add(name)
        return count


def _held(holder: Holder | None) -> tuple[Held, ...]:
    if holder is None or not holder.ports:
        return ()
    numbers = [(port.name, (protocol_number(port.protocol), port.port)) for port in holder.ports]
    addresses = map(code_of_address, holder.addresses)
    held = [(name, number, address) for address in addresses for name, number in numbers]
    return tuple(held) if len(held) == 1 else tuple(dict.fromkeys(held))


def is_within(address: Code, nets: tuple[model.Prefix, ...]) -> bool:
    """Whether an address is in one of the prefixes; there being none means everywhere."""
    return not nets or any(does_cover(code_of(net), address) for net in nets)


def served(
    world: World, services: tuple[model.ServiceReference, ...], cluster: str
) -> dict[PortNumber, tuple[model.Prefix, ...]]:
    """Backends' addresses by (protocol, port); by (0, -1) those of references that do not ask for ports."""
    found: dict[PortNumber, set[model.Prefix]] = {}
    for service in services:
        for backend in world.services.get((cluster, service.namespace, service.name), ()):
            number = (backend.protocol, backend.port) if service.has_ports else (0, -1)
            found.setdefault(number, set()).add(ip_network(backend.address))
    return {number: tuple(sorted(nets, key=code_of)) for number, nets in sorted(found.items())}
