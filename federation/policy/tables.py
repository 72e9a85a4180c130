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


class RuleAction(IntEnum):
    """What a compiled rule does when it matches. PASS goes on at `CompiledRule.next_tier`."""

    DENY = 0
    ALLOW = 1
    PASS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReference:
    """Where a compiled rule comes from. `index` is the rule's place in its direction; None is a tier's default action."""

    tier: str
    policy: ObjectKey | None
    index: int | None
    section: str = ""
    """The user's list that `index` counts in (ingress, egressDeny …)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """One line of a class's list. All conditions that are asked must hold. Ports are inclusive; (0, 65535) is any."""

    action: RuleAction
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
    """For PASS: index in the same list where the walk goes on: where the next tier begins (its length, when there is none: allowed), or
    the next rule of the same tier."""
    rule_id: int = 0
    """Key of `Tables.references`; the same id for lines that one rule was expanded to."""


class Fallback(StrEnum):
    """What a subject gets that no policy selects in a direction, or whose every tier passed."""

    ALLOW = "Allow"


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
    references: Mapping[int, RuleReference] = field(default_factory=dict)


def covering(rows: Mapping[Prefix, object], net: Prefix) -> Prefix | None:
    """The longest prefix among the keys of `rows` that covers `net` (or is it). Up to 33 look-ups, or 129."""
    for length in range(net.prefixlen, -1, -1):
        candidate = net.supernet(new_prefix=length)
        if candidate in rows:
            return candidate
    return None
