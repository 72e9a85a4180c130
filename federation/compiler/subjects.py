"""Whom a node's lists are for, and the policies that select them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter

from federation.compiler.drafts import Side
from federation.policy import model
from federation.policy.model import PartyKind, Stage
from federation.policy.parties import Party
from federation.policy.tables import Direction, HostStage
from federation.resources.metadata import ObjectKey

Token = tuple[str, ...]
"""What a policy's lines depend on besides itself: ("port", name), ("service", namespace, name), ("sets",)."""
SETS: Token = ("sets",)
HOST_KINDS = frozenset({PartyKind.HOST, PartyKind.HOST_ENDPOINT})
"""What a host is that a host endpoint names."""
STAGES = {
    Stage.UNTRACKED: HostStage.UNTRACKED,
    Stage.PRE_DNAT: HostStage.PRE_DNAT,
    Stage.NORMAL: HostStage.NORMAL,
}
"""Where a policy of host endpoints is asked."""
by_name = attrgetter("kind", "cluster", "namespace", "name")
"""Sorts names of subjects as keys sort themselves, without a call for each comparison."""
by_key = attrgetter("key.kind", "key.cluster", "key.namespace", "key.name")
"""The same for subjects. They stand for their names in sets: those are hashed slowly."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """One stage of a host endpoint: each has lists of its own, so each is a subject."""

    endpoint: ObjectKey
    stage: HostStage

    @property
    def kind(self) -> str:
        """HostEndpoint."""
        return self.endpoint.kind

    @property
    def cluster(self) -> str:
        """The host endpoint's."""
        return self.endpoint.cluster

    @property
    def namespace(self) -> str:
        """None."""
        return self.endpoint.namespace

    @property
    def name(self) -> str:
        """Tells it from the other stages."""
        return f"{self.endpoint.name}/{self.stage}"


SubjectName = ObjectKey | HostKey


@dataclass(eq=False, slots=True)
class Entry:
    """A policy that is enforced, and the local subjects that it selects."""

    policy: model.Policy
    number: int
    place: tuple[object, ...] = ()
    """Where its tier and itself stand, as a sort key."""
    version: int = 0
    """Counts what changed of all that its lines depend on."""
    subjects: dict["Subject", None] = field(default_factory=dict)
    stages: frozenset[HostStage | None] = frozenset()
    """As `stages_of` says."""
    tokens: frozenset[Token] = frozenset()
    is_own: tuple[bool, bool] = (False, False)
    """By direction: whether its lines are each subject's own."""

    def __post_init__(self) -> None:
        self.stages = stages_of(self.policy)
        tokens: set[Token] = set()
        is_own = [False, False]
        for direction in Direction:
            for rule in self.policy.rules(direction) or ():
                own, peer = _ends(rule, direction)
                asks_who = own.has_peer_terms
                is_own[direction] |= asks_who or _is_own(own, peer)
                tokens.update(_tokens(own, peer))
                if asks_who:
                    tokens.add(SETS)
        self.tokens, self.is_own = frozenset(tokens), (is_own[0], is_own[1])


@dataclass(eq=False, slots=True)
class Subject:
    """A local endpoint, or one stage of a host endpoint of the own node."""

    key: SubjectName
    party: Party
    number: int
    """A new one whenever the party is."""
    entries: dict[Entry, None] = field(default_factory=dict)
    profiles: tuple[tuple[str, Entry | None], ...] = ()
    """Those that it asks after all tiers, in order; None: there is none of that name."""
    sides: tuple[Side, ...] = ()
    """By Direction; () before its first lists."""
    class_number: int = -1
    is_gone: bool = False
    stage: HostStage | None = None
    """None: a workload."""
    _shared: object = None

    def __post_init__(self) -> None:
        party = self.party
        if isinstance(self.key, HostKey):
            self.stage = self.key.stage
        self._shared = (party.cluster, party.versions if self.stage is None else party.node)

    def fact(self, *, is_own: bool) -> object:
        """What of it lines depend on. Of a host never what it is itself: its lines ask that."""
        return self.number if is_own and self.stage is None else self._shared


def stages_of(policy: model.Policy) -> frozenset[HostStage | None]:
    """Which subjects a policy is for, whatever its selector says: those of a host endpoint's stages, workloads (None)."""
    kinds = policy.subject.kinds
    found: set[HostStage | None] = set()
    if kinds is None or not kinds.isdisjoint(HOST_KINDS):
        found.add(STAGES[policy.stage])
        if policy.is_on_forward and policy.stage is Stage.NORMAL:
            found.add(HostStage.FORWARD)
    if policy.stage is Stage.NORMAL and (kinds is None or PartyKind.WORKLOAD in kinds):
        found.add(None)
    return frozenset(found)


def _ends(rule: model.Rule, direction: Direction) -> tuple[model.Match, model.Match]:
    """(the subject's, the peer's)."""
    is_in = direction is Direction.INGRESS
    return (rule.destination, rule.source) if is_in else (rule.source, rule.destination)


def _is_own(own: model.Match, peer: model.Match) -> bool:
    """Whether a rule that does not ask who the subject is has lines for each subject: it names its ports, or means its host."""
    return peer.near is not model.Near.ANY or any(
        isinstance(port, str) for port in (*own.ports, *own.not_ports)
    )


def _tokens(own: model.Match, peer: model.Match) -> Iterator[Token]:
    for match in (own, peer):
        yield from (("port", p) for p in (*match.ports, *match.not_ports) if isinstance(p, str))
        yield from (("service", service.namespace, service.name) for service in match.services)
