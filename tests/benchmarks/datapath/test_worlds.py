"""All contenders are told the same policy: their words, read back line by line, judge as the world does."""

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from benchmarks.datapath import iptables, nftables
from benchmarks.datapath.worlds import (
    BYSTANDERS,
    OPEN,
    PEERS,
    SIZES,
    TARGET_INTERFACE,
    TCP,
    UDP,
    World,
    desired,
    rules_of,
    world,
)  # fmt: skip
from benchmarks.pods import SOURCE
from federation.identities import WORLD
from federation.policy.tables import Direction, Verdict
from federation.policy.walk import Packet, peer_row, walk
from nodeagent.dataplane.ebpf import layout

NETS = [IPv4Network("10.99.0.0/16"), IPv4Network("192.0.2.0/24")]
WORLDS = {
    "small": world(10),
    "nobody": world(10, client_groups=()),
    "two lines": world(100, 20, client_groups=(3, 18)),
    "one line": world(10, 1),
    "newcomers": world(100, newcomers=30),
    "networks": world(10, client_groups=(), networks=NETS),
    "of another": world(100, networks=NETS, network_user=BYSTANDERS[0]),
    "long": world(1000, 100),
}
SOURCES = [SOURCE, *(PEERS + n for n in (0, 1, 8, 9)), IPv4Address("192.0.2.7"), IPv4Address("203.0.113.1")]
PORTS = (OPEN[0] - 1, *OPEN, OPEN[1] + 1, 5201, 1024, 1025)
Judge = Callable[[str, IPv4Address, int, int], bool]


def questions() -> Iterator[tuple[str, IPv4Address, int, int]]:
    for interface in ("pod1", TARGET_INTERFACE, BYSTANDERS[0]):
        for source in SOURCES:
            for protocol in (TCP, UDP):
                yield from ((interface, source, protocol, port) for port in PORTS)


def ours(given: World) -> Judge:
    wanted = desired(given)
    numbers = {a.interface: a.class_number for a in wanted.attachments}

    def judge(interface: str, source: IPv4Address, protocol: int, port: int) -> bool:
        tables = wanted.tables
        row = peer_row(tables, wanted.addresses.get(source, WORLD), source)
        packet = Packet(protocol=protocol, source_port=40000, destination_port=port)
        return walk(tables, numbers[interface], Direction.INGRESS, row, packet)[0] is Verdict.ALLOW

    return judge


def in_nftables(given: World) -> Judge:
    text = nftables.ruleset(given)
    sets = {name: nets_of(body) for name, body in re.findall(r"^set (\w+) \{(.*)\}$", text, re.M)}
    chains = dict(re.findall(r"^chain (\w+) \{\n(.*?)\n\}$", text, re.M | re.S))
    jumps = dict(re.findall(r'"(\w+)" : jump (\w+)', chains["forward"]))

    def judge(interface: str, source: IPv4Address, protocol: int, port: int) -> bool:
        if interface not in jumps:
            return True
        for line in chains[jumps[interface]].splitlines():
            if line == "drop":
                return False
            found = re.fullmatch(r"(?:meta l4proto )?(tcp|udp)(?: dport (\S+))? ip saddr @(\w+) accept", line)
            assert found, line
            name, ports, members = found.groups()
            if is_hit(name, ports, "-", protocol, port) and any(source in net for net in sets[members]):
                return True
        return True

    return judge


