"""Bits: every distinct question about a peer that a node's rules ask, numbered by content."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from federation.identities import CLUSTER_LABEL, WORLD, IdentityNumber
from federation.policy.model import PartyKind
from federation.policy.world import LabelledNets, World
from federation.selectors import Selector
from federation.selectors.index import LabelIndex, places_of
from federation.selectors.tree import Compare

ANY_KIND = frozenset(PartyKind)


@dataclass(frozen=True, slots=True)
class PeerPredicate:
    """Is the peer one of these kinds, of this cluster ("": any), selected by its labels, or by those of a network set that
    holds its address? `hosts` are the addresses of the hosts that are; their labels are not in identities."""

    kinds: frozenset[PartyKind]
    selector: Selector | None
    cluster: str = ""
    hosts: tuple[IPv4Network, ...] = ()

    @property
    def order(self) -> str:
        """Sort key."""
        text = self.selector.text if self.selector else ""
        return f"peer {sorted(self.kinds)} {self.cluster} {text} {','.join(map(str, self.hosts))}"

    @property
    def is_outside(self) -> bool:
        """Whether addresses that are nobody's have the bit."""
        return PartyKind.OUTSIDE in self.kinds and self.selector is None

    def workloads(self, index: LabelIndex) -> int:
        """The workloads that have the bit, of an index over their labels (their own and the inherited ones)."""
        if PartyKind.WORKLOAD not in self.kinds:
            return 0
        bits = index.everyone if self.selector is None else index.matching(self.selector.node)
        return bits & index.matching(Compare(CLUSTER_LABEL, "==", self.cluster)) if self.cluster else bits

    def is_set(self, network_set: LabelledNets) -> bool:
        """Whether the addresses of a network set have the bit."""
        if self.selector is None or PartyKind.NETWORK_SET not in self.kinds:
            return False
        is_near = not self.cluster or network_set.cluster in ("", self.cluster)
        return is_near and self.selector.matches(network_set.labels)


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


Predicate = PeerPredicate | NetsPredicate


def number(predicates: Iterable[Predicate]) -> dict[Predicate, int]:
    """A bit for each distinct predicate, in an order that depends on their content only."""
    return {predicate: bit for bit, predicate in enumerate(sorted(set(predicates), key=lambda p: p.order))}


def identity_rows(world: World, bits: Mapping[Predicate, int]) -> dict[IdentityNumber, int]:
    """The row of every identity that has a bit set. Each predicate is asked once of all identities, by bitsets; then the
    matrix is turned."""
    numbers = list(world.identities)
    index = LabelIndex([world.inherited(world.identities[n]) for n in numbers])
    columns: list[list[int]] = [[] for _ in numbers]
    rows: dict[IdentityNumber, int] = {}
    for predicate, bit in bits.items():
        if not isinstance(predicate, PeerPredicate):
            continue
        if predicate.is_outside:
            rows[WORLD] = rows.get(WORLD, 0) | 1 << bit
        for place in places_of(predicate.workloads(index)):
            columns[place].append(bit)
    width = (max(bits.values(), default=0) >> 3) + 1
    for number, column in zip(numbers, columns, strict=True):
        if column:
            row = bytearray(width)
            for bit in column:
                row[bit >> 3] |= 1 << (bit & 7)
            rows[number] = int.from_bytes(row, "little")
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
        add(predicate.hosts, bit)
        for network_set in world.network_sets:
            if predicate.is_set(network_set):
                add(network_set.nets, bit)
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
