"""Rules to lines: one rule as the lines that a kernel can walk, for one subject. Conditions on the subject's own side are
decided here, so they cost nothing later."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from federation.policy.evaluate import selects
from federation.policy.holders import Surroundings
from federation.policy.parties import Party, parties_of_endpoint, protocol_number
from federation.policy.predicates import NetsPredicate, Predicate, SelectorPredicate
from federation.policy.scope import PeerTerms, Scope, terms_of
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.rules.model import EntityRule, IcmpMatch, Port, Prefix, Rule

ANY_PORT = (0, 65535)
Range = tuple[int, int]


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
    surroundings: Surroundings, rule: Rule, scope: Scope, subject: Party, direction: Direction
) -> Iterator[Line]:
    """The lines of one rule; none when it can never match this subject's IPv4 traffic, or only logs."""
    if rule.action == "Log" or rule.ip_version == 6:
        return
    own, other = (
        (rule.destination, rule.source) if direction is Direction.INGRESS else (rule.source, rule.destination)
    )
    own_terms, terms = terms_of(own, scope), terms_of(other, scope)
    if not _is_for_v4(terms) or not _is_for_v4(own_terms):
        return
    action = _action_for_subject(surroundings.world, rule.action, own_terms, subject)
    if action is None:
        return
    unwanted = protocol_number(rule.not_protocol) if rule.not_protocol is not None else 0
    for protocol, own_range, other_range, nets in _port_cases(
        surroundings, rule, (own, other), subject, terms
    ):
        if protocol and protocol == unwanted:
            continue
        source, destination = (
            (other_range, own_range) if direction is Direction.INGRESS else (own_range, other_range)
        )
        yield Line(
            action=action,
            selector=SelectorPredicate(terms.selector) if terms.selector else None,
            not_selector=SelectorPredicate(terms.not_selector) if terms.not_selector else None,
            nets=nets,
            not_nets=_nets(terms.not_nets),
            protocol=protocol or unwanted,
            is_protocol_negated=bool(unwanted and not protocol),
            source_ports=source,
            destination_ports=destination,
            icmp=rule.icmp or rule.not_icmp,
            is_icmp_negated=rule.not_icmp is not None,
        )


def _is_for_v4(terms: PeerTerms) -> bool:
    return all(not nets or any(n.version == 4 for n in nets) for nets in (terms.nets, terms.not_nets))


def _action_for_subject(world: World, action: str, terms: PeerTerms, subject: Party) -> str | None:
    """What the rule does for this subject as far as its own side goes; None: nothing.

    A class is one for all addresses of an endpoint. Where they disagree the narrower reading stands: a Deny holds as soon
    as one address meets the conditions, an Allow needs all, and a Pass, whose outcome is open, denies.
    """
    parties = parties_of_endpoint(subject.endpoint) if subject.endpoint else (subject,)
    answers = {_holds_for_subject(world, terms, party) for party in parties}
    if answers == {True}:
        return action
    return "Deny" if True in answers and action != "Allow" else None


def _holds_for_subject(world: World, terms: PeerTerms, subject: Party) -> bool:
    if terms.selector and not selects(world, terms.selector, subject):
        return False
    if terms.not_selector and selects(world, terms.not_selector, subject):
        return False
    address = subject.address
    if terms.nets and (address is None or not any(address in n for n in terms.nets)):
        return False
    return address is None or not any(address in n for n in terms.not_nets)


def _nets(nets: tuple[Prefix, ...]) -> NetsPredicate | None:
    v4 = tuple(sorted(n for n in nets if isinstance(n, IPv4Network)))
    return NetsPredicate(v4) if nets else None


Case = tuple[int, Range, Range, NetsPredicate | None]


def _port_cases(
    surroundings: Surroundings,
    rule: Rule,
    sides: tuple[EntityRule, EntityRule],
    subject: Party,
    terms: PeerTerms,
) -> Iterator[Case]:
    """Every combination of (protocol, own range, peer's range, peer's prefixes) that the rule's ports come to."""
    own, other = sides
    protocol = protocol_number(rule.protocol) if rule.protocol is not None else 0
    for own_protocol, own_range in _own_ranges(own, subject, protocol):
        for other_protocol, other_range, nets in _peer_ranges(surroundings, other, terms, own_protocol):
            yield other_protocol, own_range, other_range, nets


def _own_ranges(entity: EntityRule, subject: Party, protocol: int) -> Iterator[tuple[int, Range]]:
    if not entity.ports and not entity.not_ports:
        yield protocol, ANY_PORT
        return
    unwanted = numeric(entity.not_ports)
    for name in (p for p in entity.not_ports if _is_name(p)):
        unwanted += [(n, n) for proto, n in subject.named_ports(str(name)) if protocol in (0, proto)]
    wanted = numeric(entity.ports)
    if wanted or not entity.ports:
        for ports in subtract(wanted or [ANY_PORT], unwanted):
            yield protocol, ports
    for name in (p for p in entity.ports if _is_name(p)):
        for proto, n in subject.named_ports(str(name)):
            if protocol in (0, proto):
                yield from ((proto, ports) for ports in subtract([(n, n)], unwanted))


def _peer_ranges(
    surroundings: Surroundings, entity: EntityRule, terms: PeerTerms, protocol: int
) -> Iterator[tuple[int, Range, NetsPredicate | None]]:
    nets = _nets(terms.nets)
    if not entity.ports and not entity.not_ports:
        yield protocol, ANY_PORT, nets
        return
    unwanted = numeric(entity.not_ports)
    wanted = numeric(entity.ports)
    if wanted or not entity.ports:
        for ports in subtract(wanted or [ANY_PORT], unwanted):
            yield protocol, ports, nets
    for name in (p for p in entity.ports if _is_name(p)):
        for (proto, n), holders in surroundings.named_port(str(name), terms.nets).items():
            if protocol in (0, proto):
                yield from ((proto, ports, holders) for ports in subtract([(n, n)], unwanted))


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
