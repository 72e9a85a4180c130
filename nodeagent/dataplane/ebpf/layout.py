"""The bytes of the maps, as programs/layout.h declares them (native byte order; addresses as on the wire). Pure."""

import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import takewhile

from federation.policy.tables import NO_BIT, CompiledRule, RuleAction

Address = IPv4Address | IPv6Address
ROW_WORDS = 16
ROW_BITS = ROW_WORDS * 64
MAX_RULES = 1024
"""Rules in one list."""
ARENA = 65536
"""Rules in all lists of a node."""
BLOCK = 32
"""Rules that have a summary together: which bits a peer must have for any of them to matter."""
SUMMARIZED_FROM = 2 * BLOCK
"""Rules of a list that begins where a block does; shorter ones are walked rule by rule."""
IS_CACHEABLE, IS_SUMMARIZED, ASKS_OWN = 0x80000000, 0x40000000, 0x20000000
PORTS_SHIFT, PORTS_MOST = 16, 31

CONNECTIONS, OPENINGS = 524288, 65536
"""Connections that a node keeps, and beginnings of some. See docs/design/ebpf.md."""
EVENT_PAGES = 256
STAMPS = 4096
COUNTED_RULES = 32768

ENDPOINT = struct.Struct("=I4s3I2I2I6sH16sI")
HAS_MORE_ADDRESSES, IS_DIRECT = 1, 2
HOST_LISTS = 8
"""Of an interface of the node: one for each stage and direction."""
HOST = struct.Struct(f"=4I{HOST_LISTS}I{HOST_LISTS}II")
IS_BARE, SAFE_SHIFT = 1, 8
MIX = (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35)
WEIGHTS = range(1, 2 * ROW_WORDS, 2)
"""Odd numbers, by which seals tell values apart (programs/verdict.h)."""
MORE_KEY = struct.Struct("=II16s")
LOCAL_KEY = struct.Struct("=I16s")
ADDRESS_KEY = struct.Struct("=I16s")
ADDRESS_VALUE = struct.Struct("=III")
PREFIX_KEY = struct.Struct("=II16s")
NUMBER = struct.Struct("=I")
NUMBER64 = struct.Struct("=Q")
ROW_KEY = struct.Struct("=II")
WORDS = struct.Struct(f"={ROW_WORDS}Q")
ROW = struct.Struct(f"={ROW_WORDS}QQ")
RULE = struct.Struct("=8H4B2H2I")
CONNECTION_KEY = struct.Struct("=16s16s2H2B2x")
CONNECTION = struct.Struct("=2Q2Q2I8II4B")
EVENT = struct.Struct("=3Q16s16s6I2I2H6B6x")
RULE_COUNT = struct.Struct("=QQ")
SETTINGS = struct.Struct("=II")
SHAPES = {
    "endpoints": (4, ENDPOINT.size),
    "hosts": (4, HOST.size),
    "more_addresses": (MORE_KEY.size, NUMBER.size),
    "locals": (LOCAL_KEY.size, NUMBER.size),
    "addresses": (ADDRESS_KEY.size, ADDRESS_VALUE.size),
    "prefixes": (PREFIX_KEY.size, NUMBER.size),
    "identity_rows": (ROW_KEY.size, ROW.size),
    "prefix_rows": (ROW_KEY.size, ROW.size),
    "rules": (NUMBER.size, RULE.size),
    "summaries": (NUMBER.size, ROW_BITS // 8),
    "stamps": (NUMBER.size, NUMBER.size),
    "rule_counts": (NUMBER.size, RULE_COUNT.size),
}
"""Bytes of keys and values of the maps that the agent writes."""
PER_PROCESSOR = frozenset({"rule_counts", "counters"})
"""Maps that hold a value for each processor."""
BANKED = {"addresses": 0, "prefixes": 4, "identity_rows": 0, "prefix_rows": 0}
"""Maps whose keys hold a bank's number, and where; in the first two it is doubled, and odd for IPv6."""
SIZES = {
    "ENDPOINT_SIZE": ENDPOINT.size,
    "HOST_SIZE": HOST.size,
    "ADDRESS_KEY_SIZE": ADDRESS_KEY.size,
    "MORE_KEY_SIZE": MORE_KEY.size,
    "LOCAL_KEY_SIZE": LOCAL_KEY.size,
    "ADDRESS_VALUE_SIZE": ADDRESS_VALUE.size,
    "ROW_SIZE": ROW.size,
    "RULE_SIZE": RULE.size,
    "PREFIX_KEY_SIZE": PREFIX_KEY.size,
    "CONNECTION_KEY_SIZE": CONNECTION_KEY.size,
    "CONNECTION_SIZE": CONNECTION.size,
    "EVENT_SIZE": EVENT.size,
    "CONNECTIONS": CONNECTIONS,
    "OPENINGS": OPENINGS,
    "EVENT_PAGES": EVENT_PAGES,
}
"""Handed to the C compiler, which refuses a difference."""
COUNTERS = (
    "allowed", "denied", "unknown endpoint", "spoofed", "not IP", "fragment", "malformed", "cut", "table full", "too long", "link-local",
    "event lost",
)  # fmt: skip
"""Reasons, by number."""
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
    index: int,
    addresses: Sequence[Address],
    mac: bytes,
    identity: int,
    generation: tuple[int, int],
    lists: Sequence[Extent],
    *,
    is_direct: bool = False,
) -> bytes:
    """The entry of the endpoint behind interface `index`: its first address of each family, `mac` (6 bytes or none), `generation` (bank, epoch), `lists` by Direction.
    `is_direct`: other endpoints of the node may hand it packets past the node's stack."""
    first: dict[int, bytes] = {}
    for address in addresses:
        first.setdefault(address.version, address.packed)
    starts, counts = [e.start for e in lists], [e.count for e in lists]
    flags = HAS_MORE_ADDRESSES * (len(first) < len(addresses)) | IS_DIRECT * is_direct
    v4, v6 = first.get(4, b""), first.get(6, b"")
    return ENDPOINT.pack(index, v4, identity, *generation, *starts, *counts, mac, flags, v6, generation[1])


