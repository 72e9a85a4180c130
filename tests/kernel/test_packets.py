"""Packets of every kind before the real programs: both families, tags, chains of headers, neighbours, and what is broken."""

import random
import struct
import threading
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import count
from typing import Any

import pytest

from federation.identities import WORLD, IdentityNumber
from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction, Tables, Verdict
from federation.policy.walk import Packet, peer_row, walk
from nodeagent.dataplane.ebpf import arena, layout, probe
from nodeagent.dataplane.ebpf.bpf import PinnedMap, possible_processors
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.sweep import now, sweep
from nodeagent.drivers import Attachment, DesiredPolicy
from tests.kernel.frames import ACK, FIN, ICMP, ICMP6, MAC, RST, SCTP, SYN, TCP, UDP, Address, Shape, frame

pytestmark = pytest.mark.kernel
OWN4, OWN6 = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")
EXTRA4, EXTRA6 = IPv4Address("10.0.0.99"), IPv6Address("fd00::99")
ME = IdentityNumber(299)
PEERS: dict[Address, IdentityNumber] = {
    ip_address(text): IdentityNumber(300 + n % 4)
    for n, text in enumerate(
        ["10.0.1.1", "10.0.1.2", "10.0.1.3", "fd00:1::1", "fd00:1::2", "fd00:1::3", "a00:101::"]
    )
}  # the last has the first bytes of 10.0.1.1
STRANGERS: list[Address] = [
    ip_address(text) for text in ("192.0.2.7", "172.16.1.1", "2001:db8::7", "fd00:2::9")
]
NETS = [
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "10.0.1.2/32",
        "172.16.0.0/12",
        "::/0",
        "fd00:1::/64",
        "2001:db8::/32",
        "a00::/8",
        "0.0.0.0/0",
    )
]
BITS = 60
ALLOW, DENY = CompiledRule(action=RuleAction.ALLOW), CompiledRule(action=RuleAction.DENY)
PORTS = count(20000)
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT, OPTIONS, AUTHENTICATION = 0, 43, 44, 59, 60, 51


