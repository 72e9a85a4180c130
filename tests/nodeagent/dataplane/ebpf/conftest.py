"""Maps in memory, read byte by byte as the program reads them."""

from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_network

import pytest

from federation.identities import HOST, WORLD
from federation.policy.tables import CompiledRule, Direction, RuleAction, Verdict
from federation.policy.walk import Packet, matches
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.writes import Delete, Sweep, Update, Write
from nodeagent.drivers import Address

EVERY = 2**64 - 1
"""A summary's first word, when it has one of these rules that asks no bit."""


@cache
def keys_around(bank: int, address: Address) -> list[bytes]:
    """Of all prefixes that could cover an address, the longest first."""
    lengths = range(address.max_prefixlen, -1, -1)
    return [layout.prefix_key(bank, ip_network((address, length), strict=False)) for length in lengths]


@dataclass
class Maps:
    """What the kernel would hold, and a naive copy of the program."""

    held: dict[str, dict[bytes, bytes]] = field(default_factory=lambda: {name: {} for name in layout.SHAPES})

    def apply(self, write: Write) -> None:
        entries = self.held[write.map]
        match write:
            case Update():
                key_size, value_size = layout.SHAPES[write.map]
                assert all(len(k) == key_size and len(v) == value_size for k, v in write.entries.items())
                entries.update(write.entries)
            case Delete():
                for key in write.keys:
                    entries.pop(key, None)
            case Sweep():
                for key in [key for key in entries if layout.bank_in(write.map, key) not in write.kept]:
                    del entries[key]

    def judge(self, index: int, direction: Direction, peer: Address, packet: Packet) -> Verdict:
        """Of a new connection; an interface without an entry is denied."""
        raw = self.held["endpoints"].get(layout.NUMBER.pack(index))
        if raw is None:
            return Verdict.DENY
        _, _, _, bank, _, *lists = layout.ENDPOINT.unpack(raw)
        start, count = lists[direction], lists[2 + direction]
        identity, prefix = self.peer(bank, peer)
        if (identity == HOST and direction is Direction.INGRESS) or count == 0:
            return Verdict.ALLOW
        row = self.merged(bank, identity, prefix)
        at, size = 0, count & 0xFFFF
        while at < size:
            if (
                count & layout.IS_SUMMARIZED
                and at % layout.BLOCK == 0
                and self.is_passed_over(start + at, row)
            ):
                at += layout.BLOCK
                continue
            rule = self.rule(start + at)
            at += 1
            if matches(rule, row, packet):
                if not rule.action.goes_on:
                    return Verdict(int(rule.action))
                at = rule.next_tier
        return Verdict.ALLOW

    def judge_host(
        self, index: int, direction: Direction, outer: Address, inner: Address, packet: Packet
    ) -> Verdict:
        """The same at an interface of the node; without an entry nothing is asked. What is not for an address of the node goes on."""
        raw = self.held["hosts"].get(layout.NUMBER.pack(index))
        if raw is None:
            return Verdict.ALLOW
        own_index, bank, epoch, _, *numbers = layout.HOST.unpack(raw)
        assert (own_index, numbers[-1]) == (index, epoch)
        (identity, prefix), far = self.peer(bank, outer), self.peer(bank, inner)
        rows = self.merged(bank, identity, prefix), self.merged(bank, *far)
        for stage in (0, 1, 3 if far[0] == HOST else 2):
            place = stage * 2 + direction
            start, size = numbers[place], numbers[layout.HOST_LISTS + place] & 0xFFFF
            at = 0
            while at < size:
                rule = self.rule(start + at)
                at += 1
                if matches(rule, rows[rule.is_own], packet):
                    if not rule.action.goes_on:
                        return Verdict(int(rule.action))
                    at = rule.next_tier
        return Verdict.ALLOW

    def remembered_host(self, index: int, outer: Address, inner: Address) -> object:
        """What a connection there keeps."""
        raw = self.held["hosts"].get(layout.NUMBER.pack(index))
        if raw is None:
            return "nothing"
        places = [layout.NUMBER.pack(layout.stamp_of(address)) for address in (outer, inner)]
        stamps = [layout.NUMBER.unpack(self.held["stamps"].get(place, bytes(4)))[0] for place in places]
        return layout.HOST.unpack(raw)[2], sum(stamps)

    def merged(self, bank: int, identity: int, prefix: int) -> int:
        bits = self.row("identity_rows", bank, identity)
        return bits | self.row("prefix_rows", bank, prefix) if prefix else bits

    def is_passed_over(self, index: int, row: int) -> bool:
        raw = self.held["summaries"][layout.NUMBER.pack(index // layout.BLOCK)]
        bits = row_of(raw)
        return not bits & row and bits & EVERY != EVERY

    def remembered(self, index: int, peer: Address) -> tuple[object, object]:
        """What a connection of this endpoint with that peer keeps, and what a cached answer does: other ones are not believed."""
        raw = self.held["endpoints"].get(layout.NUMBER.pack(index))
        if raw is None:
            return "nothing", "nothing"
        _, _, _, bank, epoch, *lists = layout.ENDPOINT.unpack(raw)
        stamp = self.held["stamps"].get(layout.NUMBER.pack(layout.stamp_of(peer)), bytes(4))
        return (epoch, stamp), (epoch, bank, self.peer(bank, peer), *lists[:2])

    def peer(self, bank: int, address: Address) -> tuple[int, int]:
        raw = self.held["addresses"].get(layout.address_key(bank, address))
        if raw is not None:
            identity, prefix, _ = layout.ADDRESS_VALUE.unpack(raw)
            assert raw == layout.address_value(address, identity, prefix)
            return identity, prefix
        for key in keys_around(bank, address):
            found = self.held["prefixes"].get(key)
            if found is not None:
                return WORLD, layout.NUMBER.unpack(found)[0]
        return WORLD, 0

    def row(self, name: str, bank: int, number: int) -> int:
        raw = self.held[name].get(layout.ROW_KEY.pack(bank, number))
        return self.sealed(raw, bank, number) if raw else 0

    def sealed(self, raw: bytes, bank: int, number: int) -> int:
        bits = row_of(raw[: layout.WORDS.size])
        assert raw == layout.row(bank, number, bits)
        return bits

    def rule(self, index: int) -> CompiledRule:
        (bit, not_bit, net_bit, not_net_bit, *rest) = layout.RULE.unpack(
            self.held["rules"][layout.NUMBER.pack(index)]
        )
        source_low, source_high, low, high, protocol, flags, action, is_own, icmp_type, icmp_code, following, number = rest  # fmt: skip
        return CompiledRule(
            action=RuleAction(action), bit=bit, not_bit=not_bit, net_bit=net_bit, not_net_bit=not_net_bit, protocol=protocol,
            is_protocol_negated=bool(flags & 1), source_ports=(source_low, source_high), destination_ports=(low, high),
            icmp_type=-1 if icmp_type == 0xFFFF else icmp_type, icmp_code=-1 if icmp_code == 0xFFFF else icmp_code,
            is_icmp_negated=bool(flags & 4), next_tier=following, rule_id=number - 1, is_own=bool(is_own),
        )  # fmt: skip


def row_of(raw: bytes) -> int:
    return sum(word << (64 * n) for n, word in enumerate(layout.WORDS.unpack(raw)))


@pytest.fixture
def maps() -> Maps:
    return Maps()


@pytest.fixture(scope="session")
def new_maps() -> type[Maps]:
    return Maps
