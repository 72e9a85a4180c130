"""Bits: every distinct question about a peer that a node's rules ask, numbered by content."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from federation.identities import IdentityNumber
from federation.policy.world import World
from federation.selectors import Selector


@dataclass(frozen=True, slots=True)
class SelectorPredicate:
    """Is the peer selected: by its labels, or by a network set that holds its address?"""

    selector: Selector

    @property
    def order(self) -> str:
        """Sort key."""
        return f"selector {self.selector.text}"


@dataclass(frozen=True, slots=True)
class NetsPredicate:
    """Is the peer's address in one of these (sorted) prefixes? Its hash is kept: a named port may stand for thousands."""

    nets: tuple[IPv4Network, ...]
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self.nets))

    def __hash__(self) -> int:
        return self._hash

    @property
    def order(self) -> str:
        """Sort key."""
        return f"nets {','.join(map(str, self.nets))}"


Predicate = SelectorPredicate | NetsPredicate


def number(predicates: Iterable[Predicate]) -> dict[Predicate, int]:
    """A bit for each distinct predicate, in an order that depends on their content only."""
    return {predicate: bit for bit, predicate in enumerate(sorted(set(predicates), key=lambda p: p.order))}


def identity_rows(world: World, bits: Mapping[Predicate, int]) -> dict[IdentityNumber, int]:
    """The row of every identity that has a bit set."""
    rows: dict[IdentityNumber, int] = {}
    selectors = [(p.selector, bit) for p, bit in bits.items() if isinstance(p, SelectorPredicate)]
    for identity, labels in world.identities.items():
        row = sum(1 << bit for selector, bit in selectors if selector.matches(labels))
        if row:
            rows[identity] = row
    return rows


def prefix_rows(world: World, bits: Mapping[Predicate, int]) -> dict[IPv4Network, int]:
    """The row of every prefix that policies name, with the bits of all prefixes that cover it."""
    own: dict[IPv4Network, int] = {}

    def add(nets: Iterable[object], bit: int) -> None:
        for net in nets:
            if isinstance(net, IPv4Network):
                own[net] = own.get(net, 0) | (1 << bit)

    for predicate, bit in bits.items():
        if isinstance(predicate, NetsPredicate):
            add(predicate.nets, bit)
            continue
        for network_set in world.network_sets:
            if predicate.selector.matches(network_set.metadata.labels):
                add(network_set.spec.nets, bit)
    rows: dict[IPv4Network, int] = {}
    for net in sorted(own, key=lambda n: n.prefixlen):
        rows[net] = own[net] | rows.get(covering(rows, net) or net, 0)
    return rows


def covering(rows: Mapping[IPv4Network, object], net: IPv4Network) -> IPv4Network | None:
    """The longest prefix among the keys of `rows` that covers `net` (or is it). Up to 33 look-ups."""
    for length in range(net.prefixlen, -1, -1):
        candidate = net.supernet(new_prefix=length)
        if candidate in rows:
            return candidate
    return None
