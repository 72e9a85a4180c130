"""Maps in memory, read byte by byte as the program reads them."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

import pytest

from federation.identities import HOST, WORLD
from federation.policy.tables import CompiledRule, Direction, RuleAction, Verdict
from federation.policy.walk import Packet, matches
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.plan import Delete, Sweep, Update, Write


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
                at = layout.BANKED[write.map]
                kept = {layout.NUMBER.pack(bank) for bank in write.kept}
                for key in [key for key in entries if key[at : at + 4] not in kept]:
                    del entries[key]

    def judge(self, index: int, direction: Direction, peer: IPv4Address, packet: Packet) -> Verdict:
        """Of a new connection; an interface without an entry is denied."""
        raw = self.held["endpoints"].get(layout.NUMBER.pack(index))
        if raw is None:
            return Verdict.DENY
        _, _, bank, _, *lists = layout.ENDPOINT.unpack(raw)
        start, count = lists[direction], lists[2 + direction]
        identity, prefix = self.peer(bank, peer)
        if (identity == HOST and direction is Direction.INGRESS) or count == 0:
            return Verdict.ALLOW
        row = self.row("identity_rows", bank, identity) | (
            self.row("prefix_rows", bank, prefix) if prefix else 0
        )
        at, size = 0, count & 0xFFFF
        while at < size:
            rule = self.rule(start + at)
            at += 1
            if matches(rule, row, packet):
                if rule.action is not RuleAction.PASS:
                    return Verdict(int(rule.action))
                at = rule.next_tier
        return Verdict.ALLOW

    def peer(self, bank: int, address: IPv4Address) -> tuple[int, int]:
        raw = self.held["addresses"].get(layout.ADDRESS_KEY.pack(bank, address.packed))
        if raw is not None:
            identity, prefix = layout.ADDRESS_VALUE.unpack(raw)
            return identity, prefix
        for length in range(32, -1, -1):
            net = IPv4Network((address, length), strict=False)
            found = self.held["prefixes"].get(layout.prefix_key(bank, net))
            if found is not None:
                return WORLD, layout.NUMBER.unpack(found)[0]
        return WORLD, 0

    def row(self, name: str, bank: int, number: int) -> int:
        raw = self.held[name].get(layout.ROW_KEY.pack(bank, number))
        return sum(word << (64 * n) for n, word in enumerate(layout.ROW.unpack(raw))) if raw else 0

    def rule(self, index: int) -> CompiledRule:
        (bit, not_bit, net_bit, not_net_bit, *rest) = layout.RULE.unpack(
            self.held["rules"][layout.NUMBER.pack(index)]
        )
        source_low, source_high, low, high, protocol, flags, action, _, icmp_type, icmp_code, following, number = rest  # fmt: skip
        return CompiledRule(
            action=RuleAction(action), bit=bit, not_bit=not_bit, net_bit=net_bit, not_net_bit=not_net_bit, protocol=protocol,
            is_protocol_negated=bool(flags & 1), source_ports=(source_low, source_high), destination_ports=(low, high),
            icmp_type=-1 if icmp_type == 0xFFFF else icmp_type, icmp_code=-1 if icmp_code == 0xFFFF else icmp_code,
            is_icmp_negated=bool(flags & 4), next_tier=following, rule_id=number,
        )  # fmt: skip


@pytest.fixture
def maps() -> Maps:
    return Maps()


@pytest.fixture(scope="session")
def new_maps() -> type[Maps]:
    return Maps
