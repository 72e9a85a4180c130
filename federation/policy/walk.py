"""The walk over compiled tables, in Python: what the kernel's program does, for tests, fakes and explanations."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from federation.identities import IdentityNumber
from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction, Tables, Verdict, covering

ICMP_PROTOCOLS = (1, 58)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What the walk looks at of a connection's first packet. `protocol` is the IANA number."""

    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0


def peer_row(tables: Tables, identity: IdentityNumber, address: IPv4Address | IPv6Address) -> int:
    """All bits that are set for a peer: its identity's and its longest prefix's."""
    rows: Any = tables.prefix_rows  # of both families, which never meet
    net = covering(rows, ip_network(address))
    return tables.identity_rows.get(identity, 0) | (tables.prefix_rows[net] if net else 0)


def walk(
    tables: Tables, class_number: int, direction: Direction, row: int, packet: Packet
) -> tuple[Verdict, int | None]:
    """The verdict and the id of the rule that gave it (None: the list's end, which allows)."""
    rules = tables.classes[class_number][direction]
    index = 0
    while index < len(rules):
        rule = rules[index]
        if matches(rule, row, packet):
            if rule.action is not RuleAction.PASS:
                return Verdict(int(rule.action)), rule.rule_id
            index = rule.next_tier
        else:
            index += 1
    return Verdict.ALLOW, None


def matches(rule: CompiledRule, row: int, packet: Packet) -> bool:
    """Whether one line matches."""
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
