"""The loaded program says of every packet what the pure walk says: random worlds, run in the kernel without a wire."""

import random
import struct
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from typing import Any

import pytest

from federation.identities import WORLD, IdentityNumber
from federation.policy.tables import NO_BIT, CompiledRule, Direction, RuleAction, Tables, Verdict
from federation.policy.walk import Packet, peer_row, walk
from nodeagent.dataplane.ebpf import layout, probe
from nodeagent.dataplane.ebpf.bpf import PinnedMap
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.drivers import Attachment, DesiredPolicy

pytestmark = pytest.mark.kernel
OWN = IPv4Address("10.0.0.1")
ME = IdentityNumber(299)
PEERS = {IPv4Address("10.0.1.0") + n: IdentityNumber(300 + n % 5) for n in range(12)}
STRANGERS = [IPv4Address(text) for text in ("10.0.2.9", "172.16.1.1", "192.0.2.7")]
NETS = [
    IPv4Network(text)
    for text in ("10.0.0.0/8", "10.0.1.0/29", "10.0.1.3/32", "172.16.0.0/12", "192.0.2.0/24")
]
BITS = 90
TCP, UDP, ICMP = 6, 17, 1
SYN, ACK = 0x02, 0x10
PORTS = count(20000)
"""Every probe is a new conversation."""
PROBES = 60
"""Of each list and direction."""
VERDICT_KEY = struct.Struct("=5I2H")


def rule(chance: random.Random, index: int, size: int, is_plain: bool) -> CompiledRule:
    pick = chance.choice
    log = [RuleAction.LOG] if size > 1 else []  # alone it decides nothing
    action = pick([RuleAction.ALLOW, RuleAction.DENY, RuleAction.PASS, *log])
    protocol = pick([0, TCP, UDP, ICMP])
    low = pick([1, 53, 80, 443])
    asked: dict[str, Any] = {
        "bit": pick([NO_BIT, chance.randrange(BITS), chance.randrange(BITS)]),
        "not_bit": pick([NO_BIT, NO_BIT, chance.randrange(BITS)]),
        "net_bit": pick([NO_BIT, NO_BIT, chance.randrange(BITS)]),
        "not_net_bit": pick([NO_BIT, NO_BIT, NO_BIT, chance.randrange(BITS)]),
        "is_protocol_negated": bool(protocol) and pick([False, False, False, True]),
    }
    if protocol in (TCP, UDP) and not asked["is_protocol_negated"]:
        asked["destination_ports"] = pick([(0, 65535), (low, low), (low, low + 400)])
        if not is_plain:
            asked["source_ports"] = pick([(0, 65535), (0, 65535), (1024, 30000), (1, 1023)])
    if protocol == ICMP and not asked["is_protocol_negated"] and not is_plain:
        asked["icmp_type"], asked["icmp_code"] = pick([(-1, -1), (8, -1), (8, 0), (13, 0), (5, 1)])
        asked["is_icmp_negated"] = asked["icmp_type"] >= 0 and pick([False, False, True])
    following = chance.randint(index + 1, size) if action.goes_on else 0
    return CompiledRule(action=action, protocol=protocol, next_tier=following, rule_id=index, **asked)


def world(chance: random.Random, size: int) -> DesiredPolicy:
    def row() -> int:
        return chance.getrandbits(BITS) & chance.getrandbits(BITS)

    is_plain = chance.random() < 0.5
    lists = tuple(tuple(rule(chance, n, size, is_plain) for n in range(size)) for _ in Direction)
    tables = Tables(
        bit_count=BITS,
        identity_rows={number: row() for number in {*PEERS.values(), WORLD} if chance.random() < 0.9},
        prefix_rows={net: row() for net in NETS if chance.random() < 0.7},
        classes=((lists[0], lists[1]),),
    )
    return policy(tables)


def policy(tables: Tables) -> DesiredPolicy:
    """A policy for an endpoint on the loopback interface, where packets of test runs come from."""
    own = Attachment(endpoint="dc1/test/own", interface="lo", class_number=0, identity=ME, addresses=(OWN,))
    return DesiredPolicy(tables=tables, addresses={OWN: ME, **PEERS}, attachments=(own,))


def frame(direction: Direction, peer: IPv4Address, packet: Packet, flags: int = SYN) -> bytes:
    match packet.protocol:
        case 6:
            ends = (packet.source_port, packet.destination_port)
            body = struct.pack("!HHIIBBHHH", *ends, 0, 0, 5 << 4, flags, 1024, 0, 0)
        case 17:
            body = struct.pack("!HHHH", packet.source_port, packet.destination_port, 8, 0)
        case _:
            body = struct.pack("!BBHHH", packet.icmp_type, packet.icmp_code, 0, next(PORTS), 0)
    ends = (OWN, peer) if direction is Direction.EGRESS else (peer, OWN)
    addresses = b"".join(end.packed for end in ends)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, packet.protocol, 0)
    return bytes(12) + b"\x08\x00" + header + addresses + body


