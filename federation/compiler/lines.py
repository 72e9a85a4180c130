"""Rules to lines: one rule as the lines that a kernel can walk, for one subject. Conditions on the subject's own side are
decided here, so they cost nothing later."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from federation.compiler.holders import Holders, served
from federation.compiler.predicates import (
    ANY_KIND,
    UNWANTED,
    NetsPredicate,
    PeerPredicate,
    PortPredicate,
    Predicate,
)
from federation.policy import model
from federation.policy.matching import Matcher
from federation.policy.parties import Party
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.rules.model import IcmpMatch, Port, Prefix
from federation.rules.protocols import WITH_PORTS

ANY_PORT = (0, 65535)
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules of all subjects are compiled against."""

    world: World
    holders: Holders
    matcher: Matcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A compiled rule before predicates have their bits."""

    action: str
    selector: Predicate | None = None
    not_selector: Predicate | None = None
    nets: Predicate | None = None
    not_nets: Predicate | None = None
    protocol: int = 0
    is_protocol_negated: bool = False
    source_ports: Range = ANY_PORT
    destination_ports: Range = ANY_PORT
    icmp: IcmpMatch | None = None
    is_icmp_negated: bool = False

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """Those that it asks."""
        return tuple(p for p in (self.selector, self.not_selector, self.nets, self.not_nets) if p)


def lines_of(
    surroundings: Surroundings, rule: model.Rule, subject: Party, direction: Direction
) -> Iterator[Line]:
    """The lines of one rule; none when it can never match this subject's IPv4 traffic, or only logs."""
    if rule.action == "Log" or rule.ip_version == 6 or (rule.lacks and rule.action != "Deny"):
        return
    own, other = (
        (rule.destination, rule.source) if direction is Direction.INGRESS else (rule.source, rule.destination)
    )
    if not _is_for_v4(other) or not _is_for_v4(own) or other.kinds == model.NOBODY:
        return
    action = _action_for_subject(surroundings, rule.action, own, subject)
    if action is None:
        return
    selector = _peer(other, subject)
    unwanted = rule.not_protocol or 0
    for protocol, own_range, other_range, nets in _port_cases(surroundings, rule, (own, other), subject):
        if protocol and protocol == unwanted:
            continue
        source, destination = (
            (other_range, own_range) if direction is Direction.INGRESS else (own_range, other_range)
        )
        yield Line(
            action=action,
            selector=selector,
            not_selector=_unwanted(other),
            nets=nets,
            not_nets=_nets(other.not_nets),
            protocol=protocol or unwanted,
            is_protocol_negated=bool(unwanted and not protocol),
            source_ports=source,
            destination_ports=destination,
            icmp=rule.icmp or rule.not_icmp,
            is_icmp_negated=rule.not_icmp is not None,
        )


def _is_for_v4(match: model.Match) -> bool:
    return all(not nets or any(n.version == 4 for n in nets) for nets in (match.nets, match.not_nets))


def _peer(match: model.Match, subject: Party) -> PeerPredicate | None:
    """The question who the peer is, for one subject; None when it is not asked."""
    is_asked = match.kinds is not None or match.selector is not None
    if not is_asked and not match.is_same_cluster and match.near is model.Near.ANY:
        return None
    kinds = ANY_KIND if match.kinds is None else match.kinds
    home = ("", "") if match.near is model.Near.ANY else (subject.cluster, subject.node)
    cluster = subject.cluster if match.is_same_cluster else ""
    return PeerPredicate(kinds, match.selector, cluster, match.near, home)


def _unwanted(match: model.Match) -> PeerPredicate | None:
    return None if match.not_selector is None else PeerPredicate(UNWANTED, match.not_selector)


def _action_for_subject(
    surroundings: Surroundings, action: str, own: model.Match, subject: Party
) -> str | None:
    """What the rule does for this subject as far as its own side goes; None: nothing.

    A class is one for all addresses of an endpoint. Where they disagree the narrower reading stands: a Deny holds as soon
    as one address meets the conditions, an Allow needs all, and a Pass, whose outcome is open, denies.
    """
    matcher = surroundings.matcher
    answers = {
        not matcher.end_mismatch(own, subject, subject, address, None) for address in subject.v4 or (None,)
    }
    if answers == {True}:
        return action
    return "Deny" if True in answers and action != "Allow" else None


