"""What doNotTrack policies deny at interfaces of the node is dropped at the driver, and nothing that from_network lets pass is."""

import ctypes
import os
import random
import re
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from federation.identities import HOST, WORLD, IdentityNumber
from federation.policy.failsafe import Failsafe, FailsafePort
from federation.policy.tables import NO_BIT, CompiledRule, Direction, HostClasses, RuleAction, Tables, Verdict
from federation.policy.walk import Packet, peer_row, walk
from federation.resources.metadata import ObjectKey
from nodeagent.control.replica import State, key_of
from nodeagent.dataplane.ebpf import bpf, layout, loader, probe
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.hosts.faces import Interface
from nodeagent.dataplane.ebpf.hosts.rounds import Rounds
from nodeagent.dataplane.linux import links, pinned, xdp
from nodeagent.dataplane.linux.hooks import FOLDER
from nodeagent.dataplane.linux.xdp import Mode
from nodeagent.desired import Decider
from nodeagent.drivers import DRIFT, DesiredPolicy, HostAttachment, ObjectReport
from tests.kernel.frames import ACK, ICMP, ICMP6, SCTP, SYN, TCP, UDP, Address, Shape, frame
from tests.kernel.test_verdicts import document

pytestmark = pytest.mark.kernel
PASSED, DROPPED = 2, 1
"""XDP_PASS, XDP_DROP."""
NODE4, NODE6 = IPv4Address("10.0.0.1"), IPv6Address("fd00::1")
PEERS: dict[Address, IdentityNumber] = {
    ip_address(text): IdentityNumber(300 + n % 4)
    for n, text in enumerate(("10.0.1.1", "10.0.1.2", "10.0.1.3", "fd00:1::1", "fd00:1::2", "fe80::7"))
}
STRANGERS: list[Address] = [ip_address(text) for text in ("192.0.2.7", "0.0.0.0", "2001:db8::7", "::")]
ENDS: list[Address] = [
    ip_address(text)
    for text in ("10.0.0.1", "10.0.9.9", "224.0.0.22", "255.255.255.255", "fd00::1", "fd00:9::9", "ff02::16", "ff02::1:2")
]  # fmt: skip
NETS = [ip_network(text) for text in ("10.0.0.0/8", "10.0.1.2/32", "0.0.0.0/0", "::/0", "fd00:1::/64")]
BITS = 60
PROBES, WORLDS = 400, 6
HOP_BY_HOP, FRAGMENT, OPTIONS = 0, 44, 60
OTHERS = ((), ())
DENY = CompiledRule(action=RuleAction.DENY, rule_id=5)
NEVER = CompiledRule(action=RuleAction.DENY, bit=BITS - 1)


