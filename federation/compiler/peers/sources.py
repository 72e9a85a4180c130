"""Who has prefixes: network sets and hosts, indexed by their labels, kinds and clusters."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from federation.compiler.peers.columns import Columns
from federation.policy.model import HOSTS, PartyKind, Prefix
from federation.policy.parties import Party, host_party
from federation.policy.world import Address, Host, LabelledNets, Labels, World
from federation.selectors.index import Bits

Name = tuple[str, ...]
"""("set", name), ("host", cluster, node), or of what a host endpoint has of a host ("host", cluster, node, host endpoint, which part)."""
Home = tuple[str, str]
"""Cluster and node."""


@dataclass(frozen=True, slots=True)
class Source:
    """One of them."""

    labels: Labels
    cluster: str
    kinds: frozenset[PartyKind]
    nets: tuple[Prefix, ...]
    home: Home | None = None
    """Of a host."""


NETWORK_SETS = frozenset({PartyKind.NETWORK_SET})


def source_of_set(nets: LabelledNets) -> Source:
    """A network set."""
    return Source(nets.labels, nets.cluster, NETWORK_SETS, nets.nets)


def sources_of_host(world: World, host: Host) -> dict[Name, Source]:
    """A host, by its addresses. Of one that has a host endpoint: the addresses at which selectors find that, and the rest."""
    party, home = host_party(world, host), (host.cluster, host.name)
    if host.endpoint is None:
        return {("host", *home): _source(party, party.kinds, party.addresses, home)}
    expected = tuple(a for a in party.addresses if a in party.selectable)
    others = tuple(a for a in party.addresses if a not in party.selectable)
    place = ("host", *home, host.endpoint.name)
    return {
        (*place, "expected"): _source(party, party.kinds, expected, home),
        (*place, "others"): _source(party, HOSTS, others, home),
    }


def _source(party: Party, kinds: frozenset[PartyKind], addresses: tuple[Address, ...], home: Home) -> Source:
    return Source(party.labels, party.cluster, kinds, tuple(ip_network(a) for a in addresses), home)


class Places:
    """The index."""

    def __init__(self) -> None:
        self.columns: Columns[Name] = Columns()
        self.of_kind: dict[PartyKind, Bits] = {}
        self.of_cluster: dict[str, Bits] = {}
        self.of_host: dict[Home, Bits] = {}
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
            if source.home is not None:
                self.of_host[source.home] = self.of_host.get(source.home, 0) | bit

    def drop(self, names: Iterable[Name]) -> None:
        """Remove; unknown names are passed over."""
        gone = [name for name in names if name in self._known]
        self._forget(gone)
        self.columns.drop(gone)
        for name in gone:
            del self._known[name]

    def _forget(self, names: Iterable[Name]) -> None:
        for name in names:
            known = self._known.get(name)
            if known is not None:
                mask = ~(1 << self.columns.place_of(name))
                for kind in known.kinds:
                    self.of_kind[kind] &= mask
                self.of_cluster[known.cluster] &= mask
                if known.home is not None:
                    self.of_host[known.home] &= mask
                    if not self.of_host[known.home]:
                        del self.of_host[known.home]
