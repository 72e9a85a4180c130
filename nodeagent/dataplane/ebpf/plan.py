"""From what stands in the maps to what is wanted: which writes, in which order, so that no packet meets half a policy. Pure.

The order: the mark (which numbers are taken), endpoints that are gone, rows and addresses, rules in free places, the endpoints' entries that name them, and
only then the removal of what no entry names any more. See docs/design/datapath.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from federation.errors import DriverError
from federation.identities import WORLD, IdentityNumber
from federation.policy.tables import CompiledRule, Direction, RuleAction, Tables, covering
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.layout import Extent
from nodeagent.drivers import DesiredPolicy

Lines = tuple[CompiledRule, ...]
DENY_ALL: Lines = (CompiledRule(action=RuleAction.DENY),)
"""What a subject gets whose own list cannot be carried out: fail closed."""
DENIED = Extent(layout.ARENA - 1, 1, layout.list_flags(DENY_ALL))
"""Where that stands: the arena's last place is kept for it, so that there is room for a denial when there is for nothing else."""
MARK = layout.NUMBER.pack(0)
"""Key in `endpoints` (no interface has index 0) that keeps the highest bank and epoch ever begun. A restarted agent goes on above
them: what was half written, or allowed to an endpoint that is gone, never looks fresh."""


@dataclass(frozen=True, slots=True)
class Update:
    """Write entries of a map."""

    map: str
    entries: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove entries of a map; one that is not there is no error."""

    map: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove what a map holds of other banks than these: nobody remembers what that is, so it has to be read."""

    map: str
    kept: frozenset[int]


Write = Update | Delete | Sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What rules look peers up in: all that has to change together when bits change their meaning. Raw map entries, the bank's
    own number left out."""

    addresses: Mapping[IPv4Address, tuple[IdentityNumber, int]] = field(default_factory=dict)
    """Identity, and number of the longest prefix that covers the address (0: none)."""
    prefixes: Mapping[IPv4Network, int] = field(default_factory=dict)
    identity_rows: Mapping[IdentityNumber, int] = field(default_factory=dict)
    prefix_rows: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """What an endpoint's interface is to get. `lists` by Direction."""

    address: IPv4Address
    identity: IdentityNumber
    lists: tuple[Lines, Lines]