class Bench:
    """The real driver on a node's loopback, where packets of test runs come from."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.driver = EbpfDriver(node.pin_dir, node.state_dir)

    def enforce(
        self,
        ingress: tuple[CompiledRule, ...],
        egress: tuple[CompiledRule, ...],
        mac: bytes = b"",
        **tables: Any,
    ) -> DesiredPolicy:
        own = Attachment(
            endpoint="dc1/test/own", interface="lo", class_number=0, identity=ME, mac=mac,
            addresses=(OWN4, OWN6, EXTRA4, EXTRA6),
        )  # fmt: skip
        known = {OWN4: ME, OWN6: ME, EXTRA4: ME, EXTRA6: ME, **PEERS}
        tables = {"bit_count": BITS, "classes": ((ingress, egress),), **tables}
        desired = DesiredPolicy(tables=Tables(**tables), addresses=known, attachments=(own,))
        with self.node.entered():
            assert self.driver.converge(desired) == ()
        return desired

    def says(self, direction: Direction, raw: bytes) -> Verdict:
        name = "from_endpoint" if direction is Direction.EGRESS else "to_endpoint"
        with self.node.entered():
            action = probe.ask(self.driver.generation / name, raw).action
        assert action in (probe.ACT_NEXT, probe.ACT_SHOT)
        return Verdict.ALLOW if action == probe.ACT_NEXT else Verdict.DENY

    def sends(
        self, peer: Address, packet: Packet, shape: Shape = Shape(), own: Address | None = None
    ) -> Verdict:
        return self.says(Direction.EGRESS, frame(own or own_of(peer), peer, packet, shape))

    def gets(
        self, peer: Address, packet: Packet, shape: Shape = Shape(), own: Address | None = None
    ) -> Verdict:
        return self.says(Direction.INGRESS, frame(peer, own or own_of(peer), packet, shape))

    def counted(self) -> dict[str, int]:
        """Packets by reason."""
        held = self._held("counters", 4, 8, possible_processors())
        return {
            name: sum(
                struct.unpack(f"={len(held[layout.NUMBER.pack(n)]) // 8}Q", held[layout.NUMBER.pack(n)])
            )
            for n, name in enumerate(layout.COUNTERS)
        }

    def of_rule(self, number: int) -> tuple[int, int]:
        """(packets, bytes) of a rule."""
        raw = self._held("rule_counts", 4, 16, possible_processors())[layout.NUMBER.pack(number + 1)]
        pairs = list(layout.RULE_COUNT.iter_unpack(raw))
        return sum(p for p, _ in pairs), sum(b for _, b in pairs)

    def connections(self, name: str = "connections") -> list[tuple[Any, ...]]:
        shape = (layout.CONNECTION_KEY.size, layout.CONNECTION.size)
        return [layout.CONNECTION.unpack(value) for value in self._held(name, *shape).values()]

    def _held(self, name: str, key: int, value: int, copies: int = 1) -> dict[bytes, bytes]:
        held = PinnedMap(self.driver.generation / name, key, value, copies)
        try:
            return dict(held.items())
        finally:
            held.close()


def own_of(peer: Address) -> Address:
    return OWN4 if peer.version == 4 else OWN6


@pytest.fixture
def bench(node: Any) -> Any:
    made = Bench(node)
    yield made
    made.driver.close()


def tcp(port: int = 80) -> Packet:
    return Packet(protocol=TCP, source_port=next(PORTS), destination_port=port)


def udp(port: int = 53) -> Packet:
    return Packet(protocol=UDP, source_port=next(PORTS), destination_port=port)


def random_rule(chance: random.Random, number: int) -> CompiledRule:
    protocol = chance.choice([0, TCP, UDP, SCTP, ICMP, ICMP6, 47])
    asked: dict[str, Any] = {
        "bit": chance.choice([NO_BIT, chance.randrange(BITS)]), "net_bit": chance.choice([NO_BIT, NO_BIT, chance.randrange(BITS)]),
        "not_bit": chance.choice([NO_BIT, NO_BIT, chance.randrange(BITS)]),
    }  # fmt: skip
    if protocol in (TCP, UDP, SCTP):
        asked["destination_ports"] = chance.choice([(0, 65535), (80, 80), (53, 443)])
    if protocol in (ICMP, ICMP6):
        asked["icmp_type"] = chance.choice([-1, 8, 128, 13])
    action = chance.choice([RuleAction.ALLOW, RuleAction.DENY])
    return CompiledRule(action=action, protocol=protocol, rule_id=number, **asked)


def random_packet(chance: random.Random, version: int) -> Packet:
    protocol = chance.choice([TCP, UDP, SCTP, ICMP if version == 4 else ICMP6, 47, 50])
    if protocol in (ICMP, ICMP6):
        return Packet(protocol=protocol, icmp_type=chance.choice([8, 13] if version == 4 else [128, 13]))
    if protocol in (47, 50):
        return Packet(protocol=protocol)
    return Packet(
        protocol=protocol, source_port=next(PORTS), destination_port=chance.choice([53, 80, 443, 8080])
    )


def random_shape(chance: random.Random, version: int) -> Shape:
    chain = {
        HOP_BY_HOP: bytes(7), OPTIONS: b"\x01" + bytes(14), ROUTING: bytes(7), AUTHENTICATION: b"\x01" + bytes(10),
        FRAGMENT: bytes(7),
    }  # fmt: skip
    picked = chance.sample(sorted(chain), chance.randint(0, 4)) if version == 6 else []
    return Shape(
        tags=tuple(chance.sample([5, 6], chance.randint(0, 2))),
        extensions=tuple((number, chain[number]) for number in picked),
        echo=next(PORTS) & 0xFFFF,
    )


@pytest.mark.parametrize("seed", range(12))
def test_the_kernels_verdict_is_the_pure_walks_whatever_the_packet_is_wrapped_in(
    bench: Bench, seed: int
) -> None:
    """In one run some 3,600 packets of both families, with VLAN tags and chains of extension headers."""
    chance = random.Random(seed)

    def row() -> int:
        return chance.getrandbits(BITS) & chance.getrandbits(BITS)

    lists = tuple(tuple(random_rule(chance, n) for n in range(chance.choice([3, 12, 60]))) for _ in Direction)
    desired = bench.enforce(
        *lists,
        identity_rows={number: row() for number in {*PEERS.values(), WORLD}},
        prefix_rows={net: row() for net in NETS if chance.random() < 0.8},
    )
    seen = set()
    for _ in range(300):
        peer = chance.choice([*PEERS, *STRANGERS])
        asked, direction = random_packet(chance, peer.version), chance.choice(list(Direction))
        bits = peer_row(desired.tables, PEERS.get(peer, WORLD), peer)
        verdict, number = walk(desired.tables, 0, direction, bits, asked)
        shape = random_shape(chance, peer.version)
        says = bench.sends if direction is Direction.EGRESS else bench.gets
        if asked.protocol in (
            47,
            50,
        ):  # they have no ports: one conversation for each peer, so each is asked of a clean table
            forget(bench)
        assert says(peer, asked, shape) is verdict, (peer, direction, asked, shape, number)
        seen.add(verdict)
    assert seen == {Verdict.ALLOW, Verdict.DENY}


def forget(bench: Bench) -> None:
    for name in ("openings", "connections"):
        held = PinnedMap(bench.driver.generation / name, layout.CONNECTION_KEY.size, layout.CONNECTION.size)
        try:
            held.delete([key for key, _ in held.items()])
        finally:
            held.close()


@pytest.mark.parametrize("peer", [IPv4Address("10.0.1.1"), IPv6Address("fd00:1::1")])
def test_an_endpoint_sends_only_from_its_own_addresses_and_gets_only_what_is_for_them(
    bench: Bench, peer: Address
) -> None:
    bench.enforce((ALLOW,), (ALLOW,))
    extra, foreign = (
        (EXTRA4, IPv4Address("10.0.0.2")) if peer.version == 4 else (EXTRA6, IPv6Address("fd00::2"))
    )
    for own, verdict in ((own_of(peer), Verdict.ALLOW), (extra, Verdict.ALLOW), (foreign, Verdict.DENY)):
        assert bench.sends(peer, tcp(), own=own) is verdict
        assert bench.gets(peer, tcp(), own=own) is verdict
    assert bench.counted()["spoofed"] == 2


def test_an_endpoint_sends_only_from_its_own_hardware_address_where_that_is_known(bench: Bench) -> None:
    other = Shape(source_mac=bytes.fromhex("0a5800000002"))
    bench.enforce((ALLOW,), (ALLOW,), mac=MAC)
    assert bench.sends(STRANGERS[0], tcp()) is Verdict.ALLOW
    assert bench.sends(STRANGERS[0], tcp(), other) is Verdict.DENY
    assert bench.gets(STRANGERS[0], tcp(), other) is Verdict.ALLOW
    bench.enforce((ALLOW,), (ALLOW,))
    assert bench.sends(STRANGERS[0], tcp(), other) is Verdict.ALLOW


def arp(sender: IPv4Address, mac: bytes = MAC) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + sender.packed + bytes(6) + STRANGERS[0].packed
    return bytes(6) + MAC + struct.pack("!H", 0x0806) + body


def test_an_endpoint_speaks_arp_for_itself_only(bench: Bench) -> None:
    bench.enforce((DENY,), (DENY,))
    for sender, verdict in (
        (OWN4, Verdict.ALLOW), (EXTRA4, Verdict.ALLOW), (IPv4Address(0), Verdict.ALLOW), (IPv4Address("10.0.0.2"), Verdict.DENY),
    ):  # fmt: skip
        assert bench.says(Direction.EGRESS, arp(sender)) is verdict
    assert bench.says(Direction.INGRESS, arp(IPv4Address("10.0.0.254"))) is Verdict.ALLOW
    assert bench.says(Direction.EGRESS, arp(OWN4)[:30]) is Verdict.DENY


def neighbour(
    kind: int, source: str, target: str, hops: int = 255, direction: Direction = Direction.EGRESS
) -> bytes:
    end = IPv6Address("ff02::1:ff00:1")
    shape = Shape(hops=hops, payload=IPv6Address(target).packed)
    return frame(IPv6Address(source), end, Packet(protocol=ICMP6, icmp_type=kind), shape)


SOLICIT, ADVERTISE, ROUTER, REDIRECT = 135, 136, 134, 137


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        (neighbour(SOLICIT, "fe80::1", "fd00::fe"), Verdict.ALLOW),
        (neighbour(SOLICIT, "fd00::1", "fd00::fe"), Verdict.ALLOW),
        (neighbour(SOLICIT, "::", "fd00::1"), Verdict.ALLOW),
        (neighbour(ADVERTISE, "fd00::1", "fd00::1"), Verdict.ALLOW),
        (neighbour(ADVERTISE, "fe80::1", "fe80::1"), Verdict.ALLOW),
        (neighbour(ADVERTISE, "fd00::1", "fd00::2"), Verdict.DENY),
        (neighbour(SOLICIT, "fd00::2", "fd00::fe"), Verdict.DENY),
        (neighbour(SOLICIT, "fe80::1", "fd00::fe", hops=64), Verdict.DENY),
        (neighbour(ROUTER, "fe80::1", "fd00::fe"), Verdict.DENY),
        (neighbour(REDIRECT, "fe80::1", "fd00::fe"), Verdict.DENY),
        (neighbour(ADVERTISE, "fd00::1", "fd00::1")[:70], Verdict.DENY),
    ],
)
def test_an_endpoint_is_a_neighbour_for_itself_only_and_no_router(
    bench: Bench, raw: bytes, verdict: Verdict
) -> None:
    bench.enforce((DENY,), (DENY,))
    assert bench.says(Direction.EGRESS, raw) is verdict


def test_an_endpoint_hears_its_neighbours_and_routers(bench: Bench) -> None:
    bench.enforce((DENY,), (DENY,))
    for kind, verdict in (
        (SOLICIT, Verdict.ALLOW),
        (ADVERTISE, Verdict.ALLOW),
        (ROUTER, Verdict.ALLOW),
        (REDIRECT, Verdict.DENY),
    ):
        assert bench.says(Direction.INGRESS, neighbour(kind, "fe80::9", "fd00::1")) is verdict
    assert bench.says(Direction.INGRESS, neighbour(ROUTER, "fe80::9", "fd00::1", hops=254)) is Verdict.DENY


def fragment6(peer: Address, packet: Packet, place: int, ident: int, is_last: bool = False) -> bytes:
    field = struct.pack("!BHI", 0, place << 3 | (not is_last), ident)
    whole = frame(peer, OWN6, packet, Shape(extensions=((FRAGMENT, field),)))
    return whole if place == 0 else whole[: 14 + 40 + 8] + bytes(16)


def test_fragments_of_ipv6_go_the_way_of_their_first(bench: Bench) -> None:
    bench.enforce(
        (CompiledRule(action=RuleAction.ALLOW, protocol=UDP, destination_ports=(53, 53)), DENY), (DENY,)
    )
    peer = STRANGERS[2]
    said = [
        bench.says(Direction.INGRESS, fragment6(peer, udp(port), place, ident, is_last))
        for port, place, ident, is_last in (
            (53, 4, 1, False), (53, 0, 1, False), (53, 4, 1, False), (53, 6, 1, True), (53, 1, 1, True), (80, 0, 2, False), (80, 4, 2, True),
        )
    ]  # fmt: skip
    assert [verdict is Verdict.ALLOW for verdict in said] == [False, True, True, True, False, False, False]


@pytest.mark.parametrize(
    "extensions",
    [
        ((ROUTING, bytes([0, 0, 1]) + bytes(4)),),
        tuple((OPTIONS, bytes(7)) for _ in range(9)),
        ((OPTIONS, b"\xff" + bytes(6)),),
    ],
    ids=["goes on to somebody else", "more headers than are followed", "a header longer than the packet"],
)
def test_a_chain_that_cannot_be_followed_is_dropped(bench: Bench, extensions: Any) -> None:
    bench.enforce((ALLOW,), (ALLOW,))
    assert bench.sends(STRANGERS[2], tcp(), Shape(extensions=extensions)) is Verdict.DENY
    assert bench.sends(STRANGERS[2], tcp(), Shape(extensions=((OPTIONS, bytes(7)),))) is Verdict.ALLOW


def test_a_packet_of_one_familys_icmp_in_the_other_is_dropped(bench: Bench) -> None:
    bench.enforce((ALLOW,), (ALLOW,))
    assert bench.sends(STRANGERS[0], Packet(protocol=ICMP6, icmp_type=128)) is Verdict.DENY
    assert bench.sends(STRANGERS[2], Packet(protocol=ICMP, icmp_type=8)) is Verdict.DENY


@pytest.mark.parametrize("peer", [STRANGERS[0], STRANGERS[2]])
def test_an_icmp_error_passes_with_the_flow_that_it_is_about_and_with_no_other(
    bench: Bench, peer: Address
) -> None:
    bench.enforce((DENY,), (ALLOW,))
    kind, protocol, inner = (3, ICMP, 14) if peer.version == 4 else (1, ICMP6, 14)
    router: Address = STRANGERS[1] if peer.version == 4 else STRANGERS[3]
    asked, other = tcp(), tcp()
    assert bench.sends(peer, asked) is Verdict.ALLOW
    for about, verdict in ((asked, Verdict.ALLOW), (other, Verdict.DENY)):
        sent = frame(own_of(peer), peer, about)[inner:]
        error = frame(router, own_of(peer), Packet(protocol=protocol, icmp_type=kind), Shape(payload=sent))
        assert bench.says(Direction.INGRESS, error) is verdict


def test_random_bytes_and_packets_cut_short_are_never_let_through_without_a_rule_and_crash_nothing(
    bench: Bench,
) -> None:
    bench.enforce((DENY,), (DENY,))
    chance = random.Random(4)
    whole = [
        frame(own_of(peer), peer, packet, shape)
        for peer in STRANGERS
        for packet in (tcp(), udp(), Packet(protocol=ICMP if peer.version == 4 else ICMP6, icmp_type=8))
        for shape in (Shape(), Shape(tags=(3, 4)), Shape(extensions=((OPTIONS, bytes(7)),)))
    ]
    for raw in whole:
        least = 14 + (20 if raw[12:14] == b"\x08\x00" else 40)  # shorter ones a test run itself refuses
        for end in range(least, len(raw) + 1):
            for direction in Direction:
                assert bench.says(direction, raw[:end]) is Verdict.DENY, (raw, end)
    for _ in range(1500):
        raw = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 6)):
            raw[chance.randrange(12, len(raw))] = chance.randrange(256)
        if raw[12:14] == b"\x08\x06":  # ARP is not policed, only its sender is checked
            continue
        assert bench.says(Direction.EGRESS, bytes(raw)) is Verdict.DENY, raw.hex()


def test_rules_count_their_packets_and_bytes(bench: Bench) -> None:
    allow = CompiledRule(action=RuleAction.ALLOW, protocol=TCP, rule_id=5)
    bench.enforce((allow, CompiledRule(action=RuleAction.DENY, rule_id=9)), ())
    asked = tcp()
    for flags in (SYN, ACK, ACK):
        bench.gets(STRANGERS[0], asked, Shape(flags=flags))
    assert bench.of_rule(5) == (3, 3 * 40)
    bench.gets(STRANGERS[2], udp())
    assert bench.of_rule(9) == (1, 48)
    assert bench.counted() | {"allowed": 3, "denied": 1} == bench.counted()


def test_a_rule_that_logs_is_counted_and_the_next_one_decides(bench: Bench) -> None:
    log = CompiledRule(action=RuleAction.LOG, protocol=UDP, next_tier=1, rule_id=7)
    bench.enforce((log, replace(DENY, rule_id=8)), (log, replace(ALLOW, rule_id=9)))
    assert bench.gets(STRANGERS[0], udp()) is Verdict.DENY
    assert (bench.of_rule(7), bench.of_rule(8)) == ((1, 28), (1, 28))
    asked = udp()
    for _ in range(3):
        assert bench.sends(STRANGERS[0], asked) is Verdict.ALLOW
    assert (bench.of_rule(7)[0], bench.of_rule(9)[0]) == (2, 3), "a connection is told of when it is opened"


def test_a_connection_moves_on_from_opening_to_established_and_ends(bench: Bench) -> None:
    bench.enforce((ALLOW,), (ALLOW,))
    asked, peer = tcp(), STRANGERS[2]
    back = Packet(protocol=TCP, source_port=asked.destination_port, destination_port=asked.source_port)
    bench.sends(peer, asked, Shape(flags=SYN))
    assert (len(bench.connections()), len(bench.connections("openings"))) == (0, 1)
    bench.gets(peer, back, Shape(flags=SYN | ACK))
    assert (len(bench.connections()), len(bench.connections("openings"))) == (0, 1)
    bench.sends(peer, asked, Shape(flags=ACK))
    assert (len(bench.connections()), len(bench.connections("openings"))) == (1, 1), (
        "the opening's goes when it is the oldest"
    )
    bench.sends(peer, asked, Shape(flags=FIN | ACK))
    (half,) = bench.connections()
    bench.gets(peer, back, Shape(flags=FIN | ACK))
    assert bench.connections() == [], "it makes room at once"
    (closed,) = bench.connections("openings")
    assert closed[0] < half[0], "a closed connection is kept for seconds only"
    _, _, *by_end = closed
    sent, got = by_end[:2] if by_end[4] else by_end[1::-1]  # the end with an interface is this node's
    assert (sent, got) == (3 * 60, 2 * 60)
    bench.sends(peer, asked, Shape(flags=SYN))
    assert (len(bench.connections()), len(bench.connections("openings"))) == (0, 1), "its ports are used anew"


def test_a_flood_of_openings_harms_no_established_connection(bench: Bench) -> None:
    bench.enforce((ALLOW,), (DENY,))
    asked, peer = tcp(), STRANGERS[0]
    back = Packet(protocol=TCP, source_port=asked.destination_port, destination_port=asked.source_port)
    for says, packet, flags in (
        (bench.gets, asked, SYN),
        (bench.sends, back, SYN | ACK),
        (bench.gets, asked, ACK),
    ):
        assert says(peer, packet, Shape(flags=flags)) is Verdict.ALLOW
    chance = random.Random(1)
    for _ in range(3000):
        bench.gets(IPv4Address(chance.getrandbits(32) | 1), tcp(chance.randrange(1, 65535)))
    assert len(bench.connections()) == 1
    assert bench.sends(peer, back, Shape(flags=ACK)) is Verdict.ALLOW


def test_a_reset_ends_a_connection_and_its_answer_opens_nothing(bench: Bench) -> None:
    bench.enforce((ALLOW,), (DENY,))
    asked, peer = tcp(), STRANGERS[0]
    back = Packet(protocol=TCP, source_port=asked.destination_port, destination_port=asked.source_port)
    bench.gets(peer, asked, Shape(flags=SYN))
    assert bench.sends(peer, back, Shape(flags=RST | ACK)) is Verdict.ALLOW
    assert bench.sends(peer, back, Shape(flags=SYN)) is Verdict.DENY


def test_who_gets_the_address_of_another_inherits_no_connection(bench: Bench) -> None:
    """The endpoint's own list and epoch stay: only what is known of the peer's address changes."""
    friend = next(iter(PEERS))
    lists = (CompiledRule(action=RuleAction.ALLOW, bit=1), DENY)
    rows = {IdentityNumber(300): 2, IdentityNumber(301): 0}
    desired = bench.enforce(lists, (DENY,), identity_rows=rows)
    asked = udp()
    assert bench.gets(friend, asked) is Verdict.ALLOW
    epoch = bench.driver.planner.standing.epoch
    moved = DesiredPolicy(
        tables=desired.tables,
        attachments=desired.attachments,
        addresses={**desired.addresses, friend: IdentityNumber(301)},
    )
    with bench.node.entered():
        bench.driver.converge(moved)
    assert bench.driver.planner.standing.epoch == epoch
    assert bench.gets(friend, asked) is Verdict.DENY


def test_what_has_outlived_its_time_is_swept_and_the_rest_stays(bench: Bench) -> None:
    bench.enforce((ALLOW,), (DENY,))
    asked, peer = tcp(), STRANGERS[0]
    back = Packet(protocol=TCP, source_port=asked.destination_port, destination_port=asked.source_port)
    for says, packet, flags in (
        (bench.gets, asked, SYN),
        (bench.sends, back, SYN | ACK),
        (bench.gets, asked, ACK),
    ):
        says(peer, packet, Shape(flags=flags))
    table = bench.driver.generation / "connections"
    assert sweep(table, now()) == (1, 0)
    assert sweep(table, now() + 7400 * 10**9) == (1, 0)
    assert sweep(table, now() + 7500 * 10**9) == (1, 1)
    assert bench.connections() == []
    assert bench.sends(peer, back, Shape(flags=ACK)) is Verdict.DENY


def test_a_full_table_completes_no_handshake_and_is_counted_and_udp_goes_on(bench: Bench) -> None:
    bench.enforce((ALLOW,), (DENY,))
    held = PinnedMap(
        bench.driver.generation / "connections", layout.CONNECTION_KEY.size, layout.CONNECTION.size
    )
    late = layout.CONNECTION.pack(2**63, *[0] * 18)
    try:
        held.update({n.to_bytes(layout.CONNECTION_KEY.size, "big"): late for n in range(layout.CONNECTIONS)})
    finally:
        held.close()
    for asked, verdict in ((tcp(), Verdict.DENY), (udp(), Verdict.ALLOW)):
        back = Packet(
            protocol=asked.protocol, source_port=asked.destination_port, destination_port=asked.source_port
        )
        assert bench.gets(STRANGERS[0], asked, Shape(flags=SYN)) is Verdict.ALLOW
        assert bench.sends(STRANGERS[0], back, Shape(flags=SYN | ACK)) is Verdict.ALLOW
        assert bench.gets(STRANGERS[0], asked, Shape(flags=ACK)) is verdict
    assert bench.counted()["table full"] == 1


RUNS, TIMES = 200_000, 15
"""As many packets as found dozens of mixed-up verdicts, before values said whose they are."""


def test_a_packet_never_reads_another_keys_value_while_both_are_written(bench: Bench) -> None:
    """The kernel gives the place of a replaced entry to the next key at once; a program may still be reading there."""
    allowed = replace(ALLOW, bit=1)
    peers = [IPv4Address("10.0.1.1"), IPv4Address("10.0.1.2")]
    first, second = (PEERS[peer] for peer in peers)
    bench.enforce((allowed, DENY), (ALLOW,), identity_rows={first: 0, second: 2})
    assert bench.gets(peers[0], udp()) is Verdict.DENY
    assert bench.gets(peers[1], udp()) is Verdict.ALLOW
    other = layout.endpoint(4711, (peers[0],), b"", 1, (1, 1), (arena.DENIED, arena.DENIED))
    written = {
        name: dict(bench.driver.maps[name].items()) for name in ("endpoints", "identity_rows", "addresses")
    }
    written["endpoints"][layout.NUMBER.pack(4711)] = other
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            for name, entries in written.items():
                bench.driver.maps[name].update(entries)

    before = bench.counted()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        with bench.node.entered():
            for number in range(TIMES):
                peer, name = (peers[1], "from_endpoint") if number % 3 else (peers[0], "to_endpoint")
                source, destination = (OWN4, peer) if number % 3 else (peer, OWN4)
                probe.ask(bench.driver.generation / name, frame(source, destination, udp()), RUNS)
    finally:
        is_over.set()
        writer.join()
    after = bench.counted()
    told = {reason: after[reason] - before[reason] for reason in after if after[reason] != before[reason]}
    assert told == {"allowed": TIMES * 2 // 3 * RUNS, "denied": TIMES // 3 * RUNS}
