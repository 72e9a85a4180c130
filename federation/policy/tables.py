"""Compiled policy: what a kernel walks. Pairs of (subject, peer) are never materialised.

Bits: one per distinct peer predicate in use (a selector with its scope, or a set of prefixes). A peer has two rows of
bits: its identity's and that of the longest policy prefix that covers its address. A rule's bit is set for a peer when
it is set in either row (`PREFIX_ONLY` predicates have it in prefix rows only, selectors in identity rows and in the
prefix rows of network sets). Classes: subjects that are given the same two lists of rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import TypeVar

from federation.identities import IdentityNumber
from federation.resources.metadata import ObjectKey

Prefix = TypeVar("Prefix", IPv4Network, IPv6Network)
FAILSAFE = "failsafe"
NO_BIT = 0xFFFF
"""In a rule: this condition is not asked."""


class Direction(IntEnum):
    """Of a connection, seen from the subject."""

    INGRESS = 0
    EGRESS = 1


class Verdict(IntEnum):
    """What happens to a connection."""

    DENY = 0
    ALLOW = 1


class HostStage(StrEnum):
    """When a list of a host endpoint is asked. The end of the first two decides nothing: the next stage is asked."""

    UNTRACKED = "untracked"
    """Before connection tracking; an allow is the last word, and keeps the connection out of it."""
    PRE_DNAT = "preDNAT"
    """Of what comes in, before its destination is translated; an allow is the last word."""
    FORWARD = "forward"
    """What passes through the host; the end allows."""
    NORMAL = "normal"
    """What the host itself gets and sends."""


class RuleAction(IntEnum):
    """What a compiled rule does when it matches. PASS goes on at `CompiledRule.next_tier`; so does LOG, which is told of."""

    DENY = 0
    ALLOW = 1
    PASS = 2
    LOG = 3

    @property
    def goes_on(self) -> bool:
        """Whether the walk goes on after it."""
        return self in (RuleAction.PASS, RuleAction.LOG)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReference:
    """Where a compiled rule comes from. `index` is the rule's place in its direction; None is a tier's default action."""

    tier: str
    policy: ObjectKey | None
    index: int | None
    section: str = ""
    """The user's list that `index` counts in (ingress, egressDeny …)."""

    @property
    def is_failsafe(self) -> bool:
        """Whether nobody's policy says it: a failsafe port of a host endpoint."""
        return self.policy is None and self.section.startswith(FAILSAFE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """One line of a class's list. All conditions that are asked must hold. Ports are inclusive; (0, 65535) is any."""

    action: RuleAction
    is_own: bool = False
    """The bits are asked of the connection's own end, the subject's side, in place of the peer. In lists of host endpoints only: what
    passes through a host has any address on this side, and a host's own ones are not all known."""
    bit: int = NO_BIT
    """Peer's selector."""
    not_bit: int = NO_BIT
    net_bit: int = NO_BIT
    """Peer's prefixes."""
    not_net_bit: int = NO_BIT
    protocol: int = 0
    """IANA number; 0 is any."""
    is_protocol_negated: bool = False
    source_ports: tuple[int, int] = (0, 65535)
    destination_ports: tuple[int, int] = (0, 65535)
    icmp_type: int = -1
    """-1 is any."""
    icmp_code: int = -1
    is_icmp_negated: bool = False
    next_tier: int = 0
    """For PASS and LOG: index in the same list where the walk goes on: where the next tier begins (its length, when there is none: allowed), or
    a later rule of the same tier."""
    rule_id: int = 0
    """Key of `Tables.references`; the same id for lines that one rule was expanded to."""


class Fallback(StrEnum):
    """What a subject gets that no policy selects in a direction, or whose every tier passed."""

    ALLOW = "Allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostClasses:
    """The class numbers of a host endpoint's lists, stage by stage. What comes in or passes through is asked in the order of the fields;
    each packet meets one of the last two."""

    untracked: int
    pre_dnat: int
    """Its egress list is empty."""
    forward: int
    normal: int

    def of(self, stage: HostStage) -> int:
        """The one of a stage."""
        match stage:
            case HostStage.UNTRACKED:
                return self.untracked
            case HostStage.PRE_DNAT:
                return self.pre_dnat
            case HostStage.FORWARD:
                return self.forward
            case HostStage.NORMAL:
                return self.normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """One node's compiled policy. Equal tables mean equal verdicts; class numbers and bits are stable under re-compilation
    of an unchanged world (sorted by content)."""

    bit_count: int = 0
    identity_rows: Mapping[IdentityNumber, int] = field(default_factory=dict)
    """Bit i of the int is predicate i. Identities without a bit may be left out."""
    prefix_rows: Mapping[IPv4Network | IPv6Network, int] = field(default_factory=dict)
    """Each with the bits of *all* prefixes that cover it."""
    classes: tuple[tuple[tuple[CompiledRule, ...], tuple[CompiledRule, ...]], ...] = ()
    """By class number: (ingress list, egress list), indexed by Direction. The end of a list allows: ends of tiers are rules."""
    subjects: Mapping[ObjectKey, int] = field(default_factory=dict)
    """Class number of each local endpoint."""
    hosts: Mapping[ObjectKey, HostClasses] = field(default_factory=dict)
    """Class numbers of each HostEndpoint of this node."""
    references: Mapping[int, RuleReference] = field(default_factory=dict)


def covering(rows: Mapping[Prefix, object], net: Prefix) -> Prefix | None:
    """The longest prefix among the keys of `rows` that covers `net` (or is it). Up to 33 look-ups, or 129."""
    for length in range(net.prefixlen, -1, -1):
        candidate = net.supernet(new_prefix=length)
        if candidate in rows:
            return candidate
    return None
