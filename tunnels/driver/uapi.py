"""WireGuard's configuration protocol of user-space implementations (wireguard.com/xplatform): text over a UNIX socket."""

import base64
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from federation.errors import DriverError
from tunnels.peers import TunnelPeer


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What stands: listen port, and each peer's allowed_ips by public key (base64)."""

    listen_port: int
    peers: Mapping[str, frozenset[IPv4Network]]
    handshakes: Mapping[str, int]
    """Seconds since 1970 of each peer's last handshake; 0: none."""


def exchange(path: Path, request: str) -> str:
    """Send one operation. Raises DriverError when nobody answers, or the answer is an errno."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(3)
        try:
            connection.connect(str(path))
            connection.sendall(request.encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                chunk = connection.recv(65536)
                if not chunk:
                    break
                answer += chunk
        except OSError as error:
            raise DriverError(f"WireGuard's socket {path.name} does not answer: {error}") from error
    text = answer.decode()
    if "errno=0\n" not in text:
        raise DriverError(f"WireGuard refused: {text.strip()[-40:]}")
    return text


def observed(text: str) -> Observed:
    """What a `get=1` answered."""
    peers: dict[str, set[IPv4Network]] = {}
    handshakes: dict[str, int] = {}
    current, port = "", 0
    for line in text.splitlines():
        name, _, value = line.partition("=")
        match name:
            case "listen_port":
                port = int(value)
            case "public_key":
                current = base64.b64encode(bytes.fromhex(value)).decode()
                peers[current] = set()
            case "allowed_ip":
                peers[current].add(IPv4Network(value))
            case "last_handshake_time_sec":
                handshakes[current] = int(value)
    return Observed(
        listen_port=port, peers={key: frozenset(ips) for key, ips in peers.items()}, handshakes=handshakes
    )


def plan(standing: Observed, wanted: Iterable[TunnelPeer]) -> list[str]:
    """The lines that turn what stands into what is wanted: removals first; a standing peer's endpoint is left alone, for WireGuard
    may have learned a better one."""
    peers = {peer.public_key: peer for peer in wanted}
    lines: list[str] = []
    for key in sorted(standing.peers.keys() - peers.keys()):
        lines += [f"public_key={to_hex(key)}", "remove=true"]
    for key, peer in sorted(peers.items()):
        if standing.peers.get(key) == frozenset(peer.allowed_ips):
            continue
        lines.append(f"public_key={to_hex(key)}")
        if key not in standing.peers and peer.endpoint is not None:
            lines.append(f"endpoint={peer.endpoint[0]}:{peer.endpoint[1]}")
        lines += [f"persistent_keepalive_interval={peer.keepalive_seconds}", "replace_allowed_ips=true"]
        lines += [f"allowed_ip={prefix}" for prefix in peer.allowed_ips]
    return lines


def to_hex(key: str) -> str:
    """A base64 key as the protocol writes it."""
    return base64.b64decode(key).hex()
