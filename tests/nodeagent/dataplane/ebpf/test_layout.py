"""The bytes that Python packs are the structs that the C program declares: read from its text, laid out by the C rules."""

import ctypes
import re
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from federation.identities import HOST, WORLD
from federation.policy.tables import CompiledRule, Direction, RuleAction
from nodeagent.dataplane.ebpf import layout, loader
from nodeagent.dataplane.ebpf.layout import Address, Extent

TEXT = re.sub(r"//.*", "", loader.source())
KINDS = {"u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64}


def defined(name: str) -> int:
    found = re.search(rf"^#define {name} (0x[0-9a-f]+|\d+)", TEXT, re.MULTILINE)
    assert found, name
    return int(found[1], 0)


def structure(name: str) -> type[ctypes.Structure]:
    """A ctypes twin of `struct name`: natural alignment, as clang lays it out for BPF."""
    found = re.search(rf"struct {name} \{{(.*?)\}};", TEXT, re.DOTALL)
    assert found, name
    fields: list[tuple[str, type]] = []
    for declaration in found[1].split(";"):
        if not declaration.strip():
            continue
        kind, names = declaration.strip().removeprefix("struct ").split(None, 1)
        for declared in names.split(","):
            plain, _, length = declared.strip().rstrip("]").partition("[")
            size = (int(length) if length.isdigit() else defined(length)) if length else 0
            one = KINDS[kind] if kind in KINDS else structure(kind)
            fields.append((plain, one * size if size else one))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def twin(name: str, raw: bytes) -> ctypes.Structure:
    kind = structure(name)
    assert ctypes.sizeof(kind) == len(raw)
    return kind.from_buffer_copy(raw)


def wire(number: int) -> str:
    return str(IPv4Address(number.to_bytes(4, "little")))


def wire6(address: Any) -> str:
    return str(IPv6Address(bytes(address)))


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("endpoint", layout.ENDPOINT), ("host", layout.HOST), ("address_key", layout.ADDRESS_KEY), ("address_value", layout.ADDRESS_VALUE),
        ("prefix_key", layout.PREFIX_KEY), ("row_key", layout.ROW_KEY), ("row", layout.ROW), ("rule", layout.RULE),
        ("more_key", layout.MORE_KEY), ("connection_key", layout.CONNECTION_KEY), ("connection", layout.CONNECTION),
        ("event", layout.EVENT), ("rule_count", layout.RULE_COUNT), ("settings", layout.SETTINGS),
    ],
)  # fmt: skip
def test_a_struct_has_the_same_size_on_both_sides(name: str, packed: struct.Struct) -> None:
    assert ctypes.sizeof(structure(name)) == packed.size


def test_an_endpoints_fields_lie_where_the_program_reads_them() -> None:
    lists = (Extent(11, 12, layout.IS_CACHEABLE), Extent(13, 14))
    own: list[Address] = [IPv6Address("fd00::9"), IPv4Address("10.1.2.3")]
    seen = twin("endpoint", layout.endpoint(5, own, bytes(range(6)), 300, (7, 9), lists, is_direct=True))
    assert (wire(seen.address4), wire6(seen.address6)) == ("10.1.2.3", "fd00::9")
    assert (bytes(seen.mac), seen.flags) == (bytes(range(6)), layout.IS_DIRECT)
    assert (seen.ifindex, seen.seal) == (5, 9)
    assert (seen.identity, seen.bank, seen.epoch) == (300, 7, 9)
    assert list(seen.start) == [11, 13]
    assert list(seen.count) == [12 | layout.IS_CACHEABLE, 14]
    assert (defined("INGRESS"), defined("EGRESS")) == (Direction.INGRESS, Direction.EGRESS)


def test_what_an_endpoint_has_beyond_one_address_of_each_family_is_told_apart() -> None:
    own: list[Address] = [IPv4Address("10.1.2.3"), IPv6Address("fd00::9"), IPv4Address("10.1.2.4")]
    seen = twin("endpoint", layout.endpoint(5, own, b"", 300, (7, 9), (Extent(0, 0), Extent(0, 0))))
    assert seen.flags == layout.HAS_MORE_ADDRESSES == defined("HAS_MORE_ADDRESSES")
    (key,) = layout.more_addresses(5, own)
    more = twin("more_key", key)
    assert (more.ifindex, more.is_v6, wire(more.address.part[0])) == (5, 0, "10.1.2.4")
    assert layout.more_addresses(5, own[:2]) == set()


