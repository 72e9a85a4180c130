"""From the bytes of the maps to values: what layout.py packs, and what the programs write. Pure."""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from federation.policy.tables import CompiledRule, Direction, RuleAction
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.layout import Address, Extent

COUNT_MASK = 0xFFFF
"""Of an endpoint's counts: the number of rules, without flags."""
STATES = ("opening", "answered", "established")
ENDED = 3
"""Of a connection's marks: a bit for each end that has ended."""
CLOSING = ("", "closing", "closing", "closed")
KINDS = ("opened", "denied", "cut", "closed", "logged")
"""Of events, by number."""
NOBODY = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointEntry:
    """An endpoint's entry. `addresses`: the first of each family; `lists` by Direction."""

    addresses: tuple[Address, ...]
    identity: int
    bank: int
    epoch: int
    lists: tuple[Extent, Extent]
    mac: bytes


@dataclass(frozen=True, slots=True)
class HostEntry:
    """The entry of an interface of the node. `lists` by HostStage and Direction."""

    bank: int
    epoch: int
    lists: tuple[Extent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An entry of `connections` or `openings`, seen from one end. Times are the kernel's monotonic clock, ns; counts are by Direction."""

    index: int
    """Interface of the end."""
    local: Address
    remote: Address
    local_port: int
    remote_port: int
    protocol: int
    state: str
    direction: Direction
    """Which way it was opened."""
    deadline: int
    opened_at: int
    packets: tuple[int, int]
    bytes: tuple[int, int]
    epoch: int
    rule_id: int | None
    """Key of `Tables.references`; None: nothing of a list said it."""
    rtt_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What the programs tell of one flow. `kind` is of KINDS, `reason` of layout.COUNTERS."""

    at: int
    kind: str
    reason: str
    direction: Direction
    index: int
    local: Address
    remote: Address
    local_port: int
    remote_port: int
    protocol: int
    identity: int
    peer: int
    rule_id: int | None
    rtt_us: int
    packets: tuple[int, int]
    bytes: tuple[int, int]
    tcp_flags: int


def address(raw: bytes, *, is_v6: bool) -> Address:
    """16 bytes of a key."""
    return IPv6Address(raw) if is_v6 else IPv4Address(raw[:4])


def endpoint(value: bytes) -> EndpointEntry:
    """What `layout.endpoint` packs."""
    _, v4, identity, bank, epoch, *rest = layout.ENDPOINT.unpack(value)
    starts, counts, mac, v6 = rest[0:2], rest[2:4], rest[4], rest[6]
    addresses: list[Address] = [IPv4Address(v4)] if any(v4) else []
    if v6 != NOBODY:
        addresses.append(IPv6Address(v6))
    ingress, egress = (
        Extent(start, count & COUNT_MASK, count & ~COUNT_MASK)
        for start, count in zip(starts, counts, strict=True)
    )
    return EndpointEntry(
        addresses=tuple(addresses),
        identity=identity,
        bank=bank,
        epoch=epoch,
        lists=(ingress, egress),
        mac=mac,
    )


def more_address(key: bytes) -> tuple[int, Address]:
    """(interface's index, one more address of it)."""
    index, is_v6, raw = layout.MORE_KEY.unpack(key)
    return index, address(raw, is_v6=bool(is_v6))


def number(value: bytes) -> int:
    """A value of one number."""
    found: int = layout.NUMBER.unpack(value)[0]
    return found


def row(value: bytes | None) -> int:
    """The bits of a row, whose seal follows them; one that is not there has none."""
    if value is None:
        return 0
    words = layout.WORDS.unpack_from(value)
    return sum(word << (64 * place) for place, word in enumerate(words))


def rule(value: bytes) -> CompiledRule:
    """What `layout.rule` packs."""
    fields = layout.RULE.unpack(value)
    bit, not_bit, net_bit, not_net_bit, *ports = fields[:8]
    protocol, flags, action, is_own, icmp_type, icmp_code, next_tier, rule_id = fields[8:]
    return CompiledRule(
        action=RuleAction(action),
        is_own=bool(is_own),
        bit=bit,
        not_bit=not_bit,
        net_bit=net_bit,
        not_net_bit=not_net_bit,
        protocol=protocol,
        is_protocol_negated=bool(flags & 1),
        source_ports=(ports[0], ports[1]),
        destination_ports=(ports[2], ports[3]),
        icmp_type=-1 if icmp_type == 0xFFFF else icmp_type,
        icmp_code=-1 if icmp_code == 0xFFFF else icmp_code,
        is_icmp_negated=bool(flags & 4),
        next_tier=next_tier,
        rule_id=rule_id - 1,
    )


def reference_of(rule_id: int) -> int | None:
    """The key of `Tables.references` behind a number of the programs, which call no rule 0."""
    return rule_id - 1 if rule_id else None


def connections(key: bytes, value: bytes) -> tuple[Connection, ...]:
    """An entry of a table of connections, seen from each of its ends that was judged here: one, or both."""
    *addresses, low_port, high_port, protocol, is_v6 = layout.CONNECTION_KEY.unpack(key)
    fields = layout.CONNECTION.unpack(value)
    (deadline, opened_at), size, packets, sides = (
        fields[:2],
        fields[2:4],
        fields[4:6],
        (fields[6:10], fields[10:14]),
    )
    rtt_us, opener, state, marks, _ = fields[14:]
    ends = tuple(address(raw, is_v6=bool(is_v6)) for raw in addresses)
    ports = (low_port, high_port)
    return tuple(
        Connection(
            index=index,
            local=ends[own],
            remote=ends[1 - own],
            local_port=ports[own],
            remote_port=ports[1 - own],
            protocol=protocol,
            state=CLOSING[marks & ENDED] or STATES[state],
            direction=Direction.EGRESS if opener == own else Direction.INGRESS,
            deadline=deadline,
            opened_at=opened_at,
            bytes=(size[1 - own], size[own]),
            packets=(packets[1 - own], packets[own]),
            epoch=epoch,
            rule_id=reference_of(rule_id),
            rtt_us=rtt_us,
        )
        for own, (index, epoch, _, rule_id) in enumerate(sides)
        if index
    )


def turned(found: Connection) -> Connection:
    """The same, seen from its other end."""
    return replace(
        found,
        local=found.remote,
        remote=found.local,
        local_port=found.remote_port,
        remote_port=found.local_port,
        direction=Direction(1 - found.direction),
        packets=found.packets[::-1],
        bytes=found.bytes[::-1],
    )


def host(value: bytes) -> HostEntry:
    """What `layout.host` packs."""
    _, bank, epoch, _, *rest = layout.HOST.unpack(value)
    starts, counts = rest[: layout.HOST_LISTS], rest[layout.HOST_LISTS : 2 * layout.HOST_LISTS]
    pairs = zip(starts, counts, strict=True)
    return HostEntry(bank, epoch, tuple(Extent(start, count & COUNT_MASK) for start, count in pairs))


def event(raw: bytes) -> Event:
    """One event of the ring."""
    at, bytes_in, bytes_out, local, remote, *rest = layout.EVENT.unpack(raw)
    index, _, identity, peer, rule_id, rtt_us, packets_in, packets_out, local_port, remote_port = rest[:10]
    protocol, is_v6, kind, reason, direction, tcp_flags = rest[10:]
    return Event(
        at=at,
        kind=KINDS[kind],
        reason=layout.COUNTERS[reason],
        direction=Direction(direction),
        index=index,
        local=address(local, is_v6=bool(is_v6)),
        remote=address(remote, is_v6=bool(is_v6)),
        local_port=local_port,
        remote_port=remote_port,
        protocol=protocol,
        identity=identity,
        peer=peer,
        rule_id=reference_of(rule_id),
        rtt_us=rtt_us,
        packets=(packets_in, packets_out),
        bytes=(bytes_in, bytes_out),
        tcp_flags=tcp_flags,
    )
