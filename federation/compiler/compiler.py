"""One node's tables, kept up to date: each change costs what it touches. Pairs of (subject, peer) are never looked at."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from federation.compiler.change import MAPS, Change, Delta, Lists, difference
from federation.compiler.hosts import Hosts, IsOwn, classes_of
from federation.compiler.lines import Surroundings
from federation.compiler.lists import Sides
from federation.compiler.numbering import Classes
from federation.compiler.peers.inheritance import Heirs
from federation.compiler.peers.predicates import Predicate
from federation.compiler.peers.questions import Questions
from federation.compiler.peers.sources import Home, source_of_set
from federation.compiler.selection import Selection
from federation.compiler.subjects import SETS, HostKey, Subject, SubjectName, Token, by_key, by_name
from federation.identities import NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL, IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.policy.failsafe import FAILSAFE, Failsafe
from federation.policy.matching import Matcher
from federation.policy.parties import Party, party_of_endpoint, workload_profiles
from federation.policy.tables import Tables
from federation.policy.world import Host, LabelledNets, Labels, World
from federation.resources.metadata import ObjectKey

Moved = list[tuple[ObjectKey, Endpoint | None, Endpoint | None]]
"""(key, before, after)."""


def compile_tables(
    world: World, local: Iterable[ObjectKey], hosts: Iterable[Home] = (), failsafe: Failsafe = FAILSAFE
) -> Tables:
    """The tables of the node that holds the `local` endpoints and is one of `hosts`. Depends on the world's content only, not on its
    order. Raises KeyError for a local key that is not in the world."""
    keys, own = frozenset(local), frozenset(hosts)
    for key in keys:
        world.endpoints[key]
    compiler = Compiler(lambda endpoint: endpoint.key in keys, lambda host: _home(host) in own, failsafe)
    compiler.apply(difference(World(), world))
    return compiler.tables()


def no_host(_host: Host) -> bool:
    """Of a compiler that is asked for workloads only."""
    return False


@dataclass(slots=True)
class _Relisted:
    """What became of subjects and their classes; whether one that had a class has another."""

    classes: dict[int, Lists | None] = field(default_factory=dict)
    subjects: dict[SubjectName, int | None] = field(default_factory=dict)
    is_other: bool = False


class Compiler:
    """Takes changes of the world, tells the changes of the tables. `is_local` says which endpoints are subjects, `is_own_host` whose
    host endpoints are; these let `failsafe` ports pass."""

    def __init__(
        self,
        is_local: Callable[[Endpoint], bool],
        is_own_host: IsOwn = no_host,
        failsafe: Failsafe = FAILSAFE,
    ) -> None:
        self._is_local = is_local
        empty: dict[str, Any] = {name: {} for name in ("identities", *MAPS)}
        self._world = World(**empty)
        self._network_sets: dict[str, LabelledNets] = {}
        self._questions = Questions()
        self._heirs = Heirs()
        self._hosts = Hosts(is_own_host, self._questions, self._heirs)
        self._selection = Selection(self._heirs)
        self._sides = Sides(self._questions, failsafe)
        self._classes = Classes()

    def tables(self) -> Tables:
        """All of it, as a copy. Bits, rule ids and class numbers that nothing uses may be among those that something does."""
        subjects = self._selection.subjects
        keys = sorted(subjects, key=by_name)
        hosts = dict.fromkeys(key.endpoint for key in keys if isinstance(key, HostKey))
        return Tables(
            bit_count=self._questions.bit_count,
            identity_rows=dict(self._questions.rows),
            prefix_rows=dict(self._questions.prefixes.rows),
            classes=tuple(lists or ((), ()) for lists in self._classes.lists),
            subjects={key: subjects[key].class_number for key in keys if isinstance(key, ObjectKey)},
            hosts={key: found for key in hosts if (found := classes_of(key, subjects))},
            references={number: reference for reference, number in self._sides.ids.numbers.items()},
        )

    @property
    def bit_count(self) -> int:
        """One more than the highest bit ever given."""
        return self._questions.bit_count

    @property
    def bits_in_use(self) -> int:
        """How many predicates have one."""
        return len(self._questions.bits)

    def predicates(self) -> dict[int, Predicate]:
        """What each bit in use asks."""
        return {bit: predicate for predicate, bit in self._questions.bits.items()}

    def apply(self, change: Change) -> Delta:
        """Take a change. It must lead from what was told before: keys that are gone are passed over when unknown."""
        questions, selection = self._questions, self._selection
        questions.begin()
        questions.holders.renumbered.clear()
        moved = self._store(change)
        tokens = self._settle_sets(change)
        heirs = self._heirs.of(self._heirs.changed_givers(change))
        homes: dict[Home, None] = dict.fromkeys((*change.hosts, *change.faces))
        homes |= dict.fromkeys(sorted(heir for heir in heirs if isinstance(heir, tuple)))
        parties = self._hosts.settle(self._world, homes)
        relabelled = {IdentityNumber(heir) for heir in heirs if isinstance(heir, int)}
        self._relabel((*change.identities, *sorted(relabelled - change.identities.keys())))
        tokens |= self._move(moved)
        heirs |= self._heirs.of(self._heirs.givers_of_profiles(change.profiles))
        selection.reprofile(change.profiles)
        dirty = selection.put({**self._parties(moved, heirs), **parties})
        dirty |= selection.retier(self._world, change.tiers)
        dirty |= selection.reselect(self._world, change.policies)
        dirty |= selection.outdate(tokens)
        return self._rebuild(dirty)

    def _store(self, change: Change) -> Moved:
        world = self._world
        moved = [(key, world.endpoints.get(key), after) for key, after in change.endpoints.items()]
        for name in MAPS:
            _update(getattr(world, name), getattr(change, name))
        _update(self._hosts.further, {home: faces or None for home, faces in change.faces.items()})
        for number, labels in change.identities.items():
            before = world.identities.get(number)
            if before is not None:
                self._heirs.leave(number, before)
            if labels is not None:
                self._heirs.enter(number, labels)
        _update(world.identities, change.identities)
        if change.network_sets:
            _update(self._network_sets, change.network_sets)
            self._world = replace(world, network_sets=tuple(self._network_sets.values()))
        return moved

    def _settle_sets(self, change: Change) -> set[Token]:
        """Network sets; what they and services make outdated."""
        if change.network_sets:
            self._questions.resource(
                {
                    ("set", name): None if nets is None else source_of_set(nets)
                    for name, nets in change.network_sets.items()
                }
            )
        tokens: set[Token] = {SETS} if change.network_sets else set()
        return tokens | {("service", namespace, name) for _, namespace, name in change.services}

    def _relabel(self, changed: Collection[IdentityNumber]) -> None:
        if changed:
            known = self._world.identities
            self._questions.relabel({n: self._labels(known[n]) if n in known else None for n in changed})

    def _labels(self, own: Labels) -> Labels:
        """All that an identity stands for."""
        profiles: tuple[str, ...] = ()
        if self._world.profile_labels:
            profiles = workload_profiles(own.get(NAMESPACE_LABEL, ""), own.get(SERVICE_ACCOUNT_LABEL, ""))
        return self._world.inherited(own, profiles)

    def _move(self, moved: Moved) -> set[Token]:
        """Named ports of endpoints that changed; the names, of hosts' ports too, that have other numbers now."""
        holders = self._questions.holders
        for _, before, after in moved:
            specs = (None if each is None else each.spec for each in (before, after))
            added, removed = holders.replace(*specs)
            if added or removed:
                self._questions.move_ports(added, removed)
        return {("port", name) for name in holders.renumbered}

    def _parties(self, moved: Moved, heirs: set[object]) -> dict[SubjectName, Party | None]:
        """Local endpoints that changed or inherit other labels."""
        subjects = self._selection.subjects
        keys = {key for key, _, after in moved if key in subjects or (after and self._is_local(after))}
        keys |= {heir for heir in heirs if isinstance(heir, ObjectKey)}
        parties: dict[SubjectName, Party | None] = {}
        for key in keys:
            endpoint = self._world.endpoints.get(key)
            is_here = endpoint is not None and self._is_local(endpoint)
            parties[key] = party_of_endpoint(self._world, endpoint) if endpoint and is_here else None
        for heir in heirs:
            if isinstance(heir, HostKey):
                parties[heir] = subjects[heir].party
        return parties

    def _rebuild(self, dirty: set[Subject]) -> Delta:
        """New sides for subjects, then bits, then lists, then classes; what nobody uses any more goes."""
        ordered = sorted(dirty, key=by_key)
        self._sides.rebuild(ordered, Surroundings(self._world, self._questions.holders, Matcher(self._world)))
        fresh, freed = self._questions.settle()
        self._sides.settle()
        delta = self._delta(self._classify(ordered), fresh | freed, freed)
        self._questions.begin()  # what was before is not kept until the next change
        return delta

    def _classify(self, subjects: list[Subject]) -> _Relisted:
        """What becomes of classes and subjects, in order of the subjects' names: numbers depend on nothing else."""
        made = _Relisted()
        left: list[int] = []
        known: dict[tuple[object, ...], int] = {}
        for subject in subjects:
            before = subject.class_number
            if subject.is_gone:
                del self._selection.subjects[subject.key]
                made.subjects[subject.key] = None
                left.append(before)
                continue
            number = known.get(subject.sides)
            if number is None:
                ingress, egress = subject.sides
                lists = ingress.rules, egress.rules
                number, is_new = self._classes.number_of(lists, hash((ingress.mark, egress.mark)))
                known[subject.sides] = number
                if is_new:
                    made.classes[number] = lists
            if number != before:
                self._classes.enter(number)
                subject.class_number = made.subjects[subject.key] = number
                left.append(before)
                made.is_other |= before >= 0
        for number in left:
            if number >= 0 and self._classes.leave(number):
                made.classes[number] = None
        return made

    def _delta(self, made: _Relisted, dead: int, freed: int) -> Delta:
        questions = self._questions
        rows = {
            n: questions.rows.get(n, 0)
            for n, old in questions.before.items()
            if questions.rows.get(n, 0) != old
        }
        moves = list(questions.prefixes.effective_changes())
        turned = [questions.before[n] ^ row for n, row in rows.items() if n not in questions.newborn]
        moved = [old ^ new for _, old, new in moves]
        is_relabelled, is_moved = (any(bits & ~dead for bits in each) for each in (turned, moved))
        own = self._sides.own_bits & ~dead  # of two rows that are read together one may be old, one new
        is_torn = any(bits & own for bits in (*turned, *moved)) if own else False
        hosts = dict.fromkeys(key.endpoint for key in made.subjects if isinstance(key, HostKey))
        return Delta(
            first_identity_rows={n: row | questions.before[n] & freed for n, row in rows.items()},
            first_prefix_rows={net: new | old & freed for net, old, new in moves},
            identity_rows=rows,
            prefix_rows=questions.prefixes.changed(),
            classes=made.classes,
            subjects={key: number for key, number in made.subjects.items() if isinstance(key, ObjectKey)},
            hosts={key: classes_of(key, self._selection.subjects) for key in hosts},
            is_in_place=made.is_other + is_relabelled + is_moved <= 1 and not is_torn,
        )


def _home(host: Host) -> Home:
    return host.cluster, host.name


def _update(known: Any, changed: Mapping[Any, Any]) -> None:
    """Put what is new, remove what is None."""
    for key, value in changed.items():
        if value is None:
            known.pop(key, None)
        else:
            known[key] = value
