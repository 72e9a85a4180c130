"""The bytes of the maps, as programs/endpoint.c declares them (native byte order; addresses as on the wire). Pure."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from federation.policy.tables import NO_BIT, CompiledRule, RuleAction

ROW_WORDS = 16
ROW_BITS = ROW_WORDS * 64
MAX_RULES = 512
"""Rules in one list."""
ARENA = 65536
"""Rules in all lists of a node."""
IS_CACHEABLE = 0x80000000

ENDPOINT = struct.Struct("=4s3I2I2I")
ADDRESS_KEY = struct.Struct("=I4s")
ADDRESS_VALUE = struct.Struct("=II")
PREFIX_KEY = struct.Struct("=II4s")
NUMBER = struct.Struct("=I")
ROW_KEY = struct.Struct("=II")
ROW = struct.Struct(f"={ROW_WORDS}Q")
RULE = struct.Struct("=8H4B2H2I")
SHAPES = {
    "endpoints": (4, ENDPOINT.size),
    "addresses": (ADDRESS_KEY.size, ADDRESS_VALUE.size),
    "prefixes": (PREFIX_KEY.size, NUMBER.size),
    "identity_rows": (ROW_KEY.size, ROW.size),
    "prefix_rows": (ROW_KEY.size, ROW.size),
    "rules": (NUMBER.size, RULE.size),
}
"""Bytes of keys and values of the maps that the agent writes."""
BANKED = {"addresses": 0, "prefixes": 4, "identity_rows": 0, "prefix_rows": 0}
"""Maps whose keys hold a bank's number, and where."""
SIZES = {
    "ENDPOINT_SIZE": ENDPOINT.size,
    "ADDRESS_KEY_SIZE": ADDRESS_KEY.size,
    "ROW_SIZE": ROW.size,
    "RULE_SIZE": RULE.size,
    "PREFIX_KEY_SIZE": PREFIX_KEY.size,
}
"""Handed to the C compiler, which refuses a difference."""
COUNTERS = ("allowed", "denied", "unknown endpoint", "spoofed", "not IPv4", "fragment", "malformed", "cut")
ANY_PORTS = (0, 65535)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a list of rules lies in the arena. `flags` go into the count."""

    start: int
    size: int
    flags: int = 0

    @property
    def count(self) -> int:
        """What the endpoint's entry holds."""
        return self.size | self.flags if self.size else 0


def endpoint(
    address: IPv4Address, identity: int, generation: tuple[int, int], lists: tuple[Extent, Extent]
) -> bytes:
    """An endpoint's entry: `generation` is (bank, epoch), `lists` by Direction."""
    starts, counts = [e.start for e in lists], [e.count for e in lists]
    return ENDPOINT.pack(address.packed, identity, *generation, *starts, *counts)


def mark(bank: int, epoch: int) -> bytes:
    """The entry that belongs to no endpoint: the numbers that are taken."""
    return endpoint(IPv4Address(0), 0, (bank, epoch), (Extent(0, 0), Extent(0, 0)))


def rule(line: CompiledRule) -> bytes:
    """One line of a list."""
    asks_icmp = line.icmp_type >= 0 or line.icmp_code >= 0 or line.is_icmp_negated
    asks_ports = line.source_ports != ANY_PORTS or line.destination_ports != ANY_PORTS
    flags = line.is_protocol_negated | asks_icmp << 1 | line.is_icmp_negated << 2 | asks_ports << 3
    asked = (line.bit, line.net_bit, line.not_bit, line.not_net_bit)
    flags |= sum((bit != NO_BIT) << (4 + place) for place, bit in enumerate(asked))
    icmp = (line.icmp_type & 0xFFFF, line.icmp_code & 0xFFFF)
    bits = (line.bit, line.not_bit, line.net_bit, line.not_net_bit)
    next_tier = line.next_tier if line.action is RuleAction.PASS else 0
    return RULE.pack(
        *bits,
        *line.source_ports,
        *line.destination_ports,
        line.protocol,
        flags,
        line.action,
        0,
        *icmp,
        next_tier,
        line.rule_id,
    )


def list_flags(lines: tuple[CompiledRule, ...]) -> int:
    """Whether the verdict cache's key holds all that a list asks: nothing of ICMP, no source ports."""
    asks_more = any(
        line.icmp_type >= 0 or line.icmp_code >= 0 or line.is_icmp_negated or line.source_ports != ANY_PORTS
        for line in lines
    )
    return 0 if asks_more else IS_CACHEABLE


def row(bits: int) -> bytes:
    """A row of bits."""
    return ROW.pack(*((bits >> (64 * word)) & (2**64 - 1) for word in range(ROW_WORDS)))


def prefix_key(bank: int, net: IPv4Network) -> bytes:
    """A prefix of one bank: the trie's first 32 bits are the bank's number."""
    return PREFIX_KEY.pack(32 + net.prefixlen, bank, net.network_address.packed)
