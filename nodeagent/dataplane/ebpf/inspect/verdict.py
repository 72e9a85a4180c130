"""Would a new connection pass, by what the kernel holds: its entries read, decoded and walked as the programs do, each step said in names.

Beside it stands what the agent wants, decided anew from its cache: where the two differ, the kernel is not what it should be.
"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from federation.errors import InvalidInput, NotFound
from federation.identities import HOST, WORLD, IdentityNumber
from federation.policy.tables import CompiledRule, Direction, Verdict
from federation.policy.walk import Packet, matches, peer_row, walk
from federation.resources.metadata import ObjectKey
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.inspect import decode
from nodeagent.dataplane.ebpf.inspect.conditions import mismatch
from nodeagent.dataplane.ebpf.inspect.endpoints import Held, held_entries
from nodeagent.dataplane.ebpf.inspect.names import Names, mark_of, said_of
from nodeagent.dataplane.ebpf.inspect.pins import Pins
from nodeagent.dataplane.ebpf.layout import Address
from nodeagent.dataplane.ebpf.plan import lists_of
from nodeagent.desired import Decider
from nodeagent.drivers import DesiredPolicy

NO_RULE = "none"
BITS = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A verdict, and the rule that gave it (`none`: no list, or its end)."""

    verdict: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One end's judgement. `steps` tell how the kernel comes to it; `wanted` is what the agent's own tables say, None when unknown."""

    direction: str
    endpoint: str
    peer: str
    said: Said
    steps: tuple[str, ...]
    wanted: Said | None

    @property
    def differs(self) -> bool:
        """Whether kernel and agent say different things."""
        return self.wanted is not None and self.wanted != self.said


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Both ends, as far as they are this node's. `notes`: what a reader must know to trust it."""

    verdict: str
    sides: tuple[Side, ...]
    differs: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class End:
    """One end of the connection that is asked about: an address, and the endpoint's entry when it is here."""

    name: str
    address: Address
    held: Held | None


def judge(pins: Pins, names: Names, me: ObjectKey, ends: tuple[str, str], packet: Packet) -> Answer:
    """What the kernel says of a new connection from one end to the other (a name or an address each). Raises NotFound, InvalidInput or
    DriverError."""
    held = held_entries(pins)
    ends = tuple(f"node {me.path}" if end == "host" else end for end in ends)  # type: ignore[assignment]  # still two
    source, to = _pair(names, held, ends)
    wanted, notes = _wanted(names, me, pins)
    sides = [
        _side(pins, names, wanted, (own, other), direction, packet)
        for own, other, direction in ((source, to, Direction.EGRESS), (to, source, Direction.INGRESS))
        if own.held is not None
    ]
    if not sides:
        hint = "ask on the node that one of them lives on; here live: see causeway agent endpoints"
        raise NotFound(
            f"neither {source.name} nor {to.name} is an endpoint that this node's kernel has", hint=hint
        )
    for end in (source, to):
        if end.held is None:
            notes.append(f"{end.name} is not an endpoint of this kernel: its own side is judged elsewhere")
    is_allowed = all(side.said.verdict == "allow" for side in sides)
    return Answer(
        verdict="allow" if is_allowed else "deny",
        sides=tuple(sides),
        differs=any(side.differs for side in sides),
        notes=tuple(notes),
    )


def _pair(names: Names, held: tuple[Held, ...], ends: tuple[str, str]) -> tuple[End, End]:
    """The two ends, with addresses of one family."""
    first, second = (_addresses(names, held, text) for text in ends)
    for own in first:
        for other in second:
            if own.version == other.version:
                return _end(names, held, own), _end(names, held, other)
    raise InvalidInput(f"{ends[0]} and {ends[1]} have no addresses of the same family")


def _addresses(names: Names, held: tuple[Held, ...], text: str) -> list[Address]:
    try:
        return [ip_address(text)]
    except ValueError:
        pass
    known = {**names.peers, **{a: names.who(a) for one in held for a in one.addresses}}
    owners = {who for who in known.values() if text in (who, *_short(who))}
    if len(owners) > 1:
        raise InvalidInput(
            f"{text!r} is several: {', '.join(sorted(owners)[:5])}", hint="write cluster/namespace/name"
        )
    if not owners:
        hint = "a name (cluster/namespace/name), `host`, or an address; see: causeway agent endpoints"
        raise NotFound(f"nobody here is called {text!r}", hint=hint)
    (owner,) = owners
    return sorted((a for a, who in known.items() if who == owner), key=lambda a: (a.version, int(a)))


def _short(path: str) -> list[str]:
    """How an owner may be called for short."""
    parts = path.split("/")
    return ["/".join(parts[n:]) for n in range(1, len(parts))]


def _end(names: Names, held: tuple[Held, ...], address: Address) -> End:
    here = next((one for one in held if address in one.addresses), None)
    return End(names.who(address), address, here)


def _wanted(names: Names, me: ObjectKey, pins: Pins) -> tuple[DesiredPolicy | None, list[str]]:
    """What the agent wants, by its cache; and what a reader must know."""
    notes = []
    if names.node.mark != mark_of(pins):
        notes.append(
            "the kernel has moved on since the agent wrote its names: rules may be named wrongly; ask again"
        )
    if not names.state.documents:
        notes.append("the agent's cache is not there or not readable: what it wants is unknown")
        return None, notes
    return Decider(me).decide(names.state).policy, notes