def packet(chance: random.Random) -> Packet:
    match chance.choice([TCP, UDP, ICMP]):
        case 1:
            kind, code = chance.choice([(8, 0), (8, 1), (13, 0), (5, 1), (5, 0), (0, 0)])
            return Packet(protocol=ICMP, icmp_type=kind, icmp_code=code)
        case protocol:
            return Packet(
                protocol=protocol,
                source_port=next(PORTS),
                destination_port=chance.choice([1, 53, 80, 81, 443, 480, 481, 8080, 65535]),
            )


class Kernel:
    """The real driver and its programs, on a node's loopback."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.driver = EbpfDriver(node.pin_dir, node.state_dir)

    def enforce(self, desired: DesiredPolicy) -> None:
        with self.node.entered():
            assert self.driver.converge(desired) == ()

    def says(self, direction: Direction, raw: bytes) -> Verdict:
        name = "from_endpoint" if direction is Direction.EGRESS else "to_endpoint"
        with self.node.entered():
            action = probe.ask(self.driver.generation / name, raw).action
        assert action in (probe.ACT_NEXT, probe.ACT_SHOT)
        return Verdict.ALLOW if action == probe.ACT_NEXT else Verdict.DENY

    def remembered(self) -> int:
        """How many answers the verdict cache holds."""
        held = PinnedMap(self.driver.generation / "verdicts", VERDICT_KEY.size, 8)
        try:
            return len(list(held.items()))
        finally:
            held.close()


@pytest.fixture
def kernel(node: Any) -> Any:
    made = Kernel(node)
    yield made
    made.driver.close()


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 100])
def test_the_kernels_verdict_is_the_pure_walks(kernel: Kernel, size: int) -> None:
    seen = set()
    for seed in range(3):
        chance = random.Random(f"{size} {seed}")
        desired = world(chance, size)
        kernel.enforce(desired)
        for direction in Direction:
            for _ in range(PROBES):
                peer, asked = chance.choice([*PEERS, *STRANGERS]), packet(chance)
                row = peer_row(desired.tables, desired.addresses.get(peer, WORLD), peer)
                verdict, number = walk(desired.tables, 0, direction, row, asked)
                assert kernel.says(direction, frame(direction, peer, asked)) is verdict, (seed, direction, peer, asked, number)  # fmt: skip
                seen.add(verdict)
    assert seen == ({Verdict.ALLOW} if size == 0 else {Verdict.ALLOW, Verdict.DENY})


def test_the_longest_list_is_walked_to_its_end(kernel: Kernel) -> None:
    never = CompiledRule(action=RuleAction.DENY, bit=BITS - 1, source_ports=(1, 65535))
    last = CompiledRule(action=RuleAction.DENY, protocol=TCP)
    lists = (never,) * (layout.MAX_RULES - 1) + (last,)
    kernel.enforce(policy(Tables(bit_count=BITS, classes=((lists, lists),))))
    for direction in Direction:
        for protocol, verdict in ((TCP, Verdict.DENY), (UDP, Verdict.ALLOW)):
            asked = Packet(protocol=protocol, source_port=next(PORTS), destination_port=80)
            assert kernel.says(direction, frame(direction, STRANGERS[0], asked)) is verdict


def long_list(action: RuleAction) -> DesiredPolicy:
    never = CompiledRule(action=RuleAction.DENY, bit=BITS - 1)
    rules = (*(never,) * 99, CompiledRule(action=action, protocol=TCP))
    return policy(Tables(bit_count=BITS, classes=((rules, ()),)))


def ask_tcp(kernel: Kernel, port: int = 80) -> Verdict:
    asked = Packet(protocol=TCP, source_port=next(PORTS), destination_port=port)
    return kernel.says(Direction.INGRESS, frame(Direction.INGRESS, STRANGERS[0], asked))


@pytest.mark.parametrize("action", [RuleAction.ALLOW, RuleAction.DENY])
def test_a_long_lists_answer_is_remembered_until_the_epoch_moves_on(
    kernel: Kernel, action: RuleAction
) -> None:
    kernel.enforce(long_list(action))
    first = ask_tcp(kernel)
    assert first == Verdict(int(action))
    assert kernel.remembered() == 1

    # Changed behind the driver's back, at an unchanged epoch: only one who does not walk still gives the old answer.
    other = RuleAction.DENY if action is RuleAction.ALLOW else RuleAction.ALLOW
    (entry,) = kernel.driver.planner.standing.entries.values()
    changed = CompiledRule(action=other, protocol=TCP)
    place = layout.NUMBER.pack(entry.extents[Direction.INGRESS].start + 99)
    kernel.driver.maps["rules"].update({place: layout.rule(changed)})
    assert ask_tcp(kernel) == first
    assert ask_tcp(kernel, port=81) == Verdict(int(other)), "another port is another question"

    kernel.enforce(long_list(other))
    assert ask_tcp(kernel) == Verdict(int(other))


def test_a_short_lists_answer_is_not_kept_and_neither_is_one_that_the_key_does_not_cover(
    kernel: Kernel,
) -> None:
    rules = (CompiledRule(action=RuleAction.DENY, bit=BITS - 1),) * 39
    kernel.enforce(policy(Tables(bit_count=BITS, classes=((rules, ()),))))
    assert ask_tcp(kernel) is Verdict.ALLOW
    by_source = (CompiledRule(action=RuleAction.DENY, source_ports=(1, 1000)),) * 60
    kernel.enforce(policy(Tables(bit_count=BITS, classes=((by_source, ()),))))
    assert ask_tcp(kernel) is Verdict.ALLOW
    assert kernel.remembered() == 0


def icmp_rules(**asked: Any) -> DesiredPolicy:
    lists = (
        CompiledRule(action=RuleAction.ALLOW, protocol=ICMP, **asked),
        CompiledRule(action=RuleAction.DENY),
    )
    return policy(Tables(bit_count=BITS, classes=((lists, lists),)))


def test_an_icmp_type_that_is_allowed_lets_no_other_type_through_after_it(kernel: Kernel) -> None:
    kernel.enforce(icmp_rules(icmp_type=13))
    for kind, verdict in ((13, Verdict.ALLOW), (17, Verdict.DENY), (5, Verdict.DENY), (13, Verdict.ALLOW)):
        raw = frame(Direction.INGRESS, STRANGERS[0], Packet(protocol=ICMP, icmp_type=kind))
        assert kernel.says(Direction.INGRESS, raw) is verdict, kind


def echo(direction: Direction, kind: int, number: int) -> bytes:
    raw = frame(direction, STRANGERS[0], Packet(protocol=ICMP, icmp_type=kind))
    return raw[:38] + struct.pack("!H", number) + raw[40:]


def test_an_allowed_ping_lets_its_answer_back_but_no_ping_of_the_other_side(kernel: Kernel) -> None:
    deny, allow = CompiledRule(action=RuleAction.DENY), CompiledRule(action=RuleAction.ALLOW)
    kernel.enforce(policy(Tables(bit_count=BITS, classes=(((deny,), (allow,)),))))
    assert kernel.says(Direction.INGRESS, echo(Direction.INGRESS, 0, 7)) is Verdict.DENY
    assert kernel.says(Direction.EGRESS, echo(Direction.EGRESS, 8, 7)) is Verdict.ALLOW
    assert kernel.says(Direction.INGRESS, echo(Direction.INGRESS, 0, 7)) is Verdict.ALLOW
    assert kernel.says(Direction.INGRESS, echo(Direction.INGRESS, 8, 7)) is Verdict.DENY
    assert kernel.says(Direction.INGRESS, echo(Direction.INGRESS, 0, 7)) is Verdict.ALLOW


def test_an_answer_that_nobody_asked_for_opens_nothing(kernel: Kernel) -> None:
    kernel.enforce(icmp_rules(icmp_type=0))
    for kind, verdict in ((0, Verdict.ALLOW), (8, Verdict.DENY), (0, Verdict.ALLOW)):
        assert kernel.says(Direction.EGRESS, echo(Direction.EGRESS, kind, 9)) is verdict, kind


def test_an_icmp_error_passes_with_the_ping_that_it_is_about_and_with_no_other(kernel: Kernel) -> None:
    deny, allow = CompiledRule(action=RuleAction.DENY), CompiledRule(action=RuleAction.ALLOW)
    kernel.enforce(policy(Tables(bit_count=BITS, classes=(((deny,), (allow,)),))))
    router = frame(Direction.INGRESS, STRANGERS[1], Packet(protocol=ICMP, icmp_type=11))
    assert kernel.says(Direction.EGRESS, echo(Direction.EGRESS, 8, 7)) is Verdict.ALLOW
    for number, verdict in ((7, Verdict.ALLOW), (6, Verdict.DENY)):
        assert kernel.says(Direction.INGRESS, router + echo(Direction.EGRESS, 8, number)[14:]) is verdict


def test_a_host_reaches_its_endpoints_whatever_the_policy(kernel: Kernel) -> None:
    deny = (CompiledRule(action=RuleAction.DENY),)
    tables = Tables(bit_count=BITS, classes=((deny, deny),))
    desired = policy(tables)
    from_host = DesiredPolicy(
        tables=tables,
        addresses={**desired.addresses, STRANGERS[0]: IdentityNumber(1)},
        attachments=desired.attachments,
    )
    kernel.enforce(from_host)
    assert ask_tcp(kernel) is Verdict.ALLOW
    asked = Packet(protocol=TCP, source_port=next(PORTS), destination_port=80)
    assert kernel.says(Direction.EGRESS, frame(Direction.EGRESS, STRANGERS[0], asked)) is Verdict.DENY


def test_a_segment_out_of_nowhere_passes_only_if_both_ways_of_opening_would(kernel: Kernel) -> None:
    deny, allow = CompiledRule(action=RuleAction.DENY), CompiledRule(action=RuleAction.ALLOW)
    for lists, verdict in (
        (((deny,), (allow,)), Verdict.DENY),
        (((allow,), (deny,)), Verdict.DENY),
        (((allow,), (allow,)), Verdict.ALLOW),
    ):
        kernel.enforce(policy(Tables(bit_count=BITS, classes=(lists,))))
        for direction in Direction:
            asked = Packet(protocol=TCP, source_port=next(PORTS), destination_port=80)
            assert kernel.says(direction, frame(direction, STRANGERS[0], asked, flags=ACK)) is verdict


def fragment(
    direction: Direction, packet: Packet, place: int, ident: int = 7, is_last: bool = False, whole: int = 0
) -> bytes:
    """Part of a datagram; `place` in units of 8 bytes. The first has the transport's header (cut to `whole` bytes, if that is said)."""
    raw = frame(direction, STRANGERS[0], packet)
    body = raw[34:] if place == 0 else bytes(16)
    body = body[:whole] if whole else body
    field = place | (0 if is_last else 0x2000)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), ident, field, 64, packet.protocol, 0)
    return raw[:14] + header + raw[26:34] + body


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
def test_fragments_go_the_way_of_their_first(kernel: Kernel, direction: Direction, protocol: int) -> None:
    def asked(port: int) -> Packet:
        return Packet(
            protocol=protocol,
            source_port=next(PORTS),
            destination_port=port,
            icmp_type=8 if port == 80 else 13,
        )

    allowed = {"icmp_type": 8} if protocol == ICMP else {"destination_ports": (80, 80)}
    lists = (
        CompiledRule(action=RuleAction.ALLOW, protocol=protocol, **allowed),
        CompiledRule(action=RuleAction.DENY),
    )
    kernel.enforce(policy(Tables(bit_count=BITS, classes=((lists, lists),))))
    said = [
        kernel.says(direction, fragment(direction, asked(port), place, ident, is_last))
        for port, place, ident, is_last in (
            (80, 3, 1, False), (80, 0, 1, False), (80, 3, 1, False), (80, 5, 1, True), (80, 3, 2, True), (81, 0, 2, False), (81, 3, 2, True),
        )
    ]  # fmt: skip
    assert [verdict is Verdict.ALLOW for verdict in said] == [False, True, True, True, False, False, False]
    other = Direction.EGRESS if direction is Direction.INGRESS else Direction.INGRESS
    assert kernel.says(other, fragment(other, asked(80), 3, 1)) is Verdict.DENY