def _nets(nets: tuple[Prefix, ...]) -> NetsPredicate | None:
    v4 = tuple(sorted(n for n in nets if isinstance(n, IPv4Network)))
    return NetsPredicate(v4) if nets else None


Case = tuple[int, Range, Range, NetsPredicate | PortPredicate | None]


def _port_cases(
    surroundings: Surroundings, rule: model.Rule, sides: tuple[model.Match, model.Match], subject: Party
) -> Iterator[Case]:
    """Every combination of (protocol, own range, peer's range, peer's prefixes) that the rule's ports come to."""
    own, other = sides
    for own_protocol, own_range in _own_ranges(surroundings, own, subject, rule.protocol or 0):
        for other_protocol, other_range, nets in _peer_ranges(surroundings, other, subject, own_protocol):
            yield other_protocol, own_range, other_range, nets


def _own_ranges(
    surroundings: Surroundings, match: model.Match, subject: Party, protocol: int
) -> Iterator[tuple[int, Range]]:
    if any(service.has_ports for service in match.services):
        for (proto, n), nets in served(surroundings.world, match.services, subject.cluster).items():
            is_own = any(address in net for net in nets for address in subject.v4)
            if is_own and protocol in (0, proto):
                yield proto, (n, n)
        return
    if not match.ports and not match.not_ports:
        yield protocol, ANY_PORT
        return
    unwanted = numeric(match.not_ports)
    for name in (p for p in match.not_ports if _is_name(p)):
        unwanted += [(n, n) for proto, n in subject.named_ports(str(name)) if protocol in (0, proto)]
    wanted = numeric(match.ports)
    for each in _with_ports(protocol) if wanted or not match.ports else ():
        yield from ((each, ports) for ports in subtract(wanted or [ANY_PORT], unwanted))
    for name in (p for p in match.ports if _is_name(p)):
        for proto, n in subject.named_ports(str(name)):
            if protocol in (0, proto):
                yield from ((proto, ports) for ports in subtract([(n, n)], unwanted))


def _with_ports(protocol: int) -> tuple[int, ...]:
    """A rule with ports but no protocol means those that have ports."""
    return (protocol,) if protocol else WITH_PORTS


def _peer_ranges(
    surroundings: Surroundings, match: model.Match, subject: Party, protocol: int
) -> Iterator[tuple[int, Range, NetsPredicate | PortPredicate | None]]:
    within: tuple[Prefix, ...] = match.nets
    if match.services:
        found = served(surroundings.world, match.services, subject.cluster)
        within = found.pop((0, -1), ())
        for (proto, n), backends in found.items():
            if protocol in (0, proto):
                yield proto, (n, n), NetsPredicate(backends)
        if not within:
            return
    nets = _nets(within)
    if not match.ports and not match.not_ports:
        yield protocol, ANY_PORT, nets
        return
    unwanted = numeric(match.not_ports)
    yield from ((proto, ports, nets) for proto, ports in _numbers(match, protocol))
    for name in (p for p in match.ports if _is_name(p)):
        for proto, n in surroundings.holders.numbers(str(name)):
            if protocol in (0, proto):
                holders = PortPredicate(str(name), (proto, n), nets.nets if nets else ())
                yield from ((proto, ports, holders) for ports in subtract([(n, n)], unwanted))


def _numbers(match: model.Match, protocol: int) -> Iterator[tuple[int, Range]]:
    """The numeric ports that a match comes to."""
    if not match.ports and not match.not_ports:
        yield protocol, ANY_PORT
        return
    wanted = numeric(match.ports)
    for each in _with_ports(protocol) if wanted or not match.ports else ():
        for ports in subtract(wanted or [ANY_PORT], numeric(match.not_ports)):
            yield each, ports


def _is_name(port: Port) -> bool:
    return isinstance(port, str) and ":" not in port and not port.isdigit()


def numeric(ports: tuple[Port, ...]) -> list[Range]:
    """The numbers and ranges among ports."""
    ranges = []
    for port in ports:
        if _is_name(port):
            continue
        low, _, high = str(port).partition(":")
        ranges.append((int(low), int(high or low)))
    return ranges


def subtract(wanted: list[Range], unwanted: list[Range]) -> list[Range]:
    """The parts of `wanted` outside `unwanted`, each range by itself."""
    rest = wanted
    for low, high in unwanted:
        cut = []
        for start, end in rest:
            cut += [(a, b) for a, b in ((start, min(end, low - 1)), (max(start, high + 1), end)) if a <= b]
        rest = cut
    return rest
