"""From what stands in the maps to what is wanted: which writes, in which order, so that no packet meets half a policy. Pure.

The order: the mark (which numbers are taken), endpoints that are gone, rows, prefixes and addresses, rules in free places, the endpoints'
entries that name them, and only then the removal of what no entry names any more. See docs/design/ebpf.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from federation.identities import HOST
from federation.policy.tables import Direction, RuleReference, Tables
from nodeagent.dataplane.ebpf import layout
from nodeagent.dataplane.ebpf.arena import DENIED, DENY_ALL, Arena, Lines, Listed
from nodeagent.dataplane.ebpf.bank import Bank, Difference, Wanted
from nodeagent.dataplane.ebpf.cover import Address
from nodeagent.dataplane.ebpf.layout import Extent
from nodeagent.dataplane.ebpf.writes import Delete, Sweep, Update, Write, needed
from nodeagent.drivers import ANYTHING, DesiredPolicy, Touched

MARK = layout.NUMBER.pack(0)
"""Key in `endpoints` (no interface has index 0) that keeps the highest bank and epoch ever begun. A restarted agent goes on above
them: what was half written, or allowed to an endpoint that is gone, never looks fresh."""
ADOPTED = ("endpoints", "hosts", "stamps", "more_addresses", "locals")
"""Maps of a former agent that the next one goes on with."""
Pair = tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """What an endpoint's interface is to get. `lists` by Direction."""

    addresses: tuple[Address, ...]
    identity: int
    lists: tuple[Lines, Lines]
    mac: bytes = b""
    is_direct: bool = False
    """Whether other endpoints of the node may hand it packets past the node's stack."""


@dataclass(frozen=True, slots=True)
class HostPlace:
    """What an interface of the node itself is to get. `lists` by HostStage and Direction."""

    lists: tuple[Lines, ...]
    is_bare: bool = False
    """Whether packets have no Ethernet header there."""
    failsafe_rules: int = 0
    """Of the list of what comes in for the node itself: the first ones."""


NO_HOSTS: Mapping[int, HostPlace] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """An interface's entry as it stands: an endpoint's, or the node's own."""

    value: bytes
    epoch: int
    extents: tuple[Extent, ...]
    lists: tuple[Lines, ...] | None = None
    """None: a former agent's, which cannot be told from its bytes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes, in order; the interfaces that are denied all for want of room (of the node's own ones: that are asked nothing); whether all
    was written beside what stands."""

    writes: tuple[Write, ...]
    without_room: frozenset[int] = frozenset()
    is_rebuilt: bool = False


@dataclass(slots=True, kw_only=True)
class Standing:
    """What the maps hold, as far as is known. Bank and epoch are the highest ever begun."""

    bank_number: int = 0
    epoch: int = 0
    bank: Bank | None = None
    """None: a former agent's."""
    arena: Arena = field(default_factory=Arena)
    entries: dict[int, Entry] = field(default_factory=dict)
    """By interface's index."""
    hosts: dict[int, Entry] = field(default_factory=dict)
    """The same of the node's own interfaces."""
    more: set[bytes] = field(default_factory=set)
    locals: dict[bytes, bytes] = field(default_factory=dict)
    stamps: dict[int, int] = field(default_factory=dict)
    references: Mapping[int, RuleReference] = field(default_factory=dict)


