"""What to change of a WireGuard interface: pure, the same for every implementation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network

from tunnels.peers import TunnelPeer


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSettings:
    """One interface as it is wanted. `mtu` in bytes."""

    address: IPv4Interface
    listen_port: int
    peers: tuple[TunnelPeer, ...]
    mtu: int = 1420


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What stands. Peers by public key (base64)."""

    public_key: str
    """Of the private key that it has; empty when it has none."""
    listen_port: int
    peers: Mapping[str, frozenset[IPv4Network]]
    """Each peer's allowed_ips."""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """address:port, as configured or learned since."""
    handshakes: Mapping[str, int] = field(default_factory=dict)
    """Seconds since 1970 of each peer's last handshake; 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerChange:
    """A peer to set. `endpoint` is None where the standing one, which WireGuard may have learned, is left alone."""

    public_key: str
    endpoint: tuple[str, int] | None
    keepalive_seconds: int
    allowed_ips: tuple[IPv4Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Removals come first, so that no prefix ever has two holders: the kernel would silently move it."""

    has_new_key: bool = False
    listen_port: int | None = None
    removals: tuple[str, ...] = ()
    changes: tuple[PeerChange, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing is left to do."""
        return self == Plan()


def plan(standing: Observed, public_key: str, listen_port: int, peers: Iterable[TunnelPeer]) -> Plan:
    """The smallest change that turns what stands into what is wanted."""
    wanted = {peer.public_key: peer for peer in peers}
    return Plan(
        has_new_key=standing.public_key != public_key,
        listen_port=listen_port if standing.listen_port != listen_port else None,
        removals=tuple(sorted(standing.peers.keys() - wanted.keys())),
        changes=tuple(
            _change(peer, is_new=key not in standing.peers)
            for key, peer in sorted(wanted.items())
            if standing.peers.get(key) != frozenset(peer.allowed_ips)
        ),
    )


def begin_anew(standing: Observed, peers: Iterable[TunnelPeer]) -> Plan:
    """Forget and set again, which sends a handshake at once: WireGuard itself repeats a lost one after five seconds only
    (REKEY_TIMEOUT of its white paper), and two ends that begin at the same moment each drop the other's answer. Leaves alone
    who has a session, is not a peer, or where nobody knows where it is."""
    fresh = [
        peer
        for peer in peers
        if peer.endpoint
        and peer.public_key in standing.peers
        and not standing.handshakes.get(peer.public_key)
    ]
    return Plan(
        removals=tuple(peer.public_key for peer in fresh),
        changes=tuple(_change(peer, is_new=True) for peer in fresh),
    )


def _change(peer: TunnelPeer, *, is_new: bool) -> PeerChange:
    endpoint = (str(peer.endpoint[0]), peer.endpoint[1]) if is_new and peer.endpoint else None
    return PeerChange(
        public_key=peer.public_key,
        endpoint=endpoint,
        keepalive_seconds=peer.keepalive_seconds,
        allowed_ips=peer.allowed_ips,
    )
