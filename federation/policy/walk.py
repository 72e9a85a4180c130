"""The walk over compiled tables, in Python: what the kernel's program does, for tests, fakes and explanations."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from federation.identities import IdentityNumber
from federation.policy.tables import (
    NO_BIT,
    CompiledRule,
    Direction,
    HostClasses,
    HostStage,
    Tables,
    Verdict,
    covering,
)

ICMP_PROTOCOLS = (1, 58)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What the walk looks at of a connection's first packet. `protocol` is the IANA number."""

    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """What a host endpoint's lists look at. `row` is the peer's; `own_row` that of the end on the host's side: of what passes through
    the host that is not the host."""

    direction: Direction
    """In: it comes to the host's interface from outside, wherever it goes then."""
    row: int
    own_row: int
    packet: Packet
    is_forwarded: bool = False
    """Whether it passes through the host; else it is the host's own."""


def peer_row(tables: Tables, identity: IdentityNumber, address: IPv4Address | IPv6Address) -> int:
    """All bits that are set for a peer: its identity's and its longest prefix's."""
    rows: Any = tables.prefix_rows  # of both families, which never meet
    net = covering(rows, ip_network(address))
    return tables.identity_rows.get(identity, 0) | (tables.prefix_rows[net] if net else 0)


def walk(
    tables: Tables, class_number: int, direction: Direction, row: int, packet: Packet, own_row: int = 0
) -> tuple[Verdict, int | None]:
    """The verdict and the id of the rule that gave it (None: the list's end, which allows). `row` is the peer's, `own_row` that of the
    subject's side, which only host endpoints' lists ask."""
    rules = tables.classes[class_number][direction]
    index = 0
    while index < len(rules):
        rule = rules[index]
        if matches(rule, own_row if rule.is_own else row, packet):
            if not rule.action.goes_on:
                return Verdict(int(rule.action)), rule.rule_id
            index = rule.next_tier
        else:
            index += 1
    return Verdict.ALLOW, None


def walk_host(
    tables: Tables, classes: HostClasses, crossing: Crossing
) -> tuple[Verdict, HostStage, int | None]:
    """What a host endpoint says of a connection: the verdict, the stage that gave it, and the id of the rule (None: no rule decides, and
    the last stage's end allows). Failsafe ports are rules of the lists.

    An allow of `HostStage.UNTRACKED` also keeps the packet out of connection tracking, so that the way back is asked for itself. Where
    a destination is translated the first two stages see what it was before, the last one what it is then: two crossings, which
    `walk_stage` is for.
    """
    last = HostStage.FORWARD if crossing.is_forwarded else HostStage.NORMAL
    for stage in (HostStage.UNTRACKED, HostStage.PRE_DNAT, last):
        found = walk_stage(tables, classes, stage, crossing)
        if found is not None:
            return found[0], stage, found[1]
    return Verdict.ALLOW, last, None


def walk_stage(
    tables: Tables, classes: HostClasses, stage: HostStage, crossing: Crossing
) -> tuple[Verdict, int] | None:
    """What one of a host endpoint's lists decides, and the id of the rule. None: nothing; the next stage is asked."""
    number, direction = classes.of(stage), crossing.direction
    verdict, rule = walk(tables, number, direction, crossing.row, crossing.packet, crossing.own_row)
    return None if rule is None else (verdict, rule)


def matches(rule: CompiledRule, row: int, packet: Packet) -> bool:
    """Whether one line matches; `row` is that of the end that it asks."""
    for bit, wanted in ((rule.bit, 1), (rule.net_bit, 1), (rule.not_bit, 0), (rule.not_net_bit, 0)):
        if bit != NO_BIT and (row >> bit) & 1 != wanted:
            return False
    if rule.protocol and (packet.protocol == rule.protocol) is rule.is_protocol_negated:
        return False
    if rule.icmp_type >= 0 or rule.icmp_code >= 0 or rule.is_icmp_negated:
        if packet.protocol not in ICMP_PROTOCOLS:
            return False
        is_hit = rule.icmp_type in (-1, packet.icmp_type) and rule.icmp_code in (-1, packet.icmp_code)
        if is_hit is rule.is_icmp_negated:
            return False
    source, destination = rule.source_ports, rule.destination_ports
    if (source != (0, 65535) or destination != (0, 65535)) and packet.protocol not in (6, 17, 132, 136):
        return False
    return (
        source[0] <= packet.source_port <= source[1]
        and destination[0] <= packet.destination_port <= destination[1]
    )
