"""Who has prefixes: network sets and hosts, indexed by their labels, kinds and clusters."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from federation.compiler.peers.columns import Columns
from federation.policy.model import PartyKind, Prefix
from federation.policy.parties import host_party
from federation.policy.world import Host, LabelledNets, Labels, World
from federation.selectors.index import Bits

Name = tuple[str, ...]
"""("set", name) or ("host", cluster, node)."""


@dataclass(frozen=True, slots=True)
class Source:
    """One of them."""

    labels: Labels
    cluster: str
    kinds: frozenset[PartyKind]
    nets: tuple[Prefix, ...]


NETWORK_SETS = frozenset({PartyKind.NETWORK_SET})


def source_of_set(nets: LabelledNets) -> Source:
    """A network set."""
    return Source(nets.labels, nets.cluster, NETWORK_SETS, nets.nets)


def source_of_host(world: World, host: Host) -> Source:
    """A host, by its addresses."""
    party = host_party(world, host)
    return Source(party.labels, host.cluster, party.kinds, tuple(ip_network(a) for a in party.addresses))


class Places:
    """The index."""

    def __init__(self) -> None:
        self.columns: Columns[Name] = Columns()
        self.of_kind: dict[PartyKind, Bits] = {}
        self.of_cluster: dict[str, Bits] = {}
        self._known: dict[Name, Source] = {}

    def get(self, name: Name) -> Source | None:
        """The source of that name."""
        return self._known.get(name)

    def put(self, sources: dict[Name, Source]) -> None:
        """Add, or replace."""
        self._forget(sources)
        self.columns.put({name: source.labels for name, source in sources.items()})
        self._known.update(sources)
        for name, source in sources.items():
            bit = 1 << self.columns.place_of(name)
            for kind in source.kinds:
                self.of_kind[kind] = self.of_kind.get(kind, 0) | bit
            self.of_cluster[source.cluster] = self.of_cluster.get(source.cluster, 0) | bit

    def drop(self, names: Iterable[Name]) -> None:
        """Remove; unknown names are passed over."""
        gone = [name for name in names if name in self._known]
        self._forget(gone)
        self.columns.drop(gone)
        for name in gone:
            del self._known[name]

    def place_of_host(self, cluster: str, node: str) -> Bits:
        """The bit of a host; 0 when it is unknown."""
        name = ("host", cluster, node)
        return 1 << self.columns.place_of(name) if name in self.columns else 0

    def _forget(self, names: Iterable[Name]) -> None:
        for name in names:
            known = self._known.get(name)
            if known is not None:
                mask = ~(1 << self.columns.place_of(name))
                for kind in known.kinds:
                    self.of_kind[kind] &= mask
                self.of_cluster[known.cluster] &= mask