class Bench:
    """The real driver, to which the loopback interface is one of the node's own: packets of test runs come from there."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.driver = EbpfDriver(node.pin_dir, node.state_dir, xdp="off")
        self.driver._rounds = Rounds(lambda: [Interface(index=probe.LOOPBACK, name="lo")])

    def enforce(self, tables: Tables) -> DesiredPolicy:
        """Class 0 is the list of UNTRACKED; the others are class 1."""
        classes = HostClasses(untracked=0, pre_dnat=1, forward=1, normal=1)
        host = HostAttachment(host_endpoint="dc1//h", interface="lo", classes=classes)
        known: dict[Address, IdentityNumber] = {NODE4: HOST, NODE6: HOST, **PEERS}
        desired = DesiredPolicy(tables=tables, addresses=known, hosts=(host,))
        with self.node.entered():
            assert self.driver.converge(desired) == ()
        return desired

    def says(self, raw: bytes) -> tuple[bool, bool]:
        """Whether XDP drops a packet that comes in, and whether tc does."""
        with self.node.entered():
            early = probe.ask_early(self.driver.generation / "deny_early", raw).action
            late = probe.ask(self.driver.generation / "from_network", raw).action
        assert early in (PASSED, DROPPED)
        assert late in (probe.ACT_NEXT, probe.ACT_SHOT)
        return early == DROPPED, late == probe.ACT_SHOT


@pytest.fixture
def bench(node: Any) -> Iterator[Bench]:
    made = Bench(node)
    yield made
    made.driver.close()


def rule(chance: random.Random, index: int, size: int, *, is_of_ports: bool) -> CompiledRule:
    pick = chance.choice
    action = pick([RuleAction.ALLOW, RuleAction.DENY, RuleAction.PASS])
    protocol = pick([TCP, UDP, SCTP] if is_of_ports else [0, 0, TCP, UDP, ICMP, ICMP6, SCTP, 47])
    asked: dict[str, Any] = {
        "bit": pick([NO_BIT, chance.randrange(BITS)]),
        "not_net_bit": pick([NO_BIT, NO_BIT, NO_BIT, chance.randrange(BITS)]),
        "is_own": chance.random() < 0.2,
        "is_protocol_negated": bool(protocol) and not is_of_ports and pick([False, False, True]),
    }
    if is_of_ports:
        asked["destination_ports"], asked["source_ports"] = pick(
            [((22, 22), (0, 65535)), ((0, 65535), (80, 80)), ((67, 80), (0, 1023))]
        )
    elif protocol in (TCP, UDP, SCTP) and not asked["is_protocol_negated"]:
        asked["destination_ports"] = pick([(0, 65535), (53, 80), (67, 68)])
        asked["source_ports"] = pick([(0, 65535), (0, 65535), (1, 1023)])
    if protocol in (ICMP, ICMP6) and not asked["is_protocol_negated"]:
        asked["icmp_type"], asked["icmp_code"] = pick([(-1, -1), (8, -1), (128, 0), (3, 0)])
    following = chance.randint(index + 1, size) if action is RuleAction.PASS else 0
    return CompiledRule(action=action, protocol=protocol, next_tier=following, rule_id=index, **asked)


def world(chance: random.Random, size: int) -> Tables:
    def row() -> int:
        return chance.getrandbits(BITS) & chance.getrandbits(BITS)

    of_ports = chance.choice([0, 3, 31, 40])  # at the beginning, as those of failsafe ports
    lines = tuple(rule(chance, n, size, is_of_ports=n < of_ports) for n in range(size))
    return Tables(
        bit_count=BITS,
        identity_rows={number: row() for number in {*PEERS.values(), WORLD, HOST}},
        prefix_rows={net: row() for net in NETS if chance.random() < 0.7},
        classes=((lines, ()), OTHERS),
    )


def packet(chance: random.Random, is_v6: bool) -> Packet:
    kinds = [128, 129, 1, 3, 131, 133, 135, 137, 143] if is_v6 else [8, 0, 3, 11, 13]
    return Packet(
        protocol=chance.choice([TCP, UDP, SCTP, ICMP6 if is_v6 else ICMP, 47, 2]),
        source_port=chance.choice([67, 68, 546, 547, 80, 1024, 40000]),
        destination_port=chance.choice([22, 53, 67, 68, 80, 546, 547, 8080]),
        icmp_type=chance.choice(kinds),
        icmp_code=chance.choice([0, 0, 1]),
    )


def asked(chance: random.Random) -> tuple[Address, Address, Packet]:
    """Who sends what to whom, of one family."""
    source = chance.choice([*PEERS, *STRANGERS])
    destination = chance.choice([each for each in ENDS if each.version == source.version])
    return source, destination, packet(chance, source.version == 6)


def odd(chance: random.Random, raw: bytes) -> bytes:
    """The same frame with something unusual about it."""
    body, is_v6 = raw[14:], raw[12:14] == b"\x86\xdd"
    match chance.randrange(6):
        case 0:
            return raw[: chance.randrange(54 if is_v6 else 34, len(raw))]
        case 1:  # a tag, or two
            return raw[:12] + b"\x81\x00\x00\x07" * chance.choice([1, 2]) + raw[12:]
        case 2 if is_v6:  # a chain of headers
            number = chance.choice([HOP_BY_HOP, FRAGMENT, OPTIONS])
            extra = bytes([body[6], 0, 0, chance.choice([0, 1, 9])]) + bytes(4)
            return raw[:14] + body[:6] + bytes([number]) + body[7:40] + extra + body[40:]
        case 2:  # options
            return raw[:14] + b"\x46" + body[1:20] + bytes(4) + body[20:]
        case 3 if not is_v6:  # a fragment
            return raw[:14] + body[:6] + chance.choice([b"\x20\x00", b"\x00\x03", b"\x20\x01"]) + body[8:]
        case 4:
            return (
                raw[:12]
                + chance.choice([b"\x08\x06", b"\x00\x40", b"\x08\x00", b"\x86\xdd"])
                + body
                + bytes(20)
            )
        case _:
            at = chance.randrange(14, len(raw))
            return raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :]


def is_for_neighbours(asked: Packet, is_v6: bool) -> bool:
    """Leases, neighbours' messages and errors, which no list is asked about as they are."""
    if asked.protocol == UDP:
        ports = (asked.source_port, asked.destination_port)
        return ports == ((547, 546) if is_v6 else (67, 68))
    if asked.protocol == ICMP6:
        return asked.icmp_type in (1, 3, 131, 133, 135, 137, 143)
    return asked.protocol == ICMP and asked.icmp_type in (3, 11)


