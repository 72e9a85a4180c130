"""The connections that a node remembers, with the rule that let each through."""

from collections.abc import Iterator
from dataclasses import dataclass

from federation.policy.tables import Direction
from nodeagent.dataplane.ebpf.inspect import decode
from nodeagent.dataplane.ebpf.inspect.decode import Connection
from nodeagent.dataplane.ebpf.inspect.names import Names
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.plan import MARK

TABLES = ("connections", "openings")
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
NUMBERS = {name: number for number, name in PROTOCOLS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLine:
    """One connection, seen from the node's own endpoint, or from the node where it passes a host endpoint. Sizes are packets and bytes
    that it sent and got."""

    local: str
    local_name: str
    local_port: int
    remote: str
    remote_name: str
    remote_port: int
    protocol: str
    direction: str
    """`ingress`: the remote opened it; `egress`: the endpoint did."""
    state: str
    age_seconds: float
    expires_seconds: float
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    rule: str
    """What allowed it; `none`: no policy selects the endpoint in that direction."""
    rtt_microseconds: int
    is_current: bool
    """False: policy has changed since; its next packet is judged again."""


def connection_lines(pins: Pins, names: Names, now: int, endpoint: str = "") -> Iterator[ConnectionLine]:
    """What stands at a moment (CLOCK_MONOTONIC, ns), as it is read; what has expired is left out. `endpoint`: an ObjectKey.path, of that
    only. Raises DriverError."""
    epochs = {
        decode.number(key): decode.endpoint(value).epoch
        for key, value in pins.entries("endpoints")
        if key != MARK
    }
    hosts = {decode.number(key): decode.host(value).epoch for key, value in pins.entries("hosts")}
    epochs |= hosts
    for table in TABLES:
        for key, value in pins.entries(table):
            for seen in decode.connections(key, value):
                # In the entry the node's own interface has the side of the end outside.
                found = decode.turned(seen) if seen.index in hosts else seen
                if found.deadline > now and (not endpoint or names.who(found.local) == endpoint):
                    yield _line(found, names, now, is_current=found.epoch == epochs.get(found.index))


def protocol_name(number: int) -> str:
    """A protocol for people."""
    return PROTOCOLS.get(number, str(number))


def _line(found: Connection, names: Names, now: int, *, is_current: bool) -> ConnectionLine:
    received, sent = Direction.INGRESS, Direction.EGRESS
    return ConnectionLine(
        local=str(found.local),
        local_name=names.who(found.local),
        local_port=found.local_port,
        remote=str(found.remote),
        remote_name=names.who(found.remote),
        remote_port=found.remote_port,
        protocol=protocol_name(found.protocol),
        direction=found.direction.name.lower(),
        state=found.state,
        age_seconds=max(0, now - found.opened_at) / 1e9,
        expires_seconds=(found.deadline - now) / 1e9,
        packets_sent=found.packets[sent],
        packets_received=found.packets[received],
        bytes_sent=found.bytes[sent],
        bytes_received=found.bytes[received],
        rule=names.rule(found.rule_id),
        rtt_microseconds=found.rtt_us,
        is_current=is_current,
    )
