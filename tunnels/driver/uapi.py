"""WireGuard's configuration protocol of user-space implementations (wireguard.com/xplatform): text over a UNIX socket."""

import base64
import socket
from ipaddress import IPv4Network
from pathlib import Path

from federation.errors import DriverError
from tunnels.driver.plan import Observed, Plan
from tunnels.keys import public_key_of


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
    endpoints: dict[str, str] = {}
    handshakes: dict[str, int] = {}
    current, port, public = "", 0, ""
    for line in text.splitlines():
        name, _, value = line.partition("=")
        match name:
            case "private_key":
                public = public_key_of(bytes.fromhex(value))
            case "listen_port":
                port = int(value)
            case "public_key":
                current = base64.b64encode(bytes.fromhex(value)).decode()
                peers[current] = set()
            case "endpoint":
                endpoints[current] = value
            case "allowed_ip" if ":" not in value:
                peers[current].add(IPv4Network(value))
            case "last_handshake_time_sec":
                handshakes[current] = int(value)
    return Observed(
        public_key=public,
        listen_port=port,
        peers={key: frozenset(nets) for key, nets in peers.items()},
        endpoints=endpoints,
        handshakes=handshakes,
    )


def request_of(plan: Plan, private_key: bytes) -> str:
    """The `set=1` operation of a plan."""
    lines = ["set=1"]
    if plan.has_new_key:
        lines.append(f"private_key={private_key.hex()}")
    if plan.listen_port is not None:
        lines.append(f"listen_port={plan.listen_port}")
    for key in plan.removals:
        lines += [f"public_key={to_hex(key)}", "remove=true"]
    for change in plan.changes:
        lines.append(f"public_key={to_hex(change.public_key)}")
        if change.endpoint is not None:
            lines.append(f"endpoint={change.endpoint[0]}:{change.endpoint[1]}")
        lines += [f"persistent_keepalive_interval={change.keepalive_seconds}", "replace_allowed_ips=true"]
        lines += [f"allowed_ip={prefix}" for prefix in change.allowed_ips]
    return "\n".join(lines) + "\n\n"


def to_hex(key: str) -> str:
    """A base64 key as the protocol writes it."""
    return base64.b64decode(key).hex()
