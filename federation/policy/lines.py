"""Rules to lines: one rule as the lines that a kernel can walk, for one subject. Conditions on the subject's own side are
decided here, so they cost nothing later."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from federation.policy.evaluate import selects
from federation.policy.parties import Party, labels_of, protocol_number
from federation.policy.predicates import NetsPredicate, Predicate, SelectorPredicate
from federation.policy.scope import PeerTerms, Scope, terms_of
from federation.policy.tables import Direction
from federation.policy.world import World
from federation.rules.model import EntityRule, IcmpMatch, Port, Rule

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


def lines_of(world: World, rule: Rule, scope: Scope, subject: Party, direction: Direction) -> Iterator[Line]:
    """The lines of one rule; none when it can never match this subject's IPv4 traffic, or only logs."""
    if rule.action == "Log" or rule.ip_version == 6:
        return
    own, other = (
        (rule.destination, rule.source) if direction is Direction.INGRESS else (rule.source, rule.destination)
    )
    own_terms, terms = terms_of(own, scope), terms_of(other, scope)
    if (
        not _is_for_v4(terms)
        or not _is_for_v4(own_terms)
        or not _holds_for_subject(world, own_terms, subject)
    ):
        return
    for protocol, own_range, other_range, nets in _port_cases(world, rule, (own, other), subject, terms):
        source, destination = (
            (other_range, own_range) if direction is Direction.INGRESS else (own_range, other_range)
        )
        is_negated = rule.not_protocol is not None and not protocol
        yield Line(
            action=rule.action,
            selector=SelectorPredicate(terms.selector) if terms.selector else None,
            not_selector=SelectorPredicate(terms.not_selector) if terms.not_selector else None,
            nets=_nets(nets),
            not_nets=_nets(terms.not_nets),
            protocol=protocol_number(rule.not_protocol)
            if is_negated and rule.not_protocol is not None
            else protocol,
            is_protocol_negated=is_negated,
            source_ports=source,
            destination_ports=destination,
            icmp=rule.icmp or rule.not_icmp,
            is_icmp_negated=rule.not_icmp is not None,
        )


def _is_for_v4(terms: PeerTerms) -> bool:
    return all(not nets or any(n.version == 4 for n in nets) for nets in (terms.nets, terms.not_nets))


def _holds_for_subject(world: World, terms: PeerTerms, subject: Party) -> bool:
    if terms.selector and not selects(world, terms.selector, subject):
        return False
    if terms.not_selector and selects(world, terms.not_selector, subject):
        return False
    if terms.nets and not any(subject.address in n for n in terms.nets if isinstance(n, IPv4Network)):
        return False
    return not any(subject.address in n for n in terms.not_nets if isinstance(n, IPv4Network))


def _nets(nets: tuple[object, ...] | None) -> NetsPredicate | None:
    v4 = tuple(sorted(n for n in nets or () if isinstance(n, IPv4Network)))
    return NetsPredicate(v4) if nets else None


Case = tuple[int, Range, Range, tuple[object, ...] | None]


def _port_cases(
    world: World, rule: Rule, sides: tuple[EntityRule, EntityRule], subject: Party, terms: PeerTerms
) -> Iterator[Case]:
    """Every combination of (protocol, own range, peer's range, peer's prefixes) that the rule's ports come to."""
    own, other = sides
    protocol = protocol_number(rule.protocol) if rule.protocol is not None else 0
    for own_protocol, own_range in _own_ranges(own, subject, protocol):
        for other_protocol, other_range, nets in _peer_ranges(world, other, terms, own_protocol):
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
    world: World, entity: EntityRule, terms: PeerTerms, protocol: int
) -> Iterator[tuple[int, Range, tuple[object, ...] | None]]:
    nets: tuple[object, ...] | None = terms.nets or None
    if not entity.ports and not entity.not_ports:
        yield protocol, ANY_PORT, nets
        return
    unwanted = numeric(entity.not_ports)
    wanted = numeric(entity.ports)
    if wanted or not entity.ports:
        for ports in subtract(wanted or [ANY_PORT], unwanted):
            yield protocol, ports, nets
    for name in (p for p in entity.ports if _is_name(p)):
        for (proto, n), addresses in _holders(world, str(name), terms).items():
            if protocol in (0, proto):
                yield from ((proto, ports, addresses) for ports in subtract([(n, n)], unwanted))


def _holders(world: World, name: str, terms: PeerTerms) -> dict[tuple[int, int], tuple[object, ...]]:
    """Addresses (as /32) of the endpoints with a port of that name, by (protocol, number), within the rule's own nets."""
    found: dict[tuple[int, int], set[IPv4Network]] = {}
    for endpoint in world.endpoints.values():
        for address in endpoint.spec.addresses:
            if address.version != 4 or (terms.nets and not any(address in n for n in terms.nets)):
                continue
            party = Party(address, endpoint, labels_of(endpoint))
            for port in party.named_ports(name):
                found.setdefault(port, set()).add(IPv4Network(address))
    return {port: tuple(sorted(nets)) for port, nets in sorted(found.items())}


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