class Planner:
    """Plans the smallest change; equal states plan nothing. A plan that was not carried out leaves it useless: begin with a new one."""

    def __init__(self, standing: Standing | None = None) -> None:
        self.standing = standing or Standing()
        self._lists: dict[int, tuple[Lines, Listed]] = {}
        """By id of what was given, which is kept with it: an id is good only while its object lives."""

    def plan(
        self,
        desired: DesiredPolicy,
        places: Mapping[int, Place],
        touched: Touched = ANYTHING,
        hosts: Mapping[int, HostPlace] = NO_HOSTS,
    ) -> Plan:
        """What to write, in order, for endpoints and the node's own interfaces. Takes it as written."""
        standing, (places, hosts) = self.standing, self._listed(places, hosts)
        wanted_lists = _lists(places, hosts)
        lists = set().union(*wanted_lists.values())
        standing_ones = (*standing.entries.values(), *standing.hosts.values())
        before = {lines for entry in standing_ones for lines in entry.lists or ()}
        rules, refused = standing.arena.lay(lists)
        without_room = {i for i, each in wanted_lists.items() if refused & set(each)}
        hosts = {i: place for i, place in hosts.items() if i not in without_room}
        asked = standing.arena.asked
        wanted = Wanted(
            identity_rows=desired.tables.identity_rows,
            prefix_rows=desired.tables.prefix_rows,
            addresses=desired.addresses,
            asked_before=_all(asked[lines] for lines in before),
            asked=_all(asked[lines] for lines in lists),
        )
        found = standing.bank.compare(wanted, touched) if standing.bank else Difference()
        is_rebuilt = (
            standing.bank is None
            or self._is_conflict(found, wanted, _lists(places, hosts))
            or self._is_conflict_of_ends(found, wanted, before | lists)
        )
        entries, faces = self._entries(places, hosts, found, is_rebuilt=is_rebuilt)
        fresh, fresh_faces = _differing(entries, standing.entries), _differing(faces, standing.hosts)
        writes = self._begin(is_rebuilt=is_rebuilt, is_fresh=bool(fresh or fresh_faces))
        # Denied from here on (at an interface of the node: not asked): old rules never meet new peers.
        writes.append(Delete("endpoints", _keys(standing.entries.keys() - entries.keys())))
        writes.append(Delete("hosts", _keys(standing.hosts.keys() - faces.keys())))
        if standing.bank is None:
            writes += self._clearing()
        direct = _locals(places)
        writes.append(Delete("locals", tuple(sorted(standing.locals.keys() - direct.keys()))))
        more = {key for i, place in places.items() for key in layout.more_addresses(i, place.addresses)}
        one = layout.NUMBER.pack(1)
        writes.append(Update("more_addresses", dict.fromkeys(sorted(more - standing.more), one)))
        first, last = self._bank_writes(wanted, found, is_rebuilt=is_rebuilt)
        writes += first
        writes += rules
        writes.append(self._counts(desired.tables, is_rebuilt=is_rebuilt))
        writes.append(Update("endpoints", fresh))
        writes.append(Update("hosts", fresh_faces))
        moved = {key: index for key, index in direct.items() if standing.locals.get(key) != index}
        writes.append(Update("locals", moved))
        writes += last
        writes.append(Delete("more_addresses", tuple(sorted(standing.more - more))))
        standing.entries, standing.hosts, standing.more, standing.locals = entries, faces, more, direct
        standing.arena.keep(lists)
        return Plan(needed(writes), frozenset(without_room), is_rebuilt)

    def distrust(self) -> None:
        """What was allowed meanwhile may have been allowed by entries that were not ours: every endpoint's next epoch begins."""
        standing = self.standing
        standing.entries = {index: replace(entry, value=b"") for index, entry in standing.entries.items()}
        standing.hosts = {index: replace(entry, value=b"") for index, entry in standing.hosts.items()}

    def _listed(
        self, places: Mapping[int, Place], hosts: Mapping[int, HostPlace]
    ) -> tuple[dict[int, Place], dict[int, HostPlace]]:
        """The same places, with lists that are the same objects as before where they were given as such."""
        before, self._lists = self._lists, {}

        def listed(lines: Lines) -> Listed:
            found = self._lists.get(id(lines)) or before.get(id(lines)) or (lines, Listed(lines))
            self._lists[id(lines)] = found
            return found[1]

        return {
            index: replace(place, lists=(listed(place.lists[0]), listed(place.lists[1])))
            for index, place in places.items()
        }, {index: replace(host, lists=tuple(map(listed, host.lists))) for index, host in hosts.items()}

    def _is_conflict(self, found: Difference, wanted: Wanted, lists: Mapping[int, tuple[Lines, ...]]) -> bool:
        """Whether writing in place could show a packet what neither the old nor the new state says: a list that changes asks a bit
        that changes for peers that are known; or a peer's bits change in two steps; or a prefix goes late that a list asks for."""
        standing, leaving = self.standing, 0
        pairs = {i: self._extents(each) for i, each in lists.items()}
        for index, entry in (*standing.entries.items(), *standing.hosts.items()):
            if index in pairs and entry.extents != pairs[index] and entry.lists:
                leaving |= _all(standing.arena.asked[lines] for lines in entry.lists)
        return bool(found.bits & leaving or found.late_bits) or found.is_twofold(wanted.asked_before)

    def _is_conflict_of_ends(self, found: Difference, wanted: Wanted, lists: Iterable[Lines]) -> bool:
        """The same where more than a peer's row is asked: at an interface of the node, of whose two ends' rows a packet could see one old
        and one new, and where an address becomes the node's own, or is no longer."""
        if found.bits & _all(self.standing.arena.asked_of_own[lines] for lines in lists):
            return True
        before = self.standing.bank.addresses if self.standing.bank is not None else {}
        moved = (*found.addresses, *found.lost_addresses)
        return any(HOST in (before.get(a), wanted.addresses.get(a)) for a in moved)

    def _extents(self, lists: Iterable[Lines]) -> Pair:
        return tuple(self.standing.arena.extents[lines] for lines in lists)

    def _entries(
        self,
        places: Mapping[int, Place],
        hosts: Mapping[int, HostPlace],
        found: Difference,
        *,
        is_rebuilt: bool,
    ) -> tuple[dict[int, Entry], dict[int, Entry]]:
        """Those of endpoints, and of the node's interfaces. An epoch moves on when lists change, or bits that they ask: what was
        remembered is judged again."""
        standing, changed = self.standing, found.identity_bits | found.prefix_bits | found.remembered_bits
        number, epoch = standing.bank_number + is_rebuilt, standing.epoch + 1

        def current(index: int, place: Place | HostPlace, before: Entry | None) -> Entry:
            extents = self._extents(place.lists)
            if before is not None and not is_rebuilt:
                is_same = _entry(index, place, (number, before.epoch), extents) == before
                if is_same and not changed & _all(standing.arena.asked[lines] for lines in place.lists):
                    return before
            return _entry(index, place, (number, epoch), extents)

        entries = {i: current(i, place, standing.entries.get(i)) for i, place in places.items()}
        return entries, {i: current(i, place, standing.hosts.get(i)) for i, place in hosts.items()}

    def _begin(self, *, is_rebuilt: bool, is_fresh: bool) -> list[Write]:
        standing = self.standing
        writes: list[Write] = []
        if is_rebuilt or is_fresh:
            standing.bank_number += is_rebuilt
            standing.epoch += is_fresh
            writes.append(Update("endpoints", {MARK: layout.mark(standing.bank_number, standing.epoch)}))
        return writes

    def _clearing(self) -> list[Write]:
        """What a former agent half wrote, and never named, makes room."""
        standing = self.standing
        live = {layout.ENDPOINT.unpack(e.value)[3] for e in standing.entries.values()}
        live |= {layout.HOST.unpack(e.value)[1] for e in standing.hosts.values()}
        writes: list[Write] = [Sweep(name, frozenset(live)) for name in layout.BANKED]
        return [*writes, Update("rules", {layout.NUMBER.pack(DENIED.start): layout.rule(DENY_ALL[0])})]

    def _bank_writes(
        self, wanted: Wanted, found: Difference, *, is_rebuilt: bool
    ) -> tuple[list[Write], list[Write]]:
        """Before the lists, and after them."""
        standing = self.standing
        if not is_rebuilt and standing.bank is not None:
            first, last, stamps = standing.bank.apply(found, wanted)
            moved = {}
            for place in sorted(stamps):
                standing.stamps[place] = (standing.stamps.get(place, 0) + 1) & 0xFFFFFFFF
                moved[layout.NUMBER.pack(place)] = layout.NUMBER.pack(standing.stamps[place])
            return [*first, Update("stamps", moved)], last
        old, standing.bank = standing.bank, Bank(standing.bank_number)
        first = standing.bank.fill(wanted)
        if old is None:
            kept = frozenset({standing.bank_number})
            return first, [Sweep(name, kept) for name in layout.BANKED]
        return first, old.everything()

    def _counts(self, tables: Tables, *, is_rebuilt: bool) -> Update:
        """Rules that have a number which was another's begin to count anew."""
        standing = self.standing
        known = {} if is_rebuilt and not standing.references else standing.references
        zero = layout.RULE_COUNT.pack(0, 0)
        renamed = {
            layout.NUMBER.pack(number + 1): zero
            for number, reference in tables.references.items()
            if known.get(number) != reference and number + 1 < layout.COUNTED_RULES
        }
        standing.references = tables.references
        return Update("rule_counts", renamed)