def _side(
    pins: Pins,
    names: Names,
    wanted: DesiredPolicy | None,
    ends: tuple[End, End],
    direction: Direction,
    packet: Packet,
) -> Side:
    own, other = ends
    assert own.held is not None
    said, steps = _kernel(pins, names, own.held, other.address, direction, packet)
    return Side(
        direction=direction.name.lower(),
        endpoint=own.name,
        peer=other.name,
        said=said,
        steps=steps,
        wanted=_agent(wanted, own.address, other.address, direction, packet) if wanted else None,
    )


def _kernel(
    pins: Pins, names: Names, held: Held, peer: Address, direction: Direction, packet: Packet
) -> tuple[Said, tuple[str, ...]]:
    """As programs/verdict.h: prepare, then walk."""
    entry = held.entry
    local = names.endpoint_at(held.index)
    extent = entry.lists[direction]
    steps = [
        f"interface {local.interface if local else held.index}: identity {names.identity(entry.identity)}, bank {entry.bank}, "
        f"epoch {entry.epoch}, {extent.size} {direction.name.lower()} rules"
    ]
    identity, prefix, how = _peer(pins, entry.bank, peer)
    steps.append(f"{peer}: {names.identity(identity)} {how}")
    if identity == HOST and direction is Direction.INGRESS:
        steps.append("this node's own traffic to its endpoints is allowed")
        return Said(verdict="allow", rule=NO_RULE), tuple(steps)
    if extent.size == 0:
        steps.append(f"no policy selects the endpoint for {direction.name.lower()}: allowed")
        return Said(verdict="allow", rule=NO_RULE), tuple(steps)
    row = _row(pins, "identity_rows", entry.bank, identity) | (
        _row(pins, "prefix_rows", entry.bank, prefix) if prefix else 0
    )
    steps.append(f"peer predicates that hold: {', '.join(map(str, _bits(row))) or 'none'}")
    lines = [_line(pins, extent.start + place) for place in range(extent.size)]
    verdict, rule_id, walked = _walk(lines, row, packet, names)
    return Said(verdict=verdict.name.lower(), rule=names.rule(rule_id)), (*steps, *walked)


def _peer(pins: Pins, bank: int, peer: Address) -> tuple[IdentityNumber, int, str]:
    """(identity, number of the prefix's row, how it was found)."""
    value = pins.map("addresses").lookup(layout.address_key(bank, peer))
    if value is not None:
        identity, prefix, _ = layout.ADDRESS_VALUE.unpack(value)
        also = f", with the bits of prefix row {prefix}" if prefix else ""
        return IdentityNumber(identity), prefix, f"by its address{also}"
    found = _prefix(pins, bank, peer, BITS[peer.version])
    if found is None:
        return WORLD, 0, "because neither an address nor a prefix of policies covers it"
    length = next(n for n in range(BITS[peer.version] + 1) if _prefix(pins, bank, peer, n) == found)
    return WORLD, found, f"in prefix {ip_network((peer, length), strict=False)} (row {found})"


def _prefix(pins: Pins, bank: int, peer: Address, length: int) -> int | None:
    key = layout.PREFIX_KEY.pack(32 + length, layout.space(bank, peer.version), peer.packed.ljust(16, b"\0"))
    value = pins.map("prefixes").lookup(key)
    return None if value is None else decode.number(value)


def _row(pins: Pins, name: str, bank: int, number: int) -> int:
    return decode.row(pins.map(name).lookup(layout.ROW_KEY.pack(bank, number)))


def _bits(row: int) -> list[int]:
    return [bit for bit in range(row.bit_length()) if row >> bit & 1]


def _line(pins: Pins, place: int) -> CompiledRule:
    value = pins.map("rules").lookup(layout.NUMBER.pack(place))
    if value is None:
        raise NotFound(f"rule {place} of the arena is not there", hint="the agent writes just now: ask again")
    return decode.rule(value)


def _walk(
    lines: list[CompiledRule], row: int, packet: Packet, names: Names
) -> tuple[Verdict, int | None, list[str]]:
    steps, at = [], 0
    while at < len(lines):
        line = lines[at]
        where = (
            f"{at}: {names.rule(line.rule_id) if line.rule_id >= 0 else 'stands in for a list without room'}"
        )
        if not matches(line, row, packet):
            steps.append(f"{where}: {mismatch(line, row, packet)}")
            at += 1
        elif line.action.goes_on:
            steps.append(f"{where}: matches: {line.action.name.lower()}, go on at {line.next_tier}")
            at = line.next_tier
        else:
            steps.append(f"{where}: matches: {line.action.name.lower()}")
            return Verdict(int(line.action)), line.rule_id if line.rule_id >= 0 else None, steps
    steps.append("every tier has passed: allowed")
    return Verdict.ALLOW, None, steps


def _agent(
    wanted: DesiredPolicy, own: Address, peer: Address, direction: Direction, packet: Packet
) -> Said | None:
    """What the agent's tables say. None for an endpoint that it does not want any more."""
    attachment = next((a for a in wanted.attachments if own in a.addresses), None)
    if attachment is None:
        return Said(verdict="deny", rule="not an endpoint of this node any more")
    identity = wanted.addresses.get(peer, WORLD)
    if identity == HOST and direction is Direction.INGRESS:
        return Said(verdict="allow", rule=NO_RULE)
    tables = wanted.tables
    if (
        lists_of(tables, attachment.class_number)[direction]
        != tables.classes[attachment.class_number][direction]
    ):
        return Said(verdict="deny", rule=NO_RULE)  # too long to be walked
    row = peer_row(tables, identity, peer)
    verdict, rule_id = walk(tables, attachment.class_number, direction, row, packet)
    rule = NO_RULE if rule_id is None else said_of(tables.references[rule_id])
    return Said(verdict=verdict.name.lower(), rule=rule)