def host(
    index: int, generation: tuple[int, int], lists: Sequence[Extent], *, is_bare: bool = False, safe: int = 0
) -> bytes:
    """The entry of an interface of the node: `generation` (bank, epoch), `lists` by HostStage and Direction. `is_bare`: packets have no
    Ethernet header there. `safe`: rules of what comes in for the node itself that let failsafe ports pass."""
    starts, counts = [e.start for e in lists], [e.count for e in lists]
    flags = IS_BARE * is_bare | safe << SAFE_SHIFT
    return HOST.pack(index, *generation, flags, *starts, *counts, generation[1])


def more_addresses(index: int, addresses: Sequence[Address]) -> set[bytes]:
    """Keys of what an endpoint has beyond the first address of each family."""
    seen: set[int] = set()
    keys = set()
    for address in addresses:
        if address.version in seen:
            keys.add(MORE_KEY.pack(index, address.version == 6, address.packed))
        seen.add(address.version)
    return keys


def local_key(address: Address) -> bytes:
    """Key in `locals` of an address of this node's endpoints."""
    return LOCAL_KEY.pack(address.version == 6, address.packed)


def mark(bank: int, epoch: int) -> bytes:
    """The entry that belongs to no endpoint: the numbers that are taken."""
    return endpoint(0, (), b"", 0, (bank, epoch), (Extent(0, 0), Extent(0, 0)))


def space(bank: int, version: int) -> int:
    """A bank's number for one family of addresses."""
    return bank << 1 | (version == 6)


def address_key(bank: int, address: Address) -> bytes:
    """An address of one bank."""
    return ADDRESS_KEY.pack(space(bank, address.version), address.packed)


def address_value(address: Address, identity: int, prefix: int) -> bytes:
    """Who is at an address, and the number of the prefix around it."""
    seal = _mixed(address) * MIX[0] + identity * MIX[1] + prefix * MIX[2]
    return ADDRESS_VALUE.pack(identity, prefix, seal & 0xFFFFFFFF)


def stamp_of(address: Address) -> int:
    """Place in `stamps` of what may have changed at an address (programs/connections.h, stamp_of)."""
    return (_mixed(address) * MIX[0] & 0xFFFFFFFF) >> 20


def _mixed(address: Address) -> int:
    mixed = int.from_bytes(address.packed, sys.byteorder)
    mixed ^= mixed >> 64
    return (mixed ^ mixed >> 32) & 0xFFFFFFFF