def adopted(held: Mapping[str, Mapping[bytes, bytes]]) -> Standing:
    """What can be told from a former agent's maps (those of ADOPTED): which places of the arena are taken, which numbers are."""
    bank = epoch = 0
    entries = {}
    for key, value in held["endpoints"].items():
        fields = layout.ENDPOINT.unpack(value)
        own_bank, own_epoch, lists = fields[3], fields[4], fields[5:9]
        bank, epoch = max(bank, own_bank), max(epoch, own_epoch)
        if key != MARK:
            pairs = zip(lists[:2], lists[2:], strict=True)
            extents = tuple(Extent(start, count & 0xFFFF) for start, count in pairs)
            entries[layout.NUMBER.unpack(key)[0]] = Entry(value, own_epoch, extents)
    hosts = {layout.NUMBER.unpack(key)[0]: _adopted_host(value) for key, value in held["hosts"].items()}
    arena = Arena(extent for entry in (*entries.values(), *hosts.values()) for extent in entry.extents)
    numbers = {layout.NUMBER.unpack(k)[0]: layout.NUMBER.unpack(v)[0] for k, v in held["stamps"].items()}
    return Standing(
        bank_number=bank, epoch=epoch, arena=arena, entries=entries, hosts=hosts, more=set(held["more_addresses"]), locals=dict(held["locals"]),
        stamps={place: stamp for place, stamp in numbers.items() if stamp},
    )  # fmt: skip


