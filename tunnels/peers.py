"""WireGuard peers: what one is, and who a node's peers are (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from federation.kinds.link import Link
from federation.kinds.node import Node
from federation.resources.metadata import ObjectKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelPeer:
    """Remote end of a tunnel. `endpoint` is where to start; an endpoint that WireGuard has learned since is kept."""

    name: str
    """cluster/node, for people."""
    public_key: str
    endpoint: tuple[IPv4Address, int] | None
    allowed_ips: tuple[IPv4Network, ...]
    """No prefix in two peers: the kernel would silently move it."""
    keepalive_seconds: int = 25


def mesh_peers(me: ObjectKey, nodes: Iterable[Node], links: Iterable[Link]) -> tuple[TunnelPeer, ...]:
    """Every node of the clusters linked with mine that has told its key and where it is, in order of names. A prefix that
    an earlier peer holds is left out of a later one."""
    linked = {name for link in links if me.cluster in link.spec.clusters for name in link.spec.clusters} - {
        me.cluster
    }
    peers: list[TunnelPeer] = []
    taken: set[IPv4Network] = set()
    for node in sorted(nodes, key=lambda n: n.key):
        spec = node.spec
        if node.metadata.cluster not in linked or spec.wireguard is None:
            continue
        own = [p for p in spec.pod_prefixes if isinstance(p, IPv4Network)]
        if node.status.tunnel_address:
            own.append(IPv4Network(node.status.tunnel_address))
        free = tuple(sorted(p for p in own if not any(p.overlaps(other) for other in taken)))
        taken.update(free)
        address = next((a for a in spec.addresses if isinstance(a, IPv4Address)), None)
        endpoint = (address, spec.wireguard.listen_port) if address else None
        peers.append(
            TunnelPeer(
                name=node.key.path, public_key=spec.wireguard.public_key, endpoint=endpoint, allowed_ips=free
            )
        )
    return tuple(peers)
