"""Sides: the list of each direction of each subject, shared by all subjects for which it comes to the same."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from federation.compiler.drafts import Draft, Side, TierDrafts, assemble, draft_of
from federation.compiler.lines import ANY_PORT, LEAVE, Line, Surroundings
from federation.compiler.numbering import RuleIds
from federation.compiler.peers.predicates import NetsPredicate, Predicate
from federation.compiler.peers.questions import Questions
from federation.compiler.subjects import Entry, Subject
from federation.policy.evaluate import ALLOW_PROFILE
from federation.policy.failsafe import Failsafe, FailsafePort
from federation.policy.resolution import is_passing
from federation.policy.tables import FAILSAFE, Direction, HostStage, RuleReference
from federation.resources.metadata import ObjectKey

PROFILE = "profile"
"""Stands for a tier where a profile decides."""
PROFILES_END = RuleReference(tier=PROFILE, policy=None, index=None, section="end")
EARLY = (HostStage.UNTRACKED, HostStage.PRE_DNAT)


class Sides:
    """Makes and keeps them; `rebuild` first, then `settle` once their bits are known."""

    def __init__(self, questions: Questions, failsafe: Failsafe) -> None:
        self.ids = RuleIds()
        self._questions = questions
        self._failsafe = failsafe
        self._drafts: dict[tuple[object, ...], Draft] = {}
        self._known: dict[tuple[object, ...], Side] = {}
        self._fresh: dict[Side, None] = {}
        self._of_own: Counter[Predicate] = Counter()
        """How often each is asked of the own side."""

    @property
    def own_bits(self) -> int:
        """Those that lists ask of the own side."""
        return sum(1 << self._questions.bits[p] for p in self._of_own)

    def rebuild(self, subjects: Iterable[Subject], around: Surroundings) -> None:
        """Sides for subjects, after what selects them has changed."""
        old: list[tuple[Side, ...]] = []
        self._fresh = {}
        for subject in subjects:
            old.append(subject.sides)
            if not subject.is_gone:
                entries = sorted(subject.entries, key=attrgetter("place"))
                subject.sides = tuple(self._side(subject, entries, d, around) for d in Direction)
                for side in subject.sides:
                    side.uses += 1
        self._number()  # before ids are freed: a draft that lives on keeps its own
        for sides in old:
            for side in sides:
                self._drop(side)

    def settle(self) -> None:
        """Make the lists of new sides."""
        for side in self._fresh:
            assemble(side, self._questions.bits, self.ids.numbers)

    def _side(
        self, subject: Subject, entries: list[Entry], direction: Direction, around: Surroundings
    ) -> Side:
        entries = [entry for entry in entries if entry.policy.rules(direction) is not None]
        is_own = any(entry.is_own[direction] for entry in entries)
        stand = tuple((entry.number, entry.version) for entry in entries)
        last: tuple[object, ...] = ()
        if subject.profiles:
            last = tuple((name, e and (e.number, e.version)) for name, e in subject.profiles)
            is_own |= any(e.is_own[direction] for _, e in subject.profiles if e)
        key = (direction, subject.stage, subject.fact(is_own=is_own), stand, last)
        side = self._known.get(key)
        if side is None:
            side = Side(key, tuple(self._tiers(subject, entries, direction, around)))
            self._known[key] = side
            self._fresh[side] = None
            for draft in side.drafts:
                draft.uses += 1
        return side

    def _tiers(
        self, subject: Subject, entries: list[Entry], direction: Direction, around: Surroundings
    ) -> Iterator[TierDrafts]:
        if subject.stage is HostStage.NORMAL or (subject.stage in EARLY and entries):
            yield None, True, (self._safe(direction, subject.stage),)
        at = 0
        while at < len(entries):
            name, drafts, isolates = entries[at].policy.tier, [], False
            while at < len(entries) and entries[at].policy.tier == name:
                entry = entries[at]
                isolates |= direction in entry.policy.isolates
                drafts.append(self._policy(entry, subject, direction, around))
                at += 1
            end = RuleReference(tier=name, policy=None, index=None)
            yield end, is_passing(around.world, name) or not isolates, tuple(drafts)
        if subject.stage is HostStage.NORMAL or subject.profiles:
            yield PROFILES_END, False, tuple(self._profiles(subject, direction, around))

    def _policy(self, entry: Entry, subject: Subject, direction: Direction, around: Surroundings) -> Draft:
        key = (entry.number, entry.version, direction, subject.fact(is_own=entry.is_own[direction]))
        return self._draft(key, lambda: draft_of(key, entry.policy, around, subject.party, direction))

    def _profiles(self, subject: Subject, direction: Direction, around: Surroundings) -> Iterator[Draft]:
        """What comes after all tiers. Of a host every profile must be there."""
        for name, entry in subject.profiles:
            if name == ALLOW_PROFILE:
                yield self._flat("Allow", name)
                return
            if entry is not None:
                yield self._policy(entry, subject, direction, around)
            elif subject.stage is not None:
                yield self._flat("Deny", name)
                return

    def _flat(self, action: str, profile: str) -> Draft:
        """One line that takes everything: of a profile that allows all, or is missing."""
        key = (PROFILE, action, profile)
        named = RuleReference(tier=PROFILE, policy=ObjectKey("Profile", "", "", profile), index=None)
        return self._draft(key, lambda: Draft(key, ((named, (Line(action=action),)),)))

    def _safe(self, direction: Direction, stage: HostStage) -> Draft:
        """Failsafe ports. From an early list they lead away: what is no matter of that stage is asked again by the next. So do, from
        the untracked one, the ports that answers come from."""
        key = (FAILSAFE, direction, stage)
        action = LEAVE if stage in EARLY else "Allow"
        safe = [(each, False) for each in self._failsafe.ports(direction)]
        if stage is HostStage.UNTRACKED:
            safe += [(each, True) for each in self._failsafe.ports(Direction(1 - direction))]
        section = f"{FAILSAFE} {direction.name.lower()}"
        rules = tuple(
            (
                RuleReference(tier="", policy=None, index=index, section=section),
                (_safe_line(action, each, is_answer=is_answer),),
            )
            for index, (each, is_answer) in enumerate(safe)
        )
        return self._draft(key, lambda: Draft(key, rules))

    def _draft(self, key: tuple[object, ...], make: Callable[[], Draft]) -> Draft:
        draft = self._drafts.get(key)
        if draft is None:
            draft = self._drafts[key] = make()
            self._of_own.update(draft.of_own)
            for predicate in draft.predicates():
                self._questions.hold(predicate)
        return draft

    def _drop(self, side: Side) -> None:
        side.uses -= 1
        if side.uses > 0:
            return
        del self._known[side.key]
        for draft in side.drafts:
            draft.uses -= 1
            if not draft.uses:
                del self._drafts[draft.key]
                self._of_own -= Counter(draft.of_own)
                for predicate in draft.predicates():
                    self._questions.release(predicate)
                self.ids.give_back(draft.references)
        self.ids.give_back(side.ends)

    def _number(self) -> None:
        """Ids for what new sides and their new drafts name."""
        named: list[RuleReference] = []
        for side in self._fresh:
            named += side.ends
            for draft in side.drafts:
                if not draft.is_numbered:
                    draft.is_numbered = True
                    named += draft.references
        self.ids.take(named)


def _safe_line(action: str, safe: FailsafePort, *, is_answer: bool) -> Line:
    port = (safe.port, safe.port)
    return Line(
        action=action,
        protocol=safe.protocol,
        source_ports=port if is_answer else ANY_PORT,
        destination_ports=ANY_PORT if is_answer else port,
        nets=None if safe.net is None else NetsPredicate((safe.net,)),
    )