def test_no_fragment_writes_over_the_header_that_the_first_was_judged_by(kernel: Kernel) -> None:
    allow = (CompiledRule(action=RuleAction.ALLOW),)
    kernel.enforce(policy(Tables(bit_count=BITS, classes=((allow, allow),))))
    asked = Packet(protocol=TCP, source_port=next(PORTS), destination_port=80)
    assert kernel.says(Direction.INGRESS, fragment(Direction.INGRESS, asked, 0, whole=16)) is Verdict.DENY
    assert kernel.says(Direction.INGRESS, fragment(Direction.INGRESS, asked, 0)) is Verdict.ALLOW
    assert kernel.says(Direction.INGRESS, fragment(Direction.INGRESS, asked, 1)) is Verdict.DENY
    assert kernel.says(Direction.INGRESS, fragment(Direction.INGRESS, asked, 3)) is Verdict.ALLOW


def test_after_a_change_of_policy_the_rest_of_a_datagram_is_not_let_through(kernel: Kernel) -> None:
    allow, deny = (CompiledRule(action=RuleAction.ALLOW),), (CompiledRule(action=RuleAction.DENY),)
    kernel.enforce(policy(Tables(bit_count=BITS, classes=((allow, allow),))))
    asked = Packet(protocol=UDP, source_port=next(PORTS), destination_port=80)
    assert kernel.says(Direction.INGRESS, fragment(Direction.INGRESS, asked, 0)) is Verdict.ALLOW
    kernel.enforce(policy(Tables(bit_count=BITS, classes=((deny, deny),))))
    assert kernel.says(Direction.INGRESS, fragment(Direction.INGRESS, asked, 3)) is Verdict.DENY