@dataclass(frozen=True, slots=True)
class Entry:
    """An endpoint's entry as it stands."""

    value: bytes
    epoch: int
    extents: tuple[Extent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the maps hold, as far as is known. Bank and epoch are the highest ever begun."""

    bank_number: int = 0
    epoch: int = 0
    bank: Bank | None = None
    """None: a former agent's, which cannot be told from its bytes."""
    extents: Mapping[Lines, Extent] = field(default_factory=dict)
    entries: Mapping[int, Entry] = field(default_factory=dict)
    """By interface's index."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes, in order; what stands after them; and the interfaces that are denied all for want of room."""

    writes: tuple[Write, ...]
    standing: Standing
    without_room: frozenset[int]


def plan(standing: Standing, bank: Bank, places: Mapping[int, Place]) -> Plan:
    """The smallest change. What is the same is not written; equal states plan nothing."""
    extents, rules, refused = _laid(standing, {lines for place in places.values() for lines in place.lists})
    pairs = {i: (extents[place.lists[0]], extents[place.lists[1]]) for i, place in places.items()}
    number = standing.bank_number + (not _fits(standing, bank, pairs))
    is_same_bank = bank == standing.bank
    epoch = standing.epoch + 1
    entries = {}
    for index, place in places.items():
        pair, before = pairs[index], standing.entries.get(index)
        if is_same_bank and before and before.value == _entry(place, number, before.epoch, pair).value:
            entries[index] = before
        else:
            entries[index] = _entry(place, number, epoch, pair)
    fresh = {i: entry for i, entry in entries.items() if standing.entries.get(i) != entry}
    epoch = epoch if fresh else standing.epoch
    gone = [layout.NUMBER.pack(index) for index in standing.entries.keys() - entries.keys()]
    writes: list[Write] = []
    if (number, epoch) != (standing.bank_number, standing.epoch):
        writes.append(Update("endpoints", {MARK: layout.mark(number, epoch)}))
    writes.append(
        Delete("endpoints", tuple(sorted(gone)))
    )  # denied from here on: old rules never meet new peers
    if standing.bank is None:  # what was half written, and never named, makes room
        live = frozenset(layout.ENDPOINT.unpack(entry.value)[2] for entry in standing.entries.values())
        writes += (Sweep(name, live) for name in layout.BANKED)
    if not is_same_bank:
        writes += _bank_writes(standing, number, bank)
    writes.append(Update("rules", rules))
    writes.append(Update("endpoints", {layout.NUMBER.pack(i): entry.value for i, entry in fresh.items()}))
    writes += _removals(standing, number)
    after = Standing(bank_number=number, epoch=epoch, bank=bank, extents=extents, entries=entries)
    without_room = frozenset(i for i, place in places.items() if refused & set(place.lists))
    return Plan(tuple(w for w in writes if _is_needed(w)), after, without_room)


def adopted(endpoints: Mapping[bytes, bytes]) -> Standing:
    """What can be told from the endpoints' entries of a former agent: which places of the arena are taken, which numbers are."""
    bank = epoch = 0
    entries = {}
    for key, value in endpoints.items():
        _, _, own_bank, own_epoch, *lists = layout.ENDPOINT.unpack(value)
        bank, epoch = max(bank, own_bank), max(epoch, own_epoch)
        if key != MARK:
            pairs = zip(lists[:2], lists[2:], strict=True)
            extents = tuple(Extent(start, count & 0xFFFF) for start, count in pairs)
            entries[layout.NUMBER.unpack(key)[0]] = Entry(value, own_epoch, extents)
    return Standing(bank_number=bank, epoch=epoch, entries=entries)


def bank_of(desired: DesiredPolicy) -> Bank:
    """The bank that a desired state needs."""
    tables = desired.tables
    nets = (net for net in tables.prefix_rows if isinstance(net, IPv4Network))
    numbers = {net: n for n, net in enumerate(sorted(nets), start=1)}

    def prefix_of(address: IPv4Address) -> int:
        net = covering(numbers, IPv4Network(address))
        return numbers[net] if net is not None else 0

    return Bank(
        addresses={
            address: (identity, prefix_of(address)) for address, identity in desired.addresses.items()
        },
        prefixes=numbers,
        identity_rows=dict(tables.identity_rows),
        prefix_rows={number: tables.prefix_rows[net] for net, number in numbers.items()},
    )


def is_extension(old: Bank, new: Bank) -> bool:
    """Whether `new` only adds addresses and identities: then writing the difference in place shows no packet a wrong row."""
    return (
        old.prefixes == new.prefixes
        and old.prefix_rows == new.prefix_rows
        and old.addresses.items() <= new.addresses.items()
        and old.identity_rows.items() <= new.identity_rows.items()
        and not {identity for identity, _ in old.addresses.values()}
        & (new.identity_rows.keys() - old.identity_rows.keys())
        and WORLD not in new.identity_rows.keys() - old.identity_rows.keys()
    )


def allocate(occupied: Iterable[Extent], size: int) -> int:
    """Start of the first gap of the arena that takes `size` rules. Raises DriverError when there is none."""
    at = 0
    for extent in sorted(occupied, key=lambda e: e.start):
        if extent.start - at >= size:
            return at
        at = max(at, extent.start + extent.size)
    if at + size > DENIED.start:
        raise DriverError(
            f"no room for {size} rules among {DENIED.start}", hint="fewer or simpler policies on this node"
        )
    return at


def lists_of(tables: Tables, class_number: int) -> tuple[Lines, Lines]:
    """The lists of a class, by Direction; one that the programs cannot walk is replaced by a denial."""
    return tuple(  # type: ignore[return-value]  # two directions
        lines if is_walkable(tables, lines) else DENY_ALL
        for lines in (tables.classes[class_number][d] for d in Direction)
    )


def is_walkable(tables: Tables, lines: Lines) -> bool:
    """Whether the programs can carry a list out."""
    return len(lines) <= layout.MAX_RULES and tables.bit_count <= layout.ROW_BITS


def _fits(standing: Standing, bank: Bank, pairs: Mapping[int, tuple[Extent, Extent]]) -> bool:
    """Whether the bank that stands can go on. Additions show at once, so lists must stay: old rules never meet new peers."""
    if standing.bank is None or bank == standing.bank:
        return standing.bank is not None
    keeps_lists = all(e.extents == pairs[i] for i, e in standing.entries.items() if i in pairs)
    return keeps_lists and is_extension(standing.bank, bank)


def _entry(place: Place, bank: int, epoch: int, pair: tuple[Extent, Extent]) -> Entry:
    return Entry(layout.endpoint(place.address, place.identity, (bank, epoch), pair), epoch, pair)


def _laid(
    standing: Standing, wanted: set[Lines]
) -> tuple[dict[Lines, Extent], dict[bytes, bytes], set[Lines]]:
    """Extents of all wanted lists, the rules to write for new ones, and the lists that there is no room for."""
    extents = {lines: e for lines in wanted if (e := standing.extents.get(lines, DENIED)) != DENIED}
    occupied = [e for entry in standing.entries.values() for e in entry.extents if e.size]
    occupied += [e for e in standing.extents.values() if e.size]
    rules: dict[bytes, bytes] = {}
    refused = set()
    if standing.bank is None:
        rules[layout.NUMBER.pack(DENIED.start)] = layout.rule(DENY_ALL[0])
    for lines in sorted(wanted - extents.keys(), key=repr):
        if not lines or lines == DENY_ALL:
            extents[lines] = DENIED if lines else Extent(0, 0)
            continue
        try:
            start = allocate([e for e in occupied if e != DENIED], len(lines))
        except DriverError:
            extents[lines] = DENIED
            refused.add(lines)
            continue
        extents[lines] = Extent(start, len(lines), layout.list_flags(lines))
        occupied.append(extents[lines])
        rules |= {layout.NUMBER.pack(start + n): layout.rule(line) for n, line in enumerate(lines)}
    return extents, rules, refused


def _bank_entries(number: int, bank: Bank) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    """Map by map: rows before the prefixes and addresses that lead to them."""
    key = layout.ROW_KEY.pack
    yield "identity_rows", {key(number, n): layout.row(row) for n, row in bank.identity_rows.items()}
    yield "prefix_rows", {key(number, n): layout.row(row) for n, row in bank.prefix_rows.items()}
    yield (
        "prefixes",
        {layout.prefix_key(number, net): layout.NUMBER.pack(n) for net, n in bank.prefixes.items()},
    )
    yield (
        "addresses",
        {
            layout.ADDRESS_KEY.pack(number, a.packed): layout.ADDRESS_VALUE.pack(*value)
            for a, value in bank.addresses.items()
        },
    )


def _bank_writes(standing: Standing, number: int, bank: Bank) -> Iterator[Write]:
    """The whole bank, or (in place) what it has more."""
    in_place = standing.bank is not None and number == standing.bank_number
    known = dict(_bank_entries(number, standing.bank)) if in_place and standing.bank else {}
    for name, entries in _bank_entries(number, bank):
        before = known.get(name, {})
        yield Update(name, {k: v for k, v in entries.items() if before.get(k) != v})


def _removals(standing: Standing, number: int) -> Iterator[Write]:
    """What other banks hold: after the entries that named them."""
    if standing.bank is None:
        yield from (Sweep(name, frozenset({number})) for name in layout.BANKED)
    elif number != standing.bank_number:
        for name, entries in _bank_entries(standing.bank_number, standing.bank):
            yield Delete(name, tuple(entries))


def _is_needed(write: Write) -> bool:
    match write:
        case Update(entries=entries):
            return bool(entries)
        case Delete(keys=keys):
            return bool(keys)
        case _:
            return True