def in_iptables(given: World) -> Judge:
    sets: dict[str, list[IPv4Network]] = {}
    for line in iptables.sets(given).splitlines():
        verb, name, first, *_ = line.split()
        if verb == "create":
            sets[name] = []
        else:
            sets[name].append(IPv4Network(first))
    rules: dict[str, list[str]] = {}
    for line in iptables.chains(given).splitlines():
        if line.startswith("-A "):
            rules.setdefault(line.split()[1], []).append(line)

    def judge(interface: str, source: IPv4Address, protocol: int, port: int) -> bool:
        chain = [line for line in rules[f"cw-to-{interface}"] if "conntrack" not in line]
        jump = next((line.split()[-1] for line in chain if "-j cw-pi-" in line), None)
        if jump is None:
            assert any(line.endswith("-j cw-profile") for line in chain)
            return True
        assert chain[chain.index(next(x for x in chain if x.endswith(jump))) + 2].endswith("-j DROP")
        setting, returning = rules[jump][::2], rules[jump][1::2]
        assert all(line.endswith(f"--mark {iptables.ACCEPT} -j RETURN") for line in returning)
        for line in setting:
            found = re.fullmatch(
                r"-A \S+ -p (\d+) -m set --match-set (\S+) src(?: -m multiport --dports (\S+))? -j MARK .*", line
            )  # fmt: skip
            assert found, line
            number, members, ports = found.groups()
            name = {str(TCP): "tcp", str(UDP): "udp"}[number]
            if is_hit(name, ports, ":", protocol, port) and any(source in net for net in sets[members]):
                return True
        return False

    return judge


def is_hit(name: str, ports: str | None, sign: str, protocol: int, port: int) -> bool:
    low, _, high = (ports or f"0{sign}65535").partition(sign)
    return {"tcp": TCP, "udp": UDP}[name] == protocol and int(low) <= port <= int(high or low)


def nets_of(body: str) -> list[IPv4Network]:
    return [IPv4Network(word) for word in re.findall(r"[\d.]+\.\d+(?:/\d+)?", body)]


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("translate", [ours, in_nftables, in_iptables])
def test_every_contender_judges_as_the_world_does(name: str, translate: Callable[[World], Judge]) -> None:
    given = WORLDS[name]
    judge = translate(given)
    wrong = [words for words in questions() if judge_or_open(judge, given, words) != given.allows(*words)]
    assert not wrong


def judge_or_open(judge: Judge, given: World, words: tuple[str, IPv4Address, int, int]) -> bool:
    """Interfaces that a world does not have are nobody's."""
    is_absent = words[0] in BYSTANDERS and words[0] not in given.lists
    return True if is_absent else judge(*words)


def test_the_client_is_let_in_by_the_last_line_and_the_questions_tell_worlds_apart() -> None:
    answers = {name: tuple(given.allows(*words) for words in questions()) for name, given in WORLDS.items()}
    assert WORLDS["small"].allows(TARGET_INTERFACE, SOURCE, TCP, 1)
    assert not WORLDS["nobody"].allows(TARGET_INTERFACE, SOURCE, TCP, OPEN[0])
    for one in ("small", "nobody", "two lines", "networks"):
        assert [name for name in answers if answers[name] == answers[one]] == [one]


def test_sizes_count_peers_and_hold_a_tenth_of_rules_on_other_endpoints() -> None:
    for size in SIZES[:4]:
        given = world(size)
        assert sum(map(len, given.members)) == size + 1
        assert rules_of(given) == 10 + max(1, size // 10)
    assert len(world(10_000).lists) == 101


@pytest.mark.parametrize(("size", "own"), [(10, 10), (10_000, 500)])
def test_a_world_is_within_what_the_programs_can_walk(size: int, own: int) -> None:
    tables = desired(world(size, own)).tables
    assert tables.bit_count <= layout.ROW_BITS
    assert max(len(lines) for both in tables.classes for lines in both) <= layout.MAX_RULES


def test_a_policy_alone_is_written_as_it_stands_in_the_whole() -> None:
    given = WORLDS["two lines"]
    lines = given.lists[TARGET_INTERFACE]
    for whole, alone in (
        (iptables.chains(given), iptables.policy(TARGET_INTERFACE, lines)),
        (nftables.ruleset(given), nftables.policy(TARGET_INTERFACE, lines)),
    ):
        rules = [line for line in alone.splitlines() if line.startswith(("-A", "tcp", "udp", "meta", "drop"))]
        assert len(rules) >= len(lines)
        assert "\n".join(rules) in whole
