"""Host endpoints in the kernel: its programs say what the pure walk says, and what a host endpoint's user would notice of real packets."""

import random
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from itertools import count
from typing import Any

import pytest

from federation.identities import HOST, WORLD, IdentityNumber
from federation.policy.tables import (
    NO_BIT,
    CompiledRule,
    Direction,
    HostClasses,
    HostStage,
    RuleAction,
    Tables,
    Verdict,
)
from federation.policy.walk import Crossing, Packet, peer_row, walk_host
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.bpf import PinnedMap
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.inspect.connections import connection_lines
from nodeagent.dataplane.ebpf.inspect.fill import rules_in_use
from nodeagent.dataplane.ebpf.inspect.names import Names, NodeNames
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.loader import HOST_PROGRAMS
from nodeagent.drivers import Attachment, DesiredPolicy, HostAttachment
from tests.kernel.frames import ACK, ICMP, ICMP6, SCTP, TCP, UDP, Address, Shape, frame
from tests.kernel.outside import FAR4, FAR6, NODE4, NODE6, PODS6, UP, Edge, Tunnel

pytestmark = pytest.mark.kernel
INGRESS, EGRESS = Direction
DENY, ALLOW = Verdict
POD1, POD2 = ip_address("10.10.1.1"), ip_address("10.10.1.2")
PEERS: dict[Address, IdentityNumber] = {
    FAR4: IdentityNumber(300), ip_address("192.0.2.3"): IdentityNumber(301), FAR6: IdentityNumber(302), ip_address("2001:db8::3"): WORLD,
}  # fmt: skip
INNER: dict[Address, IdentityNumber] = {
    NODE4: HOST, NODE6: HOST, ip_address("10.10.5.1"): IdentityNumber(303), ip_address("10.10.6.2"): WORLD,
    ip_address(f"{PODS6}5"): IdentityNumber(304), ip_address(f"{PODS6}6"): WORLD,
}  # fmt: skip
NETS = [ip_network(text) for text in ("192.0.2.0/24", "10.10.6.0/24", "2001:db8::/32", f"{PODS6}/64", "0.0.0.0/0", "192.0.2.3/32", "fd00:1::6/128")]  # fmt: skip
BITS = 60
PORTS = count(20000)
"""Every probe is a new conversation."""
DENY_ALL: dict[str, Any] = {
    "selector": "role == 'host'", "applyOnForward": True, "types": ["Ingress", "Egress"],
    "ingress": [{"action": "Deny"}], "egress": [{"action": "Deny"}],
}  # fmt: skip


@pytest.fixture
def edge(node: Any) -> Iterator[Edge]:
    made = Edge(node)
    yield made
    made.gone()