def test_a_rules_fields_lie_where_the_program_reads_them() -> None:
    line = CompiledRule(
        action=RuleAction.PASS, bit=1, not_bit=2, net_bit=3, not_net_bit=4, protocol=17, source_ports=(5, 6), destination_ports=(7, 8),
        icmp_type=9, icmp_code=10, next_tier=11, rule_id=12, is_protocol_negated=True, is_icmp_negated=True,
    )  # fmt: skip
    seen = twin("rule", layout.rule(line))
    assert (seen.bit, seen.not_bit, seen.net_bit, seen.not_net_bit) == (1, 2, 3, 4)
    assert (seen.source_low, seen.source_high, seen.destination_low, seen.destination_high) == (5, 6, 7, 8)
    assert (seen.protocol, seen.action, seen.flags) == (17, 2, 0xFF)
    assert (seen.icmp_type, seen.icmp_code, seen.next, seen.rule_id) == (9, 10, 11, 13), "0 is no rule's"


def test_each_condition_that_a_rule_asks_has_its_own_flag() -> None:
    flags: dict[int, dict[str, Any]] = {
        0: {}, 1: {"is_protocol_negated": True}, 2: {"icmp_type": 0}, 6: {"is_icmp_negated": True}, 8: {"destination_ports": (0, 1)},
        16: {"bit": 0}, 32: {"net_bit": 0}, 64: {"not_bit": 0}, 128: {"not_net_bit": 0},
    }  # fmt: skip
    for flag, asked in flags.items():
        assert twin("rule", layout.rule(CompiledRule(action=RuleAction.ALLOW, **asked))).flags == flag, asked


def test_a_prefix_key_is_matched_bank_first() -> None:
    seen = twin("prefix_key", layout.prefix_key(5, IPv4Network("10.20.0.0/14")))
    assert (seen.length, seen.space, wire(seen.address.part[0])) == (46, 10, "10.20.0.0")
    seen = twin("prefix_key", layout.prefix_key(5, IPv6Network("fd00:20::/28")))
    assert (seen.length, seen.space, wire6(seen.address)) == (60, 11, "fd00:20::")


def test_every_bit_of_a_row_is_found_where_the_program_looks() -> None:
    for bit in (0, 1, 63, 64, 500, layout.ROW_BITS - 1):
        words = twin("row", layout.row(7, 300, 1 << bit)).words
        assert [n for n in range(layout.ROW_BITS) if words[n >> 6] >> (n & 63) & 1] == [bit]


