"""WireGuard in the kernel, by generic netlink (linux/wireguard.h)."""

import base64
import errno
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from typing import Any

from pyroute2 import WireGuard
from pyroute2.netlink.exceptions import NetlinkError

from federation.errors import DriverError, PlatformLack
from tunnels.driver import interface as link
from tunnels.driver.plan import Observed, PeerChange, TunnelSettings, begin_anew, plan
from tunnels.keys import KeyPair
from tunnels.peers import TunnelPeer

KIND = "wireguard"
PROBE = "cw-wg-probe"


def is_available() -> bool:
    """Whether this kernel makes WireGuard interfaces: tried, with one that is removed at once."""
    try:
        link.make(PROBE, KIND)
    except NetlinkError as error:
        return bool(error.code == errno.EEXIST)
    link.remove(PROBE)
    return True


class KernelTunnel:
    """TunnelDriver by the kernel's own WireGuard. The interface outlives the agent, and is adopted by the next."""

    name = "kernel WireGuard"

    def __init__(self, interface: str, keys: KeyPair) -> None:
        self.interface = interface
        self.keys = keys

    def converge(self, settings: TunnelSettings) -> bool:
        """Make the interface so. Raises DriverError or PlatformLack."""
        try:
            if not self.is_alive():
                link.make(self.interface, KIND)
            with WireGuard() as netlink:
                standing = observed_of(netlink.info(self.interface))
                change = plan(standing, self.keys.public, settings.listen_port, settings.peers)
                for message in messages_of(change, self.keys):
                    netlink.set(self.interface, **message)
        except NetlinkError as error:
            if error.code in (errno.EOPNOTSUPP, errno.ENOENT):
                hint = "install wireguard-go; policy is enforced meanwhile"
                raise PlatformLack("this kernel has no WireGuard", hint=hint) from error
            raise DriverError(f"WireGuard interface {self.interface}: {error}") from error
        link.bring_up(self.interface, settings)
        return not change.is_empty

    def observed(self) -> Observed | None:
        """What stands. Raises DriverError."""
        if not self.is_alive():
            return None
        try:
            with WireGuard() as netlink:
                return observed_of(netlink.info(self.interface))
        except NetlinkError as error:
            raise DriverError(f"WireGuard interface {self.interface}: {error}") from error

    def begin_anew(self, peers: Sequence[TunnelPeer]) -> None:
        """Send their first handshake once more. Raises DriverError."""
        try:
            with WireGuard() as netlink:
                change = begin_anew(observed_of(netlink.info(self.interface)), peers)
                for message in messages_of(change, self.keys):
                    netlink.set(self.interface, **message)
        except NetlinkError as error:
            raise DriverError(f"WireGuard interface {self.interface}: {error}") from error

    def is_alive(self) -> bool:
        """The kernel moves packets as long as the interface stands."""
        return link.index_of(self.interface) is not None

    def remove(self) -> None:
        """End the interface."""
        link.remove(self.interface)


def messages_of(change: Any, keys: KeyPair) -> list[dict[str, Any]]:
    """The arguments of each WG_CMD_SET_DEVICE of a plan, in order: one message holds one peer."""
    messages: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    if change.has_new_key:
        first["private_key"] = base64.b64encode(keys.private)
    if change.listen_port is not None:
        first["listen_port"] = change.listen_port
    if first:
        messages.append(first)
    messages += [{"peer": {"public_key": key, "remove": True}} for key in change.removals]
    messages += [{"peer": _peer(each)} for each in change.changes]
    return messages


def _peer(change: PeerChange) -> dict[str, Any]:
    peer: dict[str, Any] = {
        "public_key": change.public_key,
        "persistent_keepalive": change.keepalive_seconds,
        "replace_allowed_ips": True,
        "allowed_ips": [str(net) for net in change.allowed_ips],
    }
    if change.endpoint is not None:
        peer |= {"endpoint_addr": change.endpoint[0], "endpoint_port": change.endpoint[1]}
    return peer


def observed_of(messages: Iterable[Any]) -> Observed:
    """What WG_CMD_GET_DEVICE answered; a device with many peers comes in several messages, a peer may be continued."""
    public, port = "", 0
    peers: dict[str, set[IPv4Network]] = {}
    endpoints: dict[str, str] = {}
    handshakes: dict[str, int] = {}
    for message in messages:
        key = message.get_attr("WGDEVICE_A_PUBLIC_KEY")
        public = _text(key) or public
        port = message.get_attr("WGDEVICE_A_LISTEN_PORT") or port
        for peer in message.get_attr("WGDEVICE_A_PEERS") or ():
            name = _text(peer.get_attr("WGPEER_A_PUBLIC_KEY"))
            nets = peers.setdefault(name, set())
            for allowed in peer.get_attr("WGPEER_A_ALLOWEDIPS") or ():
                if ":" not in allowed["addr"]:
                    nets.add(IPv4Network(allowed["addr"]))
            if endpoint := peer.get_attr("WGPEER_A_ENDPOINT"):
                endpoints[name] = f"{endpoint['addr']}:{endpoint['port']}"
            if handshake := peer.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME"):
                handshakes[name] = int(handshake["tv_sec"])
    return Observed(
        public_key=public,
        listen_port=port,
        peers={name: frozenset(nets) for name, nets in peers.items()},
        endpoints=endpoints,
        handshakes=handshakes,
    )


def _text(key: Any) -> str:
    value = key.get("value") if isinstance(key, dict) else key
    return value.decode() if isinstance(value, bytes) else str(value or "")