def _adopted_host(value: bytes) -> Entry:
    _, _, epoch, _, *numbers = layout.HOST.unpack(value)
    starts, counts = numbers[: layout.HOST_LISTS], numbers[layout.HOST_LISTS : 2 * layout.HOST_LISTS]
    pairs = zip(starts, counts, strict=True)
    return Entry(value, epoch, tuple(Extent(start, count & 0xFFFF) for start, count in pairs))


def _keys(indexes: Iterable[int]) -> tuple[bytes, ...]:
    return tuple(layout.NUMBER.pack(index) for index in sorted(indexes))


def lists_of(tables: Tables, class_number: int) -> tuple[Lines, Lines]:
    """The lists of a class, by Direction; one that the programs cannot walk is replaced by a denial."""
    return tuple(  # type: ignore[return-value]  # two directions
        lines if is_walkable(tables, lines) else DENY_ALL
        for lines in (tables.classes[class_number][d] for d in Direction)
    )


def is_walkable(tables: Tables, lines: Lines) -> bool:
    """Whether the programs can carry a list out."""
    return len(lines) <= layout.MAX_RULES and tables.bit_count <= layout.ROW_BITS


def _entry(index: int, place: Place | HostPlace, generation: tuple[int, int], extents: Pair) -> Entry:
    if isinstance(place, HostPlace):
        safe = place.failsafe_rules
        value = layout.host(index, generation, extents, is_bare=place.is_bare, safe=safe)
    else:
        value = layout.endpoint(
            index,
            place.addresses,
            place.mac,
            place.identity,
            generation,
            extents,
            is_direct=place.is_direct,
        )
    return Entry(value, generation[1], extents, place.lists)


def _lists(places: Mapping[int, Place], hosts: Mapping[int, HostPlace]) -> dict[int, tuple[Lines, ...]]:
    return {i: place.lists for i, place in places.items()} | {i: host.lists for i, host in hosts.items()}


def _differing(wanted: Mapping[int, Entry], standing: Mapping[int, Entry]) -> dict[bytes, bytes]:
    return {layout.NUMBER.pack(i): entry.value for i, entry in wanted.items() if standing.get(i) != entry}


def _all(bits: Iterable[int]) -> int:
    every = 0
    for some in bits:
        every |= some
    return every


def _locals(places: Mapping[int, Place]) -> dict[bytes, bytes]:
    """Which interface is at an address, where packets may go there past the stack; not where two claim it."""
    claims: dict[Address, set[int]] = {}
    for index, place in places.items():
        for address in place.addresses:
            claims.setdefault(address, set()).add(index)
    return {
        layout.local_key(address): layout.NUMBER.pack(index)
        for address, indexes in claims.items()
        if len(indexes) == 1 and places[index := next(iter(indexes))].is_direct
    }
