"""Failsafe ports: what host endpoints always let pass, so that nobody locks himself out. Source: Calico's FelixConfiguration
(failsafeInboundHostPorts, failsafeOutboundHostPorts), and what this product's own nodes need of each other."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from federation.policy.model import Prefix
from federation.policy.tables import Direction
from federation.policy.world import Address
from federation.rules.protocols import protocol_number

NONE = "none"
ENTRY = re.compile(
    r"(?:(tcp|udp|sctp):)?(?:(?:\[([0-9a-f:.]+/\d+)\]|([0-9.]+/\d+)):)?(\d{1,5})", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class FailsafePort:
    """A destination port."""

    protocol: int
    """IANA number."""
    port: int
    net: Prefix | None = None
    """Where the peer must be; None: anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failsafe:
    """What comes in, and what the host sends."""

    inbound: tuple[FailsafePort, ...]
    outbound: tuple[FailsafePort, ...]

    def ports(self, direction: Direction) -> tuple[FailsafePort, ...]:
        """Those of a direction."""
        return self.inbound if direction is Direction.INGRESS else self.outbound

    def is_safe(self, direction: Direction, protocol: int, port: int, peer: Address | None) -> bool:
        """Whether a connection passes, whatever policy says."""
        return _is_among(self.ports(direction), protocol, port, peer)

    def is_answer(self, direction: Direction, protocol: int, source_port: int, peer: Address | None) -> bool:
        """Whether it may be the way back of such a connection: what is asked of each packet by itself must let that be."""
        return _is_among(self.ports(Direction(1 - direction)), protocol, source_port, peer)


def with_more(
    failsafe: Failsafe, *, inbound: Iterable[FailsafePort] = (), outbound: Iterable[FailsafePort] = ()
) -> Failsafe:
    """The same, and further ports."""
    return Failsafe(
        inbound=tuple(dict.fromkeys((*failsafe.inbound, *inbound))),
        outbound=tuple(dict.fromkeys((*failsafe.outbound, *outbound))),
    )


def _is_among(ports: tuple[FailsafePort, ...], protocol: int, port: int, peer: Address | None) -> bool:
    return any(
        (each.protocol, each.port) == (protocol, port)
        and (each.net is None or (peer is not None and peer in each.net))
        for each in ports
    )


def _ports(*entries: str) -> tuple[FailsafePort, ...]:
    return parse_ports(",".join(entries))


def parse_ports(text: str) -> tuple[FailsafePort, ...]:
    """Ports as Felix's settings write them: `none`, or a list like `tcp:22, udp:10.0.0.0/8:68, tcp:[fd00::/8]:179, 443` (a port alone
    is TCP's). Raises ValueError, naming what is wrong."""
    if text.strip().lower() == NONE:
        return ()
    return tuple(dict.fromkeys(_parsed(entry.strip()) for entry in text.split(",")))


def _parsed(entry: str) -> FailsafePort:
    found = ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(f"{entry!r} is not like tcp:22 or udp:10.0.0.0/8:68")
    protocol, v6, v4, port = found.groups()
    if not 1 <= int(port) <= 65535:
        raise ValueError(f"{entry!r}: {port} is not in 1-65535")
    net = ip_network(v6 or v4) if v6 or v4 else None
    return FailsafePort(protocol_number(protocol or "tcp"), int(port), net)


def written(ports: Iterable[FailsafePort]) -> str:
    """The inverse of `parse_ports`."""
    names = {6: "tcp", 17: "udp", 132: "sctp"}
    found = []
    for each in ports:
        net = "" if each.net is None else f"[{each.net}]:" if each.net.version == 6 else f"{each.net}:"
        found.append(f"{names[each.protocol]}:{net}{each.port}")
    return ",".join(found) or NONE


CONTROL_PORT, WIREGUARD_PORT = 8440, 51820
_BOTH = (
    *(f"tcp:{port}" for port in (179, 2379, 2380, 5473, 6443, 6666, 6667, CONTROL_PORT)),
    f"udp:{WIREGUARD_PORT}",
)
FAILSAFE = Failsafe(inbound=_ports("tcp:22", "udp:68", *_BOTH), outbound=_ports("udp:53", "udp:67", *_BOTH))
"""Calico's defaults (SSH, DHCP, DNS, BGP, etcd, Typha, the API server), the control plane, and WireGuard."""
