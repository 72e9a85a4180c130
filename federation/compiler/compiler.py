"""One node's tables, kept up to date: each change costs what it touches. Pairs of (subject, peer) are never looked at."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from federation.compiler.change import Change, Delta, Lists, difference
from federation.compiler.drafts import (
    SETS,
    Classes,
    Draft,
    Entry,
    RuleIds,
    Side,
    Subject,
    Token,
    assemble,
    draft_of,
)
from federation.compiler.lines import Surroundings
from federation.compiler.peers.anchors import Anchors
from federation.compiler.peers.columns import Columns
from federation.compiler.peers.inheritance import Heirs, changed_givers
from federation.compiler.peers.predicates import Predicate
from federation.compiler.peers.questions import Questions
from federation.compiler.peers.sources import Name, Source, source_of_host, source_of_set
from federation.identities import IdentityNumber
from federation.kinds.endpoint import Endpoint
from federation.policy import model
from federation.policy.matching import Matcher
from federation.policy.parties import party_of_endpoint
from federation.policy.resolution import is_passing, tier_order
from federation.policy.tables import Direction, RuleReference, Tables
from federation.policy.world import LabelledNets, World
from federation.resources.metadata import ObjectKey
from federation.selectors.index import places_of

by_name = attrgetter("kind", "cluster", "namespace", "name")
"""Sorts keys as they sort themselves, without a call for each comparison."""
by_key = attrgetter("key.kind", "key.cluster", "key.namespace", "key.name")
"""The same for subjects. They stand for their keys in sets: those are hashed slowly."""
Moved = list[tuple[ObjectKey, Endpoint | None, Endpoint | None]]
"""(key, before, after)."""


def compile_tables(world: World, local: Iterable[ObjectKey]) -> Tables:
    """The tables of the node that holds the `local` endpoints. Depends on the world's content only, not on its order.

    Raises KeyError for a local key that is not in the world.
    """
    keys = frozenset(local)
    for key in keys:
        world.endpoints[key]
    compiler = Compiler(lambda endpoint: endpoint.key in keys)
    compiler.apply(difference(World(), world))
    return compiler.tables()


class Compiler:
    """Takes changes of the world, tells the changes of the tables."""

    def __init__(self, is_local: Callable[[Endpoint], bool]) -> None:
        self._is_local = is_local
        self._world = World(
            tiers={}, identities={}, endpoints={}, hosts={}, services={}, namespace_labels={}, account_labels={}, cluster_labels={},
        )  # fmt: skip
        self._network_sets: dict[str, LabelledNets] = {}
        self._questions = Questions()
        self._heirs = Heirs()
        self._entries: dict[ObjectKey, tuple[Entry, ...]] = {}
        self._by_token: dict[Token, dict[Entry, None]] = {}
        self._anchors: Anchors[Entry] = Anchors()
        self._locals: Columns[ObjectKey] = Columns()
        self._subjects: dict[ObjectKey, Subject] = {}
        self._drafts: dict[tuple[object, ...], Draft] = {}
        self._sides: dict[tuple[object, ...], Side] = {}
        self._ids = RuleIds()
        self._classes = Classes()
        self._serial = 0

    def tables(self) -> Tables:
        """All of it, as a copy. Bits, rule ids and class numbers that nothing uses may be among those that something does."""
        return Tables(
            bit_count=self._questions.bit_count,
            identity_rows=dict(self._questions.rows),
            prefix_rows=dict(self._questions.prefixes.rows),
            classes=tuple(lists or ((), ()) for lists in self._classes.lists),
            subjects={key: self._subjects[key].class_number for key in sorted(self._subjects, key=by_name)},
            references={number: reference for reference, number in self._ids.numbers.items()},
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
        questions = self._questions
        questions.begin()
        known = self._world.identities
        relabelled = dict(change.identities)
        moved = self._store(change)
        tokens = self._settle_sources(change)
        heirs = self._heirs.of(changed_givers(change))
        for heir in heirs:
            if isinstance(heir, int) and heir not in relabelled:
                relabelled[IdentityNumber(heir)] = known[IdentityNumber(heir)]
        self._relabel(relabelled)
        tokens |= self._move(moved)
        dirty = self._resubject(
            {key for key, _, after in moved if key in self._subjects or (after and self._is_local(after))}
            | {heir for heir in heirs if isinstance(heir, ObjectKey)}
        )
        dirty |= self._retier(change) | self._reselect(change) | self._outdate(tokens)
        return self._rebuild(dirty)

    def _store(self, change: Change) -> Moved:
        world = self._world
        moved = [(key, world.endpoints.get(key), after) for key, after in change.endpoints.items()]
        for name in (
            "tiers", "hosts", "services", "namespace_labels", "account_labels", "cluster_labels", "endpoints",
        ):  # fmt: skip
            _update(getattr(world, name), getattr(change, name))
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

    def _settle_sources(self, change: Change) -> set[Token]:
        """Network sets and hosts; what they make outdated."""
        sources: dict[Name, Source | None] = {}
        for name, nets in change.network_sets.items():
            sources["set", name] = None if nets is None else source_of_set(nets)
        hosts = set(change.hosts)
        if change.cluster_labels:
            hosts |= {key for key in self._world.hosts if key[0] in change.cluster_labels}
        for key in hosts:
            host = self._world.hosts.get(key)
            sources["host", *key] = None if host is None else source_of_host(self._world, host)
        if sources:
            self._questions.resource(sources)
        tokens: set[Token] = {SETS} if change.network_sets else set()
        return tokens | {("service", namespace, name) for _, namespace, name in change.services}

    def _relabel(self, changed: Mapping[IdentityNumber, object]) -> None:
        if changed:
            identities = self._world.identities
            self._questions.relabel(
                {n: self._world.inherited(identities[n]) if n in identities else None for n in changed}
            )

    def _move(self, moved: Moved) -> set[Token]:
        """Named ports of endpoints that changed; the names that have other numbers now."""
        holders = self._questions.holders
        holders.renumbered.clear()
        for _, before, after in moved:
            added, removed = holders.replace(before, after)
            if added or removed:
                self._questions.move_ports(added, removed)
        return {("port", name) for name in holders.renumbered}

    def _resubject(self, keys: set[ObjectKey]) -> set[Subject]:
        """Make parties anew of local endpoints that changed or inherit other labels, and ask all policies of them."""
        dirty: set[Subject] = set()
        labels = {}
        for key in sorted(keys, key=by_name):
            endpoint = self._world.endpoints.get(key)
            is_here = endpoint is not None and self._is_local(endpoint)
            known = self._subjects.get(key)
            if known is not None:
                for entry in known.entries:
                    del entry.subjects[known]
                known.entries = {}
                self._heirs.leave(key, known.party.labels)
                self._locals.drop([key])
            if not is_here or endpoint is None:
                if known is not None:
                    known.is_gone = True
                    dirty.add(known)
                continue
            party = party_of_endpoint(self._world, endpoint)
            self._serial += 1
            subject = Subject(key, party, self._serial)
            if known is not None:
                subject.sides, subject.class_number = known.sides, known.class_number
            self._subjects[key] = subject
            self._heirs.enter(key, party.labels)
            labels[key] = party.labels
            for entry in dict.fromkeys(self._anchors.candidates(party.labels)):
                selector = entry.policy.subject.selector
                if selector is None or selector.matches(party.labels):
                    subject.entries[entry] = entry.subjects[subject] = None
            dirty.add(subject)
        if labels:
            self._locals.put(labels)
        return dirty

    def _retier(self, change: Change) -> set[Subject]:
        dirty: set[Subject] = set()
        if change.tiers:
            for entries in self._entries.values():
                for entry in entries:
                    if entry.policy.tier in change.tiers:
                        entry.place = self._place(entry.policy)
                        entry.version += 1
                        dirty |= entry.subjects.keys()
        return dirty

    def _reselect(self, change: Change) -> set[Subject]:
        """Take out and in the policies that changed."""
        dirty: set[Subject] = set()
        for key, policies in change.policies.items():
            for entry in self._entries.pop(key, ()):
                for subject in entry.subjects:
                    del subject.entries[entry]
                dirty |= entry.subjects.keys()
                self._anchors.remove(entry)
                for token in entry.tokens:
                    del self._by_token[token][entry]
            entries = tuple(
                self._entered(policy)
                for policy in policies
                if not policy.is_staged
                and policy.stage is model.Stage.NORMAL
                and (policy.subject.kinds is None or model.PartyKind.WORKLOAD in policy.subject.kinds)
            )
            if entries:
                self._entries[key] = entries
            for entry in entries:
                dirty |= entry.subjects.keys()
        return dirty

    def _entered(self, policy: model.Policy) -> Entry:
        self._serial += 1
        entry = Entry(policy, self._serial, self._place(policy))
        selector = policy.subject.selector
        self._anchors.add(entry, selector.node if selector else None)
        for token in entry.tokens:
            self._by_token.setdefault(token, {})[entry] = None
        bits = self._locals.matching(selector.node) if selector else self._locals.everyone
        for place in places_of(bits):
            key = self._locals.members[place]
            if key is not None:
                subject = self._subjects[key]
                subject.entries[entry] = entry.subjects[subject] = None
        return entry

    def _place(self, policy: model.Policy) -> tuple[object, ...]:
        return (tier_order(self._world, policy.tier), policy.rank)

    def _outdate(self, tokens: set[Token]) -> set[Subject]:
        dirty: set[Subject] = set()
        for token in tokens:
            for entry in self._by_token.get(token, ()):
                entry.version += 1
                dirty |= entry.subjects.keys()
        return dirty

    def _rebuild(self, dirty: set[Subject]) -> Delta:
        """New sides for subjects, then bits, then lists, then classes; what nobody uses any more goes."""
        around = Surroundings(self._world, self._questions.holders, Matcher(self._world))
        old: list[tuple[Side, ...]] = []
        fresh_sides: dict[Side, None] = {}
        ordered = sorted(dirty, key=by_key)
        for subject in ordered:
            old.append(subject.sides)
            if not subject.is_gone:
                subject.sides = self._sides_of(subject, around, fresh_sides)
                for side in subject.sides:
                    side.uses += 1
        self._number(fresh_sides)  # before ids are freed: a draft that lives on keeps its own
        for sides in old:
            for side in sides:
                self._drop_side(side)
        fresh, freed = self._questions.settle()
        for side in fresh_sides:
            assemble(side, self._questions.bits, self._ids.numbers)
        classes, subjects, is_relisted = self._classify(ordered)
        return self._delta(classes, subjects, fresh | freed, freed, is_relisted)

    def _sides_of(self, subject: Subject, around: Surroundings, fresh: dict[Side, None]) -> tuple[Side, ...]:
        entries = sorted(subject.entries, key=attrgetter("place"))
        return tuple(self._side(subject, entries, d, around, fresh) for d in Direction)

    def _side(
        self,
        subject: Subject,
        entries: list[Entry],
        direction: Direction,
        around: Surroundings,
        fresh: dict[Side, None],
    ) -> Side:
        entries = [entry for entry in entries if entry.policy.rules(direction) is not None]
        is_own = any(entry.is_own[direction] for entry in entries)
        stand = tuple((entry.number, entry.version) for entry in entries)
        key = (direction, subject.fact(is_own=is_own), stand)
        side = self._sides.get(key)
        if side is None:
            side = self._sides[key] = Side(key, tuple(self._tiers(subject, entries, direction, around)))
            fresh[side] = None
            for draft in side.drafts:
                draft.uses += 1
        return side

    def _tiers(
        self, subject: Subject, entries: list[Entry], direction: Direction, around: Surroundings
    ) -> Iterator[tuple[RuleReference, bool, tuple[Draft, ...]]]:
        at = 0
        while at < len(entries):
            name, drafts, isolates = entries[at].policy.tier, [], False
            while at < len(entries) and entries[at].policy.tier == name:
                entry = entries[at]
                isolates |= direction in entry.policy.isolates
                key = (entry.number, entry.version, direction, subject.fact(is_own=entry.is_own[direction]))
                draft = self._drafts.get(key)
                if draft is None:
                    draft = self._drafts[key] = draft_of(key, entry, around, subject.party, direction)
                    for predicate in draft.predicates():
                        self._questions.hold(predicate)
                drafts.append(draft)
                at += 1
            end = RuleReference(tier=name, policy=None, index=None)
            yield end, is_passing(self._world, name) or not isolates, tuple(drafts)

    def _drop_side(self, side: Side) -> None:
        side.uses -= 1
        if side.uses > 0:
            return
        del self._sides[side.key]
        for draft in side.drafts:
            draft.uses -= 1
            if not draft.uses:
                del self._drafts[draft.key]
                for predicate in draft.predicates():
                    self._questions.release(predicate)
                self._ids.give_back(draft.references)
        self._ids.give_back(side.ends)

    def _number(self, fresh: Iterable[Side]) -> None:
        """Ids for what new sides and their new drafts name."""
        named: list[RuleReference] = []
        for side in fresh:
            named += side.ends
            for draft in side.drafts:
                if not draft.is_numbered:
                    draft.is_numbered = True
                    named += draft.references
        self._ids.take(named)

    def _classify(
        self, subjects: list[Subject]
    ) -> tuple[dict[int, Lists | None], dict[ObjectKey, int | None], bool]:
        """What becomes of classes and subjects, and whether a subject that had a class has another. Both in order of the
        subjects' names: numbers depend on nothing else."""
        touched: dict[int, Lists | None] = {}
        changed: dict[ObjectKey, int | None] = {}
        left: list[int] = []
        known: dict[tuple[Side, ...], int] = {}
        is_relisted = False
        for subject in subjects:
            before = subject.class_number
            if subject.is_gone:
                del self._subjects[subject.key]
                changed[subject.key] = None
                left.append(before)
                continue
            number = known.get(subject.sides)
            if number is None:
                ingress, egress = subject.sides
                lists = ingress.rules, egress.rules
                number, is_new = self._classes.number_of(lists, hash((ingress.mark, egress.mark)))
                known[subject.sides] = number
                if is_new:
                    touched[number] = lists
            if number != before:
                self._classes.enter(number)
                subject.class_number = changed[subject.key] = number
                left.append(before)
                is_relisted |= before >= 0
        for number in left:
            if number >= 0 and self._classes.leave(number):
                touched[number] = None
        return touched, changed, is_relisted

    def _delta(
        self, classes: dict[int, Lists | None], subjects: dict[ObjectKey, int | None], dead: int, freed: int, is_relisted: bool
    ) -> Delta:  # fmt: skip
        questions = self._questions
        rows = {
            n: questions.rows.get(n, 0)
            for n, old in questions.before.items()
            if questions.rows.get(n, 0) != old
        }
        is_relabelled = any(
            (questions.before[n] ^ row) & ~dead for n, row in rows.items() if n not in questions.newborn
        )
        moves = list(questions.prefixes.effective_changes())
        is_moved = any((old ^ new) & ~dead for _, old, new in moves)
        return Delta(
            first_identity_rows={n: row | questions.before[n] & freed for n, row in rows.items()},
            first_prefix_rows={net: new | old & freed for net, old, new in moves},
            identity_rows=rows,
            prefix_rows=questions.prefixes.changed(),
            classes=classes,
            subjects=subjects,
            is_in_place=is_relisted + is_relabelled + is_moved <= 1,
        )


def _update(known: Any, changed: Mapping[Any, Any]) -> None:
    """Put what is new, remove what is None."""
    for key, value in changed.items():
        if value is None:
            known.pop(key, None)
        else:
            known[key] = value
