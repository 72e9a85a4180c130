"""WireGuard peers: what one is, and who a node's peers are (pure)."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


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