def bank_in(name: str, key: bytes) -> int:
    """The bank that a key of one of BANKED belongs to."""
    at = BANKED[name]
    number: int = NUMBER.unpack_from(key, at)[0]
    return number if name.endswith("_rows") else number >> 1


def rule(line: CompiledRule) -> bytes:
    """One line of a list."""
    asks_icmp = line.icmp_type >= 0 or line.icmp_code >= 0 or line.is_icmp_negated
    asks_ports = line.source_ports != ANY_PORTS or line.destination_ports != ANY_PORTS
    flags = line.is_protocol_negated | asks_icmp << 1 | line.is_icmp_negated << 2 | asks_ports << 3
    asked = (line.bit, line.net_bit, line.not_bit, line.not_net_bit)
    flags |= sum((bit != NO_BIT) << (4 + place) for place, bit in enumerate(asked))
    icmp = (line.icmp_type & 0xFFFF, line.icmp_code & 0xFFFF)
    bits = (line.bit, line.not_bit, line.net_bit, line.not_net_bit)
    next_tier = line.next_tier if line.action.goes_on else 0
    return RULE.pack(
        *bits,
        *line.source_ports,
        *line.destination_ports,
        line.protocol,
        flags,
        line.action,
        line.is_own,
        *icmp,
        next_tier,
        line.rule_id + 1,
    )


def summary(lines: Sequence[CompiledRule]) -> bytes:
    """Of the rules of one block: a peer whose row has none of these bits is met by none of them."""
    bits = 0
    for line in lines:
        asked = [bit for bit in (line.bit, line.net_bit) if bit != NO_BIT and not line.is_own]
        bits |= 1 << asked[0] if asked else 2**ROW_BITS - 1
    return words_of(bits)


def list_flags(lines: tuple[CompiledRule, ...]) -> int:
    """Whether each block of a list has a summary; and whether the verdict cache's key holds all that it asks: nothing of ICMP, no source
    ports, nothing of who is on the node's side; and its answer all that it says: nothing of logging."""
    summarized = IS_SUMMARIZED if len(lines) >= SUMMARIZED_FROM else 0
    asks_more = any(
        line.icmp_type >= 0
        or line.icmp_code >= 0
        or line.is_icmp_negated
        or line.source_ports != ANY_PORTS
        or line.is_own
        or line.action is RuleAction.LOG
        for line in lines
    )
    asks_own = ASKS_OWN if any(line.is_own for line in lines) else 0
    of_ports = sum(1 for _ in takewhile(_asks_ports, lines[:PORTS_MOST])) << PORTS_SHIFT
    return summarized | asks_own | of_ports | (0 if asks_more else IS_CACHEABLE)


def _asks_ports(line: CompiledRule) -> bool:
    ports = (line.source_ports, line.destination_ports)
    return line.protocol != 0 and not line.is_protocol_negated and ports != (ANY_PORTS, ANY_PORTS)


def row(bank: int, number: int, bits: int) -> bytes:
    """A row of bits, of an identity or a prefix of that number."""
    words, weight = _weighed(bits)
    return words + NUMBER64.pack((number << 32 | bank) * MIX[0] + weight & 0xFFFFFFFFFFFFFFFF)


@lru_cache(maxsize=1024)
def _weighed(bits: int) -> tuple[bytes, int]:
    """The same for all whose bits are the same, and they are many: identities of one selector."""
    words = words_of(bits)
    return words, sum(word * weight for word, weight in zip(WORDS.unpack(words), WEIGHTS, strict=True))


def words_of(bits: int) -> bytes:
    """Bits as the programs index them: bit N is in word N / 64."""
    raw = (bits & (1 << ROW_BITS) - 1).to_bytes(ROW_BITS // 8, "little")  # lists that ask the rest are denied
    return raw if sys.byteorder == "little" else WORDS.pack(*struct.unpack(f"<{ROW_WORDS}Q", raw))


def prefix_key(bank: int, net: IPv4Network | IPv6Network) -> bytes:
    """A prefix of one bank: the trie's first 32 bits are the bank's number and the family."""
    return PREFIX_KEY.pack(32 + net.prefixlen, space(bank, net.version), net.network_address.packed)
