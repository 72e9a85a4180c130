"""Predicates: every distinct question about a peer that a node's rules ask. Each in use has one bit."""

from dataclasses import dataclass, field

from federation.compiler.peers.columns import Columns
from federation.compiler.peers.sources import Places, Source
from federation.identities import CLUSTER_LABEL, IdentityNumber
from federation.policy import model
from federation.policy.model import PartyKind
from federation.policy.world import Labels
from federation.selectors import Selector
from federation.selectors.index import Bits
from federation.selectors.tree import Compare

ANY_KIND = frozenset(PartyKind)
UNWANTED = model.LABELLED
"""Whom a negated selector may mean."""
PortNumber = tuple[int, int]
"""Protocol (IANA) and port."""


@dataclass(frozen=True, slots=True)
class PeerPredicate:
    """Is the peer one of these kinds, of this cluster ("": any), selected by its labels, or by those of a network set that
    holds its address? Hosts are known by their addresses; `near` is where they must be, seen from the node `home`."""

    kinds: frozenset[PartyKind]
    selector: Selector | None
    cluster: str = ""
    near: model.Near = model.Near.ANY
    home: tuple[str, str] = ("", "")
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "_hash", hash((self.kinds, self.selector, self.cluster, self.near, self.home))
        )

    def __hash__(self) -> int:
        return self._hash

    @property
    def order(self) -> str:
        """Sort key."""
        text = self.selector.text if self.selector else ""
        return f"peer {sorted(self.kinds)} {self.cluster} {text} {self.near} {self.home}"

    @property
    def keys(self) -> frozenset[str]:
        """The labels that it asks for."""
        keys = self.selector.keys if self.selector else frozenset()
        return keys | {CLUSTER_LABEL} if self.cluster else keys

    @property
    def is_outside(self) -> bool:
        """Whether addresses that are nobody's have the bit."""
        return PartyKind.OUTSIDE in self.kinds and self.selector is None

    def workloads(self, identities: Columns[IdentityNumber]) -> Bits:
        """The places of the identities that have the bit."""
        if PartyKind.WORKLOAD not in self.kinds:
            return 0
        bits = identities.everyone if self.selector is None else identities.matching(self.selector.node)
        if self.cluster:
            bits &= identities.matching(Compare(CLUSTER_LABEL, "==", self.cluster))
        return bits

    def is_workload(self, labels: Labels) -> bool:
        """Whether an identity of these labels has the bit."""
        if PartyKind.WORKLOAD not in self.kinds or (
            self.cluster and labels.get(CLUSTER_LABEL) != self.cluster
        ):
            return False
        return self.selector is None or self.selector.matches(labels)

    def is_source(self, source: Source) -> bool:
        """Whether the prefixes of a network set or a host have the bit; what `sources` says of all."""
        kinds = self.kinds if self.selector is not None else self.kinds - {PartyKind.NETWORK_SET}
        if kinds.isdisjoint(source.kinds) or (self.cluster and source.cluster not in ("", self.cluster)):
            return False
        if self.near is not model.Near.ANY:
            is_own = source.home == self.home
            if is_own is not (self.near is model.Near.OWN_HOST):
                return False
        return self.selector is None or self.selector.matches(source.labels)

    def sources(self, places: Places) -> Bits:
        """The places of the network sets and hosts that have the bit."""
        wanted = 0
        for kind in self.kinds:
            if kind is not PartyKind.NETWORK_SET or self.selector is not None:
                wanted |= places.of_kind.get(kind, 0)
        if not wanted:
            return 0
        if self.cluster:
            wanted &= places.of_cluster.get(self.cluster, 0) | places.of_cluster.get("", 0)
        if self.near is not model.Near.ANY:
            own = places.of_host.get(self.home, 0)
            wanted &= own if self.near is model.Near.OWN_HOST else ~own
        return wanted & places.columns.matching(self.selector.node) if self.selector else wanted


@dataclass(frozen=True, slots=True)
class NetsPredicate:
    """Is the peer's address in one of these (sorted) prefixes?"""

    nets: tuple[model.Prefix, ...]
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self.nets))

    def __hash__(self) -> int:
        return self._hash

    @property
    def order(self) -> str:
        """Sort key."""
        return f"nets {','.join(map(str, self.nets))}"


@dataclass(frozen=True, slots=True)
class PortPredicate:
    """Is the peer's address one whose endpoint has a port of this name, and is this its number? Within prefixes, if there are any."""

    name: str
    number: PortNumber
    nets: tuple[model.Prefix, ...] = ()

    @property
    def order(self) -> str:
        """Sort key."""
        return f"port {self.name} {self.number} {','.join(map(str, self.nets))}"


Predicate = PeerPredicate | NetsPredicate | PortPredicate
