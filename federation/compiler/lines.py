"""Rules to lines: one rule as the lines that a kernel can walk, for one subject. Conditions on a workload's own side are
decided here, so they cost nothing later; on a host's they are asked by lines.

What a line cannot say of its own comes before it as a `SKIP`: a line that, when it matches, jumps over the rest of its rule.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from federation.compiler.peers.holders import Holders, served
from federation.compiler.peers.predicates import (
    ANY_KIND,
    UNWANTED,
    NetsPredicate,
    PeerPredicate,
    PortPredicate,
    Predicate,
)
from federation.compiler.peers.prefixes import code_of
from federation.policy import model
from federation.policy.matching import Matcher
from federation.policy.parties import Party
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.rules.model import IcmpMatch, Port, Prefix
from federation.rules.protocols import WITH_PORTS

ANY_PORT = (0, 65535)
SKIP = "Skip"
LEAVE = "Leave"
"""The action of a line after which the list decides nothing."""
WHOLE: dict[int, Prefix] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
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
    """A rule's, or SKIP, or LEAVE."""
    ahead: int = 0
    """Of a SKIP: how many lines it goes ahead; 0: to the end of its rule."""
    is_own: bool = False
    """Whether it asks the subject's own side in place of the peer."""
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


@dataclass(frozen=True, slots=True)
class _Case:
    """A rule's ends seen from one subject, in one family (0: in all that the subject has)."""

    around: Surroundings
    rule: model.Rule
    subject: Party
    direction: Direction
    own: model.Match
    other: model.Match
    version: int

    @property
    def is_host(self) -> bool:
        """Whether the subject is a host, or what passes through it."""
        return is_host(self.subject)

    def nets(self, nets: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
        """Those of the family."""
        return tuple(n for n in nets if self.version in (0, n.version))

    def named_ports(self, name: str) -> tuple[tuple[int, int], ...]:
        """(protocol, number) of a workload's ports of that name; none where only a network set makes it what the rule asks."""
        if self.is_host:
            return ()
        matcher = self.around.matcher
        is_itself = any(
            matcher.is_itself(self.own, self.subject, self.subject, a)
            for a in self.subject.addresses or (None,)
        )
        return self.subject.named_ports(name) if is_itself else ()

    def ends(self, own: Range, other: Range) -> tuple[Range, Range]:
        """(source, destination)."""
        return (other, own) if self.direction is Direction.INGRESS else (own, other)


def lines_of(
    surroundings: Surroundings, rule: model.Rule, subject: Party, direction: Direction
) -> Iterator[Line]:
    """The lines of one rule; none when it can never match this subject's traffic."""
    if rule.lacks and rule.action != "Deny":
        return
    is_in = direction is Direction.INGRESS
    own, other = (rule.destination, rule.source) if is_in else (rule.source, rule.destination)
    if other.kinds == model.NOBODY:
        return
    if is_host(subject):
        if own.services and rule.action != "Deny":
            return  # nobody can ask it: closed
        own, had = replace(own, services=()), frozenset(WHOLE)
        actions = {version: rule.action for version in WHOLE if _is_for(rule, version)}
    else:
        had = subject.versions or frozenset({4})
        actions = {
            version: action
            for version in sorted(had)
            if _is_for(rule, version)
            and (action := _action_for_subject(surroundings, rule.action, own, subject, version))
        }
    is_alike = actions.keys() == had and len(set(actions.values())) == 1 and not own.services
    for version, action in ({0: actions[min(had)]} if is_alike else actions).items():
        yield from _lines(
            _Case(surroundings, rule, subject, direction, own, other, version if len(had) > 1 else 0), action
        )


def is_host(subject: Party) -> bool:
    """Whether it is a host: its addresses are not all known, and others' pass through it."""
    return model.PartyKind.HOST in subject.kinds


def _is_for(rule: model.Rule, version: int) -> bool:
    """A rule whose prefixes are all of the other family does not exist for this one."""
    lists = (nets for end in (rule.source, rule.destination) for nets in (end.nets, end.not_nets))
    return rule.ip_version in (None, version) and all(
        not nets or any(net.version == version for net in nets) for nets in lists
    )


def _lines(case: _Case, action: str) -> Iterator[Line]:
    rule, other = case.rule, case.other
    unwanted = rule.not_protocol or 0
    found: list[Line] = []
    for (protocol, own_range, own_holders), other_range, nets in _port_cases(case):
        if protocol and protocol == unwanted:
            continue
        source, destination = case.ends(own_range, other_range)
        if case.version and nets is None:
            nets = NetsPredicate((WHOLE[case.version],))
        line = Line(
            action=action,
            selector=_peer(_holder(other) if isinstance(nets, PortPredicate) else other, case.subject),
            not_selector=_unwanted(other),
            nets=nets,
            not_nets=_nets(other.not_nets),
            protocol=protocol or unwanted,
            is_protocol_negated=bool(unwanted and not protocol),
            source_ports=source,
            destination_ports=destination,
            icmp=rule.icmp or rule.not_icmp,
            is_icmp_negated=rule.icmp is None and rule.not_icmp is not None,
        )
        if own_holders is not None:
            found += _unless_holder(case, own_holders)
        found.append(line)
    if found:
        if case.is_host:
            yield from _own_skips(case)
        yield from _skips(case)
        yield from found


def _own_skips(case: _Case) -> Iterator[Line]:
    """What a rule asks of a host's side: each condition that does not hold there jumps over the rule."""
    own, nets = case.own, case.nets(case.own.nets)
    if (asked := _peer(own, case.subject)) is not None:
        yield Line(action=SKIP, is_own=True, not_selector=asked)
    if (unwanted := _unwanted(own)) is not None:
        yield Line(action=SKIP, is_own=True, selector=unwanted)
    if nets:
        yield Line(action=SKIP, is_own=True, not_nets=_nets(nets))
    if own.not_nets:
        yield Line(action=SKIP, is_own=True, nets=_nets(own.not_nets))
    for name in (p for p in own.not_ports if _is_name(p)):
        for protocol, number in case.around.holders.numbers(str(name)):
            source, destination = case.ends((number, number), ANY_PORT)
            yield Line(
                action=SKIP,
                is_own=True,
                selector=_peer(_holder(own), case.subject),
                nets=PortPredicate(str(name), (protocol, number)),
                protocol=protocol,
                source_ports=source,
                destination_ports=destination,
            )


def _unless_holder(case: _Case, holders: PortPredicate) -> list[Line]:
    """Jumps over the next line of a rule unless a host's side has the port that the line names."""
    asked = None if case.own.selector is None else _peer(_holder(case.own), case.subject)
    last = Line(action=SKIP, is_own=True, not_nets=holders, ahead=2)
    return [last] if asked is None else [Line(action=SKIP, is_own=True, not_selector=asked, ahead=3), last]


def _skips(case: _Case) -> Iterator[Line]:
    """What the rule does not mean, and its lines cannot say: ICMP types beside ICMP types, names among the peer's `notPorts`, and
    ports beside protocols that have none."""
    rule = case.rule
    if rule.icmp is not None and rule.not_icmp is not None:
        yield Line(action=SKIP, protocol=rule.protocol or 0, icmp=rule.not_icmp)
    if rule.protocol is None:
        for protocol, ports in _unwanted_ports(case.own, case):
            source, destination = case.ends(ports, ANY_PORT)
            yield Line(action=SKIP, protocol=protocol, source_ports=source, destination_ports=destination)
        for protocol, ports in _unwanted_ports(case.other, None):
            source, destination = case.ends(ANY_PORT, ports)
            yield Line(action=SKIP, protocol=protocol, source_ports=source, destination_ports=destination)
    for name in (p for p in case.other.not_ports if _is_name(p)):
        for protocol, number in case.around.holders.numbers(str(name)):
            if rule.protocol in (None, protocol):
                source, destination = case.ends(ANY_PORT, (number, number))
                holders = PortPredicate(str(name), (protocol, number))
                yield Line(
                    action=SKIP,
                    selector=_peer(_holder(case.other), case.subject),
                    nets=holders,
                    protocol=protocol,
                    source_ports=source,
                    destination_ports=destination,
                )


def _unwanted_ports(match: model.Match, case: _Case | None) -> Iterator[tuple[int, Range]]:
    """What `notPorts` exclude by number, and of the case's subject by name, where no `ports` stand beside them."""
    if match.ports:
        return
    yield from ((protocol, ports) for protocol in WITH_PORTS for ports in numeric(match.not_ports))
    for name in (p for p in match.not_ports if _is_name(p)):
        for protocol, number in case.named_ports(str(name)) if case else ():
            yield protocol, (number, number)


def _peer(match: model.Match, subject: Party) -> PeerPredicate | None:
    """The question who the peer is, for one subject; None when it is not asked."""
    is_asked = match.kinds is not None or match.selector is not None
    if not is_asked and not match.is_same_cluster and match.near is model.Near.ANY:
        return None
    kinds = ANY_KIND if match.kinds is None else match.kinds
    home = ("", "") if match.near is model.Near.ANY else (subject.cluster, subject.node)
    cluster = subject.cluster if match.is_same_cluster else ""
    return PeerPredicate(kinds, match.selector, cluster, match.near, home)


def _holder(match: model.Match) -> model.Match:
    """Who may have ports by name: ends that are as asked themselves, not addresses that a network set holds."""
    kinds = ANY_KIND if match.kinds is None else match.kinds
    return match if match.selector is None else replace(match, kinds=kinds - {model.PartyKind.NETWORK_SET})


def _unwanted(match: model.Match) -> PeerPredicate | None:
    return None if match.not_selector is None else PeerPredicate(UNWANTED, match.not_selector)


def _action_for_subject(
    surroundings: Surroundings, action: str, own: model.Match, subject: Party, version: int
) -> str | None:
    """What the rule does for this subject's addresses of a family as far as its own side goes; None: nothing.

    A class is one for all addresses of an endpoint. Where they disagree the narrower reading stands: a Deny holds as soon
    as one address meets the conditions, an Allow needs all, and a Pass, whose outcome is open, denies.
    """
    asked = own
    if own.services:
        asked = replace(own, services=tuple(replace(service, has_ports=False) for service in own.services))
    addresses = tuple(a for a in subject.addresses if a.version == version) or (None,)
    answers = {
        not surroundings.matcher.end_mismatch(asked, subject, subject, address, None) for address in addresses
    }
    if answers == {True}:
        return action
    return "Deny" if True in answers and action != "Allow" else None


def _nets(nets: tuple[Prefix, ...]) -> NetsPredicate | None:
    return NetsPredicate(tuple(sorted(nets, key=code_of))) if nets else None


Own = tuple[int, Range, PortPredicate | None]
"""Protocol, own range, and (of a host's ports by name) who on its side has it."""


def _port_cases(case: _Case) -> Iterator[tuple[Own, Range, NetsPredicate | PortPredicate | None]]:
    """Every combination of (own, peer's range, peer's prefixes) that the rule's ports come to."""
    for own_protocol, own_range, holders in _own_ranges(case):
        for protocol, other_range, nets in _peer_ranges(case, own_protocol):
            yield (protocol, own_range, holders), other_range, nets


def _own_ranges(case: _Case) -> Iterator[Own]:
    match, subject, protocol = case.own, case.subject, case.rule.protocol or 0
    if any(service.has_ports for service in match.services):
        for (proto, n), nets in served(case.around.world, match.services, subject.cluster).items():
            is_own = any(a in net for net in case.nets(nets) for a in subject.addresses)
            if is_own and protocol in (0, proto):
                yield proto, (n, n), None
        return
    if not match.ports and not (protocol and match.not_ports):
        yield (
            protocol,
            ANY_PORT,
            None,
        )  # of all protocols: also what has no ports; the exceptions are in `_skips`
        return
    unwanted = numeric(match.not_ports)
    named = [pair for p in match.not_ports if _is_name(p) for pair in case.named_ports(str(p))]
    wanted = numeric(match.ports)
    for each in _with_ports(protocol) if wanted or not match.ports else ():
        without = unwanted + [(n, n) for proto, n in named if proto == each]
        yield from ((each, ports, None) for ports in subtract(wanted or [ANY_PORT], without))
    for name in (p for p in match.ports if _is_name(p)):
        numbers = case.around.holders.numbers(str(name)) if case.is_host else case.named_ports(str(name))
        for proto, n in numbers:
            without = unwanted + [(m, m) for other, m in named if other == proto]
            holders = PortPredicate(str(name), (proto, n)) if case.is_host else None
            if protocol in (0, proto):
                yield from ((proto, ports, holders) for ports in subtract([(n, n)], without))


def _with_ports(protocol: int) -> tuple[int, ...]:
    """A rule with ports but no protocol means those that have ports."""
    return (protocol,) if protocol else WITH_PORTS


def _peer_ranges(
    case: _Case, protocol: int
) -> Iterator[tuple[int, Range, NetsPredicate | PortPredicate | None]]:
    match = case.other
    within: tuple[Prefix, ...] = case.nets(match.nets)
    if match.services:
        found = served(case.around.world, match.services, case.subject.cluster)
        within = case.nets(found.pop((0, -1), ()))
        for (proto, n), backends in found.items():
            if protocol in (0, proto) and case.nets(backends):
                yield proto, (n, n), NetsPredicate(case.nets(backends))
        if not within:
            return
    nets = _nets(within)
    if not match.ports and not (protocol and match.not_ports):
        yield protocol, ANY_PORT, nets
        return
    yield from ((proto, ports, nets) for proto, ports in _numbers(match, protocol))
    unwanted = numeric(match.not_ports)
    whole = (WHOLE[case.version],) if case.version else ()
    for name in (p for p in match.ports if _is_name(p)):
        for proto, n in case.around.holders.numbers(str(name)):
            if protocol in (0, proto):
                holders = PortPredicate(str(name), (proto, n), nets.nets if nets else whole)
                yield from ((proto, ports, holders) for ports in subtract([(n, n)], unwanted))


def _numbers(match: model.Match, protocol: int) -> Iterator[tuple[int, Range]]:
    """The numeric ports that a match comes to."""
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
