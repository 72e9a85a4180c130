"""One node's policy, said once for all contenders: groups of peers, and each endpoint's list of what it lets in. Pure.

A world of size N has N peers in its groups, N/10 rules on the node's other endpoints (up to 100 of them), and the measured endpoint's own
list. Each contender says the same in its own words: `desired` here, iptables.py, nftables.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from benchmarks.pods import FIRST_PORT, PORTS, SOURCE, TARGET
from federation.identities import IdentityNumber
from federation.policy.tables import NO_BIT, CompiledRule, RuleAction, Tables
from federation.resources.metadata import ObjectKey
from nodeagent.drivers import Attachment, DesiredPolicy

SIZES = (10, 100, 1_000, 10_000, 100_000)
OWN_RULES = 10
CLIENT_INTERFACE, TARGET_INTERFACE = "pod1", "pod2"
BYSTANDERS = tuple(f"podb{n:02d}" for n in range(100))
"""Interfaces of the node's other endpoints, which hold most of its rules."""
OPEN = (FIRST_PORT, FIRST_PORT + PORTS - 1)
DATAGRAM_PORT = 5201
"""iperf3's."""
ANY = (0, 65535)
TCP, UDP = 6, 17
MOST_GROUPS = 500
"""Ours has 1,024 predicates a node."""
REPLICAS = 10
"""Peers of one identity: pods of one deployment."""
PEERS, NEWCOMERS, NODE_PREFIX = IPv4Address("10.100.0.0"), IPv4Address("10.120.0.0"), IPv4Address("10.98.0.0")
FIRST_NETWORK = int(IPv4Address("20.0.0.0"))
CLIENT, SERVER, OTHERS = IdentityNumber(300), IdentityNumber(301), IdentityNumber(302)
FIRST_PEER, FIRST_NEWCOMER = 1_000, 100_000


Member = IPv4Address | IPv4Network