def host(direction: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A policy of the host in one direction."""
    return {"selector": "role == 'host'", "types": [direction.title()], direction: list(rules), **more}


def tcp(action: str, *ports: int, **more: Any) -> dict[str, Any]:
    return {"action": action, "protocol": "TCP", "destination": {"ports": list(ports)}, **more}


EGRESS_ALL = host("egress", {"action": "Allow"})


def random_rule(chance: random.Random, index: int, size: int, is_plain: bool) -> CompiledRule:
    log = [RuleAction.LOG] if size > 1 else []
    action = chance.choice([RuleAction.ALLOW, RuleAction.DENY, RuleAction.PASS, *log])
    protocol = chance.choice([0, 0, TCP, UDP, ICMP, ICMP6, SCTP])
    asked: dict[str, Any] = {
        "bit": chance.choice([NO_BIT, chance.randrange(BITS)]), "not_bit": chance.choice([NO_BIT, NO_BIT, chance.randrange(BITS)]),
        "net_bit": chance.choice([NO_BIT, NO_BIT, chance.randrange(BITS)]),
    }  # fmt: skip
    if not is_plain:
        asked["is_own"] = chance.random() < 0.4
        asked["is_protocol_negated"] = bool(protocol) and chance.random() < 0.2
    if protocol in (TCP, UDP, SCTP) and not asked.get("is_protocol_negated"):
        low = chance.choice([1, 80, 443])
        asked["destination_ports"] = chance.choice([(0, 65535), (low, low), (low, low + 400)])
        if not is_plain:
            asked["source_ports"] = chance.choice([(0, 65535), (0, 65535), (1024, 30000)])
    following = chance.randint(index + 1, size) if action.goes_on else 0
    return CompiledRule(action=action, protocol=protocol, next_tier=following, rule_id=index, **asked)


def random_world(chance: random.Random, sizes: list[int]) -> DesiredPolicy:
    """Four stages of lists for the node's interface; sizes by stage."""

    def row() -> int:
        return chance.getrandbits(BITS)

    def lines(size: int) -> tuple[CompiledRule, ...]:
        is_plain = chance.random() < 0.4
        return tuple(random_rule(chance, n, size, is_plain) for n in range(size))

    classes = tuple((lines(size), () if n == 1 else lines(size)) for n, size in enumerate(sizes))
    numbers = {*PEERS.values(), *INNER.values()}
    tables = Tables(
        bit_count=BITS, classes=classes, identity_rows={n: row() for n in sorted(numbers) if chance.random() < 0.9},
        prefix_rows={net: row() for net in NETS if chance.random() < 0.8},
    )  # fmt: skip
    of_host = HostClasses(untracked=0, pre_dnat=1, forward=2, normal=3)
    known = {address: number for address, number in {**PEERS, **INNER}.items() if number is not WORLD}
    attached = HostAttachment(host_endpoint="dc1//h", interface=UP, classes=of_host)
    return DesiredPolicy(tables=tables, addresses=known, hosts=(attached,))


def random_packet(chance: random.Random, version: int, direction: Direction) -> tuple[Packet, Shape]:
    """What has no ports is one conversation of all its packets: another protocol each way."""
    protocol = chance.choice([TCP, UDP, SCTP, ICMP if version == 4 else ICMP6, (47, 103)[direction]])
    port = next(PORTS)
    if protocol in (ICMP, ICMP6):
        kinds = [(8, 0), (8, 1), (13, 0), (0, 0)] if protocol == ICMP else [(128, 0), (128, 1), (150, 0), (129, 0)]  # fmt: skip
        kind, code = chance.choice(kinds)
        return Packet(protocol=protocol, icmp_type=kind, icmp_code=code), Shape(echo=port)
    destination = chance.choice([1, 80, 81, 443, 480, 8080])
    return Packet(protocol=protocol, source_port=port, destination_port=destination), Shape()


SIZES = [
    [0, 0, 0, 0],
    [0, 0, 0, 12],
    [8, 0, 6, 6],
    [0, 9, 6, 6],
    [33, 0, 70, 100],
    [0, 40, 70, 100],
    [3, 3, 3, 3],
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_programs_say_what_the_pure_walk_says(edge: Edge, sizes: list[int]) -> None:
    pod, seen = edge.index_of("pod2"), set()
    for seed in range(3):
        chance = random.Random(f"{sizes} {seed}")
        desired = random_world(chance, sizes)
        assert edge.converge(desired) == ()

        def row(address: Address, desired: DesiredPolicy = desired) -> int:
            return peer_row(desired.tables, desired.addresses.get(address, WORLD), address)

        for _ in range(120):
            direction, peer = chance.choice([INGRESS, EGRESS]), chance.choice(list(PEERS))
            own = chance.choice([one for one in INNER if one.version == peer.version])
            asked, shape = random_packet(chance, peer.version, direction)
            is_forwarded = INNER[own] is not HOST
            crossing = Crossing(direction=direction, row=row(peer), own_row=row(own), packet=asked, is_forwarded=is_forwarded)  # fmt: skip
            verdict, stage, _ = walk_host(desired.tables, desired.hosts[0].classes, crossing)
            if direction is INGRESS:
                said = edge.comes(own, asked, shape, peer)
            else:
                said = edge.leaves(own, asked, shape, pod if is_forwarded else 0, peer)
            assert said is verdict, (seed, direction, own, peer, asked, stage)
            seen.add((verdict, stage))
    assert {verdict for verdict, _ in seen} == (set(Verdict) if any(sizes) else {ALLOW})
    assert {stage for stage, size in zip(HostStage, sizes, strict=True) if size} <= {s for _, s in seen}


def test_the_longest_lists_of_all_stages_are_walked_to_their_ends(edge: Edge) -> None:
    never = CompiledRule(action=RuleAction.DENY, bit=BITS - 1, source_ports=(1, 65535))
    last = CompiledRule(action=RuleAction.DENY, protocol=TCP, destination_ports=(80, 80))
    through = (never,) * layout.MAX_RULES
    ended = (never,) * (layout.MAX_RULES - 1) + (last,)
    tables = Tables(
        bit_count=BITS, classes=((through, through), (through, ()), (ended, ended), (ended, ended))
    )
    of_host = HostClasses(untracked=0, pre_dnat=1, forward=2, normal=3)
    attached = HostAttachment(host_endpoint="dc1//h", interface=UP, classes=of_host)
    assert edge.converge(DesiredPolicy(tables=tables, addresses={NODE4: HOST}, hosts=(attached,))) == ()
    for own in (NODE4, POD1):
        for port, verdict in ((80, DENY), (81, ALLOW)):
            asked = Packet(protocol=TCP, source_port=next(PORTS), destination_port=port)
            assert edge.comes(own, asked) is verdict
            came_by = 0 if own is NODE4 else edge.index_of("pod1")
            assert edge.leaves(own, asked, came_by=came_by) is verdict
        middle = Packet(protocol=TCP, source_port=next(PORTS), destination_port=81)
        assert edge.comes(own, middle, Shape(flags=ACK)) is ALLOW, "both ways of opening it are walked"


def test_failsafe_ports_pass_whatever_is_denied_and_so_does_the_middle_of_their_connections(
    edge: Edge,
) -> None:
    denied = {**DENY_ALL, "order": 1}
    edge.enforce(denied, {**denied, "doNotTrack": True}, {**denied, "preDNAT": True, "types": ["Ingress"], "egress": []})  # fmt: skip

    def packet(source: int, destination: int, protocol: int = TCP) -> Packet:
        return Packet(protocol=protocol, source_port=source, destination_port=destination)

    for own in (NODE4, NODE6):
        for port in (22, 179, 8440):
            assert edge.comes(own, packet(next(PORTS), port)) is ALLOW, port
            there = next(PORTS)
            assert edge.comes(own, packet(there, port), Shape(flags=ACK)) is ALLOW, port
            assert edge.leaves(own, packet(port, there), Shape(flags=ACK)) is ALLOW, port
        answer = next(PORTS)
        assert edge.leaves(own, packet(22, answer), Shape(flags=ACK)) is ALLOW, "who is logged in stays"
        assert edge.comes(own, packet(answer, 22), Shape(flags=ACK)) is ALLOW
        assert edge.leaves(own, packet(next(PORTS), 22)) is DENY, "it is a port of what comes in"
        assert edge.leaves(own, packet(22, next(PORTS))) is DENY, "what the node opens is no answer"
        assert edge.leaves(own, packet(next(PORTS), 53, UDP)) is ALLOW
        assert edge.leaves(own, packet(next(PORTS), 6443)) is ALLOW
        for closed in (80, 23):
            assert edge.comes(own, packet(next(PORTS), closed)) is DENY
            assert edge.comes(own, packet(next(PORTS), closed), Shape(flags=ACK)) is DENY
            assert edge.leaves(own, packet(closed, next(PORTS)), Shape(flags=ACK)) is DENY
    assert edge.comes(POD1, packet(next(PORTS), 22)) is DENY, "what passes through the node is not the node's"


def test_policy_holds_for_what_comes_to_the_node_leaves_it_and_passes_through_it(edge: Edge) -> None:
    for name, address in (
        (edge.node.name, NODE4),
        (edge.node.name, NODE6),
        (edge.far, FAR4),
        (edge.far, FAR6),
    ):
        edge.serve(name, address, 8080, 8081)
    edge.serve(edge.node.pod(1), POD1, 8080)
    edge.serve(edge.node.pod(2), POD2, 8080)

    def seen() -> dict[str, list[bool]]:
        node, far = edge.node.name, edge.far
        return {
            "in": [edge.reaches(far, to, port) for to in (NODE4, NODE6) for port in (8080, 8081)],
            "out": [edge.reaches(node, to, port) for to in (FAR4, FAR6) for port in (8080, 8081)],
            "through": [edge.reaches(far, to, 8080) for to in (POD1, POD2)],
            "back": [edge.reaches(edge.node.pod(n), FAR4, 8080) for n in (1, 2)],
        }

    all_of = {"in": [True] * 4, "out": [True] * 4, "through": [True] * 2, "back": [True] * 2}
    assert edge.enforce(interface=None) == ()
    assert seen() == all_of
    own = host("ingress", tcp("Allow", 8081)), host("egress", tcp("Allow", 8081))
    assert edge.enforce(*own) == ()
    assert seen() == {**all_of, "in": [False, True] * 2, "out": [False, True] * 2}, "8080 passes through only"
    to_web = host("ingress", tcp("Deny", 8080, destination={"selector": "app == 'web'"}), {"action": "Allow"}, applyOnForward=True)  # fmt: skip
    of_api = host("egress", {"action": "Deny", "source": {"selector": "app == 'api'"}}, {"action": "Allow"}, applyOnForward=True)  # fmt: skip
    assert edge.enforce(to_web, of_api) == ()
    assert seen() == {**all_of, "through": [False, True], "back": [True, False]}


def nft(edge: Edge, *lines: str) -> None:
    """Translation by the node's own netfilter."""
    for line in ("add table ip nat", *lines):
        edge.inside(edge.node.name, "nft", line)


def test_a_policy_before_dnat_sees_what_is_asked_for_and_is_the_last_word(edge: Edge) -> None:
    edge.serve(edge.node.pod(1), POD1, 8080)
    nft(
        edge, "add chain ip nat pre { type nat hook prerouting priority -100; }",
        "add rule ip nat pre ip daddr 192.0.2.1 tcp dport 30080 dnat to 10.10.1.1:8080",
    )  # fmt: skip
    early = {"preDNAT": True, "applyOnForward": True}
    assert edge.enforce(interface=None) == ()
    assert edge.reaches(edge.far, NODE4, 30080)
    assert edge.enforce(host("ingress", tcp("Deny", 30080), **early)) == ()
    assert not edge.reaches(edge.far, NODE4, 30080)
    assert edge.reaches(edge.far, POD1, 8080), "what is not asked for by that port passes through"
    assert edge.enforce(host("ingress", tcp("Allow", 30080), **early)) == ()
    assert edge.reaches(edge.far, NODE4, 30080), "although nothing else of the node's is open"
    others = host("ingress", {**tcp("Allow", 30080), "source": {"nets": ["192.0.2.9/32"]}}, tcp("Deny", 30080), **early)  # fmt: skip
    assert edge.enforce(others) == ()
    assert not edge.reaches(edge.far, NODE4, 30080)


def test_who_is_behind_the_nodes_address_is_known_where_it_is_translated(edge: Edge) -> None:
    edge.serve(edge.far, FAR4, 8080)
    nft(
        edge, "add chain ip nat post { type nat hook postrouting priority 100; }",
        f"add rule ip nat post oifname {UP} ip saddr 10.10.1.0/24 masquerade",
    )  # fmt: skip
    of_web = host("egress", {"action": "Deny", "source": {"selector": "app == 'web'"}}, {"action": "Allow"}, applyOnForward=True)  # fmt: skip
    assert edge.enforce(of_web) == ()
    assert [edge.reaches(edge.node.pod(n), FAR4, 8080) for n in (1, 2)] == [False, True]
    own = host("egress", {"action": "Deny"})
    assert edge.enforce(own) == ()
    assert edge.reaches(edge.node.pod(1), FAR4, 8080), "it is not the node's own"
    assert not edge.reaches(edge.node.name, FAR4, 8080)


def remembered(edge: Edge) -> int:
    found = 0
    for name in ("connections", "openings"):
        held = PinnedMap(edge.driver.generation / name, layout.CONNECTION_KEY.size, layout.CONNECTION.size)
        found += sum(1 for _ in held.items())
        held.close()
    return found


def test_what_is_not_tracked_is_asked_both_ways_and_remembered_nowhere(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 8080)
    raw = {"doNotTrack": True, "applyOnForward": True}
    there = host("ingress", {"action": "Allow", "protocol": "UDP", "destination": {"ports": [8080]}}, **raw)
    back = host("egress", {"action": "Allow", "protocol": "UDP", "source": {"ports": [8080]}}, **raw)
    assert edge.enforce(there) == ()
    assert not edge.reaches(edge.far, NODE4, 8080, "udp"), "nobody let the answer out"
    assert remembered(edge) == 0
    assert edge.enforce(there, back) == ()
    assert edge.reaches(edge.far, NODE4, 8080, "udp")
    assert remembered(edge) == 0
    assert edge.enforce(host("ingress", {"action": "Allow", "protocol": "UDP"})) == ()
    assert edge.reaches(edge.far, NODE4, 8080, "udp")
    assert remembered(edge) == 1
    closed = host("ingress", {"action": "Deny", "protocol": "UDP", "destination": {"ports": [8080]}}, **raw)
    assert edge.enforce(closed, host("ingress", {"action": "Allow", "protocol": "UDP"})) == ()
    assert not edge.reaches(edge.far, NODE4, 8080, "udp")


def test_a_session_on_a_failsafe_port_outlives_a_policy_that_denies_all(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 22, 8080)
    edge.serve(edge.node.name, NODE6, 22)
    assert edge.enforce(interface=None) == ()
    with edge.talk(edge.far, NODE4, 22) as session, edge.talk(edge.far, NODE4, 8080) as other:
        assert session.hears()
        assert other.hears()
        assert edge.enforce(DENY_ALL, {**DENY_ALL, "doNotTrack": True}) == ()
        assert session.hears(), "it was there before anything was policed"
        assert not other.hears()
        assert edge.enforce(DENY_ALL) == ()
        assert session.hears()
    assert edge.reaches(edge.far, NODE4, 22)
    assert edge.reaches(edge.far, NODE6, 22)
    assert not edge.reaches(edge.far, NODE4, 8080)


def test_a_live_connection_is_cut_when_policy_changes_and_no_other(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 8080, 8081)
    edge.serve(edge.node.pod(1), POD1, 8080)
    both = host("ingress", tcp("Allow", 8080, 8081), applyOnForward=True)
    assert edge.enforce(both) == ()
    with (
        edge.talk(edge.far, NODE4, 8080) as kept,
        edge.talk(edge.far, NODE4, 8081) as own,
        edge.talk(edge.far, POD1, 8080) as through,
    ):
        assert [each.hears() for each in (kept, own, through)] == [True] * 3
        fewer = host("ingress", tcp("Allow", 8080, source={"nets": ["192.0.2.0/24"]}))
        assert edge.enforce(fewer, host("ingress", {"action": "Deny", "destination": {"nets": ["10.10.1.0/24"]}}, applyOnForward=True)) == ()  # fmt: skip
        assert [each.hears() for each in (kept, own, through)] == [True, False, False]


def hung(edge: Edge) -> dict[int, set[str]]:
    with edge.node.entered():
        return {index: set(names) for index, names in edge.driver._hooks.look().ours.items()}


def tc(edge: Edge, *words: str) -> str:
    return edge.inside(edge.node.name, "tc", *words)


@pytest.mark.parametrize("has_tcx", [True, False])
def test_programs_hang_only_where_a_host_endpoint_is_and_others_filters_stay(
    edge: Edge, has_tcx: bool
) -> None:
    edge.driver = EbpfDriver(edge.node.pin_dir, edge.node.state_dir, has_tcx=has_tcx)
    edge.serve(edge.node.name, NODE4, 8080)
    assert edge.enforce(interface=None) == ()
    assert edge.index not in hung(edge)
    assert edge.reaches(edge.far, NODE4, 8080)
    assert edge.enforce() == ()
    assert hung(edge)[edge.index] == {"from_network", "to_network"}
    assert len(hung(edge)) == 4, "three pods"
    assert not edge.reaches(edge.far, NODE4, 8080)
    assert edge.enforce(interface=None) == ()
    assert edge.index not in hung(edge)
    assert edge.reaches(edge.far, NODE4, 8080)


@pytest.mark.parametrize("has_tcx", [True, False])
def test_filters_of_others_on_the_same_interface_see_what_passes_and_stay(edge: Edge, has_tcx: bool) -> None:
    on_up, drop = ("dev", UP, "ingress"), ("protocol", "ip", "bpf", "da", "bytecode", "1,6 0 0 2,")
    edge.driver = EbpfDriver(edge.node.pin_dir, edge.node.state_dir, has_tcx=has_tcx)
    edge.serve(edge.node.name, NODE4, 8080)
    tc(edge, "qdisc", "add", "dev", UP, "clsact")
    tc(edge, "filter", "add", *on_up, "prio", "60000", *drop)
    standing = tc(edge, "filter", "show", *on_up)
    assert edge.enforce(host("ingress", tcp("Allow", 8080))) == ()
    assert not edge.reaches(edge.far, NODE4, 8080), "the other's filter drops it, after ours let it pass"
    assert standing in tc(edge, "filter", "show", *on_up)
    assert edge.enforce(interface=None) == ()
    assert tc(edge, "filter", "show", *on_up) == standing
    tc(edge, "filter", "del", *on_up, "prio", "60000")
    assert edge.reaches(edge.far, NODE4, 8080)


def test_all_interfaces_are_those_of_the_node_and_never_an_endpoints(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 8080)
    edge.serve(edge.node.pod(1), POD1, 8080)
    assert edge.enforce(interface="*") == ()
    assert {index for index, names in hung(edge).items() if "from_network" in names} == {edge.index}
    assert not edge.reaches(edge.far, NODE4, 8080)
    assert edge.reaches(edge.node.pod(2), POD1, 8080), "endpoints have their own policies"
    assert edge.reaches(edge.far, POD1, 8080)


def test_a_tunnel_without_ethernet_is_policed_too(edge: Edge) -> None:
    own, far = ip_address("198.51.100.1"), ip_address("198.51.100.2")
    tunnel = Tunnel(edge, "tun0", f"{own}/24")
    edge.serve(edge.node.name, own, 8080, 8081)

    def answered() -> list[bool]:
        asked = [
            Packet(protocol=UDP, source_port=next(PORTS), destination_port=port) for port in (8080, 8081)
        ]
        return [tunnel.answers(frame(far, own, packet, Shape(payload=b"hello"))[14:]) for packet in asked]

    try:
        assert answered() == [True, True]
        allowed = {"action": "Allow", "protocol": "UDP", "destination": {"ports": [8081]}}
        assert edge.enforce(host("ingress", allowed), interface="tun0") == ()
        assert answered() == [False, True]
    finally:
        tunnel.close()


def test_neighbours_listeners_and_leases_are_found_whatever_policy_says(edge: Edge) -> None:
    edge.enforce({**DENY_ALL, "doNotTrack": True})
    near = ip_address("fe80::2")
    for kind in (133, 134, 135, 136):
        asked = Packet(protocol=ICMP6, icmp_type=kind)
        assert edge.comes(NODE6, asked, Shape(hops=255, payload=bytes(24)), near) is ALLOW, kind
        assert edge.comes(NODE6, asked, Shape(hops=64, payload=bytes(24)), near) is DENY, "from further away"
    assert edge.leaves(near, Packet(protocol=ICMP6, icmp_type=143), peer=ip_address("ff02::16")) is ALLOW

    def lease(source: int, destination: int) -> Packet:
        return Packet(protocol=UDP, source_port=source, destination_port=destination)

    assert edge.comes(NODE6, lease(547, 546), peer=near) is ALLOW
    assert edge.leaves(near, lease(546, 547), peer=ip_address("ff02::1:2")) is ALLOW
    assert edge.comes(NODE6, lease(547, 545), peer=near) is DENY
    assert edge.comes(ip_address(f"{PODS6}5"), lease(547, 546)) is DENY, "it passes through"
    assert edge.comes(NODE4, Packet(protocol=UDP, source_port=67, destination_port=68)) is ALLOW
    assert edge.says(INGRESS, bytes(12) + b"\x08\x06" + bytes(28)) is ALLOW, "ARP"
    assert edge.says(INGRESS, bytes(12) + b"\x88\xcc" + bytes(28)) is ALLOW, "LLDP"


def test_an_interface_that_cannot_be_policed_is_told_of_and_stays_open(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 8080)
    (report,) = edge.enforce(DENY_ALL, interface="nowhere0")
    assert (report.is_ok, report.key) == (False, "host endpoint dc1/h")
    assert "nowhere0" in report.message
    assert edge.reaches(edge.far, NODE4, 8080)
    tc(edge, "qdisc", "add", "dev", UP, "ingress")
    edge.driver = EbpfDriver(edge.node.pin_dir, edge.node.state_dir, has_tcx=False)
    (report,) = edge.enforce(DENY_ALL)
    assert not report.is_ok
    assert "stays open" in report.message
    assert edge.reaches(edge.far, NODE4, 8080)


def test_an_interface_that_becomes_an_endpoints_changes_programs_and_back(edge: Edge) -> None:
    assert edge.enforce(DENY_ALL) == ()
    own = Attachment(
        endpoint="dc1/shop/late",
        interface=UP,
        class_number=0,
        identity=IdentityNumber(400),
        addresses=(FAR4,),
    )
    tables = Tables(classes=(((), ()),))
    assert (
        edge.converge(DesiredPolicy(tables=tables, addresses={FAR4: IdentityNumber(400)}, attachments=(own,)))
        == ()
    )
    assert hung(edge) == {edge.index: {"from_endpoint", "to_endpoint"}}
    assert edge.enforce(DENY_ALL) == ()
    assert hung(edge)[edge.index] == {"from_network", "to_network"}


def test_a_connection_at_the_nodes_interface_is_shown_from_the_nodes_side(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 8080)
    assert edge.enforce(host("ingress", tcp("Allow", 8080))) == ()
    with edge.talk(edge.far, NODE4, 8080) as talk, Pins(edge.driver.generation) as pins:
        assert talk.hears()
        names = Names(node=NodeNames(references=edge.references))
        (seen,) = connection_lines(pins, names, time.clock_gettime_ns(time.CLOCK_MONOTONIC))
        assert (seen.local, seen.local_port, seen.remote) == (str(NODE4), 8080, str(FAR4))
        assert (seen.direction, seen.is_current) == ("ingress", True)
        assert seen.rule == "GlobalNetworkPolicy p0 ingress rule 0"
        assert seen.bytes_received > seen.packets_received > 1
        lists = edge.driver.planner.standing.hosts[edge.index].extents
        assert rules_in_use(pins) == sum(extent.size for extent in set(lists))


def test_what_is_altered_by_hand_is_put_right(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 8080)
    wanted = edge.decider.decide(edge.state([DENY_ALL], interface=UP)).policy
    assert edge.converge(wanted) == ()
    edge.driver.maps["hosts"].delete([layout.NUMBER.pack(edge.index)])
    assert edge.reaches(edge.far, NODE4, 8080), "without an entry nothing is asked"
    (report,) = edge.converge(wanted)
    assert (report.key, report.reason) == ("map hosts", "drift")
    assert not edge.reaches(edge.far, NODE4, 8080)
    with edge.node.entered():
        edge.driver._hooks.detach(edge.index)
    (report,) = edge.converge(wanted)
    assert (report.key, report.reason) == (f"filter {UP}", "drift")
    assert not edge.reaches(edge.far, NODE4, 8080)


def test_a_restarted_agent_goes_on_without_a_gap_and_withdrawing_leaves_nothing(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 8080)
    assert edge.enforce(host("ingress", tcp("Allow", 8080))) == ()
    with edge.talk(edge.far, NODE4, 8080) as talk:
        assert talk.hears()
        edge.driver.close()
        edge.driver = EbpfDriver(edge.node.pin_dir, edge.node.state_dir)
        assert edge.enforce(host("ingress", tcp("Allow", 8080))) == ()
        assert talk.hears()
        with edge.node.entered():
            edge.driver.withdraw()
        assert hung(edge) == {}
        assert talk.hears()


def test_an_upgrade_keeps_the_connections_that_are_allowed_and_cuts_those_that_are_not(edge: Edge) -> None:
    edge.serve(edge.node.name, NODE4, 8080, 8081)
    assert edge.enforce(host("ingress", tcp("Allow", 8080, 8081))) == ()
    with edge.talk(edge.far, NODE4, 8080) as kept, edge.talk(edge.far, NODE4, 8081) as other:
        assert [kept.hears(), other.hears()] == [True, True]
        edge.driver.close()
        edge.driver.generation.rename(edge.node.pin_dir / "older")
        edge.driver = EbpfDriver(edge.node.pin_dir, edge.node.state_dir)
        assert edge.enforce(host("ingress", tcp("Allow", 8080))) == ()
        assert [kept.hears(), other.hears()] == [True, False]
        assert hung(edge)[edge.index] == {"from_network", "to_network"}
    assert not edge.reaches(edge.far, NODE4, 8081)


@pytest.mark.parametrize("name", [*HOST_PROGRAMS, "walk_host", "ask_host"])
def test_a_program_has_a_tenfold_margin_before_the_verifiers_limit(edge: Edge, name: str) -> None:
    assert edge.enforce(interface=None) == ()
    assert edge.instructions(name) < 100_000