@pytest.mark.parametrize("size", [1, 4, 30, 250, 450])
def test_xdp_drops_what_tc_would_and_of_plain_packets_all_of_it(bench: Bench, size: int) -> None:
    dropped = passed = 0
    for seed in range(WORLDS):
        chance = random.Random(f"{size} {seed}")
        desired = bench.enforce(world(chance, size))
        for _ in range(PROBES // WORLDS):
            source, destination, what = asked(chance)
            raw = frame(
                source,
                destination,
                what,
                Shape(flags=chance.choice([SYN, ACK]), payload=bytes(chance.choice([0, 30]))),
            )
            rows = [
                peer_row(desired.tables, desired.addresses.get(each, WORLD), each)
                for each in (source, destination)
            ]
            verdict, number = walk(desired.tables, 0, Direction.INGRESS, rows[0], what, rows[1])
            said = bench.says(raw)
            if not is_for_neighbours(what, source.version == 6):
                assert said == (verdict is Verdict.DENY,) * 2, (seed, source, destination, what, number)
            assert said[1] or not said[0], (seed, source, destination, what)
            dropped, passed = dropped + said[0], passed + (not said[0])
            broken = odd(chance, raw)
            early, late = bench.says(broken)
            assert late or not early, (seed, source, destination, what, broken.hex())
    assert dropped
    assert passed


def test_a_denial_at_the_end_of_the_longest_list_is_found(bench: Bench) -> None:
    own = replace(NEVER, is_own=True)
    for first in (NEVER, own):
        lines = (*(first,) * (layout.MAX_RULES - 1), DENY)
        bench.enforce(Tables(bit_count=BITS, classes=((lines, ()), OTHERS)))
        sent = Packet(protocol=UDP, source_port=40000, destination_port=53)
        assert bench.says(frame(STRANGERS[0], NODE4, sent)) == (True, True)


def test_leases_neighbours_and_who_listens_where_pass_a_denial_of_all(bench: Bench) -> None:
    bench.enforce(Tables(bit_count=BITS, classes=(((DENY,), ()), OTHERS)))
    with bench.node.entered():
        lease = Packet(protocol=UDP, source_port=67, destination_port=68)
        lease6 = Packet(protocol=UDP, source_port=547, destination_port=546)
        for source, destination, what, hops in (
            ("10.0.1.1", "10.0.0.1", lease, 64), ("fd00:1::1", "fd00::1", lease6, 64),
            ("fe80::7", "fd00::1", Packet(protocol=ICMP6, icmp_type=135), 255), ("fe80::7", "ff02::1", Packet(protocol=ICMP6, icmp_type=134), 255),
            ("fe80::7", "ff02::16", Packet(protocol=ICMP6, icmp_type=143), 1),
        ):  # fmt: skip
            raw = frame(ip_address(source), ip_address(destination), what, Shape(hops=hops))
            assert bench.says(raw) == (False, False), what
    assert bench.says(frame(STRANGERS[0], NODE4, Packet(protocol=UDP, destination_port=68))) == (True, True)


def test_errors_and_the_rest_of_a_datagram_are_left_to_tc(bench: Bench) -> None:
    """What they are about stands elsewhere; what stands in its place may look like something that is denied."""
    port_53 = CompiledRule(action=RuleAction.DENY, protocol=UDP, destination_ports=(53, 53))
    no_errors = CompiledRule(action=RuleAction.DENY, protocol=ICMP)
    allow = CompiledRule(action=RuleAction.ALLOW)
    bench.enforce(Tables(bit_count=BITS, classes=(((port_53, no_errors), (allow,)), OTHERS)))
    peer = next(iter(PEERS))

    def datagram(port: int) -> bytes:
        sent = Packet(protocol=UDP, source_port=40000, destination_port=port)
        return frame(peer, NODE4, sent, Shape(payload=bytes(24)))

    def part(raw: bytes, place: bytes) -> bytes:
        return raw[:20] + place + raw[22:]

    first, rest = part(datagram(80), b"\x20\x00"), part(datagram(53), b"\x00\x03")
    assert bench.says(datagram(53)) == (True, True)
    assert bench.says(first) == (False, False)
    assert bench.says(rest) == (False, False)
    about = frame(NODE4, peer, Packet(protocol=UDP, source_port=53, destination_port=40000))[14:]
    error = frame(peer, NODE4, Packet(protocol=ICMP, icmp_type=3), Shape(payload=about))
    assert bench.says(error) == (False, False)
    assert bench.says(frame(peer, NODE4, Packet(protocol=ICMP, icmp_type=8))) == (True, True)


class Load(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32), ("count", ctypes.c_uint32), ("code", ctypes.c_uint64), ("license", ctypes.c_uint64),
        ("log", ctypes.c_uint64 * 4),
    ]  # fmt: skip