@dataclass(frozen=True, slots=True)
class Line:
    """One rule: TCP (or UDP) from a group (None: from the world's networks) to these ports is let in."""

    group: int | None
    ports: tuple[int, int] = ANY
    protocol: int = TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the node is to enforce. What no line lets in is dropped; interfaces without a list are open."""

    members: tuple[tuple[IPv4Address, ...], ...]
    """By group."""
    lists: Mapping[str, tuple[Line, ...]]
    """By interface, of what comes in."""
    networks: tuple[IPv4Network, ...] = ()
    identities: Mapping[IPv4Address, IdentityNumber] = field(default_factory=dict)
    """Of every peer and endpoint; those of one identity are in the same groups."""

    def allows(self, interface: str, source: IPv4Address, protocol: int, port: int) -> bool:
        """What is right, told line by line."""
        lines = self.lists.get(interface)
        if lines is None:
            return True
        return any(
            protocol == line.protocol and low <= port <= high and self._holds(line.group, source)
            for line in lines
            for low, high in (line.ports,)
        )

    def _holds(self, group: int | None, source: IPv4Address) -> bool:
        if group is None:
            return any(source in net for net in self.networks)
        return source in self.members[group]


@dataclass(frozen=True, slots=True)
class Change:
    """What makes one world of another of the same groups and endpoints. Members by group (None: the networks, which come and go as a
    whole), lists by interface."""

    come: Mapping[int | None, Sequence[Member]]
    gone: Mapping[int | None, Sequence[Member]]
    lists: Mapping[str, tuple[Line, ...]]


def change(before: World, after: World) -> Change:
    """The difference. Raises ValueError for worlds that are too unlike."""
    if before.lists.keys() != after.lists.keys() or (
        before.networks and after.networks and before.networks != after.networks
    ):
        raise ValueError("other endpoints, or other networks: load the whole world instead")
    lists = {name: own for name, own in after.lists.items() if own != before.lists[name]}
    return Change(_more(before, after), _more(after, before), lists)


def _more(before: World, after: World) -> dict[int | None, Sequence[Member]]:
    pairs = enumerate(zip(before.members, after.members, strict=True))
    found: dict[int | None, Sequence[Member]] = {
        group: more for group, (old, new) in pairs if old != new and (more := sorted(set(new) - set(old)))
    }
    if after.networks and not before.networks:
        found[None] = after.networks
    return found


def world(
    size: int,
    own_rules: int = OWN_RULES,
    *,
    client_groups: Sequence[int] = (-1,),
    newcomers: int = 0,
    networks: Sequence[IPv4Network] = (),
    network_user: str = TARGET_INTERFACE,
    width: int = 1,
) -> World:
    """A world of that size. The target's lines name its open ports and a group each; only the last one names all ports, and the one
    before it the datagrams that are measured. The client is in the last one's group (or in `client_groups`), a peer in `width` groups."""
    groups = max(own_rules, min(MOST_GROUPS, size // 20))
    members: list[list[IPv4Address]] = [[] for _ in range(groups)]
    identities = {SOURCE: CLIENT, TARGET: SERVER}
    for n in range(size):
        for further in range(width):
            members[(n + 7 * further) % groups].append(PEERS + n)
        block = n // (groups * REPLICAS)
        identities[PEERS + n] = IdentityNumber(FIRST_PEER + block * groups + n % groups)
    for n in range(newcomers):
        members[n % groups].append(NEWCOMERS + n)
        identities[NEWCOMERS + n] = IdentityNumber(FIRST_NEWCOMER + n)
    for group in client_groups:
        members[range(own_rules)[group]].append(SOURCE)
    last = own_rules - 1
    own = [Line(n, OPEN) for n in range(last)]
    own[-1:] = [Line(last, (DATAGRAM_PORT, DATAGRAM_PORT), UDP)] if own else []
    lists = {TARGET_INTERFACE: (*own, Line(last))}
    rules = max(1, size // 10)
    others = BYSTANDERS[: max(1, min(len(BYSTANDERS), rules // 5))]
    for at, interface in enumerate(others):
        identities[NODE_PREFIX + at] = OTHERS
        count = rules // len(others)
        lists[interface] = tuple(Line((at * 31 + n) % groups, (1024 + n, 1024 + n)) for n in range(count))
    if networks:
        lists[network_user] = (Line(None, OPEN), *lists.get(network_user, ()))
    return World(
        members=tuple(map(tuple, members)), lists=lists, networks=tuple(networks), identities=identities
    )


def networks(number: int) -> list[IPv4Network]:
    """Prefixes apart from each other, that hold no peer: no tool can put two into one."""
    return [IPv4Network((FIRST_NETWORK + 32 * n, 28)) for n in range(number)]


def rules_of(given: World) -> int:
    """Lines on all endpoints."""
    return sum(map(len, given.lists.values()))


def desired(given: World, target_interface: str = TARGET_INTERFACE) -> DesiredPolicy:
    """For our driver: a bit per group, one more for the networks, a class per list. `target_interface`: where the target hangs."""
    groups = len(given.members)
    rows = {IdentityNumber(number): 0 for number in given.identities.values()}
    for group, addresses in enumerate(given.members):
        for address in addresses:
            rows[given.identities[address]] |= 1 << group
    order = (CLIENT_INTERFACE, TARGET_INTERFACE, *BYSTANDERS)
    keys = {name: ObjectKey("Endpoint", "dc1", "bench", name) for name in order}
    classes: list[tuple[tuple[CompiledRule, ...], tuple[CompiledRule, ...]]] = [((), ())]
    attachments = []
    for interface in order:
        lines = given.lists.get(interface)
        if lines is None and interface in BYSTANDERS:
            continue
        number = 0
        if lines is not None:
            number = len(classes)
            classes.append((_compiled(lines, groups), ()))
        address = address_of(interface)
        attachments.append(
            Attachment(
                endpoint=keys[interface].path,
                interface=target_interface if interface == TARGET_INTERFACE else interface,
                class_number=number,
                identity=given.identities[address],
                addresses=(address,),
            )
        )
    tables = Tables(
        bit_count=groups + 1,
        identity_rows=rows,
        prefix_rows=dict.fromkeys(given.networks, 1 << groups),
        classes=tuple(classes),
        subjects={keys[a.endpoint.rpartition("/")[2]]: a.class_number for a in attachments},
    )
    return DesiredPolicy(tables=tables, addresses=given.identities, attachments=tuple(attachments))


def address_of(interface: str) -> IPv4Address:
    """The one address of an endpoint of the node."""
    if interface == CLIENT_INTERFACE:
        return SOURCE
    return TARGET if interface == TARGET_INTERFACE else NODE_PREFIX + BYSTANDERS.index(interface)


def _compiled(lines: Sequence[Line], groups: int) -> tuple[CompiledRule, ...]:
    allowing = (
        CompiledRule(
            action=RuleAction.ALLOW,
            bit=NO_BIT if line.group is None else line.group,
            net_bit=groups if line.group is None else NO_BIT,
            protocol=line.protocol,
            destination_ports=line.ports,
            rule_id=n,
        )
        for n, line in enumerate(lines, start=1)
    )
    return (*allowing, CompiledRule(action=RuleAction.DENY))
