"""The one model of policy: what Causeway's, Calico's, Kubernetes' and Cilium's policies all become before anything judges by them.

A policy selects subjects, stands at a place in a tier, and holds rules in order. A rule asks two ends (`Match`). The
doors in `federation.doors` translate; the engine, the compiler and explanations know this model only.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from math import inf

from federation.policy.tables import Direction
from federation.resources.metadata import ObjectKey
from federation.rules.model import IcmpMatch, Port
from federation.selectors import Selector

Prefix = IPv4Network | IPv6Network


class PartyKind(StrEnum):
    """What an end of a connection can be. A host that a HostEndpoint names is both HOST and HOST_ENDPOINT."""

    WORKLOAD = "workload"
    HOST = "host"
    HOST_ENDPOINT = "host endpoint"
    NETWORK_SET = "network set"
    """An address that a network set holds; its labels are the set's."""
    OUTSIDE = "outside"
    """An address that is nobody's whom we know."""


LABELLED = frozenset({PartyKind.WORKLOAD, PartyKind.HOST_ENDPOINT, PartyKind.NETWORK_SET})
"""What a Calico selector can select."""
WORKLOADS = frozenset({PartyKind.WORKLOAD})
HOSTS = frozenset({PartyKind.HOST})
OUTSIDE = frozenset({PartyKind.OUTSIDE})
KNOWN = frozenset({PartyKind.WORKLOAD, PartyKind.HOST})
SUBJECTS = frozenset({PartyKind.WORKLOAD, PartyKind.HOST_ENDPOINT})
NOBODY: frozenset[PartyKind] = frozenset()


class Near(StrEnum):
    """Where the peer's host must be, seen from the subject."""

    ANY = ""
    OWN_HOST = "the subject's own host"
    OTHER_HOST = "not the subject's own host"


@dataclass(frozen=True, slots=True)
class ServiceReference:
    """The backends of a Service: with their ports (egress), or their addresses alone (ingress)."""

    namespace: str
    name: str
    has_ports: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a rule asks of one end. All that is set must hold."""

    kinds: frozenset[PartyKind] | None = None
    """None: whoever; empty: nobody."""
    selector: Selector | None = None
    """Over the end's labels, those inherited from namespace, service account, node and cluster included."""
    not_selector: Selector | None = None
    """None of the end's labels, and of the network sets' that hold it, may match."""
    nets: tuple[Prefix, ...] = ()
    not_nets: tuple[Prefix, ...] = ()
    ports: tuple[Port, ...] = ()
    not_ports: tuple[Port, ...] = ()
    services: tuple[ServiceReference, ...] = ()
    is_same_cluster: bool = False
    """The end must be of the subject's cluster (network sets and addresses, which have none, pass)."""
    near: Near = Near.ANY

    @property
    def has_peer_terms(self) -> bool:
        """Whether it asks who the end is (not only its ports)."""
        return self != Match(ports=self.ports, not_ports=self.not_ports)


ANYONE = Match()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line. `index` is the rule's place in the user's list `section`; one rule of a user may be several lines."""

    action: str
    """Allow, Deny, Pass or Log."""
    index: int
    section: str
    ip_version: int | None = None
    protocol: int | None = None
    """IANA number."""
    not_protocol: int | None = None
    icmp: IcmpMatch | None = None
    not_icmp: IcmpMatch | None = None
    source: Match = ANYONE
    destination: Match = ANYONE
    lacks: tuple[str, ...] = ()
    """What of it this release cannot enforce. Closed: such an Allow or Pass never matches, such a Deny by all the rest."""


class Stage(StrEnum):
    """When a policy of host endpoints is asked (Calico): before connection tracking, before DNAT, or as all others."""

    UNTRACKED = "doNotTrack"
    PRE_DNAT = "preDNAT"
    NORMAL = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy. `ingress` or `egress` is None where it does not apply in that direction at all."""

    key: ObjectKey
    tier: str
    order: float = inf
    phase: int = 0
    """Breaks ties of `order`: Cilium's denials (-1) come before every allow of the same order."""
    subject: Match
    isolates: frozenset[Direction] = frozenset()
    """Directions in which a subject that no rule of the tier matches gets the tier's default action."""
    ingress: tuple[Rule, ...] | None = None
    egress: tuple[Rule, ...] | None = None
    stage: Stage = Stage.NORMAL
    is_on_forward: bool = False
    is_for_own_host: bool = False
    """Also judges what the subject's own host sends to it, which is allowed otherwise."""
    staged_action: str = ""
    """Of a staged policy: Set, Delete, Learn or Ignore. Empty: it is enforced."""
    rank: tuple[float, int, str] = field(init=False)
    """Place in the tier; ties by the string name/namespace/kind, as Calico's."""

    def __post_init__(self) -> None:
        key = self.key
        tie = f"{key.name}/{key.namespace}/{key.kind}/{key.cluster}"
        object.__setattr__(self, "rank", (self.order, self.phase, tie))

    @property
    def is_staged(self) -> bool:
        """Whether it is kept only, and judged by nobody but who asks for what is staged."""
        return bool(self.staged_action)

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """The rules of one direction; None when the policy does not apply in it."""
        return self.ingress if direction is Direction.INGRESS else self.egress
