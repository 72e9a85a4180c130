"""Which policies select which local subjects, kept up to date: a change asks those that it may concern, not all."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from federation.compiler.peers.anchors import Anchors
from federation.compiler.peers.columns import Columns
from federation.compiler.peers.inheritance import Heirs
from federation.compiler.subjects import Entry, Subject, SubjectName, Token, by_name, stages_of
from federation.policy import model
from federation.policy.parties import Party
from federation.policy.resolution import tier_order
from federation.policy.tables import HostStage
from federation.policy.world import World
from federation.resources.metadata import ObjectKey
from federation.selectors.index import places_of

Place = tuple[str, str]
"""Cluster (or none) and name of a profile."""


class Selection:
    """Subjects, and what selects them. Every method gives the subjects that are under something else now."""

    def __init__(self, heirs: Heirs) -> None:
        self.subjects: dict[SubjectName, Subject] = {}
        self._heirs = heirs
        self._entries: dict[ObjectKey, tuple[Entry, ...]] = {}
        self._profiles: dict[Place, Entry] = {}
        self._by_token: dict[Token, dict[Entry, None]] = {}
        self._anchors: Anchors[Entry] = Anchors()
        self._locals: Columns[SubjectName] = Columns()
        self._serial = 0

    def put(self, parties: Mapping[SubjectName, Party | None]) -> set[Subject]:
        """Make subjects, or make them anew, and ask all policies of them. None: it is gone."""
        dirty: set[Subject] = set()
        labels = {}
        for key in sorted(parties, key=by_name):
            party, known = parties[key], self.subjects.get(key)
            if known is not None:
                self._leave(known)
            if party is None:
                if known is not None:
                    known.is_gone = True
                    dirty.add(known)
                continue
            subject = Subject(key, party, self._number())
            if known is not None:
                subject.sides, subject.class_number = known.sides, known.class_number
            self.subjects[key] = subject
            self._enter(subject)
            labels[key] = party.labels
            dirty.add(subject)
        if labels:
            self._locals.put(labels)
        return dirty

    def retier(self, world: World, changed: Iterable[str]) -> set[Subject]:
        """Tiers that have another place or another end."""
        dirty: set[Subject] = set()
        tiers = set(changed)
        if tiers:
            for entry in chain.from_iterable(self._entries.values()):
                if entry.policy.tier in tiers:
                    entry.place = _place(world, entry.policy)
                    entry.version += 1
                    dirty |= entry.subjects.keys()
        return dirty

    def reselect(self, world: World, policies: Mapping[ObjectKey, tuple[model.Policy, ...]]) -> set[Subject]:
        """Take out and in the policies that changed."""
        dirty: set[Subject] = set()
        for key, given in policies.items():
            for entry in self._entries.pop(key, ()):
                for subject in entry.subjects:
                    del subject.entries[entry]
                dirty |= entry.subjects.keys()
                self._anchors.remove(entry)
                self._forget(entry)
            entries = tuple(
                self._entered(world, policy) for policy in given if not policy.is_staged and stages_of(policy)
            )
            if entries:
                self._entries[key] = entries
            for entry in entries:
                dirty |= entry.subjects.keys()
        return dirty

    def reprofile(self, profiles: Mapping[Place, model.Policy | None]) -> None:
        """Take out and in the profiles that changed. Who belongs to one has to be `put` again."""
        for place, policy in profiles.items():
            known = self._profiles.pop(place, None)
            if known is not None:
                self._forget(known)
            if policy is not None:
                self._profiles[place] = self._known(Entry(_last_word(policy), self._number()))

    def outdate(self, tokens: Iterable[Token]) -> set[Subject]:
        """What lines depend on is another."""
        dirty: set[Subject] = set()
        for token in tokens:
            for entry in self._by_token.get(token, ()):
                entry.version += 1
                dirty |= entry.subjects.keys()
        return dirty

    def _enter(self, subject: Subject) -> None:
        party = subject.party
        self._heirs.enter(subject.key, party.labels, _given(subject))
        for entry in dict.fromkeys(self._anchors.candidates(party.labels)):
            selector = entry.policy.subject.selector
            if subject.stage in entry.stages and (selector is None or selector.matches(party.labels)):
                subject.entries[entry] = entry.subjects[subject] = None
        if self._profiles or subject.stage is not None:
            subject.profiles = self._profiles_of(subject)
            for entry in _entries_of(subject):
                entry.subjects[subject] = None

    def _leave(self, subject: Subject) -> None:
        for entry in (*subject.entries, *_entries_of(subject)):
            entry.subjects.pop(subject, None)
        subject.entries, subject.profiles = {}, ()
        self._heirs.leave(subject.key, subject.party.labels, _given(subject))
        self._locals.drop([subject.key])

    def _profiles_of(self, subject: Subject) -> tuple[tuple[str, Entry | None], ...]:
        """Those that it asks: a host in its last stage, where each must be there; a workload those that are."""
        party, stage = subject.party, subject.stage
        if stage not in (None, HostStage.NORMAL):
            return ()
        known = self._profiles
        found = ((n, known.get((party.cluster, n)) or known.get(("", n))) for n in party.profiles)
        return tuple((name, entry) for name, entry in found if entry or stage is not None)

    def _entered(self, world: World, policy: model.Policy) -> Entry:
        entry = self._known(Entry(policy, self._number(), _place(world, policy)))
        selector = policy.subject.selector
        self._anchors.add(entry, selector.node if selector else None)
        bits = self._locals.matching(selector.node) if selector else self._locals.everyone
        for place in places_of(bits):
            key = self._locals.members[place]
            if key is not None and (subject := self.subjects[key]).stage in entry.stages:
                subject.entries[entry] = entry.subjects[subject] = None
        return entry

    def _known(self, entry: Entry) -> Entry:
        for token in entry.tokens:
            self._by_token.setdefault(token, {})[entry] = None
        return entry

    def _forget(self, entry: Entry) -> None:
        for token in entry.tokens:
            del self._by_token[token][entry]

    def _number(self) -> int:
        self._serial += 1
        return self._serial


def _entries_of(subject: Subject) -> Iterator[Entry]:
    """Its profiles that there are."""
    return (entry for _, entry in subject.profiles if entry is not None)


def _given(subject: Subject) -> tuple[str, ...]:
    """Profiles that it names itself; a workload's are known by where it lives."""
    return () if subject.stage is None else subject.party.profiles


def _place(world: World, policy: model.Policy) -> tuple[object, ...]:
    return (tier_order(world, policy.tier), policy.rank)


def _last_word(profile: model.Policy) -> model.Policy:
    """A profile with nothing after it: what passes there is denied."""

    def closed(rules: tuple[model.Rule, ...] | None) -> tuple[model.Rule, ...]:
        return tuple(
            replace(rule, action="Deny") if rule.action == "Pass" else rule
            for rule in rules or ()
            if not (rule.action == "Pass" and rule.lacks)
        )

    return replace(profile, ingress=closed(profile.ingress), egress=closed(profile.egress))