def test_values_that_differ_in_whose_they_are_or_what_they_say_have_other_seals() -> None:
    rows = {
        layout.row(bank, number, bits)[-8:]
        for bank in (1, 2)
        for number in (300, 301)
        for bits in (0, 1, 1 << 64, 1 << 1023)
    }
    assert len(rows) == 16
    peers = [IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"), IPv6Address("fd00::1"), IPv6Address("fd00::2")]
    values = {
        layout.address_value(peer, who, prefix)[-4:]
        for peer in peers
        for who in (2, 300)
        for prefix in (0, 1)
    }
    assert len(values) == 16


def test_constants_are_the_same_on_both_sides() -> None:
    assert defined("ROW_WORDS") == layout.ROW_WORDS
    assert defined("IS_CACHEABLE") == layout.IS_CACHEABLE
    assert defined("IS_SUMMARIZED") == layout.IS_SUMMARIZED
    assert (defined("IS_DIRECT"), defined("BLOCK")) == (layout.IS_DIRECT, layout.BLOCK)
    assert (defined("HOST"), defined("WORLD")) == (HOST, WORLD)
    assert defined("COUNT_MASK") >= layout.MAX_RULES
    group = layout.BLOCK * defined("GROUP")
    calls = (
        layout.MAX_RULES // group * -(-group // defined("CHUNK")) + 1
    )  # of a list: to walk it, and to go on
    assert 2 * calls + 1 <= 33, "two lists of one packet may be walked, and the end delivered to"
    assert defined("STAMPS") == layout.STAMPS
    assert defined("COUNTED_RULES") == layout.COUNTED_RULES
    for name, size in layout.SIZES.items():
        if name.endswith("_SIZE"):
            assert f"== {name}, " in TEXT
            assert size == ctypes.sizeof(structure(name.removesuffix("_SIZE").lower()))


def test_counters_are_named_in_the_programs_order() -> None:
    found = re.search(r"enum \{\s+(ALLOWED, .*?),\s+\};", TEXT)
    assert found
    words = [word.strip().lower().replace("_", " ") for word in found[1].split(",")]
    assert words == [name.lower().replace("-", " ") for name in layout.COUNTERS]


def test_every_map_is_pinned_and_has_the_keys_that_the_agent_writes() -> None:
    found = re.findall(r'^BPF_F?_?TABLE\("(\w+)", (.*?), (.*?), (\w+), (\w+)', TEXT, re.MULTILINE)
    maps = {name: (kind, key, value, size) for kind, key, value, name, size in found}
    assert {*maps, "events"} == set(loader.MAPS)
    assert maps["rules"][3] == str(layout.ARENA)
    for name, (key_size, value_size) in layout.SHAPES.items():
        _, key, value, _ = maps[name]
        assert _sizeof(key) == key_size
        assert _sizeof(value) == value_size


def _sizeof(declared: str) -> int:
    name = declared.removeprefix("struct ")
    return ctypes.sizeof(KINDS[name] if name in KINDS else structure(name))


def test_the_bank_of_a_key_is_where_the_sweep_looks() -> None:
    for name, at in layout.BANKED.items():
        struct_name = {"addresses": "address_key", "prefixes": "prefix_key"}.get(name, "row_key")
        field = "space" if name in ("addresses", "prefixes") else "bank"
        assert getattr(structure(struct_name), field).offset == at
    assert layout.bank_in("addresses", layout.address_key(7, IPv6Address("fd00::1"))) == 7
    assert layout.bank_in("prefixes", layout.prefix_key(7, IPv4Network("10.0.0.0/8"))) == 7
    assert layout.bank_in("prefix_rows", layout.ROW_KEY.pack(7, 1)) == 7


def test_a_lists_flags_say_how_many_of_its_first_rules_ask_for_ports_of_a_protocol() -> None:
    def of_ports(*lines: CompiledRule) -> int:
        return layout.list_flags(lines) >> layout.PORTS_SHIFT & layout.PORTS_MOST

    deny = CompiledRule(action=RuleAction.DENY)
    there = CompiledRule(action=RuleAction.PASS, next_tier=9, protocol=6, destination_ports=(22, 22))
    back = CompiledRule(action=RuleAction.PASS, next_tier=9, protocol=17, source_ports=(53, 53))
    others = (
        deny, replace(there, protocol=0), replace(there, is_protocol_negated=True), CompiledRule(action=RuleAction.DENY, protocol=6),
    )  # fmt: skip
    for other in others:
        assert of_ports(there, back, other, there) == 2
        assert of_ports(other, there) == 0
    assert of_ports(*(there,) * 40) == layout.PORTS_MOST
    assert layout.list_flags((there,) * 40) & 0xFFFF == 0


def test_it_is_said_of_a_list_whether_it_asks_of_the_end_on_the_nodes_side() -> None:
    deny = CompiledRule(action=RuleAction.DENY)
    assert not layout.list_flags((deny,)) & layout.ASKS_OWN
    assert layout.list_flags((deny, replace(deny, is_own=True))) & layout.ASKS_OWN


def test_answers_are_kept_only_where_their_key_says_all_that_was_asked() -> None:
    allow = RuleAction.ALLOW
    plain = CompiledRule(action=allow, protocol=6, destination_ports=(1, 2))
    assert layout.list_flags((plain,)) & layout.IS_CACHEABLE
    for asks_more in (
        CompiledRule(action=allow, source_ports=(1, 2)), CompiledRule(action=allow, icmp_type=8), CompiledRule(action=allow, icmp_code=0),
        CompiledRule(action=allow, is_icmp_negated=True),
    ):  # fmt: skip
        assert not layout.list_flags((plain, asks_more)) & layout.IS_CACHEABLE


def test_an_empty_list_is_known_by_its_count() -> None:
    assert Extent(5, 0, layout.IS_CACHEABLE).count == 0
