"""The reference engine: a verdict straight from the model, naive and readable. Tables and kernel must agree with it.

An `Engine` is one world made ready for many questions: ends and the tiers of each subject are worked out once.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from federation.policy import model
from federation.policy.failsafe import FAILSAFE, Failsafe
from federation.policy.matching import Asked, Matcher
from federation.policy.model import PartyKind, Stage
from federation.policy.parties import Party, Probe, host_party, party_of_endpoint, stranger
from federation.policy.resolution import TierPolicies, tiers_of_all
from federation.policy.tables import Direction, RuleReference, Verdict
from federation.policy.world import Address, World
from federation.resources.metadata import ObjectKey
from federation.rules.protocols import protocol_number

ALLOW_PROFILE = "projectcalico-default-allow"
ICMP_V6 = 58


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a trace: what was looked at, and why it did not match ("" when it did)."""

    tier: str
    policy: ObjectKey | None
    section: str = ""
    index: int | None = None
    action: str = ""
    mismatch: str = ""


@dataclass(frozen=True, slots=True)
class SideDecision:
    """What one end's policies say. Without a reference no rule and no tier's end decided, and `default` says what did."""

    verdict: Verdict
    reference: RuleReference | None
    default: str = ""
    trace: tuple[Step, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Hop:
    """What a host endpoint says of a connection that passes through its host, out of it (egress) or into it."""

    host: ObjectKey
    direction: Direction
    side: SideDecision


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on a connection: both ends must allow, and every host endpoint on the way between two nodes."""

    egress: SideDecision
    ingress: SideDecision
    forward: tuple[Hop, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Allow when all do."""
        return min(side.verdict for side in (self.egress, self.ingress, *(hop.side for hop in self.forward)))


OUTSIDE = SideDecision(Verdict.ALLOW, None, "not one of our ends")
UNSELECTED = SideDecision(Verdict.ALLOW, None, "no policy selects it")
PASSED = SideDecision(Verdict.ALLOW, None, "every tier passed")
FORWARDED = SideDecision(Verdict.ALLOW, None, "no policy on forwarded traffic decides")


def evaluate(world: World, probe: Probe) -> Decision:
    """Judge one new connection. Raises KeyError for an end that is not in the world. For many questions make one `Engine`."""
    return Engine(world).decide(probe)


class Engine:
    """Judges connections in one world."""

    def __init__(self, world: World, failsafe: Failsafe = FAILSAFE) -> None:
        self.world = world
        self.failsafe = failsafe
        self.matcher = Matcher(world)
        self._parties: dict[ObjectKey, Party] = {
            key: party_of_endpoint(world, endpoint) for key, endpoint in world.endpoints.items()
        }
        for host in world.hosts.values():
            party = host_party(world, host)
            self._parties[ObjectKey("Node", host.cluster, "", host.name)] = party
        for face in world.faces:
            if face.endpoint is not None:
                self._parties[face.endpoint] = host_party(world, face)
        self._by_address: dict[Address, Party] = {}
        for party in self._parties.values():
            for address in party.addresses:
                self._by_address.setdefault(address, party)
        self._tiers: dict[tuple[Direction, Stage, bool], dict[int, tuple[TierPolicies, ...]]] = {}

    @property
    def parties(self) -> Collection[Party]:
        """Every workload and host."""
        return self._parties.values()

    def party(self, end: ObjectKey | Address) -> Party:
        """The end that a probe names; an address that is an endpoint's or a host's is that one. Raises KeyError for an
        unknown key."""
        if isinstance(end, ObjectKey):
            return self._parties[end]
        known = self._by_address.get(end)
        return stranger(end) if known is None else known

    def decide(self, probe: Probe, *, has_trace: bool = False) -> Decision:
        """Judge one new connection. Raises KeyError."""
        source, destination = self.party(probe.source), self.party(probe.destination)
        asked = _asked(probe, source, destination)
        return Decision(
            egress=self.judge(source, destination, Direction.EGRESS, asked, has_trace=has_trace),
            ingress=self.judge(destination, source, Direction.INGRESS, asked, has_trace=has_trace),
            forward=tuple(self._forward(source, destination, asked, has_trace=has_trace)),
        )

    def _forward(self, source: Party, destination: Party, asked: Asked, *, has_trace: bool) -> Iterator[Hop]:
        """The host endpoints that a connection of workloads passes on its way from node to node."""
        if (source.cluster, source.node) == (destination.cluster, destination.node):
            return
        for end, peer, direction in (
            (source, destination, Direction.EGRESS),
            (destination, source, Direction.INGRESS),
        ):
            host = self._parties.get(ObjectKey("Node", end.cluster, "", end.node))
            is_policed = host is not None and PartyKind.HOST_ENDPOINT in host.kinds
            if host is None or host.key is None or not is_policed or PartyKind.WORKLOAD not in end.kinds:
                continue
            run = _Run(self, host, end, peer, direction, asked, [] if has_trace else None)
            found = run.forward()
            trace = tuple(run.trace or ())
            yield Hop(host.key, direction, replace(found, trace=trace))

    def judge(
        self, subject: Party, peer: Party, direction: Direction, asked: Asked, *, has_trace: bool = False
    ) -> SideDecision:
        """What the policies of one end say."""
        if subject.key is None:
            return OUTSIDE
        run = _Run(self, subject, subject, peer, direction, asked, [] if has_trace else None)
        decision = run.host() if PartyKind.HOST_ENDPOINT in subject.kinds else run.workload()
        if run.trace is None:
            return decision
        return SideDecision(decision.verdict, decision.reference, decision.default, tuple(run.trace))

    def tiers(
        self, subject: Party, direction: Direction, stage: Stage, *, is_forward: bool = False
    ) -> tuple[TierPolicies, ...]:
        """As `tiers_of`; worked out for all subjects when the first one is asked about, which costs little more."""
        known = self._tiers.get((direction, stage, is_forward))
        if known is None:
            parties = list(self._parties.values())
            found = tiers_of_all(self.world, parties, direction, stage, is_forward=is_forward)
            known = dict(zip(map(id, parties), found, strict=True))
            self._tiers[direction, stage, is_forward] = known
        return known[id(subject)]


@dataclass(slots=True)
class _Run:
    """One question to one end."""

    engine: Engine
    subject: Party
    own: Party
    """The end on the subject's side: itself, or the workload whose connection passes through a host."""
    peer: Party
    direction: Direction
    asked: Asked
    trace: list[Step] | None

    def workload(self) -> SideDecision:
        """A workload, or a host that no host endpoint names."""
        tiers = self.engine.tiers(self.subject, self.direction, Stage.NORMAL)
        is_own_host = (
            self.direction is Direction.INGRESS
            and PartyKind.HOST in self.peer.kinds
            and PartyKind.WORKLOAD in self.subject.kinds
            and (self.peer.cluster, self.peer.node) == (self.subject.cluster, self.subject.node)
        )
        if is_own_host:
            return self.from_own_host(tiers)
        return self.walk(tiers) or self.profiles(bool(tiers))

    def from_own_host(self, tiers: tuple[TierPolicies, ...]) -> SideDecision:
        """What a workload's own host sends passes (kubelet's probes), but for denials that name it."""
        for tier in tiers:
            for policy in tier.policies:
                if policy.is_for_own_host and (found := self.ask(policy, tier.name)):
                    return found[1] or SideDecision(Verdict.ALLOW, None, "own host")
        return SideDecision(Verdict.ALLOW, None, "own host")

    def host(self) -> SideDecision:
        """A host endpoint: failsafe ports, then each stage; the first that decides is the last."""
        if self.is_safe():
            return SideDecision(Verdict.ALLOW, None, "failsafe port")
        for stage in self.stages():
            tiers = self.engine.tiers(self.subject, self.direction, stage)
            if decision := self.walk(tiers):
                return decision
        return self.profiles(bool(tiers))

    def forward(self) -> SideDecision:
        """A host endpoint, for what passes through its host: policies with `applyOnForward` only; without a verdict of theirs it
        passes, and profiles are not asked. Failsafe ports come before what is untracked or before DNAT, which cannot tell yet."""
        for stage in (Stage.NORMAL,) if self.is_safe() else self.stages():
            tiers = self.engine.tiers(self.subject, self.direction, stage, is_forward=True)
            if decision := self.walk(tiers):
                return decision
        return FORWARDED

    def stages(self) -> tuple[Stage, ...]:
        """When policies are asked. What may be the way back of a connection to a failsafe port is none of untracked policies' matter,
        which are asked of that too."""
        asked = self.asked
        answers = self.engine.failsafe.is_answer
        if answers(self.direction, asked.protocol, asked.source_port, self.peer_address):
            return (Stage.PRE_DNAT, Stage.NORMAL)
        return (Stage.UNTRACKED, Stage.PRE_DNAT, Stage.NORMAL)

    def is_safe(self) -> bool:
        """Whether the connection is to a failsafe port."""
        asked = self.asked
        safe = self.engine.failsafe.is_safe
        return safe(self.direction, asked.protocol, asked.destination_port, self.peer_address)

    @property
    def peer_address(self) -> Address | None:
        """Where the other end is."""
        return self.asked.source if self.direction is Direction.INGRESS else self.asked.destination

    def walk(self, tiers: tuple[TierPolicies, ...]) -> SideDecision | None:
        """The tiers in order; None when nothing decided."""
        for tier in tiers:
            is_passed = False
            for policy in tier.policies:
                found = self.ask(policy, tier.name)
                if found is None:
                    continue
                if found[1] is not None:
                    return found[1]
                is_passed = True
                break
            if not is_passed:
                self.note(
                    tier.name, None, action="Pass" if tier.is_passing else "Deny", why="no rule matched"
                )
                if not tier.is_passing:
                    reference = RuleReference(tier=tier.name, policy=None, index=None)
                    return SideDecision(Verdict.DENY, reference, "tier")
        return None

    def ask(self, policy: model.Policy, tier: str) -> tuple[str, SideDecision | None] | None:
        """The first rule that matches: its action, and the decision unless it passes. None when none does."""
        for rule in policy.rules(self.direction) or ():
            why = self.engine.matcher.mismatch(
                rule, self.subject, self.peer, self.direction, self.asked, self.own
            )
            self.note(tier, policy.key, rule, why=why)
            if why or rule.action == "Log":
                continue
            if rule.action == "Pass":
                return "Pass", None
            verdict = Verdict.ALLOW if rule.action == "Allow" else Verdict.DENY
            reference = RuleReference(tier=tier, policy=policy.key, index=rule.index, section=rule.section)
            return rule.action, SideDecision(verdict, reference)
        return None

    def profiles(self, is_selected: bool) -> SideDecision:
        """What comes after all tiers: the subject's profiles; those of namespaces and service accounts allow unless they say
        otherwise, a host endpoint's must be there."""
        is_host = PartyKind.HOST_ENDPOINT in self.subject.kinds
        known = self.engine.world.profiles
        for name in self.subject.profiles:
            if name == ALLOW_PROFILE:
                return SideDecision(Verdict.ALLOW, None, f"profile {name}")
            profile = known.get((self.subject.cluster, name)) or known.get(("", name))
            if profile is None:
                if is_host:
                    return SideDecision(Verdict.DENY, None, f"profile {name} is missing")
                continue
            if found := self.ask(profile, "profile"):
                return found[1] or SideDecision(Verdict.DENY, None, f"profile {name} passes to nothing")
        has_own = any((self.subject.cluster, n) in known or ("", n) in known for n in self.subject.profiles)
        if is_host or has_own:
            return SideDecision(Verdict.DENY, None, "no profile allows it")
        return PASSED if is_selected else UNSELECTED

    def note(
        self,
        tier: str,
        policy: ObjectKey | None,
        rule: model.Rule | None = None,
        *,
        action: str = "",
        why: str = "",
    ) -> None:
        """Add to the trace, if there is to be one."""
        if self.trace is None:
            return
        if rule is None:
            self.trace.append(Step(tier=tier, policy=policy, action=action, mismatch=why))
        else:
            step = Step(
                tier=tier,
                policy=policy,
                section=rule.section,
                index=rule.index,
                action=rule.action,
                mismatch=why,
            )
            self.trace.append(step)


def _asked(probe: Probe, source: Party, destination: Party) -> Asked:
    """The probe with the addresses chosen: those it names, else the first of a family that both ends have (IPv4 first, but for
    ICMPv6)."""
    version = next(
        (
            end.version
            for end in (probe.source, probe.destination)
            if isinstance(end, IPv4Address | IPv6Address)
        ),
        0,
    )
    protocol = protocol_number(probe.protocol)
    if not version:
        order = (6, 4) if protocol == ICMP_V6 else (4, 6)
        both = (v for v in order if source.address_of(v) and destination.address_of(v))
        either = (v for v in order if source.address_of(v) or destination.address_of(v))
        version = next(both, next(either, order[0]))
    if version == 6 and protocol == 1:
        protocol = ICMP_V6
    return Asked(
        version=version,
        protocol=protocol,
        source_port=probe.source_port,
        destination_port=probe.destination_port,
        icmp=(probe.icmp_type, probe.icmp_code),
        source=probe.source
        if isinstance(probe.source, IPv4Address | IPv6Address)
        else source.address_of(version),
        destination=probe.destination
        if isinstance(probe.destination, IPv4Address | IPv6Address)
        else destination.address_of(version),
    )