@contextmanager
def foreign_program(pin: Path) -> Iterator[Path]:
    """Somebody else's XDP program, pinned, which lets all pass."""
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, PASSED, 0x95, 0, 0, 0), 16)
    gpl = ctypes.create_string_buffer(b"GPL")
    program = bpf.call(5, Load(type=6, count=2, code=ctypes.addressof(code), license=ctypes.addressof(gpl)), "load")  # fmt: skip
    try:
        bpf.pin(program, pin)
        yield pin
    finally:
        os.close(program)
        pin.unlink(missing_ok=True)


NO_PING = {"action": "Deny", "protocol": "UDP", "source": {"nets": ["10.10.1.1/32", "192.0.2.0/24"]}}
SAFE = Failsafe(inbound=(FailsafePort(TCP, 8080),), outbound=())
UNTRACKED: dict[str, Any] = {
    "selector": "has(node)", "ingress": [NO_PING], "types": ["Ingress"], "doNotTrack": True, "applyOnForward": True
}  # fmt: skip
DENY_ALL = {**UNTRACKED, "ingress": [{"action": "Deny"}]}


def desired(*policies: dict[str, Any]) -> DesiredPolicy:
    """A node whose interface pod1 is policed."""
    made = [document("GlobalNetworkPolicy", f"p{n}", policy) for n, policy in enumerate(policies)]
    host = document(
        "HostEndpoint", "h", {"node": "n", "interfaceName": "pod1"}, cluster="dc1", labels={"node": "n"}
    )
    node = document("Node", "n", {"addresses": ["169.254.1.1"]}, cluster="dc1")
    state = State(revision=1, documents={key_of(each): each for each in (node, host, *made)})
    return Decider(ObjectKey("Node", "dc1", "", "n"), SAFE).decide(state).policy


