"""What layout.py packs is read back as it was; what the programs write, by the structs that both sides share."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.inspect import decode
from nodeagent.dataplane.ebpf.layout import Extent

BIT = st.one_of(st.just(NO_BIT), st.integers(0, layout.ROW_BITS - 1))
PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535))
RULES = st.builds(
    CompiledRule,
    action=st.sampled_from(RuleAction), bit=BIT, not_bit=BIT, net_bit=BIT, not_net_bit=BIT, protocol=st.integers(0, 255),
    is_protocol_negated=st.booleans(), source_ports=PORTS, destination_ports=PORTS, icmp_type=st.integers(-1, 255),
    icmp_code=st.integers(-1, 255), is_icmp_negated=st.booleans(), rule_id=st.integers(-1, 10**6),
)  # fmt: skip


@given(RULES)
def test_a_rule_comes_back(line: CompiledRule) -> None:
    assert decode.rule(layout.rule(line)) == line


def test_an_endpoint_comes_back() -> None:
    lists = (Extent(11, 12, layout.IS_CACHEABLE), Extent(0, 0))
    own = [IPv6Address("fd00::9"), IPv4Address("10.1.2.3"), IPv4Address("10.1.2.4")]
    seen = decode.endpoint(layout.endpoint(5, own, bytes(range(6)), 300, (7, 9), lists))
    assert seen.addresses == (IPv4Address("10.1.2.3"), IPv6Address("fd00::9"))
    assert (seen.identity, seen.bank, seen.epoch, seen.lists, seen.mac) == (300, 7, 9, lists, bytes(range(6)))
    (key,) = layout.more_addresses(5, own)
    assert decode.more_address(key) == (5, IPv4Address("10.1.2.4"))


@given(st.integers(0, 2**layout.ROW_BITS - 1))
def test_a_row_comes_back(bits: int) -> None:
    assert decode.row(layout.row(7, 300, bits)) == bits


def test_a_row_that_is_not_there_has_no_bits() -> None:
    assert decode.row(None) == 0


@pytest.mark.parametrize(
    ("state", "closing", "said"),
    [(0, 0, "opening"), (1, 0, "answered"), (2, 0, "established"), (2, 1, "closing"), (2, 2, "closing"), (2, 3, "closed")],
)  # fmt: skip
def test_a_connection_is_read_as_the_programs_write_it(state: int, closing: int, said: str) -> None:
    low, high = IPv6Address("fd00::1"), IPv6Address("fd00::2")
    key = layout.CONNECTION_KEY.pack(low.packed, high.packed, 50000, 443, 6, 1)
    sides = (3, 7, 0, 0, 4, 9, 0, 5)
    value = layout.CONNECTION.pack(9, 8, 100, 200, 1, 2, *sides, 1500, 0, state, closing | 4, 0)
    client, server = decode.connections(key, value)
    assert (client.local, client.remote, client.local_port, client.remote_port) == (low, high, 50000, 443)
    assert (server.local, server.remote, server.local_port, server.remote_port) == (high, low, 443, 50000)
    assert (client.direction, server.direction) == (Direction.EGRESS, Direction.INGRESS)
    assert (client.bytes, client.packets) == ((200, 100), (2, 1)), "by direction: received, sent"
    assert (server.bytes, server.packets) == ((100, 200), (1, 2))
    assert [(end.index, end.epoch, end.rule_id) for end in (client, server)] == [(3, 7, None), (4, 9, 4)]
    assert (server.state, server.protocol, server.rtt_us, server.deadline, server.opened_at) == (
        said,
        6,
        1500,
        9,
        8,
    )


def test_a_connection_is_seen_from_the_ends_that_were_judged_here() -> None:
    one, other = (IPv4Address(text).packed.ljust(16, b"\0") for text in ("10.1.2.3", "10.1.2.4"))
    key = layout.CONNECTION_KEY.pack(one, other, 5, 6, 17, 0)
    value = layout.CONNECTION.pack(9, 8, 0, 0, 0, 0, 0, 0, 0, 0, 4, 9, 0, 5, 0, 0, 0, 0, 0)
    (seen,) = decode.connections(key, value)
    assert (str(seen.local), str(seen.remote), seen.index) == ("10.1.2.4", "10.1.2.3", 4)


def test_a_connection_may_be_seen_from_its_other_end() -> None:
    one, other = (IPv4Address(text).packed.ljust(16, b"\0") for text in ("10.1.2.3", "10.1.2.4"))
    key = layout.CONNECTION_KEY.pack(one, other, 5, 6, 17, 0)
    value = layout.CONNECTION.pack(9, 8, 100, 200, 1, 2, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    (seen,) = decode.connections(key, value)
    turned = decode.turned(seen)
    assert (str(turned.local), turned.local_port, turned.direction) == ("10.1.2.4", 6, Direction.INGRESS)
    assert (turned.bytes, turned.packets) == ((100, 200), (1, 2))
    assert decode.turned(turned) == seen


def test_an_interface_of_the_node_is_read_as_it_is_packed() -> None:
    lists = [layout.Extent(start * 64, start) for start in range(layout.HOST_LISTS)]
    seen = decode.host(layout.host(5, (2, 9), lists, is_bare=True, safe=11))
    assert (seen.bank, seen.epoch) == (2, 9)
    assert [(e.start, e.size) for e in seen.lists][1:] == [(e.start, e.size) for e in lists][1:]


def test_an_event_is_read_as_the_programs_write_it() -> None:
    one, other = (IPv4Address(text).packed.ljust(16, b"\0") for text in ("10.1.2.3", "10.1.2.4"))
    numbers = (3, 7, 300, 301, 0, 250, 1, 2, 8080, 50000, 6, 0, 1, 1, 0, 2)
    seen = decode.event(layout.EVENT.pack(99, 60, 40, one, other, *numbers))
    assert (seen.kind, seen.reason, seen.direction, seen.rule_id) == (
        "denied",
        "denied",
        Direction.INGRESS,
        None,
    )
    assert (str(seen.local), str(seen.remote), seen.local_port, seen.remote_port) == (
        "10.1.2.3",
        "10.1.2.4",
        8080,
        50000,
    )
    assert (seen.at, seen.index, seen.identity, seen.peer, seen.bytes, seen.packets) == (
        99,
        3,
        300,
        301,
        (60, 40),
        (1, 2),
    )


def test_kinds_are_named_in_the_programs_order() -> None:
    from nodeagent.dataplane.ebpf import loader

    text = loader.source()
    words = text[text.index("enum { EVENT_OPENED") :].split("}")[0].removeprefix("enum {").split(",")
    assert [word.strip().removeprefix("EVENT_").lower() for word in words] == list(decode.KINDS)
    words = text[text.index("enum { OPENING") :].split("}")[0].removeprefix("enum {").split(",")
    assert [word.strip().lower() for word in words] == list(decode.STATES)
