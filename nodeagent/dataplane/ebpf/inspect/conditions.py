"""Why a rule does not match a packet, in words. Pure; asked after `federation.policy.walk.matches` has said no."""

from federation.policy.tables import NO_BIT, CompiledRule
from federation.policy.walk import ICMP_PROTOCOLS, Packet

ANY_PORTS = (0, 65535)


def mismatch(line: CompiledRule, row: int, packet: Packet) -> str:
    """The first condition that does not hold."""
    return _peer(line, row) or _protocol(line, packet) or _ports(line, packet)


def _peer(line: CompiledRule, row: int) -> str:
    asked = (
        (line.bit, 1, "its selector"),
        (line.net_bit, 1, "its prefixes"),
        (line.not_bit, 0, "its negated selector"),
        (line.not_net_bit, 0, "its negated prefixes"),
    )
    for bit, wanted, what in asked:
        if bit != NO_BIT and (row >> bit) & 1 != wanted:
            return f"the peer does not match {what} (predicate {bit})"
    return ""


def _protocol(line: CompiledRule, packet: Packet) -> str:
    if line.protocol and (packet.protocol == line.protocol) is line.is_protocol_negated:
        return f"protocol {packet.protocol} is {'excluded' if line.is_protocol_negated else f'not {line.protocol}'}"
    asks_icmp = line.icmp_type >= 0 or line.icmp_code >= 0 or line.is_icmp_negated
    if not asks_icmp:
        return ""
    if packet.protocol not in ICMP_PROTOCOLS:
        return "it asks an ICMP type"
    is_hit = line.icmp_type in (-1, packet.icmp_type) and line.icmp_code in (-1, packet.icmp_code)
    said = f"ICMP type {packet.icmp_type} code {packet.icmp_code} does not match"
    return said if is_hit is line.is_icmp_negated else ""


def _ports(line: CompiledRule, packet: Packet) -> str:
    for (low, high), port, what in (
        (line.source_ports, packet.source_port, "source"),
        (line.destination_ports, packet.destination_port, "destination"),
    ):
        if not low <= port <= high:
            return f"{what} port {port} is not {low if low == high else f'in {low}-{high}'}"
    return "it asks ports, which the protocol has not"