class Site:
    """A node with pods, of which the second is a server, and drivers one after the other."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.drivers: list[EbpfDriver] = []
        self.index = self.inside(lambda: links.index_of("pod1"))

    def inside(self, ask: Any) -> Any:
        with self.node.entered():
            return ask()

    def driver(self, **words: Any) -> EbpfDriver:
        self.drivers.append(EbpfDriver(self.node.pin_dir, self.node.state_dir, **words))
        return self.drivers[-1]

    def converge(self, driver: EbpfDriver, *policies: dict[str, Any]) -> tuple[ObjectReport, ...]:
        wanted = desired(*policies)
        self.inside(lambda: driver.converge(wanted))
        reports: tuple[ObjectReport, ...] = self.inside(lambda: driver.converge(wanted))
        return reports

    def hung(self) -> Any:
        return self.inside(lambda: xdp.look(self.node.pin_dir / FOLDER))

    def shown(self) -> str:
        """The word that `ip` has for the XDP program of pod1."""
        text = subprocess.run(["ip", "-n", self.node.name, "link", "show", "pod1"], capture_output=True, text=True, check=True).stdout  # fmt: skip
        found = re.search(r"\b(xdp\w*)\b", text)
        return found[1] if found else ""

    def link(self) -> tuple[int, int]:
        """(number, program) of our link."""
        ((index, mode),) = self.hung().items()
        words = pinned.look(self.node.pin_dir / FOLDER / f"{index}-{xdp.ENDS[mode]}")
        assert words
        return words[1], words[pinned.PROGRAM]

    def sends(self, count: int = 50) -> None:
        """Datagrams from the first pod to the second."""
        words = ("import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
                 "[s.sendto(b'x', (sys.argv[1], 8080)) for _ in range(int(sys.argv[2]))]")  # fmt: skip
        process = self.node.start(1, "python3", "-c", words, str(self.node.address(2)), str(count))
        assert process.wait() == 0


@pytest.fixture
def site(node: Any) -> Iterator[Site]:
    node.serve(2)
    made = Site(node)
    yield made
    for driver in made.drivers:
        driver.close()


class Statistics(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_uint32)]


@contextmanager
def runs_counted() -> Iterator[None]:
    """The kernel counts how often programs run, meanwhile."""
    held = bpf.call(32, Statistics(), "count runs")  # BPF_ENABLE_STATS, BPF_STATS_RUN_TIME
    try:
        yield
    finally:
        os.close(held)


def told_of(program: Path, what: str) -> int:
    """What the kernel says of a program."""
    descriptor = bpf.open_pin(program)
    try:
        told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    return int(re.findall(rf"^{what}:\s+(\d+)$", told, re.M)[0])


@pytest.mark.parametrize(("choice", "mode"), [("auto", Mode.NATIVE), ("generic", Mode.GENERIC)])
def test_what_is_denied_ends_at_the_driver_and_nothing_else_does(site: Site, choice: str, mode: Mode) -> None:
    driver = site.driver(xdp=choice)
    assert site.converge(driver, UNTRACKED) == ()
    assert site.hung() == {site.index: mode}
    assert site.shown() == {Mode.NATIVE: "xdp", Mode.GENERIC: "xdpgeneric"}[mode]
    with runs_counted():
        names = ("deny_early", "from_network")
        before = [told_of(driver.generation / name, "run_cnt") for name in names]
        site.sends(50)
        early, late = (
            told_of(driver.generation / name, "run_cnt") - n for name, n in zip(names, before, strict=True)
        )
    assert early >= 50
    assert late <= early - 50, "none of the fifty comes there"
    assert not site.node.reaches(1, 2, "udp")
    assert site.node.reaches(1, 2, "tcp")
    assert site.node.reaches(3, 2, "udp"), "another interface"
    assert site.converge(driver, DENY_ALL) == ()
    assert site.node.reaches(1, 2, "tcp"), "a failsafe port"
    assert not site.node.reaches(1, 2, "udp")


def test_what_is_dropped_is_counted_by_rule_and_by_reason(site: Site) -> None:
    driver = site.driver()
    site.converge(driver, UNTRACKED)

    def counted(name: str, place: int, width: int) -> int:
        held = bpf.PinnedMap(driver.generation / name, 4, width, bpf.possible_processors())
        value = dict(held.items())[layout.NUMBER.pack(place)]
        held.close()
        return sum(struct.unpack(f"={len(value) // 8}Q", value)[:: width // 8])

    tables = desired(UNTRACKED).tables
    ((number, _),) = ((n, named) for n, named in tables.references.items() if named.policy is not None and named.index is not None)  # fmt: skip
    site.sends(50)
    assert counted("rule_counts", number + 1, 16) == 50
    assert counted("counters", layout.COUNTERS.index("denied"), 8) == 50


def test_somebody_elses_program_is_left_alone_and_tc_denies(site: Site) -> None:
    elsewhere = site.node.pin_dir.with_name(f"{site.node.name}-foreign")
    driver = site.driver()
    with foreign_program(elsewhere) as pin, capture_logs() as logs:
        command = ["nsenter", f"--net=/run/netns/{site.node.name}", "ip", "link", "set", "dev", "pod1"]
        subprocess.run([*command, "xdp", "pinned", str(pin)], check=True)
        assert site.converge(driver, UNTRACKED) == ()
        assert site.hung() == {}
        assert site.shown() == "xdp"
        assert not site.node.reaches(1, 2, "udp")
        assert site.node.reaches(1, 2, "tcp")
        (said,) = (entry for entry in logs if entry["event"] == "xdp was left out")
        assert "left alone" in said["detail"]
        assert said["interface"] == "pod1"
        subprocess.run([*command, "xdp", "off"], check=True)
    assert site.converge(driver, UNTRACKED) == ()
    assert site.hung() == {site.index: Mode.NATIVE}


def test_it_denies_on_without_an_agent_and_a_restarted_one_goes_on_with_it(site: Site) -> None:
    driver = site.driver()
    site.converge(driver, UNTRACKED)
    before = site.link()
    driver.close()
    assert not site.node.reaches(1, 2, "udp")
    assert site.converge(site.driver(), UNTRACKED) == ()
    assert site.link() == before


def test_an_upgrade_replaces_the_program_in_its_link(site: Site) -> None:
    driver = site.driver()
    site.converge(driver, UNTRACKED)
    number, program = site.link()
    driver.close()
    driver.generation.rename(site.node.pin_dir / "older")
    assert site.converge(site.driver(), UNTRACKED) == ()
    assert site.link()[0] == number
    assert site.link()[1] != program
    assert not site.node.reaches(1, 2, "udp")


def test_it_goes_when_nothing_is_denied_early_any_more(site: Site) -> None:
    driver = site.driver()
    for gone in ([], [{**UNTRACKED, "ingress": [{"action": "Allow"}]}]):
        site.converge(driver, UNTRACKED)
        assert site.shown() == "xdp"
        assert site.converge(driver, *gone) == ()
        assert (site.hung(), site.shown()) == ({}, "")
        assert site.node.reaches(1, 2, "udp")
    site.converge(driver, UNTRACKED)
    assert site.converge(site.driver(xdp="off"), UNTRACKED) == ()
    assert (site.hung(), site.shown()) == ({}, "")
    site.converge(site.driver(), UNTRACKED)
    site.inside(site.drivers[-1].withdraw)
    assert site.shown() == ""


def test_a_link_that_was_removed_by_hand_is_made_again_and_told(site: Site) -> None:
    driver = site.driver()
    assert site.converge(driver, UNTRACKED) == ()
    wanted = desired(UNTRACKED)
    site.inside(lambda: driver.converge(wanted))
    site.inside(lambda: pinned.detach(site.node.pin_dir / FOLDER / f"{site.index}-{xdp.PROGRAM}"))
    assert site.shown() == ""
    (report,) = site.inside(lambda: driver.converge(wanted))
    assert (report.key, report.reason) == ("xdp pod1", DRIFT)
    assert site.shown() == "xdp"
    assert not site.node.reaches(1, 2, "udp")


def test_none_hangs_where_a_driver_may_hide_the_tags_of_vlans(site: Site) -> None:
    driver = site.driver()
    site.converge(driver, UNTRACKED)
    add = [
        "ip",
        "-n",
        site.node.name,
        "link",
        "add",
        "link",
        "pod1",
        "name",
        "pod1.7",
        "type",
        "vlan",
        "id",
        "7",
    ]
    if subprocess.run(add, check=False, capture_output=True).returncode:
        pytest.skip("this kernel has no VLANs")
    with capture_logs() as logs:
        assert site.converge(driver, UNTRACKED) == ()
    assert "VLANs" in logs[0]["detail"]
    assert site.shown() == ""
    assert not site.node.reaches(1, 2, "udp")


def test_the_verifier_looks_at_few_instructions(bench: Bench) -> None:
    bench.enforce(Tables(classes=(((DENY,), ()), OTHERS)))
    looked_at = {name: told_of(bench.driver.generation / name, "verified_insns") for name in loader.KINDS}
    print(looked_at)
    assert {name: count for name, count in looked_at.items() if count >= 100_000} == {}, "of a million"
